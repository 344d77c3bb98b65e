"""The engine on AWS: DynamoDB, SQS, EventBridge with its Scheduler, and the real time."""

import boto3

from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.model import utc_now
from patron_lifecycle.runs.notices import EventBridgeNotices
from patron_lifecycle.runs.queue import SqsQueue
from patron_lifecycle.runs.resumption import SchedulerResumption
from patron_lifecycle.settings import Settings


def engine_on_aws(settings: Settings) -> Engine:
    """What drives the runs of a function, by the environment that template.yaml gives it."""
    return Engine(
        store=DynamoStore(boto3.resource("dynamodb").Table(settings.table_name), settings.retention_days),
        queue=SqsQueue(boto3.client("sqs"), settings.queue_url),
        notices=EventBridgeNotices(boto3.client("events"), settings.event_source),
        resumption=SchedulerResumption(
            lambda: boto3.client("scheduler"),
            group=settings.resume_schedule_group,
            operator_arn=settings.operator_function_arn,
            role_arn=settings.resume_role_arn,
            dead_letter_arn=settings.schedule_dead_letter_arn,
        ),
        now=utc_now,
        service=settings.event_source,
    )
