"""Starting a run: whom it is for, that a repeated start starts nothing twice, and that none is forgotten."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from patron_lifecycle.policy.model import Policy, Purge, Select
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.events import InvalidEvent, parse_start
from patron_lifecycle.runs.launch import Started, day_of, start_run
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run, RunStatus, Status, Trigger, WorkMessage
from patron_lifecycle.runs.queue import Queue, SendFailed
from patron_lifecycle.runs.store import MemoryStore, Store
from tests.samples import NOW, TODAY, deactivate, institution, institution_run
from tests.workbench import MemoryNotices, MemoryQueue, MemoryResumption

FIVE = tuple(f"01OHIO_{letter * 3}" for letter in "ABCDE")


def registered(*codes: str, **changes: Any) -> MemoryStore:
    """A store with these institutions."""
    store = MemoryStore()
    for code in codes or FIVE:
        store.put_institution(institution(code, **changes))
    return store


def start(store: Store, queue: Queue, call_id: str = "lambda-1", now: datetime = NOW, **event: Any) -> Started:
    """Start a run as the enumerator does."""
    return start_run(parse_start({"action": "deactivate", **event}), call_id, store, queue, lambda: now)


def reasons(started: Started) -> dict[str, str]:
    """Why institutions were left out, by code."""
    return {skip.institution: skip.reason for skip in started.skipped}


def test_a_start_stores_and_queues_every_enabled_institution() -> None:
    """Each enabled institution gets one institution run and one message, and the run knows how many are open."""
    store, queue = registered(), MemoryQueue()
    started = start(store, queue, mode="apply", as_of="2026-11-20", trigger="schedule")
    assert (started.queued, started.skipped) == (FIVE, ())
    assert queue.sent == [WorkMessage(run_id=started.run_id, institution=code, seq=0) for code in FIVE]
    run = store.run(started.run_id)
    assert run is not None
    assert (run.mode, run.trigger, run.as_of) == (Mode.APPLY, Trigger.SCHEDULE, date(2026, 11, 20))
    assert (run.status, run.open_count, run.launched) == (RunStatus.RUNNING, 5, True)
    assert run.finished_at is None
    assert [one.code for one in store.institution_runs(started.run_id)] == list(FIVE)
    first = store.institution_runs(started.run_id)[0]
    assert (first.status, first.seq, first.mode, first.as_of) == (Status.QUEUED, 0, Mode.APPLY, date(2026, 11, 20))
    assert first.institution == institution(FIVE[0])


def test_named_institutions_alone_are_started() -> None:
    """Who names institutions gets these, in their order, each once."""
    store, queue = registered(), MemoryQueue()
    started = start(store, queue, institutions=["01OHIO_CCC", "01OHIO_AAA", "01OHIO_CCC"])
    assert started.queued == ("01OHIO_CCC", "01OHIO_AAA")
    assert len(queue.sent) == 2


def test_institutions_that_cannot_take_part_are_left_out_with_the_mend() -> None:
    """Unknown, disabled, or without the action: the answer says which and why, and the others go on."""
    store, queue = registered("01OHIO_AAA"), MemoryQueue()
    store.put_institution(institution("01OHIO_BBB", enabled=False))
    store.put_institution(institution("01OHIO_CCC", policy=Policy(deactivate=deactivate(enabled=False))))
    store.put_institution(institution("01OHIO_DDD", policy=Policy(purge=Purge(select=Select(set_id="1")))))
    started = start(store, queue, institutions=[*FIVE[:4], "01ohio_aaa"])
    assert started.queued == ("01OHIO_AAA",)
    not_enabled = "deactivate is not enabled: see policy.deactivate in institutions.yaml"
    assert reasons(started) == {
        "01OHIO_BBB": "disabled: set enabled: true in institutions.yaml and register it",
        "01OHIO_CCC": not_enabled,
        "01OHIO_DDD": not_enabled,
        "01ohio_aaa": "not registered: no such code in the registry (did you mean 01OHIO_AAA?); correct it, or "
        "add it to institutions.yaml",
    }
    assert reasons(start(store, queue, "lambda-2")).keys() == {"01OHIO_BBB", "01OHIO_CCC", "01OHIO_DDD"}


def test_a_run_of_no_institution_is_over_at_once() -> None:
    """When everybody is left out, the run is completed and says why; nothing is queued."""
    store, queue = registered("01OHIO_AAA", enabled=False), MemoryQueue()
    started = start(store, queue)
    run = store.run(started.run_id)
    assert run is not None
    assert (run.status, run.finished_at, run.open_count) == (RunStatus.COMPLETED, NOW, 0)
    assert run.skipped == started.skipped != ()
    assert queue.sent == []
    assert store.unlaunched_runs() == []


def test_without_a_registry_nothing_starts() -> None:
    """Before the first registration the answer says how to register."""
    with pytest.raises(InvalidEvent, match='"command": "register"'):
        start(MemoryStore(), MemoryQueue())


def test_a_day_ahead_is_for_previews_only() -> None:
    """A preview may look ahead; to apply, as_of is today at the latest, and the refusal leaves nothing behind."""
    store, queue = registered(), MemoryQueue()
    tomorrow = (TODAY + timedelta(days=1)).isoformat()
    with pytest.raises(InvalidEvent, match=r"as_of: 2026-11-24 is ahead of today, 2026-11-23 at 01OHIO_AAA"):
        start(store, queue, mode="apply", as_of=tomorrow)
    assert store.recent_runs(10) == []
    assert queue.sent == []
    assert start(store, queue, "lambda-2", as_of=tomorrow).queued == FIVE
    assert start(store, queue, "lambda-3", mode="apply", as_of=TODAY.isoformat()).queued == FIVE


def test_today_is_today_at_the_institution() -> None:
    """It is tomorrow in Auckland when it is still today in New York."""
    evening = datetime(2026, 11, 23, 20, tzinfo=UTC)
    tomorrow = "2026-11-24"
    store = registered("01OHIO_AAA", time_zone="Pacific/Auckland")
    assert start(store, MemoryQueue(), now=evening, mode="apply", as_of=tomorrow).queued == ("01OHIO_AAA",)
    store.put_institution(institution("01OHIO_BBB"))
    with pytest.raises(InvalidEvent, match="at 01OHIO_BBB"):
        start(store, MemoryQueue(), "lambda-2", now=evening, mode="apply", as_of=tomorrow)


@pytest.mark.parametrize(
    ("changes", "now", "day"),
    [
        ({}, datetime(2026, 11, 24, 4, 59, tzinfo=UTC), date(2026, 11, 23)),
        ({}, datetime(2026, 11, 24, 5, tzinfo=UTC), date(2026, 11, 24)),
        ({"time_zone": "Pacific/Auckland"}, datetime(2026, 11, 23, 11, tzinfo=UTC), date(2026, 11, 24)),
        ({"time_zone": "UTC"}, datetime(2026, 11, 23, 23, 59, tzinfo=UTC), date(2026, 11, 23)),
    ],
)
def test_the_day_is_that_of_the_institution(changes: dict[str, str], now: datetime, day: date) -> None:
    """An institution run judges by the day in its own time zone, or by the one that was asked for."""
    one = institution_run(institution=institution(**changes))
    assert day_of(one, now) == day
    assert day_of(one.but(as_of=date(2020, 2, 29)), now) == date(2020, 2, 29)


def test_the_same_request_gives_the_same_run() -> None:
    """Sent again, a request finds its run, and nothing is stored or queued again."""
    store, queue = registered(), MemoryQueue(forgetful=True)
    first = start(store, queue, call_id="lambda-1")
    store.put_institution(institution("01OHIO_FFF"))
    assert start(store, queue, call_id="lambda-1") == first
    assert len(queue.sent) == 5
    assert len(store.recent_runs(10)) == 1


def test_the_events_own_request_id_goes_before_that_of_the_call() -> None:
    """A schedule that fires twice in two calls names its request, and starts one run."""
    store, queue = registered(), MemoryQueue(forgetful=True)
    first = start(store, queue, "lambda-1", request_id="deactivate 2026-11-23")
    again = start(store, queue, "lambda-2", request_id="deactivate 2026-11-23", trigger="schedule")
    assert again == first
    assert start(store, queue, "lambda-3").run_id != first.run_id
    assert len(queue.sent) == 10


@pytest.mark.parametrize(
    "other",
    [{"mode": "apply"}, {"institutions": ["01OHIO_AAA"]}, {"as_of": "2026-11-01"}],
    ids=lambda other: next(iter(other)),
)
def test_a_request_id_cannot_be_used_for_something_else(other: dict[str, Any]) -> None:
    """Another event under a request_id that has started a run is refused; it names that run."""
    store, queue = registered(), MemoryQueue(forgetful=True)
    first = start(store, queue, request_id="again")
    with pytest.raises(InvalidEvent, match=f"request_id: again has started run {first.run_id} with another event"):
        start(store, queue, request_id="again", **other)
    assert len(queue.sent) == 5


class Enumerator:
    """A store and a queue of an enumerator that dies at its nth write, before it is done or after."""

    def __init__(self, store: MemoryStore, queue: MemoryQueue, dies_at: int, *, when_done: bool) -> None:
        self._store, self._queue = store, queue
        self._writes_left, self._when_done = dies_at, when_done

    def _write(self, write: Callable[[], Any]) -> Any:
        self._writes_left -= 1
        if self._writes_left == 0 and not self._when_done:
            raise ConnectionError("the enumerator died")
        given = write()
        if self._writes_left == 0:
            raise ConnectionError("the enumerator died")
        return given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create_run(self, run: Run) -> Run:
        """Stores, or dies."""
        stored: Run = self._write(lambda: self._store.create_run(run))
        return stored

    def create_institution_run(self, one: InstitutionRun) -> None:
        """Stores, or dies."""
        self._write(lambda: self._store.create_institution_run(one))

    def mark_launched(self, run_id: str) -> None:
        """Stores, or dies."""
        self._write(lambda: self._store.mark_launched(run_id))

    def send(self, messages: Iterable[WorkMessage]) -> None:
        """Sends one by one, or dies in between."""
        for message in messages:
            self._write(partial(self._queue.send, [message]))


WRITES = 1 + len(FIVE) + len(FIVE) + 1  # the run, its institution runs, their messages, the mark


@pytest.mark.parametrize("when_done", [False, True])
@pytest.mark.parametrize("dies_at", range(1, WRITES + 1))
@pytest.mark.parametrize("mended_by", ["repeat", "tidy"])
def test_an_enumerator_that_dies_forgets_no_institution(dies_at: int, mended_by: str, *, when_done: bool) -> None:
    """After a death at any write, a repeated start or the tidy brings every institution to work, and none twice."""
    store, queue = registered(), MemoryQueue()
    dying: Any = Enumerator(store, queue, dies_at, when_done=when_done)
    with pytest.raises(ConnectionError):
        start(dying, dying, request_id="weekly")
    if mended_by == "repeat" or not store.recent_runs(1):
        start(store, queue, request_id="weekly")
    else:
        tidy(
            Engine(store, queue, MemoryNotices(), MemoryResumption(), lambda: NOW + timedelta(hours=1), "test"),
            timedelta(minutes=30),
        )
    (run,) = store.recent_runs(10)
    assert run.launched
    assert run.open_count == len(FIVE)
    assert [one.code for one in store.institution_runs(run.run_id)] == list(FIVE)
    first_messages = [message for message in queue.messages if message.seq == 0]
    assert Counter(message.institution for message in first_messages) == Counter(FIVE)


def test_a_start_repeated_while_workers_are_busy_changes_nothing_of_theirs() -> None:
    """An institution run that has gone on before the enumerator was repeated stays as it is."""
    store, queue = registered(), MemoryQueue()
    dying: Any = Enumerator(store, queue, WRITES, when_done=False)
    with pytest.raises(ConnectionError):
        start(dying, dying, request_id="weekly")
    (run,) = store.recent_runs(1)
    begun = store.institution_runs(run.run_id)[0]
    begun = store.save(begun.but(status=Status.PROCESSING, seq=3))
    start(store, queue, request_id="weekly")
    assert store.institution_run(run.run_id, begun.code) == begun


def test_messages_that_the_queue_refused_are_sent_by_the_repeat() -> None:
    """When SQS takes no messages the start fails, and started again it sends all."""

    class FullQueue:
        def send(self, messages: Iterable[WorkMessage]) -> None:
            raise SendFailed(f"SQS refused {len(list(messages))} messages")

    store, queue = registered(), MemoryQueue()
    with pytest.raises(SendFailed):
        start(store, FullQueue(), request_id="weekly")
    assert [run.launched for run in store.unlaunched_runs()] == [False]
    start(store, queue, request_id="weekly")
    assert len(queue.messages) == 5
