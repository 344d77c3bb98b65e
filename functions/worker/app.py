"""Carries out one slice of one institution's run for each queue message."""

import os
import time
from functools import partial
from typing import Any

import boto3
from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.hosts import HOSTS
from patron_lifecycle.alma.pace import Pace
from patron_lifecycle.api_keys import SecretsManager
from patron_lifecycle.observability import logger
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.aws import engine_on_aws
from patron_lifecycle.runs.model import WorkMessage, utc_now
from patron_lifecycle.runs.slice import Workshop, work
from patron_lifecycle.runs.trouble import SliceFailed, told
from patron_lifecycle.settings import Settings
from patron_lifecycle.vault import S3Vault

settings = Settings.from_environment(os.environ)


def connect(institution: Institution, api_key: str, slice_seconds: float) -> AlmaClient:
    """A client for the institution's Alma; a GET that goes on failing is given up in a quarter of the slice."""
    return AlmaClient(
        base_url=settings.alma_base_url or HOSTS[institution.region],
        api_key=api_key,
        pace=Pace(
            institution.policy.pace.requests_per_second, at_present=lambda: institution.calls_a_second(utc_now())
        ),
        retry_seconds=min(60.0, slice_seconds / 4),
    )


workshop = Workshop(
    engine=engine_on_aws(settings),
    secrets=SecretsManager(boto3.client("secretsmanager"), settings.secret_prefix),
    vault=S3Vault(boto3.client("s3"), settings.vault_bucket),
    connect=connect,
    clock=time.monotonic,
)
processor = SqsFifoPartialProcessor()


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Work through an SQS event (BatchSize 1); a message that fails is reported, so that SQS gives it back."""
    return process_partial_response(event, partial(handle, context=context), processor, context)


def handle(record: SQSRecord, context: LambdaContext) -> None:
    """Do the slice that one message is for, leaving enough of the Lambda's time to record it. Raises `SliceFailed`."""
    seconds = context.get_remaining_time_in_millis() / 1000
    try:
        work(WorkMessage.model_validate_json(record.body), workshop, seconds - max(2.0, seconds / 10))
    except Exception as error:  # noqa: BLE001 - Lambda logs the text of whatever it is
        raise SliceFailed(told(error)) from None
