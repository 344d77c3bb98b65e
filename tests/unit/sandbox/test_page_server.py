"""The page's server: what it shows, whom it lets ask, and what it calls."""

from collections.abc import Iterator
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest
import requests

from sandbox.sandbox import SandboxError
from sandbox.serving import running
from sandbox.stack import FunctionError
from sandbox.web.cloud import Alarm
from sandbox.web.server import POLICY, application
from tests.fake_cloud import (
    DASHBOARD_FUNCTION,
    NAME,
    OPERATOR_FUNCTION,
    OTHER_FUNCTION,
    FakeCloud,
    arn_of,
    body,
    custom,
    mail,
)

if TYPE_CHECKING:
    from sandbox.mail import Mail

ASKED = {"dashboard": NAME, "widget": 0, "view": {}}
PRESSED = ASKED | {"endpoint": arn_of(OPERATOR_FUNCTION), "params": {"command": "approve"}}


@pytest.fixture
def cloud() -> FakeCloud:
    """A dashboard with one custom widget."""
    answers: dict[str, Any] = {DASHBOARD_FUNCTION: lambda _: "<p>held</p>", OPERATOR_FUNCTION: lambda _: "<p>noted</p>"}
    return FakeCloud({NAME: body(custom("Held"))}, answers)


@pytest.fixture
def url(cloud: FakeCloud) -> Iterator[str]:
    """The page's address."""
    with running(application(cloud)) as address:
        yield address


def get(address: str, **headers: str) -> requests.Response:
    """Ask for a page."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(address, headers=headers, timeout=20)


def post(url: str, path: str, asked: object, **headers: str | None) -> requests.Response:
    """Ask as the page's script does; a header that is None isn't sent."""
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url + path, json=asked, headers={"Origin": url, **headers}, timeout=20)


def answer(url: str, cloud: FakeCloud, widget: dict[str, Any]) -> dict[str, Any]:
    """What the page is given to show in a widget."""
    cloud.bodies[NAME] = body(widget)
    reply = post(url, "/widget", ASKED)
    assert reply.status_code == 200
    given: dict[str, Any] = reply.json()
    return given


def test_the_first_dashboard_is_shown_with_ways_to_the_others(url: str, cloud: FakeCloud) -> None:
    """Without a choice it is the first by name; names are escaped, in the page and in its links."""
    hostile = "<b>&x"
    cloud.bodies = {"zz": body(), hostile: body(custom("<i>Held</i>"))}
    first = get(url).text
    assert "<h1>&lt;b&gt;&amp;x</h1>" in first
    assert 'href="/?dashboard=%3Cb%3E%26x" aria-current="page"' in first
    assert 'href="/?dashboard=zz"' in first
    assert "&lt;i&gt;Held&lt;/i&gt;" in first
    assert "<i>" not in first
    assert "This dashboard has no widgets." in get(f"{url}/?dashboard=zz").text


def test_what_can_not_be_shown_is_told(url: str, cloud: FakeCloud) -> None:
    """No dashboard, an unknown one and a malformed one each have a page that says so."""
    cloud.bodies = {}
    assert "There is no dashboard" in get(url).text
    cloud.bodies = {"bad": "{}"}
    assert "bad isn&#39;t a dashboard that CloudWatch could show: widgets: Field required" in get(url).text
    unknown = get(f"{url}/?dashboard=none")
    assert (unknown.status_code, "There is no dashboard none." in unknown.text) == (404, True)
    assert get(f"{url}/nothing").status_code == 404


def test_a_sandbox_that_is_still_starting_is_told(url: str, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is ready the page says so, in HTML, and to the page's script in JSON."""

    def fail(_: FakeCloud) -> dict[str, str]:
        raise SandboxError("it is still starting")

    monkeypatch.setattr(FakeCloud, "dashboards", fail)
    page, widget = get(url), post(url, "/widget", ASKED)
    assert (page.status_code, "it is still starting" in page.text) == (503, True)
    assert (widget.status_code, widget.json()) == (503, {"error": "it is still starting"})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("<b>as it is</b>", "<b>as it is</b>"),
        ({"markdown": "**bold** <script>"}, "<p><strong>bold</strong> &lt;script&gt;</p>"),
        ({"held": ["<i>"]}, "<pre>{\n  &#34;held&#34;: [\n    &#34;&lt;i&gt;&#34;\n  ]\n}</pre>"),
        (None, "<pre>null</pre>"),
    ],
)
def test_answers_are_shown_as_cloudwatch_does(url: str, cloud: FakeCloud, given: object, shown: str) -> None:
    """Text is HTML, markdown is rendered, and anything else is JSON to read."""
    cloud.answers[DASHBOARD_FUNCTION] = lambda _: given
    assert answer(url, cloud, custom("Held"))["html"].strip() == shown


def test_a_widget_is_asked_for_with_its_params_and_context(url: str, cloud: FakeCloud) -> None:
    """The function gets the widget's own params beside what CloudWatch tells it."""
    view = {"theme": "dark", "width": 10, "height": 20, "seconds": 60, "forms": {"by": "Ana"}}
    assert post(url, "/widget", ASKED | {"view": view}).json() == {"html": "<p>held</p>"}
    ((function, event),) = cloud.calls
    context = event.pop("widgetContext")
    assert (function, event) == (DASHBOARD_FUNCTION, {"view": "held"})
    assert (context["theme"], context["width"], context["height"], context["forms"]) == (
        "dark",
        10,
        20,
        {"all": {"by": "Ana"}},
    )


def test_a_press_calls_the_function_that_the_widget_names(url: str, cloud: FakeCloud) -> None:
    """The event is the element's own params, with the context of its widget; the widget's params are in the context."""
    assert post(url, "/call", PRESSED).json() == {"html": "<p>noted</p>"}
    ((function, event),) = cloud.calls
    context = event.pop("widgetContext")
    assert (function, event) == (OPERATOR_FUNCTION, {"command": "approve"})
    assert context["params"] == {"view": "held"}


@pytest.mark.parametrize(
    "endpoint", [arn_of(OTHER_FUNCTION), f"{arn_of(OPERATOR_FUNCTION)}:live", OPERATOR_FUNCTION, ""]
)
def test_no_other_function_is_called(url: str, cloud: FakeCloud, endpoint: str) -> None:
    """An endpoint that isn't one of the two functions is refused, for a press and for a widget."""
    pressed = post(url, "/call", PRESSED | {"endpoint": endpoint})
    assert (pressed.status_code, endpoint in pressed.json()["error"]) == (403, True)
    cloud.bodies[NAME] = body(custom("Held", endpoint=endpoint))
    assert post(url, "/widget", ASKED).status_code == 403
    assert cloud.calls == []


def test_a_function_that_fails_is_told(url: str, cloud: FakeCloud) -> None:
    """The type and the text of the error are what the page shows."""

    def fail(_: object) -> None:
        raise FunctionError(DASHBOARD_FUNCTION, "ValueError", "no <table>")

    cloud.answers[DASHBOARD_FUNCTION] = fail
    assert answer(url, cloud, custom("Held")) == {"error": "The function failed. ValueError: no <table>"}


def test_the_other_kinds_are_shown_without_a_function(url: str, cloud: FakeCloud) -> None:
    """Text, alarms, queries and what only CloudWatch draws; all of it is escaped."""
    cloud.alarm_states = {"<failed>": Alarm("<failed>", "INSUFFICIENT_DATA", "why")}

    def html(kind: str, **properties: object) -> str:
        shown: str = answer(url, cloud, {"type": kind, "properties": properties})["html"]
        return shown

    assert "<h1>Last night</h1>" in html("text", markdown="# Last night\n[bad](javascript:alert(1))")
    assert "<a" not in html("text", markdown="[bad](javascript:alert(1)) <a href=x>")
    alarms = html("alarm", alarms=["arn:aws:cloudwatch:r:1:alarm:<failed>", "arn:aws:cloudwatch:r:1:alarm:gone"])
    assert "&lt;failed&gt;" in alarms
    assert "insufficient data" in alarms
    assert "None of this widget" in html("alarm", alarms=[])
    assert "<pre>filter level = &#39;ERROR&#39;</pre>" in html("log", query="filter level = 'ERROR'")
    assert "type explorer is drawn by CloudWatch" in html("explorer")
    assert "Nothing has been measured" in html(
        "metric", metrics=[[{"expression": "SEARCH('{AlmaPatronLifecycle,action} a', 'Sum', 300)"}]]
    )
    annotated = html("metric", annotations={"alarms": ["arn:aws:cloudwatch:r:1:alarm:<failed>"]})
    assert "&lt;failed&gt;" in annotated
    assert cloud.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": None},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_only_the_page_itself_may_ask(url: str, cloud: FakeCloud, headers: dict[str, str | None]) -> None:
    """A POST of another origin, of none, or not in JSON is refused, before anything is called."""
    for path, asked in (("/call", PRESSED), ("/widget", ASKED)):
        assert post(url, path, asked, **headers).status_code == 403
    assert cloud.calls == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_only_this_machine_may_be_asked_for(url: str, host: str) -> None:
    """A name that leads here from elsewhere is refused; localhost is this machine too."""
    assert get(url, Host=host).status_code == 400
    assert post(url, "/widget", ASKED, Host=host, Origin=f"http://{host}").status_code == 400
    assert get(url.replace("127.0.0.1", "localhost")).status_code == 200


@pytest.mark.parametrize(
    ("path", "asked", "status", "told"),
    [
        ("/widget", ASKED | {"widget": 1}, 404, "load the page again"),
        ("/widget", ASKED | {"dashboard": "gone"}, 404, "load the page again"),
        ("/widget", ASKED | {"widget": -1}, 400, "widget: Input should be greater than or equal to 0"),
        ("/widget", ASKED | {"view": {"seconds": 0}}, 400, "view.seconds"),
        ("/call", ASKED, 400, "endpoint: Field required"),
        ("/call", PRESSED | {"params": []}, 400, "params"),
        ("/nothing", ASKED, 404, "Not Found"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    url: str, cloud: FakeCloud, path: str, asked: object, status: int, told: str
) -> None:
    """The answer says what is wrong, and nothing is called."""
    reply = post(url, path, asked)
    assert (reply.status_code, told in reply.json()["error"]) == (status, True)
    assert cloud.calls == []


def test_every_answer_forbids_scripts_but_the_pages_own(url: str, cloud: FakeCloud) -> None:
    """Pages, files, answers and refusals all carry the policy, and are neither kept nor guessed at."""
    cloud.sent = [mail(b"Subject: x\r\n\r\ny")]
    replies = [get(url + path) for path in ("/", "/mail", "/static/page.js", "/static/none.js", "/nothing")]
    replies += [get(url, Host="evil.example"), post(url, "/widget", ASKED), post(url, "/call", PRESSED, Origin="null")]
    for reply in replies:
        assert reply.headers["Content-Security-Policy"] == POLICY
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
    assert "script-src 'self';" in POLICY
    assert "form-action 'none'" in POLICY


def test_mails_are_shown_escaped(url: str, cloud: FakeCloud) -> None:
    """Subject, text and addresses are text; the HTML goes into a frame that may run nothing."""
    message = EmailMessage()
    message["Subject"] = "<script>alert(1)</script>"
    message.set_content("<b>text</b>")
    message.add_alternative('<p title="x">html</p><script>alert(2)</script>', subtype="html")
    cloud.sent = [mail(bytes(message))]
    page = get(f"{url}/mail").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<pre>&lt;b&gt;text&lt;/b&gt;" in page
    assert "<script" not in page
    frame = page.partition("<iframe")[2].partition(">")[0]
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame
    cloud.sent = []
    assert "No mail has been sent." in get(f"{url}/mail").text


def test_an_attachment_is_given_to_store(url: str, cloud: FakeCloud) -> None:
    """An attached report is stored under its name, and never shown as a page of this origin."""
    message = EmailMessage()
    message.set_content("see the report")
    message.add_attachment("<script>alert(1)</script>", subtype="html", filename='re"port ü.html')
    sent: Mail = mail(bytes(message), "a@email.amazonses.com")
    cloud.sent = [mail(b"Subject: other\r\n\r\nx", "b"), sent]
    reply = get(f"{url}/mail/a@email.amazonses.com/0")
    assert reply.content.strip() == b"<script>alert(1)</script>"
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["Content-Disposition"] == "attachment; filename*=UTF-8''re%22port%20%C3%BC.html"
    for missing in ("a@email.amazonses.com/1", "b/0", "none/0"):
        assert get(f"{url}/mail/{missing}").status_code == 404


def test_a_link_to_a_report_is_followed_as_the_link_function_says(url: str, cloud: FakeCloud) -> None:
    """The page stands in for the function's URL: same redirect, token and all."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{url}/reports/abc-_1", allow_redirects=False, timeout=20)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:9/GET/abc-_1")
