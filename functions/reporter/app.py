"""Makes the reports of what has ended or is held, and tells people; started by EventBridge."""

import os
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from patron_lifecycle.notices.post import SesPost, SnsOperators
from patron_lifecycle.notices.reporter import Reporter
from patron_lifecycle.observability import logger
from patron_lifecycle.reports.bucket import S3ReportsBucket
from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.model import utc_now
from patron_lifecycle.settings import Settings

ONCE = Config(retries={"total_max_attempts": 1})  # neither SES nor SNS knows a message that it was given before

settings = Settings.from_environment(os.environ)
reporter = Reporter(
    store=DynamoStore(boto3.resource("dynamodb").Table(settings.table_name), settings.retention_days),
    bucket=S3ReportsBucket(boto3.client("s3"), settings.reports_bucket),
    post=SesPost(boto3.client("sesv2", config=ONCE), settings.notice_sender) if settings.notice_sender else None,
    operators=SnsOperators(boto3.client("sns", config=ONCE), settings.alarm_topic),
    link=settings.report_link_url,
    operator=settings.operator_name,
    now=utc_now,
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:  # noqa: ARG001 - Lambda's own
    """Report on what an event of `patron_lifecycle.runs.notices` is about; what it says is read anew from the store."""
    detail = event["detail"]
    if "institution" in detail:
        reporter.institution_run(detail["run_id"], detail["institution"])
    else:
        reporter.run(detail["run_id"])
