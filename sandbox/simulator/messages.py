"""What passes between a caller and the simulated Alma: requests, replies, error bodies, and faults for tests."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from xml.sax.saxutils import escape

Lost = Literal["reset", "timeout"]

JSON = "application/json;charset=UTF-8"
XML = "application/xml;charset=UTF-8"


@dataclass(frozen=True)
class Request:
    """One call that Alma's gateway has let in.

    `route` is the path's template, such as `/users/{user_id}`; `arguments` its decoded variables; `query` all
    parameters as given; header names are in lower case.
    """

    institution: str
    method: str
    route: str
    arguments: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What the caller gets after `latency` seconds; with `lost` set it gets a broken connection or silence instead."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    latency: float = 0.0
    lost: Lost | None = None


@dataclass(frozen=True)
class Fault:
    """What a test makes of one call.

    `reply` is given instead of Alma's own; with `lost` the caller gets no reply at all; `carried_out` says
    whether Alma does the work nevertheless.
    """

    reply: Reply | None = None
    lost: Lost | None = None
    carried_out: bool = False


Judge = Callable[[Request], Fault | None]


class Refusal(Exception):
    """Alma understood the call and refuses it, with HTTP 400 and one of its documented error codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


def json_reply(status: int, content: object) -> Reply:
    """A reply with a JSON body."""
    return Reply(status, {"Content-Type": JSON}, json.dumps(content, ensure_ascii=False).encode())


def error(code: str, message: str, *, status: int = 400, tracking_id: str | None = None, as_xml: bool = False) -> Reply:
    """Alma's error body around one error, in JSON or XML; gateway errors have no tracking id (recorded replies)."""
    if as_xml:
        tracking = f"<trackingId>{escape(tracking_id)}</trackingId>" if tracking_id else ""
        text = (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
            '<web_service_result xmlns="http://com/exlibris/urm/general/xmlbeans"><errorsExist>true</errorsExist>'
            f"<errorList><error><errorCode>{escape(code)}</errorCode>"
            f"<errorMessage>{escape(message)}</errorMessage>{tracking}</error></errorList></web_service_result>"
        )
        return Reply(status, {"Content-Type": XML}, text.encode())
    row = {"errorCode": code, "errorMessage": message} | ({"trackingId": tracking_id} if tracking_id else {})
    return json_reply(status, {"errorsExist": True, "errorList": {"error": [row]}, "result": None})


def unauthorized() -> Reply:
    """What a key gets that is unknown or lacks the right: XML though JSON was asked, HTTP 400 (recorded reply)."""
    text = (
        "<web_service_result><errorsExist>true</errorsExist><errorList><error><errorCode>UNAUTHORIZED</errorCode>"
        "<errorMessage>API-key not defined or not configured to allow this API.</errorMessage>"
        "</error></errorList></web_service_result>"
    )
    return Reply(400, {"Content-Type": XML}, text.encode())


def per_second_threshold(*, as_xml: bool = False) -> Reply:
    """HTTP 429 for more calls in a second than an institution may make; recorded as JSON and as XML."""
    message = "HTTP requests are more than allowed per second. See https://goo.gl/2x1c1M "
    return error("PER_SECOND_THRESHOLD", message, status=429, as_xml=as_xml)


def daily_threshold() -> Reply:
    """The day's calls are used up: recorded as XML. Its HTTP status wasn't recorded; 429 is assumed."""
    message = (
        "Daily API Request Threshold has been reached. "
        "For details see: https://developers.exlibrisgroup.com/alma/apis#threshold"
    )
    return error("DAILY_THRESHOLD", message, status=429, as_xml=True)


def general_error() -> Reply:
    """The gateway's own trouble, for tests: worth another try, for a GET."""
    message = "503 Service Unavailable - General error with the API Gateway - please retry later."
    return error("GENERAL_ERROR", message, status=503)


def not_found() -> Reply:
    """A path that the gateway doesn't know: the error is wrapped, and an object instead of a list (recorded reply)."""
    wrong = {"errorCode": "NOT_FOUND", "errorMessage": "", "trackingId": "unknown"}
    return json_reply(404, {"web_service_result": {"errorsExist": True, "errorList": {"error": wrong}}})
