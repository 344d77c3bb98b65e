"""What a person calls by `python -m scripts…`: it does what it says, and mistakes end with a sentence."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    for run_id, name, told in (("purge-9", table.name, "no run purge-9"), ("deactivate-1", "none", "ResourceNotFound")):
        refused = script("scripts.export_run", run_id, "--table", name, "--out", "x", environment=environment)
        assert refused.returncode == 1
        assert told in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("institutions: []", "institutions: should be a list of at least one institution"),
        (
            "institutions: [{code: 01OHIO_AAA, name: A, region: na, time_zone: UTC, policy: {purge: {select: "
            '{sweep: true}, vault_days: "30", first_run: maybe, also_select: ["x"]}}}]',
            'vault_days: is "30", which is text; write it without quotes: 30',
        ),
        (None, "can't be read"),
    ],
)
def test_a_registry_with_mistakes_makes_no_event(tmp_path: Path, text: str | None, told: str) -> None:
    """The mistakes are told by the file's own name; nothing is printed that could be sent."""
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    refused = script("scripts.register_event", str(file))
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert str(file) in refused.stderr
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_example_makes_an_event() -> None:
    """What is printed is the event, the file's text being in it."""
    made = script("scripts.register_event", "institutions.example.yaml")
    assert made.returncode == 0
    assert json.loads(made.stdout)["registry"] == (ROOT / "institutions.example.yaml").read_text(encoding="utf-8")
