"""The operator function of a deployed stack, asked by whoever's credentials boto3 finds.

Which AWS it is, boto3's own configuration decides and nothing else: AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL
and so on.
"""

import json
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own, for an AWS that can't be reached
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSOError,
)

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

MAX_EVENT_BYTES = 6 * 1024 * 1024  # of an event that a function is invoked with and waited for
_OUTPUT = "OperatorFunction"
_ONCE = Config(read_timeout=330, retries={"total_max_attempts": 1}, tcp_keepalive=True)  # it has 300 s to answer in
_STALE = ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException")
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


class NotAnswered(Exception):
    """The operator couldn't be asked, or gave no answer. The text says why, and what to do.

    `nothing_done` tells that it certainly has done nothing.
    """

    def __init__(self, told: str, *, nothing_done: bool = True) -> None:
        super().__init__(told)
        self.nothing_done = nothing_done


class Operator:
    """The operator function of one stack."""

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name

    @classmethod
    def of_stack(cls, stack: str) -> "Operator":
        """The one that the stack's outputs name. Raises `NotAnswered`."""
        try:
            (found,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        except (BotoCoreError, ClientError) as error:
            raise NotAnswered(_of_stack(error, stack)) from None
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
        if _OUTPUT not in outputs:
            raise NotAnswered(
                f"the stack {stack} has no output {_OUTPUT}: it is none of this project, or not deployed to the end"
            )
        return cls(outputs[_OUTPUT])

    def ask(self, event: dict[str, Any]) -> Any:
        """Send it an event, once, and give its answer, parsed. Raises `NotAnswered`."""
        payload = json.dumps(event, ensure_ascii=False).encode()
        if len(payload) > MAX_EVENT_BYTES:
            raise NotAnswered(f"the event has {len(payload):,} bytes, and Lambda takes {MAX_EVENT_BYTES:,} at most")
        try:
            functions: LambdaClient = boto3.client("lambda", config=_ONCE)
            reply = functions.invoke(FunctionName=self._function_name, Payload=payload)
            answer = json.load(reply["Payload"])
        except ReadTimeoutError:
            raise NotAnswered("the operator gave no answer in time: look at its log", nothing_done=False) from None
        except (BotoCoreError, ClientError) as error:
            raise NotAnswered(self._trouble(error)) from None
        if "FunctionError" in reply:
            kind, message = answer.get("errorType", "an error"), answer.get("errorMessage", "without a word")
            refused = kind in ("InvalidEvent", "RegistryError")  # before it has begun
            raise NotAnswered(f"the operator raised {kind}: {message}", nothing_done=refused)
        return answer

    def _trouble(self, error: BotoCoreError | ClientError) -> str:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ResourceNotFoundException":
            return f"the function {self._function_name}, which the stack names, isn't there: deploy the stack anew"
        return _in_words(error, "lambda:InvokeFunction on the operator")


def _of_stack(error: BotoCoreError | ClientError, stack: str) -> str:
    if isinstance(error, ClientError) and "does not exist" in error.response["Error"].get("Message", ""):
        return (
            f"there is no stack {stack} in this account and region: correct the name, as samconfig.toml has it, or "
            "AWS_PROFILE and AWS_DEFAULT_REGION"
        )
    return _in_words(error, "cloudformation:DescribeStacks")


def _in_words(error: BotoCoreError | ClientError, right: str) -> str:
    """What went wrong and how to mend it; `right` is what the credentials have to allow."""
    match error:
        case NoCredentialsError() | PartialCredentialsError() | CredentialRetrievalError():
            return "there are no AWS credentials here: log in, or set AWS_PROFILE to a profile that has some"
        case SSOError():
            return f"the AWS login has run out ({error}): log in again, by aws sso login"
        case NoRegionError():
            return "no AWS region is set: set AWS_DEFAULT_REGION to that of the stack"
        case ConnectionError():
            return f"AWS can't be reached ({error}): look at the network, and at AWS_ENDPOINT_URL if it is set"
        case ClientError():
            code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
            if code in _STALE:
                return f"AWS doesn't take these credentials ({code}): log in again, or choose others by AWS_PROFILE"
            if code in _DENIED:
                return f"these credentials may not do it ({code}): they need {right}"
            return f"AWS answered {code}: {message}"
        case _:
            return f"AWS can't be asked: {error}"
