"""The queue that drives the workers: one message group per institution, so one worker at a time for each."""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from patron_lifecycle.runs.model import WorkMessage

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10  # messages a SendMessageBatch may have


class SendFailed(Exception):
    """SQS didn't take every message; sending all of them again is safe."""


class Queue(Protocol):
    """Where messages for workers go. Sending one twice is harmless: the second is dropped, by SQS or by its seq."""

    def send(self, messages: Iterable[WorkMessage]) -> None:
        """Send all messages. Raises `SendFailed` when some were not taken."""
        ...


class SqsQueue:
    """An SQS FIFO queue; the deduplication id is `run:institution:seq`."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def send(self, messages: Iterable[WorkMessage]) -> None:
        """See `Queue`."""
        rest = iter(messages)
        while batch := list(islice(rest, BATCH)):
            reply = self._client.send_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(number),
                        "MessageBody": message.model_dump_json(),
                        "MessageGroupId": message.institution,
                        "MessageDeduplicationId": f"{message.run_id}:{message.institution}:{message.seq}",
                    }
                    for number, message in enumerate(batch)
                ],
            )
            if failed := reply.get("Failed"):
                raise SendFailed(f"SQS refused {len(failed)} of {len(batch)} messages: {failed[0].get('Code')}")
