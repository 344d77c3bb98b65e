"""The vault: the full records of patrons as they were right before this service deleted them, for a while.

Compressed objects in S3, one for each page of a run as a rule, written before the deletes; the bucket encrypts them
with KMS. The tag `vault_days` picks the lifecycle rule that ends their keeping. None is ever overwritten: whatever is
archived of a page once more gets a name of its own.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError

from patron_lifecycle.alma.records import PatronRecord, Unreadable, folded
from patron_lifecycle.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FINAL = frozenset({403, 404})  # HTTP statuses that come again however often one tries; so do refusals by KMS,
_PASSING = ("Throttling", "Internal", "Unavailable", "Timeout")  # but not what KMS can't do at the moment


class VaultUnavailable(Exception):
    """The vault couldn't be written, or read, this time. Nobody was deleted without a copy; another time may do."""


class VaultRefused(VaultUnavailable):
    """The vault can't be written, or read, until somebody mends it. Nobody was deleted without a copy."""


class Archive(NamedTuple):
    """The records of one page of a run that are about to be deleted, and for how many days they are to be kept.

    `part` tells apart what is archived of the same page at several times, as after a worker was lost.
    """

    run_id: str
    code: str
    page: int
    part: str
    vault_days: int
    at: datetime
    records: tuple[Mapping[str, Any], ...]

    @property
    def key(self) -> str:
        """The name of its object: institution, run, page and part."""
        return f"{prefix_of(self.code, self.run_id, self.page)}{self.part}.jsonl.gz"


def prefix_of(code: str, run_id: str, page: int) -> str:
    """What the names of all objects of one page of a run begin with."""
    return f"{code}/{run_id}/page-{page:05d}."


class Vault(Protocol):
    """Where archives are kept."""

    def put(self, archive: Archive) -> None:
        """Keep an archive. Raises `VaultUnavailable` or `VaultRefused` when it isn't kept."""
        ...

    def records(self, code: str, run_id: str, page: int) -> dict[str, Mapping[str, Any]]:
        """The records kept of one page of a run, by folded primary id, each as it was when it was archived last.

        What is gone, or can't be read, is not among them. Raises `VaultUnavailable` or `VaultRefused`.
        """
        ...


class S3Vault:
    """A bucket. Its lifecycle, in template.yaml, has a rule for each value of `vault_days`."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, archive: Archive) -> None:
        """See `Vault`."""
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=archive.key,
                Body=packed(archive),
                ContentType="application/x-ndjson",
                ContentEncoding="gzip",
                Tagging=urlencode({"vault_days": archive.vault_days}),
            )
        except ClientError as error:
            raise self._trouble(
                error, "written", "nobody was deleted without a copy", "put objects and tags into it"
            ) from None
        except BotoCoreError as error:
            raise VaultUnavailable(f"the vault could not be reached ({type(error).__name__})") from None

    def records(self, code: str, run_id: str, page: int) -> dict[str, Mapping[str, Any]]:
        """See `Vault`."""
        try:
            contents = list(self._contents(prefix_of(code, run_id, page)))
        except ClientError as error:
            raise self._trouble(
                error, "read", "no more patrons can be restored from it", "list it, get objects"
            ) from None
        except BotoCoreError as error:
            raise VaultUnavailable(f"the vault could not be reached ({type(error).__name__})") from None
        return latest_of(contents)

    def _contents(self, prefix: str) -> Iterator[bytes]:
        for listed in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            for one in listed.get("Contents", []):
                try:
                    yield self._client.get_object(Bucket=self._bucket, Key=one["Key"])["Body"].read()
                except self._client.exceptions.NoSuchKey:  # its days were over this very moment
                    continue

    def _trouble(self, error: ClientError, done: str, so: str, may: str) -> VaultUnavailable:
        """What a refusal by S3 means: one that passes, or one that somebody has to mend."""
        code = error.response["Error"]["Code"]
        trouble = f"the vault could not be {done} (S3 answered {code})"
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _FINAL and not _is_refusal_by_kms(code):
            return VaultUnavailable(trouble)
        return VaultRefused(
            f"{trouble}, so {so}: see that the bucket {self._bucket} is there, and that the worker's role may {may}, "
            "and use its key"
        )


def latest_of(contents: Iterable[bytes]) -> dict[str, Mapping[str, Any]]:
    """The records in these objects by folded primary id; of several of one patron the one archived last.

    A delete follows the archiving of its page, so the last one is how the patron was when they were deleted. What
    can't be read is left out, and logged without a word of it.
    """
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for content in contents:
        for user_id, at, record in _readable_lines(content):
            if user_id not in found or found[user_id][0] <= at:
                found[user_id] = at, record
    return {user_id: record for user_id, (_, record) in found.items()}


def _readable_lines(content: bytes) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Folded primary id, time and record of each line that can be read; the log counts the others."""
    try:
        lines = gzip.decompress(content).decode().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        logger.error("an object of the vault can't be read", error=type(error).__name__)
        return
    unreadable = 0
    for text in lines:
        try:
            line = json.loads(text)
            yield folded(PatronRecord(line["record"]).primary_id), str(line["archived_at"]), line["record"]
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError, Unreadable):
            unreadable += 1
    if unreadable:
        logger.error("lines of an object of the vault can't be read", lines=unreadable)


def _is_refusal_by_kms(code: str) -> bool:
    return code.startswith("KMS.") and not any(word in code for word in _PASSING)


def packed(archive: Archive) -> bytes:
    """The content of the object: gzip around JSON Lines, one line a patron."""
    told = {"institution": archive.code, "run_id": archive.run_id, "archived_at": archive.at.isoformat()}
    lines = (json.dumps({**told, "record": record}, ensure_ascii=True) + "\n" for record in archive.records)
    return gzip.compress("".join(lines).encode(), mtime=0)


def unpacked(content: bytes) -> Iterable[dict[str, Any]]:
    """The lines of an object: institution, run_id, archived_at, and the record as Alma gave it."""
    return (json.loads(line) for line in gzip.decompress(content).decode().splitlines())
