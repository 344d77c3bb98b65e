"""What the page needs of local AWS."""

import threading
import time
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sandbox.mail import Mail, mails
from sandbox.sandbox import Sandbox
from sandbox.stack import invoke, logs

CALLABLE = ("DashboardFunction", "OperatorFunction")  # outputs of the stack; no other function can be called
_LINES_FRESH_SECONDS = 2  # for as long, all widgets of a page are shown from one reading of the logs


class Alarm(NamedTuple):
    """An alarm of CloudWatch's and its state: OK, ALARM or INSUFFICIENT_DATA."""

    name: str
    state: str
    description: str


class Cloud(Protocol):
    """The account that the dashboards are in. Until it is ready all raise `SandboxError` or `LocalAwsError`."""

    @property
    def functions(self) -> frozenset[str]:
        """The names of the functions that the page may call."""

    def dashboards(self) -> dict[str, str]:
        """The ARNs of the dashboards by their names."""

    def body(self, name: str) -> str:
        """A dashboard's own JSON."""

    def invoke(self, function: str, event: object) -> Any:
        """Call a function. Raises `FunctionError`."""

    def follow(self, token: str, method: str) -> dict[str, Any]:
        """What the link function answers to whoever follows a link to a report."""

    def alarms(self, names: list[str]) -> list[Alarm]:
        """The alarms of these names that there are."""

    def log_lines(self) -> list[str]:
        """What all functions have logged."""

    def mails(self) -> list[Mail]:
        """What SES has sent, newest first."""


class LocalCloud:
    """The sandbox of a folder, which may be started only after the page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reading = threading.Lock()
        self._lines: tuple[float, list[str]] = (float("-inf"), [])

    @cached_property
    def _sandbox(self) -> Sandbox:
        return Sandbox.attach(self._folder)

    @cached_property
    def _cloudwatch(self) -> Any:
        return self._sandbox.aws.client("cloudwatch")

    @property
    def functions(self) -> frozenset[str]:
        """The names of the functions that the page may call."""
        outputs = self._sandbox.outputs
        return frozenset(outputs[name] for name in CALLABLE if name in outputs)

    def dashboards(self) -> dict[str, str]:
        """The ARNs of the dashboards by their names."""
        pages = self._cloudwatch.get_paginator("list_dashboards").paginate()
        return {one["DashboardName"]: one["DashboardArn"] for page in pages for one in page["DashboardEntries"]}

    def body(self, name: str) -> str:
        """A dashboard's own JSON."""
        body: str = self._cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"]
        return body

    def invoke(self, function: str, event: object) -> Any:
        """Call a function as root. Raises `FunctionError`."""
        return invoke(self._sandbox.aws, function, event)

    def follow(self, token: str, method: str) -> dict[str, Any]:
        """What the link function answers, asked as by its URL: the emulator's own addresses lead nowhere here."""
        event = {"version": "2.0", "rawPath": f"/{token}", "requestContext": {"http": {"method": method}}}
        answer: dict[str, Any] = invoke(self._sandbox.aws, self._sandbox.outputs["LinkFunction"], event)
        return answer

    def alarms(self, names: list[str]) -> list[Alarm]:
        """The alarms of these names that there are."""
        found = self._cloudwatch.describe_alarms(AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        return [
            Alarm(one["AlarmName"], one["StateValue"], one.get("AlarmDescription", ""))
            for one in (*found.get("CompositeAlarms", []), *found.get("MetricAlarms", []))
        ]

    def log_lines(self) -> list[str]:
        """What all functions have logged, a moment ago at most."""
        with self._reading:
            read_at, lines = self._lines
            if time.monotonic() - read_at > _LINES_FRESH_SECONDS:
                aws, outputs = self._sandbox.aws, self._sandbox.outputs
                functions = [name for output, name in outputs.items() if output.endswith("Function")]
                lines = [line for function in functions for line in logs(aws, function)]
                self._lines = (time.monotonic(), lines)
            return lines

    def mails(self) -> list[Mail]:
        """What SES has sent, newest first."""
        return mails(self._sandbox.aws)
