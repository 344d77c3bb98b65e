"""What Amazon SES says of the account and of the sender: whether mails to libraries would arrive."""

from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

NO_SENDER = "no NoticeSender is set in the template's parameters"
SANDBOX = (
    "Amazon SES has the account in its sandbox, where mails reach verified addresses alone: request production access "
    "in the SES console, or verify each contact there"
)


class MailAccount(Protocol):
    """What mails are sent with."""

    def trouble(self) -> str:
        """Why mails would not arrive, and what to do; empty when they would."""
        ...


class SesAccount:
    """An account's Amazon SES, in the region of the stack, and the address that mails come from."""

    def __init__(self, client: "SESV2Client", sender: str) -> None:
        self._client = client
        self._sender = sender

    def trouble(self) -> str:
        """See `MailAccount`."""
        if not self._sender:
            return NO_SENDER
        try:
            if not self._is_verified():
                return (
                    f"{self._sender}, the NoticeSender, is not verified in Amazon SES, nor is its domain: verify it in "
                    "the SES console, in the region of the stack"
                )
            account = self._client.get_account()
        except (ClientError, BotoCoreError) as error:
            return f"it isn't known whether mails would arrive: Amazon SES can't be asked ({type(error).__name__})"
        if not account.get("SendingEnabled", True):
            return "Amazon SES has paused sending for the account: see the SES console"
        return "" if account.get("ProductionAccessEnabled") else SANDBOX

    def _is_verified(self) -> bool:
        domains = self._sender.partition("@")[2].split(".")
        above = (".".join(domains[level:]) for level in range(len(domains) - 1))  # a domain stands for those below it
        return any(self._knows(identity) for identity in (self._sender, *above))

    def _knows(self, identity: str) -> bool:
        try:
            return bool(self._client.get_email_identity(EmailIdentity=identity).get("VerifiedForSendingStatus"))
        except self._client.exceptions.NotFoundException:
            return False
