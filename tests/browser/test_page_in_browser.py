"""The sandbox's page in a browser, with functions of this process behind it."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from html import escape
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.serving import running
from sandbox.stack import FunctionError
from sandbox.web.cloud import Alarm
from sandbox.web.server import application
from tests.conftest import PATIENCE
from tests.fake_cloud import (
    DASHBOARD_FUNCTION,
    NAME,
    OPERATOR_FUNCTION,
    FakeCloud,
    arn_of,
    body,
    custom,
    emf,
    mail,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

HELD = custom("Held")
LONG = "Bibliothèque interuniversitaire-Sainte-Geneviève-" * 4


def action(content: str = "{}", **attributes: str) -> str:
    """A `cwdb-action` of CloudWatch's."""
    given = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
    return f"<cwdb-action {given}>{content}</cwdb-action>"


def button(label: str, content: str = "{}", **attributes: str) -> str:
    """A button as CloudWatch wants it, and what it does; the operator function is called unless it is told."""
    call = {"action": "call", "endpoint": arn_of(OPERATOR_FUNCTION)}
    return f'<a class="btn">{label}</a>{action(content, **call | attributes)}'


def held_widget(_: dict[str, Any]) -> str:
    """What waits for a decision, with a field for who decides."""
    told = json.dumps({"command": "approve", "run_id": "r1", "institution": "01OHIO_AAA"})
    return (
        '<form><label>Who decides <input name="by" value=""></label>'
        '<label><input type="checkbox" name="read">The list was read</label>'
        '<label><input type="checkbox" name="unread" value="no">Not read</label></form>'
        + button("Approve", told, display="popup", confirmation="Delete 12 patrons of Alder?\nIt can't be undone.")
        + button("Reject", told.replace("approve", "reject"), confirmation="Reject 12?")
    )


@pytest.fixture
def cloud() -> FakeCloud:
    """A dashboard with one widget, of what is held, and an operator who does as told."""
    answers = {DASHBOARD_FUNCTION: held_widget, OPERATOR_FUNCTION: lambda event: f"<p>{event['command']} noted</p>"}
    return FakeCloud({NAME: body(HELD)}, answers)


@pytest.fixture
def url(cloud: FakeCloud) -> Iterator[str]:
    """The page's address."""
    with running(application(cloud)) as address:
        yield address


def widget(page: "Page", title: str) -> "Locator":
    """A widget that has been loaded."""
    found = page.get_by_role("region", name=title)
    found.and_(page.locator("[aria-busy=false]")).wait_for()
    return found


def text_of(page: "Page", title: str) -> str:
    """What one reads in a widget that has been loaded."""
    content = widget(page, title).locator(".content")
    text: str = content.evaluate("one => [...one.shadowRoot.children].map((child) => child.innerText).join('\\n')")
    return text


def box_of(found: "Locator") -> dict[str, float]:
    """Where something is on the page, in pixels."""
    box = found.bounding_box()
    assert box is not None
    return {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}


def operator_calls(cloud: FakeCloud) -> list[dict[str, Any]]:
    """What the operator function was told."""
    return [event for function, event in cloud.calls if function == OPERATOR_FUNCTION]


def shows(cloud: FakeCloud, html: str) -> None:
    """Have the widget show this."""
    cloud.answers[DASHBOARD_FUNCTION] = lambda _: html


def test_widgets_of_all_kinds_are_shown_where_they_lie(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """Each widget shows its content at its place on the grid: left or right, wide or narrow, above or below."""
    dimensions = {"action": "purge", "outcome": "purged", "service": "engine"}
    cloud.lines = [emf("Outcomes", value, datetime.now(UTC), **dimensions) for value in (30, 12)]
    cloud.alarm_states = {"failed": Alarm("failed", "ALARM", "A run has failed")}
    metric = ["AlmaPatronLifecycle", "Outcomes", *(part for pair in dimensions.items() for part in pair)]
    cloud.bodies[NAME] = body(
        {
            "type": "text",
            "x": 0,
            "y": 0,
            "width": 24,
            "height": 2,
            "properties": {"markdown": "# Last night\n**fine**"},
        },
        HELD | {"y": 2, "width": 12},
        {"type": "metric", "x": 12, "y": 2, "properties": {"title": "Outcomes", "stat": "Sum", "metrics": [metric]}},
        {"type": "metric", "x": 18, "y": 2, "properties": {"title": "Errors", "metrics": [["AWS/Lambda", "Errors"]]}},
        {"type": "alarm", "x": 0, "y": 8, "properties": {"title": "Alarms", "alarms": ["arn:aws:x:y:z:alarm:failed"]}},
        {"type": "log", "x": 6, "y": 8, "properties": {"title": "Query", "query": "fields @message | limit 20"}},
    )
    browser_page.goto(url)
    shown = {
        "text widget": "Last night\nfine",
        "Held": "Who decides",
        "Outcomes": "Outcomes purge purged\t42",
        "Errors": "on AWS alone",
        "Alarms": "failed\talarm",
        "Query": "fields @message | limit 20",
    }
    assert {title: text for title, text in shown.items() if text not in text_of(browser_page, title)} == {}
    text, held, outcomes, errors, alarms = (
        box_of(widget(browser_page, name)) for name in ("text widget", "Held", "Outcomes", "Errors", "Alarms")
    )
    assert text["y"] < held["y"] == outcomes["y"] == errors["y"] < alarms["y"]
    assert held["x"] + held["width"] < outcomes["x"] < errors["x"]
    assert text["width"] == pytest.approx(2 * held["width"], abs=20) == pytest.approx(4 * errors["width"], abs=60)
    assert held["height"] == pytest.approx(3 * text["height"], abs=40)


def test_a_held_run_is_approved(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """Cancel does nothing; Confirm calls the operator once, with the form's fields; then the widget is asked anew."""
    browser_page.goto(url)
    held = widget(browser_page, "Held")
    held.get_by_label("Who decides").fill("Ana Systems")
    held.get_by_label("The list was read").check()
    held.get_by_role("button", name="Approve").click()
    asked = browser_page.get_by_role("alertdialog", name="Please confirm")
    assert "Delete 12 patrons of Alder?\nIt can't be undone." in asked.inner_text()
    asked.get_by_role("button", name="Cancel").click()
    asked.wait_for(state="hidden")
    assert operator_calls(cloud) == []
    assert held.get_by_label("Who decides").input_value() == "Ana Systems"

    held.get_by_role("button", name="Approve").click()
    asked.get_by_role("button", name="Confirm").click()
    popup = browser_page.get_by_role("dialog", name="Held")
    popup.get_by_text("approve noted").wait_for()
    (told,) = operator_calls(cloud)
    context = told.pop("widgetContext")
    assert told == {"command": "approve", "run_id": "r1", "institution": "01OHIO_AAA"}
    assert context["forms"] == {"all": {"by": "Ana Systems", "read": "on"}}
    assert context["dashboardName"] == NAME
    assert context["params"] == {"view": "held"}
    assert (context["width"], context["height"]) > (1000, 200)

    shows(cloud, "<p>Nothing waits.</p>")
    popup.get_by_role("button", name="Close").click()
    held.get_by_text("Nothing waits.").wait_for()
    assert len(operator_calls(cloud)) == 1


def test_a_held_run_is_rejected_by_keyboard(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """The buttons are reached and pressed by keyboard; the answer takes the place of the widget's content."""
    browser_page.goto(url)
    held = widget(browser_page, "Held")
    held.get_by_label("Who decides").focus()
    for _ in range(4):  # two boxes to tick, Approve, Reject
        browser_page.keyboard.press("Tab")
    browser_page.keyboard.press("Enter")
    browser_page.get_by_role("alertdialog").get_by_text("Reject 12?").wait_for()
    browser_page.keyboard.press("Tab")  # from Cancel, which has the focus, to Confirm
    browser_page.keyboard.press("Enter")
    held.get_by_text("reject noted").wait_for()
    assert [told["command"] for told in operator_calls(cloud)] == ["reject"]
    assert held.get_by_label("Who decides").count() == 0
    assert browser_page.get_by_role("dialog", name="Held").is_hidden()


def test_a_button_works_once_while_its_call_runs(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """A second press during a call does nothing."""
    go_on = threading.Event()
    shows(cloud, button("Approve"))
    cloud.answers[OPERATOR_FUNCTION] = lambda _: f"<p>done: {go_on.wait(20)}</p>"
    browser_page.goto(url)
    pressed = widget(browser_page, "Held").get_by_text("Approve")
    pressed.click()
    browser_page.locator(".btn[aria-disabled=true]").wait_for()
    pressed.click(force=True)
    pressed.press("Enter")
    go_on.set()
    browser_page.get_by_text("done: True").wait_for()
    assert len(operator_calls(cloud)) == 1


def test_an_error_is_told_and_nothing_typed_is_lost(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """A function that raises is told in a box; the widget and its fields stay, and the button can be pressed again."""

    def refuse(_: dict[str, Any]) -> str:
        raise FunctionError(OPERATOR_FUNCTION, "EventError", "by: say <who> decides")

    cloud.answers[OPERATOR_FUNCTION] = refuse
    browser_page.goto(url)
    held = widget(browser_page, "Held")
    held.get_by_label("Who decides").fill("Ana")
    for presses in (1, 2):
        held.get_by_role("button", name="Reject").click()
        with browser_page.expect_response("**/call"):
            browser_page.get_by_role("button", name="Confirm").click()
        held.get_by_role("alert").filter(has_text="EventError: by: say <who> decides").wait_for()
        assert held.get_by_role("alert").count() == 1
        assert held.get_by_label("Who decides").input_value() == "Ana"
        assert len(operator_calls(cloud)) == presses


def test_a_widget_that_fails_says_so_alone(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """The box stands in the place of the content; the other widgets are shown, and a refresh mends it."""

    def fail(event: dict[str, Any]) -> str:
        if event["view"] == "held":
            raise FunctionError(DASHBOARD_FUNCTION, "Unreadable", "no table")
        return "<p>works</p>"

    cloud.answers[DASHBOARD_FUNCTION] = fail
    cloud.bodies[NAME] = body(HELD, custom("Runs", params={"view": "runs"}) | {"y": 6})
    browser_page.goto(url)
    assert widget(browser_page, "Held").get_by_role("alert").is_visible()
    assert text_of(browser_page, "Held") == "The function failed. Unreadable: no table"
    assert text_of(browser_page, "Runs") == "works"
    shows(cloud, "<p>mended</p>")
    browser_page.get_by_role("button", name="Refresh").click()
    widget(browser_page, "Held").get_by_text("mended").wait_for()
    assert widget(browser_page, "Held").get_by_role("alert").count() == 0


def test_html_opens_in_a_popup(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """Without a call the element's own HTML is shown, actions in it included; no function is asked for it."""
    inner = button("Approve", '{"command": "approve"}', display="popup")
    more = f"<p>12 patrons</p><label>By <input name='by'></label>{inner}"
    shows(cloud, f"<a>More</a>{action(more, display='popup')}<i>Hint</i>{action('<p>hinted</p>', event='mouseenter')}")
    browser_page.goto(url)
    held = widget(browser_page, "Held")
    assert held.get_by_text("12 patrons").count() == 0
    held.get_by_role("button", name="More").click()
    popup = browser_page.get_by_role("dialog", name="Held")
    popup.get_by_text("12 patrons").wait_for()
    assert len(cloud.calls) == 1
    popup.get_by_label("By").fill("Ana")
    popup.get_by_role("button", name="Approve").click()
    popup.get_by_text("approve noted").wait_for()
    assert operator_calls(cloud)[0]["widgetContext"]["forms"] == {"all": {"by": "Ana"}}
    browser_page.keyboard.press("Escape")
    popup.wait_for(state="hidden")
    held.get_by_text("Hint").hover()
    held.get_by_text("hinted").wait_for()


def test_hostile_html_does_nothing(cloud: FakeCloud, url: str, browser: "Browser") -> None:
    """No script, no event handler, no link to a script and no style of a widget reaches beyond its HTML."""
    shows(
        cloud,
        "<script>window.stolen = 1</script><img src=/nothing.png onerror='window.stolen = 2'>"
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=' onload='window.stolen = 3'>"
        "<svg onload='window.stolen = 4'></svg><img src='https://evil.example/?'>"
        "<a href='javascript:window.stolen = 5'>link</a><a href=' java\nscript:window.stolen = 6'>other</a>"
        "<form action='/mail' onsubmit='window.stolen = 7'><input name=attributes><button>send</button></form>"
        "<meta http-equiv=refresh content='0;url=https://evil.example/'><base href='https://evil.example/'>"
        "<iframe srcdoc='<script>parent.stolen = 8</script>'></iframe><object data=/x></object>"
        "<style>body, .widget { display: none !important }"
        ":host, .cover { position: fixed !important; inset: 0; z-index: 9 }</style><div class=cover>cover</div>"
        "<b>More</b><cwdb-action><img src=x onerror='window.stolen = 9'><script>window.stolen = 10</script><p>shown</p>"
        "</cwdb-action>",
    )
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        held = widget(page, "Held")
        for text in ("link", "other", "send"):
            held.get_by_text(text).dispatch_event("click")
        page.get_by_role("button", name="Refresh").click()  # nothing lies over it
        held.get_by_text("More").dispatch_event("click")
        held.get_by_text("shown").wait_for()
        assert page.evaluate("window.stolen") is None
        assert (page.url, len(context.pages)) == (f"{url}/", 1)
        own = (f"{url}/static/", f"{url}/widget", "data:image/gif")
        assert [address for address in asked if address != f"{url}/" and not address.startswith(own)] == []


def test_the_policy_stops_scripts_by_itself(url: str, browser: "Browser") -> None:
    """Were a script to get onto the page nevertheless, the browser would refuse to run it."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.stolen = 1";
                const image = document.createElement("img");
                image.setAttribute("onerror", "window.stolen = 2");
                image.src = "data:,";
                document.body.append(script, image);
                return new Promise((resolve) => image.addEventListener("error", resolve));
            }"""
        )
        assert page.evaluate("window.stolen") is None


@pytest.mark.parametrize("width", [1400, 400])
def test_long_names_and_many_rows_scroll_inside_their_widget(
    cloud: FakeCloud, url: str, browser_page: "Page", width: int
) -> None:
    """200 institutions with long names make neither the page nor the widget wider; the last one can be scrolled to."""
    rows = "".join(f"<tr><td>{LONG}{number}</td><td>{'x' * 90}</td></tr>" for number in range(200))
    shows(cloud, f"<table><thead><tr><th>Name</th><th>Note</th></tr></thead><tbody>{rows}</tbody></table>")
    browser_page.set_viewport_size({"width": width, "height": 900})
    browser_page.goto(url)
    held = widget(browser_page, "Held")
    assert browser_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    box = box_of(held)
    assert box["width"] < width
    assert box["height"] < 900
    last = held.get_by_role("cell", name=f"{LONG}199", exact=True)
    last.scroll_into_view_if_needed()
    box, reached = box_of(held), box_of(last)
    assert box["y"] < reached["y"] + reached["height"] <= box["y"] + box["height"]
    assert held.locator(".content").get_attribute("tabindex") == "0"


def test_no_rows_and_no_widgets_are_shown_as_such(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """A widget without content stays empty, and a dashboard without widgets says so."""
    shows(cloud, "")
    cloud.bodies["second"] = body()
    browser_page.goto(url)
    assert text_of(browser_page, "Held") == ""
    browser_page.get_by_role("link", name="second").click()
    browser_page.get_by_text("This dashboard has no widgets.").wait_for()
    assert browser_page.get_by_role("link", name="second").get_attribute("aria-current") == "page"


def test_the_time_range_reaches_the_widgets_that_follow_it(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """Only widgets whose updateOn says so are asked anew, and are told the range."""
    follows = custom("Runs", updateOn={"timeRange": True}) | {"y": 6}
    cloud.bodies[NAME] = body(HELD, follows, start="-P7D")
    shows(cloud, "<p>here</p>")
    browser_page.goto(url)
    widget(browser_page, "Held")
    widget(browser_page, "Runs")
    assert {event["widgetContext"]["timeRange"]["relativeStart"] for _, event in cloud.calls} == {7 * 24 * 3600 * 1000}
    cloud.calls.clear()
    with browser_page.expect_response("**/widget"):
        browser_page.get_by_label("Time range").select_option("1 day")
    (event,) = (event for _, event in cloud.calls)
    assert (event["view"], event["widgetContext"]["timeRange"]["relativeStart"]) == ("runs", 24 * 3600 * 1000)


def test_the_theme_is_the_systems(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """In the dark the page is dark, and the widget's function hears of it."""
    browser_page.emulate_media(color_scheme="dark")
    browser_page.goto(url)
    widget(browser_page, "Held")
    assert cloud.calls[0][1]["widgetContext"]["theme"] == "dark"
    background = browser_page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(","))) < 3 * 64


def test_a_mail_is_read(cloud: FakeCloud, url: str, browser_page: "Page") -> None:
    """The mail box shows text and HTML, in which no script runs, and gives the attachment to store."""
    message = EmailMessage()
    message["Subject"] = "Coming purge <b>"
    message.set_content("12 patrons go")
    message.add_alternative("<p>12 <b>patrons</b></p><a href='/static/page.css'>report</a>", subtype="html")
    message.add_attachment(b"a,b\r\n", maintype="text", subtype="csv", filename="outcomes.csv")
    cloud.sent = [mail(bytes(message))]
    browser_page.goto(url)
    browser_page.get_by_role("link", name="Mail box").click()
    browser_page.get_by_text("Coming purge <b>").wait_for()
    assert browser_page.get_by_text("12 patrons go").is_visible()
    inside = browser_page.frame_locator("iframe")
    assert inside.locator("b").inner_text() == "patrons"
    with browser_page.expect_download() as download:
        browser_page.get_by_role("link", name="outcomes.csv").click()
    assert download.value.path().read_bytes() == b"a,b\r\n"
    with browser_page.expect_popup() as opened:
        inside.get_by_role("link", name="report").click()
    assert opened.value.url == f"{url}/static/page.css"
