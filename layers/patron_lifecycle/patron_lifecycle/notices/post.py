"""How notices leave: Amazon SES for mails to a library's contacts, Amazon SNS for the operators.

Neither knows a message that it was given before, so nothing here sends one again by itself.
"""

import unicodedata
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr
from typing import TYPE_CHECKING, NamedTuple, Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from patron_lifecycle.notices.words import Letter

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sns import SNSClient

_SENDER_NAME = "Alma patron lifecycle"
# A subject on one line, since some programs show none that begins on the next; and nothing but ASCII, as SES advises.
_MIME = SMTP.clone(max_line_length=500, cte_type="7bit")
_SNS_SUBJECT = 100  # characters, of ASCII
_SERVER_ERROR = 500
_NEVER_LEFT = (ConnectTimeoutError, EndpointConnectionError, NoCredentialsError, ParamValidationError)


class NotSent(Exception):
    """AWS has refused a notice, or it never got there: it has certainly not gone out. The text has no address."""


class Attachment(NamedTuple):
    """A report that a mail carries."""

    name: str
    html: str


class Post(Protocol):
    """How a mail leaves."""

    def mail(self, to: Sequence[str], letter: Letter, attachment: Attachment | None) -> None:
        """Send one mail to all these addresses. Raises `NotSent`; what else is raised leaves it unclear."""
        ...


class Operators(Protocol):
    """How the operators are told."""

    def tell(self, letter: Letter) -> None:
        """Tell them. Raises `NotSent`; what else is raised leaves it unclear."""
        ...


class SesPost:
    """Mails by Amazon SES, from one verified address."""

    def __init__(self, client: "SESV2Client", sender: str) -> None:
        self._client = client
        self._sender = sender

    def mail(self, to: Sequence[str], letter: Letter, attachment: Attachment | None) -> None:
        """See `Post`."""
        message = EmailMessage(_MIME)
        message["From"] = formataddr((_SENDER_NAME, self._sender))
        message["To"] = ", ".join(to)
        message["Subject"] = letter.subject
        message["Auto-Submitted"] = "auto-generated"  # so that no holiday notice is sent back
        message.set_content(letter.text)
        message.add_alternative(letter.html, subtype="html")
        if attachment is not None:
            message.add_attachment(attachment.html, subtype="html", filename=attachment.name)
        try:
            self._client.send_email(
                FromEmailAddress=self._sender,
                Destination={"ToAddresses": list(to)},
                Content={"Raw": {"Data": message.as_bytes()}},
            )
        except (ClientError, *_NEVER_LEFT) as error:
            raise _refused("SES", error) from error


class SnsOperators:
    """Notices to a topic of Amazon SNS."""

    def __init__(self, client: "SNSClient", topic: str) -> None:
        self._client = client
        self._topic = topic

    def tell(self, letter: Letter) -> None:
        """See `Operators`."""
        plain = unicodedata.normalize("NFKD", letter.subject).encode("ascii", "ignore").decode()
        subject = plain if len(plain) <= _SNS_SUBJECT else plain[: _SNS_SUBJECT - 3] + "..."
        try:
            self._client.publish(TopicArn=self._topic, Subject=subject.strip() or _SENDER_NAME, Message=letter.text)
        except (ClientError, *_NEVER_LEFT) as error:
            raise _refused("SNS", error) from error


def _refused(by: str, error: ClientError | BotoCoreError) -> Exception:
    """`NotSent` when the message was certainly not taken; the error itself when that isn't known."""
    if not isinstance(error, ClientError):
        return NotSent(f"a notice never left for {by}: {type(error).__name__}")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)
    return error if status >= _SERVER_ERROR else NotSent(f"{by} refuses a notice: {error.response['Error']['Code']}")
