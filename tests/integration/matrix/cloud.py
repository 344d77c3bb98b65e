"""The project's handlers in this process, on emulated AWS, each of whose calls may be made to go wrong."""

import importlib.util
import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.httpsession import URLLib3Session

from sandbox.local_aws import LocalAws
from sandbox.stack import ROOT
from tests.workbench import STALLED_AFTER

MAX_RECEIVES = 6  # as template.yaml has it; see test_the_queue_is_as_the_template_makes_it
EVENT_SOURCE = "alma-patron-lifecycle.matrix"
PREFIX = "alma-patron-lifecycle/matrix"
_ACCOUNT = "000000000000"


class Call(NamedTuple):
    """One call to AWS: service and operation as `dynamodb.PutItem`, and the body as it was to be sent."""

    name: str
    body: bytes


Answer = Callable[[Call, Callable[[], AWSResponse]], AWSResponse]
"""What is answered to a call instead; the second argument carries it out. May raise, as a lost answer does."""


class _Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """What botocore reads a body by."""
        yield self.read()


def reply(status: int, content: Mapping[str, Any], code: str = "") -> AWSResponse:
    """A reply of AWS with a JSON body."""
    return _reply(status, json.dumps(content).encode(), {"x-amzn-ErrorType": code} if code else {})


def _reply(status: int, body: bytes, headers: Mapping[str, str]) -> AWSResponse:
    told = HTTPHeaders()
    for name, value in {"x-amzn-requestid": str(uuid.uuid4()), **headers}.items():
        told[name] = value
    return AWSResponse("http://aws.test", status, told, _Body(body))


def refused(code: str, status: int = 400, **more: Any) -> Answer:
    """AWS refuses the call, in the words of whichever service it is."""

    def answer(call: Call, carry_out: Callable[[], AWSResponse]) -> AWSResponse:
        if call.name.startswith("s3."):
            return _reply(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), {})
        return reply(status, {"__type": code, "message": "no", **more}, code)

    return answer


def lost(error: Exception) -> Answer:
    """AWS carries the call out, and the answer is lost."""

    def answer(call: Call, carry_out: Callable[[], AWSResponse]) -> AWSResponse:
        assert carry_out().status_code == 200
        raise error

    return answer


@dataclass
class AwsFault:
    """What becomes of `times` calls of an operation, after the first `spared`: those whose body holds `about` alone."""

    name: str
    answer: Answer
    times: int = 1
    spared: int = 0
    about: bytes = b""
    met: int = field(default=0, init=False)

    def takes(self, call: Call) -> bool:
        """Whether it is for this call; it counts those that it takes."""
        if not call.name.startswith(self.name) or self.about not in call.body:
            return False
        if self.spared:
            self.spared -= 1
            return False
        if self.met >= self.times:
            return False
        self.met += 1
        return True


class Cloud:
    """Handlers that are loaded once, with clients of their own, and the table and the queues that they go by.

    `before_call` is told of each call of theirs, and may end the process; `faults` are asked about it, in order; who
    is spared by all of them goes on to `let_through`.
    """

    def __init__(self, aws: LocalAws, table_definition: Mapping[str, Any]) -> None:
        self.aws = aws
        self.name = f"matrix-{uuid.uuid4()}"
        self.faults: list[AwsFault] = []
        self.before_call: Callable[[Call], None] = lambda call: None
        self.let_through: Callable[[Call], None] = lambda call: None
        self.sqs = aws.client("sqs")
        self.s3 = aws.client("s3")
        self.secrets = aws.client("secretsmanager")
        self.scheduler = aws.client("scheduler")
        self._dynamodb = aws.resource("dynamodb")
        self._table_definition = table_definition
        self._http = URLLib3Session()
        self.s3.create_bucket(Bucket=self.name)
        self.scheduler.create_schedule_group(Name=self.name)
        self.renew()
        self.session = boto3.Session(region_name=aws.environment["AWS_DEFAULT_REGION"])
        self.session.events.register("before-send", self._send)  # type: ignore[arg-type] # its answer counts
        with pytest.MonkeyPatch.context() as patch:
            self.enter(patch)
            for name, value in self.settings.items():
                patch.setenv(name, value)
            self.enumerator, self.worker, self.operator = map(_loaded, ("enumerator", "worker", "operator"))

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Let boto3 make clients of this cloud, whose retries take no time."""
        patch.setattr(boto3, "DEFAULT_SESSION", self.session)
        patch.setattr("botocore.endpoint.time", _NoTime)
        for name, value in self.aws.environment.items():
            patch.setenv(name, value)

    def renew(self) -> None:
        """An empty table, and empty queues."""
        self.table = self._dynamodb.create_table(TableName=self.name, **self._table_definition)
        self.dead_url = self._create_queue(f"{self.name}-dead.fifo")
        arn = self.sqs.get_queue_attributes(QueueUrl=self.dead_url, AttributeNames=["QueueArn"])["Attributes"]
        policy = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
        self.queue_url = self._create_queue(f"{self.name}.fifo", RedrivePolicy=json.dumps(policy))

    def put_key(self, code: str, key: str) -> None:
        """Store an institution's API key, or replace it."""
        name, content = f"{PREFIX}/{code}", json.dumps({"api_key": key})
        try:
            self.secrets.put_secret_value(SecretId=name, SecretString=content)
        except self.secrets.exceptions.ResourceNotFoundException:
            self.secrets.create_secret(Name=name, SecretString=content)

    def clear(self) -> None:
        """Remove table and queues, and let nothing go wrong any more."""
        self.faults.clear()
        self.before_call = self.let_through = lambda call: None
        self.table.delete()
        for url in (self.queue_url, self.dead_url):
            self.sqs.delete_queue(QueueUrl=url)

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables of the handlers, as template.yaml gives them."""
        function = f"arn:aws:lambda:us-east-1:{_ACCOUNT}:function:operator"
        return {
            "TABLE_NAME": self.name,
            "QUEUE_URL": self.queue_url,
            "DEAD_LETTER_QUEUE_URL": self.dead_url,
            "SECRET_PREFIX": PREFIX,
            "ALMA_BASE_URL": "https://alma.example.edu",
            "EVENT_SOURCE": EVENT_SOURCE,
            "RETENTION_DAYS": "400",
            "VAULT_BUCKET": self.name,
            "REPORTS_BUCKET": self.name,
            "STALLED_AFTER_SECONDS": str(int(STALLED_AFTER.total_seconds())),
            "OPERATOR_FUNCTION_ARN": function,
            "RESUME_SCHEDULE_GROUP": self.name,
            "RESUME_ROLE_ARN": f"arn:aws:iam::{_ACCOUNT}:role/resume",
            "SCHEDULE_DEAD_LETTER_ARN": f"arn:aws:sqs:us-east-1:{_ACCOUNT}:schedules",
        }

    def _create_queue(self, name: str, **more: str) -> str:
        url: str = self.sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true", **more})["QueueUrl"]
        return url

    def _send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse | None:
        """What botocore asks before it sends a request: None lets it."""
        body = request.body or b""
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else b""
        call = Call(event_name.removeprefix("before-send."), body)
        self.before_call(call)
        for fault in self.faults:
            if fault.takes(call):
                return fault.answer(call, lambda: self._http.send(request))
        self.let_through(call)
        return None


class _NoTime:
    """The time module as botocore's retries see it: they go by their own count, and nobody waits."""

    @staticmethod
    def sleep(seconds: float) -> None:
        """Don't."""


def _loaded(function: str) -> ModuleType:
    """A handler's module, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"matrix_{function}", ROOT / "functions" / function / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
