"""A whole service for one case of the failure matrix: the handlers, a simulated Alma, a time, and a judge."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Literal

import pytest
import requests

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.registry import parse_registry
from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.model import InstitutionRun, PatronOutcome, Status
from patron_lifecycle.vault import S3Vault
from sandbox.simulator.adapter import SimulatorAdapter
from sandbox.simulator.alma import Alma
from sandbox.simulator.institutions import SimulatedInstitution, SimulatedSet, Write
from sandbox.simulator.judge import Terms, WriteJudge
from sandbox.simulator.messages import Fault, Request
from sandbox.simulator.patrons import Record, role
from tests.integration.matrix.cloud import EVENT_SOURCE, Call, Cloud
from tests.samples import long_gone, patron
from tests.workbench import NOON, STALLED_AFTER, TODAY, Killed, SingleFile, Time

CODE = "01OHIO_AAA"
TO_PURGE, KEEP = "To purge", "Keep"
VISIBILITY = timedelta(minutes=30)
_TIDIES = 12
_READS = ("GetItem", "Query", "GetSecretValue", "GetObject", "ListObjectsV2")

Action = Literal["deactivate", "purge"]
Told = dict[str, tuple[Outcome, str]]
"""Of each candidate the outcome and the reason."""


def registry(*codes: str, zone: str = "America/New_York", per_second: int = 25, purge: str = "") -> str:
    """A registry of institutions that deactivate by a sweep and purge by a set, but for a set of those who stay."""
    caps = "max_patrons: 1000, max_percent: 100"
    keep = f'exclude: {{set_names: ["{KEEP}"]}}, first_run: apply'
    policies = (
        f"deactivate: {{select: {{sweep: true}}, {caps}}}",
        f'purge: {{select: {{set_name: "{TO_PURGE}"}}, {keep}, {caps}{purge and ", "}{purge}}}',
        f"pace: {{requests_per_second: {per_second}}}",
    )
    defaults = f"defaults: {{region: na, time_zone: {zone}, policy: {{{', '.join(policies)}}}}}\n"
    return defaults + "institutions:\n" + "".join(f"  - {{code: {code}, name: Library {code}}}\n" for code in codes)


def records() -> list[Record]:
    """A small library: two patrons to be deactivated and two to be deleted, and for each of them others who stay."""
    return [
        patron("active.one"),
        patron("active.two"),
        patron("active.staff", user_role=[role("200"), role("214")]),
        long_gone("gone.one"),
        long_gone("gone.two"),
        long_gone("gone.loan", loans=1),
        long_gone("gone.kept"),
    ]


DUE = {"deactivate": {"active.one", "active.two"}, "purge": {"gone.one", "gone.two"}}
UNDISTURBED: dict[str, Told] = {
    "deactivate": {
        "active.one": (Outcome.DEACTIVATED, ""),
        "active.two": (Outcome.DEACTIVATED, ""),
        "active.staff": (Outcome.SKIPPED, "staff"),
    },
    "purge": {
        "gone.one": (Outcome.PURGED, ""),
        "gone.two": (Outcome.PURGED, ""),
        "gone.loan": (Outcome.BLOCKED, "loans"),
        "gone.kept": (Outcome.SKIPPED, "excluded_set"),
    },
}


@dataclass
class Context:
    """What Lambda hands a handler beside the event. `seconds` are left to it."""

    seconds: float = 300
    aws_request_id: str = ""
    function_name: str = "matrix"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:matrix"

    def __post_init__(self) -> None:
        self.aws_request_id = self.aws_request_id or str(uuid.uuid4())

    def get_remaining_time_in_millis(self) -> int:
        """All that it was given: a handler asks as it begins."""
        return int(self.seconds * 1000)


class Now(Time):
    """A time that begins at `begin`."""

    def __init__(self, begin: datetime = NOON) -> None:
        super().__init__()
        self.begin = begin

    def now(self) -> datetime:
        """The time of day."""
        return self.begin + timedelta(seconds=self.clock() - 1000.0)


@dataclass
class AlmaFault:
    """What becomes of `times` calls of a method (empty: any) to a route, after the first `spared`.

    `then` is done as the first of them comes; with no `fault` that is all.
    """

    fault: Fault | None
    method: str = ""
    route: str = ""
    times: int = 1
    spared: int = 0
    then: Callable[[], object] = lambda: None
    met: int = field(default=0, init=False)

    def __call__(self, request: Request) -> Fault | None:
        """What the simulated Alma asks about each call."""
        if self.method not in ("", request.method) or not request.route.startswith(self.route):
            return None
        if self.spared:
            self.spared -= 1
            return None
        if self.met >= self.times:
            return None
        self.met += 1
        if self.met == 1:
            self.then()
        return self.fault


class Service:
    """One case.

    `calls` counts the calls to AWS and Alma that may have changed something there. With `kill_after` the process ends
    as it goes on after so many of them: a kill before and after a mere read leaves the same behind.
    """

    def __init__(
        self,
        cloud: Cloud,
        patch: pytest.MonkeyPatch,
        registered: str = "",
        *,
        begin: datetime = NOON,
        seconds: float = 300,
    ) -> None:
        self.cloud = cloud
        self.time = Now(begin)
        self.seconds = seconds
        self.store = DynamoStore(cloud.table, 400)
        self.vault = S3Vault(cloud.s3, cloud.name)
        self.calls = 0
        self.kill_after: int | None = None
        self.before_alma: Callable[[requests.PreparedRequest], None] = lambda request: None
        self.failures: list[BaseException] = []
        self.logged: list[str] = []  # the text of each, as Lambda logs it
        self.events: list[dict[str, Any]] = []
        self._judges: dict[tuple[str, str], WriteJudge] = {}
        self._is_dead = False
        institutions = []
        for one in parse_registry(registered or registry(CODE)):
            self.store.put_institution(one)
            cloud.put_key(one.code, f"key-of-{one.code}")
            institutions.append(SimulatedInstitution(one.code, one.name, f"key-of-{one.code}"))
        self.alma = Alma(institutions, per_second=None, clock=self.time.clock, today=lambda: self.time.now().date())
        for code in self.alma.institutions:
            self.fill(code)
        cloud.before_call = lambda call: self.may_die(changes=not call.name.endswith(_READS))
        cloud.let_through = self._keep_event
        self._furnish(patch)

    def _furnish(self, patch: pytest.MonkeyPatch) -> None:
        """Give the handlers this case's time and Alma."""
        cloud, time = self.cloud, self.time
        client = partial(AlmaClient, adapter=_Wire(self), clock=time.clock, sleep=time.sleep)
        for module in (cloud.worker, cloud.operator):
            patch.setattr(module, "AlmaClient", client)
            patch.setattr(module, "Pace", partial(SingleFile, clock=time.clock, sleep=time.sleep))
        engine = replace(cloud.worker.workshop.engine, now=time.now)
        patch.setattr(cloud.worker, "workshop", replace(cloud.worker.workshop, engine=engine, clock=time.clock))
        patch.setattr(cloud.operator, "engine", replace(cloud.operator.engine, now=time.now))
        patch.setattr(cloud.enumerator, "utc_now", time.now)

    def fill(self, code: str = CODE) -> SimulatedInstitution:
        """Put an institution's patrons and sets back to what they are at the beginning."""
        institution = self.alma.institution(code)
        institution.users = {one["primary_id"].casefold(): one for one in records()}
        institution.writes.clear()
        gone = tuple(user_id for user_id in institution.users if user_id.startswith("gone."))
        institution.sets = [
            SimulatedSet("11", TO_PURGE, members=gone),
            SimulatedSet("12", KEEP, members=("gone.kept",)),
        ]
        return institution

    def add_due(self, action: Action, names: Collection[str], code: str = CODE) -> Told:
        """Add patrons to an institution who are due by this action; what will be told of them."""
        institution, make = self.alma.institution(code), {"deactivate": patron, "purge": long_gone}[action]
        institution.users |= {name: make(name) for name in names}
        institution.set_named(TO_PURGE).members += tuple(names)
        return dict.fromkeys(names, UNDISTURBED[action][min(DUE[action])])

    # ── What Lambda does ──────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, action: Action = "deactivate", **event: Any) -> str:
        """Let the enumerator start a run to apply; its run_id."""
        started = self.enumerate({"action": action, "mode": "apply", **event})
        return self.watch(started["run_id"])

    def enumerate(self, event: Mapping[str, Any], request_id: str = "") -> dict[str, Any]:
        """Call the enumerator."""
        self._is_dead = False
        context = Context(aws_request_id=request_id)
        answer: dict[str, Any] = self.cloud.enumerator.lambda_handler(dict(event), context)
        return answer

    def command(self, command: str, **more: Any) -> dict[str, Any]:
        """Call the operator."""
        self._is_dead = False
        answer: dict[str, Any] = self.cloud.operator.lambda_handler({"command": command, **more}, Context())
        return answer

    def receive(self, most: int = 1) -> list[dict[str, Any]]:
        """Messages that SQS has to give at this moment."""
        received: list[dict[str, Any]] = self.cloud.sqs.receive_message(
            QueueUrl=self.cloud.queue_url,
            MaxNumberOfMessages=most,
            AttributeNames=["All"],
        ).get("Messages", [])
        return received

    def deliver(self, message: Mapping[str, Any]) -> bool:
        """Give a worker one message, and SQS its answer: done with, or back to the queue. Whether it is done with."""
        try:
            is_done = self.slice(message)
        except (Exception, Killed) as failure:  # noqa: BLE001 - as Lambda does
            self.failures.append(failure)
            self.logged.append(str(failure))
            is_done = False
        handle = {"QueueUrl": self.cloud.queue_url, "ReceiptHandle": message["ReceiptHandle"]}
        if is_done:
            self.cloud.sqs.delete_message(**handle)
        else:
            self.time.sleep(VISIBILITY.total_seconds())
            self.cloud.sqs.change_message_visibility(**handle, VisibilityTimeout=0)
        return is_done

    def slice(self, message: Mapping[str, Any]) -> bool:
        """Call the worker with one message, as Lambda's mapping of the queue does; whether it says that it is done."""
        self._is_dead = False
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:matrix.fifo",
            "awsRegion": "us-east-1",
        }
        answer = self.cloud.worker.lambda_handler({"Records": [record]}, Context(self.seconds))
        return not answer["batchItemFailures"]

    def pump(self, most: int = 200) -> None:
        """Deliver messages until SQS has none to give."""
        for _ in range(most):
            messages = self.receive()
            if not messages:
                return
            self.deliver(messages[0])
        raise AssertionError("the queue never runs dry")

    def finish(self, run_id: str) -> None:
        """Let hours pass, with a tidy in each, until the run is closed."""
        for _ in range(_TIDIES):
            self.pump()
            run = self.store.run(run_id)
            if run is not None and run.finished_at is not None:
                return
            self.time.sleep(STALLED_AFTER.total_seconds() + 60)
            self.command("tidy")
        raise AssertionError(f"the run never ends: {self.store.institution_runs(run_id)}")

    def dead_letters(self) -> list[dict[str, Any]]:
        """The messages in the dead-letter queue; they stay there."""
        found: list[dict[str, Any]] = self.cloud.sqs.receive_message(
            QueueUrl=self.cloud.dead_url, MaxNumberOfMessages=10, VisibilityTimeout=0
        ).get("Messages", [])
        return found

    def planned(self) -> list[dict[str, Any]]:
        """The schedules that are to resume something."""
        scheduler, group = self.cloud.scheduler, self.cloud.name
        names = [one["Name"] for one in scheduler.list_schedules(GroupName=group)["Schedules"]]
        return [scheduler.get_schedule(GroupName=group, Name=name) for name in names]

    def resuming(self, planned: Mapping[str, Any]) -> dict[str, str]:
        """What a schedule sends the operator, but for the command; the schedule is gone then."""
        self.cloud.scheduler.delete_schedule(GroupName=self.cloud.name, Name=planned["Name"])
        sent: dict[str, str] = json.loads(planned["Target"]["Input"])
        assert sent.pop("command") == "resume"
        return sent

    # ── What goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────

    def may_die(self, *, changes: bool) -> None:
        """End the process if it is to be killed here, no thread of it goes on then; else count the call."""
        if self._is_dead or (self.kill_after is not None and self.calls >= self.kill_after):
            self._is_dead, self.kill_after = True, None
            raise Killed
        self.calls += changes

    def _keep_event(self, call: Call) -> None:
        if call.name == "eventbridge.PutEvents":
            self.events += json.loads(call.body)["Entries"]

    def meanwhile(self, method: str, path: str, do: Callable[[], object]) -> None:
        """Before the first call of a method to a path that has this in it, let something be done by others."""

        def look(request: requests.PreparedRequest) -> None:
            if request.method == method and path in (request.path_url or ""):
                self.before_alma = lambda _: None
                do()

        self.before_alma = look

    # ── What is held against it ───────────────────────────────────────────────────────────────────────────────────────

    def watch(self, run_id: str, day: date = TODAY) -> str:
        """Put a judge over the writes of a run, which judges by `day`."""
        run = self.store.run(run_id)
        assert run is not None
        for code in run.institutions:
            institution = self.alma.institution(code)
            members = frozenset(institution.set_named(KEEP).members) if run.action == "purge" else frozenset()
            terms = Terms(run.action.value, day)
            judge = WriteJudge(institution, terms, candidates=partial(self._manifest, run_id, code), excluded=members)
            self._judges[run_id, code] = judge
            institution.on_write = partial(self._see, code)
        return run_id

    def _see(self, code: str, write: Write) -> None:
        """Hand a write to the judge of the run that has the lease: nobody else may write."""
        holder = self.store.lease_holder(code)
        assert holder is not None
        self._judges[holder, code].see(write)

    def _manifest(self, run_id: str, code: str) -> set[str]:
        return {user_id for page in self.store.pages(self.one(run_id, code)) for user_id in page.ids}

    def one(self, run_id: str, code: str = CODE) -> InstitutionRun:
        """The institution run as stored."""
        found = self.store.institution_run(run_id, code)
        assert found is not None
        return found

    def rows(self, run_id: str, code: str = CODE) -> list[PatronOutcome]:
        """The outcomes of an ended institution run."""
        pages = self.store.pages(self.one(run_id, code))
        return [row for page in pages for row in page.closed(self.time.now())]

    def told(self, run_id: str, code: str = CODE) -> Told:
        """What it says of each candidate."""
        return {row.primary_id: (row.outcome, row.reason) for row in self.rows(run_id, code)}

    def judge(self, run_id: str, status: Status = Status.COMPLETED, *, unannounced: bool = False) -> None:
        """What holds at the end of every case, whatever went wrong.

        The run was closed once, and all its institution runs ended in `status`. Every write was right, every candidate
        has one outcome, which is true, the counts are those of the rows; nothing is left of it in the queue, no lease
        is kept, nobody was deleted without a copy, and whoever listens was told of the end, unless it is `unannounced`.
        """
        run = self.store.run(run_id)
        assert run is not None
        assert run.finished_at is not None
        assert (run.open_count, run.held_count, run.paused_count) == (0, 0, 0)
        assert run.ended == {status: len(run.institutions)}, [
            one.status_reason for one in self.store.institution_runs(run_id)
        ]
        assert self.receive() == []
        for code in run.institutions:
            self._judge_one(run_id, code, status)
        if not unannounced:
            self._assert_told(run_id, "Run finished")
            for code in run.institutions:
                self._assert_told(run_id, f"Institution run {status}", code)

    def _judge_one(self, run_id: str, code: str, status: Status) -> None:
        one, judge = self.one(run_id, code), self._judges[run_id, code]
        rows = [(row.primary_id, row.outcome.value, row.reason or None, row.detail) for row in self.rows(run_id, code)]
        assert one.status is status, one.status_reason
        assert judge.wrongs == []
        unconfirmed = {row[0] for row in rows if row[2] == "unconfirmed"}
        wrongs = judge.check_outcomes(rows) + (judge.check_reasons(rows) if status is Status.COMPLETED else [])
        assert [wrong for wrong in wrongs if wrong.split(" ", 1)[0] not in unconfirmed] == []
        assert Counter(row[1] for row in rows) == {outcome.value: n for outcome, n in one.outcomes.items()}
        assert len(rows) == one.candidates
        assert self.store.lease_holder(code) is None
        if one.action == "purge":
            kept = {user_id for page in range(one.pages) for user_id in self.vault.records(code, run_id, page)}
            assert {write.primary_id for write in judge.writes} <= kept

    def _assert_told(self, run_id: str, kind: str, code: str | None = None) -> None:
        """At least one event, and if there are more then each says the same."""
        details = {
            event["Detail"] for event in self.events if (event["DetailType"], event["Source"]) == (kind, EVENT_SOURCE)
        }
        about = [one for one in map(json.loads, details) if (one["run_id"], one.get("institution")) == (run_id, code)]
        assert len(about) == 1


class _Wire(SimulatorAdapter):
    """The way to the simulated Alma, which may be the last that a worker goes."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.alma, sleep=service.time.sleep)
        self._service = service

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Hand the request to the simulated Alma."""
        self._service.may_die(changes=request.method != "GET")
        self._service.before_alma(request)
        return super().send(request, *arguments, **options)


Make = Callable[..., Service]
"""Makes the service of a case: see `Service`."""


def recovered(rows: Iterable[PatronOutcome]) -> set[str]:
    """Whose outcome was found by reading the patron back."""
    return {row.primary_id for row in rows if row.detail.startswith("recovered")}
