"""A held purge, from the mail that tells of it to its approval, all in a browser, on the deployed stack."""

import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from rich.console import Console

from patron_lifecycle.runs.model import Status
from sandbox.demo import Demo
from sandbox.mail import Mail, mails
from sandbox.sandbox import Sandbox
from sandbox.stack import logs
from tests.e2e.conftest import Deployed

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CCC, NAME = "01OHIO_CCC", "Cedar <b>& Sons</b> College"
DESK = "desk@cedar.example.edu"
WHO = "Mira Systems"


REGISTRY = f"""
institutions:
  - code: {CCC}
    name: "{NAME}"
    region: na
    time_zone: America/New_York
    contacts: [{DESK}]
    notices: true
    policy:
      deactivate: {{select: {{sweep: true}}, max_patrons: 1}}
      purge:
        select: {{set_name: "OHIONET purge"}}
        exclude: {{set_names: ["Community patrons"]}}
        max_percent: 100
"""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A sandbox of its own, with a library that wants to be told, under a name that is nearly HTML."""
    state = tmp_path_factory.mktemp("sandbox")
    running = Sandbox.up(state, REGISTRY, users=300, latency=False)
    yield Deployed(state, running)
    running.down()


def start(deployed: Deployed, **event: Any) -> str:
    """Start a run in the library, and wait until nothing goes on by itself; its run_id."""
    answer = deployed.invoke("enumerator", {"action": "purge", "mode": "apply", "institutions": [CCC], **event})
    run_id: str = answer.json["run_id"]
    deployed.command("wait", run_id)
    return run_id


def mailed(deployed: Deployed, page: "Page", subject: str) -> Mail:
    """The latest mail to the library with these words in its subject, once it is there."""
    for _ in range(200):
        for mail in mails(deployed.sandbox.aws):
            if mail.to == (DESK,) and subject in mail.subject:
                return mail
        page.wait_for_timeout(100)
    raise AssertionError([mail.subject for mail in mails(deployed.sandbox.aws)])


def figures(mail: Mail) -> dict[str, int]:
    """The figures in a mail's text, by what they count."""
    found = re.findall(r"^ {0,6}([0-9,]+) {2}(\S.*)$", mail.text, re.MULTILINE)
    return {words.strip(): int(count.replace(",", "")) for count, words in found}


def link_in(mail: Mail) -> str:
    """The link to the report."""
    (link,) = re.findall(r"^http\S+", mail.text, re.MULTILINE)
    return str(link)


def widget(page: "Page", title: str) -> "Locator":
    """A widget that has been loaded."""
    found = page.get_by_role("region", name=title)
    found.and_(page.locator("[aria-busy=false]")).wait_for()
    return found


def press(page: "Page", deployed: Deployed, label: str, what: str, who: str = WHO) -> str:
    """Fill in who decides, press the button of what is held, and confirm what is asked then, which is given back."""
    page.goto(deployed.sandbox.page_url)
    held = widget(page, "Waits for a decision")
    held.locator('input[name="by"]').fill(who)
    held.get_by_role("button", name=label, description=f"{label}: {what} at {NAME} ({CCC})").click()
    asked = page.locator("#confirmation")
    question: str = asked.inner_text()
    asked.get_by_role("button", name="Confirm").click()
    return question


def test_a_held_purge_is_looked_at_and_approved_in_the_browser(
    deployed: Deployed, browser_page: "Page", tmp_path: Path
) -> None:
    """The library is mailed whom it would take, the mail's link opens the report, and the demo waits for a press."""
    run_id = start(deployed)
    one = deployed.sandbox.store.institution_run(run_id, CCC)
    assert one is not None
    assert one.status is Status.HELD
    told = mailed(deployed, browser_page, "waits for a decision")
    assert told.subject == f"{NAME}: the purge waits for a decision, {one.due} patrons would be deleted from Alma"
    assert figures(told)["patrons who would be deleted from Alma"] == one.due

    browser_page.goto(link_in(told))
    assert browser_page.get_by_role("heading", name="Purge of long-expired patrons").is_visible()
    assert NAME in browser_page.locator("main").inner_text()

    demo = Demo(Console(file=io.StringIO()), deployed.sandbox, tmp_path, {})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(demo.approve, run_id, in_browser=True)
        question = press(browser_page, deployed, "Approve", "purge")
        waiting.result()
    assert f"{one.due}" in question
    assert NAME in question
    assert "can't be undone" in question

    ended = deployed.sandbox.store.institution_run(run_id, CCC)
    assert ended is not None
    assert (ended.status, ended.changes) == (Status.COMPLETED, one.due)
    assert [(verdict.answer, verdict.by) for verdict in ended.verdicts] == [("approved", WHO)]
    done = mailed(deployed, browser_page, "were deleted from Alma")
    assert figures(done)["patrons deleted from Alma"] == one.due
    left = mailed(deployed, browser_page, "could not take")
    assert left.subject == f"{NAME}: the purge could not take {ended.to_look_at} patrons"
    assert sum(count for words, count in figures(left).items() if words in ("Loans", "Fees", "Requests")) > 0
    browser_page.goto(link_in(done))
    assert f"Patrons deleted from Alma: {one.due}" in browser_page.locator("body").inner_text()

    revoked = deployed.invoke("operator", {"command": "revoke", "run_id": run_id, "institution": CCC, "by": WHO})
    assert revoked.json["revoked"] == {CCC: 4}, "three mails, and the notice of the hold to the operators"
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(link_in(done), timeout=20)
    assert (answer.status_code, "This link leads nowhere" in answer.text) == (404, True)


def test_a_held_run_is_rejected_in_the_browser(deployed: Deployed, browser_page: "Page") -> None:
    """A deactivation over its cap waits; without a name nothing is decided, with one it ends without a change."""
    run_id = start(deployed, action="deactivate")

    press(browser_page, deployed, "Reject", "deactivation", who=" ")
    browser_page.get_by_text("Fill in").first.wait_for()
    one = deployed.sandbox.store.institution_run(run_id, CCC)
    assert one is not None
    assert one.status is Status.HELD

    press(browser_page, deployed, "Reject", "deactivation")
    deployed.command("wait", run_id)
    told = mailed(deployed, browser_page, "was rejected")
    assert "0 patrons were made INACTIVE" in told.subject
    assert WHO not in told.text + told.html


def test_the_coming_purge_is_mailed_with_the_right_counts(deployed: Deployed, browser_page: "Page") -> None:
    """A preview as of a day ahead, started as the daily schedule does: one mail, with the counts of the run."""
    run_id = start(deployed, mode="preview", as_of="2099-12-01", trigger="schedule")
    one = deployed.sandbox.store.institution_run(run_id, CCC)
    assert one is not None
    told = mailed(deployed, browser_page, "the purge on December 1, 2099")
    assert told.subject.endswith(f"will take {one.changes} patrons")
    assert figures(told)["patrons who would be deleted from Alma"] == one.changes
    assert len([mail for mail in mails(deployed.sandbox.aws) if mail.subject == told.subject]) == 1


def test_the_daily_look_ahead_says_why_it_starts_nothing(deployed: Deployed) -> None:
    """In the sandbox the purge doesn't start by itself, so nobody is told of one."""
    answer = deployed.invoke("operator", {"command": "announce"}).json
    assert answer == {"runs": {}, "why_none": "the monthly purge doesn't start by itself, or only as a preview"}


def test_widgets_can_only_read(deployed: Deployed) -> None:
    """Every view of the dashboard function answers HTML; what it may not do, it doesn't try."""
    for view in ("held", "institutions", "runs", "population"):
        answer = deployed.invoke("dashboard", {"view": view, "widgetContext": {}}).json
        assert "<" in answer
        assert "Traceback" not in answer
    lines = logs(deployed.sandbox.aws, deployed.sandbox.outputs["DashboardFunction"])
    assert not [line for line in lines if "AccessDenied" in line]
