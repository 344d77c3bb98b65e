"""Starts a run: validates the event, puts the institutions on the queue, answers what was queued."""

import os
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from patron_lifecycle.observability import logger
from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.events import parse_start
from patron_lifecycle.runs.launch import start_run
from patron_lifecycle.runs.model import utc_now
from patron_lifecycle.runs.notices import EventBridgeNotices
from patron_lifecycle.runs.queue import SqsQueue
from patron_lifecycle.settings import Settings

settings = Settings.from_environment(os.environ)
store = DynamoStore(boto3.resource("dynamodb").Table(settings.table_name), settings.retention_days)
queue = SqsQueue(boto3.client("sqs"), settings.queue_url)
notices = EventBridgeNotices(boto3.client("events"), settings.event_source)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start the run that `event` asks for; see `patron_lifecycle.runs.events.StartRun`."""
    started = start_run(parse_start(event), context.aws_request_id, store, queue, utc_now)
    logger.info("run started", run_id=started.run_id, queued=len(started.queued), skipped=len(started.skipped))
    if not started.queued and (run := store.run(started.run_id)) is not None:
        notices.run_is_finished(run)  # no worker ever will, and somebody may count on it
    skipped = [skip.model_dump() for skip in started.skipped]
    return {"run_id": started.run_id, "queued": list(started.queued), "skipped": skipped}
