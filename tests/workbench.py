"""A whole service in one process for tests: simulated Alma, store and queue in memory, and a time of its own."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.pace import Pace
from patron_lifecycle.api_keys import SecretProblem
from patron_lifecycle.registry import Institution, parse_registry
from patron_lifecycle.runs.dead_letters import DeadLetter
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.events import parse_start
from patron_lifecycle.runs.launch import Started, start_run
from patron_lifecycle.runs.model import InstitutionRun, PatronOutcome, Run, WorkMessage
from patron_lifecycle.runs.slice import Workshop, work
from patron_lifecycle.runs.store import MemoryStore, Store
from patron_lifecycle.vault import Archive, latest_of, packed, prefix_of
from sandbox.simulator.adapter import SimulatorAdapter
from sandbox.simulator.alma import Alma
from sandbox.simulator.institutions import SimulatedInstitution, institution

TODAY = date(2026, 11, 23)
STALLED_AFTER = timedelta(hours=2)
NOON = datetime(2026, 11, 23, 17, tzinfo=UTC)  # noon in New York


class Killed(BaseException):
    """The worker process is gone: nothing in it may catch this and go on."""


class Time:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds = 1000.0

    def clock(self) -> float:
        """The seconds so far."""
        with self._lock:
            return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self.seconds += max(0.0, seconds)

    def now(self) -> datetime:
        """The time of day."""
        return NOON + timedelta(seconds=self.clock() - 1000.0)


class MemoryQueue:
    """An SQS FIFO queue in memory: first in, first out, with deduplication for ever (`forgetful`: never)."""

    def __init__(self, *, forgetful: bool = False) -> None:
        self.messages: deque[WorkMessage] = deque()
        self.sent: list[WorkMessage] = []
        self._forgetful = forgetful

    def send(self, messages: Iterable[WorkMessage]) -> None:
        """See `Queue`."""
        for message in messages:
            if self._forgetful or message not in self.sent:
                self.messages.append(message)
            self.sent.append(message)


class MemoryDeadLetters:
    """A dead-letter queue in memory; `before_delete` may raise, or end the operator."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.before_delete: Callable[[], None] = lambda: None

    def put(self, body: str, received: int = 7) -> DeadLetter:
        """Let a message lie there."""
        number = len(self.letters)
        letter = DeadLetter(f"message-{number}", body, received, f"receipt-{number}")
        self.letters.append(letter)
        return letter

    def read(self) -> Iterator[DeadLetter]:
        """See `DeadLetters`."""
        yield from list(self.letters)

    def delete(self, letter: DeadLetter) -> None:
        """See `DeadLetters`."""
        self.before_delete()
        self.letters.remove(letter)


class MemoryNotices:
    """Notices that were given."""

    def __init__(self) -> None:
        self.institution_runs: list[InstitutionRun] = []
        self.runs: list[Run] = []

    def institution_run_is(self, institution_run: InstitutionRun) -> None:
        """See `Notices`."""
        self.institution_runs.append(institution_run)

    def run_is_finished(self, run: Run) -> None:
        """See `Notices`."""
        self.runs.append(run)


class MemoryResumption:
    """What is planned to be resumed."""

    def __init__(self) -> None:
        self.planned: list[InstitutionRun] = []

    def plan(self, paused: InstitutionRun) -> None:
        """See `Resumption`."""
        self.planned.append(paused)


class MemoryVault:
    """A vault in memory; `before_put` and `before_get` may raise, or end the worker."""

    def __init__(self) -> None:
        self.archives: dict[str, Archive] = {}
        self.before_put: Callable[[], None] = lambda: None
        self.before_get: Callable[[], None] = lambda: None

    def put(self, archive: Archive) -> None:
        """See `Vault`."""
        self.before_put()
        assert archive.key not in self.archives, "an archive was overwritten"
        self.archives[archive.key] = archive

    def records(self, code: str, run_id: str, page: int) -> dict[str, Mapping[str, Any]]:
        """See `Vault`."""
        self.before_get()
        prefix = prefix_of(code, run_id, page)
        return latest_of(packed(archive) for key, archive in self.archives.items() if key.startswith(prefix))

    def kept(self) -> set[str]:
        """The primary ids of all whose records are in it."""
        return {record["primary_id"] for archive in self.archives.values() for record in archive.records}


class Keys(dict[str, str]):
    """API keys by institution code."""

    def api_key(self, code: str) -> str:
        """See `Secrets`."""
        if code not in self:
            raise SecretProblem(f"secret test/{code} is missing: create it")
        return self[code]


def registry_of(*codes: str, pace: int = 20) -> str:
    """A registry of institutions that deactivate by sweep, however many, with so many calls a second."""
    deactivate = "{select: {sweep: true}, max_patrons: 1000000, max_percent: 100}"
    policy = f"{{deactivate: {deactivate}, pace: {{requests_per_second: {pace}}}}}"
    defaults = f"defaults: {{region: na, time_zone: America/New_York, policy: {policy}}}\n"
    return defaults + "institutions:\n" + "".join(f"  - {{code: {code}, name: Library {code}}}\n" for code in codes)


class SingleFile(Pace):
    """A pace for one thread. With more, a call may reach Alma later in the test's time than it was let go."""

    @property
    def concurrency(self) -> int:
        """One."""
        return 1


class Workbench:
    """Institutions of `users` patrons each, registered by `registry`, and all that a worker needs."""

    def __init__(
        self,
        registry: str = "",
        *,
        users: int = 60,
        seed: int = 1,
        store: Store | None = None,
        seconds: float = 300,
        per_second: int | None = None,
        forgetful_queue: bool = False,
        one_thread: bool = False,
    ) -> None:
        self.time = Time()
        self.store = store or MemoryStore()
        self.queue = MemoryQueue(forgetful=forgetful_queue)
        self.dead_letters = MemoryDeadLetters()
        self.notices = MemoryNotices()
        self.resumption = MemoryResumption()
        self.vault = MemoryVault()
        self.seconds = seconds
        self.keys = Keys()
        registered = parse_registry(registry or registry_of("01OHIO_AAA"))
        simulated: list[SimulatedInstitution] = []
        for one in registered:
            self.store.put_institution(one)
            self.keys[one.code] = f"key-of-{one.code}"
            simulated.append(institution(one.code, one.name, self.keys[one.code], users, seed, TODAY))
        self.alma = Alma(simulated, per_second=per_second, clock=self.time.clock, today=lambda: TODAY)
        self.before_call: Callable[[], None] = lambda: None
        self.after_call: Callable[[], None] = lambda: None
        self.failures: list[Exception] = []
        self._pace = SingleFile if one_thread else Pace

    def start(self, **event: Any) -> Started:
        """Start a run as the enumerator does; apply unless the event says otherwise."""
        asked = {"action": "deactivate", "mode": "apply", **event}
        return start_run(parse_start(asked), f"request-{len(self.queue.sent)}", self.store, self.queue, self.time.now)

    @property
    def engine(self) -> Engine:
        """What drives its runs."""
        return self.engine_on(self.store)

    def engine_on(self, store: Store) -> Engine:
        """What drives its runs, on another store."""
        return Engine(store, self.queue, self.notices, self.resumption, self.time.now, "test")

    def run(self, **event: Any) -> InstitutionRun:
        """Start a run of one institution, work until nothing is left to do, and give its institution run."""
        started = self.start(**event)
        self.drain()
        return self.institution_run(started.run_id, started.queued[0])

    def institution_run(self, run_id: str, code: str = "01OHIO_AAA") -> InstitutionRun:
        """The institution run as stored."""
        found = self.store.institution_run(run_id, code)
        assert found is not None
        return found

    def drain(self, *, deliveries: int = 5, most: int = 2000) -> None:
        """Work through the queue as Lambda does: a message whose slice fails or is killed is given back.

        After so many deliveries it ends among the dead letters.
        """
        received: dict[WorkMessage, int] = {}
        for _ in range(most):
            if not self.queue.messages:
                return
            message = self.queue.messages.popleft()
            received[message] = received.get(message, 0) + 1
            try:
                self.slice(message)
            except (Exception, Killed) as failure:  # noqa: BLE001 - as Lambda does
                if isinstance(failure, Exception):
                    self.failures.append(failure)
                if received[message] < deliveries:
                    self.queue.messages.appendleft(message)
                else:
                    self.dead_letters.put(message.model_dump_json(), deliveries + 1)
        raise AssertionError("the queue never runs dry")

    def slice(self, message: WorkMessage, workshop_store: Store | None = None) -> None:
        """Let one worker do one slice."""
        work(message, self.workshop(workshop_store), self.seconds)

    def workshop(self, store: Store | None = None) -> Workshop:
        """What a worker works with."""
        return Workshop(
            engine=self.engine_on(store or self.store),
            secrets=self.keys,
            vault=self.vault,
            connect=self.connect,
            clock=self.time.clock,
        )

    def connect(self, one: Institution, api_key: str, slice_seconds: float) -> AlmaClient:
        """A client of the simulated Alma."""
        pace = self._pace(
            one.policy.pace.requests_per_second,
            clock=self.time.clock,
            sleep=self.time.sleep,
            at_present=lambda: one.calls_a_second(self.time.now()),
        )
        return AlmaClient(
            base_url="https://alma.example.edu",
            api_key=api_key,
            pace=pace,
            adapter=self._adapter(),
            clock=self.time.clock,
            sleep=self.time.sleep,
            retry_seconds=min(60.0, slice_seconds / 4),
        )

    def outcomes(self, run_id: str, code: str = "01OHIO_AAA") -> dict[str, PatronOutcome]:
        """The outcome of every candidate of an ended institution run; no candidate twice."""
        pages = self.store.pages(self.institution_run(run_id, code))
        rows = [row for page in pages for row in page.closed(self.time.now())]
        given = {row.primary_id: row for row in rows}
        assert len(given) == len(rows)
        return given

    def _adapter(self) -> SimulatorAdapter:
        bench = self

        class Adapter(SimulatorAdapter):
            def send(self, *arguments: Any, **options: Any) -> Any:
                bench.before_call()
                reply = super().send(*arguments, **options)
                bench.after_call()
                return reply

        return Adapter(self.alma, sleep=self.time.sleep)
