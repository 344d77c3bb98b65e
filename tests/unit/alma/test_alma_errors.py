"""Every shape of error body that Alma, its gateway or a proxy sends becomes one typed error."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patron_lifecycle.alma.errors import (
    AlmaError,
    DailyThreshold,
    NotFound,
    PerSecondThreshold,
    Refused,
    Unauthorized,
    Unavailable,
    error_from,
)
from tests.alma_facts import SAMPLES, needs_samples

JSON = "application/json;charset=UTF-8"
XML = "application/xml;charset=UTF-8"
NAMESPACE = ' xmlns="http://com/exlibris/urm/general/xmlbeans"'


def json_error(code: object, message: str = "words", **more: object) -> bytes:
    """A JSON error body."""
    error = {"errorCode": code, "errorMessage": message, **more}
    return json.dumps({"errorsExist": True, "errorList": {"error": [error]}, "result": None}).encode()


def xml_error(code: str, message: str = "words", namespace: str = NAMESPACE, tracking: str = "") -> bytes:
    """An XML error body."""
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<web_service_result{namespace}>'
        f"<errorsExist>true</errorsExist><errorList><error><errorCode>{code}</errorCode>"
        f"<errorMessage>{message}</errorMessage>{tracking}</error></errorList></web_service_result>"
    ).encode()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "PER_SECOND_THRESHOLD", PerSecondThreshold),
        (400, "PER_SECOND_THRESHOLD", PerSecondThreshold),
        (429, "SOME_NEW_THRESHOLD", PerSecondThreshold),
        (429, "DAILY_THRESHOLD", DailyThreshold),
        (400, "DAILY_THRESHOLD", DailyThreshold),
        (503, "DAILY_THRESHOLD", DailyThreshold),
        (400, "UNAUTHORIZED", Unauthorized),
        (403, "FORBIDDEN", Unauthorized),
        (403, "60258", Refused),
        (400, "401861", NotFound),
        (400, "401890", NotFound),
        (400, "401850", Refused),
        (404, "NOT_FOUND", Refused),
        (500, "401850", Unavailable),
        (200, "401850", Unavailable),
        (400, "GENERAL_ERROR", Unavailable),
        (400, "INTERNAL_SERVER_ERROR", Unavailable),
    ],
)
def test_the_code_decides_before_the_status(status: int, code: str, kind: type[AlmaError]) -> None:
    """A readable error code decides the type, in JSON as in XML; the status only where the code says too little."""
    for body, content_type in ((json_error(code), JSON), (xml_error(code), XML)):
        error = error_from(status, content_type, body)
        assert type(error) is kind
        assert (error.http_status, error.code, error.message) == (status, code, "words")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, Unavailable),
        (400, Unavailable),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, Unavailable),
        (429, PerSecondThreshold),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body><h1>Bad Gateway</h1></body></html>",
        b"<!DOCTYPE html><html><error><errorCode>401850</errorCode></error></html>",
        json_error("401850")[:-40],
        xml_error("401850")[:-40],
        b"null",
        b"[]",
        b'{"errorList": {"error": []}}',
        b'{"errorList": {"error": [null, {"errorCode": null}]}}',
        json_error(""),
        json_error({"value": "401850"}),
        json_error("jane@example.edu was not found"),
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_without_a_readable_code_the_status_decides(body: bytes, status: int, kind: type[AlmaError]) -> None:
    """Empty, cut-off, HTML and odd bodies are typed by the status alone, and the code says which status it was."""
    error = error_from(status, "text/html", body)
    assert type(error) is kind
    assert (error.code, error.tracking_id) == (f"http_{status}", None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"errorList":{"error":[{"trackingId":"E01-1","errorMessage":"words","errorCode":"401850"}]},"errorsExist":true}',
        b'{"web_service_result":{"errorList":{"error":{"errorCode":401850,"errorMessage":"words","trackingId":"E01-1"}}}}',
        b'\xef\xbb\xbf{"errorList":{"error":[{"errorCode":"401850","errorMessage":"words\\n(Tracking ID: E01-1)"}]}}',
        xml_error("401850", tracking="<trackingId>E01-1</trackingId>"),
        xml_error("401850", namespace="", tracking="<trackingId> E01-1 </trackingId>"),
        xml_error("401850", "words\n(Tracking ID: E01-1)"),
        b"\n  " + xml_error("401850", "words (Tracking ID: E01-1)", namespace=""),
    ],
)
def test_all_shapes_say_the_same(body: bytes) -> None:
    """Code, message and tracking id are found in whatever order, wrapping, namespace or place they stand."""
    error = error_from(400, JSON, body)
    assert type(error) is Refused
    assert (error.code, error.message, error.tracking_id) == ("401850", "words", "E01-1")


@pytest.mark.parametrize("tracking_id", ["unknown", "", "for jane@example.edu", None, 7.5])
def test_a_useless_tracking_id_is_none(tracking_id: object) -> None:
    """What can't help Ex Libris to find the call isn't shown as a tracking id."""
    assert error_from(400, JSON, json_error("401850", trackingId=tracking_id)).tracking_id is None


def test_the_text_of_an_error_holds_nothing_personal() -> None:
    """str() and repr() give status, code and tracking id, never Alma's words."""
    error = error_from(400, JSON, json_error("401861", "User jane@example.edu was not found.", trackingId="E01-1"))
    assert str(error) == "HTTP 400, code 401861, tracking id E01-1"
    assert "jane" not in repr(error)
    assert error.message == "User jane@example.edu was not found."
    assert str(Unavailable(None, "timeout")) == "no answer, code timeout"


def test_a_message_is_bounded() -> None:
    """However much Alma says, 500 characters are kept."""
    assert error_from(400, JSON, json_error("401850", "x" * 10_000)).message == "x" * 500


@settings(deadline=None)
@given(
    st.integers(100, 599),
    st.text(max_size=20),
    st.binary()
    | st.text().map(str.encode)
    | st.recursive(
        st.none() | st.text() | st.integers(),
        lambda some: (
            st.lists(some)
            | st.dictionaries(
                st.sampled_from(
                    ["errorList", "error", "errorCode", "errorMessage", "trackingId", "web_service_result"]
                ),
                some,
            )
        ),
    ).map(lambda found: json.dumps(found).encode()),
)
def test_whatever_the_bytes_there_is_an_error(status: int, content_type: str, body: bytes) -> None:
    """error_from is total: it never raises, and its str() is short and of one line."""
    error = error_from(status, content_type, body)
    assert isinstance(error, AlmaError)
    assert len(str(error)) < 200
    assert "\n" not in str(error)


@needs_samples
@pytest.mark.parametrize(
    ("file", "status", "kind", "code", "tracking_id"),
    [
        ("error_401604_no_result_key_2026.http", 400, Refused, "401604", "E01-1409095747-SS4OE-AWAE1612166395"),
        ("error_401858_external_id.xml", 400, Refused, "401858", "E01-1003193841-69PD8-AWAE2124448477"),
        ("error_401861_with_headers.http", 400, NotFound, "401861", "E01-1312124118-MORQS-AWAE1344225209"),
        ("user_ogrouch.json", 400, NotFound, "401861", "E02-2001144552-5DTGF-AWAE1595806974"),
        ("error_404_gateway_wrapped_object.json", 404, Refused, "NOT_FOUND", None),
        ("error_response.json", 400, Refused, "401664", "E01-2807130310-LFIHK-AWAE210516550"),
        ("error_response.xml", 400, Refused, "401664", "E02-2807130150-8OWYS-AWAE533535741"),
        ("error_unauthorized.xml", 400, Unauthorized, "UNAUTHORIZED", None),
        ("daily_threshold.xml", 429, DailyThreshold, "DAILY_THRESHOLD", None),
        ("per_second_threshold.xml", 429, PerSecondThreshold, "PER_SECOND_THRESHOLD", None),
        ("per_second_threshold_error_response.json", 429, PerSecondThreshold, "PER_SECOND_THRESHOLD", None),
    ],
)
def test_recorded_errors_parse(
    file: str, status: int, kind: type[AlmaError], code: str, tracking_id: str | None
) -> None:
    """Every recorded error body gives its type, code and tracking id."""
    body = (SAMPLES / file).read_bytes()
    if file.endswith(".http"):
        body = body.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    error = error_from(status, JSON, body)
    assert type(error) is kind
    assert (error.code, error.tracking_id) == (code, tracking_id)
    assert "Tracking ID" not in error.message
