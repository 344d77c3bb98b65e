"""What a person asks for by hand, and the hourly tidy."""

import os
import time
from datetime import timedelta
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.hosts import HOSTS
from patron_lifecycle.alma.pace import Pace
from patron_lifecycle.api_keys import SecretsManager
from patron_lifecycle.check import Checker
from patron_lifecycle.notices.account import SesAccount
from patron_lifecycle.notices.coming import announce
from patron_lifecycle.observability import logger
from patron_lifecycle.registry import Institution, register
from patron_lifecycle.reports.bucket import S3ReportsBucket
from patron_lifecycle.reports.revoking import revoke
from patron_lifecycle.runs.answers import approve, cancel, reject, stop_all
from patron_lifecycle.runs.aws import engine_on_aws
from patron_lifecycle.runs.events import (
    Announce,
    Approve,
    Cancel,
    Check,
    Register,
    Reject,
    Revoke,
    ShowStatus,
    StopAll,
    Tidy,
    parse_operator,
)
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.status import answered, show_status
from patron_lifecycle.schedules import schedules_of
from patron_lifecycle.settings import Settings

CHECK_PACE = 5.0  # calls a second: a worker may be calling the same institution at its own pace
CHECK_RETRY_SECONDS = 5.0
ANSWER_SECONDS = 5.0  # of the Lambda's time, to answer a check

settings = Settings.from_environment(os.environ)
engine = engine_on_aws(settings)
bucket = S3ReportsBucket(boto3.client("s3"), settings.reports_bucket)


def connect(institution: Institution, api_key: str) -> AlmaClient:
    """A client for a check, which takes few calls and must not wait long for an institution in trouble."""
    return AlmaClient(
        base_url=settings.alma_base_url or HOSTS[institution.region],
        api_key=api_key,
        pace=Pace(min(CHECK_PACE, institution.policy.pace.requests_per_second)),
        retry_seconds=CHECK_RETRY_SECONDS,
    )


checker = Checker(
    store=engine.store,
    secrets=SecretsManager(boto3.client("secretsmanager"), settings.secret_prefix),
    connect=connect,
    clock=time.monotonic,
    schedules=schedules_of(settings),
    mail=SesAccount(boto3.client("sesv2"), settings.notice_sender),
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Carry out one command; see `patron_lifecycle.runs.events`."""
    match parse_operator(event):
        case Register(registry=text):
            return {**register(engine.store, text)._asdict(), "check": check(None, context)}
        case Check(institutions=codes):
            return check(codes, context)
        case ShowStatus() as asked:
            return show_status(asked, engine.store, timedelta(days=settings.retention_days), engine.now())
        case Tidy():
            return tidy(engine, timedelta(seconds=settings.stalled_after_seconds))._asdict()
        case Announce():
            return announce(engine, settings)._asdict()
        case said:
            return carry_out(said)


def carry_out(said: Approve | Reject | Cancel | StopAll | Revoke) -> dict[str, Any]:
    """Do what a person has decided."""
    match said:
        case Approve():
            return answered(approve(said.run_id, said.institution, said.by, said.note, engine))
        case Reject():
            return answered(reject(said.run_id, said.institution, said.by, said.note, engine))
        case Cancel():
            return {"run_id": said.run_id, **cancel(said.run_id, said.institution, said.by, engine)._asdict()}
        case StopAll():
            return {"runs": {run_id: done._asdict() for run_id, done in stop_all(said.by, engine).items()}}
        case Revoke():
            revoked = revoke(said.run_id, said.institution, said.by, engine.store, bucket)
            return {"run_id": said.run_id, "revoked": revoked}


def check(codes: tuple[str, ...] | None, context: LambdaContext) -> dict[str, Any]:
    """Check institutions in the time that is left now, keeping some to answer."""
    return checker.check(codes, context.get_remaining_time_in_millis() / 1000 - ANSWER_SECONDS)
