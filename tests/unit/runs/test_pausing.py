"""Pausing at the reserve of daily calls, and going on when Alma has renewed them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.model import Pace
from patron_lifecycle.registry import parse_registry
from patron_lifecycle.runs.answers import cancel
from patron_lifecycle.runs.budget import most_left, next_reset, reserve_in_force, seen
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import (
    Answer,
    Budget,
    Draft,
    InstitutionRun,
    Reading,
    Run,
    RunStatus,
    Status,
    Verdict,
    WorkMessage,
)
from patron_lifecycle.runs.pausing import MAX_IDLE_PAUSES, pause, resume
from patron_lifecycle.runs.store import MemoryStore
from sandbox.simulator.messages import Fault, Reply, error
from tests.workbench import NOON, STALLED_AFTER, Workbench, registry_of

CODE = "01OHIO_AAA"


def paused_bench(*, quota: int = 80, users: int = 400) -> tuple[Workbench, str]:
    """A deactivation that has used what its quota leaves to it, and has paused."""
    bench = Workbench(users=users)
    bench.alma.institution(CODE).daily_quota = quota
    started = bench.start()
    bench.drain()
    return bench, started.run_id


def renewed(bench: Workbench, days: int = 1) -> None:
    """So many days later: Alma counts anew."""
    bench.time.seconds += days * 24 * 3600
    bench.alma.renew_quotas()


def test_at_the_reserve_it_pauses_and_leaves_the_others_their_calls() -> None:
    """A fifth of the quota stays untouched, but for the calls under way; nothing is decided for who wasn't reached."""
    bench, run_id = paused_bench()
    one, run = bench.institution_run(run_id), bench.store.run(run_id)
    assert run is not None
    assert (one.status, one.pauses, run.status, run.paused_count) == (Status.PAUSED, 1, RunStatus.PAUSED, 1)
    assert 16 >= bench.alma.remaining(CODE) > 16 - 5
    assert bench.store.lease_holder(CODE) == run_id
    assert "are kept for others" in one.status_reason
    assert one.paused_until is not None
    assert f"{one.paused_until:%H:%M}" == "00:05"
    assert bench.resumption.planned[-1].paused_until == one.paused_until
    assert 0 < one.changes < one.candidates
    assert "not_attempted" not in one.reasons


@pytest.mark.parametrize(
    ("left", "told"),
    [(0, "no call is left today"), (1, "1 call is left today"), (1200, "1,200 calls are left today")],
)
def test_the_calls_that_are_left_are_counted_in_words(left: int, told: str) -> None:
    """A person reads why it is paused, on the dashboard and in the report."""
    bench = Workbench()
    run_id = bench.start().run_id
    paused = pause(bench.institution_run(run_id).but(remaining_calls=left), 300, bench.engine)
    assert paused.status_reason.startswith(f"{told}, and 300 are kept for others (reserve_daily_calls). Goes on")


def test_day_after_day_it_goes_on_until_it_is_done() -> None:
    """As often as the quota makes it pause, everybody has one outcome in the end, and each was changed once."""
    bench, run_id = paused_bench(quota=40)
    days = 0
    while bench.institution_run(run_id).status is Status.PAUSED:
        renewed(bench)
        days += 1
        assert resume(run_id, CODE, bench.engine).resumed == (f"{run_id}/{CODE}",)
        bench.drain()
        assert days < 20
    one = bench.institution_run(run_id)
    assert (one.status, one.pauses) == (Status.COMPLETED, days)
    assert days > 1
    rows = bench.outcomes(run_id)
    assert Counter(row.outcome for row in rows.values()) == one.outcomes
    assert len(rows) == one.candidates
    writes = Counter(write.primary_id for write in bench.alma.institution(CODE).writes)
    assert set(writes.values()) == {1}
    assert not bench.failures


def test_resuming_too_early_takes_one_call() -> None:
    """Somebody resumes it before the quota is renewed: it looks, and pauses again."""
    bench, run_id = paused_bench()
    calls = bench.alma.calls.total()
    resume(None, None, bench.engine)
    bench.drain()
    one = bench.institution_run(run_id)
    assert (one.status, one.pauses) == (Status.PAUSED, 1)
    assert bench.alma.calls.total() == calls + 1


def test_the_daily_threshold_pauses_at_once() -> None:
    """Alma says that the quota is spent, whatever it said was left: that is no failure, and nobody is left over."""
    bench = Workbench("")
    spent = Fault(error("DAILY_THRESHOLD", "Daily API Request Threshold has been reached", status=429))
    bench.alma.faults.append(lambda request: spent if request.method == "PUT" else None)
    started = bench.start()
    bench.drain()
    one = bench.institution_run(started.run_id)
    assert (one.status, one.changes, one.remaining_calls) == (Status.PAUSED, 0, 0)
    bench.alma.faults.clear()
    renewed(bench)
    resume(None, CODE, bench.engine)
    bench.drain()
    done = bench.institution_run(started.run_id)
    assert (done.status, "unconfirmed" in done.reasons, "not_attempted" in done.reasons) == (
        Status.COMPLETED,
        *[False] * 2,
    )
    assert done.changes > 0
    assert all(not row.detail for row in bench.outcomes(started.run_id).values() if row.outcome == "deactivated")


def test_a_message_of_before_the_pause_doesnt_end_it() -> None:
    """SQS gives the message back that led to the pause, since its worker was lost right after."""
    bench, run_id = paused_bench()
    before = bench.institution_run(run_id)
    bench.slice(WorkMessage(run_id=run_id, institution=CODE, seq=before.seq - 1))
    assert bench.institution_run(run_id) == before


def test_a_resume_sent_twice_is_worked_on_once() -> None:
    """The schedule and a person resume it: the second message finds that it has gone on."""
    bench, run_id = paused_bench(quota=40)
    renewed(bench)
    seq = bench.institution_run(run_id).seq
    resume(run_id, None, bench.engine)
    bench.drain()
    bench.slice(WorkMessage(run_id=run_id, institution=CODE, seq=seq))
    one = bench.institution_run(run_id)
    assert one.seq > seq
    assert (one.status, one.pauses) == (Status.PAUSED, 2)


def test_a_cancelled_pause_ends_at_once() -> None:
    """Whoever cancels it needn't wait for tomorrow, and the lease is free."""
    bench, run_id = paused_bench()
    assert cancel(run_id, None, "ana", bench.engine).cancelled == (CODE,)
    one = bench.institution_run(run_id)
    assert (one.status, one.reasons["not_attempted"]) == (
        Status.CANCELLED,
        one.candidates - sum(one.outcomes.values()) + one.reasons["not_attempted"],
    )
    assert bench.store.lease_holder(CODE) is None


def test_a_cancel_while_the_calls_run_out_ends_it_the_same_day() -> None:
    """It was told to stop at its next page, and the quota was spent before that: it doesn't wait for tomorrow first."""
    bench = Workbench("")
    spent = Fault(error("DAILY_THRESHOLD", "Daily API Request Threshold has been reached", status=429))
    run_id = bench.start().run_id
    stopping: list[tuple[str, ...]] = []

    def cancelled_meanwhile(method: str) -> Fault | None:
        if method != "PUT":
            return None
        stopping.append(cancel(run_id, None, "ana", bench.engine).stopping)
        return spent

    bench.alma.faults.append(lambda request: cancelled_meanwhile(request.method))
    bench.drain()
    run = bench.store.run(run_id)
    assert run is not None
    assert stopping[0] == (CODE,)
    assert (bench.institution_run(run_id).status, run.status, run.paused_count) == (
        Status.CANCELLED,
        RunStatus.CANCELLED,
        0,
    )
    assert bench.store.lease_holder(CODE) is None


def test_a_cancel_of_what_a_lost_worker_has_paused_is_done_when_its_message_comes_again() -> None:
    """The worker was lost between the pause and the look at who has cancelled it."""
    bench, run_id = paused_bench()
    bench.store.put_halt(run_id, CODE, Verdict(answer=Answer.CANCELLED, by="ana", at=bench.time.now()))
    bench.slice(WorkMessage(run_id=run_id, institution=CODE, seq=bench.institution_run(run_id).seq - 1))
    assert bench.institution_run(run_id).status is Status.CANCELLED


def days_in_vain(bench: Workbench, run_id: str, days: int) -> InstitutionRun:
    """So many days on which it is resumed; how it is then."""
    for _ in range(days):
        renewed(bench)
        resume(run_id, CODE, bench.engine)
        bench.drain()
    return bench.institution_run(run_id)


def test_what_gets_on_on_no_day_ends_as_failed() -> None:
    """A day's calls aren't even enough to begin with: it doesn't keep the institution's other runs waiting for ever."""
    bench, run_id = paused_bench(quota=1)
    assert days_in_vain(bench, run_id, MAX_IDLE_PAUSES - 2).status is Status.PAUSED
    one = days_in_vain(bench, run_id, 1)
    assert one.status is Status.FAILED
    assert one.status_reason.startswith(f"no progress on {MAX_IDLE_PAUSES} days: ")
    assert one.status_reason.endswith("Nothing was changed.")
    assert bench.store.lease_holder(CODE) is None


def test_days_in_vain_count_anew_after_one_that_was_not() -> None:
    """Others use up the calls for some days, then it gets on for one, then they do again: it still waits."""
    bench, run_id = paused_bench(quota=1)
    days_in_vain(bench, run_id, MAX_IDLE_PAUSES - 2)
    bench.alma.institution(CODE).daily_quota = 40
    one = days_in_vain(bench, run_id, 1)
    assert (one.status, one.idle_pauses) == (Status.PAUSED, 0)
    bench.alma.institution(CODE).daily_quota = 1
    one = days_in_vain(bench, run_id, MAX_IDLE_PAUSES - 1)
    assert (one.status, one.idle_pauses) == (Status.PAUSED, MAX_IDLE_PAUSES - 1)


def test_a_reading_of_which_the_beginning_has_expired_is_no_selection() -> None:
    """A sweep that pauses for weeks: the table has let go of its first drafts, and nobody is left out unnoticed."""

    class Forgetful(MemoryStore):
        def drafts(self, run_id: str, code: str, reading: Reading) -> Iterator[Draft]:
            return islice(super().drafts(run_id, code, reading), 1, None)

    bench = Workbench(users=400, store=Forgetful())
    one = bench.run()
    assert (one.status, one.candidates) == (Status.FAILED, 0)
    assert one.status_reason.startswith("what was read first is not kept any longer")


def test_the_reserve_holds_though_the_first_reply_doesnt_tell_what_is_left() -> None:
    """Not every reply of Alma's need have the header: the first one that has tells the reserve."""
    bench = Workbench(users=400)
    bench.alma.institution(CODE).daily_quota = 80
    handle = bench.alma.handle

    def telling_little(method: str, path: str, *rest: Any) -> Reply:
        reply = handle(method, path, *rest)
        return replace(reply, headers={}) if path.endswith("/conf/general") else reply

    bench.alma.handle = telling_little  # type: ignore[method-assign,assignment]
    run_id = bench.start().run_id
    bench.drain()
    assert bench.institution_run(run_id).status is Status.PAUSED
    assert 16 >= bench.alma.remaining(CODE) > 16 - 15


def test_a_pause_right_after_the_reset_is_over_in_minutes() -> None:
    """Alma's clock is behind ours by some seconds: what pauses then goes on within minutes."""
    bench = Workbench(users=400)
    bench.alma.institution(CODE).daily_quota = 1
    midnight = datetime.fromisoformat("2026-11-24T00:00:00+00:00")
    bench.time.seconds += (midnight - bench.time.now()).total_seconds() + 20
    run_id = bench.start().run_id
    bench.drain()
    one = bench.institution_run(run_id)
    assert (one.status, one.paused_until) == (Status.PAUSED, midnight + timedelta(minutes=5))


def test_other_runs_of_the_institution_wait_for_a_paused_one() -> None:
    """It keeps the lease: the next one stays queued, and goes on by itself when the paused one is done."""
    bench, run_id = paused_bench()
    second = bench.start(mode="preview").run_id
    bench.drain()
    assert bench.institution_run(second).status is Status.QUEUED
    tidy(bench.engine, STALLED_AFTER)
    assert bench.institution_run(second).status is Status.QUEUED
    bench.alma.institution(CODE).daily_quota = 100_000
    renewed(bench)
    resume(run_id, CODE, bench.engine)
    bench.drain()
    assert bench.institution_run(run_id).status is Status.COMPLETED
    assert bench.institution_run(second).status is Status.COMPLETED


def test_the_tidy_resumes_what_no_schedule_has_resumed() -> None:
    """The schedule couldn't be made, or its start was lost: the tidy lets it go on, once it is half an hour late."""
    bench, run_id = paused_bench()
    until = bench.institution_run(run_id).paused_until
    assert until is not None
    bench.time.seconds += (until - bench.time.now()).total_seconds() + 60
    assert tidy(bench.engine, STALLED_AFTER).woken == ()
    renewed(bench)
    assert tidy(bench.engine, STALLED_AFTER).woken == (f"{run_id}/{CODE}",)
    bench.drain()
    assert bench.institution_run(run_id).status in (Status.PAUSED, Status.COMPLETED)


def test_what_never_goes_on_after_its_pause_fails() -> None:
    """Nothing stays open for ever: after two days without a worker it has failed, and frees the institution."""
    bench, run_id = paused_bench()
    renewed(bench)
    while tidy(bench.engine, STALLED_AFTER).woken:
        bench.time.seconds += 3600
    one = bench.institution_run(run_id)
    assert one.status is Status.FAILED
    assert one.paused_until is not None
    assert one.finished_at is not None
    assert timedelta(days=2) < one.finished_at - one.paused_until < timedelta(days=2, hours=2)
    assert bench.store.lease_holder(CODE) is None


def test_what_nobody_has_tried_to_resume_doesnt_fail() -> None:
    """Neither schedules nor tidies ran for days: the first tidy resumes it, whatever the time."""
    bench, run_id = paused_bench()
    bench.alma.institution(CODE).daily_quota = 100_000
    renewed(bench, days=5)
    assert tidy(bench.engine, STALLED_AFTER).woken == (f"{run_id}/{CODE}",)
    bench.drain()
    assert bench.institution_run(run_id).status is Status.COMPLETED


def test_a_worker_that_meets_the_tidy_at_a_paused_one_goes_on() -> None:
    """The tidy has sent the message, and notes so as the worker begins with it: the message isn't lost by that."""

    class NotedMeanwhile(MemoryStore):
        met = 0

        def settle(self, institution_run: InstitutionRun) -> tuple[InstitutionRun, Run]:
            stored = self.institution_run(institution_run.run_id, institution_run.code)
            if stored is not None and stored.status is Status.PAUSED and not self.met:
                self.met += 1
                self.save(stored.but(vain_wakes=stored.vain_wakes + 1))
            return super().settle(institution_run)

    store = NotedMeanwhile()
    bench = Workbench(users=400, store=store)
    bench.alma.institution(CODE).daily_quota = 80
    run_id = bench.start().run_id
    bench.drain()
    renewed(bench)
    slices = bench.institution_run(run_id).slices
    resume(run_id, CODE, bench.engine)
    bench.drain()
    assert store.met == 1
    assert bench.institution_run(run_id).slices > slices


def test_without_a_schedule_it_pauses_all_the_same() -> None:
    """EventBridge Scheduler denies it: the run pauses, since the tidy will resume it."""

    def denied(paused: InstitutionRun) -> None:
        raise RuntimeError(paused.code)

    bench = Workbench(users=400)
    bench.resumption.plan = denied  # type: ignore[method-assign]
    bench.alma.institution(CODE).daily_quota = 80
    started = bench.start()
    bench.drain()
    assert bench.institution_run(started.run_id).status is Status.PAUSED


def test_a_policy_changed_during_the_pause_ends_the_run() -> None:
    """Whoever has been put under protection meanwhile isn't judged by the old policy."""
    bench, run_id = paused_bench()
    bench.store.put_institution(
        parse_registry(registry_of(CODE).replace("sweep: true}", "sweep: true}, grace_days: 30"))[0]
    )
    renewed(bench)
    resume(None, None, bench.engine)
    bench.drain()
    one = bench.institution_run(run_id)
    assert one.status is Status.FAILED
    assert "the policy has changed since the run was paused" in one.status_reason


def test_a_pace_changed_during_the_pause_is_kept_to_from_then_on() -> None:
    """Somebody lowers the reserve, and resumes it the same day."""
    bench, run_id = paused_bench()
    kept = registry_of(CODE).replace("requests_per_second: 20", "requests_per_second: 20, reserve_daily_calls: 0")
    bench.store.put_institution(parse_registry(kept)[0])
    resume(None, None, bench.engine)
    bench.drain()
    assert bench.institution_run(run_id).status is Status.PAUSED
    assert bench.alma.remaining(CODE) == 0


def test_institutions_of_a_pool_leave_the_others_what_the_pool_is_to_keep() -> None:
    """Two institutions with one quota: the larger reserve holds for both, and both wait for the same reset."""
    text = registry_of(CODE, "01OHIO_BBB").replace("region: na,", "region: na, pool: consortium,")
    bench = Workbench(text, users=400)
    for one in bench.alma.institutions.values():
        one.daily_quota, one.pool = 80, "consortium"
    run_id = bench.start().run_id
    bench.drain()
    run = bench.store.run(run_id)
    assert run is not None
    assert (run.status, run.paused_count) == (RunStatus.PAUSED, 2)
    assert 16 >= bench.alma.remaining(CODE) > 16 - 5


@given(
    asked=st.one_of(st.integers(0, 10**6), st.integers(0, 100).map(lambda share: f"{share}%")),
    most=st.integers(0, 10**7),
)
def test_a_reserve_is_never_more_than_a_fifth(asked: int | str, most: int) -> None:
    """Whatever is asked for: no more than a fifth of the most that was left, and no more than was asked for."""
    reserve = reserve_in_force(Pace(reserve_daily_calls=asked), most)
    wanted = asked if isinstance(asked, int) else most * int(asked[:-1]) / 100
    assert 0 <= reserve <= most / 5
    assert reserve < wanted + 1
    assert reserve in (wanted, most // 5) or not isinstance(asked, int)


@given(
    minutes=st.lists(st.tuples(st.integers(0, 72 * 60), st.integers(0, 10**6)), min_size=1, max_size=40),
)
def test_the_most_of_24_hours_is_known(minutes: list[tuple[int, int]]) -> None:
    """Of replies in any number, the largest of the latest 24 hours counts, to the hour; older ones don't."""
    budget = Budget(name="institution#X")
    replies = sorted(minutes)
    for at, remaining in replies:
        budget = seen(budget, remaining, NOON + timedelta(minutes=at))
    end = NOON + timedelta(minutes=replies[-1][0])
    surely = [left for at, left in replies if end - (NOON + timedelta(minutes=at)) <= timedelta(hours=23)]
    maybe = [left for at, left in replies if end - (NOON + timedelta(minutes=at)) <= timedelta(hours=24)]
    assert max(surely) <= most_left(budget) <= max(maybe)
    assert len(budget.most) <= 24


@pytest.mark.parametrize(
    ("reset", "now", "expected"),
    [
        ("00:00", "2026-12-31T23:59:59+00:00", "2027-01-01T00:00:00+00:00"),
        ("00:00", "2028-02-28T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        ("00:00", "2028-02-29T12:00:00+00:00", "2028-03-01T00:00:00+00:00"),
        ("06:30", "2026-11-23T05:00:00+00:00", "2026-11-23T06:30:00+00:00"),
        ("00:00 America/New_York", "2026-11-23T17:00:00+00:00", "2026-11-24T05:00:00+00:00"),
        ("00:00 America/New_York", "2026-03-08T04:59:00+00:00", "2026-03-08T05:00:00+00:00"),
        ("00:00 America/New_York", "2026-03-08T05:00:00+00:00", "2026-03-09T04:00:00+00:00"),
        ("02:30 America/New_York", "2026-03-08T06:00:00+00:00", "2026-03-08T07:30:00+00:00"),
        ("01:30 America/New_York", "2026-11-01T05:00:00+00:00", "2026-11-01T05:30:00+00:00"),
    ],
)
def test_the_next_reset(reset: str, now: str, expected: str) -> None:
    """Midnight UTC, or what the registry says: over year's end, a leap day, and changes of summer time."""
    found = next_reset(Pace(reset=reset), datetime.fromisoformat(now))
    assert found == datetime.fromisoformat(expected)


def test_a_mistyped_institution_is_told() -> None:
    """Nothing would be paused there, and whoever asked would wait for it."""
    bench, _ = paused_bench()
    with pytest.raises(InvalidEvent, match="institution: 01OHIO_ZZZ is not registered"):
        resume(None, "01OHIO_ZZZ", bench.engine)
