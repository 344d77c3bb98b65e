"""What a person asks for by hand, and the hourly tidy."""

import os
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.hosts import HOSTS
from patron_lifecycle.alma.pace import Pace
from patron_lifecycle.api_keys import SecretsManager
from patron_lifecycle.check import Checker
from patron_lifecycle.dashboard.answers import answer_on_dashboard, is_from_dashboard
from patron_lifecycle.notices.account import SesAccount
from patron_lifecycle.notices.coming import announce
from patron_lifecycle.observability import logger
from patron_lifecycle.registry import Institution, register
from patron_lifecycle.reports.bucket import S3ReportsBucket
from patron_lifecycle.reports.revoking import revoke
from patron_lifecycle.runs.answers import approve, cancel, reject, stop_all
from patron_lifecycle.runs.aws import engine_on_aws
from patron_lifecycle.runs.days_since import publish_days_since
from patron_lifecycle.runs.dead_letters import SqsDeadLetters
from patron_lifecycle.runs.events import (
    Announce,
    Approve,
    Cancel,
    Check,
    DaysSince,
    Redrive,
    Register,
    Reject,
    Resume,
    Revoke,
    ShowStatus,
    StopAll,
    Tidy,
    parse_operator,
)
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import InstitutionRun
from patron_lifecycle.runs.pausing import resume
from patron_lifecycle.runs.redriving import redrive
from patron_lifecycle.runs.status import answered, show_status
from patron_lifecycle.schedules import schedules_of, zone_of
from patron_lifecycle.settings import Settings

CHECK_PACE = 5.0  # calls a second: a worker may be calling the same institution at its own pace
CHECK_RETRY_SECONDS = 5.0
ANSWER_SECONDS = 5.0  # of the Lambda's time, to answer a check
SOON = Config(
    connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1}
)  # a check waits for SES in that time

settings = Settings.from_environment(os.environ)
engine = engine_on_aws(settings)
dead_letters = SqsDeadLetters(boto3.client("sqs"), settings.dead_letter_queue_url)
bucket = S3ReportsBucket(boto3.client("s3"), settings.reports_bucket)


def connect(institution: Institution, api_key: str) -> AlmaClient:
    """A client for a check, which takes few calls and must not wait long for an institution in trouble."""
    return AlmaClient(
        base_url=settings.alma_base_url or HOSTS[institution.region],
        api_key=api_key,
        pace=Pace(CHECK_PACE, at_present=lambda: institution.calls_a_second(engine.now())),
        retry_seconds=CHECK_RETRY_SECONDS,
    )


checker = Checker(
    store=engine.store,
    secrets=SecretsManager(boto3.client("secretsmanager"), settings.secret_prefix),
    connect=connect,
    clock=time.monotonic,
    schedules=schedules_of(settings),
    mail=SesAccount(boto3.client("sesv2", config=SOON), settings.notice_sender),
    now=engine.now,
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any] | str:
    """Carry out one command; see `patron_lifecycle.runs.events`. The dashboard is answered in HTML."""
    if is_from_dashboard(event):
        return answer_on_dashboard(event, partial(carry_out, context=context), engine.now(), zone_of(settings))
    done = carry_out(event, context)
    return answered(done) if isinstance(done, InstitutionRun) else done


def carry_out(event: Mapping[str, Any], context: LambdaContext) -> InstitutionRun | dict[str, Any]:
    """Do what a command asks for; of an answer to a hold, the institution run as it is then. Raises `InvalidEvent`."""
    asked = parse_operator(event)
    about = asked.model_dump(include={"command", "run_id", "institution"}, exclude_none=True)
    logger.info("command", from_dashboard=is_from_dashboard(event), **about)
    match asked:
        case Register(registry=text):
            return {**register(engine.store, text)._asdict(), "check": check(None, context)}
        case Check(institutions=codes):
            return check(codes, context)
        case ShowStatus():
            return show_status(asked, engine.store, timedelta(days=settings.retention_days), engine.now())
        case Tidy():
            return tidy(engine, timedelta(seconds=settings.stalled_after_seconds))._asdict()
        case Announce():
            return announce(engine, settings)._asdict()
        case Resume():
            return resume(asked.run_id, asked.institution, engine)._asdict()
        case DaysSince():
            return publish_days_since(engine, settings)
        case Redrive():
            return redrive(dead_letters, engine)._asdict()
        case said:
            return decide(said)


def decide(said: Approve | Reject | Cancel | StopAll | Revoke) -> InstitutionRun | dict[str, Any]:
    """Do what a person has decided."""
    match said:
        case Approve():
            return approve(said.run_id, said.institution, said.by, said.note, engine)
        case Reject():
            return reject(said.run_id, said.institution, said.by, said.note, engine)
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
