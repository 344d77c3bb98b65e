"""The local mail box: what SES has sent."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import requests

from sandbox.local_aws import LocalAws

_SECONDS = 10


class Attachment(NamedTuple):
    """A file that came with a mail."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Mail:
    """A mail that SES has taken: `id` is SES's, `to` all who get it, `raw` the whole mail as MIME."""

    id: str
    at: datetime
    sender: str
    to: tuple[str, ...]
    raw: bytes

    @cached_property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        parsed = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)  # noqa: S101  # by the policy
        return parsed

    @property
    def subject(self) -> str:
        """The subject; empty for none."""
        return str(self.message["Subject"] or "")

    @property
    def text(self) -> str:
        """The body as plain text; empty for none."""
        return self._body("plain")

    @property
    def html(self) -> str:
        """The body as HTML; empty for none."""
        return self._body("html")

    @property
    def attachments(self) -> list[Attachment]:
        """The files that came with it."""
        return list(_attachments(self.message))

    def _body(self, subtype: str) -> str:
        part = self.message.get_body((subtype,))
        return str(part.get_content()) if part else ""

    def as_json(self) -> dict[str, Any]:
        """The mail for a program to read; attachments without their content."""
        return {
            "id": self.id,
            "at": self.at.isoformat(timespec="seconds"),
            "from": self.sender,
            "to": list(self.to),
            "subject": self.subject,
            "text": self.text,
            "html": self.html,
            "attachments": [
                {"name": one.name, "type": one.media_type, "bytes": len(one.content)} for one in self.attachments
            ],
        }


def mails(aws: LocalAws) -> list[Mail]:
    """All mails that the local SES has taken, newest first."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{aws.endpoint}/_ministack/ses/messages", timeout=_SECONDS)
    answer.raise_for_status()
    noted = [one for account in answer.json()["messages"].values() for one in account]
    found = [_mail(one, _request(aws.mails / f"{one['MessageId']}.json")) for one in noted]
    return sorted(found, key=lambda mail: mail.at, reverse=True)


def write(found: list[Mail], folder: Path) -> list[Path]:
    """Write each mail to a file NUMBER.eml of `folder`, the oldest as 001.eml; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:03}.eml" for number in range(1, len(found) + 1)]
    for file, mail in zip(files, reversed(found), strict=True):
        file.write_bytes(mail.raw)
    return files


def _request(file: Path) -> dict[str, Any]:
    """What `sandbox.emulator` has kept of a mail: nothing of one sent by SES's older API, so no attachments."""
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))["Content"] if file.exists() else {}
    return content


def _mail(noted: Mapping[str, Any], content: Mapping[str, Any]) -> Mail:
    """One mail, from ministack's note of it and, if there is one, the request's content."""
    at = datetime.fromtimestamp(noted["Timestamp"], UTC)
    if "Raw" in content:
        raw = base64.b64decode(content["Raw"]["Data"])
    else:
        raw = bytes(_made(noted, content.get("Simple", {}).get("Attachments", []), at))
    headers = message_from_bytes(raw, policy=policy.default)
    # Without a destination, and without a sender, SES takes those of the mail itself.
    to = (*noted["To"], *noted["CC"], *noted["BCC"]) or tuple(
        str(one) for name in ("To", "Cc", "Bcc") if name in headers for one in headers[name].addresses
    )
    return Mail(noted["MessageId"], at, noted["Source"] or str(headers["From"] or ""), to, raw)


def _made(noted: Mapping[str, Any], attachments: list[dict[str, Any]], at: datetime) -> EmailMessage:
    """A mail of which SES got the parts alone."""
    message = EmailMessage()
    message["Subject"] = " ".join(noted["Subject"].split())
    message["From"] = noted["Source"]
    message["To"] = ", ".join(noted["To"])
    if noted["CC"]:
        message["Cc"] = ", ".join(noted["CC"])
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{noted['MessageId']}>"
    message.set_content(noted["BodyText"] or "")
    if noted["BodyHtml"]:
        message.add_alternative(noted["BodyHtml"], subtype="html")
    for one in attachments:
        kind, _, subtype = one.get("ContentType", "application/octet-stream").partition("/")
        content = base64.b64decode(one["RawContent"])
        message.add_attachment(content, maintype=kind, subtype=subtype, filename=one["FileName"])
    return message


def _attachments(message: EmailMessage) -> Iterator[Attachment]:
    for number, part in enumerate(message.iter_attachments(), 1):
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            name = Path(part.get_filename() or f"attachment-{number}").name
            yield Attachment(name, part.get_content_type(), content)
