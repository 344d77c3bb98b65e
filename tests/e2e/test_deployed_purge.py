"""The purge on the deployed template: previewed, held, answered, done, and kept in the vault for a while."""

import csv
import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sandbox.demo import vault_objects
from tests.e2e.conftest import Deployed

AAA, BBB = "01OHIO_AAA", "01OHIO_BBB"


def users(deployed: Deployed, code: str) -> dict[str, dict[str, Any]]:
    """All records of a simulated institution, by primary id."""
    with urllib.request.urlopen(f"{deployed.sandbox.alma_url}/_simulator/users?institution={code}") as reply:
        found = [json.loads(line) for line in reply.read().decode().splitlines()]
    return {one["primary_id"]: one for one in found}


def start(deployed: Deployed, code: str, **event: Any) -> str:
    """Start a purge in one institution and give its run_id."""
    answer = deployed.invoke("enumerator", {"action": "purge", "institutions": [code], **event})
    assert answer.code == 0, answer.out + answer.err
    run_id: str = answer.json["run_id"]
    return run_id


def wait(deployed: Deployed, run_id: str) -> int:
    """The exit code of `wait`."""
    return deployed.command("wait", run_id, "--timeout", "180").code


def export(deployed: Deployed, run_id: str, folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The one institution of the exported run.json, with the run's status, and the rows of outcomes.csv."""
    assert deployed.command("export", run_id, "--out", str(folder)).code == 0
    document = json.loads((folder / "run.json").read_text())
    with (folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (institution,) = document["institutions"]
    return institution | {"run": document["status"]}, rows


def by_outcome(rows: list[dict[str, str]], outcome: str) -> set[str]:
    """The ids with this outcome."""
    return {row["primary_id"] for row in rows if row["outcome"] == outcome}


def operator(deployed: Deployed, command: str, run_id: str, code: str = AAA, **more: Any) -> Any:
    """The operator's answer, or the sentence of its refusal."""
    answer = deployed.invoke("operator", {"command": command, "run_id": run_id, "institution": code, **more})
    return answer.json if answer.code == 0 else answer.json["errorMessage"]


def test_preview_hold_approval_and_purge(deployed: Deployed, tmp_path: Path) -> None:
    """The first purge is held with its figures; once approved, just those go who were shown, each with a copy."""
    before = users(deployed, AAA)
    preview = start(deployed, AAA)
    assert wait(deployed, preview) == 0
    told, rows = export(deployed, preview, tmp_path / "preview")
    would = by_outcome(rows, "would_purge")
    assert told["hold_reasons"] == [f"first_run: the first purge here, of {len(would)} among {len(rows)} candidates"]
    assert len(would) > 50

    run_id = start(deployed, AAA, mode="apply")
    assert wait(deployed, run_id) == 3
    held, rows = export(deployed, run_id, tmp_path / "held")
    assert (held["run"], held["status"], held["hold_reasons"]) == ("held", "held", told["hold_reasons"])
    assert by_outcome(rows, "would_purge") == would
    assert Counter(row["outcome"] for row in rows) == held["outcomes"]
    assert users(deployed, AAA) == before
    assert not [kept for kept in vault_objects(deployed.sandbox) if kept.code == AAA]

    assert "is not part of" in operator(deployed, "approve", run_id, BBB, by="Ana")
    assert "is not held" in operator(deployed, "approve", preview, by="Ana")
    assert "by: is missing" in operator(deployed, "approve", run_id)
    assert operator(deployed, "approve", run_id, by="Ana", note="read the list")["status"] == "queued"
    assert "approved by Ana" in operator(deployed, "approve", run_id, by="Bo")
    assert wait(deployed, run_id) == 0

    done, rows = export(deployed, run_id, tmp_path / "done")
    assert by_outcome(rows, "purged") == would
    assert set(before) - set(users(deployed, AAA)) == would
    assert len({row["primary_id"] for row in rows}) == len(rows) == done["candidates"]
    assert Counter(row["outcome"] for row in rows) == done["outcomes"]
    assert all(row["reason"] for row in rows if row["outcome"] != "purged")
    assert {"loans", "fees", "requests", "excluded_set", "staff", "linked_account"} <= set(done["reasons"])
    mine = [kept for kept in vault_objects(deployed.sandbox) if kept.code == AAA]
    assert {(kept.vault_days, kept.encryption) for kept in mine} == {("30", "aws:kms")}
    copies = {line["record"]["primary_id"]: line["record"] for kept in mine for line in kept.lines}
    assert set(copies) == would
    assert all(copies[key]["user_identifier"] == before[key]["user_identifier"] for key in would)

    status = deployed.invoke("operator", {"command": "status", "run_id": run_id}).json["institutions"][0]
    assert [(said["answer"], said["by"], said["note"]) for said in status["answers"]] == [
        ("approved", "Ana", "read the list")
    ]
    again = start(deployed, AAA, mode="apply")
    assert wait(deployed, again) == 0, "no first purge any more"
    assert "purged" not in export(deployed, again, tmp_path / "again")[0]["outcomes"]


def test_reject_supersede_and_cancel_change_nobody(deployed: Deployed, tmp_path: Path) -> None:
    """A newer run rejects a held one, a person rejects or cancels; in Alma everything is as it was."""
    before = users(deployed, BBB)
    first = start(deployed, BBB, mode="apply")
    assert wait(deployed, first) == 3
    second = start(deployed, BBB, mode="apply")
    assert wait(deployed, second) == 3
    superseded, rows = export(deployed, first, tmp_path / "first")
    assert (superseded["run"], superseded["status"]) == ("cancelled", "rejected")
    assert f"superseded by {second}" in superseded["status_reason"]
    assert Counter(row["outcome"] for row in rows) == superseded["outcomes"]
    assert operator(deployed, "reject", second, BBB, by="Bo", note="too many")["status"] == "rejected"
    assert wait(deployed, second) == 1
    third = start(deployed, BBB, mode="apply")
    assert wait(deployed, third) == 3
    assert operator(deployed, "cancel", third, BBB, by="Ana")["cancelled"] == [BBB]
    fourth = start(deployed, BBB, mode="apply")
    stopped = deployed.invoke("operator", {"command": "stop_all", "by": "Ana"}).json["runs"]
    assert set(stopped) == {fourth}
    assert wait(deployed, fourth) == 1
    cancelled, _ = export(deployed, fourth, tmp_path / "fourth")
    assert cancelled["status"] == "cancelled"
    assert "cancelled by Ana" in cancelled["status_reason"]
    assert users(deployed, BBB) == before


def test_check_tells_what_to_mend(deployed: Deployed) -> None:
    """Key, rights, sets and next runs of every institution, in a table and as data; troubles with their mend."""
    answer = deployed.invoke("operator", {"command": "check"}).json
    found = {one["institution"]: one for one in answer["institutions"]}
    assert found[BBB]["ready"]
    assert (found[BBB]["key"], found[BBB]["rights"]) == ("valid", "read and write")
    assert found[BBB]["environment"] == "sandbox"
    assert "the first purge is held until somebody approves it" in found[BBB]["next_runs"]["purge"]["notes"]
    assert not found["01OHIO_DDD"]["ready"]
    assert not found["01OHIO_EEE"]["ready"]
    told = "\n".join(answer["table"])
    for code in found:
        assert code in told
    for sentence in (
        "the API key belongs to 01OHIO_AAA: store the key of 01OHIO_DDD in its secret",
        'no set of users is named "No such set"',
        'no set of users is named "No such set either"',
    ):
        assert sentence in told


@pytest.mark.parametrize("event", [{"mode": "apply", "as_of": "2999-01-01"}, {"mode": "delete"}, {"institutions": []}])
def test_a_mistaken_purge_starts_nothing(deployed: Deployed, event: dict[str, Any]) -> None:
    """What can't be meant is refused before anything is started."""
    before = deployed.invoke("operator", {"command": "status"}).json
    answer = deployed.invoke("enumerator", {"action": "purge", **event})
    assert answer.code == 1
    assert answer.json["errorType"] == "InvalidEvent"
    assert deployed.invoke("operator", {"command": "status"}).json == before


def test_nothing_personal_is_logged_of_whom_was_deleted(deployed: Deployed) -> None:
    """After all that, no log line holds the id, the name or the e-mail of anybody who went or stayed."""
    lines = "\n".join(deployed.log_lines())
    assert "manifest frozen" in lines
    kept = [line["record"] for one in vault_objects(deployed.sandbox) for line in one.lines]
    assert kept
    for patron in (*kept, *users(deployed, BBB).values()):
        assert patron["primary_id"] not in lines
        assert patron["full_name"] not in lines
    assert "@" not in lines
