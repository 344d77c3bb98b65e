"""An account with dashboards for the sandbox's page, whose functions are this process's own."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.mail import Mail
from sandbox.web.cloud import Alarm

ACCOUNT = "000000000000"
DASHBOARD_FUNCTION = "patrons-Dashboard-1"
OPERATOR_FUNCTION = "patrons-Operator-1"
OTHER_FUNCTION = "patrons-Worker-1"
NAME = "alma-patron-lifecycle-sandbox"

Answer = Callable[[dict[str, Any]], Any]


def arn_of(function: str) -> str:
    """The ARN of a function of the account."""
    return f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{function}"


def body(*widgets: dict[str, Any], **more: Any) -> str:
    """A dashboard's JSON."""
    return json.dumps({"widgets": list(widgets), **more})


def custom(title: str, **more: Any) -> dict[str, Any]:
    """A custom widget over the whole width that asks the dashboard function; `more` are properties of the widget's."""
    properties = {"title": title, "endpoint": arn_of(DASHBOARD_FUNCTION), "params": {"view": title.lower()}}
    return {"type": "custom", "x": 0, "y": 0, "width": 24, "height": 6, "properties": properties | more}


def emf(name: str, value: float, at: datetime, **dimensions: str) -> str:
    """A log line that carries one value of one of the service's metrics."""
    directive = {
        "Namespace": "AlmaPatronLifecycle",
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": "Count"}],
    }
    aws = {"Timestamp": int(at.timestamp() * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": aws, **dimensions, name: [value]})


@dataclass
class FakeCloud:
    """Stands in for `sandbox.web.cloud.LocalCloud`.

    `bodies` are the dashboards' JSON by name, `answers` what each function does with an event, `calls` which functions
    were called, and how.
    """

    bodies: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    alarm_states: dict[str, Alarm] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    sent: list[Mail] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def functions(self) -> frozenset[str]:
        """What may be called."""
        return frozenset({DASHBOARD_FUNCTION, OPERATOR_FUNCTION})

    def dashboards(self) -> dict[str, str]:
        """The ARNs of the dashboards."""
        return {name: f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/{name}" for name in self.bodies}

    def body(self, name: str) -> str:
        """A dashboard's JSON."""
        return self.bodies[name]

    def invoke(self, function: str, event: Any) -> Any:
        """Call a function."""
        self.calls.append((function, event))
        return self.answers[function](event)

    def follow(self, token: str, method: str) -> dict[str, Any]:
        """A redirect that says what was asked for."""
        return {"statusCode": 302, "headers": {"Location": f"http://127.0.0.1:9/{method}/{token}"}, "body": ""}

    def alarms(self, names: list[str]) -> list[Alarm]:
        """The alarms that there are."""
        return [self.alarm_states[name] for name in names if name in self.alarm_states]

    def log_lines(self) -> list[str]:
        """What was logged."""
        return self.lines

    def mails(self) -> list[Mail]:
        """What was sent."""
        return self.sent


def mail(raw: bytes, identity: str = "1@email.amazonses.com") -> Mail:
    """A mail in the mail box."""
    return Mail(
        identity, datetime(2026, 11, 24, 3, 0, tzinfo=UTC), "service@example.edu", ("library@example.edu",), raw
    )
