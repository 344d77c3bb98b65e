"""Opens the report that a link in a mail leads to: a redirect, for five minutes, into the reports bucket.

Anybody may call it. It can read the reports bucket and nothing else.
"""

import os
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from patron_lifecycle.observability import logger
from patron_lifecycle.reports.bucket import SIGNING, S3ReportsBucket
from patron_lifecycle.reports.opening import answer

bucket = S3ReportsBucket(boto3.client("s3", config=SIGNING), os.environ["REPORTS_BUCKET"])


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda's own
    """Answer a request to the function's URL (payload format 2.0)."""
    return answer(event, bucket, datetime.now(UTC))
