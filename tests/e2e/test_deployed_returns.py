"""The ways back on the deployed template: a set reinstated, a run undone, a purge restored, a patron's story told."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.gateway import AlmaReader, find_set_by_name
from patron_lifecycle.alma.pace import Pace
from sandbox.compare import Users, difference, users_of
from sandbox.demo import vault_objects
from tests.e2e.conftest import KEYS, Deployed

CCC = "01OHIO_CCC"
AHEAD = "2035-06-30"


def run(deployed: Deployed, action: str, folder: Path, **event: Any) -> tuple[str, Counter[str], list[dict[str, str]]]:
    """Start a real run at CCC, wait for it, and give its id, its outcomes by count, and the rows of outcomes.csv."""
    answer = deployed.invoke("enumerator", {"action": action, "mode": "apply", "institutions": [CCC], **event})
    assert answer.code == 0, answer.out + answer.err
    run_id = answer.json["run_id"]
    assert deployed.command("wait", run_id, "--timeout", "180").code in (0, 3), "neither completed nor held"
    return run_id, *exported(deployed, run_id, folder / run_id)


def exported(deployed: Deployed, run_id: str, folder: Path) -> tuple[Counter[str], list[dict[str, str]]]:
    """The outcomes of a run."""
    assert deployed.command("export", run_id, "--out", str(folder)).code == 0
    with (folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return Counter(row["outcome"] for row in rows), rows


def now(deployed: Deployed) -> Users:
    """All of CCC's users as Alma gives them."""
    return users_of(deployed.sandbox.alma_url, {CCC: KEYS[CCC]})[CCC]


def status(deployed: Deployed, **asked: str) -> Any:
    """The operator's answer to `status`."""
    return deployed.invoke("operator", {"command": "status", **asked}).json


def set_id(deployed: Deployed, name: str) -> str:
    """The id of one of CCC's sets."""
    client = AlmaClient(base_url=deployed.sandbox.alma_url, api_key=KEYS[CCC], pace=Pace(5))
    try:
        return find_set_by_name(AlmaReader(client), name).id
    finally:
        client.close()


def test_a_deactivation_is_undone_as_a_whole(deployed: Deployed, tmp_path: Path) -> None:
    """After deactivating and undoing everybody is as before, but for the day of the last change of status."""
    # Other tests may have deactivated these patrons before, all of them members of this set.
    chosen = set_id(deployed, "Expired and active, as of the start")
    run(deployed, "reinstate", tmp_path, set_id=chosen)
    before = now(deployed)
    source, done, _ = run(deployed, "deactivate", tmp_path)
    assert done["deactivated"] > 50
    told = status(deployed, run_id=source)
    assert told["undo"]["possible"]
    assert told["institutions"][0]["undo"]["event"] | {"mode": "apply"} == {
        "action": "reinstate",
        "mode": "apply",
        "source_run_id": source,
        "institutions": [CCC],
    }

    undo, undone, rows = run(deployed, "reinstate", tmp_path, source_run_id=source)
    assert undone == {"reinstated": done["deactivated"]}
    assert all(row["detail"].startswith("expiry_past: expired on ") for row in rows)
    found = difference(before, now(deployed))
    assert (found.gone, found.otherwise) == ((), ())
    assert status(deployed, run_id=source)["undo"]["undone_by"] == [undo]


def test_purged_patrons_are_restored_and_their_story_is_told(deployed: Deployed, tmp_path: Path) -> None:
    """One with a new expiry date, then all others INACTIVE; whose id is taken, or whom Alma refuses, is told so."""
    before = now(deployed)
    source, held, _ = run(deployed, "purge", tmp_path)
    answer = {"command": "approve", "run_id": source, "institution": CCC, "by": "Ana"}
    assert deployed.invoke("operator", answer).json["status"] == "queued"
    assert deployed.command("wait", source, "--timeout", "180").code == 0
    purged = [row["primary_id"] for row in exported(deployed, source, tmp_path / "p")[1] if row["outcome"] == "purged"]
    assert len(purged) == held["would_purge"] > 20
    assert status(deployed, run_id=source)["undo"]["event"]["action"] == "restore"

    taken = {entry["value"] for user in now(deployed).values() for entry in user["user_identifier"]}
    one = next(key for key in purged if key not in taken and before[key]["account_type"]["value"] == "EXTERNAL")
    asked = {"source_run_id": source, "patron_ids": [one.lower(), "nobody"], "expiry_date": AHEAD}
    _, _, rows = run(deployed, "restore", tmp_path, **asked)
    assert [(row["primary_id"], row["outcome"], row["reason"]) for row in rows] == [
        (one, "restored", ""),
        ("nobody", "skipped", "not_in_run"),
    ]
    back = now(deployed)[one]
    assert (back["status"]["value"], back["expiry_date"]) == ("ACTIVE", f"{AHEAD}Z")
    assert back["account_type"] == before[one]["account_type"]

    _, outcomes, rows = run(deployed, "restore", tmp_path, source_run_id=source)
    assert outcomes.total() == len(purged)
    reasons = Counter(row["reason"] for row in rows)
    assert reasons["id_taken"] > sum(key in taken for key in purged)  # that one, and who has an identifier of theirs
    assert set(reasons) <= {"", "id_taken", "alma_401855"}
    after = now(deployed)
    found = difference({key: user for key, user in before.items() if key != one}, after)
    assert found.otherwise == (f"{one} is new",)
    assert len(found.gone) == len(purged) - 1 - outcomes["restored"]

    story = status(deployed, institution=CCC, patron_id=one.upper())
    assert [told["outcome"] for told in story["story"] if told["mode"] == "apply"] == ["skipped", "restored", "purged"]
    assert story["story"][-1]["answers"][0].startswith("approved by Ana")
    assert story["brought_back"]["expiry_date"] == AHEAD


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"action": "reinstate"}, "exactly one of patron_ids, set_id, source_run_id; none is given"),
        ({"action": "reinstate", "patron_ids": ["a.secret.id"]}, "goes with exactly one institution"),
        ({"action": "reinstate", "institutions": [CCC], "patron_ids": "a.secret.id"}, "should be a list"),
        ({"action": "restore", "source_run_id": "purge-0"}, "there is no such run"),
        ({"action": "purge", "expiry_date": AHEAD}, "purge takes no expiry_date"),
    ],
)
def test_a_mistaken_return_starts_nothing(deployed: Deployed, event: dict[str, Any], told: str) -> None:
    """What can't be meant is refused, in words that name no patron."""
    answer = deployed.invoke("enumerator", event)
    assert answer.code == 1
    assert told in answer.json["errorMessage"]
    assert "a.secret.id" not in answer.json["errorMessage"]


def test_nothing_personal_is_logged_of_whom_was_brought_back(deployed: Deployed) -> None:
    """After all that, no log line holds the id, the name or the e-mail of anybody."""
    lines = "\n".join(deployed.log_lines())
    kept = [line["record"] for one in vault_objects(deployed.sandbox) for line in one.lines]
    for patron in (*kept, *now(deployed).values()):
        assert patron["primary_id"] not in lines
        assert patron["full_name"] not in lines
    assert "a.secret.id" not in lines
    assert "@" not in json.dumps(lines)
