"""How notices leave: whole, once, and with a clear word when AWS refuses them."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from patron_lifecycle.notices.account import NO_SENDER, SANDBOX, SesAccount
from patron_lifecycle.notices.post import Attachment, NotSent, SesPost, SnsOperators
from patron_lifecycle.notices.words import Letter

SENDER = "notices@example.edu"
TO = ("desk@alder.example.edu", "head@alder.example.edu")
LETTER = Letter("Älder Cöllege: 3 patrons", "Drei sind gegangen — ja.\n", "<p>Drei sind gegangen — ja.</p>\n")
TOPIC = "arn:aws:sns:us-east-2:000000000000:topic"


class Sent:
    """Equal to any bytes, which it keeps."""

    def __init__(self) -> None:
        self.data = b""

    def __eq__(self, other: object) -> bool:
        self.data = cast("bytes", other)
        return isinstance(other, bytes)

    def __hash__(self) -> int:
        return 0


def client(service: str) -> Any:
    """A client that reaches nothing."""
    return boto3.client(
        service,
        region_name="us-east-2",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # type: ignore[call-overload]
    )


def mailed(attachment: Attachment | None = None) -> EmailMessage:
    """A mail as whoever gets it reads it."""
    return message_from_bytes(mailed_raw(LETTER, attachment), policy=default)


def mailed_raw(letter: Letter, attachment: Attachment | None = None) -> bytes:
    """A mail as SES gets it."""
    ses, sent = client("sesv2"), Sent()
    with Stubber(ses) as stub:
        stub.add_response(
            "send_email",
            {"MessageId": "1"},
            {
                "FromEmailAddress": SENDER,
                "Destination": {"ToAddresses": list(TO)},
                "Content": {"Raw": {"Data": sent}},
            },
        )
        SesPost(ses, SENDER).mail(TO, letter, attachment)
        stub.assert_no_pending_responses()
    return sent.data


def test_a_mail_has_text_and_html_from_the_sender_to_all_contacts() -> None:
    """As any mail program takes it, letters beyond ASCII included."""
    mail = mailed()
    assert mail["From"] == f"Alma patron lifecycle <{SENDER}>"
    assert mail["To"] == ", ".join(TO)
    assert mail["Subject"] == LETTER.subject
    assert mail["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    text, html = (part.get_content() for part in mail.iter_parts())
    assert text.replace("\r\n", "\n") == LETTER.text
    assert html.replace("\r\n", "\n") == LETTER.html


@pytest.mark.parametrize("length", [*range(60, 100), 300])
def test_a_subject_begins_on_the_line_of_its_header(length: int) -> None:
    """However long; and the whole mail is ASCII, whatever is in it."""
    subject = ("Birch University: " * 20)[:length].strip()
    raw = mailed_raw(LETTER._replace(subject=subject))
    assert raw.isascii()
    assert f"\r\nSubject: {subject}\r\n".encode() in raw


def test_a_report_is_attached_whole() -> None:
    """Long lines and all, under a name that opens in a browser."""
    page = "<!DOCTYPE html>\n" + "é" * 2000 + "\n"
    (attached,) = mailed(Attachment("purge-1.html", page)).iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("purge-1.html", "text/html")
    assert attached.get_content().replace("\r\n", "\n") == page


@pytest.mark.parametrize(("status", "certain"), [(400, True), (429, True), (500, False), (503, False)])
def test_a_refusal_is_certain_and_a_failure_of_the_server_is_not(status: int, certain: bool) -> None:
    """What SES has refused may be tried again; what it may have taken must not be. No address is in the words."""
    ses = client("sesv2")
    with Stubber(ses) as stub:
        message = f"Email address {TO[0]} is not verified"
        stub.add_client_error("send_email", "MessageRejected", message, status)
        with pytest.raises(NotSent if certain else ClientError) as raised:
            SesPost(ses, SENDER).mail(TO, LETTER, None)
    if certain:
        assert str(raised.value) == "SES refuses a notice: MessageRejected"


def test_a_notice_to_operators_has_a_subject_that_sns_takes() -> None:
    """ASCII of at most a hundred characters, never empty."""
    for subject, taken in [
        ("Held: purge at Älder", "Held: purge at Alder"),
        ("x" * 150, "x" * 97 + "..."),
        ("図書館", "Alma patron lifecycle"),
    ]:
        sns = client("sns")
        with Stubber(sns) as stub:
            stub.add_response("publish", {}, {"TopicArn": TOPIC, "Subject": taken, "Message": LETTER.text})
            SnsOperators(sns, TOPIC).tell(LETTER._replace(subject=subject))
            stub.assert_no_pending_responses()


def test_what_sns_refuses_is_certainly_not_sent() -> None:
    """So the event that it was of is tried again."""
    sns = client("sns")
    with Stubber(sns) as stub:
        stub.add_client_error("publish", "AuthorizationError", "no", 403)
        with pytest.raises(NotSent, match=r"^SNS refuses a notice: AuthorizationError$"):
            SnsOperators(sns, TOPIC).tell(LETTER)


@pytest.mark.parametrize(
    ("error", "certain"),
    [
        (EndpointConnectionError(endpoint_url="https://x"), True),
        (ConnectTimeoutError(endpoint_url="https://x"), True),
        (ReadTimeoutError(endpoint_url="https://x"), False),
    ],
)
def test_what_never_left_is_certainly_not_sent(
    error: Exception, certain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a connection there is nothing that SES or SNS could have taken; with one there may be."""

    def break_off(**_: object) -> None:
        raise error

    ses, sns = client("sesv2"), client("sns")
    monkeypatch.setattr(ses, "send_email", break_off)
    monkeypatch.setattr(sns, "publish", break_off)
    with pytest.raises(NotSent if certain else ReadTimeoutError):
        SesPost(ses, SENDER).mail(TO, LETTER, None)
    with pytest.raises(NotSent if certain else ReadTimeoutError):
        SnsOperators(sns, TOPIC).tell(LETTER)


def trouble(*, verified: bool = True, domain: bool = False, sender: str = SENDER, **account: Any) -> str:
    """What is told of an account in Amazon SES."""
    ses = client("sesv2")
    with Stubber(ses) as stub:
        for identity, is_known in ((SENDER, verified), ("example.edu", domain)):
            asked = {"EmailIdentity": identity}
            if is_known:
                stub.add_response("get_email_identity", {"VerifiedForSendingStatus": True}, asked)
                break
            stub.add_client_error("get_email_identity", "NotFoundException", expected_params=asked)
        stub.add_response("get_account", {"ProductionAccessEnabled": True, "SendingEnabled": True} | account)
        return SesAccount(ses, sender).trouble()


def test_an_account_that_can_send_has_no_trouble() -> None:
    """The address itself may be verified, or its domain."""
    assert trouble() == ""
    assert trouble(verified=False, domain=True) == ""


def test_a_verified_domain_stands_for_those_below_it() -> None:
    """SES sends from an address at a subdomain of one that is verified; a top-level domain is nobody's."""
    ses = client("sesv2")
    for known in (True, False):
        with Stubber(ses) as stub:
            for identity in ("notices@mail.lib.example.edu", "mail.lib.example.edu", "lib.example.edu"):
                stub.add_client_error(
                    "get_email_identity", "NotFoundException", expected_params={"EmailIdentity": identity}
                )
            if known:
                stub.add_response(
                    "get_email_identity", {"VerifiedForSendingStatus": True}, {"EmailIdentity": "example.edu"}
                )
                stub.add_response("get_account", {"ProductionAccessEnabled": True, "SendingEnabled": True})
            else:
                stub.add_client_error("get_email_identity", "NotFoundException")
            told = SesAccount(ses, "notices@mail.lib.example.edu").trouble()
            stub.assert_no_pending_responses()
        assert (told == "") is known


def test_what_keeps_mails_from_arriving_is_told() -> None:
    """No sender, a sender that isn't verified, an account in the sandbox or paused."""
    assert trouble(sender="") == NO_SENDER
    assert trouble(verified=False).startswith(f"{SENDER}, the NoticeSender, is not verified in Amazon SES")
    assert trouble(ProductionAccessEnabled=False) == SANDBOX
    assert trouble(SendingEnabled=False) == "Amazon SES has paused sending for the account: see the SES console"


def test_an_account_that_cannot_be_asked_is_told_as_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check must not fail because of SES."""
    ses = client("sesv2")

    def slow(**asked: str) -> None:
        raise ReadTimeoutError(endpoint_url="https://email.us-east-2.amazonaws.com")

    monkeypatch.setattr(ses, "get_email_identity", slow)
    assert "Amazon SES can't be asked (ReadTimeoutError)" in SesAccount(ses, SENDER).trouble()
