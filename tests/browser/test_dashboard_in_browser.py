"""The service's own dashboard in a browser: its views, its buttons and the operator's answers, on a store in memory."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from patron_lifecycle.dashboard.answers import answer_on_dashboard
from patron_lifecycle.dashboard.widget import Dashboard
from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.runs.answers import approve, reject
from patron_lifecycle.runs.events import Approve, Reject, parse_operator
from patron_lifecycle.runs.model import InstitutionRun, Status
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.settings import Settings
from sandbox.serving import running
from sandbox.web.server import application
from tests.fake_cloud import DASHBOARD_FUNCTION, NAME, OPERATOR_FUNCTION, FakeCloud, arn_of, body, custom
from tests.samples import CODE, NOW, institution, institution_run, run
from tests.unit.runs.test_guards import held_bench
from tests.unit.runs.test_purge import purge
from tests.workbench import Workbench

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

HOSTILE = '<img src=x onerror="window.stolen=1"> \' " </script><script>window.stolen=2</script> ${x} {{ y }}'
LONG = "Bibliothèque-interuniversitaire-" * 5
VIEWS = ("held", "institutions", "runs", "population")


def dashboard_of(bench: Workbench) -> FakeCloud:
    """A cloud whose functions are the service's own, on the bench's store."""
    settings = Settings(
        table_name="t",
        queue_url="q",
        secret_prefix="s",
        event_source="e",
        retention_days=400,
        operator_function_arn=arn_of(OPERATOR_FUNCTION),
    )
    dashboard = Dashboard(bench.store, settings, bench.time.now)

    def decide(event: Any) -> InstitutionRun | dict[str, Any]:
        match parse_operator(event):
            case Approve() as said:
                return approve(said.run_id, said.institution, said.by, said.note, bench.engine)
            case Reject() as said:
                return reject(said.run_id, said.institution, said.by, said.note, bench.engine)
        raise AssertionError(event)

    widgets = [custom(view.capitalize()) | {"y": 10 * place, "height": 10} for place, view in enumerate(VIEWS)]
    return FakeCloud(
        {NAME: body(*widgets)},
        {
            DASHBOARD_FUNCTION: lambda event: dashboard.answer(event, arn_of(DASHBOARD_FUNCTION)),
            OPERATOR_FUNCTION: lambda event: answer_on_dashboard(event, decide, bench.time.now()),
        },
    )


@pytest.fixture
def bench() -> Workbench:
    """A library whose first purge waits for a person."""
    return held_bench()


@pytest.fixture
def url(bench: Workbench) -> Iterator[str]:
    """The page's address."""
    with running(application(dashboard_of(bench))) as address:
        yield address


def widget(page: "Page", title: str) -> "Locator":
    """A widget that has been loaded."""
    found = page.get_by_role("region", name=title)
    found.and_(page.locator("[aria-busy=false]")).wait_for()
    return found


def press(page: "Page", label: str, who: str) -> str:
    """Fill in who decides, press a button and confirm; what was asked to be confirmed."""
    held = widget(page, "Held")
    held.get_by_label("Who decides?").fill(who)
    held.get_by_role("button", name=label).click()
    asked = page.get_by_role("alertdialog")
    question: str = asked.inner_text()
    asked.get_by_role("button", name="Confirm").click()
    return question


def name(bench: Workbench, called: str) -> None:
    """Call the library something."""
    registered = bench.store.institution(CODE)
    assert registered is not None
    bench.store.put_institution(registered.model_copy(update={"name": called}))


def test_a_held_purge_is_approved_and_deletes_those_who_were_shown(
    bench: Workbench, url: str, browser_page: "Page"
) -> None:
    """The confirmation repeats the figures, the answer says what happens next, and the run goes on."""
    one = purge(bench)
    browser_page.goto(url)
    question = press(browser_page, "Approve", "Mira Systems")
    assert "Delete 3 patrons at Alder (01OHIO_AAA)?" in question
    assert "of 3 among 4 candidates" in question
    popup = browser_page.get_by_role("dialog", name="Held")
    popup.get_by_text("Mira Systems").first.wait_for()
    popup.get_by_role("button", name="Close").click()
    widget(browser_page, "Held").get_by_text("Nothing is held").wait_for()
    bench.drain()
    ended = bench.institution_run(one.run_id)
    assert (ended.status, ended.changes) == (Status.COMPLETED, 3)
    assert [verdict.by for verdict in ended.verdicts] == ["Mira Systems"]
    browser_page.get_by_role("button", name="Refresh").click()
    widget(browser_page, "Runs").get_by_text("3 purged").wait_for()


def test_a_held_purge_is_rejected_and_deletes_nobody(bench: Workbench, url: str, browser_page: "Page") -> None:
    """Without a name nothing is decided; with one it ends."""
    one = purge(bench)
    browser_page.goto(url)
    widget(browser_page, "Held").get_by_label("Why?").fill("too many")
    press(browser_page, "Reject", "   ")
    popup = browser_page.get_by_role("dialog", name="Held")
    popup.get_by_text("Fill in").first.wait_for()
    assert bench.institution_run(one.run_id).status is Status.HELD
    popup.get_by_role("button", name="Close").click()
    browser_page.get_by_role("button", name="Refresh").click()
    assert widget(browser_page, "Held").get_by_label("Why?").input_value() == "too many", "what was typed stays"
    press(browser_page, "Reject", HOSTILE[:90])
    popup.get_by_text("onerror").first.wait_for()
    assert bench.institution_run(one.run_id).status is Status.REJECTED
    assert browser_page.evaluate("window.stolen") is None


def test_names_that_are_nearly_html_are_text_everywhere(bench: Workbench, url: str, browser_page: "Page") -> None:
    """In every view, in the confirmation, in the operator's answer, and in the history that a click opens."""
    name(bench, HOSTILE)
    purge(bench)
    browser_page.goto(url)
    for title in ("Held", "Institutions"):
        widget(browser_page, title).get_by_text("onerror").first.wait_for()
    widget(browser_page, "Institutions").get_by_role("button").filter(has_text="onerror").first.click()
    popup = browser_page.get_by_role("dialog")
    popup.get_by_text("onerror").first.wait_for()
    popup.get_by_role("button", name="Close").click()
    assert HOSTILE.split("$", maxsplit=1)[0].strip() in press(browser_page, "Approve", "Mira").replace("\n", " ")
    popup.get_by_text("onerror").first.wait_for()
    assert browser_page.evaluate("window.stolen") is None


def test_two_hundred_institutions_with_long_names_stay_inside_their_widget(browser_page: "Page") -> None:
    """All are there, and the page grows no wider."""
    bench = Workbench(users=0)
    store = bench.store
    assert isinstance(store, MemoryStore)
    codes = tuple(f"01OHIO_{number:03}" for number in range(200))
    for code in codes:
        store.put_institution(institution(code, name=f"{LONG}{code}"))
    store.create_run(run("deactivate-1", institutions=codes))
    for code in codes:
        one = institution_run(code=code, institution=institution(code), outcomes={Outcome.DEACTIVATED: 7})
        store.create_institution_run(one.but(status=Status.PROCESSING))
        store.settle(one.but(status=Status.COMPLETED, day=NOW.date(), finished_at=NOW + timedelta(minutes=1)))
    with running(application(dashboard_of(bench))) as url:
        browser_page.goto(url)
        table = widget(browser_page, "Institutions")
        assert table.get_by_text(codes[0]).count() >= 1
        assert table.get_by_text(codes[-1]).count() >= 1
        widget(browser_page, "Runs").get_by_text("1,400 deactivated").wait_for()
        wide = browser_page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0


def test_without_institutions_and_runs_each_view_says_so(browser_page: "Page") -> None:
    """A stack that has just been deployed."""
    bench = Workbench(users=0)
    bench.store = MemoryStore()
    with running(application(dashboard_of(bench))) as url:
        browser_page.goto(url)
        widget(browser_page, "Held").get_by_text("Nothing is held").wait_for()
        for title in ("Institutions", "Runs", "Population"):
            assert widget(browser_page, title).get_by_role("table").count() == 0
