"""Nobody goes wrongly, nobody is lost, nobody has two outcomes: whatever Alma, AWS and people do to a run."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

JUDGED = 50_000
TOP = Path(__file__).parents[3]


def test_no_wrong_write_and_one_true_outcome_for_everybody() -> None:
    """Random institutions, policies, faults, deaths and answers: the judge, who sees every write, has no complaint.

    They are played in processes of their own, since coverage would make it three times as long. A wrong is told with
    its seed: `python -m tests.soak --rounds 1 --seed N` plays that round again.
    """
    seed = random.SystemRandom().randrange(2**40)
    untraced = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE"))}
    path = os.pathsep.join((str(TOP / "layers/patron_lifecycle"), str(TOP)))
    played = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--patrons", str(JUDGED), "--seed", str(seed), "--json"],
        cwd=TOP,
        env=untraced | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, f"from seed {seed} on:\n{played.stderr}"
    total = json.loads(played.stdout)
    assert total["judged"] >= JUDGED
    changes = ("purged", "deactivated", "reinstated", "restored", "would_purge", "would_restore")
    for met in (*changes, "recovered", "killed", "faults", "held", "institution runs rejected"):
        assert total.get(met, 0) > 0, f"from seed {seed} on no round has met any: {met}"
