"""What runs ask of AWS, measured; and docs/costs.md made of it.

    python -m benchmarks.aws_usage measure    measures anew (some five minutes), then writes the page
    python -m benchmarks.aws_usage write      writes the tables of docs/costs.md from benchmarks/aws_usage.json

The worker's own code works through whole runs against the simulated Alma, at Alma's latency and the usual pace, with
the real store, queue, vault, notices and secrets on local AWS, whose calls a `Meter` counts. How the counts of a run
grow with its institutions is measured with small institutions, in no time, since it doesn't hang on their size.
"""

import contextlib
import io
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import typer
from samtranslator.yaml_helper import yaml_parse

from benchmarks.costs import PAGE, RECORDED, page_of
from benchmarks.meter import Counts, Meter
from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.pace import Pace
from patron_lifecycle.api_keys import SecretsManager
from patron_lifecycle.dashboard.widget import Dashboard, View
from patron_lifecycle.notices.coming import announce
from patron_lifecycle.notices.post import SesPost, SnsOperators
from patron_lifecycle.notices.reporter import Reporter
from patron_lifecycle.observability import logger
from patron_lifecycle.registry import Institution, register
from patron_lifecycle.reports.bucket import S3ReportsBucket
from patron_lifecycle.runs.days_since import publish_days_since
from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.events import ShowStatus, parse_start
from patron_lifecycle.runs.launch import start_run
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import Status, WorkMessage, utc_now
from patron_lifecycle.runs.notices import EventBridgeNotices
from patron_lifecycle.runs.queue import SqsQueue
from patron_lifecycle.runs.slice import Workshop, work
from patron_lifecycle.runs.status import show_status
from patron_lifecycle.settings import Settings
from patron_lifecycle.vault import S3Vault
from sandbox.local_aws import REGION, LocalAws
from sandbox.simulator.adapter import SimulatorAdapter
from sandbox.simulator.alma import Alma, Latency
from sandbox.simulator.institutions import (
    SimulatedInstitution,
    expired_and_active,
    expired_for_years,
    institution,
)
from sandbox.simulator.patrons import coded
from sandbox.simulator.server import serve
from sandbox.stack import ROOT, put_secret
from tests.workbench import MemoryResumption, Time

USERS, MEMBERS, DUE_TO_DEACTIVATE, WITHOUT_LOANS = 10_000, 1_500, 110, 600
MANY = (1, 20, 100)  # institutions of the small runs
_SMALL = 5  # users of a small institution
_PREFIX = "usage"
_SLICE_SECONDS = 270.0  # of a worker with the usual timeout of 300
_RETENTION_DAYS = 400
_POLICY = """
  policy:
    deactivate: {select: {sweep: true}, max_percent: 100}
    purge: {select: {set_name: "OHIONET purge"}, exclude: {set_names: ["Community patrons"]}, first_run: apply,
            max_percent: 100}
"""
_SENDER = "library@example.org"
KINDS = ("deactivate", "purge preview", "purge")
WIDGETS = (View.HELD, View.INSTITUTIONS, View.RUNS, View.POPULATION)  # those that the dashboard begins with

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


def registry_of(count: int) -> str:
    """A registry of so many institutions, with the usual policies and mails to two contacts each."""
    head = f"defaults:\n  region: na\n  time_zone: America/New_York\n  notices: true{_POLICY}institutions:\n"
    entries = (
        f"  - {{code: {code_of(number)}, name: Library {number}, contacts: [a{number}@example.edu, b@example.edu]}}\n"
        for number in range(count)
    )
    return head + "".join(entries)


def event_of(kind: str) -> dict[str, str]:
    """The event that starts a run of this kind: a real one, or the preview for the notices two weeks ahead."""
    if kind != "purge preview":
        return {"action": kind, "mode": "apply"}
    purge_day = datetime.now(UTC).date() + timedelta(days=14)
    return {"action": "purge", "mode": "preview", "trigger": "schedule", "as_of": f"{purge_day}"}


def code_of(number: int) -> str:
    """The code of an institution by its number."""
    return f"01OHIO_{number:03d}"


def usual_institution() -> SimulatedInstitution:
    """An institution in a month like any other: few are due, and of the set's members most have to stay."""
    today = datetime.now(UTC).date()
    built = institution(code_of(0), "Usual", _key_of(0), USERS, 1, today)
    due = [user for user in built.users.values() if expired_and_active(user, today)]
    for user in due[DUE_TO_DEACTIVATE:]:
        user["status"], user["status_date"] = coded("INACTIVE", "Inactive"), "2024-06-30Z"
    members = [user for user in built.users.values() if expired_for_years(user, today)]
    for user in members[MEMBERS:]:
        user["expiry_date"] = f"{today - timedelta(days=700)}Z"
    for user in members[WITHOUT_LOANS:MEMBERS]:
        user["loans"] = 1
    return built


def _key_of(number: int) -> str:
    return f"key-of-{number}"


Connect = Callable[[Institution, str, float], AlmaClient]


@dataclass
class Service:
    """The service on local AWS, all of whose calls are counted."""

    aws: LocalAws
    meter: Meter
    store: DynamoStore
    queue: SqsQueue
    queue_url: str
    secrets: SecretsManager
    vault: S3Vault
    notices: EventBridgeNotices
    reporter: Reporter

    @classmethod
    def on(cls, aws: LocalAws, name: str) -> "Service":
        """A service with an empty table, queue and bucket of that name."""
        definition = _table_definition()
        aws.client("dynamodb").create_table(TableName=name, **definition)
        url = aws.client("sqs").create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        for bucket in (name, f"{name}-reports"):
            aws.client("s3").create_bucket(Bucket=bucket)
        topic = aws.client("sns").create_topic(Name=name)["TopicArn"]
        aws.client("sesv2").create_email_identity(EmailIdentity=_SENDER)
        table = aws.resource("dynamodb").Table(name)
        meter = Meter(definition, aws.client("dynamodb"), name)
        clients = {
            service: aws.client(service) for service in ("sqs", "s3", "events", "secretsmanager", "sesv2", "sns")
        }
        for client in (table.meta.client, *clients.values()):
            meter.watch(client)
        store = DynamoStore(table, _RETENTION_DAYS)
        reporter = Reporter(
            store=store,
            bucket=S3ReportsBucket(clients["s3"], f"{name}-reports"),
            post=SesPost(clients["sesv2"], _SENDER),
            operators=SnsOperators(clients["sns"], topic),
            link="https://link.example.org",
            operator="operator",
            now=utc_now,
        )
        return cls(
            aws=aws,
            meter=meter,
            store=store,
            queue=SqsQueue(clients["sqs"], url),
            queue_url=url,
            secrets=SecretsManager(clients["secretsmanager"], _PREFIX),
            vault=S3Vault(clients["s3"], name),
            notices=EventBridgeNotices(clients["events"], _PREFIX),
            reporter=reporter,
        )

    def engine(self) -> Engine:
        """What drives its runs."""
        return Engine(self.store, self.queue, self.notices, MemoryResumption(), utc_now, _PREFIX)

    def run(self, kind: str, connect: Connect, clock: Callable[[], float]) -> tuple[str, dict[str, Counts]]:
        """Start a run, and work until the queue is empty; its run_id and what its functions have taken."""
        began = time.process_time()
        started = start_run(parse_start(event_of(kind)), f"{kind} {time.time_ns()}", self.store, self.queue, utc_now)
        enumerated = {"cpu_seconds": time.process_time() - began, **self.meter.taken()}
        workshop = Workshop(self.engine(), self.secrets, self.vault, connect, clock)
        began, seconds, messages = time.process_time(), time.monotonic(), 0
        with _logged() as log:
            while (message := self._received()) is not None:
                work(message, workshop, _SLICE_SECONDS)
                messages += 1
        worked = {
            "cpu_seconds": time.process_time() - began,
            "seconds": time.monotonic() - seconds,
            "messages": messages,
            **_size_of(log),
            **self.meter.taken(),
        }
        return started.run_id, {"enumerator": enumerated, "worker": worked}

    def _received(self) -> WorkMessage | None:
        """The next message, as Lambda would receive and delete it: not counted here."""
        client = self.aws.client("sqs")
        found = client.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=1).get("Messages", [])
        if not found:
            return None
        client.delete_message(QueueUrl=self.queue_url, ReceiptHandle=found[0]["ReceiptHandle"])
        return WorkMessage.model_validate_json(found[0]["Body"])


def _table_definition() -> dict[str, Any]:
    """Keys and indexes of the table, as template.yaml defines them."""
    resources = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))["Resources"].values()
    (properties,) = [one["Properties"] for one in resources if one["Type"] == "AWS::DynamoDB::Table"]
    wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {name: properties[name] for name in wanted}


@contextlib.contextmanager
def _logged() -> Iterator[io.StringIO]:
    """What is logged meanwhile, metrics included."""
    log = io.StringIO()
    handler = logger.registered_handler
    before = handler.setStream(log)  # type: ignore[attr-defined] # it is a StreamHandler
    try:
        with contextlib.redirect_stdout(log):
            yield log
    finally:
        handler.setStream(before)  # type: ignore[attr-defined]


@contextlib.contextmanager
def alma_of_its_own() -> Iterator[str]:
    """The usual institution's Alma, as slow as Alma is, in a process of its own: its work isn't ours. Gives the URL."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(ready: Connection) -> None:
    serve(Alma([usual_institution()], latency=Latency(seed=1)), 0, ready.send)


def in_real_time(url: str) -> Connect:
    """Clients of an Alma at this address, as the worker has them."""

    def connect(one: Institution, key: str, slice_seconds: float) -> AlmaClient:
        pace = Pace(one.policy.pace.requests_per_second)
        return AlmaClient(base_url=url, api_key=key, pace=pace, retry_seconds=slice_seconds / 4)

    return connect


def in_no_time(alma: Alma, passing: Time) -> Connect:
    """Clients of an Alma in this process, for whom time passes only where they wait."""

    def connect(one: Institution, key: str, _seconds: float) -> AlmaClient:
        pace = Pace(one.policy.pace.requests_per_second, clock=passing.clock, sleep=passing.sleep)
        return AlmaClient(
            base_url="https://alma.example.edu",
            api_key=key,
            pace=pace,
            adapter=SimulatorAdapter(alma, sleep=passing.sleep),
            clock=passing.clock,
            sleep=passing.sleep,
        )

    return connect


def small_runs(aws: LocalAws, count: int) -> dict[str, dict[str, Counts]]:
    """What each kind of run takes over so many small institutions, then the operator's commands, and all widgets.

    The commands are those that come by schedule, and a status. Of these runs the counts alone are worth something, not
    the seconds.
    """
    service = Service.on(aws, f"small-{count}")
    today = datetime.now(UTC).date()
    alma = Alma([institution(code_of(n), f"L{n}", _key_of(n), _SMALL, 1, today) for n in range(count)], per_second=None)
    passing = Time()
    register(service.store, registry_of(count))
    service.meter.taken()
    found = {}
    for kind in KINDS:
        _, found[kind] = service.run(kind, in_no_time(alma, passing), passing.clock)
    found["tidy"] = {"operator": _operated(service, lambda: tidy(service.engine(), timedelta(hours=3)))}
    asked = ShowStatus(command="status")
    answer = _operated(service, lambda: show_status(asked, service.store, timedelta(days=_RETENTION_DAYS), utc_now()))
    found["status"] = {"operator": answer}
    found["announce"] = {"operator": _operated(service, lambda: announce(service.engine(), _on_no_day_of_notice()))}
    settings = _on_no_day_of_notice().model_copy(update={"deactivate_schedule_state": "ENABLED"})
    found["days_since"] = {"operator": _operated(service, lambda: publish_days_since(service.engine(), settings))}
    found["widgets"] = {"dashboard": _operated(service, lambda: _show_widgets(service.store))}
    return found


def _show_widgets(store: DynamoStore) -> None:
    dashboard = Dashboard(store, _on_no_day_of_notice(), utc_now)
    for view in WIDGETS:
        if "This can't be shown" in dashboard.answer({"view": view.value}, "arn"):
            raise RuntimeError(f"the view {view} can't be shown")


def _on_no_day_of_notice() -> Settings:
    """The operator's settings on a day on which nobody is told of the coming purge: it is far ahead."""
    today = datetime.now(UTC).date()
    far_ahead = (today + timedelta(days) for days in range(16, 27))
    day = next(day.day for day in far_ahead if day.day <= 28)
    return Settings(
        table_name="t",
        queue_url="q",
        secret_prefix=_PREFIX,
        event_source=_PREFIX,
        retention_days=_RETENTION_DAYS,
        purge_schedule=f"cron(0 5 {day} * ? *)",
        purge_schedule_state="ENABLED",
        apply_purge=True,
        notice_sender=_SENDER,
    )


def _operated(service: Service, do: Callable[[], object]) -> Counts:
    began = time.process_time()
    with _logged() as log:
        do()
    return {"cpu_seconds": time.process_time() - began, **_size_of(log), **service.meter.taken()}


def _size_of(log: io.StringIO) -> Counts:
    return {"log_bytes": len(log.getvalue().encode()), "log_lines": log.getvalue().count("\n")}


def usual_runs(aws: LocalAws) -> dict[str, Any]:
    """What each kind of run takes in the usual institution, at Alma's latency, with its reports and mails."""
    service = Service.on(aws, "usual")
    register(service.store, registry_of(1))
    service.meter.taken()
    now = time.time()
    stored = 0.0
    found: dict[str, Any] = {}
    with alma_of_its_own() as url:
        for kind in KINDS:
            run_id, parts = service.run(kind, in_real_time(url), time.monotonic)
            (one,) = service.store.institution_runs(run_id)
            if one.status is not Status.COMPLETED:
                raise RuntimeError(f"{kind} ended as {one.status}: {one.status_reason}")
            service.meter.taken()
            parts["reporter"] = _operated(service, partial(service.reporter.institution_run, run_id, one.code))
            parts["reporter of the run"] = _operated(service, partial(service.reporter.run, run_id))
            total = service.meter.byte_days(now)
            parts["worker"] |= {"byte_days": total - stored, "alma_calls": one.calls}
            stored = total
            outcomes = {outcome.value: count for outcome, count in one.shown_outcomes.items()}
            found[kind] = {"functions": parts, "candidates": one.candidates, "outcomes": outcomes}
    return found


def start_ups() -> dict[str, float]:
    """The CPU seconds that each function takes to start, by name; the mean of three."""
    settings = (
        "TABLE_NAME=t QUEUE_URL=https://q SECRET_PREFIX=s EVENT_SOURCE=e RETENTION_DAYS=400 VAULT_BUCKET=v "
        f"REPORTS_BUCKET=r NOTICE_SENDER={_SENDER} ALARM_TOPIC=a OPERATOR_NAME=o REPORT_LINK_URL=https://l"
    )
    aws = f"AWS_DEFAULT_REGION={REGION} AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x"
    environment = os.environ | dict(one.split("=") for one in f"{settings} {aws}".split())
    found = {}
    for function in sorted(folder.name for folder in (ROOT / "functions").iterdir() if (folder / "app.py").exists()):
        taken = []
        for _ in range(3):
            before = _of_children()
            subprocess.run(
                [sys.executable, "-c", "import app"], cwd=ROOT / "functions" / function, env=environment, check=True
            )
            taken.append(_of_children() - before)
        found[function] = sum(taken) / len(taken)
    return found


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured() -> dict[str, Any]:
    """All that is recorded."""
    with tempfile.TemporaryDirectory() as folder:
        aws = LocalAws.start(Path(folder))
        try:
            for number in range(max(MANY)):
                put_secret(aws, _PREFIX, code_of(number), json.dumps({"api_key": _key_of(number)}))
            usual = usual_runs(aws)
            small = {str(count): small_runs(aws, count) for count in MANY}
        finally:
            aws.stop()
    facts = {"users": USERS, "members": MEMBERS, "pace": 20, "slice_seconds": _SLICE_SECONDS}
    day = f"{datetime.now(UTC).date()}"
    return {"measured_on": day, "facts": facts, "start_up": start_ups(), "usual": usual, "small": small}


@app.command()
def measure() -> None:
    """Measure anew, record it, and write the page."""
    RECORDED.write_text(json.dumps(_rounded(measured()), indent=1) + "\n", encoding="utf-8")
    write()


@app.command()
def write() -> None:
    """Write the tables of docs/costs.md from what is recorded."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    PAGE.write_text(page_of(PAGE.read_text(encoding="utf-8"), recorded), encoding="utf-8")
    print(PAGE)


def _rounded(part: Any) -> Any:
    match part:
        case dict():
            return {name: _rounded(value) for name, value in part.items()}
        case float():
            return round(part, 3)
        case _:
            return part


if __name__ == "__main__":
    app()
