"""What a person calls by `python -m scripts…`: it does what it says, and mistakes end with a sentence."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.model import PageState, Status
from sandbox.local_aws import LocalAws
from sandbox.stack import ROOT
from tests.samples import NOW, institution_run, outcome, page, run


def script(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m scripts.…`."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_run_on_aws_is_exported(local_aws: LocalAws, table: Any, tmp_path: Path) -> None:
    """The three files are written from the table that is named; a run or a table that there isn't is told."""
    store = DynamoStore(table, 400)
    store.create_run(run())
    store.create_institution_run(institution_run())
    done = page(state=PageState.DONE, outcomes=(outcome("fern.arno"), outcome("reed.elbe")))
    store.put_pages([done])
    changes = {"status": Status.COMPLETED, "finished_at": NOW, "pages": 1, "candidates": 2}
    store.settle(institution_run().but(**changes))
    environment = local_aws.environment
    asked = ("scripts.export_run", "deactivate-1", "--table", table.name, "--out", str(tmp_path / "out"))
    assert script(*asked, environment=environment).returncode == 0
    with (tmp_path / "out" / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        assert [row["primary_id"] for row in csv.DictReader(file)] == ["fern.arno", "reed.elbe"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "completed"
    assert (tmp_path / "out" / "report.html").exists()
    for run_id, name, told in (("purge-9", table.name, "no run purge-9"), ("deactivate-1", "none", "no table none")):
        refused = script("scripts.export_run", run_id, "--table", name, "--out", "x", environment=environment)
        assert refused.returncode == 1
        assert told in refused.stderr
        assert "Traceback" not in refused.stderr
