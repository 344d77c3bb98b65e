"""The coming purge is told on its days of notice: to those who want it, made up for when missed, and never twice."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.notices.account import NO_SENDER
from patron_lifecycle.notices.coming import Announced, announce, days_of_notice, key_of
from patron_lifecycle.policy.model import Policy
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.events import StartRun
from patron_lifecycle.runs.launch import start_run
from patron_lifecycle.runs.model import Mode, Notice, NoticeKind, Run, Status, Trigger, WorkMessage
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.settings import Settings
from tests.samples import CODE, deactivate, institution, purge
from tests.workbench import MemoryNotices, MemoryQueue, MemoryResumption

BBB = "01OHIO_BBB"
ZONE = "America/New_York"


def morning(day: int, month: int = 11) -> datetime:
    """Nine o'clock in New York, when the daily schedule looks."""
    return datetime(2026, month, day, 14, tzinfo=UTC)


def library(code: str = CODE, **changes: Any) -> Institution:
    """A library that wants to be told of its purges."""
    usual: dict[str, Any] = {
        "policy": Policy(deactivate=deactivate(), purge=purge()),
        "notices": True,
        "contacts": ("desk@alder.example.edu",),
    }
    return institution(code, **(usual | changes))


def deployed(**changes: Any) -> Settings:
    """Settings of a stack that purges for real, on the first of the month at five."""
    usual: dict[str, Any] = {
        "table_name": "t",
        "queue_url": "q",
        "secret_prefix": "s",
        "event_source": "e",
        "retention_days": 400,
        "purge_schedule": "cron(0 5 1 * ? *)",
        "purge_schedule_state": "ENABLED",
        "apply_purge": True,
        "schedule_time_zone": ZONE,
        "notice_sender": "notices@example.edu",
    }
    return Settings(**(usual | changes))


class BrokenQueue(MemoryQueue):
    """A queue that is out of reach."""

    def send(self, messages: Iterable[WorkMessage]) -> None:
        """See `Queue`."""
        raise TimeoutError


class Service:
    """A store of libraries, and the days on which the schedule looks."""

    def __init__(self, *libraries: Institution) -> None:
        self.store = MemoryStore()
        self.queue = MemoryQueue()
        for one in libraries:
            self.store.put_institution(one)

    def look(self, now: datetime, **changes: Any) -> Announced:
        """What the daily schedule starts."""
        engine = Engine(self.store, self.queue, MemoryNotices(), MemoryResumption(), lambda: now, "test")
        return announce(engine, deployed(**changes))

    def runs(self, now: datetime, **changes: Any) -> list[Run]:
        """The runs that it starts."""
        found = [self.store.run(run_id) for run_id in self.look(now, **changes).runs]
        return [run for run in found if run is not None]

    def end(self, status: Status, *codes: str) -> None:
        """Let previews that go on end, of these libraries or of all."""
        for one in self.store.open_institution_runs():
            if not codes or one.code in codes:
                self.store.settle(one.but(status=status, finished_at=one.created_at))

    def tell(self, code: str, day: date, notice: int) -> None:
        """Let a library's preview have ended, and the reporter have told the library."""
        self.end(Status.COMPLETED, code)
        told = Notice(
            code=code,
            key=key_of(day, notice),
            kind=NoticeKind.COMING_PURGE,
            run_id="r",
            to=1,
            at=datetime(2026, 11, 20, tzinfo=UTC),
        )
        assert self.store.claim_notice(told)


def test_two_weeks_ahead_a_preview_of_the_purge_day_is_started() -> None:
    """On November 17 for December 1, as of that day, for those who want it."""
    without = {"notices": False, "contacts": ()}
    service = Service(library(), library(BBB), library("01OHIO_CCC", **without), library("01OHIO_DDD", enabled=False))
    assert service.look(morning(16)).runs == {}
    (run,) = service.runs(morning(17))
    assert (run.action.value, run.mode, run.trigger, run.as_of) == (
        "purge",
        Mode.PREVIEW,
        Trigger.SCHEDULE,
        date(2026, 12, 1),
    )
    assert run.institutions == (CODE, BBB)
    assert len(service.queue.messages) == 2


def test_a_repeat_of_the_day_starts_nothing_more() -> None:
    """Scheduler may deliver twice: nothing is queued again, whether anybody has been told in between or not."""
    service = Service(library(), library(BBB))
    assert service.look(morning(17)).runs
    service.look(morning(17) + timedelta(minutes=5))
    service.tell(CODE, date(2026, 12, 1), 14)
    assert service.look(morning(17) + timedelta(minutes=10)).runs == {}
    assert len(service.queue.messages) == 2
    assert len(service.store.recent_runs(10)) == 1


def test_a_start_that_broke_off_is_finished_by_its_repeat() -> None:
    """The queue is out of reach: the repeat goes on with the run that was begun, for the same libraries."""
    service = Service(library(), library(BBB))
    queue, service.queue = service.queue, BrokenQueue()
    with pytest.raises(TimeoutError):
        service.look(morning(17))
    service.queue = queue
    assert list(service.look(morning(17) + timedelta(minutes=1)).runs.values()) == [(CODE, BBB)]
    assert len(service.store.recent_runs(10)) == 1
    assert len(queue.messages) == 2


def test_no_preview_is_started_beside_one_that_goes_on() -> None:
    """It waits for Alma's next day, say; a second one would only take of the same calls."""
    service = Service(library())
    assert service.look(morning(17)).runs
    assert service.look(morning(18)).runs == {}
    service.end(Status.FAILED)
    assert service.look(morning(19)).runs


def test_a_preview_by_hand_stands_in_for_no_notice() -> None:
    """A person looks at what the purge will take, on the very day of notice: the library is told all the same."""
    service = Service(library())
    by_hand = StartRun(action=Action.PURGE, as_of=date(2026, 12, 1))
    start_run(by_hand, "by hand", service.store, service.queue, lambda: morning(17))
    assert service.look(morning(17)).runs


def test_each_day_of_notice_is_told_once() -> None:
    """Told on the 17th, nothing more until the day before."""
    service = Service(library())
    assert service.look(morning(17)).runs
    service.tell(CODE, date(2026, 12, 1), 14)
    assert [day for day in range(18, 30) if service.look(morning(day)).runs] == []
    assert service.look(morning(30)).runs
    service.tell(CODE, date(2026, 12, 1), 1)
    assert service.look(morning(30)).runs == {}


def test_a_missed_day_is_made_up_for_by_whom_it_was_missed_for() -> None:
    """A preview that failed in one library is started again for that one on the next day, until it is told."""
    service = Service(library(), library(BBB))
    service.look(morning(17))
    service.end(Status.FAILED)
    service.tell(CODE, date(2026, 12, 1), 14)
    (again,) = service.runs(morning(18))
    assert again.institutions == (BBB,)
    service.end(Status.FAILED)
    (once_more,) = service.runs(morning(19))
    assert once_more.run_id != again.run_id


def test_the_day_is_the_librarys_own() -> None:
    """Five in the morning in New York on the first is still the first in Ohio, and the second in Auckland at noon."""
    service = Service(library(), library(BBB, time_zone="Pacific/Auckland"))
    evening = {"purge_schedule": "cron(0 20 1 * ? *)"}
    days = {run.institutions[0]: run.as_of for run in service.runs(morning(17), **evening)}
    assert days == {CODE: date(2026, 12, 1), BBB: date(2026, 12, 2)}


def test_a_library_has_its_own_days_of_notice() -> None:
    """Seven days for one, none for another."""
    service = Service(library(notice_days=(7,)), library(BBB, notice_days=()))
    assert service.look(morning(23)).runs == {}
    assert list(service.look(morning(24)).runs.values()) == [(CODE,)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"apply_purge": False}, "the monthly purge doesn't start by itself, or only as a preview"),
        ({"purge_schedule_state": "DISABLED"}, "the monthly purge doesn't start by itself, or only as a preview"),
        ({"notice_sender": ""}, NO_SENDER),
    ],
)
def test_nothing_is_announced_that_will_not_be_or_cannot_be_told(changes: dict[str, Any], why: str) -> None:
    """Nobody is told of a purge that is only a preview, and none is started for mails that can't be sent."""
    service = Service(library())
    assert service.look(morning(17), **changes) == Announced({}, why)


def test_a_library_that_does_not_purge_is_not_told() -> None:
    """No purge policy, or one that is switched off."""
    none = Policy(deactivate=deactivate())
    off = Policy(deactivate=deactivate(), purge=purge(enabled=False))
    assert Service(library(policy=none), library(BBB, policy=off)).look(morning(17)).runs == {}


@given(days=st.sets(st.integers(1, 28), max_size=5), purge_day=st.integers(1, 28))
@pytest.mark.untraced
def test_over_months_each_day_of_notice_of_each_purge_is_told_exactly_once(days: set[int], purge_day: int) -> None:
    """Whatever the days, looking every morning of a year and telling at once: one notice for each day of each purge."""
    service = Service(library(notice_days=tuple(days)))
    told: list[tuple[date, int]] = []
    for number in range(200):
        now = morning(1, 1) + timedelta(days=number)
        for run in service.runs(now, purge_schedule=f"cron(0 5 {purge_day} * ? *)"):
            assert run.as_of is not None
            ahead = (run.as_of - now.date()).days
            notice = days_of_notice(days, ahead)
            assert notice is not None
            service.tell(CODE, run.as_of, notice)
            told.append((run.as_of, notice))
    assert len(told) == len(set(told))
    purges = {day for day, _ in told}
    for day in sorted(purges)[1:-1]:  # those at either end of the year may have lost some
        assert {notice for other, notice in told if other == day} == days


def test_no_key_of_a_notice_begins_like_another() -> None:
    """A notice of one day must not be taken for one of fourteen."""
    keys = [key_of(date(2026, 12, 1), days) for days in range(1, 100)]
    assert not any(a != b and a.startswith(b) for a in keys for b in keys)
