"""Links to reports: they lead to one report, for as long as they should, and nobody can guess or keep one."""

import json
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from patron_lifecycle.reports.bucket import CONTENT_TYPES, LINK_DAYS, SIGNING, S3ReportsBucket, Token, link_until
from patron_lifecycle.reports.opening import answer
from patron_lifecycle.reports.revoking import revoke
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.model import ReportLink
from patron_lifecycle.runs.store import MemoryStore
from sandbox.local_aws import LocalAws
from tests.samples import CODE, NOW, run

BUCKET = "reports-of-dev"
REPORT = "<!DOCTYPE html><p>Fern"


@pytest.fixture
def bucket(local_aws: LocalAws, tmp_path: Path) -> S3ReportsBucket:
    """The bucket, with the report of one institution run in it."""
    for name in CONTENT_TYPES:
        (tmp_path / name).write_text(REPORT if name == "report.html" else name, encoding="utf-8")
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    shelf = S3ReportsBucket(s3, BUCKET)
    shelf.put_report("purge-1", CODE, tmp_path)
    return shelf


def get(token: str, links: Any, at: timedelta = timedelta(), method: str = "GET") -> dict[str, Any]:
    """What the function URL answers, so long after now."""
    event = {"rawPath": f"/{token}", "requestContext": {"http": {"method": method}}}
    return answer(event, links, NOW + at)


def test_a_link_leads_to_its_report_for_five_minutes(local_aws: LocalAws, bucket: S3ReportsBucket) -> None:
    """A redirect to a presigned GET of the page alone, kept by no cache and told to no other site."""
    token = Token.new()
    bucket.put_link(token.digest, "purge-1", CODE, link_until(NOW))
    reply = get(token.text, bucket)
    assert reply["statusCode"] == 302
    assert reply["headers"]["Cache-Control"] == "no-store"
    assert reply["headers"]["Referrer-Policy"] == "no-referrer"
    target = urlsplit(reply["headers"]["Location"])
    assert target.path == f"/{BUCKET}/runs/purge-1/{CODE}/report.html"
    query = parse_qs(target.query)
    assert query.get("X-Amz-Expires", ["300"]) == ["300"]
    kept = local_aws.client("s3").get_object(Bucket=BUCKET, Key=f"runs/purge-1/{CODE}/report.html")
    assert (kept["Body"].read().decode(), kept["ContentType"]) == (REPORT, "text/html; charset=utf-8")


@pytest.mark.parametrize("region", ["us-east-2", "ap-east-1"])
def test_a_link_leads_to_the_host_of_the_region(region: str) -> None:
    """The common host redirects for hours after a bucket was made, and never serves the regions one opts into."""
    s3 = boto3.client("s3", region_name=region, aws_access_key_id="a", aws_secret_access_key="b", config=SIGNING)
    report = f"runs/purge-1/{CODE}/report.html"
    link = json.dumps({"report": report, "until": link_until(NOW).isoformat()}).encode()
    with Stubber(s3) as stub:
        stub.add_response("get_object", {"Body": StreamingBody(BytesIO(link), len(link))})
        stub.add_response("head_object", {})
        target = urlsplit(get("a" * 43, S3ReportsBucket(s3, BUCKET))["headers"]["Location"])
    assert (target.netloc, target.path) == (f"{BUCKET}.s3.{region}.amazonaws.com", f"/{report}")
    query = parse_qs(target.query)
    assert (query["X-Amz-Algorithm"], query["X-Amz-Expires"]) == (["AWS4-HMAC-SHA256"], ["300"])


def test_the_bucket_does_not_hold_the_token(local_aws: LocalAws, bucket: S3ReportsBucket) -> None:
    """Whoever can list the bucket can't follow a link."""
    token = Token.new()
    bucket.put_link(token.digest, "purge-1", CODE, link_until(NOW))
    s3 = local_aws.client("s3")
    for listed in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        body = s3.get_object(Bucket=BUCKET, Key=listed["Key"])["Body"].read().decode()
        assert token.text not in listed["Key"] + body
    link = json.loads(s3.get_object(Bucket=BUCKET, Key=f"links/{token.digest}.json")["Body"].read())
    assert link == {"report": f"runs/purge-1/{CODE}/report.html", "until": link_until(NOW).isoformat()}


def test_a_link_ends_after_its_days(bucket: S3ReportsBucket) -> None:
    """A second before its end it works, at its end it leads nowhere."""
    token = Token.new()
    bucket.put_link(token.digest, "purge-1", CODE, link_until(NOW))
    days = timedelta(days=LINK_DAYS)
    assert get(token.text, bucket, days - timedelta(seconds=1))["statusCode"] == 302
    assert get(token.text, bucket, days)["statusCode"] == 404


@pytest.mark.parametrize("token", ["", "x", "../runs/purge-1/report.html", "a" * 43, "a" * 42 + "/", "é" * 43])
def test_what_is_no_link_leads_nowhere(bucket: S3ReportsBucket, token: str) -> None:
    """Guesses, paths and nonsense all get the same page, which says what to do."""
    reply = get(token, bucket)
    assert reply["statusCode"] == 404
    assert "ask your consortium's systems librarian" in reply["body"]
    assert "default-src 'none'" in reply["headers"]["Content-Security-Policy"]


def test_a_link_to_a_report_that_is_gone_leads_nowhere(bucket: S3ReportsBucket) -> None:
    """ReportDays may be over before the link is."""
    token = Token.new()
    bucket.put_link(token.digest, "purge-2", CODE, link_until(NOW))
    assert get(token.text, bucket)["statusCode"] == 404


def test_only_reading_is_answered(bucket: S3ReportsBucket) -> None:
    """Whatever else is sent, nothing happens; HEAD, by which mail programs look ahead, is answered like GET."""
    token = Token.new()
    bucket.put_link(token.digest, "purge-1", CODE, link_until(NOW))
    assert get(token.text, bucket, method="POST")["statusCode"] == 405
    assert get(token.text, bucket, method="HEAD")["statusCode"] == 302


def test_when_s3_is_in_trouble_the_page_says_to_come_back() -> None:
    """A link isn't declared dead because S3 didn't answer."""

    class Trouble:
        """Links that can't be looked up."""

        def open(self, token: str, now: object) -> str | None:
            """See `Opens`."""
            raise ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")

    assert get("a" * 43, Trouble())["statusCode"] == 503


def test_tokens_differ_and_are_long() -> None:
    """256 random bits each."""
    tokens = {Token.new().text for _ in range(100)}
    assert len(tokens) == 100
    assert all(Token.of(text).text == text for text in tokens)
    with pytest.raises(ValueError, match="no token"):
        Token.of("short")


def test_links_are_revoked_by_report_or_all_at_once(bucket: S3ReportsBucket) -> None:
    """What was revoked leads nowhere at once, the others go on, and it is kept who has revoked it."""
    store = MemoryStore()
    store.create_run(run("purge-1", institutions=(CODE, "01OHIO_BBB")))
    tokens = {code: Token.new() for code in (CODE, "01OHIO_BBB", "")}
    for code, token in tokens.items():
        bucket.put_link(token.digest, "purge-1", CODE, link_until(NOW))
        store.put_link(
            ReportLink(run_id="purge-1", code=code, digest=token.digest, created_at=NOW, until=link_until(NOW))
        )
    assert revoke("purge-1", CODE, "Mira", store, bucket) == {CODE: 1}
    assert [get(token.text, bucket)["statusCode"] for token in tokens.values()] == [404, 302, 302]
    assert revoke("purge-1", CODE, "Mira", store, bucket) == {}
    assert revoke("purge-1", None, "Ana", store, bucket) == {"01OHIO_BBB": 1, "whole run": 1}
    assert {get(token.text, bucket)["statusCode"] for token in tokens.values()} == {404}
    assert {link.code: link.revoked_by for link in store.links("purge-1")} == {
        CODE: "Mira",
        "01OHIO_BBB": "Ana",
        "": "Ana",
    }


def test_a_link_that_was_revoked_before_it_was_there_can_be_revoked_again(bucket: S3ReportsBucket) -> None:
    """The reporter notes a link, somebody revokes it, and only then it is put into the bucket: a repeat takes it."""
    store, token = MemoryStore(), Token.new()
    store.create_run(run("purge-1"))
    store.put_link(ReportLink(run_id="purge-1", code=CODE, digest=token.digest, created_at=NOW, until=link_until(NOW)))
    assert revoke("purge-1", CODE, "Mira", store, bucket) == {CODE: 1}
    bucket.put_link(token.digest, "purge-1", CODE, link_until(NOW))
    assert get(token.text, bucket)["statusCode"] == 302
    assert revoke("purge-1", CODE, "Mira", store, bucket) == {}
    assert get(token.text, bucket)["statusCode"] == 404


def test_what_is_not_there_can_not_be_revoked(bucket: S3ReportsBucket) -> None:
    """A wrong run or institution is told, so that nobody believes a link dead that isn't."""
    store = MemoryStore()
    store.create_run(run("purge-1"))
    with pytest.raises(InvalidEvent, match="there is no run purge-2"):
        revoke("purge-2", None, "Mira", store, bucket)
    with pytest.raises(InvalidEvent, match="01OHIO_XXX is not part of purge-1"):
        revoke("purge-1", "01OHIO_XXX", "Mira", store, bucket)
