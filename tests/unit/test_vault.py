"""The vault, as it talks to S3: what is kept and how, and what its refusals mean."""

import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.vault import Archive, S3Vault, VaultRefused, VaultUnavailable, packed, unpacked
from tests.samples import long_gone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SERVICE = "s3"
BUCKET = "vault-of-dev"
AT = datetime(2026, 12, 1, 10, 5, tzinfo=UTC)
URL = f"https://{BUCKET}.s3.us-east-2.amazonaws.com"


class Caught:
    """Equal to anything, and keeps what it was compared with."""

    def __init__(self) -> None:
        self.value: Any = None

    def __eq__(self, other: object) -> bool:
        self.value = other
        return True

    def __hash__(self) -> int:
        return 0


def archive(*records: dict[str, Any], **changes: Any) -> Archive:
    """Two patrons of a page, to be kept for 30 days."""
    usual: dict[str, Any] = {
        "run_id": "purge-1",
        "code": "01OHIO_AAA",
        "page": 7,
        "part": 2,
        "vault_days": 30,
        "at": AT,
        "records": records or (long_gone("fern.arno"), long_gone("reed.Ümit")),
    }
    return Archive(**(usual | changes))


def expect(stub: Stubber, days: int = 30) -> Caught:
    """Let S3 expect one object; its content can be had afterwards."""
    body = Caught()
    stub.add_response(
        "put_object",
        {"ETag": '"0"'},
        {
            "Bucket": BUCKET,
            "Key": "01OHIO_AAA/purge-1/page-00007.2.jsonl.gz",
            "Body": body,
            "ContentType": "application/x-ndjson",
            "ContentEncoding": "gzip",
            "Tagging": f"vault_days={days}",
        },
    )
    return body


@pytest.mark.parametrize("days", [7, 14, 30, 60, 90])
def test_an_archive_is_one_tagged_object_of_gzipped_lines(client: "S3Client", stub: Stubber, days: int) -> None:
    """Its name tells institution, run, page and part, its tag how long to keep it; each line is a whole patron."""
    body = expect(stub, days)
    kept = archive(vault_days=days)
    S3Vault(client, BUCKET).put(kept)
    lines = gzip.decompress(body.value).decode("ascii").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"institution": "01OHIO_AAA", "run_id": "purge-1", "archived_at": "2026-12-01T10:05:00+00:00", "record": record}
        for record in kept.records
    ]


def test_every_page_and_every_part_has_a_name_of_its_own() -> None:
    """What two slices archive of a page, or of two pages, two runs, or two institutions, never meets in one object."""
    archives = [
        archive(code=code, run_id=run_id, page=page, part=part)
        for code in ("01OHIO_AAA", "01OHIO_BBB")
        for run_id in ("purge-1", "purge-11")
        for page in (0, 1, 10, 100_000)
        for part in (1, 2, 11)
    ]
    assert len({one.key for one in archives}) == len(archives)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(max_size=9), JSON, max_size=4), max_size=5))
def test_records_come_back_as_alma_gave_them(records: list[dict[str, Any]]) -> None:
    """Whatever JSON can carry is kept: half surrogates, line separators, zero bytes, large numbers; in order."""
    given_by_alma = [json.loads(json.dumps(record)) for record in records]
    found = list(unpacked(packed(archive(records=tuple(given_by_alma)))))
    assert [line["record"] for line in found] == given_by_alma
    assert {line["institution"] for line in found} <= {"01OHIO_AAA"}


@pytest.mark.parametrize("odd", ["\ud800", "a\u2028b\x85c\x0bd\ne", "\x00", "\N{GRINNING FACE}", "é"])
def test_odd_characters_make_neither_more_lines_nor_an_error(odd: str) -> None:
    """A name with what Python takes for a line's end, or that UTF-8 can't carry, stays in its line."""
    content = packed(archive({"primary_id": odd, "first_name": odd}, {"primary_id": "next"}))
    assert [line["record"]["primary_id"] for line in unpacked(content)] == [odd, "next"]
    assert gzip.decompress(content).count(b"\n") == 2


def test_the_same_archive_has_the_same_bytes() -> None:
    """Nothing but what is kept goes into an object."""
    assert packed(archive()) == packed(archive())


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccessDenied", 403),
        ("NoSuchBucket", 404),
        ("InvalidAccessKeyId", 403),
        ("KMS.DisabledException", 400),
        ("KMS.NotFoundException", 400),
        ("KMS.KMSInvalidStateException", 400),
    ],
)
def test_what_a_person_has_to_mend_is_refused(client: "S3Client", stub: Stubber, code: str, status: int) -> None:
    """A missing bucket, a missing right, or a key that can't be used: the text says where to look."""
    stub.add_client_error("put_object", code, "fern.arno in the bucket's words", status)
    with pytest.raises(VaultRefused) as refusal:
        S3Vault(client, BUCKET).put(archive())
    assert str(refusal.value) == (
        f"the vault could not be written (S3 answered {code}), so nobody was deleted without a copy: see that the "
        f"bucket {BUCKET} is there, and that the worker's role may put objects and tags into it, and use its key"
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("SlowDown", 503),
        ("InternalError", 500),
        ("ServiceUnavailable", 503),
        ("RequestTimeout", 400),
        ("ThrottlingException", 400),
        ("KMS.ThrottlingException", 400),
        ("KMS.KMSInternalException", 500),
    ],
)
def test_what_another_time_may_do_is_unavailable(client: "S3Client", stub: Stubber, code: str, status: int) -> None:
    """S3 or its key service is busy or has trouble of its own: nothing to mend, so the page is tried again later."""
    stub.add_client_error("put_object", code, "fern.arno in S3's words", status)
    with pytest.raises(VaultUnavailable) as trouble:
        S3Vault(client, BUCKET).put(archive())
    assert not isinstance(trouble.value, VaultRefused)
    assert str(trouble.value) == f"the vault could not be written (S3 answered {code})"


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url=URL),
        ConnectTimeoutError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_s3_that_is_not_reached_is_unavailable(client: "S3Client", error: Exception) -> None:
    """No connection, or no answer: whether the object was kept isn't known, so nobody may be deleted yet."""

    def lost(**_: object) -> None:
        raise error

    client.meta.events.register("before-send.s3.PutObject", lost)
    with pytest.raises(VaultUnavailable) as trouble:
        S3Vault(client, BUCKET).put(archive())
    assert not isinstance(trouble.value, VaultRefused)
    assert str(trouble.value) == f"the vault could not be reached ({type(error).__name__})"


@pytest.mark.parametrize(("code", "status"), [("AccessDenied", 403), ("SlowDown", 503)])
def test_no_error_tells_of_a_patron(client: "S3Client", stub: Stubber, code: str, status: int) -> None:
    """Neither the records nor S3's own words are in an error's text, nor in what a traceback would show before it."""
    stub.add_client_error("put_object", code, "fern.arno", status)
    with pytest.raises(VaultUnavailable) as trouble:
        S3Vault(client, BUCKET).put(archive(long_gone("fern.arno", last_name="Arno-Fern")))
    assert trouble.value.__suppress_context__
    assert "arno" not in f"{trouble.value!r}".casefold()


# ── Getting records back ──────────────────────────────────────────────────────────────────────────────────────────────

PREFIX = "01OHIO_AAA/purge-1/page-00007."


def expect_listed(stub: Stubber, *parts: str) -> None:
    """Let S3 list these objects of the page."""
    listed = {"Contents": [{"Key": f"{PREFIX}{part}.jsonl.gz"} for part in parts]} if parts else {}
    stub.add_response("list_objects_v2", listed, {"Bucket": BUCKET, "Prefix": PREFIX})


def expect_got(stub: Stubber, part: str, content: bytes) -> None:
    """Let S3 give one of them."""
    body = StreamingBody(io.BytesIO(content), len(content))
    stub.add_response("get_object", {"Body": body}, {"Bucket": BUCKET, "Key": f"{PREFIX}{part}.jsonl.gz"})


def test_the_records_of_a_page_come_back_from_all_its_objects(client: "S3Client", stub: Stubber) -> None:
    """By folded id; of a patron who was archived twice the later record, whichever object is listed first."""
    late = long_gone("Fern.Arno") | {"last_name": "Later"}
    expect_listed(stub, "10-1", "2-1")
    expect_got(stub, "10-1", packed(archive(late, at=AT + timedelta(minutes=5))))
    expect_got(stub, "2-1", packed(archive()))
    found = S3Vault(client, BUCKET).records("01OHIO_AAA", "purge-1", 7)
    assert set(found) == {"fern.arno", "reed.ümit"}
    assert found["fern.arno"] == late


def test_a_page_without_objects_has_no_records(client: "S3Client", stub: Stubber) -> None:
    """Its days are over, or the policy kept none; an object whose days end this very moment is passed over."""
    expect_listed(stub)
    assert S3Vault(client, BUCKET).records("01OHIO_AAA", "purge-1", 7) == {}
    expect_listed(stub, "1-1")
    stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
    assert S3Vault(client, BUCKET).records("01OHIO_AAA", "purge-1", 7) == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", packed(archive())[:-9], gzip.compress(b"\xff\xfe"), gzip.compress(b"[1]\n{}\nnull\n{")],
    ids=["empty", "no gzip", "cut short", "no text", "no records"],  # else by the bytes, which have the time in them
)
def test_what_cannot_be_read_is_left_out(client: "S3Client", stub: Stubber, content: bytes) -> None:
    """A damaged object, or a damaged line, takes nothing else with it."""
    expect_listed(stub, "1-1", "2-1")
    expect_got(stub, "1-1", content)
    expect_got(stub, "2-1", packed(archive()))
    assert set(S3Vault(client, BUCKET).records("01OHIO_AAA", "purge-1", 7)) == {"fern.arno", "reed.ümit"}


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDenied", 403), ("NoSuchBucket", 404), ("KMS.DisabledException", 400)]
)
def test_a_refusal_to_read_says_what_to_mend(client: "S3Client", stub: Stubber, code: str, status: int) -> None:
    """It comes again however often one tries: bucket, rights and key are named, and no patron."""
    stub.add_client_error("list_objects_v2", code, http_status_code=status)
    with pytest.raises(VaultRefused) as refused:
        S3Vault(client, BUCKET).records("01OHIO_AAA", "purge-1", 7)
    assert f"the vault could not be read (S3 answered {code})" in str(refused.value)
    assert f"the bucket {BUCKET} is there" in str(refused.value)


def test_trouble_that_passes_is_no_refusal(client: "S3Client", stub: Stubber) -> None:
    """S3 is slow, or can't be reached: another time may do."""
    expect_listed(stub, "1-1")
    stub.add_client_error("get_object", "SlowDown", http_status_code=503)
    with pytest.raises(VaultUnavailable, match="SlowDown") as trouble:
        S3Vault(client, BUCKET).records("01OHIO_AAA", "purge-1", 7)
    assert not isinstance(trouble.value, VaultRefused)


def test_a_vault_that_cannot_be_reached_is_no_refusal(client: "S3Client", monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection: another time may do."""

    def unreachable(name: str) -> None:
        raise EndpointConnectionError(endpoint_url=URL)

    monkeypatch.setattr(client, "get_paginator", unreachable)
    with pytest.raises(VaultUnavailable, match="could not be reached"):
        S3Vault(client, BUCKET).records("01OHIO_AAA", "purge-1", 7)
