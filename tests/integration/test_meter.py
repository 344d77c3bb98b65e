"""What benchmarks/aws_usage counts is what was asked of AWS."""

import json
from typing import Any, NamedTuple

import pytest
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError

from benchmarks.aws_usage import KINDS, small_runs
from benchmarks.meter import Meter
from sandbox.local_aws import LocalAws
from sandbox.stack import ROOT, put_secret

KEY = {"pk": "run#1", "sk": "run"}
NOW = 1_800_000_000


class Watched(NamedTuple):
    """An empty table, and the meter of all that is asked of it here."""

    meter: Meter
    table: Any


@pytest.fixture
def watched(local_aws: LocalAws, table: Any, table_definition: dict[str, Any]) -> Watched:
    """The table by a client of its own, so that its removal is nobody's usage."""
    meter = Meter(table_definition, local_aws.client("dynamodb"), table.name)
    own = local_aws.resource("dynamodb").Table(table.name)
    meter.watch(own.meta.client)
    return Watched(meter, own)


def test_reads_and_writes_are_counted_in_units(watched: Watched) -> None:
    """Step by step: an indexed item comes, is refused, changes, is read, is updated and goes."""
    meter, table = watched
    index = {"timeline_pk": "run", "timeline_sk": "1", "expires_at": NOW + 10 * 86_400}
    table.put_item(Item={**KEY, **index, "body": "x" * 1500})
    assert meter.taken() == {"calls": 1, "dynamodb.write_units": 2 + 2}

    with pytest.raises(ClientError):
        table.put_item(Item={**KEY, "body": "y"}, ConditionExpression=Attr("pk").not_exists())
    assert meter.taken() == {"calls": 1, "dynamodb.write_units": 2}

    table.put_item(Item={**KEY, **index, "timeline_sk": "2", "body": "x" * 1500})
    assert meter.taken() == {"calls": 1, "dynamodb.write_units": 2 + 4}

    table.get_item(Key=KEY, ConsistentRead=True)
    table.get_item(Key={"pk": "nobody", "sk": "run"})
    table.query(KeyConditionExpression=Key("timeline_pk").eq("run"), IndexName="timeline")
    table.query(KeyConditionExpression=Key("pk").eq("run#1"), ConsistentRead=True)
    assert meter.taken() == {"calls": 4, "dynamodb.read_units": 1 + 0.5 + 0.5 + 1}

    table.update_item(Key=KEY, UpdateExpression="SET launched = :yes", ExpressionAttributeValues={":yes": True})
    assert meter.taken() == {"calls": 1, "dynamodb.write_units": 2 + 2}
    assert meter.byte_days(NOW) == pytest.approx(2 * 10 * (1500 + 100), rel=0.1)
    assert meter.byte_days(NOW + 20 * 86_400) == 0

    table.delete_item(Key=KEY)
    assert meter.taken() == {"calls": 1, "dynamodb.write_units": 2 + 2}
    assert meter.byte_days(NOW) == 0


def test_batches_and_transactions_are_counted_by_their_items(watched: Watched) -> None:
    """A batch is one call with a write for each item; a transaction takes twice as much, also when it is refused."""
    meter, table = watched
    with table.batch_writer() as batch:
        for number in range(3):
            batch.put_item(Item={"pk": "page", "sk": f"{number}", "body": "x" * 1500})
    assert meter.taken() == {"calls": 1, "dynamodb.write_units": 3 * 2}
    put = {"TableName": table.name, "Item": {"pk": "page", "sk": "0"}, "ConditionExpression": "pk = :pk"}
    client = table.meta.client
    client.transact_write_items(TransactItems=[{"Put": {**put, "ExpressionAttributeValues": {":pk": "page"}}}])
    assert meter.taken() == {"calls": 1, "dynamodb.write_units": 2 * 2}
    with pytest.raises(ClientError):
        client.transact_write_items(TransactItems=[{"Put": {**put, "ExpressionAttributeValues": {":pk": "other"}}}])
    assert meter.taken() == {"calls": 1, "dynamodb.write_units": 2 * 1}


def test_a_call_that_isnt_known_is_told(watched: Watched) -> None:
    """What would be left out of the count is an error."""
    with pytest.raises(NotImplementedError, match="dynamodb Scan isn't counted yet"):
        watched.table.scan()


def test_whole_runs_are_counted(local_aws: LocalAws) -> None:
    """Every kind of run comes to its end, and what each of its functions asks of each service is in the counts."""
    put_secret(local_aws, "usage", "01OHIO_000", json.dumps({"api_key": "key-of-0"}))
    found = small_runs(local_aws, 1)
    for kind in KINDS:
        enumerator, worker = found[kind]["enumerator"], found[kind]["worker"]
        assert (enumerator["sqs.sends"], worker["messages"], worker["secretsmanager.calls"]) == (1, 1, 1)
        assert worker["events.entries"] == 2, "one for the institution run, one for the run"
        assert min(worker["dynamodb.write_units"], worker["dynamodb.read_units"], worker["log_lines"]) > 0
    assert found["purge"]["worker"]["s3.puts"] == 1
    assert "s3.puts" not in found["purge preview"]["worker"]
    for asked in ("tidy", "status", "announce"):
        assert found[asked]["operator"]["dynamodb.read_units"] > 0
    assert found["widgets"]["dashboard"]["dynamodb.read_units"] > 0


def test_objects_messages_and_mails_are_counted(local_aws: LocalAws, table_definition: dict[str, Any]) -> None:
    """Bytes of a text and of a file, what a notice goes to, and each recipient of a mail."""
    meter = Meter(table_definition, None, "unused")
    s3, sns, ses = (local_aws.client(service) for service in ("s3", "sns", "sesv2"))
    s3.create_bucket(Bucket="metered")
    topic = sns.create_topic(Name="metered")["TopicArn"]
    ses.create_email_identity(EmailIdentity="library@example.org")
    for client in (s3, sns, ses):
        meter.watch(client)
    s3.put_object(Bucket="metered", Key="text", Body=b"12345")
    with (ROOT / "Makefile").open("rb") as file:
        s3.put_object(Bucket="metered", Key="file", Body=file)
    s3.get_object(Bucket="metered", Key="text")
    s3.list_objects_v2(Bucket="metered")
    sns.publish(TopicArn=topic, Message="all clear")
    ses.send_email(
        FromEmailAddress="library@example.org",
        Destination={"ToAddresses": ["a@example.org", "b@example.org"]},
        Content={"Raw": {"Data": b"To: a@example.org\r\n\r\nhello"}},
    )
    assert meter.taken() == {
        "calls": 6,
        "s3.puts": 2,
        "s3.bytes": 5 + (ROOT / "Makefile").stat().st_size,
        "s3.gets": 1,
        "s3.lists": 1,
        "sns.messages": 1,
        "ses.mails": 2,
    }
    with pytest.raises(NotImplementedError, match="s3 HeadObject isn't counted yet"):
        s3.head_object(Bucket="metered", Key="text")
