"""Writes run.json, outcomes.csv and report.html of a run on AWS, with the rights and the region of whoever calls it.

    python -m scripts.export_run RUN_ID --table TABLE --out FOLDER

TABLE is the stack's output TableName. The files hold patron ids: keep them where those may be kept.
"""

from pathlib import Path
from typing import Annotated

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError

from patron_lifecycle.reports.export import UnknownRun
from patron_lifecycle.reports.files import write_results
from patron_lifecycle.runs.dynamo import DynamoStore

_UNUSED_DAYS = 1  # nothing is stored here that could expire


def main(
    run_id: str,
    table: Annotated[str, typer.Option(help="The stack's output TableName.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
) -> None:
    """Write a run's run.json, outcomes.csv and report.html."""
    try:
        write_results(DynamoStore(boto3.resource("dynamodb").Table(table), _UNUSED_DAYS), run_id, out)
    except (UnknownRun, BotoCoreError, ClientError, OSError) as error:
        typer.echo(f"Nothing could be exported: {_in_words(error, table)}", err=True)
        raise typer.Exit(1) from None
    typer.echo(out)


def _in_words(error: Exception, table: str) -> str:
    if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ResourceNotFoundException":
        return (
            f"there is no table {table} in this account and region: give the stack's output TableName, or correct "
            "AWS_PROFILE and AWS_DEFAULT_REGION"
        )
    return str(error)


if __name__ == "__main__":
    typer.run(main)
