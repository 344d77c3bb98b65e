"""The reports bucket: reports that people open, and the links by which a mail leads to one for a while.

| key                            | what it is                                                                   |
|--------------------------------|------------------------------------------------------------------------------|
| runs/RUN_ID/CODE/report.html   | an institution's report; beside it outcomes.csv and run.json                 |
| runs/RUN_ID/report.html        | the report of the whole run; beside it the same two                          |
| links/DIGEST.json              | which report a link leads to, and until when                                 |

A link's token is nowhere in it: the name of a link is the token's SHA-256, so who may read the bucket can't open one.
"""

import hashlib
import json
import re
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LINK_DAYS = 14
OPEN_SECONDS = 300  # what a link leads to can be opened for so long
REPORT, OUTCOMES, RUN = "report.html", "outcomes.csv", "run.json"
CONTENT_TYPES = {
    REPORT: "text/html; charset=utf-8",
    OUTCOMES: "text/csv; charset=utf-8; header=present",
    RUN: "application/json",
}
# For the client that gives URLs away. They then name the region's own host; the common one sends on whoever asks for a
# new bucket, which their signature doesn't survive, and knows nothing of regions that have to be opted into.
SIGNING = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class Token(NamedTuple):
    """The random part of a link, and the digest by which the link is known."""

    text: str
    digest: str

    @classmethod
    def new(cls) -> "Token":
        """A token that nobody can guess: 256 random bits."""
        return cls.of(secrets.token_urlsafe(32))

    @classmethod
    def of(cls, text: str) -> "Token":
        """The token that somebody has come with. Raises `ValueError` when it can't be one."""
        if not _TOKEN.fullmatch(text):
            raise ValueError("no token")
        return cls(text, hashlib.sha256(text.encode()).hexdigest())


def folder_of(run_id: str, code: str = "") -> str:
    """Where the report of an institution run lies; without a code, that of the whole run."""
    return f"runs/{run_id}/{code}" if code else f"runs/{run_id}"


class ReportsBucket(Protocol):
    """Where reports and links are put."""

    def put_report(self, run_id: str, code: str, folder: Path) -> None:
        """Put the files of `folder`, those named in `CONTENT_TYPES`, in place of what was there."""
        ...

    def put_link(self, digest: str, run_id: str, code: str, until: datetime) -> None:
        """Let a link lead to a report until then."""
        ...

    def remove_link(self, digest: str) -> None:
        """Let a link lead nowhere from now on."""
        ...


class S3ReportsBucket:
    """A bucket of Amazon S3, encrypted by its own default."""

    def __init__(self, client: "S3Client", name: str) -> None:
        self._client = client
        self._name = name

    def put_report(self, run_id: str, code: str, folder: Path) -> None:
        """See `ReportsBucket`. The page comes last, since it is what links lead to."""
        for name in (RUN, OUTCOMES, REPORT):
            with (folder / name).open("rb") as file:
                self._client.put_object(
                    Bucket=self._name,
                    Key=f"{folder_of(run_id, code)}/{name}",
                    Body=file,
                    ContentType=CONTENT_TYPES[name],
                    CacheControl="no-store",
                )

    def put_link(self, digest: str, run_id: str, code: str, until: datetime) -> None:
        """See `ReportsBucket`."""
        body = {"report": f"{folder_of(run_id, code)}/{REPORT}", "until": until.isoformat()}
        self._client.put_object(
            Bucket=self._name, Key=_link_key(digest), Body=json.dumps(body).encode(), ContentType="application/json"
        )

    def remove_link(self, digest: str) -> None:
        """See `ReportsBucket`."""
        self._client.delete_object(Bucket=self._name, Key=_link_key(digest))

    def open(self, token: str, now: datetime) -> str | None:
        """A URL that shows for five minutes what a link leads to; None when it leads nowhere.

        It leads nowhere when there never was such a link, its days are over, it was revoked, or the report is gone.
        """
        try:
            digest = Token.of(token).digest
            link = json.loads(self._client.get_object(Bucket=self._name, Key=_link_key(digest))["Body"].read())
            if now >= datetime.fromisoformat(link["until"]):
                return None
            self._client.head_object(Bucket=self._name, Key=link["report"])
        except ValueError:
            return None
        except ClientError as error:
            # Without the right to list, S3 says of what isn't there that access is denied.
            if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied", "404", "403"):
                return None
            raise
        return self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._name, "Key": link["report"]}, ExpiresIn=OPEN_SECONDS
        )


def link_until(now: datetime) -> datetime:
    """Until when a link of now is good."""
    return now + timedelta(days=LINK_DAYS)


def _link_key(digest: str) -> str:
    return f"links/{digest}.json"
