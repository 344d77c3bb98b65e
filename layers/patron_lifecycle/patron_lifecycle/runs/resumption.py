"""One-time schedules of EventBridge Scheduler, each of which lets one paused institution run go on."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Protocol

from patron_lifecycle.runs.model import InstitutionRun

if TYPE_CHECKING:
    from mypy_boto3_scheduler import EventBridgeSchedulerClient

RETRIES, GIVEN_UP_AFTER = 10, 3600  # of the start of the operator; the tidy resumes what was never resumed


class Resumption(Protocol):
    """What lets a paused institution run go on by itself."""

    def plan(self, paused: InstitutionRun) -> None:
        """See to it that the operator is told to resume it at its `paused_until`. May be repeated."""
        ...


class SchedulerResumption:
    """EventBridge Scheduler: a schedule that starts the operator once, and is deleted when it has.

    `connect` makes the client when it is needed, which is seldom: it would cost every cold start.
    """

    def __init__(
        self,
        connect: Callable[[], "EventBridgeSchedulerClient"],
        *,
        group: str,
        operator_arn: str,
        role_arn: str,
        dead_letter_arn: str,
    ) -> None:
        self._connect = connect
        self._group = group
        self._operator_arn = operator_arn
        self._role_arn = role_arn
        self._dead_letter_arn = dead_letter_arn

    def plan(self, paused: InstitutionRun) -> None:
        """See `Resumption`."""
        if paused.paused_until is None:
            raise ValueError("an institution run that is paused is so until a moment")
        client = self._connect()
        event = {"command": "resume", "run_id": paused.run_id, "institution": paused.code}
        with contextlib.suppress(client.exceptions.ConflictException):  # planned already, by a worker that was lost
            client.create_schedule(
                Name=schedule_name(paused),
                GroupName=self._group,
                Description=f"Resumes {paused.run_id} in {paused.code}",
                ScheduleExpression=f"at({paused.paused_until.astimezone(UTC):%Y-%m-%dT%H:%M:%S})",
                ScheduleExpressionTimezone="UTC",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": self._operator_arn,
                    "RoleArn": self._role_arn,
                    "Input": json.dumps(event),
                    "RetryPolicy": {"MaximumRetryAttempts": RETRIES, "MaximumEventAgeInSeconds": GIVEN_UP_AFTER},
                    "DeadLetterConfig": {"Arn": self._dead_letter_arn},
                },
            )


def schedule_name(paused: InstitutionRun) -> str:
    """The name of its schedule, at most 64 characters: each pause has one of its own."""
    named = f"{paused.run_id}/{paused.code}/{paused.paused_until}"
    return f"resume-{hashlib.sha256(named.encode()).hexdigest()[:32]}"
