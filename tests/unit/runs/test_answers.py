"""Approve, reject, cancel, stop_all: who may say what, and what comes of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.registry import parse_registry
from patron_lifecycle.runs.answers import approve, cancel, reject, stop_all
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import Answer, InstitutionRun, RunStatus, Status
from sandbox.simulator.messages import Request
from tests.unit.runs.test_guards import HOLDING, held_bench
from tests.unit.runs.test_purge import CODE, add_set, gone, left, purge, purging, reasons, registry
from tests.workbench import Workbench, registry_of

STALLED_AFTER = timedelta(hours=2)
DAY = 24 * 3600.0


def approved(bench: Workbench, run: InstitutionRun) -> InstitutionRun:
    """The institution run after it was approved and worked on."""
    approve(run.run_id, run.code, "ana", "looked at the list", bench.engine)
    bench.drain()
    return bench.institution_run(run.run_id, run.code)


# ── Approve ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_approved_purge_does_what_was_shown() -> None:
    """Who was shown goes, who was shown to stay stays; who approved, when and why is kept."""
    bench = held_bench()
    held = purge(bench)
    run = approved(bench, held)
    assert run.status is Status.COMPLETED
    assert reasons(bench, run) == {"fern": "purged", "reed": "purged", "sage": "purged", "loaned": "loans"}
    assert run.outcomes == {Outcome.PURGED: 3, Outcome.BLOCKED: 1}
    (verdict,) = run.verdicts
    assert (verdict.answer, verdict.by, verdict.note) == (Answer.APPROVED, "ana", "looked at the list")
    assert run.hold_reasons == held.hold_reasons, "that it was held, and why, stays in its record"
    whole = bench.store.run(run.run_id)
    assert whole is not None
    assert whole.status is RunStatus.COMPLETED
    assert bench.vault.kept() == {"fern", "reed", "sage"}


def test_an_approval_is_for_the_frozen_manifest() -> None:
    """Who joined the set since the hold isn't touched; who has left it is in the manifest all the same."""
    bench = held_bench(gone("late"), listed=("fern", "reed", "sage", "loaned"))
    held = purge(bench)
    bench.alma.institution(CODE).sets[0].members = ("late",)
    run = approved(bench, held)
    assert left(bench) == {"late", "loaned"}
    assert run.candidates == 4


def test_each_patron_is_read_afresh_after_an_approval() -> None:
    """Renewed, borrowed or put under protection while the run was held: they stay, for that reason."""
    bench = held_bench(registered=registry(more='exclude: {set_names: ["Keep"]}'))
    keep = add_set(bench, "Keep", "somebody else")
    held = purge(bench)
    users = bench.alma.institution(CODE).users
    users["fern"]["loans"] = {"value": 1}
    users["reed"]["expiry_date"] = "2031-01-31Z"
    keep.members = ("sage",)
    run = approved(bench, held)
    assert reasons(bench, run) == {
        "fern": "loans",
        "reed": "not_expired",
        "sage": "excluded_set",
        "loaned": "loans",
    }
    assert len(left(bench)) == 4


def test_who_was_in_an_exclusion_set_at_the_hold_stays_protected() -> None:
    """Emptying the exclusion set while the run is held takes nobody's protection away."""
    bench = held_bench(registered=registry(more='exclude: {set_names: ["Keep"]}'))
    keep = add_set(bench, "Keep", "fern")
    held = purge(bench)
    keep.members = ()
    run = approved(bench, held)
    assert reasons(bench, run)["fern"] == "excluded_set"
    assert left(bench) == {"fern", "loaned"}


def test_who_was_shown_to_stay_is_not_deleted_by_the_approval() -> None:
    """A loan that is returned while the run is held makes nobody go whom the approver saw as staying."""
    bench = held_bench()
    held = purge(bench)
    bench.alma.institution(CODE).users["loaned"]["loans"] = {"value": 0}
    run = approved(bench, held)
    assert reasons(bench, run)["loaned"] == "loans"
    assert left(bench) == {"loaned"}


def test_an_approved_run_waits_for_its_turn() -> None:
    """While another run has the institution, an approved one waits, and starts when that one has ended."""
    bench = held_bench(*(gone(f"p{n}") for n in range(150)), seconds=8, one_thread=True)
    held = purge(bench)
    preview = bench.start(action="purge", mode="preview")
    bench.slice(bench.queue.messages.popleft())
    assert bench.store.lease_holder(CODE) == preview.run_id
    approve(held.run_id, CODE, "ana", "", bench.engine)
    assert bench.institution_run(held.run_id).status is Status.QUEUED
    bench.drain()
    run, other = bench.institution_run(held.run_id), bench.institution_run(preview.run_id)
    assert run.status is other.status is Status.COMPLETED
    assert run.outcomes[Outcome.PURGED] == 153


def not_held(bench: Workbench) -> InstitutionRun:
    """A run that has completed."""
    return purge(bench, mode="preview")


def twice(bench: Workbench) -> InstitutionRun:
    """A run that was approved already."""
    held = purge(bench)
    approve(held.run_id, CODE, "ana", "", bench.engine)
    return held


def rejected_before(bench: Workbench) -> InstitutionRun:
    """A run that was rejected already."""
    held = purge(bench)
    reject(held.run_id, CODE, "bo", "", bench.engine)
    return held


def too_late(bench: Workbench) -> InstitutionRun:
    """A hold that nobody has answered for seven days, and that no tidy has come by yet."""
    held = purge(bench)
    bench.time.seconds += 7 * DAY
    return held


@pytest.mark.parametrize("answer", [approve, reject])
@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (not_held, "is not held in 01OHIO_AAA, it is completed"),
        (twice, "is not held in 01OHIO_AAA, it is queued, approved by ana on 2026-11-23 at 17:00 UTC"),
        (rejected_before, "it is rejected, rejected by bo on"),
        (too_late, "was held in 01OHIO_AAA until 2026-11-30 at 17:00 UTC, and nobody had answered by then"),
    ],
)
def test_what_is_not_held_cannot_be_answered(
    prepare: Callable[[Workbench], InstitutionRun], told: str, answer: Callable[..., InstitutionRun]
) -> None:
    """Completed, approved or rejected before, or too late: the answer is refused, says why, and changes nothing."""
    bench = held_bench()
    one = prepare(bench)
    before = bench.institution_run(one.run_id)
    with pytest.raises(InvalidEvent, match=told):
        answer(one.run_id, CODE, "ana", "", bench.engine)
    assert bench.institution_run(one.run_id) == before
    assert len(left(bench)) == 4


@pytest.mark.parametrize("answer", [approve, reject])
def test_an_answer_is_for_one_run_and_one_of_its_institutions(answer: Callable[..., InstitutionRun]) -> None:
    """Another institution, or a run that there isn't, is named."""
    bench = held_bench()
    held = purge(bench)
    with pytest.raises(InvalidEvent, match=f"institution: 01OHIO_BBB is not part of {held.run_id}; it has 01OHIO_AAA"):
        answer(held.run_id, "01OHIO_BBB", "ana", "", bench.engine)
    with pytest.raises(InvalidEvent, match="there is no run purge-1"):
        answer("purge-1", CODE, "ana", "", bench.engine)
    assert bench.institution_run(held.run_id).status is Status.HELD


def test_a_run_is_not_approved_under_a_policy_that_has_changed() -> None:
    """Who was put under protection in the registry meanwhile must not go by the old one; nor where it is off."""
    bench = held_bench()
    held = purge(bench)
    (registered,) = parse_registry(HOLDING)
    (stricter,) = parse_registry(registry(more='exclude: {note_contains: ["keep"]}'))
    for changed, told in (
        (stricter, "the policy of 01OHIO_AAA has changed since"),
        (registered.model_copy(update={"enabled": False}), "has been switched off"),
    ):
        bench.store.put_institution(changed)
        with pytest.raises(InvalidEvent, match=told):
            approve(held.run_id, CODE, "ana", "", bench.engine)
    faster = registered.policy.model_copy(
        update={"pace": registered.policy.pace.model_copy(update={"requests_per_second": 5})}
    )
    bench.store.put_institution(registered.model_copy(update={"policy": faster}))
    assert approved(bench, held).status is Status.COMPLETED


# ── Reject, and what rejects by itself ────────────────────────────────────────────────────────────────────────────────


def test_a_rejected_run_ends_and_changes_nobody() -> None:
    """Who would have gone is not attempted, who was decided to stay keeps the reason; who rejected is told."""
    bench = held_bench()
    held = purge(bench)
    run = reject(held.run_id, CODE, "bo", "too many", bench.engine)
    assert run.status is Status.REJECTED
    assert run.status_reason == "rejected by bo on 2026-11-23 at 17:00 UTC: too many. Nothing was changed."
    assert run.reasons == {"loans": 1, "not_attempted": 3}
    assert sum(run.outcomes.values()) == run.candidates == len(bench.outcomes(run.run_id))
    whole = bench.store.run(run.run_id)
    assert whole is not None
    assert whole.status is RunStatus.CANCELLED
    assert len(left(bench)) == 4
    assert [one.status for one in bench.notices.institution_runs] == [Status.HELD, Status.REJECTED]
    assert bench.notices.runs == [whole]


def test_an_unanswered_hold_is_rejected_after_seven_days() -> None:
    """A second before, the tidy leaves it; at seven days it ends, and says so."""
    bench = held_bench()
    held = purge(bench)
    assert held.held_until is not None
    bench.time.seconds += (held.held_until - bench.time.now()).total_seconds() - 1
    assert tidy(bench.engine, STALLED_AFTER).rejected == ()
    bench.time.seconds += 1
    assert tidy(bench.engine, STALLED_AFTER).rejected == (f"{held.run_id}/{CODE}",)
    run = bench.institution_run(held.run_id)
    assert (run.status, run.status_reason) == (Status.REJECTED, "nobody answered within 7 days. Nothing was changed.")
    assert len(left(bench)) == 4


def test_a_newer_run_of_the_same_action_supersedes_a_held_one() -> None:
    """The older one is rejected as the newer one starts; approving it then is refused."""
    bench = held_bench()
    first = purge(bench)
    bench.time.seconds += DAY
    second = purge(bench)
    superseded = bench.institution_run(first.run_id)
    assert superseded.status is Status.REJECTED
    assert superseded.status_reason == f"superseded by {second.run_id}. Nothing was changed."
    assert second.status is Status.HELD
    with pytest.raises(InvalidEvent, match="it is rejected"):
        approve(first.run_id, CODE, "ana", "", bench.engine)
    assert approved(bench, second).status is Status.COMPLETED


@pytest.mark.parametrize("event", [{"action": "purge", "mode": "preview"}, {"action": "deactivate", "mode": "apply"}])
def test_previews_and_other_actions_leave_a_held_run_alone(event: dict[str, str]) -> None:
    """A hold isn't answered by looking, nor by the weekly job."""
    text = registry(more="") + "      deactivate: {select: {sweep: true}}\n"
    bench = held_bench(registered=text)
    held = purge(bench)
    assert bench.run(**event).status is Status.COMPLETED
    assert bench.institution_run(held.run_id).status is Status.HELD
    assert approved(bench, held).status is Status.COMPLETED


# ── Cancel ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_at_work_stops_at_its_next_page() -> None:
    """The page that was begun is finished; who was left over is not attempted, and who cancelled is told."""
    bench = purging(*(gone(f"p{n}") for n in range(300)), registered=registry(caps="max_percent: 100"))
    asked: list[Any] = []

    def cancel_once(request: Request) -> None:
        if request.method == "DELETE" and not asked:
            asked.append(cancel(request_run, CODE, "ana", bench.engine))

    request_run = bench.start(action="purge").run_id
    bench.alma.faults.append(cancel_once)
    bench.drain()
    run = bench.institution_run(request_run)
    assert asked[0].stopping == (CODE,)
    assert run.status is Status.CANCELLED
    assert run.status_reason.startswith("cancelled by ana on 2026-11-23")
    assert run.outcomes == {Outcome.PURGED: 100, Outcome.SKIPPED: 200}
    assert run.reasons == {"not_attempted": 200}
    assert len(left(bench)) == 200
    assert run.verdicts[-1].answer is Answer.CANCELLED


@pytest.mark.parametrize("when", ["/conf/sets/{set_id}/members", "/users/{user_id}"])
def test_a_run_that_selects_or_decides_stops_as_well(when: str) -> None:
    """Cancelled while the set is read, or while decisions are made before a hold."""
    bench = purging(*(gone(f"p{n}") for n in range(2500)), registered=registry(more="", caps="max_percent: 100"))
    started = bench.start(action="purge")
    bench.alma.faults.append(
        lambda request: cancel(started.run_id, None, "ana", bench.engine) and None if request.route == when else None
    )
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.status is Status.CANCELLED
    assert run.hold_reasons == ()
    assert sum(run.outcomes.values()) == run.candidates
    assert len(left(bench)) == 2500


def test_what_waits_is_cancelled_at_once() -> None:
    """A queued and a held institution run end right away; their messages are of no consequence."""
    bench = held_bench()
    held = purge(bench)
    queued = bench.start(action="purge", mode="preview")
    assert cancel(held.run_id, CODE, "ana", bench.engine).cancelled == (CODE,)
    assert cancel(queued.run_id, None, "ana", bench.engine).cancelled == (CODE,)
    calls = bench.alma.calls.total()
    bench.drain()
    assert bench.alma.calls.total() == calls
    assert {bench.institution_run(one).status for one in (held.run_id, queued.run_id)} == {Status.CANCELLED}
    assert bench.institution_run(held.run_id).reasons == {"loans": 1, "not_attempted": 3}


def test_to_cancel_again_or_too_late_changes_nothing() -> None:
    """What has ended is named as such."""
    bench = held_bench()
    run = purge(bench, mode="preview")
    assert cancel(run.run_id, None, "ana", bench.engine).ended == (CODE,)
    assert bench.institution_run(run.run_id) == run
    with pytest.raises(InvalidEvent, match="01OHIO_BBB is not part of"):
        cancel(run.run_id, "01OHIO_BBB", "ana", bench.engine)
    with pytest.raises(InvalidEvent, match="there is no run x"):
        cancel("x", None, "ana", bench.engine)


def test_one_institution_of_a_run_can_be_cancelled_alone() -> None:
    """The others go on; the run ends with failures, since not all of it was done."""
    bench = Workbench(registry_of("01OHIO_AAA", "01OHIO_BBB"))
    started = bench.start()
    cancel(started.run_id, "01OHIO_BBB", "ana", bench.engine)
    bench.drain()
    status = {one.code: one.status for one in bench.store.institution_runs(started.run_id)}
    assert status == {"01OHIO_AAA": Status.COMPLETED, "01OHIO_BBB": Status.CANCELLED}
    whole = bench.store.run(started.run_id)
    assert whole is not None
    assert whole.status is RunStatus.COMPLETED_WITH_FAILURES


def test_a_run_that_is_only_half_launched_is_cancelled_before_its_first_slice() -> None:
    """An enumerator died before it had stored an institution run: once launched, it ends without a call."""
    bench = Workbench(registry_of("01OHIO_AAA", "01OHIO_BBB"))
    started = bench.start()
    bench.queue.messages.clear()
    missing = bench.store._institution_runs.pop((started.run_id, "01OHIO_BBB"))  # type: ignore[attr-defined]
    assert cancel(started.run_id, None, "ana", bench.engine) == (("01OHIO_AAA",), ("01OHIO_BBB",), ())
    bench.store.create_institution_run(missing)
    bench.time.seconds += DAY
    tidy(bench.engine, STALLED_AFTER)
    bench.drain()
    assert bench.institution_run(started.run_id, "01OHIO_BBB").status is Status.CANCELLED
    assert not bench.alma.calls


def test_stop_all_stops_everything_that_has_not_ended() -> None:
    """Queued, held and at work, of every run and institution: nothing goes on, and what has ended stays as it was."""
    bench = Workbench(registry_of("01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC"), users=900, seconds=8, one_thread=True)
    done = bench.run(institutions=["01OHIO_CCC"], mode="preview")
    working = bench.start(institutions=["01OHIO_AAA", "01OHIO_BBB"])
    bench.slice(bench.queue.messages.popleft())
    waiting = bench.start(institutions=["01OHIO_CCC"])
    stopped = stop_all("ana", bench.engine)
    assert set(stopped) == {working.run_id, waiting.run_id}
    assert stopped[working.run_id].stopping == ("01OHIO_AAA",)
    assert stopped[working.run_id].cancelled == ("01OHIO_BBB",)
    writes = len(bench.alma.institution("01OHIO_AAA").writes)
    bench.drain()
    assert len(bench.alma.institution("01OHIO_AAA").writes) == writes
    for run_id in stopped:
        assert {one.status for one in bench.store.institution_runs(run_id)} == {Status.CANCELLED}
        whole = bench.store.run(run_id)
        assert whole is not None
        assert whole.status is RunStatus.CANCELLED
    assert bench.institution_run(done.run_id, "01OHIO_CCC") == done
    assert stop_all("ana", bench.engine) == {}
