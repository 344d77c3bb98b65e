"""The README says nothing that isn't so: its commands are run, its files and parameters exist."""

import csv
import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

from sandbox.stack import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
NOT_RUN_HERE = {"make test"}  # it is what runs this
WAIT = ".venv/bin/python -m sandbox wait RUN_ID"
WAIT_ENDS_WITH = (3, 0)  # paused; completed, after it was resumed


def test_the_readme_starts_with_demo_and_test() -> None:
    """The first two commands are the two that a newcomer needs."""
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_every_command_works_in_the_order_of_the_readme(tmp_path: Path) -> None:
    """Each command ends as it is told; the demo shows the jobs, the hold and the ways back, and its figures agree."""
    assert COMMANDS.count(WAIT) == len(WAIT_ENDS_WITH)
    waits, run_id = iter(WAIT_ENDS_WITH), ""
    environment = os.environ | {"SANDBOX_STATE": str(tmp_path)}  # a sandbox that somebody has running stays as it is
    for command in COMMANDS:
        if command in NOT_RUN_HERE:
            continue
        done = subprocess.run(
            command.replace("RUN_ID", run_id).split(),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        expected = next(waits) if command == WAIT else 0
        assert done.returncode == expected, f"{command}\n{done.stdout}\n{done.stderr}"
        if "invoke enumerator" in command:
            run_id = json.loads(done.stdout)["run_id"]
        if command == "make demo":
            results = tmp_path / "demo" / "results"
            assert str(results / "purge" / "report.html") in done.stdout
            for name, status in {
                "deactivate-preview": "completed",
                "deactivate": "completed",
                "purge-preview": "completed",
                "purge-held": "held",
                "purge": "completed",
                "undo": "completed",
                "restore": "completed",
            }.items():
                assert json.loads((results / name / "run.json").read_text())["status"] == status
            assert "first_run: the first purge here" in done.stdout
            held, purged = (outcomes(results / name) for name in ("purge-held", "purge"))
            assert held["would_purge"] == purged["purged"] > 100
            assert held["blocked"] == purged["blocked"]
            kept = done.stdout.rpartition("The vault")[2].partition("The deactivation is taken back")[0]
            assert sum(last_column(kept)) == purged["purged"]
            deactivated, undone = (outcomes(results / name) for name in ("deactivate", "undo"))
            assert undone == {"reinstated": deactivated["deactivated"]}
            assert outcomes(results / "restore") == {"restored": 1}
            compared = done.stdout.rpartition("Before and after")[2].partition("done in")[0]
            assert sum(last_column(compared)) == purged["purged"] - 1


def last_column(printed: str) -> list[int]:
    """The last figures of a table's rows, one for each institution."""
    rows = [line.split() for line in printed.splitlines() if line.startswith("  01OHIO_")]
    return [int(row[-1].replace(",", "")) for row in rows]


def outcomes(folder: Path) -> Counter[str]:
    """How many candidates of an exported run have which outcome."""
    with (folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        return Counter(row["outcome"] for row in csv.DictReader(file))


@pytest.mark.parametrize("target", ["build", "deploy"])
def test_targets_that_need_an_aws_account_are_there(target: str) -> None:
    """Make knows them and would call the SAM CLI; that they work on AWS can't be shown without an account."""
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"sam {target}" in done.stdout


def test_every_parameter_of_the_template_is_in_the_readme_and_back() -> None:
    """The table of parameters is the template's."""
    table = README.partition("| parameter | default | |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([A-Za-z]+)`", row.split("|")[1])}
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    assert named == set(template["Parameters"])


def test_every_file_that_the_readme_names_exists() -> None:
    """Links and paths lead somewhere."""
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    paths = re.findall(r"`((?:events|functions|layers|sandbox|docs)/[^`\s]*)`", README)
    assert [path for path in (*links, *paths) if not (ROOT / path).exists()] == []
