"""Alma's errors, typed by what a caller has to do next.

Alma has no one error format. Recorded replies show JSON with and without `result`, keys in any order, the
gateway's `web_service_result` with one error object instead of a list, and XML although JSON was asked.
Proxies add HTML, empty and cut-off bodies. `error_from` reads them all: the error code decides first, the HTTP
status only where there is no code that says enough.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

MAX_MESSAGE = 500  # characters kept of Alma's text
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_TRACKING_ID = re.compile(r"[A-Za-z0-9-]{1,80}")
_TRACKING_ID_IN_MESSAGE = re.compile(r"\s*\(Tracking ID: *([A-Za-z0-9-]{1,80})\)", re.IGNORECASE)


class AlmaError(Exception):
    """Alma didn't do what it was asked, or gave no usable answer.

    `http_status` is None when there was no answer at all; `code` is Alma's error code, or one of ours in lower
    case (`http_502`, `timeout`, `unreadable_reply` …). `message` holds Alma's words, at most 500 characters: they
    may name a patron, so they are kept with outcomes and never logged. `str()` leaves them out.
    """

    def __init__(self, http_status: int | None, code: str, message: str = "", tracking_id: str | None = None) -> None:
        answer = "no answer" if http_status is None else f"HTTP {http_status}"
        super().__init__(f"{answer}, code {code}" + (f", tracking id {tracking_id}" if tracking_id else ""))
        self.http_status = http_status
        self.code = code
        self.message = message[:MAX_MESSAGE].encode(errors="replace").decode()  # JSON lets half surrogates through
        self.tracking_id = tracking_id


class PerSecondThreshold(AlmaError):
    """Too many calls in this second (HTTP 429). Alma didn't carry the call out: send it again, more slowly."""


class DailyThreshold(AlmaError):
    """The institution's daily quota of calls is spent. Nothing goes through before it is renewed at midnight."""


class Unauthorized(AlmaError):
    """The API key is unknown, or may not make this call."""


class NotFound(AlmaError):
    """No such user. Alma says so by a code with HTTP 400, never by 404 (recorded replies)."""


class Refused(AlmaError):
    """Alma understood the call and didn't carry it out; `code` and `message` say why."""


class Unavailable(AlmaError):
    """No usable answer. Whether a write was carried out is unclear: read before doing anything else."""


_BY_CODE: dict[str, type[AlmaError]] = {
    "PER_SECOND_THRESHOLD": PerSecondThreshold,
    "DAILY_THRESHOLD": DailyThreshold,
    "UNAUTHORIZED": Unauthorized,
    "401861": NotFound,
    "401890": NotFound,
    # "General error" in the official users and conf APIs: they don't say that nothing was done.
    "401652": Unavailable,
    "401658": Unavailable,
    "402119": Unavailable,
    "60100": Unavailable,
    "60101": Unavailable,
    "GENERAL_ERROR": Unavailable,
    "INTERNAL_SERVER_ERROR": Unavailable,
}


def error_from(status: int, content_type: str, body: bytes) -> AlmaError:
    """The typed error of one reply, whatever its bytes are. Never raises."""
    text = body.decode("utf-8-sig", errors="replace").strip()
    for code, message, tracking_id in _errors_in(text):
        if _CODE.fullmatch(code):
            told = _TRACKING_ID_IN_MESSAGE.search(message)
            known = tracking_id or (told[1] if told else "")
            is_useful = _TRACKING_ID.fullmatch(known) and known != "unknown"
            words = _TRACKING_ID_IN_MESSAGE.sub("", message).strip()
            return _class_of(status, code)(status, code, words, known if is_useful else None)
    words = f"a reply without a readable error code ({content_type[:100] or 'no content type'}, {len(body)} bytes)"
    return _class_of(status, None)(status, f"http_{status}", words)


def _class_of(status: int, code: str | None) -> type[AlmaError]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == 429:
        return PerSecondThreshold
    if status in (401, 403) and not (code and code.isdecimal()):  # Alma's own codes are numbers and tell more
        return Unauthorized
    if status == 408:  # a proxy gave up waiting: Alma may still do it
        return Unavailable
    return Refused if code and 400 <= status < 500 else Unavailable


def _errors_in(text: str) -> Iterator[tuple[str, str, str]]:
    """Code, message and tracking id of each error that the text tells of; a missing one is empty."""
    if text.startswith("<"):
        yield from _errors_in_xml(text)
        return
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return
    reply = _field(reply, "web_service_result") or reply
    errors = _field(_field(reply, "errorList"), "error")
    for error in errors if isinstance(errors, list) else [errors]:
        code, message, tracking_id = (_field(error, name) for name in ("errorCode", "errorMessage", "trackingId"))
        yield _text(code), _text(message), _text(tracking_id)


def _errors_in_xml(text: str) -> Iterator[tuple[str, str, str]]:
    if "<!DOCTYPE" in text.upper():  # HTML, or entities to be expanded: Alma's errors have neither
        return
    try:
        root = ET.fromstring(text)  # noqa: S314
    except (ET.ParseError, ValueError, LookupError):
        return
    for error in root.iterfind(".//{*}error"):
        code, message, tracking_id = (
            (error.findtext("{*}" + name) or "").strip() for name in ("errorCode", "errorMessage", "trackingId")
        )
        yield code, message, tracking_id


def _field(node: Any, name: str) -> Any:
    return node.get(name) if isinstance(node, dict) else None


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""
