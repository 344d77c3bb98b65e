"""The local AWS and the project's template on it, with small functions in the place of the real ones."""

import gzip
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sandbox.local_aws import LocalAws, LocalAwsError
from sandbox.sandbox import FUNCTIONS
from sandbox.stack import ROOT, DeploymentFailed, FunctionError, deploy, invoke, logs, put_secret

GROUPS = ("01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC")
PATIENCE = 60  # seconds until a test that waits gives up

# All functions run this. A message waits until every group's first message is being worked on, which happens
# only if groups run side by side; and it fails if another of its own group is being worked on.
FUNCTION = """
import gzip, json, os, time
import boto3

table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])


def lambda_handler(event, context):
    if "Records" in event:
        (record,) = event["Records"]
        return work(record["attributes"]["MessageGroupId"], json.loads(record["body"]))
    print("asked for", json.dumps(event))
    if "send" in event:
        for group, number, groups in event["send"]:
            boto3.client("sqs").send_message(
                QueueUrl=os.environ["QUEUE_URL"],
                MessageBody=json.dumps({"number": number, "groups": groups}),
                MessageGroupId=group,
                MessageDeduplicationId=f"{group}:{number}",
            )
    elif "read" in event:
        key = {"pk": "item", "sk": "item"}
        table.query(**of("item"))
        table.query(
            IndexName="open", KeyConditionExpression="open_pk = :pk", ExpressionAttributeValues={":pk": "item"}
        )
        return table.get_item(Key=key).get("Item")
    elif "write" in event:
        getattr(table, event["write"]["method"])(**event["write"]["with"])
    elif "secret" in event:
        return boto3.client("secretsmanager").get_secret_value(SecretId=event["secret"])["SecretString"]
    elif "put" in event:
        put = event["put"] | {"Body": gzip.compress(event["put"]["Body"].encode())}
        boto3.client("s3").put_object(**{"Bucket": os.environ.get("VAULT_BUCKET")} | put)
    elif "get" in event:
        boto3.client("s3").get_object(**event["get"])
    elif "tell" in event:
        entry = {"Source": os.environ["EVENT_SOURCE"]} | event["tell"]
        assert boto3.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    elif "divide_by" in event:
        return 1 / event["divide_by"]
    return {"environment": dict(os.environ), "pid": os.getpid(), "lambda": context.function_name}


def work(group, message):
    table.put_item(Item={"pk": "busy", "sk": group}, ConditionExpression="attribute_not_exists(pk)")
    table.put_item(Item={"pk": "met", "sk": group})
    while len(table.query(**of("met"))["Items"]) < message["groups"]:
        time.sleep(0.05)
    table.update_item(
        Key={"pk": "done", "sk": group},
        UpdateExpression="SET numbers = list_append(if_not_exists(numbers, :none), :one)",
        ExpressionAttributeValues={":none": [], ":one": [message["number"]]},
    )
    table.delete_item(Key={"pk": "busy", "sk": group})
    return {"batchItemFailures": []}


def of(pk):
    return {
        "KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": pk}, "ConsistentRead": True
    }
"""


class Deployed(NamedTuple):
    """A local AWS with the stack on it, and the stack's outputs."""

    aws: LocalAws
    outputs: dict[str, str]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's template with a function of the test's own for each of its functions."""
    root = tmp_path_factory.mktemp("project with blanks")
    shutil.copy(ROOT / "template.yaml", root)
    (root / "layers" / "patron_lifecycle").mkdir(parents=True)
    for name in FUNCTIONS:
        (root / "functions" / name).mkdir(parents=True)
        (root / "functions" / name / "app.py").write_text(FUNCTION)
    return root


@pytest.fixture(scope="module")
def deployed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A stack that was deployed by someone whose own environment is full of other AWS settings."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_PROFILE", "somebody")
        environment.setenv("AWS_SESSION_TOKEN", "somebody's")
        environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        environment.setenv("PYTHONPATH", "/somebody")
        aws = LocalAws.start(tmp_path_factory.mktemp("aws"))
        try:
            yield Deployed(aws, deploy(aws, root=project, parameters={"RetentionDays": "17"}, lanes=len(GROUPS)))
        finally:
            aws.stop()


def within_patience(ready: Any) -> bool:
    """Whether `ready` comes true in time."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def runs(pid: int) -> bool:
    """Whether a process is alive; one that nobody has waited for yet isn't."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_outputs_name_what_was_deployed(deployed: Deployed) -> None:
    """The outputs are those that callers rely on, and the secret prefix is the sandbox's own."""
    assert set(deployed.outputs) == {
        *("EnumeratorFunction", "WorkerFunction", "OperatorFunction", "ReporterFunction", "DashboardFunction"),
        *("DashboardName", "DashboardUrl", "ViewerPolicy", "ApproverPolicy", "LinkFunction", "LinkUrl"),
        *("TableName", "QueueUrl", "DeadLetterQueueUrl", "SecretPrefix", "VaultBucket", "ReportsBucket"),
    }
    assert deployed.outputs["SecretPrefix"] == "alma-patron-lifecycle/sandbox"


def test_function_sees_the_template_and_nothing_of_the_callers_environment(deployed: Deployed) -> None:
    """A function gets its variables from the template, its credentials from its role, its endpoint from here."""
    seen = invoke(deployed.aws, deployed.outputs["OperatorFunction"], {})["environment"]

    assert seen["TABLE_NAME"] == deployed.outputs["TableName"]
    assert seen["QUEUE_URL"] == deployed.outputs["QueueUrl"]
    assert (seen["RETENTION_DAYS"], seen["STALLED_AFTER_SECONDS"]) == ("17", "740")
    assert seen["AWS_ENDPOINT_URL"] == deployed.aws.endpoint
    assert seen["AWS_ACCESS_KEY_ID"] != "test"
    assert "somebody" not in json.dumps(seen)
    assert "AWS_PROFILE" not in seen


def test_function_error_carries_what_lambda_reports(deployed: Deployed) -> None:
    """An exception in a function arrives with its own type and text."""
    with pytest.raises(FunctionError) as raised:
        invoke(deployed.aws, deployed.outputs["OperatorFunction"], {"divide_by": 0})

    assert (raised.value.error_type, raised.value.error_message) == ("ZeroDivisionError", "division by zero")


def test_logs_hold_what_a_function_has_printed(deployed: Deployed) -> None:
    """What a function prints is found in the log group that the template gives it."""
    invoke(deployed.aws, deployed.outputs["OperatorFunction"], {"read_me": "later"})

    printed = 'asked for {"read_me": "later"}'
    assert within_patience(lambda: printed in logs(deployed.aws, deployed.outputs["OperatorFunction"]))
    (group,) = deployed.aws.client("logs").describe_log_groups(
        logGroupNamePrefix="/aws/lambda/alma-patron-lifecycle-sandbox/operator"
    )["logGroups"]
    assert group["retentionInDays"] == 90


def test_iam_is_enforced(deployed: Deployed) -> None:
    """Worker and operator read an institution's key, but no other secret; the enumerator reads none."""
    prefix = deployed.outputs["SecretPrefix"]
    put_secret(deployed.aws, prefix, "01OHIO_AAA", '{"api_key": "first"}')
    put_secret(deployed.aws, prefix, "01OHIO_AAA", '{"api_key": "second"}')
    put_secret(deployed.aws, "elsewhere", "01OHIO_AAA", '{"api_key": "secret"}')
    own, other = {"secret": f"{prefix}/01OHIO_AAA"}, {"secret": "elsewhere/01OHIO_AAA"}

    for function in ("WorkerFunction", "OperatorFunction"):
        assert invoke(deployed.aws, deployed.outputs[function], own) == '{"api_key": "second"}'
    for function, event in [("WorkerFunction", other), ("OperatorFunction", other), ("EnumeratorFunction", own)]:
        with pytest.raises(FunctionError, match="AccessDenied"):
            invoke(deployed.aws, deployed.outputs[function], event)


def test_groups_run_side_by_side_and_each_in_order(deployed: Deployed) -> None:
    """The queue drives the worker: all institutions at the same time, one message of each, in the order sent."""
    messages = [(group, number, len(GROUPS)) for number in range(3) for group in GROUPS]
    table = deployed.aws.resource("dynamodb").Table(deployed.outputs["TableName"])

    def done() -> dict[str, list[int]]:
        items = table.query(
            KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": "done"}, ConsistentRead=True
        )["Items"]
        return {item["sk"]: [int(number) for number in item["numbers"]] for item in items}

    invoke(deployed.aws, deployed.outputs["EnumeratorFunction"], {"send": messages})
    within_patience(lambda: sum(map(len, done().values())) == len(messages))

    assert done() == {group: [0, 1, 2] for group in GROUPS}


def test_schedules_of_runs_are_off(deployed: Deployed) -> None:
    """No schedule starts a run by itself here; the hourly tidy and the daily looks ahead and back stay."""
    schedules = deployed.aws.client("scheduler").list_schedules()["Schedules"]

    assert sorted(schedule["State"] for schedule in schedules) == ["DISABLED"] * 2 + ["ENABLED"] * 3


def test_purge_day_and_time_make_a_schedule(deployed: Deployed) -> None:
    """CloudFormation makes the cron expression of the day and the time, for the schedule and for the operator."""
    scheduler = deployed.aws.client("scheduler")
    names = [schedule["Name"] for schedule in scheduler.list_schedules()["Schedules"]]
    expressions = [scheduler.get_schedule(Name=name)["ScheduleExpression"] for name in names]
    told = invoke(deployed.aws, deployed.outputs["OperatorFunction"], {})["environment"]

    assert told["PURGE_SCHEDULE"] == "cron(0 5 1 * ? *)"
    daily = ("cron(0 9 * * ? *)", "cron(30 9 * * ? *)")
    assert sorted(expressions) == ["cron(0 3 ? * MON *)", "cron(0 5 1 * ? *)", *daily, "rate(1 hour)"]


def test_worker_alone_reaches_the_vault(deployed: Deployed) -> None:
    """What the worker puts there is encrypted and keeps its tag; it can get it again, and nobody else can."""
    vault, s3 = deployed.outputs["VaultBucket"], deployed.aws.client("s3")
    put = {"Key": "page.json.gz", "Body": '{"primary_id": "1"}', "Tagging": "vault_days=30", "ContentEncoding": "gzip"}
    invoke(deployed.aws, deployed.outputs["WorkerFunction"], {"put": put})

    kept = s3.get_object(Bucket=vault, Key="page.json.gz")
    assert gzip.decompress(kept["Body"].read()) == b'{"primary_id": "1"}'
    assert (kept["ServerSideEncryption"], kept["ContentEncoding"]) == ("aws:kms", "gzip")
    assert kept["VersionId"]
    tags = s3.get_object_tagging(Bucket=vault, Key="page.json.gz")["TagSet"]
    assert tags == [{"Key": "vault_days", "Value": "30"}]
    read, elsewhere = {"get": {"Bucket": vault, "Key": "page.json.gz"}}, {"put": put | {"Bucket": "artifacts"}}
    into_vault = {"put": put | {"Bucket": vault}}
    invoke(deployed.aws, deployed.outputs["WorkerFunction"], read)
    for function, event in [
        *(("WorkerFunction", elsewhere), ("OperatorFunction", read), ("EnumeratorFunction", read)),
        *(("OperatorFunction", into_vault), ("EnumeratorFunction", into_vault)),
    ]:
        with pytest.raises(FunctionError, match="AccessDenied"):
            invoke(deployed.aws, deployed.outputs[function], event)


KEY = {"pk": "item", "sk": "item"}


@pytest.mark.parametrize(
    "event",
    [
        {"write": {"method": "put_item", "with": {"Item": KEY}}},
        {"write": {"method": "delete_item", "with": {"Key": KEY}}},
        {"write": {"method": "update_item", "with": {"Key": KEY, "UpdateExpression": "REMOVE told"}}},
        {"write": {"method": "scan", "with": {}}},
        {"send": [["01OHIO_AAA", 0, 1]]},
        {"secret": "alma-patron-lifecycle/sandbox/01OHIO_AAA"},
    ],
    ids=json.dumps,
)
def test_the_dashboard_function_can_only_read(deployed: Deployed, event: dict[str, Any]) -> None:
    """It gets and queries the table and its indexes; it writes nothing, sends nothing, and reads no key."""
    put_secret(deployed.aws, deployed.outputs["SecretPrefix"], "01OHIO_AAA", '{"api_key": "second"}')
    dashboard = deployed.outputs["DashboardFunction"]
    invoke(deployed.aws, deployed.outputs["WorkerFunction"], {"write": {"method": "put_item", "with": {"Item": KEY}}})
    assert invoke(deployed.aws, dashboard, {"read": True}) == KEY
    with pytest.raises(FunctionError, match="AccessDenied"):
        invoke(deployed.aws, dashboard, event)


def test_vault_forgets_by_tag(deployed: Deployed) -> None:
    """The vault's lifecycle has a rule for each time that a record may be kept, and is closed to the public."""
    vault, s3 = deployed.outputs["VaultBucket"], deployed.aws.client("s3")

    rules = s3.get_bucket_lifecycle_configuration(Bucket=vault)["Rules"]

    kept = {rule["Filter"]["Tag"]["Value"]: rule["Expiration"]["Days"] for rule in rules if "Tag" in rule["Filter"]}
    assert kept == {"7": 7, "14": 14, "30": 30, "60": 60, "90": 90}
    others = [rule["Expiration"] for rule in rules if "Tag" not in rule["Filter"]]
    assert others == [{"Days": 90}, {"ExpiredObjectDeleteMarker": True}]
    assert all(rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1} for rule in rules)
    assert s3.get_bucket_versioning(Bucket=vault)["Status"] == "Enabled"
    closed = s3.get_public_access_block(Bucket=vault)["PublicAccessBlockConfiguration"]
    assert len(closed) == 4
    assert all(closed.values())


def test_what_settles_starts_the_reporter(deployed: Deployed) -> None:
    """Whichever function puts the event; not what goes on, and not another stage's."""
    detail = json.dumps({"run_id": "run-1", "institution": "01OHIO_AAA"})
    held = {"tell": {"DetailType": "Institution run held", "Detail": detail}}
    finished = {"tell": {"DetailType": "Run finished", "Detail": json.dumps({"run_id": "run-1"})}}
    elsewhere = {"tell": held["tell"] | {"Source": "alma-patron-lifecycle.other"}}
    going_on = {"tell": held["tell"] | {"DetailType": "Institution run processing"}}
    for function, event in [
        ("WorkerFunction", elsewhere),
        ("WorkerFunction", going_on),
        ("WorkerFunction", held),
        ("EnumeratorFunction", finished),
        ("OperatorFunction", finished),
    ]:
        invoke(deployed.aws, deployed.outputs[function], event)

    def heard() -> list[str]:
        lines = logs(deployed.aws, deployed.outputs["ReporterFunction"])
        events = [json.loads(line.partition("asked for ")[2]) for line in lines if "asked for " in line]
        assert all(event["source"] == "alma-patron-lifecycle.sandbox" for event in events)
        return sorted(event["detail-type"] for event in events)

    assert within_patience(lambda: len(heard()) >= 3)
    assert heard() == ["Institution run held", "Run finished", "Run finished"]


def test_template_refused_says_why(deployed: Deployed, project: Path, tmp_path: Path) -> None:
    """A deployment that can't be made names what is wrong with it."""
    aws = LocalAws.start(tmp_path)
    try:
        with pytest.raises(DeploymentFailed, match="WorkerTimeout"):
            deploy(aws, root=project, parameters={"WorkerTimeout": "7"})
    finally:
        aws.stop()


def test_two_run_side_by_side_until_stopped(
    deployed: Deployed, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second local AWS shares nothing with the first, is found again by its folder, and ends with its functions."""
    monkeypatch.chdir(tmp_path)
    folder = Path("sandbox")
    LocalAws.start(folder)
    aws = LocalAws.attach(folder)
    try:
        outputs = deploy(aws, root=project, lanes=1)
        with pytest.raises(LocalAwsError, match="already"):
            LocalAws.start(folder)
        pid = invoke(aws, outputs["OperatorFunction"], {})["pid"]
        put_secret(deployed.aws, deployed.outputs["SecretPrefix"], "01OHIO_DDD", '{"api_key": "of the first"}')
        with pytest.raises(FunctionError, match="ResourceNotFound"):
            invoke(aws, outputs["WorkerFunction"], {"secret": f"{outputs['SecretPrefix']}/01OHIO_DDD"})
        assert runs(pid)
    finally:
        aws.stop()

    assert within_patience(lambda: not runs(pid))
    assert [file.name for file in folder.iterdir()] == ["aws.log"]
    with pytest.raises(LocalAwsError, match="no local AWS runs"):
        LocalAws.attach(folder)
    assert invoke(deployed.aws, deployed.outputs["OperatorFunction"], {})["lambda"]


def test_start_that_fails_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local AWS that doesn't come up leaves nothing running, and the error shows the log and the end of it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr("sandbox.local_aws._free_port", lambda: taken.getsockname()[1])
        with pytest.raises(LocalAwsError, match=r"(?s)ended with 1; see .*aws\.log.*already in use"):
            LocalAws.start(tmp_path)

    with pytest.raises(LocalAwsError, match="no local AWS runs"):
        LocalAws.attach(tmp_path)


def test_file_left_by_a_crash_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    """A state file whose process is gone is no local AWS, even where the process id is another program's by now."""
    state = {"pid": os.getpid(), "port": 9, "secret_key": "old"}
    (tmp_path / "aws.json").write_text(json.dumps(state))

    with pytest.raises(LocalAwsError, match="no local AWS runs"):
        LocalAws.attach(tmp_path)
