"""The operator as deployed, on local AWS with the simulated Alma: what a person sends it, and what it answers."""

import json
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.model import Mode, WorkMessage, utc_now
from sandbox.sandbox import Sandbox
from sandbox.stack import FunctionError, put_secret
from tests.samples import institution_run, run
from tests.unit.dashboard.widget_page import WidgetPage

AAA, BBB, CCC, DDD, EEE, OFF = (f"01OHIO_{name}" for name in ("AAA", "BBB", "CCC", "DDD", "EEE", "OFF"))
PATIENCE = 60  # seconds until a test that waits gives up
REGISTRY = """
defaults:
  region: na
  time_zone: America/New_York
  policy:
    deactivate: {select: {set_name: "Expired and active"}}
    purge: {select: {set_name: "OHIONET purge"}, exclude: {set_names: ["Community patrons"]}}
institutions:
  - {code: 01OHIO_AAA, name: Alder College}
  - {code: 01OHIO_BBB, name: Birch University, policy: {purge: {vault_days: 0}}}
  - {code: 01OHIO_CCC, name: Cedar College, policy: {purge: {exclude: {set_names: ["No such set"]}}}}
  - {code: 01OHIO_DDD, name: Dogwood State}
  - {code: 01OHIO_EEE, name: Elm Institute}
  - {code: 01OHIO_OFF, name: Oak School, enabled: false}
"""
KEYS = {code: f"key-of-{code}" for code in (AAA, BBB, CCC, DDD, EEE)}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The project's own functions, with institutions of a few hundred patrons."""
    folder = tmp_path_factory.mktemp("operator")
    running = Sandbox.up(folder, REGISTRY, keys=KEYS, users=200, latency=False)
    yield running
    running.down()


def ask(sandbox: Sandbox, command: str, **more: Any) -> Any:
    """Send the operator a command, and give its answer."""
    return sandbox.invoke("operator", {"command": command, **more})


def refused(sandbox: Sandbox, error_type: str, **event: Any) -> str:
    """The text of the error that an event to the operator ends in."""
    with pytest.raises(FunctionError) as trouble:
        sandbox.invoke("operator", event)
    assert trouble.value.error_type == error_type
    return trouble.value.error_message


def status_of(sandbox: Sandbox, run_id: str, code: str) -> dict[str, Any]:
    """One institution's part of a run as the operator shows it, once it doesn't go on by itself."""
    deadline = time.monotonic() + PATIENCE
    while True:
        (one,) = ask(sandbox, "status", run_id=run_id, institution=code)["institutions"]
        if one["status"] not in ("queued", "selecting", "processing"):
            shown: dict[str, Any] = one
            return shown
        assert time.monotonic() < deadline, one
        time.sleep(0.1)


@pytest.fixture(scope="module")
def held(sandbox: Sandbox) -> str:
    """The run_id of a first purge, held in four institutions; each test answers for one of its own."""
    codes = [AAA, BBB, DDD, EEE]
    run_id: str = sandbox.invoke("enumerator", {"action": "purge", "mode": "apply", "institutions": codes})["run_id"]
    assert {status_of(sandbox, run_id, code)["status"] for code in codes} == {"held"}
    return run_id


def writes(sandbox: Sandbox, code: str) -> dict[str, int]:
    """The writes that Alma has carried out in an institution, by method."""
    with urllib.request.urlopen(f"{sandbox.alma_url}/_simulator/state?institution={code}") as reply:
        state: dict[str, Any] = json.load(reply)
    counts: dict[str, int] = state["writes"]
    return counts


def test_register_tells_what_changed_and_checks_every_institution(sandbox: Sandbox) -> None:
    """A changed entry, a new one, and one that is gone are told; then all are checked, each with its own trouble."""
    changed = REGISTRY.replace("Birch University", "Birch College").replace(OFF, "01OHIO_NEW")
    answer = ask(sandbox, "register", registry=changed.replace("School, enabled: false", "School"))
    assert (answer["added"], answer["changed"]) == (["01OHIO_NEW"], [BBB])
    assert (answer["unchanged"], answer["disabled"]) == ([AAA, CCC, DDD, EEE], [])
    found = {one["institution"]: one for one in answer["check"]["institutions"]}
    assert {code for code, one in found.items() if one["ready"]} == {AAA, BBB, DDD, EEE}
    assert set(found) == {*KEYS, OFF, "01OHIO_NEW"}
    (missing,) = found["01OHIO_NEW"]["problems"]
    assert missing.startswith("secret alma-patron-lifecycle/sandbox/01OHIO_NEW is missing")
    assert any(line.startswith(f"mend 01OHIO_NEW: {missing}") for line in answer["check"]["table"])
    assert ask(sandbox, "register", registry=REGISTRY)["disabled"] == ["01OHIO_NEW"]


def test_a_registry_with_a_mistake_changes_nothing(sandbox: Sandbox) -> None:
    """The mistake is named, and the registry stays as it was."""
    before = ask(sandbox, "status", institution=AAA)["registered"]
    told = refused(
        sandbox, "RegistryError", command="register", registry=REGISTRY.replace("region: na", "region: mars")
    )
    assert '"mars" is no known region' in told
    assert ask(sandbox, "status", institution=AAA)["registered"] == before


def test_check_tells_key_rights_sets_and_next_runs(sandbox: Sandbox) -> None:
    """By the deployed schedules, which the sandbox has switched off, and with the operator's own rights on AWS."""
    answer = ask(sandbox, "check", institutions=[BBB, CCC])
    one, two = answer["institutions"]
    assert (one["key"], one["environment"], one["rights"], one["users"]) == ("valid", "sandbox", "read and write", 200)
    assert {row["told"] for row in one["sets"]} == {f"{row['members']:,}" for row in one["sets"]}
    assert one["next_runs"]["purge"]["run"] == "started by hand only"
    assert one["next_runs"]["purge"]["notes"][-1] == "no records kept"
    assert (two["ready"], len(two["problems"])) == (False, 1)
    assert 'no set of users is named "No such set"' in answer["table"][-1]
    assert writes(sandbox, BBB) == {}


def test_check_reads_the_secret_anew(sandbox: Sandbox) -> None:
    """A secret that is malformed, or another institution's, is told, and so is that it was mended."""
    prefix = sandbox.outputs["SecretPrefix"]
    put_secret(sandbox.aws, prefix, CCC, "not json")
    assert ask(sandbox, "check", institutions=[CCC])["institutions"][0]["key"] == "no usable secret"
    put_secret(sandbox.aws, prefix, CCC, json.dumps({"api_key": KEYS[AAA]}))
    assert ask(sandbox, "check", institutions=[CCC])["institutions"][0]["key"] == f"of {AAA}"
    put_secret(sandbox.aws, prefix, CCC, json.dumps({"api_key": KEYS[CCC]}))
    assert ask(sandbox, "check", institutions=[CCC])["institutions"][0]["key"] == "valid"


def test_a_held_purge_is_shown_approved_and_done(sandbox: Sandbox, held: str) -> None:
    """Held with its figures, nobody deleted; status lists it; once approved it deletes as many as it said."""
    (shown,) = [one for one in ask(sandbox, "status")["held"] if (one["run_id"], one["institution"]) == (held, AAA)]
    due = shown["outcomes"]["would_purge"]
    assert shown["hold_reasons"][0].startswith("first_run: ")
    assert shown["held_until"]
    assert writes(sandbox, AAA) == {}

    answer = ask(sandbox, "approve", run_id=held, institution=AAA, by="ana", note="looked at the list")

    assert (answer["run_id"], answer["institution"], answer["status"]) == (held, AAA, "queued")
    assert [(said["answer"], said["by"], said["note"]) for said in answer["answers"]] == [
        ("approved", "ana", "looked at the list")
    ]
    done = status_of(sandbox, held, AAA)
    assert done["status"] == "completed"
    assert done["outcomes"]["purged"] == due == writes(sandbox, AAA)["DELETE"] > 0
    told = refused(sandbox, "InvalidEvent", command="approve", run_id=held, institution=AAA, by="ana")
    assert f"{held} is not held in {AAA}, it is completed, approved by ana on " in told


def test_a_rejected_purge_ends_with_nobody_deleted(sandbox: Sandbox, held: str) -> None:
    """Who rejected, and why, is in the answer; that institution's part of the run is over."""
    answer = ask(sandbox, "reject", run_id=held, institution=BBB, by="ben", note="too many")
    assert (answer["status"], answer["answers"][0]["answer"]) == ("rejected", "rejected")
    assert "rejected by ben" in answer["status_reason"]
    assert "too many" in answer["status_reason"]
    assert status_of(sandbox, held, BBB)["status"] == "rejected"
    assert writes(sandbox, BBB) == {}


def test_cancel_ends_what_is_held_and_may_be_repeated(sandbox: Sandbox, held: str) -> None:
    """What is held ends at once; the second time it had ended before."""
    first = ask(sandbox, "cancel", run_id=held, institution=DDD, by="cleo")
    assert first == {"run_id": held, "cancelled": [DDD], "stopping": [], "ended": []}
    second = ask(sandbox, "cancel", run_id=held, institution=DDD, by="cleo")
    assert second == {"run_id": held, "cancelled": [], "stopping": [], "ended": [DDD]}
    assert writes(sandbox, DDD) == {}


def test_stop_all_ends_every_run(sandbox: Sandbox, held: str) -> None:
    """What had not ended is named with what became of it; afterwards nothing is open, nor is there anything to stop."""
    assert EEE in ask(sandbox, "stop_all", by="dan")["runs"][held]["cancelled"]
    assert ask(sandbox, "status")["held"] == []
    assert all(run["open"] == 0 for run in ask(sandbox, "status")["runs"])
    assert ask(sandbox, "stop_all", by="dan") == {"runs": {}}
    assert writes(sandbox, EEE) == {}


def test_status_shows_one_institution_with_its_policy(sandbox: Sandbox) -> None:
    """As registered, the caps included, and with its latest runs; a disabled one too."""
    shown = ask(sandbox, "status", institution=BBB)
    assert shown["registered"]["policy"]["purge"]["max_patrons"] == 500
    assert shown["registered"]["policy"]["purge"]["vault_days"] == 0
    assert all(one["institution"] == BBB for one in shown["latest"])
    assert ask(sandbox, "status", institution=OFF)["registered"]["enabled"] is False


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({}, "command: should be one of register, check, "),
        ({"command": "delete"}, "command: should be one of register, check, "),
        ({"command": "register"}, "registry"),
        ({"command": "check", "institution": AAA}, "did you mean institutions?"),
        ({"command": "check", "institutions": []}, "is empty; name at least one"),
        ({"command": "check", "institutions": ["01OHIO_ZZZ"]}, "institutions: 01OHIO_ZZZ not registered"),
        ({"command": "status", "run_id": "no-such-run"}, "run_id: there is no run no-such-run"),
        ({"command": "status", "institution": "01OHIO_ZZZ"}, "institution: 01OHIO_ZZZ is not registered"),
        ({"command": "approve", "run_id": "no-such-run", "institution": AAA}, "by"),
        ({"command": "approve", "run_id": "no-such-run", "institution": AAA, "by": " "}, "by"),
        ({"command": "approve", "run_id": "no-such-run", "institution": AAA, "by": "ana"}, "there is no run"),
        ({"command": "reject", "run_id": "no-such-run", "institution": AAA, "by": "ana"}, "there is no run"),
        ({"command": "cancel", "run_id": "no-such-run", "by": "ana"}, "there is no run"),
        ({"command": "cancel", "run_id": "no-such-run"}, "by"),
        ({"command": "stop_all"}, "by"),
        ({"command": "tidy", "now": True}, "now"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_bad_event_is_refused_and_says_what_to_mend(sandbox: Sandbox, event: dict[str, Any], told: str) -> None:
    """Unknown commands, keys, runs and institutions, and missing ones, are named in the error."""
    assert told in refused(sandbox, "InvalidEvent", **event)


def test_a_dashboard_is_answered_in_html(sandbox: Sandbox) -> None:
    """CloudWatch puts a widgetContext beside the command: the answer is the same, for a person to read."""
    context = {"dashboardName": "patrons", "widgetId": "widget-1", "timeRange": {"start": 1, "end": 2}, "params": {}}
    (told,) = WidgetPage(ask(sandbox, "status", widgetContext=context)).texts["pre"]
    assert json.loads(told) == ask(sandbox, "status")
    (told,) = WidgetPage(ask(sandbox, "check", institutions=[AAA], widgetContext=context)).texts["pre"]
    assert json.loads(told)["institutions"][0]["ready"]
    assert WidgetPage(sandbox.invoke("operator", {"widgetContext": context})).says("command: should be one of")


def put_dead_letter(sandbox: Sandbox, body: str, group: str) -> None:
    """Let a message lie in the dead-letter queue, as SQS would have put it there."""
    sandbox.aws.client("sqs").send_message(
        QueueUrl=sandbox.outputs["DeadLetterQueueUrl"],
        MessageBody=body,
        MessageGroupId=group,
        MessageDeduplicationId=str(uuid.uuid4()),
    )


def dead_letters(sandbox: Sandbox) -> int:
    """How many messages there are in the dead-letter queue, those that somebody looks at included."""
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    found = sandbox.aws.client("sqs").get_queue_attributes(
        QueueUrl=sandbox.outputs["DeadLetterQueueUrl"], AttributeNames=list(names)
    )
    return sum(int(found["Attributes"][name]) for name in names)


def test_redrive_puts_back_what_no_worker_could_do(sandbox: Sandbox) -> None:
    """Three messages of an institution run that stands still let it go on, once; what is none of ours stays, unread."""
    store = DynamoStore(sandbox.aws.resource("dynamodb").Table(sandbox.outputs["TableName"]), 400)
    registered = store.institution(AAA)
    assert registered is not None
    now = utc_now()
    stuck = {"mode": Mode.PREVIEW, "created_at": now}
    store.create_run(run("deactivate-stuck", (AAA,), **stuck))
    store.create_institution_run(
        institution_run("deactivate-stuck", AAA, institution=registered, seq=2, touched_at=now, **stuck)
    )
    for seq in range(3):
        message = WorkMessage(run_id="deactivate-stuck", institution=AAA, seq=seq)
        put_dead_letter(sandbox, message.model_dump_json(), AAA)
    put_dead_letter(sandbox, "jane.smith", "other")

    answer = ask(sandbox, "redrive")

    (back,) = answer["put_back"]
    assert (back["run_id"], back["institution"], back["status"]) == ("deactivate-stuck", AAA, "queued")
    assert back["received"] >= 1
    assert answer["left"] == []
    (kept,) = answer["kept"]
    assert "jane" not in json.dumps(answer)
    assert kept["message_id"]
    assert dead_letters(sandbox) == 1
    assert status_of(sandbox, "deactivate-stuck", AAA)["status"] == "completed"
    assert ask(sandbox, "redrive")["put_back"] == []


def test_days_since_a_run_has_finished(sandbox: Sandbox) -> None:
    """The sandbox's schedules are off, so that nothing is missing; the answer says so."""
    off = {"days": 0.0, "institution": "", "why": "nothing is counted: its schedule is off"}
    assert ask(sandbox, "days_since") == {"deactivate": off, "purge": off}


def test_tidy_finds_nothing_to_do(sandbox: Sandbox) -> None:
    """With nothing stalled, the hourly tidy changes nothing and says so."""
    assert ask(sandbox, "tidy") == {"launched": [], "woken": [], "failed": [], "rejected": []}
