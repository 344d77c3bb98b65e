"""Reinstating and restoring in one institution, from the event to the patrons in the simulated Alma."""

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.registry import parse_registry
from patron_lifecycle.runs.answers import approve, cancel, reject
from patron_lifecycle.runs.events import InvalidEvent, ShowStatus
from patron_lifecycle.runs.model import InstitutionRun, Status
from patron_lifecycle.runs.status import show_status
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.vault import Archive
from sandbox.simulator.institutions import SimulatedSet
from sandbox.simulator.judge import OutcomeRow, Terms, WriteJudge
from sandbox.simulator.messages import Fault, Request, error, json_reply
from sandbox.simulator.patrons import identifier, record, role, xs_date
from sandbox.simulator.swap_all import refuses
from tests.unit.runs.test_purge import GONE, gone, left, reasons
from tests.workbench import TODAY, Killed, Workbench

CODE = "01OHIO_AAA"
USERS = "/users"
LAPSED = date(2026, 6, 30)
AHEAD = date(2027, 6, 30)
KEEP_RUNS = timedelta(days=400)
BOTH = [Action.DEACTIVATE, Action.PURGE]
ANY_NUMBER = "max_patrons: 100000, max_percent: 100"


def registry(*, deactivate: str = ANY_NUMBER, purge: str = ANY_NUMBER) -> str:
    """A registry of one institution that deactivates and purges by sweep."""
    head = f"institutions:\n  - code: {CODE}\n    name: Alder\n    region: na\n    time_zone: America/New_York\n"
    policy = (
        f"      deactivate: {{select: {{sweep: true}}, {deactivate}}}\n"
        f"      purge: {{select: {{sweep: true}}, first_run: apply, {purge}}}\n"
    )
    return f"{head}    policy:\n{policy}"


def due(primary_id: str, **changes: object) -> dict[str, Any]:
    """A patron whom a deactivation takes."""
    return record(primary_id, **({"expiry_date": LAPSED, "status_date": date(2025, 9, 1)} | changes))


def bench_of(*records: dict[str, Any], registered: str = "", **more: Any) -> Workbench:
    """A workbench whose institution has these patrons."""
    bench = Workbench(registered or registry(), users=0, **more)
    bench.alma.institution(CODE).users = {one["primary_id"].casefold(): one for one in records}
    return bench


def done(bench: Workbench, action: str, **event: Any) -> InstitutionRun:
    """A run of that action, worked on until nothing goes on by itself; it has completed."""
    run = bench.run(action=action, **event)
    assert (run.status, run.status_reason) == (Status.COMPLETED, "")
    assert bench.failures == []
    return run


def user(bench: Workbench, primary_id: str) -> dict[str, Any]:
    """The record that the simulated Alma holds, to look at or to change."""
    return bench.alma.institution(CODE).users[primary_id.casefold()]


def status_of(bench: Workbench) -> dict[str, str]:
    """The status of everybody in Alma."""
    return {one["primary_id"]: one["status"]["value"] for one in bench.alma.institution(CODE).users.values()}


def writes(bench: Workbench) -> list[tuple[str, str]]:
    """Method and patron of every write so far."""
    return [(write.method, write.primary_id) for write in bench.alma.institution(CODE).writes]


def given(bench: Workbench) -> dict[str, dict[str, Any]]:
    """What Alma gives of everybody on a GET with expand, by folded primary id."""
    headers = {"authorization": f"apikey {bench.keys[CODE]}", "accept": "application/json"}

    def get(primary_id: str) -> dict[str, Any]:
        path = f"/almaws/v1/users/{quote(primary_id, safe='')}"
        reply = bench.alma.handle("GET", path, {"expand": "loans,requests,fees"}, headers)
        assert reply.status == 200, reply.body
        return dict(json.loads(reply.body))

    users = bench.alma.institution(CODE).users
    return {key: get(one["primary_id"]) for key, one in users.items() if not key.startswith("no primary id")}


def rows_of(bench: Workbench, run: InstitutionRun) -> list[OutcomeRow]:
    """The outcomes of an ended run as the judge takes them."""
    found = bench.outcomes(run.run_id).items()
    return [(key, row.outcome.value, row.reason or None, row.detail) for key, row in found]


def undoing(bench: Workbench, source: InstitutionRun, *, day: date = TODAY, **terms: Any) -> WriteJudge:
    """A judge of the undoing of a deactivation, who knows whom it deactivated and how it left them."""
    deactivated = {
        key: (row.status_date, row.expiry_date)
        for key, row in bench.outcomes(source.run_id).items()
        if row.outcome is Outcome.DEACTIVATED
    }
    terms = {"left_as": deactivated} | terms
    return WriteJudge(bench.alma.institution(CODE), Terms("reinstate", day, **terms))


def restoring(bench: Workbench, *archived: dict[str, Any], day: date = TODAY, **terms: Any) -> WriteJudge:
    """A judge of the restoring of these patrons, given as they were before the purge."""
    by_id = {one["primary_id"]: one for one in archived}
    return WriteJudge(bench.alma.institution(CODE), Terms("restore", day, archived=by_id, refuses=refuses, **terms))


def is_right(bench: Workbench, judge: WriteJudge, run: InstitutionRun) -> None:
    """The judge has nothing to say against the writes and the outcomes of this run."""
    assert judge.wrongs == []
    assert judge.check_outcomes(rows_of(bench, run)) == []
    assert judge.check_reasons(rows_of(bench, run)) == []


def detail_of(bench: Workbench, run: InstitutionRun, primary_id: str) -> str:
    """The detail of one outcome."""
    return bench.outcomes(run.run_id)[primary_id].detail


def deactivated(*records: dict[str, Any], **more: Any) -> tuple[Workbench, InstitutionRun]:
    """A workbench in which a deactivation has run, and that run."""
    bench = bench_of(*records, **more)
    return bench, done(bench, "deactivate")


def purged(*records: dict[str, Any], **more: Any) -> tuple[Workbench, InstitutionRun]:
    """A workbench in which a purge has run, and that run."""
    bench = bench_of(*records, **more)
    return bench, done(bench, "purge")


def days_later(bench: Workbench, days: int) -> date:
    """Let days pass; the day that it is then."""
    bench.time.seconds += days * 86400
    return bench.time.now().date()


# ── Undoing a deactivation ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_undo_makes_all_active_again_and_nothing_else_is_changed() -> None:
    """Whom the run made INACTIVE is as before, but for the date of the status; nobody else is touched."""
    was_inactive = due("iris", status="INACTIVE")
    bench = bench_of(due("fern"), due("Reed", account_type="EXTERNAL", external_id="SIS"), was_inactive, due("sage"))
    before = given(bench)
    source = done(bench, "deactivate")
    judge = undoing(bench, source)
    run = done(bench, "reinstate", source_run_id=source.run_id)
    is_right(bench, judge, run)
    assert reasons(bench, run) == dict.fromkeys(("fern", "Reed", "sage"), "reinstated")
    assert run.outcomes == {Outcome.REINSTATED: 3}
    assert sorted(writes(bench)[3:]) == [("PUT", "Reed"), ("PUT", "fern"), ("PUT", "sage")]
    today = {"status_date": xs_date(TODAY)}
    assert given(bench) == {key: one if key == "iris" else one | today for key, one in before.items()}


def test_an_undo_with_a_new_expiry_date_changes_that_and_the_status() -> None:
    """The weekly deactivation then leaves them alone, and the purge date stays as it was."""
    bench, source = deactivated(due("fern", purge_date=date(2026, 12, 1)), due("reed"))
    before = given(bench)
    judge = undoing(bench, source, expiry_date=AHEAD)
    run = done(bench, "reinstate", source_run_id=source.run_id, expiry_date=AHEAD.isoformat())
    is_right(bench, judge, run)
    active = {"status": {"value": "ACTIVE", "desc": "Active"}, "expiry_date": xs_date(AHEAD)}
    assert given(bench) == {key: one | active for key, one in before.items()}
    assert detail_of(bench, run, "fern") == ""
    assert done(bench, "deactivate").outcomes == {}


def becomes(name: str, value: Any) -> Callable[[Workbench], None]:
    """A change of fern's record by somebody else."""
    return lambda bench: user(bench, "fern").__setitem__(name, value)


def goes(bench: Workbench) -> None:
    """Fern is deleted by somebody else."""
    del bench.alma.institution(CODE).users["fern"]


def is_another(bench: Workbench) -> None:
    """Fern is deleted, and the id is a barcode of a patron who is INACTIVE."""
    goes(bench)
    barcode = [identifier("BARCODE", "fern")]
    willow = due("willow", status="INACTIVE", status_date=TODAY, user_identifier=barcode)
    bench.alma.institution(CODE).users["willow"] = willow


SINCE: dict[str, tuple[Callable[[Workbench], None], str, str]] = {
    "active again": (becomes("status", {"value": "ACTIVE", "desc": "Active"}), "already_active", ""),
    "inactive since another day": (
        becomes("status_date", "2026-11-25Z"),
        "changed_since",
        "INACTIVE since 2026-11-25, not 2026-11-23",
    ),
    "renewed": (becomes("expiry_date", "2027-05-31Z"), "changed_since", "expiry date 2027-05-31, not 2026-06-30"),
    "without expiry date": (becomes("expiry_date", None), "changed_since", "expiry date none, not 2026-06-30"),
    "gone": (goes, "not_found", "User with identifier fern was not found."),
    "somebody else's barcode": (is_another, "identity_mismatch", ""),
    "staff by role": (becomes("user_role", [role("200"), role("32")]), "staff", ""),
    "staff by record type": (becomes("record_type", {"value": "STAFF", "desc": "Staff"}), "staff", ""),
    "a linked copy": (becomes("source_link_id", "77"), "linked_account", ""),
    "unreadable": (becomes("status_date", "soon"), "unverifiable", "status_date can't be read"),
    "of a status of another make": (becomes("status", {"value": "DELETED"}), "unverifiable", "status can't be read"),
}


@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("event", [{}, {"expiry_date": "2027-06-30"}])
def test_an_undo_leaves_alone_who_is_not_as_the_run_left_them(since: str, event: dict[str, str]) -> None:
    """Whoever was changed since stays as they are, with the reason and what is known; the others come back."""
    bench, source = deactivated(due("fern"), due("reed"))
    change, reason, detail = SINCE[since]
    change(bench)
    before = given(bench)
    run = done(bench, "reinstate", source_run_id=source.run_id, **event)
    row = bench.outcomes(run.run_id)["fern"]
    assert (row.outcome, row.reason, row.detail) == (Outcome.SKIPPED, reason, detail)
    assert reasons(bench, run)["reed"] == "reinstated"
    after = given(bench)
    del before["reed"], after["reed"]
    assert before == after


def test_an_undo_never_touches_whom_the_run_did_not_deactivate() -> None:
    """INACTIVE before, within grace, staff, refused by Alma: none of them is even a candidate of the undo."""
    bench, source = deactivated(
        due("fern"),
        due("before", status="INACTIVE", status_date=TODAY),
        due("grace", expiry_date=TODAY - timedelta(days=3)),
        due("staff", user_role=[role("26")]),
        due("refused", account_type="INTEXTAUTH"),
    )
    for one in ("grace", "staff", "refused"):  # as the run would have left them
        user(bench, one).update(status={"value": "INACTIVE", "desc": "Inactive"}, status_date=xs_date(TODAY))
    run = done(bench, "reinstate", source_run_id=source.run_id)
    assert reasons(bench, run) == {"fern": "reinstated"}
    assert writes(bench) == [("PUT", "fern"), ("PUT", "fern")]


def killed_after_first_put(bench: Workbench, run_id: str) -> None:
    """Let the worker die right after Alma has carried out a PUT, and somebody cancel the run."""
    institution = bench.alma.institution(CODE)

    def die() -> None:
        if institution.writes:
            raise Killed

    bench.before_call = bench.after_call = die
    with pytest.raises(Killed):
        bench.slice(bench.queue.messages.popleft())
    bench.before_call = bench.after_call = lambda: None
    cancel(run_id, None, "cleo", bench.engine)
    bench.drain()


def test_whom_the_run_may_or_may_not_have_deactivated_is_unproven() -> None:
    """A worker was lost and the run cancelled: who is INACTIVE is left to a person, who is ACTIVE needs nothing."""
    bench = bench_of(due("fern"), due("reed"), one_thread=True)
    started = bench.start()
    killed_after_first_put(bench, started.run_id)
    bench.queue.messages.clear()
    bench.store.release_lease(CODE, started.run_id)
    if bench.institution_run(started.run_id).status.is_open:  # its worker may be at work, for all that is known
        bench.slice(bench.queue.sent[-1])
    source = bench.institution_run(started.run_id)
    assert source.status is Status.CANCELLED
    assert source.reasons["unconfirmed"] == 2
    (written,) = {primary_id for _, primary_id in writes(bench)}
    run = done(bench, "reinstate", source_run_id=source.run_id)
    (other,) = {"fern", "reed"} - {written}
    assert reasons(bench, run) == {written: "unproven", other: "already_active"}
    assert status_of(bench) == {written: "INACTIVE", other: "ACTIVE"}


def test_undoing_twice_changes_nobody_the_second_time() -> None:
    """All are ACTIVE already."""
    bench, source = deactivated(due("fern"), due("reed"))
    done(bench, "reinstate", source_run_id=source.run_id)
    before = given(bench), writes(bench)
    again = done(bench, "reinstate", source_run_id=source.run_id)
    assert reasons(bench, again) == dict.fromkeys(("fern", "reed"), "already_active")
    assert (given(bench), writes(bench)) == before


def test_what_a_later_run_deactivated_is_not_undone_with_the_earlier_one() -> None:
    """Undone, deactivated again on another day: undoing the first run once more leaves them INACTIVE."""
    bench, source = deactivated(due("fern"))
    done(bench, "reinstate", source_run_id=source.run_id)
    days_later(bench, 7)
    later = done(bench, "deactivate")
    assert reasons(bench, later) == {"fern": "deactivated"}
    user(bench, "fern")["status_date"] = "2026-11-30Z"  # the simulated Alma's day stands still
    run = done(bench, "reinstate", source_run_id=source.run_id)
    assert reasons(bench, run) == {"fern": "changed_since"}
    assert detail_of(bench, run, "fern") == f"taken away again by {later.run_id}"


@pytest.mark.parametrize(("taken", "back"), [("deactivate", "reinstate"), ("purge", "restore")])
def test_only_the_run_that_took_a_patron_last_is_undone(taken: str, back: str) -> None:
    """Brought back and taken again on the same day, with the same dates: it is the later run's to take back."""
    bench = bench_of(due("fern") if taken == "deactivate" else gone("fern"))
    source = done(bench, taken)
    done(bench, back, source_run_id=source.run_id)
    if taken == "purge":
        user(bench, "fern").update(expiry_date="2019-01-01Z", status_date="2020-01-01Z")  # else it is protected
    bench.time.seconds += 60
    later = done(bench, taken)
    assert reasons(bench, later) == {"fern": f"{taken}d".replace("ee", "e")}
    run = done(bench, back, source_run_id=source.run_id)
    assert (reasons(bench, run), detail_of(bench, run, "fern")) == (
        {"fern": "changed_since"},
        f"taken away again by {later.run_id}",
    )
    assert set(reasons(bench, done(bench, back, source_run_id=later.run_id)).values()) == {f"{back}d"}


def test_an_approved_undo_leaves_what_was_taken_again_while_it_was_held() -> None:
    """The same day, with the same dates: it is judged by what other runs have done by the time that it goes on."""
    bench, source = a_source(Action.DEACTIVATE, 5, "max_patrons: 4, max_percent: 100")
    held = bench.run(action="reinstate", source_run_id=source.run_id)
    assert held.status is Status.HELD
    user(bench, "p0")["status"] = {"value": "ACTIVE", "desc": "Active"}  # staff, by hand
    bench.time.seconds += 60
    assert reasons(bench, done(bench, "deactivate"))["p0"] == "deactivated"
    approve(held.run_id, CODE, "ana", "", bench.engine)
    bench.drain()
    run = bench.institution_run(held.run_id)
    assert reasons(bench, run)["p0"] == "changed_since"
    assert status_of(bench)["p0"] == "INACTIVE"
    assert run.outcomes[Outcome.REINSTATED] == 4


def test_what_a_later_run_may_have_taken_is_not_undone_with_the_earlier_one() -> None:
    """The later purge got no answer to its delete, which was carried out: its copy is the one to go by."""
    bench, source = purged(gone("fern"))
    done(bench, "restore", source_run_id=source.run_id)
    user(bench, "fern").update(expiry_date="2019-01-01Z", status_date="2020-01-01Z")
    bench.time.seconds += 60
    bench.alma.faults.append(lambda request: Fault(lost="timeout") if request.method == "DELETE" else None)
    later = done(bench, "purge")
    assert reasons(bench, later) == {"fern": "unconfirmed"}
    bench.alma.faults.clear()
    del bench.alma.institution(CODE).users["fern"]
    run = done(bench, "restore", source_run_id=source.run_id)
    assert reasons(bench, run) == {"fern": "changed_since"}
    named = {"institutions": [CODE], "patron_ids": ["fern"]}
    assert reasons(bench, done(bench, "restore", source_run_id=later.run_id, **named)) == {"fern": "restored"}


def test_whom_staff_have_deleted_after_their_restoration_stays_away() -> None:
    """The same undo started again doesn't undo what a person did since; who is named is meant."""
    bench, source = purged(gone("fern"))
    back = done(bench, "restore", source_run_id=source.run_id)
    del bench.alma.institution(CODE).users["fern"]
    bench.time.seconds += 60
    run = done(bench, "restore", source_run_id=source.run_id)
    assert (reasons(bench, run), detail_of(bench, run, "fern")) == (
        {"fern": "changed_since"},
        f"brought back by {back.run_id} before",
    )
    run = done(bench, "restore", source_run_id=source.run_id, institutions=[CODE], patron_ids=["fern"])
    assert reasons(bench, run) == {"fern": "restored"}


@pytest.mark.parametrize("how", ["restore", "reinstate"])
def test_a_comeback_protects_with_the_date_that_alma_has_stored(how: str) -> None:
    """Alma kept the old expiry date: the report says so, and the purge leaves the patron alone all the same."""
    registered = registry(purge=f"{ANY_NUMBER}, require_inactive: false")
    bench = bench_of(gone("fern", status="INACTIVE" if how == "restore" else "ACTIVE"), registered=registered)
    source = done(bench, "purge" if how == "restore" else "deactivate")

    def keeps_the_date(request: Request) -> Fault | None:
        body = json.loads(request.body or b"{}")
        if request.method not in ("PUT", "POST") or "expiry_date" not in body:
            return None
        bench.alma.institution(CODE).users["fern"] = body | {"user_role": [role("200")], "expiry_date": xs_date(GONE)}
        return Fault(reply=json_reply(200, bench.alma.institution(CODE).users["fern"]))

    bench.alma.faults.append(keeps_the_date)
    run = done(bench, how, source_run_id=source.run_id, expiry_date=AHEAD.isoformat())
    assert "stored_differs" in detail_of(bench, run, "fern")
    bench.alma.faults.clear()
    days_later(bench, 20)
    assert reasons(bench, done(bench, "purge")) == {"fern": "restored"}


def test_any_held_run_for_the_same_patrons_is_rejected_by_a_new_one() -> None:
    """Not the last held one alone, and however the ids are ordered and written."""
    few = registry(deactivate="max_patrons: 1, max_percent: 100")
    bench = bench_of(*(record(name, status="INACTIVE") for name in ("fern", "reed", "sage")), registered=few)
    first = bench.run(action="reinstate", institutions=[CODE], patron_ids=["fern", "reed"])
    other = bench.run(action="reinstate", institutions=[CODE], patron_ids=["fern", "sage"])
    again = bench.run(action="reinstate", institutions=[CODE], patron_ids=["REED", "fern"])
    states = [bench.institution_run(run.run_id).status for run in (first, other, again)]
    assert states == [Status.REJECTED, Status.HELD, Status.HELD]


def test_runs_that_bring_back_stand_side_by_side_while_held() -> None:
    """A held undo isn't rejected by another reinstatement, but by the same one started again."""
    few = registry(deactivate="max_patrons: 1, max_percent: 100")
    bench = bench_of(due("fern"), due("reed"), record("sage", status="INACTIVE"), registered=few)
    source = bench.run()
    approve(source.run_id, CODE, "ana", "", bench.engine)
    bench.drain()
    held = bench.run(action="reinstate", source_run_id=source.run_id)
    assert held.status is Status.HELD
    done(bench, "reinstate", institutions=[CODE], patron_ids=["sage"])
    assert bench.institution_run(held.run_id).status is Status.HELD
    again = bench.run(action="reinstate", source_run_id=source.run_id, expiry_date=AHEAD.isoformat())
    assert again.status is Status.HELD
    assert bench.institution_run(held.run_id).status_reason.startswith(f"superseded by {again.run_id}")


def test_a_hold_whose_new_expiry_date_has_passed_is_not_approved() -> None:
    """Who is approved too late would come back ACTIVE and expired."""
    few = registry(deactivate="max_patrons: 1, max_percent: 100")
    patrons = [record(name, status="INACTIVE") for name in ("fern", "reed")]
    bench = bench_of(*patrons, registered=few)
    asked = {"institutions": [CODE], "patron_ids": ["fern", "reed"]}
    held = bench.run(action="reinstate", **asked, expiry_date=(TODAY + timedelta(days=3)).isoformat())
    assert held.status is Status.HELD
    days_later(bench, 3)
    with pytest.raises(
        InvalidEvent, match=r"the new expiry date 2026-11-26 was ahead when .*, and isn't on 2026-11-26"
    ):
        approve(held.run_id, CODE, "ana", "", bench.engine)
    assert status_of(bench) == {"fern": "INACTIVE", "reed": "INACTIVE"}


def test_a_recovered_deactivation_is_undone_as_well() -> None:
    """Alma's answer to the PUT was lost, and the patron found INACTIVE: the run knows how it left them."""
    bench = bench_of(due("fern"))
    lost = Fault(carried_out=True, lost="timeout")
    bench.alma.faults.append(lambda request: lost if request.method == "PUT" else None)
    source = done(bench, "deactivate")
    bench.alma.faults.clear()
    assert detail_of(bench, source, "fern").startswith("recovered")
    assert reasons(bench, done(bench, "reinstate", source_run_id=source.run_id)) == {"fern": "reinstated"}


@pytest.mark.untraced
def test_the_undo_of_a_large_run_takes_all_its_pages() -> None:
    """Four pages of a deactivation come back in order, each patron once."""
    bench, source = deactivated(*(due(f"p{number:03}") for number in range(330)))
    assert source.pages == 4
    run = done(bench, "reinstate", source_run_id=source.run_id)
    assert run.outcomes == {Outcome.REINSTATED: 330}
    assert list(bench.outcomes(run.run_id)) == [f"p{number:03}" for number in range(330)]
    assert set(status_of(bench).values()) == {"ACTIVE"}


# ── What can't be undone ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("action", "mode", "by", "why"),
    [
        ("deactivate", "preview", "reinstate", "that was a preview, which changed nobody"),
        ("purge", "preview", "restore", "that was a preview, which changed nobody"),
        ("deactivate", "apply", "restore", "that is a run of deactivate, and restore takes back what a run of purge"),
        ("purge", "apply", "reinstate", "that is a run of purge, and reinstate takes back what a run of deactivate"),
    ],
)
def test_a_run_of_another_make_is_not_undone(action: str, mode: str, by: str, why: str) -> None:
    """A preview, or a run of another action, is refused in words; there is no new run, and nobody is changed."""
    bench = bench_of(due("fern"), gone("reed"))
    source = done(bench, action, mode=mode)
    before = given(bench)
    with pytest.raises(InvalidEvent, match=f"^source_run_id: {source.run_id}: {why}"):
        bench.start(action=by, source_run_id=source.run_id)
    assert not bench.queue.messages
    assert [run.run_id for run in bench.store.recent_runs(10)] == [source.run_id]
    assert given(bench) == before


@pytest.mark.parametrize("by", ["reinstate", "restore"])
def test_what_brought_patrons_back_is_not_undone(by: str) -> None:
    """A reinstate can't be the source of anything."""
    bench, source = deactivated(due("fern"))
    back = done(bench, "reinstate", source_run_id=source.run_id)
    with pytest.raises(InvalidEvent, match=f"{back.run_id}: that is a run of reinstate"):
        bench.start(action=by, source_run_id=back.run_id)


@pytest.mark.parametrize("by", ["reinstate", "restore"])
def test_a_run_that_there_is_not_is_not_undone(by: str) -> None:
    """An unknown id, or one of a run kept no longer, is told with the way to the right one."""
    bench = bench_of(due("fern"))
    with pytest.raises(InvalidEvent, match="source_run_id: deactivate-9: there is no such run, or its results are"):
        bench.start(action=by, source_run_id="deactivate-9")


@pytest.mark.parametrize("mode", ["preview", "apply"])
def test_a_run_that_still_goes_on_is_not_undone(mode: str) -> None:
    """Queued or at work: the institution is skipped with what to do first, and nobody is changed."""
    bench = bench_of(*(due(f"p{number}") for number in range(200)), seconds=8, one_thread=True)
    source = bench.start()
    for status in ("queued", "processing"):
        undo = bench.start(action="reinstate", source_run_id=source.run_id, mode=mode, request_id=f"undo {status}")
        assert undo.queued == ()
        assert [one.reason for one in undo.skipped] == [
            f"{source.run_id} is still {status} here: wait for its end, or cancel it, then undo it"
        ]
        bench.slice(bench.queue.messages.popleft())
    assert {method for method, _ in writes(bench)} == {"PUT"}
    assert set(status_of(bench).values()) == {"INACTIVE", "ACTIVE"}
    bench.drain()
    assert done(bench, "reinstate", source_run_id=source.run_id).outcomes == {Outcome.REINSTATED: 200}


def test_a_held_run_is_not_undone() -> None:
    """What waits for a person has changed nobody yet; once rejected there is nobody to bring back."""
    bench = bench_of(due("fern"), due("reed"), registered=registry(deactivate="max_patrons: 1, max_percent: 100"))
    source = bench.run()
    assert source.status is Status.HELD
    undo = bench.start(action="reinstate", source_run_id=source.run_id)
    assert (undo.queued, undo.skipped[0].reason) == (
        (),
        f"{source.run_id} is held here and has changed nobody: reject it, if it isn't wanted",
    )
    reject(source.run_id, CODE, "ana", "", bench.engine)
    run = done(bench, "reinstate", source_run_id=source.run_id, request_id="another")
    assert (run.candidates, run.outcomes) == (0, {})
    assert writes(bench) == []


def test_an_institution_that_the_run_was_not_for_is_skipped() -> None:
    """Its library is told which ones it was for."""
    both = registry() + registry().replace(CODE, "01OHIO_BBB").removeprefix("institutions:\n")
    bench = Workbench(both, users=0)
    source = bench.start(institutions=["01OHIO_BBB"])
    bench.drain()
    undo = bench.start(action="reinstate", source_run_id=source.run_id, institutions=[CODE])
    assert undo.skipped[0].reason == f"not part of {source.run_id}, which was for 01OHIO_BBB"
    whole = bench.start(action="reinstate", source_run_id=source.run_id, request_id="whole")
    assert whole.queued == ("01OHIO_BBB",)


def forget_institution_run(store: MemoryStore, run_id: str) -> None:
    """The table's retention takes the institution run."""
    store._institution_runs.pop((run_id, CODE))


def forget_pages(store: MemoryStore, run_id: str) -> None:
    """The table's retention takes all pages."""
    for key in [key for key in store._pages if key[0] == run_id]:
        del store._pages[key]


def forget_a_page(store: MemoryStore, run_id: str) -> None:
    """The table's retention takes the first page only, as yet."""
    del store._pages[run_id, CODE, 0]


def forget_run(store: MemoryStore, run_id: str) -> None:
    """The table's retention takes the run."""
    del store._runs[run_id]


FORGET = [forget_institution_run, forget_pages, forget_a_page, forget_run]


@pytest.mark.parametrize("forget", FORGET)
@pytest.mark.parametrize(("action", "by"), [("deactivate", "reinstate"), ("purge", "restore")])
def test_results_that_are_gone_by_then_fail_the_undo(
    forget: Callable[[MemoryStore, str], None], action: str, by: str
) -> None:
    """The retention ends between the event and the first slice: failed with why; never a part of the patrons only."""
    store = MemoryStore()
    make = due if action == "deactivate" else gone
    bench = bench_of(*(make(f"p{number}") for number in range(120)), store=store)
    source = done(bench, action)
    changes = writes(bench)
    started = bench.start(action=by, source_run_id=source.run_id)
    forget(store, source.run_id)
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.status is Status.FAILED
    assert run.status_reason == (
        f"the results of {source.run_id} are not kept any longer, so it can't be undone. Nothing was changed."
    )
    assert writes(bench) == changes


@pytest.mark.parametrize(("action", "by"), [("deactivate", "reinstate"), ("purge", "restore")])
def test_results_that_are_gone_already_skip_the_institution(action: str, by: str) -> None:
    """The run is still there, but not its part in the institution: that isn't told as one it was never for."""
    store = MemoryStore()
    bench = bench_of(due("fern"), gone("reed"), store=store)
    source = done(bench, action)
    forget_institution_run(store, source.run_id)
    (skipped,) = bench.start(action=by, source_run_id=source.run_id).skipped
    assert skipped.reason == f"the results of {source.run_id} are not kept any longer, so it can't be undone"


# ── Reinstating by id and by set ──────────────────────────────────────────────────────────────────────────────────────


def test_named_patrons_are_reinstated_whoever_made_them_inactive() -> None:
    """In any case of the id, each once; who isn't there, is ACTIVE, or whose id is a barcode, is told so."""
    bench = bench_of(
        due("Fern", status="INACTIVE"),
        due("reed"),
        due("sage", status="INACTIVE", user_identifier=[identifier("BARCODE", "bc-1")]),
        due("staff", status="INACTIVE", record_type="STAFF"),
        due("other", status="INACTIVE"),
        due("ahead", status="INACTIVE", expiry_date=date(2028, 1, 1)),
    )
    judge = WriteJudge(bench.alma.institution(CODE), Terms("reinstate", TODAY), candidates=["fern", "ahead"])
    named = ["fERN", "reed", "bc-1", "staff", "nobody", "FERN ", "ahead"]
    run = done(bench, "reinstate", patron_ids=named, institutions=[CODE])
    assert reasons(bench, run) == {
        "fERN": "reinstated",
        "reed": "already_active",
        "bc-1": "identity_mismatch",
        "staff": "staff",
        "nobody": "not_found",
        "ahead": "reinstated",
    }
    assert judge.wrongs == []
    changed = {key for key, status in status_of(bench).items() if status == "ACTIVE"}
    assert changed == {"Fern", "reed", "ahead"}


def test_the_members_of_a_set_are_reinstated() -> None:
    """A set of Alma's, by its id, with a new expiry date; who isn't in it stays."""
    bench = bench_of(due("fern", status="INACTIVE"), due("reed"), due("sage", status="INACTIVE"))
    bench.alma.institution(CODE).sets = [SimulatedSet("55", "Back again", members=("fern", "reed"))]
    run = done(bench, "reinstate", set_id="55", institutions=[CODE], expiry_date=AHEAD.isoformat())
    assert reasons(bench, run) == {"fern": "reinstated", "reed": "already_active"}
    assert status_of(bench) == {"fern": "ACTIVE", "reed": "ACTIVE", "sage": "INACTIVE"}
    assert user(bench, "fern")["expiry_date"] == xs_date(AHEAD)
    assert user(bench, "reed")["expiry_date"] == xs_date(LAPSED)


def test_a_set_that_there_is_not_changes_nobody() -> None:
    """Failed, with what to look at."""
    bench = bench_of(due("fern", status="INACTIVE"))
    run = bench.run(action="reinstate", set_id="55", institutions=[CODE])
    assert run.status is Status.FAILED
    assert 'there is no set with the id "55"' in run.status_reason
    assert writes(bench) == []


def test_named_ids_that_are_gone_fail_the_run() -> None:
    """The ids are kept beside the run; without them there is nobody to judge, and that is told."""
    store = MemoryStore()
    bench = bench_of(due("fern", status="INACTIVE"), store=store)
    started = bench.start(action="reinstate", patron_ids=["fern"], institutions=[CODE])
    store._named.clear()
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert (run.status, run.status_reason) == (
        Status.FAILED,
        "the patrons who were named are not kept any longer: start a new run. Nothing was changed.",
    )


def test_refusals_of_a_reinstatement_are_failed_with_their_code() -> None:
    """Alma refuses to update: failed, as before, and the others come back."""
    bench = bench_of(
        due("fern", status="INACTIVE"),
        due("both", status="INACTIVE", account_type="INTEXTAUTH"),
        due("titled", status="INACTIVE", user_title={"value": "exdoc", "desc": None}),
    )
    before = given(bench)
    run = done(bench, "reinstate", patron_ids=["fern", "both", "titled"], institutions=[CODE])
    assert reasons(bench, run) == {"fern": "reinstated", "both": "alma_401855", "titled": "alma_401864"}
    assert {key: one for key, one in given(bench).items() if key != "fern"} == {
        key: one for key, one in before.items() if key != "fern"
    }


# ── Restoring ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_who_were_purged_come_back_inactive() -> None:
    """With their own ids, dates, notes and roles; who wasn't purged isn't touched."""
    fern = gone("fern", user_identifier=[identifier("BARCODE", "bc-1")], account_type="EXTERNAL", external_id="SIS")
    reed = gone("Reed#1", user_role=[role("200"), role("32") | {"status": {"value": "INACTIVE", "desc": "Inactive"}}])
    bench = bench_of(fern, reed, gone("loaned", loans=1), due("sage"))
    before = given(bench)
    source = done(bench, "purge")
    assert left(bench) == {"loaned", "sage"}
    judge = restoring(bench, fern, reed)
    run = done(bench, "restore", source_run_id=source.run_id)
    is_right(bench, judge, run)
    assert reasons(bench, run) == {"fern": "restored", "Reed#1": "restored"}
    today = {"status_date": xs_date(TODAY)}
    assert given(bench) == {key: one | today if key in ("fern", "reed#1") else one for key, one in before.items()}


def test_with_an_expiry_date_they_come_back_active() -> None:
    """ACTIVE, with that date; neither the next deactivation nor the next purge takes them."""
    fern = gone("fern")
    bench, source = purged(fern)
    judge = restoring(bench, fern, expiry_date=AHEAD)
    run = done(bench, "restore", source_run_id=source.run_id, expiry_date=AHEAD.isoformat())
    is_right(bench, judge, run)
    assert user(bench, "fern")["status"]["value"] == "ACTIVE"
    assert user(bench, "fern")["expiry_date"] == xs_date(AHEAD)
    assert done(bench, "deactivate").candidates == done(bench, "purge").candidates == 0


@pytest.mark.parametrize("expiry_date", [TODAY.isoformat(), "2026-06-30"])
@pytest.mark.parametrize("action", ["reinstate", "restore"])
def test_an_expiry_date_that_is_not_ahead_is_refused(action: str, expiry_date: str) -> None:
    """The next deactivation would take the patrons again: no run, and nobody changed."""
    bench = bench_of(due("fern"), gone("reed"))
    source = done(bench, "deactivate" if action == "reinstate" else "purge")
    with pytest.raises(InvalidEvent, match=f"expiry_date: {expiry_date} is not ahead of 2026-11-23 at {CODE}"):
        bench.start(action=action, source_run_id=source.run_id, expiry_date=expiry_date)


def test_some_of_them_can_be_named() -> None:
    """In any case of the id; who wasn't purged by that run, or isn't known at all, is not_in_run."""
    fern = gone("Fern")
    bench, source = purged(fern, gone("reed"), gone("loaned", loans=1), due("sage"))
    judge = restoring(bench, fern)
    named = ["fERN", "loaned", "sage", "nobody", "fern"]
    run = done(bench, "restore", source_run_id=source.run_id, patron_ids=named, institutions=[CODE])
    assert reasons(bench, run) == {
        "Fern": "restored",
        "loaned": "not_in_run",
        "sage": "not_in_run",
        "nobody": "not_in_run",
    }
    assert judge.wrongs == []
    assert left(bench) == {"Fern", "loaned", "sage"}


def test_without_vault_days_nobody_comes_back() -> None:
    """The policy kept no copies: not_in_vault, and no call is made for anybody."""
    bench, source = purged(gone("fern"), registered=registry(purge=f"{ANY_NUMBER}, vault_days: 0"))
    run = done(bench, "restore", source_run_id=source.run_id)
    assert reasons(bench, run) == {"fern": "not_in_vault"}
    assert left(bench) == set()
    assert bench.alma.calls[CODE, "POST", USERS] == 0


@pytest.mark.parametrize("which", ["all", "first page"])
def test_copies_whose_days_are_over_are_not_in_the_vault(which: str) -> None:
    """Each patron whose object is gone is told so; the others come back."""
    bench, source = purged(*(gone(f"p{number:03}") for number in range(150)))
    keys = sorted(bench.vault.archives)
    for key in keys if which == "all" else keys[:1]:
        del bench.vault.archives[key]
    run = done(bench, "restore", source_run_id=source.run_id)
    expected = {Outcome.SKIPPED: 150} if which == "all" else {Outcome.SKIPPED: 100, Outcome.RESTORED: 50}
    assert run.outcomes == expected
    assert run.reasons == {"not_in_vault": expected[Outcome.SKIPPED]}
    assert len(left(bench)) == expected.get(Outcome.RESTORED, 0)


def test_a_copy_that_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a corrupt object those patrons are not_in_vault whose lines can't be read; the others come back."""
    bench, source = purged(*(gone(f"p{number:03}") for number in range(150)))
    (first, _) = sorted(bench.vault.archives)
    unreadable: Any = ({"primary_id": None}, "no record")
    kept = bench.vault.archives[first].records[2:]
    bench.vault.archives[first] = bench.vault.archives[first]._replace(records=(*unreadable, *kept))
    run = done(bench, "restore", source_run_id=source.run_id)
    assert run.reasons == {"not_in_vault": 2}
    assert run.outcomes[Outcome.RESTORED] == 148


def test_an_id_that_is_taken_leaves_both_alone() -> None:
    """Given to somebody else meanwhile, as a primary id or as a barcode: not restored, the other patron untouched."""
    bench, source = purged(
        gone("fern"), gone("reed"), gone("sage", user_identifier=[identifier("BARCODE", "bc-1")]), gone("willow")
    )
    users = bench.alma.institution(CODE).users
    users["fern"] = record("FERN", last_name="Somebody")
    users["x"] = record("x", user_identifier=[identifier("BARCODE", "Reed")])
    users["y"] = record("y", user_identifier=[identifier("NETID", "bc-1")])
    before = given(bench)
    run = done(bench, "restore", source_run_id=source.run_id)
    assert reasons(bench, run) == {"fern": "id_taken", "reed": "id_taken", "sage": "id_taken", "willow": "restored"}
    assert "User with identifier bc-1 of type BARCODE already exists." in detail_of(bench, run, "sage")
    assert {row.outcome for row in bench.outcomes(run.run_id).values()} == {Outcome.SKIPPED, Outcome.RESTORED}
    after = given(bench)
    del after["willow"]
    assert after == before


def test_who_was_restored_is_not_restored_again() -> None:
    """The second restore finds the ids taken, and posts nothing."""
    bench, source = purged(gone("fern"), gone("reed"))
    done(bench, "restore", source_run_id=source.run_id)
    before = given(bench), writes(bench)
    again = done(bench, "restore", source_run_id=source.run_id)
    assert reasons(bench, again) == {"fern": "id_taken", "reed": "id_taken"}
    assert (given(bench), writes(bench)) == before


def test_whose_delete_was_unclear_is_restored_when_named() -> None:
    """Gone, but maybe by another hand than the purge's: unproven, until somebody names them. Who is there stays."""
    bench = bench_of(gone("fern"), gone("reed"))
    bench.alma.faults.append(lambda request: Fault(lost="timeout") if request.method == "DELETE" else None)
    source = done(bench, "purge")
    assert source.reasons == {"unconfirmed": 2}
    bench.alma.faults.clear()
    del bench.alma.institution(CODE).users["fern"]
    before = given(bench)["reed"]
    run = done(bench, "restore", source_run_id=source.run_id)
    assert reasons(bench, run) == {"fern": "unproven", "reed": "id_taken"}
    asked = {"institutions": [CODE], "patron_ids": ["FERN", "reed"]}
    run = done(bench, "restore", source_run_id=source.run_id, **asked)
    assert reasons(bench, run) == {"fern": "restored", "reed": "id_taken"}
    assert given(bench)["reed"] == before


def test_of_several_copies_the_last_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker was slow after archiving, so the page was archived again: the record comes back as it was deleted."""
    bench = bench_of(gone("fern"), one_thread=True)
    real, is_slow = bench.vault.put, [True]

    def put(archive: Archive) -> None:
        real(archive)
        if is_slow[0]:
            is_slow[0] = False
            bench.time.sleep(61)
            user(bench, "fern")["last_name"] = "Married"

    monkeypatch.setattr(bench.vault, "put", put)
    source = done(bench, "purge")
    assert len(bench.vault.archives) == 2
    bench.vault.archives = dict(reversed(bench.vault.archives.items()))
    assert reasons(bench, done(bench, "restore", source_run_id=source.run_id)) == {"fern": "restored"}
    assert user(bench, "fern")["last_name"] == "Married"


@pytest.mark.parametrize(("days", "came"), [(1, "restored"), (179, "restored"), (180, "purged")])
@pytest.mark.parametrize("how", ["restore", "reinstate"])
def test_who_was_brought_back_stays_for_180_days(how: str, days: int, came: str) -> None:
    """With the expiry date that they had, they are left alone by the purges of so many days."""
    registered = registry(purge=f"{ANY_NUMBER}, require_inactive: false")
    bench = bench_of(gone("fern", status="INACTIVE" if how == "restore" else "ACTIVE"), registered=registered)
    source = done(bench, "purge" if how == "restore" else "deactivate")
    done(bench, how, source_run_id=source.run_id)
    assert days_later(bench, days) == TODAY + timedelta(days=days)
    assert reasons(bench, done(bench, "purge")) == {"fern": came}


@pytest.mark.parametrize("how", ["restore", "reinstate"])
def test_the_days_count_from_the_day_of_the_comeback(how: str) -> None:
    """Whatever day the run judges by, or however long it waits for its approval: the day of the change is kept."""
    bench = bench_of(gone("fern", status="INACTIVE" if how == "restore" else "ACTIVE"), gone("reed", status="ACTIVE"))
    source = done(bench, "purge" if how == "restore" else "deactivate")
    done(bench, how, source_run_id=source.run_id, as_of="2026-08-01")
    assert [one.on for one in bench.store.returned(CODE)["fern"]] == [TODAY]


@pytest.mark.parametrize("action", [Action.DEACTIVATE, Action.PURGE])
def test_the_days_of_a_held_run_count_from_its_approval(action: Action) -> None:
    """Approved six days later: that is the day on which they came back."""
    bench, source = a_source(action, 5, "max_patrons: 4, max_percent: 100")
    by = action.undone_by
    assert by is not None
    held = bench.run(action=by.value, source_run_id=source.run_id)
    day = days_later(bench, 6)
    approve(held.run_id, CODE, "ana", "", bench.engine)
    bench.drain()
    assert {one.on for every in bench.store.returned(CODE).values() for one in every} == {day}


def test_a_refused_reinstatement_takes_no_protection_away() -> None:
    """Restored, then to be reinstated with a new date, which Alma refuses: the restoration protects as before."""
    bench, source = purged(gone("fern"))
    restored = done(bench, "restore", source_run_id=source.run_id)
    refuse = error("401860", "Failed to update user.")
    bench.alma.faults.append(lambda request: Fault(refuse) if request.method == "PUT" else None)
    asked = {"institutions": [CODE], "patron_ids": ["fern"], "expiry_date": AHEAD.isoformat()}
    assert reasons(bench, done(bench, "reinstate", **asked)) == {"fern": "alma_401860"}
    days_later(bench, 20)
    assert reasons(bench, done(bench, "purge")) == {"fern": "restored"}
    assert status(bench, institution=CODE, patron_id="fern")["brought_back"]["run_id"] == restored.run_id


def test_who_was_not_brought_back_is_not_said_to_be_deactivated_again() -> None:
    """A refused reinstatement is no comeback, of which a later deactivation could tell."""
    bench = bench_of(due("fern", status="INACTIVE"))
    refuse = error("401860", "Failed to update user.")
    bench.alma.faults.append(lambda request: Fault(refuse) if request.method == "PUT" else None)
    done(bench, "reinstate", institutions=[CODE], patron_ids=["fern"])
    bench.alma.faults.clear()
    user(bench, "fern")["status"] = {"value": "ACTIVE", "desc": "Active"}
    run = done(bench, "deactivate")
    assert (reasons(bench, run), detail_of(bench, run, "fern")) == ({"fern": "deactivated"}, "")


def test_a_past_day_to_judge_by_hides_no_caution() -> None:
    """Whoever comes back today and has expired by today is deactivated again, whatever as_of says."""
    bench = bench_of(due("fern", status="INACTIVE"))
    run = done(bench, "reinstate", institutions=[CODE], patron_ids=["fern"], as_of="2026-05-01")
    assert detail_of(bench, run, "fern") == f"expiry_past: expired on {LAPSED}"


@pytest.mark.parametrize("action", BOTH)
def test_nobody_is_brought_back_with_a_new_date_that_has_passed_meanwhile(action: Action) -> None:
    """A run that waited for so long fails, with why, and has changed nobody."""
    bench, source = a_source(action, 2, ANY_NUMBER)
    by = action.undone_by
    assert by is not None
    before = given(bench), writes(bench)
    started = bench.start(action=by.value, source_run_id=source.run_id, expiry_date="2026-11-25")
    days_later(bench, 2)
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.status is Status.FAILED
    assert run.status_reason.startswith("the new expiry date 2026-11-25 was ahead when ")
    assert run.status_reason.endswith("Nothing was changed.")
    assert (given(bench), writes(bench)) == before


def test_the_same_request_gives_the_same_run_on_another_day() -> None:
    """Though its new expiry date wouldn't be taken any more, and another event with its id stores nothing."""
    bench = bench_of(due("fern", status="INACTIVE"))
    asked = {"action": "reinstate", "institutions": [CODE], "patron_ids": ["fern"], "request_id": "once"}
    started = bench.start(**asked, expiry_date="2026-11-24")
    days_later(bench, 2)
    assert bench.start(**asked, expiry_date="2026-11-24") == started
    with pytest.raises(InvalidEvent, match="request_id: once has started run"):
        bench.start(**(asked | {"patron_ids": ["somebody"]}))
    assert "somebody" not in repr(vars(bench.store))


def test_a_new_expiry_date_in_the_far_future_is_refused() -> None:
    """Such a patron would never be looked at again."""
    bench = bench_of(due("fern", status="INACTIVE"))
    with pytest.raises(InvalidEvent, match="expiry_date: 9999-12-31 is more than 50 years ahead"):
        bench.start(action="reinstate", institutions=[CODE], patron_ids=["fern"], expiry_date="9999-12-31")


def test_whose_expiry_date_was_changed_since_is_purged_by_it() -> None:
    """The protection goes with the expiry date that they came back with."""
    bench, source = purged(gone("fern"))
    done(bench, "restore", source_run_id=source.run_id)
    user(bench, "fern")["expiry_date"] = "2021-01-31Z"
    days_later(bench, 30)
    assert reasons(bench, done(bench, "purge")) == {"fern": "purged"}


def test_who_was_purged_again_after_that_can_be_restored_again() -> None:
    """Restored, purged after 180 days, restored from the second purge's copy."""
    bench, source = purged(gone("fern"))
    done(bench, "restore", source_run_id=source.run_id)
    days_later(bench, 180)
    again = done(bench, "purge")
    assert reasons(bench, done(bench, "restore", source_run_id=again.run_id)) == {"fern": "restored"}


# ── What Alma refuses of a record ─────────────────────────────────────────────────────────────────────────────────────

ADDRESS = {"line1": "7 Alder Street", "city": "Reedham", "segment_type": "Internal", "address_type": []}
PARAMETER = {"type": {"value": "CirculationDesk"}, "value": {"value": "DEFAULT_CIRC_DESK", "desc": ""}}
PIECES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an address": (
        {"contact_info": {"address": [ADDRESS | {"line1": None}, ADDRESS], "email": [], "phone": []}},
        {"contact_info": {"address": [ADDRESS], "email": [], "phone": []}},
        "address without line1",
    ),
    "an email": (
        {"contact_info": {"address": [ADDRESS], "email": [{"email_address": ""}], "phone": []}},
        {"contact_info": {"address": [ADDRESS], "email": [], "phone": []}},
        "email without email_address",
    ),
    "a phone": (
        {"contact_info": {"address": [], "email": [], "phone": [{"phone_number": None}, {"phone_number": "555"}]}},
        {"contact_info": {"address": [], "email": [], "phone": [{"phone_number": "555"}]}},
        "phone without phone_number",
    ),
    "a title": (
        {"user_title": {"value": "exdoc", "desc": None}},
        {"user_title": {"value": "", "desc": ""}},
        "user_title",
    ),
    "a job category": (
        {"job_category": {"value": "OLDJOB", "desc": ""}},
        {"job_category": {"value": "", "desc": ""}},
        "job_category",
    ),
    "a role parameter": (
        {"user_role": [role("200", parameters=[PARAMETER])]},
        {"user_role": [role("200")]},
        "role parameter",
    ),
}
NO_MORE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an external id of an internal account": ({"external_id": "SIS"}, {"external_id": ""}, "external_id"),
    "a title with a description that is no more": (
        {"user_title": {"value": "OLD", "desc": "Old"}},
        *PIECES["a title"][1:],
    ),
}


@pytest.mark.parametrize("piece", [*PIECES, *NO_MORE])
def test_what_alma_refuses_is_left_out_and_named(piece: str) -> None:
    """The patron comes back without that piece, all else equal, and the detail names it without its value."""
    refused, kept, name = (PIECES | NO_MORE)[piece]
    fern = gone("fern", **refused)
    bench = bench_of(fern)
    before = given(bench)["fern"]
    source = done(bench, "purge")
    judge = restoring(bench, fern)
    run = done(bench, "restore", source_run_id=source.run_id)
    is_right(bench, judge, run)
    assert (reasons(bench, run), detail_of(bench, run, "fern")) == ({"fern": "restored"}, f"left_out: {name}")
    assert given(bench)["fern"] == before | kept | {"status_date": xs_date(TODAY)}


def test_all_such_pieces_at_once_are_left_out_and_named() -> None:
    """One more POST for each refusal: for the contact data, and for each code that Alma names."""
    contacts = {"address": [ADDRESS | {"line1": None}], "email": [{"email_address": None}], "phone": [{}]}
    others = {key: value for name in list(PIECES)[3:] for key, value in PIECES[name][0].items()}
    fern = gone("fern", contact_info=contacts, **others)
    bench, source = purged(fern)
    judge = restoring(bench, fern)
    run = done(bench, "restore", source_run_id=source.run_id)
    is_right(bench, judge, run)
    assert detail_of(bench, run, "fern") == "left_out: " + ", ".join(name for _, _, name in PIECES.values())
    assert bench.alma.calls[CODE, "POST", USERS] == 7


def test_what_alma_would_take_is_not_left_out() -> None:
    """A code without a description comes back, where Alma's refusal is about something else."""
    fern = gone("fern", **PIECES["an address"][0], gender={"value": "F", "desc": None})
    bench, source = purged(fern)
    run = done(bench, "restore", source_run_id=source.run_id)
    assert detail_of(bench, run, "fern") == "left_out: address without line1"
    assert user(bench, "fern")["gender"]["value"] == "F"


def test_only_what_was_left_out_is_named() -> None:
    """A role whose parameters Alma gives as null has lost none of them."""
    fern = gone("fern", **PIECES["a title"][0], user_role=[role("200") | {"parameter": None}])
    bench, source = purged(fern)
    run = done(bench, "restore", source_run_id=source.run_id)
    assert detail_of(bench, run, "fern") == "left_out: user_title"
    assert user(bench, "fern")["user_role"] == fern["user_role"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "internal with external authentication": ({"account_type": "INTEXTAUTH"}, "alma_401855"),
    "external without external id": ({"account_type": "EXTERNAL"}, "alma_401854"),
    "no last name": ({"last_name": ""}, "alma_401664"),
    "an address that is left out, and more": (
        PIECES["an address"][0] | {"last_name": ""},
        "alma_401664",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_whom_alma_refuses_to_create_is_failed_with_the_code(what: str) -> None:
    """Alma's own code and words; the patron isn't there, not even in part, and the others come back."""
    changes, reason = REFUSED[what]
    bench, source = purged(gone("fern", **changes), gone("reed"))
    run = done(bench, "restore", source_run_id=source.run_id)
    row = bench.outcomes(run.run_id)["fern"]
    assert (row.outcome, row.reason) == (Outcome.FAILED, reason)
    assert "tracking id" in row.detail
    assert left(bench) == {"reed"}
    assert bench.vault.kept() == {"fern", "reed"}


# ── Previews ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def told(bench: Workbench, run: InstitutionRun) -> dict[str, tuple[str, str]]:
    """Outcome and reason of everybody, `would_` and its deed being alike."""
    deeds = {run.action.would.value: run.action.done.value}
    return {key: (deeds.get(outcome, outcome), reason or "") for key, outcome, reason, _ in rows_of(bench, run)}


@pytest.mark.parametrize("expiry", [None, AHEAD])
def test_a_preview_of_an_undo_foretells_it(expiry: date | None) -> None:
    """Patron by patron the same, with the same cautions; the preview writes nothing, and remembers nobody."""
    bench = bench_of(*(due(f"{since}") for since in SINCE), due("fern"), due("sis", external_id="SIS"), due("reed"))
    user(bench, "sis")["external_id"] = ""
    source = done(bench, "deactivate")
    for since, (change, _, _) in SINCE.items():
        if since in ("gone", "somebody else's barcode"):
            continue
        users = bench.alma.institution(CODE).users
        users["fern"], users[since] = users[since], users["fern"]
        change(bench)
        users["fern"], users[since] = users[since], users["fern"]
    del bench.alma.institution(CODE).users["gone"]
    event = {"source_run_id": source.run_id} | ({"expiry_date": expiry.isoformat()} if expiry else {})
    before = given(bench), writes(bench)
    judge = undoing(bench, source, preview=True, expiry_date=expiry)
    preview = done(bench, "reinstate", mode="preview", **event)
    is_right(bench, judge, preview)
    assert (given(bench), writes(bench)) == before
    assert bench.store.returned(CODE) == {}
    assert preview.outcomes[Outcome.WOULD_REINSTATE] >= 3
    run = done(bench, "reinstate", **event)
    assert told(bench, preview) == told(bench, run)
    caution = "expiry_past: expired on 2026-06-30"
    for one in (preview, run):
        assert (caution in detail_of(bench, one, "reed")) is (expiry is None)
    assert "expired 2026-06-30, INACTIVE since 2026-11-23, UGRD" in detail_of(bench, preview, "reed")


@pytest.mark.parametrize("expiry", [None, AHEAD])
def test_a_preview_of_a_restore_foretells_it(expiry: date | None) -> None:
    """Patron by patron the same; the preview writes nothing, and remembers nobody."""
    records = [gone(f"p{number:03}") for number in range(110)]
    bench, source = purged(*records, gone("with loans", loans=1))
    del bench.vault.archives[sorted(bench.vault.archives)[1]]
    bench.alma.institution(CODE).users["p007"] = record("p007")
    event = {"source_run_id": source.run_id} | ({"expiry_date": expiry.isoformat()} if expiry else {})
    before = given(bench), writes(bench)
    judge = restoring(bench, *records, preview=True, expiry_date=expiry)
    preview = done(bench, "restore", mode="preview", **event)
    assert judge.wrongs == []
    assert (given(bench), writes(bench)) == before
    assert bench.store.returned(CODE) == {}
    assert preview.outcomes == {Outcome.WOULD_RESTORE: 99, Outcome.SKIPPED: 11}
    assert preview.reasons == {"not_in_vault": 10, "id_taken": 1}
    comes_back = f"ACTIVE until {expiry}" if expiry else "INACTIVE, with that date"
    facts = f"expired 2020-05-31, INACTIVE since 2020-06-08, UGRD; to be {comes_back}"
    assert detail_of(bench, preview, "p001") == facts
    assert told(bench, preview) == told(bench, done(bench, "restore", **event))


def test_a_preview_by_ids_foretells_it() -> None:
    """Named patrons, with who isn't there."""
    bench = bench_of(due("fern", status="INACTIVE"), due("reed"))
    event = {"patron_ids": ["FERN", "reed", "nobody"], "institutions": [CODE]}
    preview = done(bench, "reinstate", mode="preview", **event)
    assert {method for _, method, _ in bench.alma.calls} == {"GET"}
    assert told(bench, preview) == told(bench, done(bench, "reinstate", **event))


# ── Guards ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_source(action: Action, count: int, caps: str, **more: Any) -> tuple[Workbench, InstitutionRun]:
    """An institution of 20 patrons more than the run has changed that is to be undone, with caps from then on."""
    make = due if action is Action.DEACTIVATE else gone
    current = [record(f"current{number}", expiry_date=AHEAD) for number in range(20)]
    bench = bench_of(*(make(f"p{number}") for number in range(count)), *current, **more)
    source = done(bench, action.value)
    assert source.changes == count
    bench.store.put_institution(parse_registry(registry(deactivate=caps, purge=caps))[0])
    return bench, source


HELD_BY = {
    "max_patrons: 4, max_percent: 100": "max_patrons: 5 changes due, 4 allowed",
    "max_percent: 19": "max_percent: 5 changes due among 25 users in all; 19 % of them allowed, that is 4",
}


@pytest.mark.parametrize("caps", HELD_BY)
@pytest.mark.parametrize("action", BOTH)
@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_a_guard_holds_before_the_first_write(action: Action, caps: str, answer: str) -> None:
    """Held with the figures and nobody changed; goes on once approved, and ends without a change once rejected."""
    bench, source = a_source(action, 5, caps)
    by = action.undone_by
    assert by is not None
    before = given(bench), writes(bench)
    held = bench.run(action=by.value, source_run_id=source.run_id)
    assert (held.status, held.hold_reasons) == (Status.HELD, (HELD_BY[caps],))
    assert held.shown_outcomes == {by.would: 5}
    assert (given(bench), writes(bench)) == before
    assert bench.store.returned(CODE) == {}
    (approve if answer == "approve" else reject)(held.run_id, CODE, "ana", "", bench.engine)
    bench.drain()
    run = bench.institution_run(held.run_id)
    if answer == "approve":
        assert (run.status, run.outcomes) == (Status.COMPLETED, {by.done: 5})
        assert len(given(bench)) == 25
    else:
        assert (run.status, run.reasons) == (Status.REJECTED, {"not_attempted": 5})
        assert (given(bench), writes(bench)) == before


@pytest.mark.parametrize("action", BOTH)
@pytest.mark.parametrize("caps", ["max_patrons: 5, max_percent: 100", "max_percent: 20"])
def test_as_many_as_allowed_are_not_held(action: Action, caps: str) -> None:
    """Five of 25 are a fifth: for a restore the deleted count among all users, since they were among them."""
    bench, source = a_source(action, 5, caps)
    by = action.undone_by
    assert by is not None
    assert done(bench, by.value, source_run_id=source.run_id).outcomes == {by.done: 5}


@pytest.mark.parametrize("action", BOTH)
def test_a_leap_is_not_held(action: Action) -> None:
    """Fifty after one: how many a person brings back has nothing to do with the time before, in a preview neither."""
    bench, source = a_source(action, 50, ANY_NUMBER)
    by = action.undone_by
    assert by is not None
    bench.alma.institution(CODE).users["first"] = due("first") if action is Action.DEACTIVATE else gone("first")
    earlier = done(bench, action.value)
    assert done(bench, by.value, source_run_id=earlier.run_id).changes == 1
    assert done(bench, by.value, source_run_id=source.run_id, mode="preview").hold_reasons == ()
    assert done(bench, by.value, source_run_id=source.run_id).outcomes == {by.done: 50}


@pytest.mark.parametrize("action", BOTH)
def test_who_is_changed_while_it_is_held_is_judged_anew(action: Action) -> None:
    """What was due when it was held is no licence: ACTIVE, or there again, by then, they are left alone."""
    bench, source = a_source(action, 5, "max_patrons: 4, max_percent: 100")
    by = action.undone_by
    assert by is not None
    held = bench.run(action=by.value, source_run_id=source.run_id)
    bench.alma.institution(CODE).users["p3"] = record("p3")
    approve(held.run_id, CODE, "ana", "", bench.engine)
    bench.drain()
    run = bench.institution_run(held.run_id)
    why = "already_active" if action is Action.DEACTIVATE else "id_taken"
    assert (run.outcomes, run.reasons) == ({by.done: 4, Outcome.SKIPPED: 1}, {why: 1})


# ── Cautions ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expiry", "is_told"),
    [(LAPSED, True), (TODAY - timedelta(days=1), True), (TODAY, False), (AHEAD, False), (None, False)],
)
def test_a_past_expiry_date_is_told_where_the_deactivation_goes_by_it(expiry: date | None, *, is_told: bool) -> None:
    """ACTIVE with an expiry date that is past: the weekly deactivation will take them once more."""
    bench = bench_of(record("fern", status="INACTIVE", expiry_date=expiry))
    run = done(bench, "reinstate", patron_ids=["fern"], institutions=[CODE])
    assert detail_of(bench, run, "fern") == (f"expiry_past: expired on {expiry}" if is_told else "")


@pytest.mark.parametrize(
    "deactivate",
    [
        f"{ANY_NUMBER}, enabled: false",
        f"{ANY_NUMBER}, exclude: {{user_groups: [UGRD]}}",
        f"{ANY_NUMBER}, exclude: {{note_contains: [emeritus]}}",
    ],
)
def test_a_past_expiry_date_is_not_told_where_no_deactivation_would_take_them(deactivate: str) -> None:
    """Switched off there, or the patron is excluded by it: nothing will come of the date."""
    note = [{"note_text": "An Emeritus", "segment_type": "Internal"}]
    bench = bench_of(due("fern", status="INACTIVE", user_note=note), registered=registry(deactivate=deactivate))
    run = done(bench, "reinstate", patron_ids=["fern"], institutions=[CODE])
    assert detail_of(bench, run, "fern") == ""


def test_a_new_expiry_date_needs_no_caution() -> None:
    """The date that was asked for counts, not the one that is replaced."""
    bench = bench_of(due("fern", status="INACTIVE"))
    run = done(
        bench, "reinstate", patron_ids=["fern"], institutions=[CODE], expiry_date=(TODAY + timedelta(1)).isoformat()
    )
    assert detail_of(bench, run, "fern") == ""


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ({"user_identifier": [identifier("BARCODE", "bc-1", segment_type="External")]}, True),
        ({"user_identifier": [identifier("BARCODE", "bc-1")]}, False),
        ({}, False),
        ({"account_type": "EXTERNAL", "external_id": "SIS"}, False),
    ],
)
def test_an_internal_account_of_a_sis_is_told(changes: dict[str, Any], *, is_told: bool) -> None:
    """INTERNAL with identifiers from outside: the next SIS load will miss the patron."""
    bench = bench_of(due("fern", status="INACTIVE", expiry_date=AHEAD, **changes))
    run = done(bench, "reinstate", patron_ids=["fern"], institutions=[CODE])
    assert reasons(bench, run) == {"fern": "reinstated"}
    assert detail_of(bench, run, "fern") == ("internal_account: with external identifiers" if is_told else "")


AGAIN: dict[str, tuple[str, dict[str, Any], str]] = {
    "reinstated without a date": (
        "reinstate",
        {},
        "deactivated_again: brought back on 2026-11-23; the expiry date was still 2026-06-30",
    ),
    "reinstated, and set back by a load": (
        "reinstate",
        {"expiry_date": "2026-09-30Z"},
        "deactivated_again: brought back on 2026-11-23; since then the expiry date was set to 2026-09-30, maybe by a "
        "SIS load",
    ),
    "restored, and set active by a load": (
        "restore",
        {"status": {"value": "ACTIVE", "desc": "Active"}},
        "deactivated_again: brought back on 2026-11-23; INACTIVE then, set ACTIVE since, maybe by a SIS load; the "
        "expiry date was still 2020-05-31",
    ),
    "restored, and set active with another date": (
        "restore",
        {"status": {"value": "ACTIVE", "desc": "Active"}, "expiry_date": "2021-05-31Z"},
        "deactivated_again: brought back on 2026-11-23; since then the expiry date was set to 2021-05-31, maybe by a "
        "SIS load",
    ),
}


@pytest.mark.parametrize("case", AGAIN)
@pytest.mark.parametrize("days", [0, 59, 60, 61])
@pytest.mark.parametrize("mode", ["apply", "preview"])
def test_a_deactivation_soon_after_the_comeback_is_told(case: str, days: int, mode: str) -> None:
    """Within 60 days, with the words for what has become of the expiry date; not later."""
    how, changes, words = AGAIN[case]
    bench = bench_of(due("fern") if how == "reinstate" else gone("fern"))
    source = done(bench, "deactivate" if how == "reinstate" else "purge")
    done(bench, how, source_run_id=source.run_id)
    user(bench, "fern").update(changes)
    days_later(bench, days)
    run = done(bench, "deactivate", mode=mode)
    assert run.changes == 1
    detail = detail_of(bench, run, "fern")
    assert detail.startswith(words) if days <= 60 else "deactivated_again" not in detail
    assert (detail == (words if days <= 60 else "")) is (mode == "apply")


def test_a_date_that_alma_stores_differently_is_told() -> None:
    """Alma answers with another expiry date, or status, than was sent: done, with what it is now."""
    bench, source = deactivated(due("fern"), due("reed"))

    def keeps_the_date(request: Request) -> Fault | None:
        if request.method != "PUT" or request.arguments["user_id"] != "fern":
            return None
        stored = user(bench, "fern") | {"status": {"value": "ACTIVE"}, "status_date": xs_date(TODAY)}
        bench.alma.institution(CODE).users["fern"] = stored
        return Fault(reply=json_reply(200, stored))

    bench.alma.faults.append(keeps_the_date)
    run = done(bench, "reinstate", source_run_id=source.run_id, expiry_date=AHEAD.isoformat())
    assert reasons(bench, run) == {"fern": "reinstated", "reed": "reinstated"}
    assert detail_of(bench, run, "fern") == "stored_differs: expiry date 2026-06-30, not 2027-06-30"
    assert detail_of(bench, run, "reed") == ""


def test_what_alma_makes_of_a_new_patron_is_told() -> None:
    """A POST whose answer shows another status or expiry date: restored, with what it is now."""
    bench, source = purged(gone("fern"), gone("reed"))

    def makes_it_active(request: Request) -> Fault | None:
        body = json.loads(request.body or b"{}")
        if request.method != "POST" or body.get("primary_id") != "fern":
            return None
        stored = body | {"status": {"value": "ACTIVE"}, "expiry_date": "2030-01-01Z"}
        return Fault(reply=json_reply(200, stored), carried_out=True)

    bench.alma.faults.append(makes_it_active)
    run = done(bench, "restore", source_run_id=source.run_id)
    assert detail_of(bench, run, "fern") == (
        "stored_differs: status ACTIVE, not INACTIVE, expiry date 2030-01-01, not 2020-05-31"
    )
    assert detail_of(bench, run, "reed") == ""


# ── A patron's story, and what status says of undoing ─────────────────────────────────────────────────────────────────


def status(bench: Workbench, **asked: Any) -> dict[str, Any]:
    """The operator's answer to a status event."""
    event = ShowStatus(command="status", **asked)
    return show_status(event, bench.store, KEEP_RUNS, bench.time.now())


def story(bench: Workbench, patron_id: str) -> list[tuple[str, str, str]]:
    """Action, mode and outcome of each chapter."""
    told = status(bench, institution=CODE, patron_id=patron_id)["story"]
    return [(one["action"], one["mode"], one["reason"] or one["outcome"]) for one in told]


def offers(bench: Workbench, patron_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The run of each chapter that offers to bring the patron back, with the event."""
    told = status(bench, institution=CODE, patron_id=patron_id)["story"]
    return [(one["run_id"], one["bring_back"]) for one in told if one["bring_back"]]


@pytest.mark.parametrize("action", BOTH)
def test_the_story_offers_the_way_back_of_the_last_change_alone(action: Action) -> None:
    """A deactivation or purge that nothing came after; the event is taken as it is."""
    bench = bench_of(due("fern") if action is Action.DEACTIVATE else gone("fern"))
    source = done(bench, action.value)
    ((run_id, event),) = offers(bench, "fern")
    assert run_id == source.run_id
    back = done(bench, **event | {"mode": "apply"})
    assert set(reasons(bench, back).values()) <= {"reinstated", "restored"}
    assert offers(bench, "fern") == []


@pytest.mark.parametrize(("days", "is_offered"), [(0, False), (7, True)])
def test_the_story_offers_a_restoration_only_while_there_is_a_copy(days: int, *, is_offered: bool) -> None:
    """None where the vault keeps none, or none any more."""
    bench = bench_of(gone("fern"), registered=registry(purge=f"{ANY_NUMBER}, vault_days: {days}"))
    done(bench, "purge")
    assert bool(offers(bench, "fern")) is is_offered
    days_later(bench, 8)
    assert offers(bench, "fern") == []


def test_an_undo_that_was_rejected_has_undone_nothing() -> None:
    """Only runs that have taken patrons back are named, however many others there were since."""
    few = registry(deactivate="max_patrons: 1, max_percent: 100")
    bench = bench_of(due("fern"), due("reed"), registered=few)
    source = bench.run()
    approve(source.run_id, CODE, "ana", "", bench.engine)
    bench.drain()
    rejected = bench.run(action="reinstate", source_run_id=source.run_id)
    reject(rejected.run_id, CODE, "bo", "", bench.engine)
    assert undo_of_run(bench, source.run_id)["undone_by"] == []
    back = bench.run(action="reinstate", source_run_id=source.run_id)
    approve(back.run_id, CODE, "ana", "", bench.engine)
    bench.drain()
    for _ in range(101):
        bench.start(mode="preview", institutions=[CODE])
    told = status(bench, run_id=source.run_id)
    assert told["undo"]["undone_by"] == told["institutions"][0]["undo"]["undone_by"] == [back.run_id]


def test_a_patron_s_story_has_all_chapters_newest_first() -> None:
    """Deactivated, undone, deactivated, purged, restored, kept from the next purge: all is told, in any case."""
    registered = registry(purge=f"{ANY_NUMBER}, min_inactive_days: 0")
    bench = bench_of(gone("Fern", status="ACTIVE"), due("reed"), registered=registered)
    first = done(bench, "deactivate", mode="preview")
    bench.time.seconds += 60
    source = done(bench, "deactivate")
    bench.time.seconds += 60
    done(bench, "reinstate", source_run_id=source.run_id)
    days_later(bench, 200)
    done(bench, "deactivate")
    bench.time.seconds += 60
    gone_by = done(bench, "purge")
    bench.time.seconds += 60
    back = done(bench, "restore", source_run_id=gone_by.run_id, expiry_date=None)
    bench.time.seconds += 60
    done(bench, "purge", mode="preview")
    assert story(bench, "fERN") == [
        ("purge", "preview", "restored"),
        ("restore", "apply", "restored"),
        ("purge", "apply", "purged"),
        ("deactivate", "apply", "deactivated"),
        ("reinstate", "apply", "reinstated"),
        ("deactivate", "apply", "deactivated"),
        ("deactivate", "preview", "would_deactivate"),
    ]
    chapters = status(bench, institution=CODE, patron_id="fern")["story"]
    assert chapters[-1]["run_id"] == first.run_id
    assert chapters[1]["run_id"] == back.run_id
    assert [one["at"] for one in chapters] == sorted((one["at"] for one in chapters), reverse=True)
    assert status(bench, institution=CODE, patron_id="FERN")["brought_back"] == {
        "run_id": back.run_id,
        "on": (TODAY + timedelta(days=200)).isoformat(),
        "expiry_date": GONE.isoformat(),
        "active": False,
    }
    assert {action for action, _, _ in story(bench, "reed")} == {"deactivate", "reinstate"}


@pytest.mark.parametrize("patron_id", ["nobody", "bc-1", "current"])
def test_others_have_no_story(patron_id: str) -> None:
    """Who never was a candidate, by whatever id, has none; neither has an id that nobody has."""
    bench, _ = deactivated(
        due("fern", user_identifier=[identifier("BARCODE", "bc-1")]), record("current", expiry_date=AHEAD)
    )
    told = status(bench, institution=CODE, patron_id=patron_id)
    assert (told["story"], told["brought_back"]) == ([], None)


def test_a_story_outlives_the_pages_that_it_was_in() -> None:
    """Where the retention has taken a page but not yet its run, the other chapters are told."""
    store = MemoryStore()
    bench = bench_of(due("fern"), store=store)
    first = done(bench, "deactivate")
    bench.time.seconds += 60
    done(bench, "reinstate", source_run_id=first.run_id)
    forget_pages(store, first.run_id)
    assert story(bench, "fern") == [("reinstate", "apply", "reinstated")]


def undo_of_run(bench: Workbench, run_id: str) -> dict[str, Any]:
    """What status says of undoing a run; of the whole run and of its part in the institution it says the same."""
    document = status(bench, run_id=run_id)
    of_institution = document["institutions"][0]["undo"]
    (listed,) = (one["undo"] for one in status(bench)["runs"] if one["run_id"] == run_id)
    assert document["undo"] == listed
    latest = status(bench, institution=CODE)["latest"]
    assert [of_institution] == [one["undo"] for one in latest if one["run_id"] == run_id]
    event = listed["event"] and {**listed["event"], "institutions": [CODE]}
    assert of_institution == {**listed, "event": event}
    return dict(listed)


@pytest.mark.parametrize("action", BOTH)
def test_what_can_be_undone_is_told_with_the_event_that_previews_it(action: Action) -> None:
    """Until when nothing of it is missing: the retention of runs, and for a purge the days of the vault."""
    bench, source = a_source(action, 2, ANY_NUMBER)
    told = undo_of_run(bench, source.run_id)
    days = timedelta(days=400 if action is Action.DEACTIVATE else 30)
    by = action.undone_by
    assert by is not None
    assert source.started_at is not None
    assert told == {
        "possible": True,
        "until": (source.started_at + days).isoformat(),
        "why_not": "",
        "event": {"action": by.value, "mode": "preview", "source_run_id": source.run_id},
        "note": "",
        "undone_by": [],
    }
    preview = bench.run(**told["event"])
    assert preview.outcomes == {by.would: 2}
    assert undo_of_run(bench, source.run_id)["undone_by"] == []
    back = done(bench, by.value, source_run_id=source.run_id)
    assert undo_of_run(bench, source.run_id)["undone_by"] == [back.run_id]
    assert undo_of_run(bench, back.run_id)["why_not"] == f"a {by} brings patrons back: there is nothing to undo"


@pytest.mark.parametrize("action", BOTH)
@pytest.mark.parametrize(("seconds", "is_possible"), [(-1, True), (0, False)])
def test_what_was_kept_long_enough_cannot_be_undone_for_certain(
    action: Action, seconds: int, *, is_possible: bool
) -> None:
    """From that moment on parts may be missing."""
    bench, source = a_source(action, 2, ANY_NUMBER)
    moment = datetime.fromisoformat(undo_of_run(bench, source.run_id)["until"])
    bench.time.seconds += (moment - bench.time.now()).total_seconds() + seconds
    told = undo_of_run(bench, source.run_id)
    until = moment.date().isoformat()
    assert told["possible"] is is_possible
    why = {
        Action.DEACTIVATE: f"its results have been kept until {until}",
        Action.PURGE: f"copies have been kept until {until}; a preview tells whose are still there",
    }[action]
    assert told["why_not"] == ("" if is_possible else why)
    assert (told["event"] is not None) is (told["until"] is not None) is is_possible


def test_why_a_run_cannot_be_undone_is_told() -> None:
    """A preview, a run that goes on, one that changed nobody, a purge without a vault, a held and a rejected run."""
    few = "max_patrons: 1, max_percent: 100"
    bench = bench_of(due("fern"), due("reed"), gone("sage"), registered=registry(deactivate=few))
    preview = done(bench, "purge", mode="preview")
    held = bench.run(action="deactivate")
    assert undo_of_run(bench, preview.run_id)["why_not"] == "a preview changes nobody"
    assert undo_of_run(bench, held.run_id)["why_not"] == "it has not ended"
    reject(held.run_id, CODE, "ana", "", bench.engine)
    assert undo_of_run(bench, held.run_id)["why_not"] == "it changed nobody"
    bench.store.put_institution(parse_registry(registry(purge=f"{ANY_NUMBER}, vault_days: 0"))[0])
    without = done(bench, "purge")
    assert undo_of_run(bench, without.run_id)["why_not"] == (
        "no copies were kept of whom it deleted (vault_days was 0)"
    )
    queued = bench.start(action="deactivate")
    told = undo_of_run(bench, queued.run_id)
    assert told == {
        "possible": False,
        "until": None,
        "why_not": "it has not ended",
        "event": None,
        "note": "",
        "undone_by": [],
    }


def test_a_purge_that_waited_for_its_approval_keeps_from_then_on() -> None:
    """The copies are made after the approval, so their days begin with it."""
    bench = bench_of(gone("fern"), gone("reed"), registered=registry(purge="max_patrons: 1, max_percent: 100"))
    held = bench.run(action="purge")
    days_later(bench, 6)
    approve(held.run_id, CODE, "ana", "", bench.engine)
    at = bench.time.now()
    bench.drain()
    assert undo_of_run(bench, held.run_id)["until"] == (at + timedelta(days=30)).isoformat()
