"""The views of the dashboard, read as CloudWatch would: parsed, never searched as text alone."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from patron_lifecycle.dashboard.institutions import LOOK_BACK
from patron_lifecycle.dashboard.widget import Dashboard, View
from patron_lifecycle.policy.model import Policy
from patron_lifecycle.policy.population import NO_GROUP, OTHER_GROUPS, Age, Population, UserGroup
from patron_lifecycle.policy.reasons import Action, Outcome, Reason
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.events import Approve, Reject, parse_operator
from patron_lifecycle.runs.guards import Guard
from patron_lifecycle.runs.model import (
    Answer,
    InstitutionRun,
    Mode,
    RunStatus,
    Skipped,
    Status,
    Trigger,
    Verdict,
)
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.settings import Settings
from tests.samples import CODE, NOW, deactivate, institution, institution_run, purge, run
from tests.unit.dashboard.widget_page import WidgetPage

OWN = "arn:aws:lambda:us-east-1:000000000000:function:dashboard"
OPERATOR = "arn:aws:lambda:us-east-1:000000000000:function:operator"
HOSTILE = "\"><script>alert(1)</script></cwdb-action><img src=x onerror=alert(1)>' & <b>\u202ebold\n</b>"
FIRST = "first_run: the first purge here, of 12 among 40 candidates"
SHARE = "max_percent: 12 changes due among 80 users in all; 10 % of them allowed, that is 8"
SETTINGS = Settings.model_validate(
    {
        **dict.fromkeys(("table_name", "queue_url", "secret_prefix", "event_source"), "x"),
        "retention_days": "400",
        "schedule_time_zone": "America/New_York",
        "deactivate_schedule": "cron(0 3 ? * MON *)",
        "deactivate_schedule_state": "ENABLED",
        "apply_deactivate": "true",
        "purge_schedule": "cron(0 5 1 * ? *)",
        "purge_schedule_state": "ENABLED",
        "operator_function_arn": OPERATOR,
    }
)


class CountingStore(MemoryStore):
    """A store that counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        """Note the question."""
        if not name.startswith("_") and name != "asked":
            self.asked.append(name)
        return super().__getattribute__(name)


def show(store: MemoryStore, view: str, settings: Settings = SETTINGS, now: datetime = NOW, **more: Any) -> WidgetPage:
    """A view, read."""
    return WidgetPage(Dashboard(store, settings, lambda: now).answer({"view": view, **more}, OWN))


def library(code: str = CODE, name: str = "Ashland", **changes: Any) -> Institution:
    """An institution with a policy for both actions."""
    return institution(code, name=name, **{"policy": Policy(deactivate=deactivate(), purge=purge()), **changes})


def add_run(store: MemoryStore, run_id: str, *ended: InstitutionRun, **changes: Any) -> None:
    """A run whose institution runs have come to this; those that are open stay so."""
    first = ended[0]
    whole = {"action": first.action, "mode": first.mode, "created_at": first.created_at}
    store.create_run(run(run_id, tuple(one.code for one in ended), **whole | changes))
    for one in ended:
        if one.status.goes_on:
            store.create_institution_run(one)
        else:
            store.create_institution_run(one.but(status=Status.PROCESSING))
            store.settle(one)


def came_to(run_id: str, one: Institution, action: Action = Action.DEACTIVATE, **changes: Any) -> InstitutionRun:
    """A completed institution run."""
    usual = {"institution": one, "action": action, "status": Status.COMPLETED, "started_at": NOW, "finished_at": NOW}
    return institution_run(run_id, one.code, **usual | changes)


def held(one: Institution, run_id: str = "purge-1", **changes: Any) -> InstitutionRun:
    """A purge of twelve patrons that waits for a decision."""
    usual: dict[str, Any] = {
        "action": Action.PURGE,
        "status": Status.HELD,
        "held_at": NOW - timedelta(hours=2),
        "finished_at": None,
        "day": date(2026, 11, 23),
        "due": 12,
        "candidates": 40,
        "hold_reasons": (FIRST, SHARE),
        "outcomes": {Outcome.SKIPPED: 25, Outcome.BLOCKED: 3},
        "reasons": {"within_retention": 20, "still_active": 5, "loans": 2, "fees": 1},
    }
    return came_to(run_id, one, **usual | changes)


def paused(one: Institution, run_id: str = "deactivate-1", **changes: Any) -> InstitutionRun:
    """A deactivation that waits for Alma's daily calls to be renewed, in the night to come."""
    usual: dict[str, Any] = {
        "status": Status.PAUSED,
        "status_reason": "16 calls are left today, and 18 are kept for others (reserve_daily_calls).",
        "finished_at": None,
        "touched_at": NOW - timedelta(hours=1),
        "paused_in": Status.PROCESSING,
        "paused_until": datetime(2026, 11, 24, 0, 5, tzinfo=UTC),
        "pauses": 2,
        "remaining_calls": 16,
        "paused_reserve": 18,
        "frozen": True,
        "candidates": 400,
        "outcomes": {Outcome.SKIPPED: 4, Outcome.DEACTIVATED: 26},
        "reasons": {"staff": 4},
    }
    return came_to(run_id, one, **usual | changes)


@pytest.fixture
def store() -> MemoryStore:
    """A store with one library in it."""
    store = MemoryStore()
    store.put_institution(library())
    return store


# ── Held ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_held(store: MemoryStore) -> None:
    """With nothing to decide the view says so, and has no form."""
    page = show(store, "held")
    assert page.says("Nothing is held")
    assert not page.clicks
    assert "form" not in page.texts


def test_what_is_paused_is_told_and_asks_for_nothing(store: MemoryStore) -> None:
    """Since when and until when, on how many days, the calls left and kept, how far it came; no button, no form."""
    add_run(store, "deactivate-1", paused(library()))
    page = show(store, "held")
    assert page.says("Nothing is held: no run waits for a decision.")
    assert page.says("Nobody has to do anything.")
    assert [[" ".join(cell.split()) for cell in row] for row in page.cells[1:]] == [
        [
            "Ashland (01OHIO_AAA)",
            "Deactivationdeactivate-1",
            "Mon, Nov 23, 2026, 11:00",
            "Mon, Nov 23, 2026, 19:05",
            "2",
            "16",
            "18",
            "30 of 400",
        ]
    ]
    assert {click.event.get("view") for click in page.clicks} == {"institution"}
    assert "form" not in page.texts


def test_a_pause_that_should_be_over_says_so(store: MemoryStore) -> None:
    """When its time has come the tidy is what lets it go on; one in its selection has dealt with nobody."""
    add_run(store, "deactivate-1", paused(library(), frozen=False, candidates=0, outcomes={}, remaining_calls=None))
    page = show(store, "held", now=NOW + timedelta(hours=8))
    assert page.says("its time has come: it goes on within two hours")
    assert [cell.strip() for cell in page.cells[1][-3:]] == ["unknown", "18", "none yet"]


def test_held_comes_before_paused(store: MemoryStore) -> None:
    """What waits for a person is on top; of the paused ones that which has paused most often."""
    other = library("01OHIO_BBB", "Birch")
    store.put_institution(other)
    add_run(store, "purge-1", held(library()))
    add_run(store, "deactivate-1", paused(library()), paused(other, pauses=3))
    page = show(store, "held")
    assert page.texts["h3"] == ["Ashland (01OHIO_AAA): purge of 12 patrons", "Paused, and goes on by itself"]
    assert [row[0] for row in page.cells[-2:]] == ["Birch (01OHIO_BBB)", "Ashland (01OHIO_AAA)"]


def test_a_pause_is_told_in_the_other_views(store: MemoryStore) -> None:
    """The institutions tell until when, the runs how many, the history why; nobody has something to do about it."""
    add_run(store, "deactivate-1", paused(library()), came_to("deactivate-1", library("01OHIO_BBB", "Birch")))
    assert show(store, "institutions").says("deactivation paused until Mon, Nov 23, 2026, 19:05")
    assert not show(store, "institutions").says("waits for a decision")
    (row,) = [row for row in show(store, "runs").cells if "deactivate-1" in row[1]]
    assert row[2:4] == ["Paused", "1 paused, 1 completed"]
    told = show(store, "institution", institution=CODE)
    assert told.says("16 calls are left today, and 18 are kept for others")


def test_a_held_run_is_shown_with_its_figures(store: MemoryStore) -> None:
    """Name, code, action, since and until when, why it is held and what to look at, who would go, and who wouldn't."""
    add_run(store, "purge-1", held(library()))
    page = show(store, "held")
    assert page.texts["h3"] == ["Ashland (01OHIO_AAA): purge of 12 patrons"]
    assert page.says("Held since Mon, Nov 23, 2026, 10:00, and rejected by itself on Mon, Nov 30, 2026, 10:00.")
    assert page.says("judged as of Nov 23, 2026")
    assert page.says("First run: the first purge here, of 12 among 40 candidates.")
    assert page.says(f"that is 8. {Guard.MAX_PERCENT.explanation.remedy}")
    assert [[" ".join(cell.split()) for cell in row] for row in page.cells] == [
        ["Of 40 candidates", "Why", "Patrons"],
        ["Would purge", "if approved", "12"],
        ["Skipped", "Within retention", "20"],
        ["Skipped", "Still active", "5"],
        ["Blocked", "Loans", "2"],
        ["Blocked", "Fees", "1"],
    ]
    assert page.says("Times are of America/New_York")


def test_the_buttons_are_not_below_the_long_table(store: MemoryStore) -> None:
    """However many reasons there are, the buttons stand right below why it is held, and the table beside them."""
    add_run(store, "purge-1", held(library()))
    seen = show(store, "held").visible
    assert seen.index("the first purge here") < seen.rindex("Approve") < seen.index("Of 40 candidates")


def test_the_form_asks_who_decides_once(store: MemoryStore) -> None:
    """However many are held, there is one field for the name and one for a note, with the limits of the events."""
    other = library("01OHIO_BBB", "Birch")
    add_run(store, "purge-1", held(library()), held(other))
    page = show(store, "held")
    fields = [attributes for name, attributes in page.elements if name == "input"]
    assert [(field["name"], field["maxlength"]) for field in fields] == [("by", "100"), ("note", "500")]
    assert "Who decides? (required)" in page.texts["label"][0]
    assert [click.text for click in page.clicks] == ["Approve", "Reject", "History"] * 2


def test_the_buttons_send_the_operator_what_it_takes(store: MemoryStore) -> None:
    """Each calls the operator, never the widget, with an event that is valid once a name is in it; in a popup."""
    add_run(store, "purge-1", held(library()))
    approve, reject, history = show(store, "held").clicks
    for click, kind in ((approve, Approve), (reject, Reject)):
        assert (click.action["endpoint"], click.action["action"]) == (OPERATOR, "call")
        assert click.action["display"] == "popup"
        event = parse_operator({**click.event, "by": "Ana"})
        assert isinstance(event, kind)
        assert (event.run_id, event.institution) == ("purge-1", CODE)
    assert history.action["endpoint"] == OWN
    assert history.event == {"view": "institution", "institution": CODE}


@pytest.mark.parametrize(
    ("action", "question"),
    [
        (Action.PURGE, "Delete 12 patrons at Ashland (01OHIO_AAA)?"),
        (Action.DEACTIVATE, "Make 12 patrons INACTIVE at Ashland (01OHIO_AAA)?"),
        (Action.REINSTATE, "Make 12 patrons ACTIVE again at Ashland (01OHIO_AAA)?"),
        (Action.RESTORE, "Make 12 patrons anew at Ashland (01OHIO_AAA)?"),
    ],
)
def test_the_confirmation_repeats_the_figures(store: MemoryStore, action: Action, question: str) -> None:
    """What, how many, where and why it is held; of a deletion, what it can't take back."""
    add_run(store, "purge-1", held(library(), action=action))
    approve, reject, _ = show(store, "held").clicks
    figures = (
        "The first purge here, of 12 among 40 candidates. 12 changes due among 80 users in all; 10 % of them allowed, "
        "that is 8."
    )
    forever = " This can't be undone in Alma. A copy of each record is kept for 30 days."
    told = approve.action["confirmation"]
    assert told == f"{question} {figures}{forever if action is Action.PURGE else ''}"
    assert f"of 12 patrons at Ashland (01OHIO_AAA)? {figures} Nobody is changed" in str(reject.action["confirmation"])


def test_a_purge_without_copies_says_that_nobody_could_be_restored(store: MemoryStore) -> None:
    """Where the vault keeps nothing, who approves knows it."""
    one = library(policy=Policy(purge=purge(vault_days=0)))
    add_run(store, "purge-1", held(one, due=1))
    told = str(show(store, "held").clicks[0].action["confirmation"])
    assert told.startswith("Delete 1 patron at ")
    assert told.endswith("No copy is kept: nobody could be restored.")


def test_the_longest_held_comes_first_and_only_what_is_held(store: MemoryStore) -> None:
    """Whoever decides begins with what runs out first; runs that go on aren't here."""
    birch, cedar = library("01OHIO_BBB", "Birch"), library("01OHIO_CCC", "Cedar")
    add_run(
        store,
        "purge-1",
        held(library()),
        held(birch, held_at=NOW - timedelta(days=3)),
        came_to("purge-1", cedar, Action.PURGE, status=Status.PROCESSING, finished_at=None),
    )
    assert [title.partition(" (")[0] for title in show(store, "held").texts["h3"]] == ["Birch", "Ashland"]


def test_what_waited_too_long_has_no_buttons(store: MemoryStore) -> None:
    """After seven days the operator refuses an approval, so none is offered."""
    add_run(store, "purge-1", held(library()))
    page = show(store, "held", now=NOW + timedelta(days=7))
    assert page.says("Its time is over")
    assert not page.clicks


def test_without_the_operator_there_are_no_buttons(store: MemoryStore) -> None:
    """Whoever shows the widget elsewhere sees the figures and can't press anything that would fail."""
    add_run(store, "purge-1", held(library()))
    page = show(store, "held", SETTINGS.model_copy(update={"operator_function_arn": ""}))
    assert page.says("purge of 12 patrons")
    assert not page.clicks
    assert "form" not in page.texts


# ── Institutions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_institutions_the_way_to_register_is_told() -> None:
    """An empty registry isn't an empty page, in any view."""
    store = MemoryStore()
    assert show(store, "institutions").says("No institution is registered yet")
    assert show(store, "population").says("No institution is registered yet")
    assert show(store, "runs").says("There has been no run yet")
    assert show(store, "held").says("Nothing is held")


def test_an_institution_is_shown_with_its_last_and_next_runs(store: MemoryStore) -> None:
    """Day, mode, status and counts of the last runs; the next by the schedules, in their time zone."""
    results: dict[str, Any] = {
        "outcomes": {Outcome.DEACTIVATED: 120, Outcome.SKIPPED: 9, Outcome.FAILED: 1},
        "reasons": {"within_grace": 5, "unverifiable": 4, "alma_401652": 1},
    }
    add_run(store, "deactivate-1", came_to("deactivate-1", library(), **results))
    preview = {"mode": Mode.PREVIEW, "as_of": date(2026, 12, 1), "created_at": NOW - timedelta(days=1)}
    counts = {"outcomes": {Outcome.WOULD_PURGE: 7, Outcome.BLOCKED: 2}, "reasons": {"loans": 2}}
    add_run(store, "purge-1", came_to("purge-1", library(), Action.PURGE, **preview, **counts))
    assert show(store, "institutions").row("Ashland") == [
        "Ashland01OHIO_AAA",
        "idle",
        "Nov 23, 2026: completed120 deactivated · 1 failed · look at 5",
        "Nov 22, 2026, preview as of Dec 1, 2026: completed7 would purge · 2 blocked · look at 2",
        "Mon, Nov 30, 2026, 03:00, for real",
        "Tue, Dec 1, 2026, 05:00, preview",
    ]


def test_the_last_real_run_is_told_beside_a_later_preview(store: MemoryStore) -> None:
    """A preview before the next purge doesn't hide how the last purge went; what brings back is in no column."""
    add_run(store, "restore-1", came_to("restore-1", library(), Action.RESTORE))
    weeks = NOW - timedelta(weeks=3)
    real = came_to("purge-1", library(), Action.PURGE, created_at=weeks, outcomes={Outcome.PURGED: 31})
    add_run(store, "purge-1", real)
    later = {"mode": Mode.PREVIEW, "outcomes": {Outcome.WOULD_PURGE: 5}}
    add_run(store, "purge-2", came_to("purge-2", library(), Action.PURGE, **later))
    told = show(store, "institutions").row("Ashland")[3]
    assert told.startswith("Nov 23, 2026, preview: completed5 would purge")
    assert told.endswith("before that, for real, Nov 2, 2026: completed, 31 purged")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"status": Status.HELD, "due": 12, "finished_at": None}, "held, 12 would purge if approved"),
        (
            {"outcomes": {Outcome.PURGED: 3, Outcome.BLOCKED: 2}, "reasons": {"loans": 2}},
            "completed, 3 purged · 2 blocked · look at 2",
        ),
    ],
)
def test_the_last_real_run_is_told_with_its_figures(store: MemoryStore, changes: dict[str, Any], told: str) -> None:
    """Behind a preview too: whom it waits to delete, and whom it could not take."""
    weeks = NOW - timedelta(weeks=3)
    add_run(store, "purge-1", came_to("purge-1", library(), Action.PURGE, created_at=weeks, **changes))
    add_run(store, "purge-2", came_to("purge-2", library(), Action.PURGE, mode=Mode.PREVIEW))
    assert show(store, "institutions").row("Ashland")[3].endswith(f"before that, for real, Nov 2, 2026: {told}")


def test_a_real_run_that_failed_is_not_mended_by_a_preview(store: MemoryStore) -> None:
    """A key that may only read lets every preview complete, and every real run fail."""
    weeks = NOW - timedelta(weeks=3)
    failed = {"created_at": weeks, "status": Status.FAILED, "status_reason": "the key may only read"}
    add_run(store, "purge-1", came_to("purge-1", library(), Action.PURGE, **failed))
    add_run(store, "purge-2", came_to("purge-2", library(), Action.PURGE, mode=Mode.PREVIEW))
    page = show(store, "institutions")
    assert page.says("1 institution, 1 whose last run failed.")
    assert page.row("Ashland")[3].endswith("before that, for real, Nov 2, 2026: failed, 0 purged")
    real = {"mode": Mode.APPLY, "created_at": NOW + timedelta(hours=1)}
    add_run(store, "purge-3", came_to("purge-3", library(), Action.PURGE, **real))
    assert not show(store, "institutions").says("whose last run failed")


@pytest.mark.parametrize(
    ("changes", "settings", "coming"),
    [
        ({"enabled": False}, {}, ["none: the institution is disabled"] * 2),
        ({"policy": Policy(deactivate=deactivate())}, {}, [None, "none: purge is not enabled in its policy"]),
        ({}, {"purge_schedule_state": "DISABLED"}, [None, "by hand only"]),
        ({}, {"deactivate_schedule": "rate(7 days)"}, ["every 7 days, for real", None]),
        (
            {},
            {"deactivate_schedule": "cron(0 3 ? * MON-FRI *)"},
            ["cron(0 3 ? * MON-FRI *) America/New_York, for real", None],
        ),
    ],
)
def test_the_next_run_is_told_in_words_where_it_has_no_date(
    changes: dict[str, Any], settings: dict[str, str], coming: list[str | None]
) -> None:
    """What is off, left out, or of an unusual schedule says so."""
    store = MemoryStore()
    store.put_institution(library(**changes))
    row = show(store, "institutions", SETTINGS.model_copy(update=settings)).row("Ashland")
    for told, expected in zip(row[4:], coming, strict=True):
        assert expected in (None, told)


def test_what_needs_a_person_comes_first() -> None:
    """Held, then failed, then patrons to look at, then the rest by name, and what is switched off last."""
    store = MemoryStore()
    libraries = {
        name: library(f"01OHIO_{number}", name, enabled=name != "Aspen")
        for number, name in enumerate(["Aspen", "Birch", "Cedar", "Dogwood", "Elm", "Fir"], 100)
    }
    for one in libraries.values():
        store.put_institution(one)
    add_run(
        store,
        "deactivate-1",
        came_to("deactivate-1", libraries["Fir"], status=Status.FAILED, status_reason="the key is refused"),
        came_to("deactivate-1", libraries["Elm"], reasons={"unverifiable": 1}),
        came_to("deactivate-1", libraries["Cedar"], reasons={"staff": 1}),
    )
    add_run(store, "purge-1", held(libraries["Dogwood"]))
    page = show(store, "institutions")
    assert [re.sub(r"01OHIO.*", "", name) for name in page.names()[1:]] == [
        "Dogwood",
        "Fir",
        "Elm",
        "Birch",
        "Cedar",
        "Aspen",
    ]
    assert page.says(
        "6 institutions, 1 with a run that waits for a decision, 1 whose last run failed, 1 with patrons to look at, "
        "1 switched off."
    )
    assert page.row("Dogwood")[1] == "purge held"
    assert page.row("Dogwood")[3].startswith("Nov 23, 2026: held12 would purge if approved")
    assert page.row("Fir")[2].startswith("Nov 23, 2026: failed0 deactivated")


def test_what_goes_on_is_shown(store: MemoryStore) -> None:
    """Everything that is open at an institution, each with its status, whatever started it."""
    add_run(store, "deactivate-1", came_to("deactivate-1", library(), status=Status.SELECTING, finished_at=None))
    waiting = {"status": Status.QUEUED, "mode": Mode.PREVIEW, "created_at": NOW + timedelta(minutes=1)}
    add_run(store, "purge-1", came_to("purge-1", library(), Action.PURGE, finished_at=None, **waiting))
    told = show(store, "institutions").row("Ashland")[1]
    assert told == "deactivation selecting; purge queued (preview)"


def test_a_name_opens_the_history(store: MemoryStore) -> None:
    """A click on a name asks this very function for that institution."""
    (click,) = show(store, "institutions").clicks
    assert (click.text, click.action["endpoint"]) == ("Ashland", OWN)
    assert click.event == {"view": "institution", "institution": CODE}
    assert click.action["display"] == "popup"
    assert parse_asked(store, click.event).says("Ashland (01OHIO_AAA)")


def parse_asked(store: MemoryStore, event: dict[str, Any]) -> WidgetPage:
    """What the dashboard function answers to a click."""
    return WidgetPage(Dashboard(store, SETTINGS, lambda: NOW).answer(event, OWN))


def many(count: int) -> CountingStore:
    """A store with so many libraries, all of which had the weekly and the monthly run, one of them held."""
    store = CountingStore()
    libraries = [library(f"01OHIO_{number:03}", f"Library {number}") for number in range(count)]
    for one in libraries:
        store.put_institution(one)
        population = Population(code=one.code, day=date(2026, 11, 23), run_id="x", users=100, active=90, inactive=10)
        store.put_population(population)
    for week in range(8):
        run_id, at = f"deactivate-{week}", NOW - timedelta(weeks=week)
        add_run(
            store,
            run_id,
            *(came_to(run_id, one, created_at=at, outcomes={Outcome.DEACTIVATED: 12}) for one in libraries),
        )
    add_run(store, "purge-1", held(libraries[-1]), *(came_to("purge-1", one, Action.PURGE) for one in libraries[:-1]))
    store.asked.clear()
    return store


def test_two_hundred_institutions_take_few_questions_and_little_room() -> None:
    """The table asks the store a handful of times, however many institutions there are; all views stay small."""
    store = many(200)
    html = Dashboard(store, SETTINGS, lambda: NOW).answer({"view": "institutions"}, OWN)
    asked = sorted(name for name in store.asked if name not in ("institution_run",))
    assert asked == sorted(
        ["institutions", "recent_runs", "institution_runs", "institution_runs", "open_institution_runs"]
    )
    page = WidgetPage(html)
    assert len(page.cells) == 201
    assert page.names()[1].startswith("Library 199")
    assert len(html) < 200_000
    for view, most in ((View.RUNS, 1), (View.POPULATION, 2), (View.HELD, 1)):
        store.asked.clear()
        assert len(Dashboard(store, SETTINGS, lambda: NOW).answer({"view": view.value}, OWN)) < 200_000
        assert len(store.asked) == most


def test_the_table_looks_back_only_so_far(store: MemoryStore) -> None:
    """An institution whose last run is long ago says so, and doesn't make the view read all there is."""
    old = came_to("deactivate-0", library(), created_at=NOW - timedelta(days=300))
    add_run(store, "deactivate-0", old)
    elsewhere = library("01OHIO_ZZZ", "Zelkova")
    for number in range(LOOK_BACK):
        run_id = f"deactivate-{number + 1}"
        add_run(store, run_id, came_to(run_id, elsewhere, created_at=NOW - timedelta(days=number)))
    assert show(store, "institutions").row("Ashland")[2] == "none lately"


def test_a_run_whose_institution_runs_are_not_stored_yet_is_passed_over(store: MemoryStore) -> None:
    """Between the storing of a run and of its institution runs, the table is shown all the same."""
    store.create_run(run())
    assert show(store, "institutions").row("Ashland")[2] == "none lately"


# ── Runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_latest_runs_are_shown_newest_first(store: MemoryStore) -> None:
    """When, what, by whom started, status, institutions by status, and what it came to."""
    birch = library("01OHIO_BBB", "Birch")
    results: dict[str, Any] = {"outcomes": {Outcome.DEACTIVATED: 1200}, "reasons": {"unverifiable": 3, "staff": 5}}
    failed = came_to("deactivate-1", birch, status=Status.FAILED, status_reason="no key")
    whole = {"trigger": Trigger.SCHEDULE}
    add_run(store, "deactivate-1", came_to("deactivate-1", library(), **results), failed, **whole)
    preview = {"mode": Mode.PREVIEW, "as_of": date(2026, 12, 1), "outcomes": {Outcome.WOULD_PURGE: 7}}
    later = came_to("purge-2", library(), Action.PURGE, created_at=NOW + timedelta(hours=1), **preview)
    add_run(store, "purge-2", later, as_of=date(2026, 12, 1))
    page = show(store, "runs")
    assert [" ".join(row[1].split()) for row in page.cells[1:]] == [
        "Purge, preview as of Dec 1, 2026purge-2",
        "Deactivationdeactivate-1",
    ]
    assert page.row("Mon, Nov 23, 2026, 12:00") == [
        "Mon, Nov 23, 2026, 12:00by its schedule",
        "Deactivationdeactivate-1",
        "Completed with failures",
        "1 completed, 1 failed",
        "1,200 deactivated",
        "3",
    ]
    assert page.row("Mon, Nov 23, 2026, 13:00")[2:] == ["Completed", "1 completed", "7 would purge", "0"]


def test_a_run_that_started_nothing_is_no_success(store: MemoryStore) -> None:
    """Where every institution was left out, that is what the status says, with the reasons and whom they are for."""
    skipped = [Skipped(institution=f"01OHIO_{n}", reason="purge is not enabled: see policy.purge") for n in range(7)]
    skipped.append(Skipped(institution="01OHIO_X", reason="disabled: set enabled: true"))
    store.create_run(
        run("purge-1", (), status=RunStatus.COMPLETED, open_count=0, skipped=tuple(skipped), action=Action.PURGE)
    )
    page = show(store, "runs")
    row = page.row("Mon")
    assert row[2] == "Nothing was started"
    assert not page.says("Completed")
    assert row[3].startswith("noneleft out, 7 (01OHIO_0, 01OHIO_1, 01OHIO_2, 01OHIO_3, 01OHIO_4 and others): purge is")
    assert row[3].endswith("left out, 1 (01OHIO_X): disabled: set enabled: true")
    assert row[4:] == ["", ""]


def test_a_run_that_goes_on_tells_what_it_came_to_so_far(store: MemoryStore) -> None:
    """Institutions that are held, that go on, and that have ended are told apart; the figures are of the last."""
    birch, cedar = library("01OHIO_BBB", "Birch"), library("01OHIO_CCC", "Cedar")
    going = came_to("purge-1", cedar, Action.PURGE, status=Status.PROCESSING, finished_at=None)
    ended = came_to("purge-1", library(), Action.PURGE, outcomes={Outcome.PURGED: 4})
    add_run(store, "purge-1", going, ended, held(birch))
    row = show(store, "runs").row("Mon")
    assert row[2:] == ["Running", "1 held, 1 not ended yet, 1 completed", "4 purged so far", "0"]


# ── One institution ───────────────────────────────────────────────────────────────────────────────────────────────────


def population(day: date, **changes: Any) -> Population:
    """A population of a thousand users."""
    usual: dict[str, Any] = {
        "users": 1000,
        "active": 700,
        "inactive": 290,
        "other_status": 10,
        "current": 600,
        "no_expiry_date": 8,
        "unreadable": 2,
        "expired": {Age.WEEK: 20, Age.LONGER: 370},
        "groups": {"Students": UserGroup(patrons=800, expired=350), NO_GROUP: UserGroup(patrons=200, expired=40)},
        "past_retention": 150,
        "past_retention_in_a_month": 180,
    }
    return Population(code=CODE, day=day, run_id="deactivate-1", **usual | changes)


def test_the_history_tells_each_run(store: MemoryStore) -> None:
    """Of each run when, what, what it came to, and why it is as it is, newest first."""
    counts = {Outcome.DEACTIVATED: 120, Outcome.SKIPPED: 9, Outcome.FAILED: 1}
    add_run(store, "deactivate-1", came_to("deactivate-1", library(), outcomes=counts, reasons={"alma_500": 1}))
    later = NOW + timedelta(hours=1)
    failed = {
        "status": Status.FAILED,
        "status_reason": "the set is gone",
        "created_at": later,
        "day": date(2026, 11, 23),
    }
    add_run(store, "purge-1", came_to("purge-1", library(), Action.PURGE, **failed))
    page = show(store, "institution", institution=CODE)
    assert page.texts["h2"] == ["Ashland (01OHIO_AAA)"]
    assert page.row("Mon, Nov 23, 2026, 12:00")[1:] == [
        "Deactivationdeactivate-1",
        "Completed",
        "120 deactivated",
        "9",
        "0",
        "1",
        "1",
    ]
    assert page.row("Mon, Nov 23, 2026, 13:00")[1:3] == ["Purgeas of Nov 23, 2026purge-1", "Failedthe set is gone"]


def test_the_history_names_nobody_who_decided(store: MemoryStore) -> None:
    """That a person decided is told; who it was, and what they wrote, is for the operator's status."""
    verdict = Verdict(answer=Answer.REJECTED, by="Ana Systems", note="fern.arno must stay", at=NOW)
    rejected = {"status": Status.REJECTED, "status_reason": f"{verdict}. Nothing was changed.", "verdicts": (verdict,)}
    add_run(store, "purge-1", came_to("purge-1", library(), Action.PURGE, **rejected))
    page = show(store, "institution", institution=CODE)
    assert page.says("rejected by a person. Nothing was changed.")
    assert not page.says("Ana")
    assert not page.says("fern.arno")


def test_the_chart_says_in_words_what_it_shows(store: MemoryStore) -> None:
    """Title and description hold every figure, and so does each bar: nobody needs its colour, or its height."""
    for week in range(3):
        at, run_id = NOW - timedelta(weeks=week), f"deactivate-{week}"
        mode = Mode.PREVIEW if week else Mode.APPLY
        outcome = Outcome.WOULD_DEACTIVATE if week else Outcome.DEACTIVATED
        counts = {outcome: 100 + week, Outcome.SKIPPED: 12_000}
        add_run(store, run_id, came_to(run_id, library(), created_at=at, mode=mode, outcomes=counts))
    blocked = {"outcomes": {Outcome.PURGED: 3, Outcome.BLOCKED: 2}, "created_at": NOW + timedelta(hours=1)}
    add_run(store, "purge-1", came_to("purge-1", library(), Action.PURGE, **blocked))
    page = show(store, "institution", institution=CODE)
    (title,), (told,) = page.texts["title"], page.texts["desc"]
    assert title == "What came of the latest runs"
    assert told.startswith(
        "Nov 9, 2026, deactivation (preview), completed: deactivated 102, purged 0, blocked or failed 0, skipped 12,000"
    )
    assert told.endswith("Nov 23, 2026, purge, completed: deactivated 0, purged 3, blocked or failed 2, skipped 0.")
    texts = page.texts["text"]
    assert [text for text in texts if text.istitle() or " " in text][:1] == ["Deactivated"]
    assert {"102", "101", "100", "3", "2", "12k"} <= set(texts)
    bars = [attributes for name, attributes in page.elements if name == "rect"]
    assert sum(bar.get("class") == "hollow" for bar in bars) == 4
    assert len(bars) == 3 + 1 + 1 + 3
    for bar in bars:
        assert 0 <= float(bar["x"] or "") <= 860
        assert float(bar["y"] or "") >= 0


def test_the_history_tells_who_the_users_are(store: MemoryStore) -> None:
    """The latest figures, by status, age and group, what next month's purge chooses from, and how it came about."""
    store.put_population(population(date(2026, 11, 16), active=710))
    store.put_population(population(date(2026, 11, 23)))
    page = show(store, "institution", institution=CODE)
    assert page.says("As a sweep has counted them on Nov 23, 2026.")
    assert page.says("1,000 users: 700 active, 290 inactive, 10 other status.")
    assert page.says("Past the retention of the purge: 150 on that day, 180 a month later.")
    assert page.row("Expired, longer ago") == ["Expired, longer ago", "370"]
    assert page.row("Without an expiry date")[1] == "8"
    assert page.row("Students") == ["Students", "800", "350"]
    assert page.row("Without a group") == ["Without a group", "200", "40"]
    assert page.texts["title"] == ["Users over time"]
    assert page.texts["desc"][0].startswith("Nov 16, 2026: active 710, inactive 290, expired 390, ")


def test_one_day_of_users_has_no_chart(store: MemoryStore) -> None:
    """A single point in time is told in words alone; without a purge in the policy nothing is said of one."""
    store.put_population(population(date(2026, 11, 23), past_retention=None, past_retention_in_a_month=None))
    page = show(store, "institution", institution=CODE)
    assert "title" not in page.texts
    assert not page.says("Past the retention")


def test_a_history_without_anything_says_so(store: MemoryStore) -> None:
    """Registered, and nothing has happened yet."""
    page = show(store, "institution", institution=CODE)
    assert page.says("There has been no run here yet.")
    assert page.says("Nobody has been counted here yet.")


def test_an_institution_that_is_gone_from_the_registry_keeps_its_history() -> None:
    """What was done there is shown as long as it is kept; one that is switched off says so."""
    store = MemoryStore()
    add_run(store, "deactivate-1", came_to("deactivate-1", library(name="Gone")))
    assert show(store, "institution", institution=CODE).says("Not registered any more.")
    store.put_institution(library(enabled=False))
    assert show(store, "institution", institution=CODE).says("Switched off in the registry")


# ── Population ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_populations_are_summed_up(store: MemoryStore) -> None:
    """All registered institutions, each with its latest day, and those that nobody has counted named as such."""
    store.put_institution(library("01OHIO_BBB", "Birch"))
    store.put_institution(library("01OHIO_CCC", "Cedar"))
    store.put_population(population(date(2026, 11, 9), users=5))
    store.put_population(population(date(2026, 11, 16)))
    other = population(date(2026, 11, 23), past_retention=None, past_retention_in_a_month=None)
    store.put_population(other.model_copy(update={"code": "01OHIO_BBB", "users": 10_000, "active": 9_700}))
    store.put_population(other.model_copy(update={"code": "01OHIO_GONE", "users": 77}))
    page = show(store, "population")
    assert page.says("Of 2 institutions, as the last sweep of each has counted them: Nov 16, 2026 to Nov 23, 2026.")
    assert page.says("11,000 users: 10,400 active, 580 inactive, 20 other status.")
    assert page.says("150 on that day, 180 a month later")
    assert page.row("Students") == ["Students", "1,600", "700"]
    assert page.row("Ashland")[1:] == ["Nov 16, 2026", "1,000", "700", "290", "390", "8", "150", "180"]
    assert page.row("Birch")[-2:] == ["none", "none"]
    assert page.row("Cedar")[1:] == ["not counted yet"]
    assert page.names()[-1].startswith("Cedar")


def test_many_user_groups_are_summed_up(store: MemoryStore) -> None:
    """Twenty are told, the greatest first, and the rest together."""
    groups = {f"Group {n:02}": UserGroup(patrons=100 - n, expired=1) for n in range(23)}
    store.put_population(population(date(2026, 11, 23), groups=groups))
    page = show(store, "population")
    assert page.row("Group 00") == ["Group 00", "100", "1"]
    assert page.row("3 other groups") == ["3 other groups", f"{80 + 79 + 78}", "3"]
    fewer = dict(list(groups.items())[:21])
    store.put_population(population(date(2026, 11, 23), groups=fewer))
    assert show(store, "population").row("1 other group") == ["1 other group", "80", "1"]
    groups[OTHER_GROUPS] = UserGroup(patrons=5, expired=2)
    store.put_population(population(date(2026, 11, 24), groups=groups))
    assert show(store, "population").row("All other groups") == ["All other groups", f"{80 + 79 + 78 + 5}", "5"]


def test_before_the_first_sweep_nobody_is_counted(store: MemoryStore) -> None:
    """Without any population the view tells how there will be one."""
    assert show(store, "population").says("Nobody has been counted yet.")


# ── All views ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def full_of_hostility() -> MemoryStore:
    """A store whose every text that comes from elsewhere would like to be HTML."""
    store = MemoryStore()
    one = library(name=HOSTILE, policy=Policy(deactivate=deactivate(), purge=purge()))
    store.put_institution(one)
    counts: dict[str, Any] = {"reasons": {f"alma_{HOSTILE}": 1, Reason.LOANS.value: 1}, "outcomes": {Outcome.FAILED: 1}}
    add_run(store, "purge-1", held(one, hold_reasons=(HOSTILE, f"first_run: {HOSTILE}"), **counts))
    failed: dict[str, Any] = {"status": Status.FAILED, "status_reason": HOSTILE, "hold_reasons": (HOSTILE,)}
    skipped = (Skipped(institution=HOSTILE, reason=HOSTILE),)
    add_run(store, "deactivate-1", came_to("deactivate-1", one, **failed), skipped=skipped)
    for day in (16, 23):
        store.put_population(population(date(2026, 11, day), groups={HOSTILE: UserGroup(patrons=3, expired=1)}))
    return store


@pytest.mark.parametrize("view", View)
def test_hostile_texts_stay_texts(view: View) -> None:
    """Names, reasons and groups are shown as they are written, but for what turns text around, and nothing runs."""
    more: dict[str, Any] = {"institution": CODE} if view is View.INSTITUTION else {}
    page = show(full_of_hostility(), view.value, **more)
    assert page.says("<script>alert(1)</script></cwdb-action><img src=x onerror=alert(1)>' & <b> bold </b>")
    assert "\u202e" not in page.visible
    for click in page.clicks:
        assert click.event.get("institution") == CODE
        assert "\u202e" not in str(click.action.get("confirmation"))


@pytest.mark.parametrize("view", View)
def test_a_very_long_name_breaks_nothing(view: View) -> None:
    """A name as long as the registry takes it is in every view once for each place, and may break across lines."""
    store = MemoryStore()
    one = library(name="Llanfair" * 25)
    store.put_institution(one)
    add_run(store, "purge-1", held(one))
    store.put_population(population(date(2026, 11, 23)))
    more: dict[str, Any] = {"institution": CODE} if view is View.INSTITUTION else {}
    html = Dashboard(store, SETTINGS, lambda: NOW).answer({"view": view.value, **more}, OWN)
    assert len(html) < 30_000
    assert "overflow-wrap:anywhere" in html
    assert view is View.RUNS or WidgetPage(html).says("Llanfair" * 25)


@pytest.mark.parametrize(
    ("context", "dark"),
    [({"theme": "dark"}, True), ({"theme": "light"}, False), ({}, False), (None, False), ("dark", False)],
)
def test_the_theme_is_the_dashboards(store: MemoryStore, context: object, dark: bool) -> None:
    """In the dark theme the view has the dark colours; whatever else the context is, it does no harm."""
    page = show(store, "held", widgetContext=context)
    classes = [attributes.get("class") for name, attributes in page.elements if name == "div"]
    assert classes[0] == ("apl apl-dark" if dark else "apl")


def test_the_style_touches_nothing_else(store: MemoryStore) -> None:
    """Every rule is for what lies in the view, so that the rest of the page stays as it is."""
    (style,) = show(store, "held").texts["style"]
    selectors = [each.strip() for rule in style.split("}") if "{" in rule for each in rule.partition("{")[0].split(",")]
    assert selectors
    assert all(re.match(r"\.apl(-dark)?\b", selector) for selector in selectors)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({}, "view: is missing; add one of held, institutions, runs, institution, population"),
        ({"view": "holds"}, 'view: is "holds", should be held or institutions or runs or institution or population'),
        ({"view": 5}, "view: is 5"),
        ({"view": "held", "instituton": CODE}, "did you mean institution?"),
        ({"view": "held", "institution": CODE}, "the view held is of all institutions; leave it out"),
        ({"view": "institution"}, "institution: is missing; add the code"),
        ({"view": "institution", "institution": ""}, "institution: is empty"),
        ({"view": "institution", "institution": "01OHIO_ZZZ"}, "01OHIO_ZZZ is not registered; correct the code"),
        ({"view": "institution", "institution": HOSTILE[:50]}, "is not registered"),
        ([], "view: is missing"),
        (None, "view: is missing"),
        ("held", "view: is missing"),
    ],
)
def test_a_mistake_in_the_parameters_is_told_with_the_mend(store: MemoryStore, event: object, told: str) -> None:
    """What, where, and how to mend it, as HTML, since a person looks at it."""
    page = WidgetPage(Dashboard(store, SETTINGS, lambda: NOW).answer(event, OWN))
    assert page.says("This can't be shown")
    assert page.says(told)


def test_trouble_is_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """What went wrong may hold anything: the page and the log name its kind alone."""

    class Broken(MemoryStore):
        def recent_runs(self, limit: int) -> list[Any]:
            raise LookupError("fern.arno")

    page = show(Broken(), "runs")
    assert page.says("The dashboard function met a LookupError. Refresh")
    assert not page.says("fern.arno")
    (line,) = caplog.records
    assert (line.levelname, vars(line)["error"]) == ("ERROR", "LookupError")
    assert "fern.arno" not in str(vars(line))


def test_the_documentation_is_markdown_with_an_example(store: MemoryStore) -> None:
    """Asked to describe itself, it shows nothing else: all views, and parameters that the console can take over."""
    told = Dashboard(store, SETTINGS, lambda: NOW).answer({"describe": True, "widgetContext": {}}, OWN)
    assert told.startswith("# ")
    assert all(f"`{view}`" in told for view in View)
    (example,) = re.findall(r"``` yaml\n(.*?)\n```", told, re.DOTALL)
    assert show(store, example.removeprefix("view: ")).says("1 institution")


def test_nothing_personal_is_shown() -> None:
    """The views ask for no page of a manifest, no outcome of a patron, and nobody who was brought back."""
    store = many(3)
    for view in View:
        more = {"institution": "01OHIO_001"} if view is View.INSTITUTION else {}
        Dashboard(store, SETTINGS, lambda: NOW).answer({"view": view.value, **more}, OWN)
    assert set(store.asked) == {
        "institution",
        "institution_runs",
        "institution_runs_of",
        "institutions",
        "latest_populations",
        "open_institution_runs",
        "populations",
        "recent_runs",
    }
