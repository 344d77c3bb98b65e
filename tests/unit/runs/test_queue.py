"""The queue that drives the workers, as it talks to SQS."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.stub import Stubber

from patron_lifecycle.runs.model import WorkMessage
from patron_lifecycle.runs.queue import SendFailed, SqsQueue

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SERVICE = "sqs"
URL = "https://sqs.us-east-2.amazonaws.com/123456789012/work.fifo"


def message(number: int) -> WorkMessage:
    """A message of the institution of that number."""
    return WorkMessage(run_id="deactivate-1", institution=f"01OHIO_{number:03}", seq=number)


def entry(place: int, number: int) -> dict[str, Any]:
    """What SQS is to be given for it."""
    code = f"01OHIO_{number:03}"
    return {
        "Id": str(place),
        "MessageBody": json.dumps(
            {"run_id": "deactivate-1", "institution": code, "seq": number}, separators=(",", ":")
        ),
        "MessageGroupId": code,
        "MessageDeduplicationId": f"deactivate-1:{code}:{number}",
    }


def expect(stub: Stubber, numbers: range, failed: int = 0) -> None:
    """Let SQS expect one batch and refuse the last `failed` of it."""
    entries = [entry(place, number) for place, number in enumerate(numbers)]
    taken, refused = entries[: len(entries) - failed], entries[len(entries) - failed :]
    stub.add_response(
        "send_message_batch",
        {
            "Successful": [{"Id": one["Id"], "MessageId": "m", "MD5OfMessageBody": "0"} for one in taken],
            "Failed": [{"Id": one["Id"], "SenderFault": False, "Code": "InternalError"} for one in refused],
        },
        {"QueueUrl": URL, "Entries": entries},
    )


def test_messages_are_sent_in_batches_each_in_the_group_of_its_institution(client: "SQSClient", stub: Stubber) -> None:
    """Ten at a time; the group is the institution, and run, institution and seq make a repeat known as one."""
    expect(stub, range(10))
    expect(stub, range(10, 12))
    SqsQueue(client, URL).send(message(number) for number in range(12))


def test_nothing_to_send_is_no_call(client: "SQSClient", stub: Stubber) -> None:
    """SQS refuses empty batches, so none is sent."""
    SqsQueue(client, URL).send([])


def test_a_message_that_was_not_taken_is_an_error(client: "SQSClient", stub: Stubber) -> None:
    """A batch that SQS took in part is no success."""
    expect(stub, range(3), failed=2)
    with pytest.raises(SendFailed, match="SQS refused 2 of 3 messages: InternalError"):
        SqsQueue(client, URL).send(message(number) for number in range(3))
