"""The dead-letter queue of the work queue: messages that were given out as often as they may, each time in vain."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10  # messages a ReceiveMessage may give
LOOKED_AT_SECONDS = 120  # so long nobody else is given a message that was read: enough to deal with a batch
_WAIT_SECONDS = 1  # a long poll asks all of SQS's servers, a short one some of them


class DeadLetter(NamedTuple):
    """A message as it lies there. `received` is how often SQS has given it out; `receipt` is what deletes it."""

    message_id: str
    body: str
    received: int
    receipt: str


class DeadLetters(Protocol):
    """The dead-letter queue."""

    def read(self) -> Iterator[DeadLetter]:
        """All messages, each once and not deleted; those that are put there meanwhile, maybe.

        A message that isn't deleted keeps back the later ones of its group, for two minutes.
        """
        ...

    def delete(self, letter: DeadLetter) -> None:
        """Delete a message. It may have been deleted before."""
        ...


class SqsDeadLetters:
    """An SQS FIFO queue. Its messages are received and deleted: a move by SQS itself couldn't tell what it moves."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def read(self) -> Iterator[DeadLetter]:
        """See `DeadLetters`."""
        known: set[str] = set()
        while True:
            reply = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=BATCH,
                VisibilityTimeout=LOOKED_AT_SECONDS,
                WaitTimeSeconds=_WAIT_SECONDS,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            found = [
                DeadLetter(
                    message_id=message["MessageId"],
                    body=message["Body"],
                    received=int(message.get("Attributes", {}).get("ApproximateReceiveCount", "0")),
                    receipt=message["ReceiptHandle"],
                )
                for message in reply.get("Messages", [])
                if message["MessageId"] not in known
            ]
            if not found:
                return
            known.update(letter.message_id for letter in found)
            yield from found

    def delete(self, letter: DeadLetter) -> None:
        """See `DeadLetters`."""
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt)
