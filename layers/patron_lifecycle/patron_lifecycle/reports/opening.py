"""What the function URL answers to whoever follows a link in a mail."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from patron_lifecycle.observability import logger

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem }}</style>
<h1>{title}</h1>
<p>{text}</p>
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # else the token would go on to wherever the next page leads
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


class Opens(Protocol):
    """What knows the links."""

    def open(self, token: str, now: datetime) -> str | None:
        """See `patron_lifecycle.reports.bucket.S3ReportsBucket`."""
        ...


def answer(event: Mapping[str, Any], links: Opens, now: datetime) -> dict[str, Any]:
    """A redirect to the report, or a page that says why there is none. `event` is in Lambda's payload format 2.0."""
    method = event.get("requestContext", {}).get("http", {}).get("method", "")
    if method not in ("GET", "HEAD"):
        return _page(405, "Not this way", "A report is opened by following its link.", Allow="GET, HEAD")
    try:
        url = links.open(event.get("rawPath", "").strip("/"), now)
    except Exception as error:  # noqa: BLE001 - whoever follows a link is told something, whatever goes wrong
        logger.error("a link could not be followed", error=type(error).__name__)
        return _page(
            503, "Try again later", "The report can't be opened at this moment. Follow the link once more later."
        )
    if url is None:
        return _page(
            404,
            "This link leads nowhere",
            "A link to a report is good for 14 days, and may be withdrawn before. Copy the whole link from the mail; "
            "if that doesn't help, ask your consortium's systems librarian for the report.",
        )
    return {"statusCode": 302, "headers": {**_HEADERS, "Location": url}, "body": ""}


def _page(status: int, title: str, text: str, **headers: str) -> dict[str, Any]:
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    told = {**_HEADERS, "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy, **headers}
    return {"statusCode": status, "headers": told, "body": _PAGE.format(title=title, text=text)}
