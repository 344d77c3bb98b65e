"""The vault: the full records of patrons as they were right before this service deleted them, for a while.

Compressed objects in S3, one for each page of a run as a rule, written before the deletes; the bucket encrypts them
with KMS. The tag `vault_days` picks the lifecycle rule that ends their keeping. None is ever overwritten: whatever is
archived of a page once more gets a name of its own.
"""

import gzip
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FINAL = frozenset({403, 404})  # HTTP statuses that come again however often one tries; so do refusals by KMS,
_PASSING = ("Throttling", "Internal", "Unavailable", "Timeout")  # but not what KMS can't do at the moment


class VaultUnavailable(Exception):
    """The vault couldn't be written this time. Nobody was deleted without a copy; another time may do."""


class VaultRefused(VaultUnavailable):
    """The vault can't be written until somebody mends it. Nobody was deleted without a copy."""


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
        return f"{self.code}/{self.run_id}/page-{self.page:05d}.{self.part}.jsonl.gz"


class Vault(Protocol):
    """Where archives are kept."""

    def put(self, archive: Archive) -> None:
        """Keep an archive. Raises `VaultUnavailable` or `VaultRefused` when it isn't kept."""
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
            code = error.response["Error"]["Code"]
            trouble = f"the vault could not be written (S3 answered {code})"
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in _FINAL or _is_refusal_by_kms(code):
                raise VaultRefused(
                    f"{trouble}, so nobody was deleted without a copy: see that the bucket {self._bucket} is "
                    "there, and that the worker's role may put objects and tags into it, and use its key"
                ) from None
            raise VaultUnavailable(trouble) from None
        except BotoCoreError as error:
            raise VaultUnavailable(f"the vault could not be reached ({type(error).__name__})") from None


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
