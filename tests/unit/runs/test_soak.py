"""Nobody goes wrongly, nobody is lost, nobody has two outcomes: whatever Alma, AWS and people do to a run."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.soak import play

JUDGED = 50_000
ROUNDS = 520


@pytest.mark.no_cover  # it would take three times as long, and what it covers is covered by others
def test_no_wrong_write_and_one_true_outcome_for_everybody() -> None:
    """Random institutions, policies, faults, deaths and answers: the judge, who sees every write, has no complaint.

    `python -m tests.soak --rounds 1 --seed N` plays one round again.
    """
    total = Counter[str]()

    @settings(max_examples=ROUNDS, deadline=None, database=None)
    @given(seed=st.integers(0, 2**40))
    def rounds(seed: int) -> None:
        played = play(seed)
        assert played.wrongs == []
        total.update(played.figures)

    rounds()
    assert total["judged"] >= JUDGED
    changes = ("purged", "deactivated", "reinstated", "restored", "would_purge", "would_restore")
    for met in (*changes, "recovered", "killed", "faults", "held", "runs rejected"):
        assert total[met] > 0, f"no round has met any: {met}"
