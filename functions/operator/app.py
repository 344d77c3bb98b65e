"""What a person asks for by hand, and the hourly tidy."""

import os
from datetime import timedelta
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from patron_lifecycle.observability import logger
from patron_lifecycle.registry import register
from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.events import Register, ShowStatus, Tidy, parse_operator
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import utc_now
from patron_lifecycle.runs.queue import SqsQueue
from patron_lifecycle.runs.status import show_status
from patron_lifecycle.settings import Settings

settings = Settings.from_environment(os.environ)
store = DynamoStore(boto3.resource("dynamodb").Table(settings.table_name), settings.retention_days)
queue = SqsQueue(boto3.client("sqs"), settings.queue_url)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Carry out one command; see `patron_lifecycle.runs.events`."""
    match parse_operator(event):
        case Register(registry=text):
            return register(store, text)._asdict()
        case ShowStatus() as asked:
            return show_status(asked, store)
        case Tidy():
            return tidy(store, queue, utc_now, timedelta(seconds=settings.stalled_after_seconds))._asdict()
