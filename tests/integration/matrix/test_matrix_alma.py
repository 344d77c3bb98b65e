"""Alma in the failure matrix: storms, errors, lost answers, a key that ends, sets that go, and spent quotas."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.runs.model import RunStatus, Status
from sandbox.simulator.messages import (
    Fault,
    Judge,
    Reply,
    Request,
    daily_threshold,
    error,
    general_error,
    per_second_threshold,
)
from tests.integration.matrix.cloud import AwsFault, refused
from tests.integration.matrix.service import (
    CODE,
    DUE,
    KEEP,
    TO_PURGE,
    UNDISTURBED,
    Action,
    AlmaFault,
    Make,
    Service,
    recovered,
)

pytestmark = pytest.mark.untraced

NEVER_ENDING = 10**6
NOT_ATTEMPTED = (Outcome.SKIPPED, "not_attempted")
USER = "/users/{user_id}"
HTML = {"Content-Type": "text/html"}
STORM = {"429": Fault(per_second_threshold()), "429-xml": Fault(per_second_threshold(as_xml=True))}
TROUBLE = {
    "503": Fault(general_error()),
    "500": Fault(error("INTERNAL_SERVER_ERROR", "Internal error", status=500)),
    "502-html": Fault(Reply(502, HTML, b"<html><body>Bad Gateway</body></html>")),
    "504-html": Fault(Reply(504, HTML, b"<html><body>Gateway Time-out</body></html>")),
    "200-html": Fault(Reply(200, HTML, b"<html><body>Maintenance</body></html>")),
    "truncated": Fault(Reply(200, {"Content-Type": "application/json"}, b'{"primary_id": "active.o')),
    "reset": Fault(lost="reset"),
    "stall": Fault(lost="timeout"),
}
WRITES = {"deactivate": "PUT", "purge": "DELETE"}
DONE = {"deactivate": (Outcome.DEACTIVATED, ""), "purge": (Outcome.PURGED, "")}


def gone_wrong(service: Service, *faults: AlmaFault) -> None:
    """Let these things go wrong in Alma."""
    service.alma.faults += faults


def each_with_a_trouble(service: Service, action: Action) -> dict[str, Fault]:
    """Add as many patrons who are due as there are troubles, and name each for the trouble that they are to meet."""
    named = {f"with.{kind}": fault for kind, fault in TROUBLE.items()}
    service.add_due(action, named)
    return named


def write_of(action: Action, name: str, fault: Fault) -> Judge:
    """The trouble that the first write of one patron meets."""
    met: list[Request] = []

    def judge(request: Request) -> Fault | None:
        if request.method != WRITES[action] or request.arguments.get("user_id") != name or met:
            return None
        met.append(request)
        return fault

    return judge


@pytest.mark.parametrize("action", WRITES)
def test_reads_that_fail_for_a_while_are_made_again(make: Make, action: Action) -> None:
    """Each kind of trouble comes over a read, again and again: nobody sees it in the result."""
    service = make()
    named = each_with_a_trouble(service, action)
    rest, reads = list((STORM | TROUBLE).values()), count()
    service.alma.faults.append(
        lambda request: rest.pop() if request.method == "GET" and rest and next(reads) % 2 else None
    )
    run_id = service.start(action)
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action] | dict.fromkeys(named, DONE[action])
    assert not rest
    assert not service.failures


@pytest.mark.parametrize("action", WRITES)
def test_writes_whose_answer_is_lost_were_done(make: Make, action: Action) -> None:
    """Alma has done it and says something else, or nothing: the patron is read back, and nobody is changed twice."""
    service = make()
    named = each_with_a_trouble(service, action)
    service.alma.faults += [write_of(action, name, replace(one, carried_out=True)) for name, one in named.items()]
    run_id = service.start(action)
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action] | dict.fromkeys(named, DONE[action])
    assert recovered(service.rows(run_id)) == set(named)
    assert service.failures == []


def test_deactivations_that_never_reached_alma_are_sent_again(make: Make) -> None:
    """The patron is read back, found as before, decided anew, and deactivated."""
    service = make()
    named = each_with_a_trouble(service, "deactivate")
    service.alma.faults += [write_of("deactivate", name, one) for name, one in named.items()]
    run_id = service.start("deactivate")
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED["deactivate"] | dict.fromkeys(named, (Outcome.DEACTIVATED, ""))
    assert recovered(service.rows(run_id)) == set()


def test_deletes_that_never_reached_alma_are_not_sent_again(make: Make) -> None:
    """By now the id may mean somebody else: the patron stays, is told as failed, and the next run takes them."""
    service = make()
    named = each_with_a_trouble(service, "purge")
    service.alma.faults += [write_of("purge", name, one) for name, one in named.items()]
    run_id = service.start("purge")
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED["purge"] | dict.fromkeys(named, (Outcome.FAILED, "unconfirmed"))
    assert set(named) <= set(service.alma.institution(CODE).users)
    again = service.start("purge")
    service.pump()
    service.judge(again)
    told = service.told(again)
    assert {name: told[name] for name in named} == dict.fromkeys(named, (Outcome.PURGED, ""))


@pytest.mark.parametrize("action", WRITES)
def test_a_storm_of_429_delays_writes(make: Make, action: Action) -> None:
    """By 429 Alma says that it did nothing: the write is sent again, at a lower pace, until it gets through."""
    service = make()
    fault = AlmaFault(STORM["429-xml"], WRITES[action], USER, times=5)
    gone_wrong(service, fault)
    run_id = service.start(action)
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]
    assert service.one(run_id).throttled == fault.met == 5


@pytest.mark.parametrize("action", WRITES)
def test_writes_that_alma_never_takes_end_the_run(make: Make, action: Action) -> None:
    """429 for every write, for ever: failed after three slices, with how many calls Alma has turned away."""
    service = make()
    gone_wrong(service, AlmaFault(STORM["429"], WRITES[action], USER, times=NEVER_ENDING))
    run_id = service.start(action)
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert service.told(run_id) == UNDISTURBED[action] | dict.fromkeys(DUE[action], NOT_ATTEMPTED)
    assert "with 429" in service.one(run_id).status_reason


@pytest.mark.parametrize("kind", ["429", "503", "stall"])
def test_an_alma_that_never_answers_ends_the_run(make: Make, kind: str) -> None:
    """After three slices in vain the institution run is failed, with what Alma said last; nobody was changed."""
    service = make()
    gone_wrong(service, AlmaFault((STORM | TROUBLE)[kind], times=NEVER_ENDING))
    run_id = service.start()
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert service.one(run_id).status_reason.startswith("no progress in 3 slices: ")
    assert service.alma.institution(CODE).writes == []
    assert service.dead_letters() == []


@pytest.mark.parametrize("action", WRITES)
def test_an_outage_in_the_middle_is_waited_for(make: Make, action: Action) -> None:
    """Alma goes away after the first write, until SQS gives the message back: the run goes on where it was."""
    service = make()
    outage = AlmaFault(TROUBLE["503"], times=NEVER_ENDING)
    gone_wrong(service, AlmaFault(None, WRITES[action], USER, spared=1, then=lambda: gone_wrong(service, outage)))
    run_id = service.start(action)
    (message,) = service.receive()
    service.deliver(message)
    assert outage.met
    assert service.one(run_id).status is Status.PROCESSING
    service.alma.faults.remove(outage)
    service.pump()
    service.judge(run_id)
    told = service.told(run_id)
    assert {user_id for user_id in DUE[action] if told[user_id] == UNDISTURBED[action][user_id]}
    assert {user_id: one for user_id, one in told.items() if user_id not in DUE[action]} == {
        user_id: one for user_id, one in UNDISTURBED[action].items() if user_id not in DUE[action]
    }


# ── Keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

MOMENTS = {"first call": ("GET", "/conf/general", 0), "a read": ("GET", USER, 1), "a write": ("", USER, 3)}


def revoked(service: Service, *, successor: str = "") -> Callable[[], None]:
    """Take the institution's key away; its successor stands in Secrets Manager at once."""

    def do() -> None:
        service.alma.institution(CODE).api_key = "the-next-key"
        if successor:
            service.cloud.put_key(CODE, successor)

    return do


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("action", WRITES)
def test_a_key_that_is_revoked_midway_ends_the_run(make: Make, action: Action, moment: str) -> None:
    """The institution run is failed and says what to do; who was reached has an outcome, the others are left over."""
    service = make()
    method, route, spared = MOMENTS[moment]
    fault = AlmaFault(None, method, route, spared=spared, then=revoked(service))
    gone_wrong(service, fault)
    run_id = service.start(action)
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert fault.met
    assert "read/write rights on Users" in service.one(run_id).status_reason
    assert set(service.told(run_id).values()) <= {*UNDISTURBED[action].values(), NOT_ATTEMPTED}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("action", WRITES)
def test_a_key_that_is_rotated_midway_is_taken_up(make: Make, action: Action, moment: str) -> None:
    """The old key ends while its successor is in Secrets Manager already: the next slice goes on with that."""
    service = make()
    method, route, spared = MOMENTS[moment]
    gone_wrong(service, AlmaFault(None, method, route, spared=spared, then=revoked(service, successor="the-next-key")))
    run_id = service.start(action)
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]
    assert service.failures == []


def test_a_key_that_is_rotated_to_a_wrong_one_ends_the_run(make: Make) -> None:
    """The successor isn't known to Alma either: the institution run is failed, as for a key that was revoked."""
    service = make()
    gone_wrong(service, AlmaFault(None, "GET", USER, then=revoked(service, successor="mistyped")))
    run_id = service.start()
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert "Alma refused the API key" in service.one(run_id).status_reason


@pytest.mark.parametrize("action", WRITES)
def test_a_key_that_may_no_longer_write_ends_the_run(make: Make, action: Action) -> None:
    """The right to write is withdrawn before the first write: failed, says what to do, and nobody was changed."""
    service = make()
    institution = service.alma.institution(CODE)

    def withdraw() -> None:
        institution.read_only_keys, institution.api_key = frozenset({institution.api_key}), "another"

    gone_wrong(service, AlmaFault(None, "GET", USER, then=withdraw))
    run_id = service.start(action)
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert "Alma refused the API key" in service.one(run_id).status_reason
    assert institution.writes == []


# ── Sets ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def deleted(service: Service, name: str) -> Callable[[], None]:
    """Somebody deletes a set in Alma."""

    def do() -> None:
        institution = service.alma.institution(CODE)
        institution.sets = [one for one in institution.sets if one.name != name]

    return do


@pytest.mark.parametrize("name", [TO_PURGE, KEEP])
@pytest.mark.parametrize("spared", [0, 1])
def test_a_set_that_is_deleted_before_it_is_read_ends_the_run(make: Make, name: str, spared: int) -> None:
    """Gone before anything was frozen, the set of candidates or that of those who stay: failed, nobody was changed."""
    service = make()
    which = 0 if name == KEEP else 2  # the set of those who stay is looked up and read first
    fault = AlmaFault(None, "GET", "/conf/sets", spared=which + spared, then=deleted(service, name))
    gone_wrong(service, fault)
    run_id = service.start("purge")
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert fault.met
    assert "set" in service.one(run_id).status_reason
    assert service.alma.institution(CODE).writes == []


@pytest.mark.parametrize("name", [TO_PURGE, KEEP])
def test_a_set_that_is_deleted_after_the_freeze_changes_nothing(make: Make, name: str) -> None:
    """The slice goes on by what it has frozen: the same candidates, and the same who stay."""
    service = make()
    fault = AlmaFault(None, "GET", USER, then=deleted(service, name))
    gone_wrong(service, fault)
    run_id = service.start("purge")
    service.pump()
    service.judge(run_id)
    assert fault.met
    assert service.told(run_id) == UNDISTURBED["purge"]


def test_a_later_slice_without_the_set_of_those_who_stay_ends_the_run(make: Make) -> None:
    """Whoever was put into it since isn't known any more, so nobody else is deleted: failed, the rest is left over."""
    service = make()
    run_id = service.start("purge")
    fault = AlmaFault(None, "GET", USER, then=deleted(service, KEEP))
    gone_wrong(service, fault)
    service.cloud.faults.append(AwsFault("dynamodb.TransactWriteItems", refused("InternalServerError", 500), times=10))
    (message,) = service.receive()
    assert not service.deliver(message)
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert fault.met
    assert KEEP in service.one(run_id).status_reason
    assert set(service.told(run_id).values()) == {NOT_ATTEMPTED}


# ── The daily quota ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("action", WRITES)
def test_a_spent_quota_pauses_the_run_until_it_is_resumed(make: Make, action: Action) -> None:
    """DAILY_THRESHOLD at a write: paused, with a schedule for the next day, and done when that resumes it."""
    service = make()
    gone_wrong(service, AlmaFault(Fault(daily_threshold()), WRITES[action], USER))
    run_id = service.start(action)
    service.pump()
    one, run = service.one(run_id), service.store.run(run_id)
    assert run is not None
    assert (one.status, run.status) == (Status.PAUSED, RunStatus.PAUSED)
    assert one.paused_until is not None
    (planned,) = service.planned()
    assert planned["ScheduleExpression"] == f"at({one.paused_until:%Y-%m-%dT%H:%M:%S})"
    service.time.sleep(timedelta(hours=8).total_seconds())
    answer = service.command("resume", **service.resuming(planned))
    assert answer["resumed"] == (f"{run_id}/{CODE}",)
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]
    assert service.failures == []


def test_a_paused_run_without_a_schedule_is_resumed_by_the_tidy(make: Make) -> None:
    """EventBridge Scheduler denies the schedule: the run pauses all the same, and the hourly tidy lets it go on."""
    service = make()
    denied = AwsFault("scheduler.CreateSchedule", refused("AccessDeniedException", 403))
    service.cloud.faults.append(denied)
    gone_wrong(service, AlmaFault(Fault(daily_threshold()), "PUT", USER))
    run_id = service.start()
    service.pump()
    assert service.one(run_id).status is Status.PAUSED
    assert denied.met == 1
    assert service.planned() == []
    service.finish(run_id)
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED["deactivate"]
    assert service.failures == []
