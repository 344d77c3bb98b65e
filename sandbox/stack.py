"""The project's own template.yaml, deployed to a local AWS by CloudFormation, and what one does with it.

What is changed on the way, template.yaml itself staying as it is:

- Lambda's own Python isn't here. Each function runs as a custom runtime: AWS's runtime client, `awslambdaric`, in the
  Python that runs this. The layer isn't built; the package is imported from the source, its dependencies from here.
- The emulator serves a FIFO queue's mapping one message at a time, while Lambda takes one message of every group. The
  worker therefore gets several mappings, `lanes`, each of which serves one institution at a time. Order inside a group
  is the queue's doing and holds.
- The emulator asks for a permission `sqs:SendMessageBatch`, which AWS doesn't have: whoever may send a message may
  send a batch.
- The schedules of both actions are off: the emulator doesn't fill in `<aws.scheduler.scheduled-time>`, so that every
  week, and every month, would ask for the same run.
- The worker may make schedules of any group, so long as their names are those of a pause: the emulator takes every
  schedule for one of the group `default` when it looks whether one may make it. It does make it in its own group,
  starts what it is for within ten seconds of its time, and deletes it then, as AWS does; it tries no start again.
- The vault and the reports bucket take plain HTTP, which is all there is here. Their encryption and lifecycles are set
  after the deployment, since the emulator's CloudFormation leaves them out. Nothing ends by itself, and nothing is
  really encrypted.
- Mails go nowhere: Amazon SES here takes them all, and `python -m sandbox mail` shows them.
- Whoever may put an event may put it with any source, and whoever may send a mail may send it from any address: the
  emulator knows neither the condition `events:source` nor `ses:FromAddress`, and no identity that a mail is sent from.
- No alarm ever comes: the emulator doesn't make metrics of what the functions log. Nor does it take alarms on several
  metrics: such an alarm is there with the first of them alone.
- The saved queries of the logs are left out: the emulator's CloudFormation doesn't know them.
"""

import io
import json
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from sandbox.local_aws import LocalAws

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient

ROOT = Path(__file__).parents[1]
STACK = "alma-patron-lifecycle-sandbox"
LOCAL_PARAMETERS = {
    "Stage": "sandbox",
    "WorkerTimeout": "20",
    "DeactivateScheduleState": "DISABLED",
    "PurgeScheduleState": "DISABLED",
    "NoticeSender": "notices@consortium.example.edu",
}
_BUCKET = "artifacts"
_RESUME_SCHEDULES = "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule/default/resume-*"
_LEFT_OUT = {"AWS::Serverless::LayerVersion", "AWS::S3::BucketPolicy", "AWS::Logs::QueryDefinition"}
_DEPLOY_SECONDS = 120


class DeploymentFailed(Exception):
    """CloudFormation gave up; says which resources and why."""


class FunctionError(Exception):
    """A function raised; `error_type` and `error_message` are as Lambda reports them."""

    def __init__(self, function_name: str, error_type: str, error_message: str) -> None:
        super().__init__(f"{function_name} raised {error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message


def deploy(
    aws: LocalAws, *, parameters: Mapping[str, str] | None = None, root: Path = ROOT, lanes: int = 8
) -> dict[str, str]:
    """Deploy `root`/template.yaml and return the stack's outputs by name. Raises `DeploymentFailed`.

    `parameters` are the template's, over `LOCAL_PARAMETERS`; `lanes` is how many institutions are worked on at a time.
    """
    template = _localised(aws, root)
    cloudformation: CloudFormationClient = aws.client("cloudformation")
    defaults = {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()}
    chosen = defaults | LOCAL_PARAMETERS | dict(parameters or {})
    try:
        cloudformation.create_stack(
            StackName=STACK,
            TemplateURL=_uploaded(aws, template),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in chosen.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
    except ClientError as refusal:
        raise DeploymentFailed(f"{STACK} can't be created: {refusal}") from refusal
    outputs = _await_outputs(cloudformation)
    _add_lanes(aws.client("lambda"), outputs["WorkerFunction"], lanes)
    for bucket in ("VaultBucket", "ReportsBucket"):
        _set_up_bucket(aws.client("s3"), outputs[bucket], template["Resources"][bucket]["Properties"], chosen)
    if chosen["NoticeSender"]:
        aws.client("sesv2").create_email_identity(EmailIdentity=chosen["NoticeSender"])
    return outputs


def put_secret(aws: LocalAws, prefix: str, code: str, content: str) -> None:
    """Store an institution's secret, `{"api_key": "…"}` as a rule, or replace it."""
    secrets_manager: SecretsManagerClient = aws.client("secretsmanager")
    name = f"{prefix}/{code}"
    try:
        secrets_manager.create_secret(Name=name, SecretString=content)
    except secrets_manager.exceptions.ResourceExistsException:
        secrets_manager.put_secret_value(SecretId=name, SecretString=content)


def invoke(aws: LocalAws, function_name: str, event: object) -> Any:
    """Call a function and wait for its answer, parsed. Raises `FunctionError`."""
    functions: LambdaClient = aws.client("lambda")
    reply = functions.invoke(FunctionName=function_name, Payload=json.dumps(event))
    answer = json.load(reply["Payload"])
    if "FunctionError" in reply:
        raise FunctionError(function_name, answer.get("errorType", "unknown"), answer.get("errorMessage", "unknown"))
    return answer


def logs(aws: LocalAws, function_name: str) -> list[str]:
    """The lines that a function's finished invocations have logged; empty before the first."""
    functions: LambdaClient = aws.client("lambda")
    group = functions.get_function_configuration(FunctionName=function_name)["LoggingConfig"]["LogGroup"]
    watch: CloudWatchLogsClient = aws.client("logs")
    pages = watch.get_paginator("filter_log_events").paginate(logGroupName=group)
    return [event["message"] for page in pages for event in page["events"]]


def _localised(aws: LocalAws, root: Path) -> dict[str, Any]:
    template: dict[str, Any] = yaml_parse((root / "template.yaml").read_text(encoding="utf-8"))
    shared = template["Globals"]["Function"]
    shared["Runtime"] = "provided.al2023"
    del shared["Layers"], shared["Architectures"]
    template["Resources"] = {
        name: resource for name, resource in template["Resources"].items() if resource["Type"] not in _LEFT_OUT
    }
    s3: S3Client = aws.client("s3")
    s3.create_bucket(Bucket=_BUCKET)
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            properties = resource["Properties"]
            s3.put_object(Bucket=_BUCKET, Key=f"{name}.zip", Body=_package(root, properties["CodeUri"]))
            properties["CodeUri"] = {"Bucket": _BUCKET, "Key": f"{name}.zip"}
            for statement in (one for policy in properties["Policies"] for one in policy["Statement"]):
                _localise_statement(statement.get("Fn::If", [None, statement])[1])
        elif resource["Type"] == "AWS::CloudWatch::Alarm":
            _localise_alarm(resource["Properties"])
    return template


def _localise_alarm(alarm: dict[str, Any]) -> None:
    if metrics := alarm.pop("Metrics", None):
        first = next(metric["MetricStat"] for metric in metrics if "MetricStat" in metric)
        alarm.update(first["Metric"], Statistic=first["Stat"], Period=first["Period"])


def _localise_statement(statement: dict[str, Any]) -> None:
    if statement["Action"] == "sqs:SendMessage":
        statement["Action"] = ["sqs:SendMessage", "sqs:SendMessageBatch"]
    elif statement["Action"] == "scheduler:CreateSchedule":
        statement["Resource"] = {"Fn::Sub": _RESUME_SCHEDULES}
    elif statement["Sid"] in ("Events", "Mails"):
        del statement["Condition"]
    if statement["Sid"] == "Mails":
        statement["Resource"] = "*"


def _uploaded(aws: LocalAws, template: dict[str, Any]) -> str:
    """The URL of the template in a bucket, as `sam deploy` does it: it is too long for a request."""
    s3: S3Client = aws.client("s3")
    s3.put_object(Bucket=_BUCKET, Key="template.json", Body=json.dumps(template).encode())
    return f"{aws.endpoint}/{_BUCKET}/template.json"


def _package(root: Path, code: str) -> bytes:
    layer = quote(str(root / "layers" / "patron_lifecycle"))
    bootstrap = zipfile.ZipInfo("bootstrap")
    bootstrap.external_attr = 0o755 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            bootstrap,
            f'#!/bin/sh\nexport PYTHONPATH="$LAMBDA_TASK_ROOT":{layer}\n'
            f'exec {quote(sys.executable)} -m awslambdaric "$_HANDLER"\n',
        )
        for file in sorted((root / code).rglob("*.py")):
            archive.write(file, file.relative_to(root / code))
    return packed.getvalue()


def _await_outputs(cloudformation: "CloudFormationClient") -> dict[str, str]:
    deadline = time.monotonic() + _DEPLOY_SECONDS
    while (stack := cloudformation.describe_stacks(StackName=STACK)["Stacks"][0])["StackStatus"].endswith("_PROGRESS"):
        if time.monotonic() > deadline:
            raise DeploymentFailed(f"{STACK} is not deployed after {_DEPLOY_SECONDS} s: {stack['StackStatus']}")
        time.sleep(0.1)
    if stack["StackStatus"] != "CREATE_COMPLETE":
        events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        failed = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED")
        ]
        reasons = "; ".join(failed) or stack.get("StackStatusReason", "no reason given")
        raise DeploymentFailed(f"{STACK} ends as {stack['StackStatus']}: {reasons}")
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _add_lanes(functions: "LambdaClient", worker: str, lanes: int) -> None:
    (mapping,) = functions.list_event_source_mappings(FunctionName=worker)["EventSourceMappings"]
    for _ in range(lanes - 1):
        functions.create_event_source_mapping(
            FunctionName=worker,
            EventSourceArn=mapping["EventSourceArn"],
            BatchSize=mapping["BatchSize"],
            FunctionResponseTypes=mapping["FunctionResponseTypes"],
        )


def _set_up_bucket(s3: "S3Client", bucket: str, properties: dict[str, Any], parameters: Mapping[str, str]) -> None:
    """Do what the emulator leaves out of a bucket's properties. S3 itself names some of them otherwise."""
    (encryption,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": encryption["ServerSideEncryptionByDefault"],
                    "BucketKeyEnabled": encryption["BucketKeyEnabled"],
                }
            ]
        },
    )
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=properties["OwnershipControls"])
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [_s3_rule(rule, parameters) for rule in properties["LifecycleConfiguration"]["Rules"]]
        },
    )


def _s3_rule(rule: dict[str, Any], parameters: Mapping[str, str]) -> Any:
    """A lifecycle rule of CloudFormation's as S3 takes it."""
    same = ("Status", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    days, marker = rule.get("ExpirationInDays"), rule.get("ExpiredObjectDeleteMarker")
    if isinstance(days, dict):
        days = int(parameters[days["Ref"]])
    ends = {"Days": days} if days else {"ExpiredObjectDeleteMarker": marker} if marker else None
    return {name: rule[name] for name in same if name in rule} | {
        "ID": rule["Id"],
        "Filter": {"Tag": rule["TagFilters"][0]} if "TagFilters" in rule else {"Prefix": rule.get("Prefix", "")},
        **({"Expiration": ends} if ends else {}),
    }
