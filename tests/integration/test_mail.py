"""The local mail box: whatever way SES was asked to send a mail, it is there whole."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.local_aws import LocalAws
from sandbox.mail import mails, write

SENDER = "service@example.edu"
LIBRARY = "library@example.edu"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A local AWS whose SES may send for one address."""
    started = LocalAws.start(tmp_path_factory.mktemp("mail"))
    started.client("sesv2").create_email_identity(EmailIdentity=SENDER)
    yield started
    started.stop()


def raw(subject: str, **headers: str) -> bytes:
    """A mail with text, HTML and a report that is HTML too."""
    message = EmailMessage()
    for name, value in {"Subject": subject, **headers}.items():
        message[name] = value
    message.set_content("12 patrons gö")
    message.add_alternative("<p>12 patrons</p>", subtype="html")
    message.add_attachment("<h1>report</h1>", subtype="html", filename="report.html")
    return bytes(message)


def test_a_mail_is_there_with_its_attachments(aws: LocalAws) -> None:
    """Given as MIME, it comes back byte by byte; an attached report isn't taken for the mail's own HTML."""
    sent = raw("Coming pürge")
    content: dict[str, Any] = {"Raw": {"Data": sent}}
    destination = {"ToAddresses": [LIBRARY, "second@example.edu"], "BccAddresses": ["third@example.edu"]}
    answer = aws.client("sesv2").send_email(FromEmailAddress=SENDER, Destination=destination, Content=content)
    mail = mails(aws)[0]
    assert (mail.id, mail.raw) == (answer["MessageId"], sent)
    assert mail.as_json() | {"at": "", "id": ""} == {
        "id": "",
        "at": "",
        "from": SENDER,
        "to": [LIBRARY, "second@example.edu", "third@example.edu"],
        "subject": "Coming pürge",
        "text": "12 patrons gö\n",
        "html": "<p>12 patrons</p>\n",
        "attachments": [{"name": "report.html", "type": "text/html", "bytes": 16}],
    }
    assert mail.attachments[0].content == b"<h1>report</h1>\n"


def test_without_a_destination_the_mail_itself_says_who_gets_it(aws: LocalAws) -> None:
    """SES then takes sender and receivers from the headers, and so does the mail box."""
    sent = raw("Held", From=SENDER, To=f"Ä <{LIBRARY}>, second@example.edu", Cc="third@example.edu")
    aws.client("sesv2").send_email(Content={"Raw": {"Data": sent}})
    mail = mails(aws)[0]
    assert (mail.sender, mail.to) == (SENDER, (f"Ä <{LIBRARY}>", "second@example.edu", "third@example.edu"))


def test_a_mail_of_which_ses_got_the_parts_is_made_whole(aws: LocalAws) -> None:
    """Subject, text, HTML and attachments are one mail that any mail program opens; the older API works too."""
    simple = {
        "Subject": {"Data": "Done"},
        "Body": {"Text": {"Data": "all\nclear"}, "Html": {"Data": "<b>all clear</b>"}},
        "Attachments": [{"FileName": "outcomes.csv", "RawContent": b"a,b\r\n", "ContentType": "text/csv"}],
    }
    destination = {"ToAddresses": [LIBRARY], "CcAddresses": ["second@example.edu"]}
    aws.client("sesv2").send_email(FromEmailAddress=SENDER, Destination=destination, Content={"Simple": simple})
    parts = {"Subject": {"Data": "Older"}, "Body": {"Text": {"Data": "text"}}}
    aws.client("ses").send_email(Source=SENDER, Destination={"ToAddresses": [LIBRARY]}, Message=parts)
    older, newer = mails(aws)[:2]
    assert (older.subject, older.text, older.html, older.attachments) == ("Older", "text\n", "", [])
    opened = message_from_bytes(newer.raw, policy=policy.default)
    assert [opened[name] for name in ("Subject", "From", "To", "Cc")] == ["Done", SENDER, LIBRARY, "second@example.edu"]
    assert (newer.text, newer.html) == ("all\nclear\n", "<b>all clear</b>\n")
    assert [tuple(one) for one in newer.attachments] == [("outcomes.csv", "text/csv", b"a,b\r\n")]


def test_what_ses_refuses_is_not_there(aws: LocalAws) -> None:
    """An address that may not send leaves no mail."""
    before = len(mails(aws))
    content: dict[str, Any] = {"Raw": {"Data": raw("Never")}}
    with pytest.raises(ClientError, match="not verified"):
        aws.client("sesv2").send_email(
            FromEmailAddress="other@example.edu", Destination={"ToAddresses": [LIBRARY]}, Content=content
        )
    assert len(mails(aws)) == before
    assert "Never" not in [mail.subject for mail in mails(aws)]


def test_mails_are_written_to_files(aws: LocalAws, tmp_path: Path) -> None:
    """Each is a file of its own, the oldest first, that holds all of it."""
    aws.client("sesv2").send_email(
        FromEmailAddress=SENDER, Destination={"ToAddresses": [LIBRARY]}, Content={"Raw": {"Data": raw("Last")}}
    )
    found = mails(aws)
    files = write(found, tmp_path / "new")
    assert [file.name for file in files] == [f"{number:03}.eml" for number in range(1, len(found) + 1)]
    assert [file.read_bytes() for file in files] == [mail.raw for mail in reversed(found)]
    assert b"Subject: Last" in files[-1].read_bytes()
