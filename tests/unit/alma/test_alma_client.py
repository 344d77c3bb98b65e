"""The client reaches what it is asked to, repeats only what may be repeated, and keeps key and URLs to itself."""

import http.server
import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from urllib3.exceptions import LocationParseError

from patron_lifecycle.alma.client import AlmaClient, NotAddressable
from patron_lifecycle.alma.errors import (
    AlmaError,
    DailyThreshold,
    NotFound,
    PerSecondThreshold,
    Refused,
    Unauthorized,
    Unavailable,
)
from patron_lifecycle.alma.pace import Pace, TooLate
from tests.unit.alma.scripted_alma import Answer, FakeClock, ScriptedAlma, client_of, error_reply, reply

KEY = "l7xxSECRETKEY"
PATRON = "jane@example.edu"
OK = {"primary_id": PATRON}


def throttled() -> requests.Response:
    """Alma's 429."""
    return error_reply("PER_SECOND_THRESHOLD", 429)


UNCLEAR: dict[str, tuple[Callable[[], Answer], str]] = {
    "503": (lambda: reply(b"<html>503</html>", 503), "http_503"),
    "gateway error": (lambda: error_reply("GENERAL_ERROR"), "GENERAL_ERROR"),
    "cut-off 400": (lambda: reply(b'{"errorsExist": tr', 400), "http_400"),
    "redirect": (lambda: reply(b"", 302, {"Location": "https://elsewhere.example.edu/"}), "http_302"),
    "read timeout": (lambda: requests.ReadTimeout("x"), "timeout"),
    "connect timeout": (lambda: requests.ConnectTimeout("x"), "timeout"),
    "reset": (lambda: requests.ConnectionError("x"), "connection"),
    "broken in the middle": (lambda: requests.exceptions.ChunkedEncodingError("x"), "broken_reply"),
    "empty 200": (lambda: reply(b""), "unreadable_reply"),
    "HTML 200": (lambda: reply(b"<html></html>"), "unreadable_reply"),
    "cut-off 200": (lambda: reply(b'{"primary_id": "ja'), "unreadable_reply"),
    "list 200": (lambda: reply(b"[]"), "unreadable_reply"),
    "not UTF-8": (lambda: reply(b'{"primary_id": "\xe4"}'), "unreadable_reply"),
    "too deep": (lambda: reply(b"[" * 100_000), "unreadable_reply"),
    "204": (lambda: reply(b"", 204), "unreadable_reply"),
}
FINAL: dict[str, tuple[Callable[[], Answer], type[AlmaError]]] = {
    "daily": (lambda: error_reply("DAILY_THRESHOLD", 429), DailyThreshold),
    "unauthorized": (lambda: error_reply("UNAUTHORIZED"), Unauthorized),
    "not found": (lambda: error_reply("401861"), NotFound),
    "refused": (lambda: error_reply("401664"), Refused),
    "an error with 200": (lambda: reply(error_reply("UNAUTHORIZED").content), Unauthorized),
    "a wrapped error with 200": (
        lambda: reply({"web_service_result": {"errorList": {"error": {"errorCode": "UNAUTHORIZED"}}}}),
        Unauthorized,
    ),
}


@pytest.fixture
def clock() -> FakeClock:
    """Time that moves by sleeping alone."""
    return FakeClock()


def test_a_call_is_addressed_and_authorized_as_alma_documents(clock: FakeClock) -> None:
    """Base URL, path prefix, query, key header and JSON are as the official API wants them."""
    alma = ScriptedAlma([reply(OK)], clock)
    assert client_of(alma, clock).get(("users", PATRON), {"limit": 100, "q": "name~a_b"}) == OK
    sent = alma.requests[0]
    assert sent.method == "GET"
    assert sent.url == "https://alma.example.edu/almaws/v1/users/jane%40example.edu?limit=100&q=name~a_b"
    assert sent.headers["Authorization"] == f"apikey {KEY}"
    assert sent.headers["Accept"] == "application/json"
    assert sent.body is None


def test_a_put_carries_its_record_as_json(clock: FakeClock) -> None:
    """The body of a PUT is the JSON of what is given, and the answer is given back."""
    alma = ScriptedAlma([reply(OK)], clock)
    assert client_of(alma, clock).put(("users", PATRON), {"last_name": "Bäcker"}) == OK
    sent = alma.requests[0]
    assert (sent.method, sent.headers["Content-Type"]) == ("PUT", "application/json")
    assert isinstance(sent.body, bytes)
    assert json.loads(sent.body) == {"last_name": "Bäcker"}


@pytest.mark.parametrize(
    "segment",
    ["a/b", "a?b", "a#b", "100%", "%2e%2e", "%2F", " a b ", "ä", "...", "..a", "a;b", "a\\b", "a:b", "-", "~"],
)
def test_any_id_is_one_path_segment(segment: str, clock: FakeClock) -> None:
    """Whatever stands in an id, it stays one segment of the path and comes out the same."""
    alma = ScriptedAlma([reply(OK)], clock)
    client_of(alma, clock).get(("users", segment, "loans"))
    parts = alma.paths[0].split("/")
    assert parts[:4] == ["", "almaws", "v1", "users"]
    assert [unquote(part) for part in parts[4:]] == [segment, "loans"]


def test_an_id_that_is_no_valid_unicode_is_sent_all_the_same(clock: FakeClock) -> None:
    """A lone surrogate doesn't end in an exception that shows the id: Alma may say that there is no such user."""
    alma = ScriptedAlma([error_reply("401861")], clock)
    with pytest.raises(NotFound):
        client_of(alma, clock).get(("users", "\ud800"))


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_an_id_that_url_normalisation_would_drop_is_refused(segment: str, clock: FakeClock) -> None:
    """Such an id would address the list of users, or something else again: no call is made."""
    alma = ScriptedAlma([], clock)
    client = client_of(alma, clock)
    with pytest.raises(NotAddressable):
        client.get(("users", segment))
    with pytest.raises(NotAddressable):
        client.put(("users", segment), {})
    assert client.calls == 0


@pytest.mark.parametrize("kind", UNCLEAR)
def test_a_get_is_tried_again_when_the_answer_is_unclear(kind: str, clock: FakeClock) -> None:
    """Outages, broken and unreadable replies are worth another GET."""
    trouble, _ = UNCLEAR[kind]
    alma = ScriptedAlma([trouble(), trouble(), reply(OK)], clock)
    client = client_of(alma, clock)
    assert client.get(("users", PATRON)) == OK
    assert (client.calls, client.throttled) == (3, 0)


@pytest.mark.parametrize("kind", UNCLEAR)
def test_a_write_is_never_sent_again_when_the_answer_is_unclear(kind: str, clock: FakeClock) -> None:
    """It may have been carried out: one request, and Unavailable with a code that says what happened."""
    trouble, code = UNCLEAR[kind]
    alma = ScriptedAlma([trouble()], clock)
    with pytest.raises(Unavailable) as caught:
        client_of(alma, clock).put(("users", PATRON), {})
    assert caught.value.code == code
    assert len(alma.requests) == 1


@pytest.mark.parametrize("kind", FINAL)
@pytest.mark.parametrize("method", ["get", "put"])
def test_a_clear_no_is_never_asked_again(kind: str, method: str, clock: FakeClock) -> None:
    """Spent quota, refused key, unknown user and refused call end a GET and a write at once."""
    answer, error = FINAL[kind]
    alma = ScriptedAlma([answer()], clock)
    client = client_of(alma, clock)
    with pytest.raises(error):
        client.get(("users", PATRON)) if method == "get" else client.put(("users", PATRON), {})
    assert len(alma.requests) == 1


@pytest.mark.parametrize("method", ["get", "put"])
def test_a_429_slows_the_pace_and_the_call_is_sent_again(method: str, clock: FakeClock) -> None:
    """Alma did nothing, so that writes too are repeated, a second later; each 429 is counted."""
    alma = ScriptedAlma([throttled(), throttled(), reply(OK)], clock)
    client = client_of(alma, clock)
    assert (client.get(("users", PATRON)) if method == "get" else client.put(("users", PATRON), {})) == OK
    assert alma.times == pytest.approx([1000, 1001, 1002])
    assert (client.calls, client.throttled) == (3, 2)


def test_retries_are_bounded_by_time(clock: FakeClock) -> None:
    """A GET that goes on failing is given up within retry_seconds, with the last error."""
    alma = ScriptedAlma(lambda _: error_reply("GENERAL_ERROR"), clock)
    with pytest.raises(Unavailable, match="GENERAL_ERROR"):
        client_of(alma, clock, retry_seconds=30).get(("users", PATRON))
    assert len(alma.requests) > 3
    assert alma.times[-1] <= 1030


def test_a_write_that_is_throttled_for_ever_is_given_up(clock: FakeClock) -> None:
    """After retry_seconds of 429s the write ends as PerSecondThreshold: Alma has not carried it out."""
    alma = ScriptedAlma(lambda _: throttled(), clock)
    with pytest.raises(PerSecondThreshold):
        client_of(alma, clock, retry_seconds=10).put(("users", PATRON), {})
    assert alma.times == pytest.approx([1000 + second for second in range(11)])


def test_a_write_does_not_start_after_not_after(clock: FakeClock) -> None:
    """A throttled write isn't repeated once the record that it rests on is too old."""
    alma = ScriptedAlma(lambda _: throttled(), clock)
    with pytest.raises(TooLate):
        client_of(alma, clock).put(("users", PATRON), {}, not_after=1002.5)
    assert alma.times == pytest.approx([1000, 1001, 1002])


def test_no_call_starts_after_the_deadline(clock: FakeClock) -> None:
    """The deadline ends retries with the last error, and bars calls whose turn comes later, writes included."""
    alma = ScriptedAlma(lambda _: error_reply("GENERAL_ERROR"), clock)
    client = client_of(alma, clock)
    client.deadline = 1000
    with pytest.raises(Unavailable):
        client.get(("users", PATRON))
    assert (len(alma.requests), clock.now) == (1, 1000)
    clock.now = 1000.1
    with pytest.raises(TooLate):
        client.get(("users", PATRON))
    with pytest.raises(TooLate):
        client.put(("users", PATRON), {}, not_after=2000)
    assert len(alma.requests) == 1


def test_remaining_calls_are_the_last_readable_header(clock: FakeClock) -> None:
    """X-Exl-Api-Remaining is read from every reply, errors too; what is no number is ignored."""
    headers = [{}, {"X-Exl-Api-Remaining": "498668"}, {"x-exl-api-remaining": "many"}, {"X-Exl-Api-Remaining": "-1"}]
    alma = ScriptedAlma([reply(OK, headers=each) for each in headers], clock)
    client = client_of(alma, clock)
    seen = []
    for _ in headers:
        client.get(("users", PATRON))
        seen.append(client.remaining)
    assert seen == [None, 498668, 498668, 498668]
    refusal = error_reply("401861")
    refusal.headers["X-Exl-Api-Remaining"] = "7"
    client = client_of(ScriptedAlma([refusal], clock), clock)
    with pytest.raises(NotFound):
        client.get(("users", PATRON))
    assert client.remaining == 7


def test_the_pace_learns_the_latency(clock: FakeClock) -> None:
    """Slow calls, failed ones included, raise the number of threads."""
    alma = ScriptedAlma(lambda _: requests.ReadTimeout("x"), clock)
    alma.latency = 5
    client = client_of(alma, clock)
    before = client.pace.concurrency
    with pytest.raises(Unavailable):
        client.get(("users", PATRON))
    assert client.pace.concurrency > before


def test_text_is_given_whatever_its_type(clock: FakeClock) -> None:
    """The test operation may answer XML although JSON was asked; errors are typed there too."""
    text = "<test>POST - OK - institutionCode: 01ABC_INST</test>"
    alma = ScriptedAlma([reply(b""), reply(text.encode())], clock)
    client = client_of(alma, clock)
    assert client.post_text(("users", "operation", "test")) == ""
    assert client.post_text(("users", "operation", "test")) == text
    assert [(sent.method, sent.body) for sent in alma.requests] == [("POST", None), ("POST", None)]
    refusal = "<web_service_result><errorsExist>true</errorsExist><errorList><error><errorCode>UNAUTHORIZED</errorCode>"
    refusal += "</error></errorList></web_service_result>"
    for status in (200, 400):
        client = client_of(ScriptedAlma([reply(refusal.encode(), status)], clock), clock)
        with pytest.raises(Unauthorized):
            client.post_text(("users", "operation", "test"))


@pytest.mark.parametrize("method", ["get", "put"])
@pytest.mark.parametrize(
    "kind",
    [requests.ReadTimeout, requests.ConnectionError, requests.exceptions.ChunkedEncodingError, LocationParseError],
)
def test_no_exception_shows_key_or_patron(kind: type[Exception], method: str, clock: FakeClock) -> None:
    """What the HTTP library says, URL and headers included, is in no text and on no chain of the error raised."""
    leak = kind(f"https://alma.example.edu/almaws/v1/users/{PATRON} Authorization: apikey {KEY}")
    client = client_of(ScriptedAlma(lambda _: leak, clock), clock, retry_seconds=2)
    with pytest.raises(Unavailable) as caught:
        client.get(("users", PATRON)) if method == "get" else client.put(("users", PATRON), {})
    error: BaseException | None = caught.value
    while error is not None:
        assert isinstance(error, AlmaError)
        assert error.__cause__ is None
        shown = "".join(traceback.format_exception(error)) + repr(error) + str(error.__dict__)
        assert "example.edu" not in shown
        assert KEY not in shown
        error = error.__context__


@pytest.mark.parametrize("key", ["", "l7xx\nSECRET", "l7xx SECRET", "l7xxSECRET\r\n", "l7xxSECRÈT"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str, clock: FakeClock) -> None:
    """The error says what to do, and not one part of the key."""
    with pytest.raises(ValueError, match="API key") as caught:
        AlmaClient(base_url="https://alma.example.edu", api_key=key, pace=Pace(20))
    assert "l7xx" not in str(caught.value)


def test_the_client_does_not_show_its_key(clock: FakeClock) -> None:
    """A client that gets into a log line tells nothing."""
    assert KEY not in repr(client_of(ScriptedAlma([], clock), clock))


def test_a_base_url_needs_its_scheme() -> None:
    """A host name alone is refused at once, not at the first call."""
    with pytest.raises(ValueError, match="https://"):
        AlmaClient(base_url="alma.example.edu", api_key=KEY, pace=Pace(20))


class _Server(http.server.ThreadingHTTPServer):
    """A web server on this machine that keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, int, dict[str, str]]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.client_address[1], dict(self.headers)))
        is_cut_off = self.path.endswith("cut-off")
        body = b'{"primary_id": "jane"}'
        self.send_response(302 if self.path.endswith("moved") else 200)
        if self.path.endswith("moved"):
            self.send_header("Location", "/almaws/v1/users/elsewhere")
        self.send_header("Set-Cookie", "JSESSIONID=1; Path=/")
        self.send_header("Content-Length", str(len(body) + 10 * is_cut_off))
        if self.path.endswith("odd-header"):
            vars(self)["_headers_buffer"].append(b"no colon here\r\n")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = is_cut_off

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    """The web server, running."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: _Server) -> Iterator[AlmaClient]:
    """A client over real HTTP that gives up at once."""
    client = AlmaClient(
        base_url=f"http://127.0.0.1:{server.server_port}", api_key=KEY, pace=Pace(1000), retry_seconds=0
    )
    yield client
    client.close()


def test_over_http_one_connection_is_kept_without_cookies_or_netrc(
    server: _Server, client: AlmaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls share a connection; no cookie goes back, and a .netrc can't replace the key."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for _ in range(3):
        client.get(("users", "jane"))
    ports = {port for _, port, _ in server.seen}
    assert (len(server.seen), len(ports)) == (3, 1)
    for _, _, headers in server.seen:
        assert headers["Authorization"] == f"apikey {KEY}"
        assert "Cookie" not in headers


def test_over_http_redirects_and_cut_off_replies_are_unavailable(server: _Server, client: AlmaClient) -> None:
    """A redirect isn't followed, with the key, to wherever it points; half a body is no answer."""
    with pytest.raises(Unavailable, match="http_302"):
        client.get(("users", "moved"))
    with pytest.raises(Unavailable, match="broken_reply"):
        client.get(("users", "cut-off"))
    assert len(server.seen) == 2


def test_nothing_is_logged_about_whom_was_asked_for(
    server: _Server, client: AlmaClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even with all logging switched on do patron ids or the key get into the log."""
    caplog.set_level(logging.DEBUG)
    client.get(("users", "jane-smith"))
    client.get(("users", "jane-smith", "odd-header"))
    assert len(server.seen) == 2
    assert "jane-smith" not in caplog.text
    assert KEY not in caplog.text
