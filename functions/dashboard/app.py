"""Shows views of runs and institutions on the CloudWatch dashboard. It can only read."""

import os
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from patron_lifecycle.dashboard.widget import Dashboard
from patron_lifecycle.observability import logger
from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.model import utc_now
from patron_lifecycle.settings import Settings

settings = Settings.from_environment(os.environ)
dashboard = Dashboard(
    store=DynamoStore(boto3.resource("dynamodb").Table(settings.table_name), settings.retention_days),
    settings=settings,
    now=utc_now,
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> str:
    """The view that `event` asks for, as HTML text; see `patron_lifecycle.dashboard.widget`."""
    return dashboard.answer(event, context.invoked_function_arn)
