"""A consortium for months: its calendar, its queue and its people, with everything going wrong, under a judge's eyes.

One store and one queue for all institutions, and a time of its own: what is to happen stands in an agenda, and a slice
takes as long as its calls take. A deactivation every Monday, a purge on the first of a month, a tidy every hour, and
what is paused goes on by the schedule that it has asked for. Everything is determined by the seed.
"""

import contextlib
import heapq
import io
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from patron_lifecycle.alma.errors import AlmaError
from patron_lifecycle.observability import logger
from patron_lifecycle.policy.model import Pace as PacePolicy
from patron_lifecycle.policy.model import Policy
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.answers import approve, cancel, reject
from patron_lifecycle.runs.events import InvalidEvent, parse_start
from patron_lifecycle.runs.launch import start_run
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run, RunStatus, Status, WorkMessage
from patron_lifecycle.runs.notices import NoticeFailed
from patron_lifecycle.runs.pausing import resume
from patron_lifecycle.runs.queue import SendFailed
from patron_lifecycle.runs.resumption import schedule_name
from patron_lifecycle.runs.slice import work
from patron_lifecycle.runs.store import Conflict, MemoryStore, Store
from patron_lifecycle.vault import VaultUnavailable
from sandbox.simulator.messages import Fault, Request
from sandbox.simulator.patrons import generate, record
from tests.soak.house import House
from tests.soak.life import live_a_week, newcomer
from tests.soak.mishaps import AwsTrouble, FrailStore, Kind, Wrong
from tests.soak.policies import add_sets, drawn_policy
from tests.soak.truth import maybe_written
from tests.workbench import (
    NOON,
    TODAY,
    Killed,
    MemoryNotices,
    MemoryQueue,
    MemoryResumption,
    Workbench,
    registry_of,
)

HOUR, DAY = 3600.0, 24 * 3600.0
MONTH = 30.5 * DAY
USERS = 80
DELIVERIES = 6  # as template.yaml has it, as are the next two
VISIBILITY = 6  # times the time that a worker has
STALLED = timedelta(seconds=11_100)
_DEDUPLICATED = 300.0  # seconds, by SQS
_AFTERWARDS = 30 * DAY  # for everything to come to its end
_EXPECTED = (AlmaError, VaultUnavailable, AwsTrouble, SendFailed, NoticeFailed, Conflict)


@dataclass
class Played:
    """What came of one consortium. There should be no `wrongs`."""

    seed: int
    figures: Counter[str] = field(default_factory=Counter)
    wrongs: list[Wrong] = field(default_factory=list)


@dataclass
class _Delivery:
    message: WorkMessage
    visible_at: float
    received: int = 0


class _Queue(MemoryQueue):
    """SQS: a group for each institution, each in its order; what was sent may be refused, or said to have been."""

    def __init__(self, consortium: "Consortium") -> None:
        super().__init__()
        self.groups: dict[str, deque[_Delivery]] = {}
        self._sent_at: dict[WorkMessage, float] = {}
        self._consortium = consortium

    def send(self, messages: Iterable[WorkMessage]) -> None:
        """See `Queue`."""
        it = self._consortium
        for message in messages:
            it.may_fail(message.institution, SendFailed("SQS refused 1 of 1 messages"), "queue faults")
            now = it.now
            if now - self._sent_at.get(message, -DAY) > _DEDUPLICATED:
                self._sent_at[message] = now
                self.groups.setdefault(message.institution, deque()).append(_Delivery(message, now))
                it.look_into_queue(message.institution, now)
            it.may_fail(message.institution, AwsTrouble("SQS gave no answer"), "queue faults")


class _Notices(MemoryNotices):
    """People who are told that something is held."""

    def __init__(self, consortium: "Consortium") -> None:
        super().__init__()
        self._consortium = consortium

    def institution_run_is(self, institution_run: InstitutionRun) -> None:
        """See `Notices`."""
        one = institution_run
        self._consortium.may_fail(one.code, NoticeFailed("EventBridge refused an event"), "notices refused")
        if one.status is Status.HELD:
            self._consortium.tell_of_hold(one)

    def run_is_finished(self, run: Run) -> None:
        """See `Notices`."""


class _Resumption(MemoryResumption):
    """One-time schedules: some can't be made, some never start anything, some do twice."""

    def __init__(self, consortium: "Consortium") -> None:
        super().__init__()
        self._consortium = consortium
        self._made: set[str] = set()
        self.lost: set[str] = set()

    def plan(self, paused: InstitutionRun) -> None:
        """See `Resumption`."""
        it = self._consortium
        it.may_fail(paused.code, AwsTrouble("no schedule today"), "schedules not made", times=3)
        if schedule_name(paused) in self._made or paused.paused_until is None:
            return
        self._made.add(schedule_name(paused))
        if it.draw.random() < 0.1:
            it.mishap(paused.code, "schedules lost")
            self.lost.add(schedule_name(paused))
            return
        at = it.seconds_of(paused.paused_until) + it.draw.uniform(0, 60)
        for late in (0, it.draw.uniform(0, 600))[: it.draw.choice((1, 1, 1, 2))]:
            it.later(at + late, lambda: it.resume(paused.run_id, paused.code))


class Consortium:
    """Institutions for months."""

    def __init__(self, seed: int, institutions: int, months: float) -> None:
        random.seed(seed)  # the waits between attempts
        self.result = Played(seed)
        self.draw = random.Random(seed)
        self.store = MemoryStore()
        codes = [f"01SOAK_{number:03}" for number in range(1, institutions + 1)]
        self.bench = bench = Workbench(
            registry_of(*codes), users=USERS, seed=seed, store=self.store, one_thread=True, days_pass=True
        )
        self.queue = _Queue(self)
        self.schedules = _Resumption(self)
        bench.queue, bench.notices, bench.resumption = self.queue, _Notices(self), self.schedules
        bench.alma.faults.append(self._fault)
        bench.before_call = bench.after_call = self._between_calls
        bench.vault.before_put = bench.vault.before_get = self._vault_fault
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._looked_for: dict[str, float] = {}  # when a group of the queue is looked into next
        self._busy_until: dict[str, float] = {}
        self._starts: dict[str, str] = {}  # run_id by request_id
        self._told: set[tuple[str, str, datetime | None]] = set()
        self._serial = itertools.count(1)
        self._pattern = [one for one in generate("01SOAK", 60, seed, TODAY) if one["user_role"]]
        self.at_work: House | None = None  # whose slice it is
        self.is_dead = False
        self.began = bench.time.seconds
        self.ends = self.began + months * MONTH
        self.houses = {code: self._house(code) for code in codes}
        self._pool()
        self._plan_calendar()

    # ── Setting up ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _house(self, code: str) -> House:
        draw, simulated = self.draw, self.bench.alma.institution(code)
        for key in draw.sample(sorted(simulated.users), draw.choice((0, 0, USERS // 2))):
            del simulated.users[key]
        add_sets(simulated, draw)
        policies = {action.value: drawn_policy(action, draw) for action in (Action.DEACTIVATE, Action.PURGE)}
        reserve: int | str = draw.choice((10_000, 20, "10%"))
        policy = Policy.model_validate({**policies, "pace": PacePolicy(reserve_daily_calls=reserve)})
        if draw.random() < 0.4:
            simulated.daily_quota = draw.choice((60, 100, 200))
        zone = draw.choice(("America/New_York", "Europe/Berlin", "Australia/Sydney"))
        registered = Institution(code=code, name=f"Library {code}", region="na", time_zone=zone, policy=policy)
        self.store.put_institution(registered)
        return House(
            registered,
            simulated,
            self.store,
            self.bench.vault,
            draw,
            self.bench.time,
            seconds=draw.choice((20.0, 60.0, 300.0)),
            fault_rate=draw.choice((0.01, 0.02, 0.04)),
            death_rate=draw.choice((0.0005, 0.001, 0.003)),
        )

    def _pool(self) -> None:
        """Let some institutions share their daily calls."""
        for number, house in enumerate(self.houses.values()):
            if number % 8 < 3 and len(self.houses) > 3:
                pool = f"pool {number // 8}"
                house.simulated.pool, house.simulated.daily_quota = pool, 150
                self.store.put_institution(house.registered.model_copy(update={"pool": pool}))

    def _plan_calendar(self) -> None:
        day, last = NOON.replace(hour=8, minute=0, tzinfo=UTC), self.moment_of(self.ends)
        while day < last:
            at = self.seconds_of(day)
            if day.weekday() == 0 and at > self.began:
                self._plan_start("deactivate", day)
            if day.day == 1:
                self._plan_start("purge", day.replace(hour=5))
            if day.weekday() == 2:
                for house in self.houses.values():
                    self.later(at + self.draw.uniform(0, 4 * DAY), lambda house=house: self._live(house))  # type: ignore[misc]
                    if self.draw.random() < 0.05:
                        self.later(at + self.draw.uniform(0, 4 * DAY), lambda house=house: self._take_back(house))  # type: ignore[misc]
            day += timedelta(days=1)
        self.later(self.began + HOUR, self._tidy_hourly)

    def _plan_start(self, action: str, day: datetime) -> None:
        """A schedule; the like of it may start twice, and now and then it is a preview."""
        mode = self.draw.choice(("apply",) * 9 + ("preview",))
        event = {"action": action, "mode": mode, "trigger": "schedule", "request_id": f"{action}-{day:%Y-%m-%d}"}
        for late in (0, self.draw.uniform(0, 1200))[: self.draw.choice((1, 1, 2))]:
            self.later(self.seconds_of(day) + late, lambda: self._start(event))

    # ── The agenda ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def now(self) -> float:
        """The seconds so far."""
        return self.bench.time.seconds

    def seconds_of(self, moment: datetime) -> float:
        """When that is."""
        return self.began + (moment - NOON).total_seconds()

    def moment_of(self, seconds: float) -> datetime:
        """The moment of these seconds."""
        return NOON + timedelta(seconds=seconds - self.began)

    def later(self, at: float, do: Callable[[], None]) -> None:
        """Put something on the agenda."""
        heapq.heappush(self._agenda, (at, next(self._order), do))

    def play(self) -> Played:
        """Let the months go by."""
        while self._agenda and self._agenda[0][0] < self.ends + _AFTERWARDS:
            at, _, do = heapq.heappop(self._agenda)
            self.bench.time.seconds = at
            do()
        for house in self.houses.values():
            self._look_at(house)
            for run_id in house.open:
                found = self.store.institution_run(run_id, house.code)
                what = f"{run_id} in {house.code} is {found.status if found else 'lost'}"
                self.result.wrongs.append(Wrong(Kind.UNFINISHED, what))
            self.result.wrongs += house.wrongs + house.alma.wrongs
            self.result.figures += house.figures
            self.result.figures["faults of Alma"] += house.alma.faults
        for request_id, run_id in self._starts.items():
            run = self.store.run(run_id)
            for code in run.institutions if run else ():
                if self.store.institution_run(run_id, code) is None:
                    self.result.wrongs.append(Wrong(Kind.UNFINISHED, f"{request_id} has forgotten {code}"))
        self.result.figures["institutions"] = len(self.houses)
        self.result.figures["runs"] = len(self._starts)
        return self.result

    # ── What is started, and by whom ──────────────────────────────────────────────────────────────────────────────────

    def _engine(self, house: House | None = None) -> Any:
        return self.bench.engine_on(self._frail(house))

    def _frail(self, house: House | None = None) -> Store:
        def mishap(name: str, *, is_done: bool) -> None:
            self._may_die(house)
            rate = 0.002 if house is None else house.alma.rate / 4
            if self.draw.random() >= rate:
                return
            self.mishap(house.code if house else None, "store faults")
            # A repeated attempt finds what the first one has written: of a transaction SDK and AWS take care.
            is_conflict = name in ("save", "put_budget") or (name == "advance" and not is_done)
            if is_conflict and self.draw.random() < 0.5:
                raise Conflict("by chance")
            raise AwsTrouble(f"{name}: DynamoDB gave no answer")

        frail: Any = FrailStore(
            self.store, lambda name: mishap(name, is_done=False), lambda name: mishap(name, is_done=True)
        )
        return frail  # type: ignore[no-any-return]

    def _start(self, event: dict[str, Any], tries: int = 0) -> None:
        """What the enumerator does; it is started again when it fails."""
        self.is_dead = False
        try:
            with self._nobody_at_work():
                started = start_run(
                    parse_start(event), event["request_id"], self._frail(), self.queue, self.bench.time.now
                )
        except (Killed, *_EXPECTED) as failure:
            self.result.figures["starts that failed"] += 1
            if tries < 2 or self._has_run(event) is None:
                self.later(self.now + 60 * (tries + 1), lambda: self._start(event, tries + 1))
            elif isinstance(failure, Killed):
                self.result.figures["starts left to the tidy"] += 1
            if self._has_run(event) is not None:
                self._note_run(event)
            return
        except InvalidEvent:
            self.result.figures["starts refused"] += 1
            return
        self._starts[event["request_id"]] = started.run_id
        self._note_run(event)

    def _has_run(self, event: dict[str, Any]) -> Run | None:
        return next((run for run in self.store.recent_runs(20) if run.request_id == event["request_id"]), None)

    def _note_run(self, event: dict[str, Any]) -> None:
        run = self._has_run(event)
        if run is None:
            return
        self._starts[event["request_id"]] = run.run_id
        for code in run.institutions:
            self.houses[code].note(run.run_id)

    def _take_back(self, house: House) -> None:
        """Somebody finds that a run was a mistake, and takes it back."""
        past = [
            one
            for one in self.store.institution_runs_of(house.code, 12)
            if one.mode is Mode.APPLY and not one.status.is_open and one.touched and one.action.undone_by
        ]
        if not past:
            return
        source = self.draw.choice(past)
        event = {
            "action": str(source.action.undone_by),
            "mode": self.draw.choice(("apply", "apply", "preview")),
            "source_run_id": source.run_id,
            "institutions": [house.code],
            "request_id": f"back-{house.code}-{next(self._serial)}",
        }
        if self.draw.random() < 0.5:
            event["expiry_date"] = (self.bench.time.now().date() + timedelta(days=200)).isoformat()
        if source.action is Action.PURGE and self.draw.random() < 0.3:
            self._give_away_an_id(house)
        self._start(event)

    def _give_away_an_id(self, house: House) -> None:
        """Somebody new gets the primary id of somebody who was purged."""
        gone = [write.primary_id for write in house.simulated.writes if write.method == "DELETE"]
        if gone:
            somebody = record(self.draw.choice(gone))
            if not list(house.simulated.taken(somebody)):
                house.simulated.users[somebody["primary_id"].casefold()] = somebody
                house.changed[somebody["primary_id"].casefold()] = self.now

    def resume(self, run_id: str | None, code: str | None, tries: int = 0) -> None:
        """What the operator does when a schedule tells it to resume; Lambda tries twice more."""
        house = self.houses[code] if code else None
        try:
            with self._nobody_at_work():
                done = resume(run_id, code, self._engine(house))
        except (Killed, *_EXPECTED):
            if code:
                self.mishap(code, "resumes that failed")
            if tries < 2:
                self.later(self.now + 60, lambda: self.resume(run_id, code, tries + 1))
            return
        self.result.figures["resumed by schedule"] += len(done.resumed)

    def tell_of_hold(self, one: InstitutionRun) -> None:
        """A person reads of a hold, and answers some day, or never."""
        key = (one.run_id, one.code, one.held_at)
        if key not in self._told:
            self._told.add(key)
            self.result.figures["held"] += 1
            if self.draw.random() < 0.9:
                self.later(self.now + self.draw.uniform(HOUR, 6 * DAY), lambda: self._answer(one.run_id, one.code))

    def _answer(self, run_id: str, code: str) -> None:
        house, what = self.houses[code], self.draw.choice(("approved",) * 6 + ("rejected", "cancelled"))
        try:
            with self._nobody_at_work():
                match what:
                    case "approved":
                        approve(run_id, code, "ana", "", self._engine(house))
                    case "rejected":
                        reject(run_id, code, "bo", "", self._engine(house))
                    case _:
                        cancel(run_id, code, "cleo", self._engine(house))
            self.result.figures[f"holds {what}"] += 1
        except InvalidEvent:
            self.result.figures["answers refused"] += 1
        except (Killed, *_EXPECTED):
            self.mishap(code, "answers that failed")
        found = self.store.institution_run(run_id, code)
        if found is not None and found.status is Status.HELD and self.now < self.ends + 2 * DAY:
            self.later(self.now + HOUR, lambda: self._answer(run_id, code))
        self._look_at(house)

    def _tidy_hourly(self) -> None:
        if self.now < self.ends or any(house.open for house in self.houses.values()) or self.store.unlaunched_runs():
            self.later(self.now + HOUR, self._tidy_hourly)
        if self.draw.random() > 0.02:
            self._tidy()

    def _tidy(self) -> None:
        before = {f"{one.run_id}/{one.code}": one for house in self.houses.values() for one in house.open_runs()}
        with self._nobody_at_work(), contextlib.suppress(Killed, *_EXPECTED):
            tidied = tidy(self._engine(), STALLED)
            for name in tidied.woken:
                was = before.get(name)
                is_paused = was is not None and was.status is Status.PAUSED
                self.result.figures["resumed by tidy" if is_paused else "woken by tidy"] += 1
                if was is not None and self._should_have_gone_on(was):
                    what = f"nothing but the tidy has let {name} go on"
                    self.result.wrongs.append(Wrong(Kind.OTHER, what))
            self.result.figures["failed by tidy"] += len(tidied.failed)
            self.result.figures["rejected by tidy"] += len(tidied.rejected)
            self.result.figures["launched by tidy"] += len(tidied.launched)
        for run in self.store.recent_runs(3):
            for code in run.institutions:
                if self.store.institution_run(run.run_id, code) is not None:
                    self.houses[code].note(run.run_id)
        for house in self.houses.values():
            if house.open:
                self._look_at(house)

    def _should_have_gone_on(self, one: InstitutionRun) -> bool:
        """Whether nothing has gone wrong that may have kept it from going on."""
        if one.status is Status.PAUSED and schedule_name(one) in self.schedules.lost:
            return False
        since = one.created_at if one.status is Status.QUEUED else one.touched_at
        return self.houses[one.code].last_mishap < self.seconds_of(since) - 1

    # ── The queue and the workers ─────────────────────────────────────────────────────────────────────────────────────

    def look_into_queue(self, code: str, at: float) -> None:
        """Look into a group of the queue, then or as soon as its worker is done."""
        at = max(at, self._busy_until.get(code, 0.0)) + self.draw.uniform(0.1, 30)
        if at < self._looked_for.get(code, float("inf")):
            self._looked_for[code] = at
            self.later(at, lambda: self._deliver(code, at))

    def _deliver(self, code: str, planned: float) -> None:
        if self._looked_for.get(code) != planned:
            return
        del self._looked_for[code]
        group, house = self.queue.groups.get(code), self.houses[code]
        if not group:
            return
        head = group[0]
        if max(head.visible_at, self._busy_until.get(code, 0.0)) > self.now:
            self.look_into_queue(code, head.visible_at)
            return
        head.received += 1
        if head.received > DELIVERIES:
            group.popleft()
            self.mishap(code, "dead letters")
        else:
            self.result.figures["redeliveries"] += head.received > 1
            head.visible_at = self.now + VISIBILITY * house.seconds
            is_done = self._slice(head.message, house)
            self._busy_until[code] = self.now
            if is_done and self.draw.random() < 0.01:
                self.mishap(code, "duplicates")  # it was done, and SQS wasn't told in time
            elif is_done:
                group.popleft()
        if group:
            self.look_into_queue(code, group[0].visible_at)

    def _slice(self, message: WorkMessage, house: House) -> bool:
        """Let a worker do a slice; whether it has come to its end."""
        self.result.figures["slices"] += 1
        self.is_dead, self.at_work = False, house
        house.alma.run_id = message.run_id
        is_done = False
        try:
            work(message, self.bench.workshop(self._frail(house)), house.seconds)
            is_done = True
        except Killed:
            self.mishap(house.code, "killed")
        except Exception as failure:  # noqa: BLE001 - Lambda reports it, and SQS gives the message back
            self.mishap(house.code, "given back")
            if not isinstance(failure, _EXPECTED):
                self.result.wrongs.append(Wrong(Kind.OTHER, f"{house.code}: the worker failed: {failure!r}"))
        self.is_dead, self.at_work = False, None
        found = self.store.institution_run(message.run_id, house.code)
        if found is not None and not is_done:
            house.alma.unanswered[found.run_id] += len(maybe_written(found, self.store))
        if not is_done or found is None or found.status is not Status.PROCESSING:
            house.alma.carry_out_late(all_of_them=True)
        self._look_at(house)
        if house.registered.policy.pace.reserve_daily_calls and not self.bench.alma.remaining(house.code):
            what = f"{message.run_id} in {house.code} has left no call for others on {self.moment_of(self.now)}"
            self.result.wrongs.append(Wrong(Kind.OTHER, what))
        if self.draw.random() < 0.1:
            self._live(house)
        return is_done

    @contextlib.contextmanager
    def _nobody_at_work(self) -> Any:
        """Something else than a worker goes on, maybe in the middle of a slice: what kills it leaves that alone."""
        at_work, is_dead = self.at_work, self.is_dead
        self.at_work, self.is_dead = None, False
        try:
            yield
        finally:
            self.at_work, self.is_dead = at_work, is_dead

    def _live(self, house: House) -> None:
        """A week in the life of the institution's patrons, between two slices."""
        house.alma.carry_out_late(all_of_them=True)
        newcomers = []
        if len(house.simulated.users) < USERS * 1.3:
            for like in self.draw.sample(self._pattern, 3):
                number = next(self._serial)
                newcomers.append(newcomer(like, f"N{number}", f"29{number:08}"))
        today = self.bench.time.now().date()
        changed = live_a_week(house.simulated, self.draw, today, newcomers=newcomers, but=house.maybe_written())
        house.changed |= dict.fromkeys(changed, self.now)

    # ── What goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────

    def mishap(self, code: str | None, what: str) -> None:
        """Count something that went wrong, maybe in one institution."""
        self.result.figures[what] += 1
        self._disturb(code)

    def _disturb(self, code: str | None) -> None:
        for house in self.houses.values() if code is None else (self.houses[code],):
            house.last_mishap = self.now

    def may_fail(self, code: str, failure: Exception, what: str, times: float = 0.2) -> None:
        """Raise the failure, `times` as often as a call of Alma fails."""
        if self.draw.random() < self.houses[code].alma.rate * times:
            self.mishap(code, what)
            raise failure

    def _may_die(self, house: House | None) -> None:
        """Killed: nothing of the process goes on, whatever it was about to do."""
        rate = 0.002 if house is None else house.death_rate
        if self.is_dead or self.draw.random() < rate:
            self.is_dead = True
            self._disturb(house.code if house else None)
            raise Killed

    def _between_calls(self) -> None:
        self._may_die(self.at_work)
        if self.draw.random() < 0.0005:
            self._meddle()

    def _meddle(self) -> None:
        """Something else happens in the middle of a slice."""
        house = self.at_work
        match self.draw.randrange(5):
            case 0 | 1:
                self._tidy()
            case 2 | 3:
                self.resume(None, None)
            case _ if house is not None:
                with self._nobody_at_work(), contextlib.suppress(Killed, InvalidEvent, *_EXPECTED):
                    cancel(house.alma.run_id, house.code, "dora", self._engine(house))
                    self.result.figures["cancelled at work"] += 1

    def _vault_fault(self) -> None:
        self._may_die(self.at_work)
        if self.at_work is not None and self.draw.random() < self.at_work.alma.rate:
            self.mishap(self.at_work.code, "vault faults")
            raise VaultUnavailable("the vault could not be written (S3 answered SlowDown)")

    def _fault(self, request: Request) -> Fault | None:
        return self.houses[request.institution].alma.fault(request)

    # ── What must be true ─────────────────────────────────────────────────────────────────────────────────────────────

    def _look_at(self, house: House) -> None:
        """Hold against the truth what has become of an institution's runs."""
        if self.at_work is house:
            return  # in the middle of a slice: it is looked at afterwards
        for run_id in list(house.open):
            house.look_at(run_id)
            run = self.store.run(run_id)
            if run is not None:
                self.result.wrongs += self._wrongs_of_run(run)

    def _wrongs_of_run(self, run: Run) -> Iterable[Wrong]:
        """Whether a run's totals are those of its institution runs, at any time."""
        every = [self.store.institution_run(run.run_id, code) for code in run.institutions]
        some = [one for one in every if one is not None]
        ended = [one for one in some if not one.status.is_open]
        statuses = Counter(one.status for one in some)
        outcomes: Counter[Any] = Counter()
        for one in ended:
            outcomes.update(one.outcomes)
        true = {
            "open_count": len(every) - len(ended),
            "held_count": statuses[Status.HELD],
            "paused_count": statuses[Status.PAUSED],
            "ended": dict(Counter(one.status for one in ended)),
            "outcomes": dict(outcomes),
            "to_look_at": sum(one.to_look_at for one in ended),
            "touched": sum(one.touched for one in ended),
        }
        true["status"] = RunStatus.of(true["ended"], true["open_count"], true["held_count"], true["paused_count"])  # type: ignore[arg-type]
        for name, value in true.items():
            if getattr(run, name) != value:
                yield Wrong(Kind.OTHER, f"{run.run_id} has {name} {getattr(run, name)} instead of {value}")
        if (run.finished_at is not None) != (not true["open_count"]):
            yield Wrong(Kind.OTHER, f"{run.run_id} is finished at {run.finished_at} with {true['open_count']} open")


def play_consortium(seed: int, institutions: int, months: float) -> Played:
    """One consortium."""
    logger.setLevel("CRITICAL")
    with contextlib.redirect_stdout(io.StringIO()):  # metrics
        return Consortium(seed, institutions, months).play()
