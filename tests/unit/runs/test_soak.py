"""Nobody goes wrongly, nobody is lost, nobody has two outcomes: whatever Alma, AWS and people do to a run."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

JUDGED = 50_000
TOP = Path(__file__).parents[3]
CHANGES = ("purged", "deactivated", "reinstated", "restored", "would_purge", "would_restore")


def soaked(*options: str) -> dict[str, int]:
    """What a soak from a seed drawn at random came to. A wrong is told with its seed.

    It is played in processes of its own, since coverage would make it three times as long.
    """
    seed = random.SystemRandom().randrange(2**40)
    untraced = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE"))}
    path = os.pathsep.join((str(TOP / "layers/patron_lifecycle"), str(TOP)))
    played = subprocess.run(
        [sys.executable, "-m", "tests.soak", *options, "--seed", str(seed), "--json"],
        cwd=TOP,
        env=untraced | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, f"{options} from seed {seed} on:\n{played.stderr}"
    figures: dict[str, int] = json.loads(played.stdout)
    return figures


def not_met(figures: dict[str, int], wanted: tuple[str, ...]) -> list[str]:
    """What should have happened at least once, and hasn't."""
    return [name for name in wanted if not figures.get(name)]


def test_no_wrong_write_and_one_true_outcome_for_everybody() -> None:
    """Random institutions, policies, faults, deaths and answers: the judge, who sees every write, has no complaint.

    `python -m tests.soak --rounds 1 --seed N` plays a round again.
    """
    total = soaked("--patrons", str(JUDGED))
    assert total["judged"] >= JUDGED
    assert not_met(total, (*CHANGES, "recovered", "killed", "faults", "held", "institution runs rejected")) == []


def test_a_consortium_goes_through_its_months_by_itself() -> None:
    """Schedules, pauses, people and patrons of two months, with everything going wrong: all is done, and rightly.

    `python -m tests.soak --institutions 8 --months 2 --seed N` plays it again.
    """
    total = soaked("--institutions", "8", "--months", "2")
    assert total["judged"] > 1000
    assert total.get("purged", 0) + total.get("would_purge", 0) > 0  # both months' purges may have been previews
    met = ("deactivated", "pauses", "resumed by schedule", "held", "holds approved")
    assert not_met(total, (*met, "killed", "redeliveries", "faults of Alma", "store faults")) == []
