"""How institution runs end, who comes next, and what a tidy does with what has stalled."""

import itertools
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from benchmarks.costs import METRICS
from patron_lifecycle.observability import count_status, put_days_since
from patron_lifecycle.policy.reasons import Action, Outcome, Reason
from patron_lifecycle.runs.days_since import SCHEDULED
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.lifecycle import NEVER_STARTED_AFTER, Tidied, end, hold, tidy, wake_next
from patron_lifecycle.runs.model import InstitutionRun, Page, PageState, Run, RunStatus, Status, WorkMessage
from patron_lifecycle.runs.notices import NoticeFailed
from patron_lifecycle.runs.store import Conflict, MemoryStore
from scripts.lint_template import TEMPLATE
from tests.samples import CODE, NOW, institution, institution_run, outcome, page, run
from tests.unit.runs.test_guards import held_bench
from tests.workbench import MemoryNotices, MemoryQueue, MemoryResumption, Workbench

STALLED_AFTER = timedelta(hours=2)
LATER = NOW + STALLED_AFTER + timedelta(seconds=1)
DAYS_LATER = NOW + NEVER_STARTED_AFTER + timedelta(seconds=1)
WOKEN_IN_VAIN: dict[str, Any] = {"vain_wakes": 3, "stalled_since": NOW}


class Service:
    """A store and a queue with some runs in them."""

    def __init__(self) -> None:
        self.store, self.queue, self.notices = MemoryStore(), MemoryQueue(), MemoryNotices()
        self.store.put_institution(institution())

    def add(self, run_id: str = "deactivate-1", *, lease: bool = False, **changes: Any) -> InstitutionRun:
        """Store a run of one institution with its institution run, which may hold the lease."""
        created_at = changes.get("created_at", NOW)
        self.store.create_run(run(run_id, created_at=created_at))
        one = institution_run(run_id, **{"touched_at": created_at, **changes})
        self.store.create_institution_run(one)
        if lease:
            assert self.store.acquire_lease(one.code, run_id)
        return one

    def get(self, run_id: str = "deactivate-1") -> InstitutionRun:
        """The institution run as stored."""
        found = self.store.institution_run(run_id, CODE)
        assert found is not None
        return found

    def run(self, run_id: str = "deactivate-1") -> Run:
        """The run as stored."""
        found = self.store.run(run_id)
        assert found is not None
        return found

    def tidy(self, now: datetime = LATER) -> Tidied:
        """Tidy at this time."""
        return tidy(self.engine(now), STALLED_AFTER)

    def engine(self, now: datetime = LATER) -> Engine:
        """What drives its runs at this time."""
        return Engine(self.store, self.queue, self.notices, MemoryResumption(), lambda: now, "test")


@pytest.fixture
def service() -> Service:
    """An empty service."""
    return Service()


def ids(*numbers: int) -> tuple[str, ...]:
    """Patrons by number."""
    return tuple(f"patron-{number}" for number in numbers)


def test_an_institution_run_that_is_through_ends_as_it_stands(service: Service) -> None:
    """Without left-overs the counts stay; the run ends with its last institution, and the lease is given back."""
    one = service.add(
        status=Status.PROCESSING, candidates=3, pages=1, next_page=1, outcomes={Outcome.DEACTIVATED: 3}, lease=True
    )
    ended = end(one, Status.COMPLETED, "", service.engine())
    assert ended == service.get()
    assert (ended.status, ended.finished_at, ended.outcomes) == (Status.COMPLETED, LATER, {Outcome.DEACTIVATED: 3})
    assert ended.reasons == {}
    assert (service.run().status, service.run().finished_at) == (RunStatus.COMPLETED, LATER)
    assert service.run().ended == {Status.COMPLETED: 1}
    assert service.store.lease_holder(CODE) is None
    assert service.queue.sent == []


def test_before_the_manifest_nothing_is_left_over(service: Service) -> None:
    """An institution run that fails while it selects has no candidates to account for."""
    one = service.add(status=Status.SELECTING, seen=700)
    ended = end(one, Status.FAILED, "the set isn't there", service.engine())
    assert (ended.outcomes, ended.reasons, ended.status_reason) == ({}, {}, "the set isn't there")
    assert service.run().status is RunStatus.COMPLETED_WITH_FAILURES


LEFT_OVER: dict[str, tuple[list[Page], dict[str, Any], dict[str, int]]] = {
    "no page begun": ([page(0, ids(1, 2)), page(1, ids(3))], {}, {"not_attempted": 3}),
    "lost before the first outcome": (
        [page(0, ids(1, 2, 3), state=PageState.IN_PROGRESS, eligible=ids(1, 3)), page(1, ids(4))],
        {},
        {"unconfirmed": 2, "not_attempted": 2},
    ),
    "lost after some outcomes": (
        [
            page(0, ids(1), state=PageState.DONE, outcomes=(outcome("patron-1"),)),
            page(
                1,
                ids(2, 3, 4, 5),
                state=PageState.IN_PROGRESS,
                eligible=ids(2, 3, 4),
                outcomes=(outcome("patron-2"), outcome("patron-3")),
            ),
            page(2, ids(6, 7)),
        ],
        {"next_page": 1, "outcomes": {Outcome.DEACTIVATED: 3}},
        {"unconfirmed": 1, "not_attempted": 3},
    ),
    "lost between two pages": (
        [
            page(0, ids(1), state=PageState.DONE, eligible=ids(1), outcomes=(outcome("patron-1"),)),
            page(1, ids(2, 3)),
        ],
        {"next_page": 1, "outcomes": {Outcome.DEACTIVATED: 1}},
        {"not_attempted": 2},
    ),
}


@pytest.mark.parametrize("case", LEFT_OVER)
def test_left_overs_are_counted_as_what_they_are(service: Service, case: str) -> None:
    """Who may have been changed is unconfirmed, everybody else not_attempted; the pages tell the same, one by one."""
    pages, changes, left = LEFT_OVER[case]
    service.store.put_pages(pages)
    candidates = sum(len(one.ids) for one in pages)
    one = service.add(status=Status.PROCESSING, pages=len(pages), candidates=candidates, **changes)
    ended = end(one, Status.FAILED, "stalled", service.engine())
    assert ended.reasons == left
    assert sum(ended.outcomes.values()) == candidates, "exactly one outcome for every candidate"
    assert ended.outcomes.get(Outcome.FAILED, 0) == left.get(Reason.UNCONFIRMED, 0)
    assert ended.outcomes.get(Outcome.SKIPPED, 0) == left.get(Reason.NOT_ATTEMPTED, 0)
    told = [row for one in pages for row in one.closed(LATER)]
    assert [row.primary_id for row in told] == [primary_id for one in pages for primary_id in one.ids]
    assert {
        reason: sum(row.reason == reason for row in told) for reason in {row.reason for row in told if row.reason}
    } == left


def test_what_has_ended_or_gone_on_is_not_ended_again(service: Service) -> None:
    """Two that end the same institution run: one does, the other has a conflict, and the run counts it once."""
    one = service.add(status=Status.PROCESSING)
    service.store.create_institution_run(institution_run("deactivate-2", created_at=NOW + timedelta(seconds=1)))
    end(one, Status.COMPLETED, "", service.engine())
    with pytest.raises(Conflict):
        end(one, Status.FAILED, "too late", service.engine())
    assert service.get().status is Status.COMPLETED
    assert service.run().ended == {Status.COMPLETED: 1}
    assert len(service.queue.sent) == 1, "nor is anybody woken again"


def test_the_end_of_one_wakes_the_oldest_that_waits(service: Service) -> None:
    """The institution's next gets a message with a higher seq, which it is stored with; later ones go on waiting."""
    first = service.add("deactivate-1", status=Status.PROCESSING, lease=True)
    for number in (2, 3, 4):
        service.add(f"deactivate-{number}", created_at=NOW + timedelta(minutes=number), seq=number)
    end(first, Status.COMPLETED, "", service.engine())
    assert service.queue.sent == [WorkMessage(run_id="deactivate-2", institution=CODE, seq=3)]
    assert (service.get("deactivate-2").seq, service.get("deactivate-2").touched_at) == (3, LATER)
    assert service.get("deactivate-3").seq == 3, "unchanged"
    assert service.store.lease_holder(CODE) is None, "free for the one that was woken"


def test_other_institutions_are_not_woken(service: Service) -> None:
    """Who waits at another institution waits for that one."""
    service.store.create_institution_run(institution_run("deactivate-2", "01OHIO_BBB"))
    assert wake_next(CODE, service.engine()) is None
    assert service.queue.sent == []


def test_who_is_woken_is_what_is_stored_now() -> None:
    """A list that lags behind the store wakes nobody who has ended or begun meanwhile."""

    class LaggingStore(MemoryStore):
        def institution_runs_of(self, code: str, limit: int | None = None) -> list[InstitutionRun]:
            found = super().institution_runs_of(code, limit)
            return [one.but(status=Status.QUEUED, seq=0, version=0) for one in found]

    store, queue = LaggingStore(), MemoryQueue()
    for number, status in enumerate((Status.FAILED, Status.PROCESSING, Status.QUEUED)):
        created_at = NOW + timedelta(minutes=number)
        store.create_institution_run(
            institution_run(f"deactivate-{number}", status=status, seq=5, version=7, created_at=created_at)
        )
    assert (
        wake_next(CODE, Engine(store, queue, MemoryNotices(), MemoryResumption(), lambda: LATER, "test"))
        == "deactivate-2"
    )
    assert queue.sent == [WorkMessage(run_id="deactivate-2", institution=CODE, seq=6)]
    woken = store.institution_run("deactivate-2", CODE)
    assert woken is not None
    assert (woken.seq, woken.version) == (6, 8)


def test_one_that_goes_on_while_it_is_woken_stays_as_it_went_on() -> None:
    """The message of a wake that comes too late is sent, and is of no consequence: the worker's version stays."""

    class QuickWorker(MemoryQueue):
        def send(self, messages: Iterable[WorkMessage]) -> None:
            super().send(messages)
            store.save(waiting.but(status=Status.SELECTING, seq=1))

    store, queue = MemoryStore(), QuickWorker()
    waiting = institution_run()
    store.create_institution_run(waiting)
    wake_next(CODE, Engine(store, queue, MemoryNotices(), MemoryResumption(), lambda: LATER, "test"))
    assert store.institution_run("deactivate-1", CODE) == waiting.but(status=Status.SELECTING, seq=1, version=1)


def test_the_metrics_of_an_end_name_no_institution(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """What is counted is the action with its status and outcomes, so that the number of metrics stays small."""
    one = service.add(status=Status.PROCESSING, candidates=2, pages=1, next_page=1, outcomes={Outcome.DEACTIVATED: 2})
    end(one, Status.COMPLETED, "", service.engine())
    emitted = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    directives = [directive for one_metric in emitted for directive in one_metric["_aws"]["CloudWatchMetrics"]]
    dimensions = {name for directive in directives for names in directive["Dimensions"] for name in names}
    assert {"action", "outcome"} <= dimensions <= {"action", "status", "outcome", "service"}
    (deactivated,) = [one_metric for one_metric in emitted if one_metric.get("outcome") == "deactivated"]
    assert (deactivated["Outcomes"], deactivated["action"]) == ([2.0], "deactivate")
    assert CODE not in json.dumps(emitted)


def test_tidy_fails_what_has_stalled(service: Service) -> None:
    """At work and nothing recorded for two days: failed with the last trouble, the lease free, the next one woken."""
    service.add(status=Status.PROCESSING, trouble="Alma gave no answer.", lease=True, **WOKEN_IN_VAIN)
    service.add("deactivate-2", created_at=NOW + timedelta(hours=1), touched_at=DAYS_LATER)
    assert service.tidy(DAYS_LATER) == Tidied((), (), (f"deactivate-1/{CODE}",), ())
    failed = service.get()
    assert failed.status is Status.FAILED
    assert failed.status_reason == (
        "stalled: nothing was recorded since 2026-11-23 17:00 UTC. Its last trouble: Alma gave no answer. "
        "Look at the dead-letter queue and the worker's errors, and start it again."
    )
    assert service.run().status is RunStatus.COMPLETED_WITH_FAILURES
    assert service.store.lease_holder(CODE) is None
    assert [message.run_id for message in service.queue.sent] == ["deactivate-2"]


def test_tidy_fails_a_stalled_selection_without_a_trouble(service: Service) -> None:
    """A selection stalls as well, and says so even when no trouble was noted."""
    service.add(status=Status.SELECTING, **WOKEN_IN_VAIN)
    assert service.tidy(DAYS_LATER).failed == (f"deactivate-1/{CODE}",)
    assert service.get().status_reason == (
        "stalled: nothing was recorded since 2026-11-23 17:00 UTC. "
        "Look at the dead-letter queue and the worker's errors, and start it again."
    )


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SELECTING, Status.PROCESSING])
def test_tidy_wakes_what_has_stalled_for_two_days(service: Service, status: Status) -> None:
    """Nobody mends anything at night: it is sent a message each time that it has stalled, and fails after two days."""
    service.add(status=status, lease=True)
    now, woken = LATER, 0
    while now <= NOW + NEVER_STARTED_AFTER:
        done = service.tidy(now)
        woken += len(done.woken)
        assert done.failed == ()
        now += timedelta(hours=1)
    assert woken == 16, "every third hour, since it has stalled after two and the tidy comes hourly"
    assert [message.seq for message in service.queue.sent] == list(range(1, 17))
    assert service.get().stalled_since == NOW
    assert service.tidy(now + STALLED_AFTER).failed == (f"deactivate-1/{CODE}",)


def test_a_tidy_that_was_off_for_days_wakes_before_it_fails(service: Service) -> None:
    """However long nobody has looked, what has stalled gets three messages first."""
    service.add(status=Status.PROCESSING, lease=True)
    now = NOW + timedelta(days=9)
    for _ in range(3):
        assert service.tidy(now).woken == (f"deactivate-1/{CODE}",)
        now += STALLED_AFTER * 2
    assert service.tidy(now).failed == (f"deactivate-1/{CODE}",)


def test_the_count_starts_anew_with_a_slice() -> None:
    """A worker that begins has taken it: what it was woken in vain before doesn't count any more."""
    bench = Workbench()
    run_id = bench.start().run_id
    bench.store.save(bench.institution_run(run_id).but(vain_wakes=9, stalled_since=NOW))
    bench.before_call = lambda: bench.time.sleep(1000)
    bench.slice(bench.queue.messages.popleft())
    begun = bench.institution_run(run_id)
    assert begun.status.goes_on
    assert (begun.slices, begun.vain_wakes, begun.stalled_since) == (1, 0, None)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SELECTING, Status.PROCESSING])
def test_tidy_leaves_alone_what_was_touched_lately(service: Service, status: Status) -> None:
    """Whatever was recorded within the time is nobody's business."""
    service.add(status=status, touched_at=LATER - STALLED_AFTER)
    before = service.get()
    assert service.tidy() == Tidied((), (), (), ())
    assert service.get() == before
    assert service.queue.sent == []


def test_tidy_wakes_a_queued_one_whose_message_was_lost(service: Service) -> None:
    """Queued for too long with nobody in its way: it gets another message."""
    service.add()
    assert service.tidy() == Tidied((), (f"deactivate-1/{CODE}",), (), ())
    assert service.queue.sent == [WorkMessage(run_id="deactivate-1", institution=CODE, seq=1)]
    assert (service.get().status, service.get().seq, service.get().touched_at) == (Status.QUEUED, 1, LATER)
    assert service.tidy(LATER + timedelta(hours=1)) == Tidied((), (), (), ()), "and then has its time again"


def test_tidy_wakes_one_that_died_with_the_lease_in_hand(service: Service) -> None:
    """A queued one that got the lease and no further isn't waiting for another."""
    service.add(lease=True)
    assert service.tidy().woken == (f"deactivate-1/{CODE}",)


def test_tidy_leaves_alone_who_waits_for_another(service: Service) -> None:
    """While the holder of the lease is at work, who waits isn't stalled, however long that takes."""
    holder = service.add("deactivate-1", status=Status.PROCESSING, lease=True)
    service.add("deactivate-2")
    service.store.save(holder.but(touched_at=LATER))
    much_later = LATER + NEVER_STARTED_AFTER
    service.store.save(service.get().but(touched_at=much_later))
    assert service.tidy(much_later) == Tidied((), (), (), ())
    assert service.queue.sent == []


@pytest.mark.parametrize("holder_is_known", [True, False])
def test_tidy_gives_back_a_lease_that_nobody_needs(service: Service, *, holder_is_known: bool) -> None:
    """A lease of an ended run, or of one whose record is gone, is given back, and who waited is woken."""
    if holder_is_known:
        service.add("deactivate-0", status=Status.COMPLETED)
    service.store.acquire_lease(CODE, "deactivate-0")
    service.add("deactivate-1")
    assert service.tidy() == Tidied((), (f"deactivate-1/{CODE}",), (), ())
    assert service.store.lease_holder(CODE) is None


def test_tidy_gives_up_on_what_no_worker_ever_took(service: Service) -> None:
    """Queued for two days, with nobody in its way and woken in vain: failed, so that its run can end."""
    service.add(trouble="the worker met ImportError.", **WOKEN_IN_VAIN)
    assert service.tidy(DAYS_LATER) == Tidied((), (), (f"deactivate-1/{CODE}",), ())
    assert service.get().status_reason == (
        "never started: no worker took it for two days. Its last trouble: the worker met ImportError. "
        "Look at the queue and the worker's errors."
    )
    assert service.run().status is RunStatus.COMPLETED_WITH_FAILURES


def test_tidy_finishes_a_half_launched_run(service: Service) -> None:
    """A run whose enumerator died gets its institution runs and messages, once it is old enough to be left alone."""
    service.store.create_run(run(launched=False))
    assert service.tidy(NOW + STALLED_AFTER) == Tidied((), (), (), ())
    assert service.tidy().launched == ("deactivate-1",)
    assert service.run().launched
    assert service.get().status is Status.QUEUED
    assert {message.institution for message in service.queue.messages} == {CODE}


def test_tidy_goes_on_after_one_that_has_moved(service: Service) -> None:
    """An institution run that goes on while the tidy looks is left to its worker; the others are still tidied."""

    class BusyStore(MemoryStore):
        def open_institution_runs(self) -> list[InstitutionRun]:
            found = super().open_institution_runs()
            for one in found:
                if one.run_id == "deactivate-1":
                    self.save(one.but(touched_at=LATER))
            return found

    service.store = BusyStore()
    service.add("deactivate-1", status=Status.PROCESSING, **WOKEN_IN_VAIN)
    service.add("deactivate-2", status=Status.PROCESSING, **WOKEN_IN_VAIN)
    assert service.tidy(DAYS_LATER).failed == (f"deactivate-2/{CODE}",)
    assert service.get("deactivate-1").status is Status.PROCESSING


def test_tidy_wakes_what_may_only_wait_for_a_worker(service: Service) -> None:
    """At work and untouched for long: its message may still wait in the queue, so it is sent one, and not failed."""
    service.add(status=Status.PROCESSING, lease=True)
    assert service.tidy() == Tidied((), (f"deactivate-1/{CODE}",), (), ())
    assert service.get().status is Status.PROCESSING
    assert (service.get().vain_wakes, service.get().stalled_since) == (1, NOW)


def test_one_broken_item_does_not_keep_the_others_from_being_tidied(service: Service) -> None:
    """An institution run that can't be ended is told by an error at the end; the others are ended all the same."""
    broken: dict[str, Any] = {"candidates": 5, "pages": 1}  # its page is missing
    service.add("deactivate-1", status=Status.PROCESSING, **broken, **WOKEN_IN_VAIN)
    service.add("deactivate-2", status=Status.PROCESSING, **WOKEN_IN_VAIN)
    with pytest.raises(KeyError):
        service.tidy(DAYS_LATER)
    assert service.get("deactivate-2").status is Status.FAILED


# ── Notices and metrics ───────────────────────────────────────────────────────────────────────────────────────────────


class LostNotices(MemoryNotices):
    """Notices of which those in the places `lost` aren't taken."""

    def __init__(self, *lost: int) -> None:
        super().__init__()
        self.tried: list[str] = []
        self._lost = lost

    def institution_run_is(self, institution_run: InstitutionRun) -> None:
        """See `Notices`."""
        self._try(f"{institution_run.status}")
        super().institution_run_is(institution_run)

    def run_is_finished(self, run: Run) -> None:
        """See `Notices`."""
        self._try("run finished")
        super().run_is_finished(run)

    def _try(self, what: str) -> None:
        self.tried.append(what)
        if len(self.tried) in self._lost:
            raise NoticeFailed("EventBridge refused an event: InternalFailure")


def test_a_notice_that_fails_is_given_again_with_the_message() -> None:
    """The end is stored and counted once; SQS gives the message back, and the notices go out then, in their order."""
    bench = Workbench()
    bench.notices = notices = LostNotices(1, 2)
    ended = bench.run()
    assert ended.status is Status.COMPLETED
    assert [type(failure) for failure in bench.failures] == [NoticeFailed, NoticeFailed]
    assert notices.tried == ["completed"] * 3 + ["run finished"]
    assert (notices.institution_runs, [one.run_id for one in notices.runs]) == ([ended], [ended.run_id])
    whole = bench.store.run(ended.run_id)
    assert whole is not None
    assert (whole.open_count, whole.ended) == (0, {Status.COMPLETED: 1})
    assert bench.store.lease_holder(CODE) is None


def test_a_notice_of_a_finished_run_that_fails_is_given_again() -> None:
    """The institution run's own notice went out before, and comes a second time, as the same."""
    bench = Workbench()
    bench.notices = notices = LostNotices(2)
    ended = bench.run()
    assert notices.tried == ["completed", "run finished"] * 2
    assert notices.institution_runs == [ended, ended]
    assert [one.run_id for one in notices.runs] == [ended.run_id]


def test_a_notice_of_a_held_run_that_fails_is_given_again() -> None:
    """The institution run is held all the same, nobody is touched, and the second try tells of the hold."""
    bench = held_bench()
    bench.notices = notices = LostNotices(1)
    held = bench.run(action="purge")
    assert held.status is Status.HELD
    assert notices.tried == ["held", "held"]
    assert notices.institution_runs == [held]
    assert bench.alma.institution(CODE).writes == []


def test_the_next_in_line_is_woken_though_a_notice_fails(service: Service) -> None:
    """What waits for the institution doesn't wait for EventBridge."""
    one = service.add("deactivate-1", status=Status.PROCESSING, lease=True)
    service.add("deactivate-2")
    service.notices = LostNotices(1)
    with pytest.raises(NoticeFailed):
        end(one, Status.COMPLETED, "", service.engine())
    assert service.get("deactivate-1").status is Status.COMPLETED
    assert [message.run_id for message in service.queue.messages] == ["deactivate-2"]


def alarm_dimensions(status: Status, stage: str) -> tuple[str, str, dict[str, str]]:
    """Namespace, metric and dimensions that template.yaml's alarm for this status asks for."""
    alarm = yaml_parse(TEMPLATE.read_text("utf-8"))["Resources"][f"{status.capitalize()}Alarm"]["Properties"]
    asked = {}
    for dimension in alarm["Dimensions"]:
        value = dimension["Value"]
        text = value["Fn::Sub"] if isinstance(value, dict) else value
        asked[dimension["Name"]] = text.replace("${Stage}", stage)
    return alarm["Namespace"], alarm["MetricName"], asked


def metrics(printed: str) -> list[tuple[str, str, dict[str, str], float]]:
    """Namespace, name, dimensions and value of every metric in what was printed, as CloudWatch reads it."""
    found = []
    for line in printed.splitlines():
        document = json.loads(line)
        for group in document.get("_aws", {}).get("CloudWatchMetrics", []):
            for names in group["Dimensions"]:
                told = {name: document[name] for name in names}
                for metric in group["Metrics"]:
                    (value,) = document[metric["Name"]]
                    found.append((group["Namespace"], metric["Name"], told, value))
    return found


@pytest.mark.parametrize("status", [Status.HELD, Status.FAILED])
def test_the_alarms_hear_of_the_metric(
    status: Status, service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a function's own name in the environment, the metric has the very dimensions that its alarm asks for."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "worker")
    one = service.add(status=Status.PROCESSING)
    source = "alma-patron-lifecycle.dev"
    engine = Engine(service.store, service.queue, service.notices, MemoryResumption(), lambda: LATER, source)
    if status is Status.HELD:
        hold(one, ["max_patrons: 612 changes due, 500 allowed"], engine)
    else:
        end(one, Status.FAILED, "the key is refused", engine)
    namespace, name, dimensions = alarm_dimensions(status, "dev")
    assert dimensions == {"status": status.value, "service": source}
    told = [metric for metric in metrics(capsys.readouterr().out) if metric[1] == name]
    assert told == [(namespace, name, dimensions, 1.0)]


def test_metrics_are_few_and_name_nobody(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """An ended institution run is counted by status, action and outcome, never by institution, run or patron."""
    one = service.add(
        status=Status.PROCESSING,
        candidates=5,
        outcomes={Outcome.DEACTIVATED: 3, Outcome.SKIPPED: 2},
        calls=70,
        throttled=1,
        started_at=LATER - timedelta(minutes=5),
    )
    end(one, Status.COMPLETED, "", service.engine())
    told = {
        (name, *(f"{key}={value}" for key, value in sorted(dimensions.items()) if key != "service")): count
        for _, name, dimensions, count in metrics(capsys.readouterr().out)
    }
    assert told == {
        ("InstitutionRuns", "status=completed"): 1,
        ("InstitutionRunSeconds",): 300,
        ("AlmaCalls",): 70,
        ("AlmaThrottled",): 1,
        ("Outcomes", "action=deactivate", "outcome=deactivated"): 3,
        ("Outcomes", "action=deactivate", "outcome=skipped"): 2,
    }


def test_the_metrics_stay_under_thirty(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever runs come to, and whichever function ends them, there are fewer than thirty names with dimensions."""
    ways = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.REJECTED)
    for number, (action, status) in enumerate(itertools.product(Action, ways)):
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", ("worker", "operator")[number % 2])
        blocked = {Outcome.BLOCKED: 1} if action is Action.PURGE else {}
        outcomes = {action.done: 1, action.would: 1, Outcome.SKIPPED: 1, Outcome.FAILED: 1, **blocked}
        one = institution_run(status=status, action=action, candidates=len(outcomes), outcomes=outcomes)
        count_status(one.but(started_at=NOW, finished_at=LATER), service.engine().service)
    count_status(institution_run(status=Status.HELD), service.engine().service)
    count_status(institution_run(status=Status.PAUSED, pauses=1), service.engine().service)
    for action in SCHEDULED:
        put_days_since(action, 3.5, service.engine().service)
    told = {(name, tuple(sorted(dimensions.items()))) for _, name, dimensions, _ in metrics(capsys.readouterr().out)}
    assert len(told) == METRICS < 30, "as many as docs/costs.md counts"
