"""Tests of what a report tells beside a run's own results: names, who was left out, what is taken back, the patrons."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from patron_lifecycle.policy.population import NO_GROUP, OTHER_GROUPS, Age, Population, UserGroup
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.reports.beside import NOTHING, Beside, beside_of
from patron_lifecycle.reports.export import Row, UnknownRun
from patron_lifecycle.reports.files import write_results
from patron_lifecycle.reports.html import render_report
from patron_lifecycle.reports.portrait import portrait_of, together
from patron_lifecycle.reports.publication import write_report
from patron_lifecycle.runs.model import BringBack, InstitutionRun, Page, Skipped, Status
from patron_lifecycle.runs.store import MemoryStore
from tests import samples
from tests.unit.reports.test_html import (
    AGAIN,
    AT,
    HOSTILE,
    PAST,
    document,
    institution,
    lists_of,
    page,
    patrons,
    purge,
    reinstate,
    restore,
    rows_of,
)

CODE, OTHER = "01OHIO_AAA", "01OHIO_BBB"
DAY = date(2026, 11, 23)
NAMED = Beside(names={CODE: "Ashland", OTHER: "Bluffton"})
SKIPPED = (
    Skipped(institution=CODE, reason="disabled: set enabled: true in institutions.yaml and register it"),
    Skipped(institution="01OHIO_TYPO", reason="not registered: no such code in the registry"),
)


def population(code: str = CODE, **changes: Any) -> Population:
    """A thousand users, four hundred of them expired."""
    usual: dict[str, Any] = {
        "code": code,
        "day": DAY,
        "run_id": "deactivate-1",
        "users": 1000,
        "active": 700,
        "inactive": 300,
        "current": 588,
        "no_expiry_date": 12,
        "expired": {Age.WEEK: 10, Age.YEAR: 190, Age.TWO_YEARS: 100, Age.LONGER: 100},
        "groups": {"Undergraduate": UserGroup(patrons=900, expired=390), "Faculty": UserGroup(patrons=100, expired=10)},
        "past_retention": 100,
        "past_retention_in_a_month": 117,
    }
    return Population(**(usual | changes))


def with_population(*found: Population) -> Beside:
    """What a report is given of the plain institution's population, the latest first."""
    return Beside(populations={CODE: found})


def text_of(html: str) -> str:
    """The visible text, blanks run together."""
    return " ".join(page(html).visible.split())


# ── Names, and who was left out ───────────────────────────────────────────────────────────────────────────────────────


def test_names_stand_beside_codes_everywhere() -> None:
    """In the title, the facts, the table, the lists and what is read aloud; nobody has to know the codes."""
    told = rows_of(CODE, "deactivated")
    html = render_report(document(institution(CODE, told)), told, NAMED)
    read = page(html)
    assert "Deactivation of expired patrons, Ashland, Monday, November 23, 2026" in read.visible
    assert "InstitutionAshland 01OHIO_AAA" in text_of(html)
    assert len(read.rows_of("Ashland 01OHIO_AAA")) == 1
    assert "Ashland 01OHIO_AAA Completed 1 candidate" in text_of(html)
    assert "Deactivated, Ashland, 01OHIO_AAA" in [part.get("aria-label") for part in read.of("div")]
    assert "Bluffton" not in html


def test_without_a_name_the_code_stands_alone() -> None:
    """A code whose name isn't known is told as it is."""
    told = rows_of("01OHIO_CCC", "deactivated")
    html = render_report(document(institution("01OHIO_CCC", told), institution(CODE, [])), told, NAMED)
    assert len(page(html).rows_of("01OHIO_CCC")) == 1
    assert len(page(html).rows_of("Ashland 01OHIO_AAA")) == 1


@pytest.mark.parametrize("mode", ["preview", "apply"])
def test_a_run_that_left_everybody_out_tells_why(mode: str) -> None:
    """Nothing was started, and each institution's reason says what to mend."""
    beside = Beside(names={CODE: "Ashland"}, skipped=SKIPPED)
    html = render_report(document(as_of=None, mode=mode), [], beside)
    read = page(html)
    assert f"Nothing was started. No institution took part in this {'preview' if mode == 'preview' else 'run'}" in (
        read.visible
    )
    assert "Why nothing was started" in read.visible
    assert read.rows_of("Ashland 01OHIO_AAA") == [
        ["Ashland 01OHIO_AAA", "Disabled: set enabled: true in institutions.yaml and register it."]
    ]
    assert read.rows_of("01OHIO_TYPO") == [["01OHIO_TYPO", "Not registered: no such code in the registry."]]
    assert "This is what a real run would do" not in read.visible


def test_institutions_that_were_left_out_are_listed_beside_the_others() -> None:
    """How many, one link away who, and why."""
    html = render_report(document(institution(OTHER, [])), [], Beside(skipped=SKIPPED))
    read = page(html)
    assert "Left out2 institutions" in text_of(html)
    assert "#left-out" in [link["href"] for link in read.of("a")]
    assert "left-out" in [heading.get("id") for heading in read.of("h2")]
    assert len(read.rows_of("01OHIO_TYPO")) == 1
    assert "Nothing was started" not in read.visible


def test_without_anybody_left_out_nothing_is_said_of_it() -> None:
    """The page of a usual run isn't any longer than it was."""
    assert "Left out" not in page(render_report(document(institution(CODE, [])), [], NAMED)).visible


# ── What is taken back, and what can be ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            BringBack(source_run_id="deactivate-9", expiry_date=date(2027, 6, 30)),
            "To take back what run deactivate-9 did. New expiry date: June 30, 2027.",
        ),
        (
            BringBack(source_run_id="deactivate-9", named="0f"),
            "To take back what run deactivate-9 did, for those patrons alone whom a person has named. No new expiry "
            "date was given: each patron keeps their own, and whoever's is past becomes INACTIVE again",
        ),
        (
            BringBack(set_id="4711", expiry_date=date(2027, 6, 30)),
            "For the members of the set 4711 in Alma. New expiry date: June 30, 2027.",
        ),
        (BringBack(named="0f"), "For the patrons whom a person has named. No new expiry date was given"),
    ],
)
def test_a_reinstatement_says_whom_it_is_for_and_until_when(asked: BringBack, told: str) -> None:
    """Which run, which set, or named patrons; and the new expiry date, or what comes of having none."""
    assert told in text_of(render_report(reinstate(institution(CODE, [])), [], Beside(bring_back=asked)))


def test_a_restoration_without_a_date_says_that_they_come_back_inactive() -> None:
    """It isn't the next deactivation that makes them so."""
    asked = BringBack(source_run_id="purge-9")
    text = text_of(render_report(restore(institution(CODE, [])), [], Beside(bring_back=asked)))
    assert "each patron keeps their own and comes back INACTIVE." in text


def test_a_real_deactivation_says_that_it_can_be_taken_back() -> None:
    """Whom to ask, and the run to name."""
    told = rows_of(CODE, "deactivated")
    text = text_of(render_report(document(institution(CODE, told)), told))
    assert (
        "This can be taken back as long as the results of the run are kept: ask the systems librarian, and name the "
        "run, deactivate-1."
    ) in text


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        ("would_deactivate", {"mode": "preview"}),
        ("skipped", {}),
        ("purged", {"action": "purge"}),
        ("reinstated", {"action": "reinstate"}),
    ],
)
def test_what_changed_nobody_or_is_told_elsewhere_says_nothing_of_taking_back(
    outcome: str, changes: dict[str, str]
) -> None:
    """A preview, a deactivation of nobody, a purge, which has its own words, and what brings back itself."""
    told = rows_of(CODE, outcome, "staff" if outcome == "skipped" else "")
    html = render_report(document(institution(CODE, told), **changes), told)
    assert "can be taken back" not in page(html).visible


# ── A report without lists ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_without_lists_has_every_number_and_nobodys_id() -> None:
    """It says where the lists are; the chart, the table and the legend are as with them."""
    told = [
        *rows_of(CODE, "skipped", "no_expiry_date", 3),
        *rows_of(CODE, "failed", "alma_401860", 2),
        *rows_of(CODE, "skipped", "already_inactive", 9),
        *patrons("deactivated", ash="", fern=AGAIN),
    ]
    run = document(institution(CODE, told))
    lists, numbers = render_report(run, told), render_report(run, iter(told), Beside(lists=False))
    assert "ask the systems librarian for outcomes.csv of this run" in page(numbers).visible
    assert not any(row.primary_id in numbers for row in told if "-" in row.primary_id)
    assert "fern" not in numbers
    told_of = re.findall(r'<p class="[a-z-]+"><b>(.*?)</b>: (\d+) patrons?', numbers)
    assert told_of == [(title, str(len(ids))) for title, ids in lists_of(lists).items()]
    for part in ("Institutions", "What happened, and why", "What the reasons and cautions mean"):
        assert (
            lists.partition(f">{part}</h2>")[2].partition("<h2")[0]
            == (numbers.partition(f">{part}</h2>")[2].partition("<h2")[0])
        )


def test_a_run_of_many_without_lists_says_that_each_institution_has_its_own() -> None:
    """There are other reports then, with the lists."""
    run = document(institution(CODE, []), institution(OTHER, []))
    assert "The lists of patrons are in each institution's own report." in (
        page(render_report(run, [], Beside(lists=False))).visible
    )


def test_a_report_without_lists_and_rows_tells_the_documents_figures() -> None:
    """Whoever can't read all rows of a huge run isn't told that there was nobody."""
    told = [
        *rows_of(CODE, "purged", count=7),
        *rows_of(CODE, "blocked", "loans", 2),
        *rows_of(CODE, "skipped", "staff"),
    ]
    html = render_report(purge(institution(CODE, told)), [], Beside(lists=False))
    assert re.findall(r'<p class="[a-z-]+"><b>(.*?)</b>: (\d+) patrons?', html) == [
        ("Blocked: Loans", "2"),
        ("Purged", "7"),
        ("Skipped: Staff", "1"),
    ]
    assert "Nobody:" not in page(html).visible


# ── The library's patrons ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_librarys_report_tells_who_its_patrons_are() -> None:
    """After the figures of what was done, and before the lists; nothing has to be added up by the reader."""
    told = rows_of(CODE, "deactivated")
    html = render_report(document(institution(CODE, told)), told, with_population(population()))
    read, text = page(html), text_of(html)
    places = [text.index(part) for part in ("What happened, and why", "The library's patrons", "Who, and why")]
    assert places == sorted(places)
    assert "On November 23, 2026 Alma had 1,000 users here, staff included; 400 of them were expired." in text
    assert "Counted by run deactivate-1, before it changed anybody." in text
    for label, patrons_of_it, percent in (
        ("Active", "700", "70.0"),
        ("Inactive", "300", "30.0"),
        ("Not expired", "588", "58.8"),
        ("Expired, up to 7 days ago", "10", "1.0"),
        ("Expired, 8 days to 1 year ago", "190", "19.0"),
        ("Expired, 1 to 2 years ago", "100", "10.0"),
        ("Expired, 2 to 3 years ago", "0", "0.0"),
        ("Expired, more than 3 years ago", "100", "10.0"),
        ("No expiry date", "12", "1.2"),
    ):
        assert read.rows_of(label) == [[label, patrons_of_it, percent, ""]]
    assert read.rows_of("Another status") == read.rows_of("Can't be read") == []
    assert read.rows_of("Undergraduate") == [["Undergraduate", "900", "90.0", "390", ""]]


def test_odd_statuses_and_dates_are_shown_where_there_are_any() -> None:
    """They are part of the whole, so that the shares sum up."""
    found = population(active=690, other_status=10, current=585, unreadable=3)
    read = page(render_report(document(institution(CODE, [])), [], with_population(found)))
    assert read.rows_of("Another status") == [["Another status", "10", "1.0", ""]]
    assert read.rows_of("Can't be read") == [["Can't be read", "3", "0.3", ""]]


def test_next_months_purge_is_foretold_as_a_limit() -> None:
    """At most so many: the day, the number of today, and that others may stay."""
    text = text_of(render_report(document(institution(CODE, [])), [], with_population(population())))
    assert "Next month's purge: 117 patrons at most." in text
    assert "longer than the library keeps them on December 23, 2026; 100 had been on the day of the count." in text


def test_without_a_purge_nothing_is_foretold() -> None:
    """An institution that purges nobody isn't told of a purge."""
    found = population(past_retention=None, past_retention_in_a_month=None)
    assert "Next month's purge" not in (
        text_of(render_report(document(institution(CODE, [])), [], with_population(found)))
    )


def test_the_largest_groups_are_shown_and_the_rest_taken_together() -> None:
    """Fifteen by size; behind them those that the count had taken together, and who has none."""
    groups = {f"Group {number:02}": UserGroup(patrons=100 - number, expired=number) for number in range(20)}
    shown = portrait_of([population(groups=groups)])
    assert shown is not None
    assert [share.label for share in shown.groups] == [f"Group {number:02}" for number in range(15)] + [
        "5 other groups"
    ]
    assert shown.groups[-1].patrons == sum(100 - number for number in range(15, 20))
    assert shown.groups[-1].expired == sum(range(15, 20))
    odd = {OTHER_GROUPS: UserGroup(patrons=500, expired=20), NO_GROUP: UserGroup(patrons=4)}
    shown = portrait_of([population(groups=groups | odd)])
    assert shown is not None
    assert [(share.label, share.patrons) for share in shown.groups[-2:]] == [
        ("All other groups", 500 + sum(100 - number for number in range(15, 20))),
        ("No user group", 4),
    ]
    assert max(share.length for share in shown.groups) == 100


def test_two_days_make_a_chart_over_time() -> None:
    """It goes from the first day to the last, tells its ends in words, and has a table of all days behind it."""
    days = [population(day=DAY - timedelta(days=7 * number), active=700 + 10 * number) for number in range(4)]
    html = render_report(document(institution(CODE, [])), [], with_population(*days))
    read = page(html)
    (drawing,) = [svg for svg in read.of("svg") if svg.get("role") == "img"]
    assert drawing["aria-labelledby"] == "over-time-title over-time-text"
    assert "From November 2, 2026 to November 23, 2026: Active from 730 to 700. Inactive from 300 to 300." in text_of(
        html
    )
    assert read.rows_of("November 16, 2026") == [["November 16, 2026", "710", "300", "400"]]
    lines = [line["points"] for line in read.of("polyline")]
    assert lines[0] == "0,0 333,1.4 667,2.7 1000,4.1"
    assert len({line["class"] for line in read.of("g") if line.get("class")}) == 3


def test_days_are_placed_by_their_distance_in_time() -> None:
    """A month without a sweep is four times as long as a week."""
    found = [population(day=DAY - timedelta(days=number)) for number in (0, 7, 35)]
    shown = portrait_of(found)
    assert shown is not None
    assert shown.trend is not None
    assert shown.trend.xs == (0, 80, 100)


def test_one_day_makes_no_chart_over_time() -> None:
    """A line needs two points."""
    html = render_report(document(institution(CODE, [])), [], with_population(population()))
    assert not page(html).of("polyline")
    assert "Over time" not in page(html).visible


def test_a_chart_of_many_days_has_a_mark_at_its_end_alone() -> None:
    """A mark for each of sixty days would be one thick line."""
    few, many = ([population(day=DAY - timedelta(days=7 * number)) for number in range(count)] for count in (20, 60))
    marks = [
        len(page(render_report(document(institution(CODE, [])), [], with_population(*found))).of("circle"))
        for found in (few, many)
    ]
    assert marks == [20 + 1, 1 + 1]  # one in the key


def test_nobody_at_all_is_a_portrait_too() -> None:
    """An Alma without a single user divides nothing by zero."""
    empty = [Population(code=CODE, day=DAY - timedelta(days=number), run_id="deactivate-1") for number in (0, 1)]
    read = page(render_report(document(institution(CODE, [])), [], with_population(*empty)))
    assert read.rows_of("Active") == [["Active", "0", "0.0", ""]]


def test_many_institutions_have_one_table_and_each_its_part() -> None:
    """The table sums up whom it knows; who wasn't counted is left out of it, and told of below all the same."""
    codes = [f"01OHIO_{number:03}" for number in range(100)]
    known = {
        code: [population(code, day=DAY - timedelta(days=number)) for number in range(3)] for code in codes[:99]
    } | {codes[3]: [population(codes[3], past_retention=None, past_retention_in_a_month=None)]}
    told = [row for code in codes for row in rows_of(code, "deactivated", count=2)]
    beside = Beside(names={code: f"Library {code[-3:]}" for code in codes}, populations=known)
    html = render_report(document(*(institution(code, told) for code in codes)), told, beside)
    read = page(html)
    assert ["All", "", "99,000", "69,300", "29,700", "39,600", "1,188", "11,466"] in read.rows_of("All")
    assert [row[-1] for row in read.rows_of("Library 003 01OHIO_003")] == ["0", "no purge"]
    assert len(read.rows_of("Library 099 01OHIO_099")) == 1
    ids = [str(attributes["id"]) for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for svg in read.of("svg"):
        assert set(str(svg.get("aria-labelledby", "")).split()) <= set(ids)
    assert {str(link["href"]).removeprefix("#") for link in read.of("a")} <= set(ids)
    assert len([fold for fold in read.of("details") if fold.get("class") == "patrons-of"]) == 99
    assert len(html) < 3_000_000


def test_libraries_together_are_the_sum_of_their_latest_days() -> None:
    """A single one has no sum."""
    one, other = portrait_of([population(), population(users=1)]), portrait_of([population(OTHER, users=50)])
    assert one is not None
    assert other is not None
    both = together([one, other])
    assert both is not None
    assert (both.latest.users, both.expired) == (1050, 800)
    assert together([one]) is None


def test_a_population_of_an_institution_that_the_document_leaves_out_is_left_out() -> None:
    """It is another library's."""
    beside = Beside(names={OTHER: "Bluffton"}, populations={OTHER: [population(OTHER, users=4711)]})
    html = render_report(document(institution(CODE, []), institution("01OHIO_CCC", [])), [], beside)
    assert "4,711" not in html
    assert "Bluffton" not in html


def everything(text: str) -> str:
    """A report that has this text wherever text may come from elsewhere."""
    told = [
        Row(text, text, "failed", f"alma_{text}", text, AT),
        Row(text, text, "deactivated", "", f"{AGAIN} {text}", AT),
    ]
    run = document(institution(text, told, status="failed", status_reason=text), run_id=text)
    return render_report(
        run,
        told,
        Beside(
            names={text: text},
            skipped=[Skipped(institution=text, reason=text)],
            bring_back=BringBack(source_run_id=text, set_id=text),
            populations={
                text: [
                    population(text, day=day, run_id=text, groups={text: UserGroup(patrons=1000)})
                    for day in (DAY, DAY - timedelta(days=1))
                ]
            },
        ),
    )


def test_hostile_text_stays_text_in_whatever_stands_beside() -> None:
    """Names, reasons, runs, sets and user groups can't become markup, and are told as they are."""
    hostile, tame = everything(HOSTILE), everything("a")
    assert [tag for tag, _ in page(hostile).elements] == [tag for tag, _ in page(tame).elements]
    assert page(hostile).visible.count(HOSTILE) >= 18
    assert not any(name.startswith("on") for _, attributes in page(hostile).elements for name in attributes)


def test_the_whole_page_needs_nothing_from_elsewhere_and_can_be_read_aloud() -> None:
    """No script and no address outside the page; what is drawn has words, or stands beside its numbers."""
    html = everything("a")
    read = page(html)
    assert not {tag for tag, _ in read.elements} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "form",
        "base",
        "image",
    }
    assert not re.search(r"https?:|//[a-z]|url\(|@import|xlink", html)
    assert {header.get("scope") for header in read.of("th")} == {"col", "row"}
    outer = [svg for svg in read.of("svg") if "x" not in svg and "viewbox" not in svg]
    assert all(svg.get("aria-hidden") == "true" or svg.get("role") == "img" for svg in outer)


# ── From the store, and into files ────────────────────────────────────────────────────────────────────────────────────


def test_what_stands_beside_comes_from_the_store() -> None:
    """Names from the registry, also of those left out; of each institution of the run its latest populations."""
    store = MemoryStore()
    store.put_institution(samples.institution(CODE, name="Ashland"))
    store.put_institution(samples.institution(OTHER, name="Bluffton"))
    for number in range(70):
        store.put_population(population(day=DAY - timedelta(days=number)))
    store.put_population(population("01OHIO_CCC"))
    back = BringBack(source_run_id="deactivate-0", expiry_date=DAY)
    run = samples.run(action=Action.REINSTATE, skipped=SKIPPED, bring_back=back, institutions=(CODE, OTHER))
    beside = beside_of(store, run)
    assert beside.names == {CODE: "Ashland", OTHER: "Bluffton"}
    assert (beside.skipped, beside.bring_back, beside.lists) == (SKIPPED, back, True)
    assert list(beside.populations) == [CODE]
    assert [one.day for one in beside.populations[CODE]] == [DAY - timedelta(days=number) for number in range(60)]


def test_a_librarys_own_report_is_given_nothing_of_any_other() -> None:
    """Its name and its populations; neither others' names nor who was left out."""
    store = MemoryStore()
    for code in (CODE, OTHER):
        store.put_institution(samples.institution(code, name=f"Library {code}"))
        store.put_population(population(code))
    back = BringBack(set_id="4711")
    run = samples.run(skipped=SKIPPED, bring_back=back, institutions=(CODE, OTHER))
    assert beside_of(store, run, OTHER) == Beside(
        names={OTHER: f"Library {OTHER}"}, bring_back=back, populations={OTHER: [population(OTHER)]}
    )
    assert beside_of(MemoryStore(), samples.run(), CODE) == NOTHING


def test_results_are_written_from_one_reading_of_the_run(tmp_path: Path) -> None:
    """Three files from the same items, read once; the report has what stands beside."""
    read: list[str] = []

    class Watched(MemoryStore):
        def institution_runs(self, run_id: str) -> list[InstitutionRun]:
            read.append("institution runs")
            return super().institution_runs(run_id)

        def pages(self, institution_run: InstitutionRun) -> Iterator[Page]:
            read.append(f"pages of {institution_run.code}")
            return super().pages(institution_run)

    store = Watched()
    store.put_institution(samples.institution(CODE, name="Ashland"))
    store.put_population(population())
    store.create_run(samples.run(skipped=SKIPPED[1:]))
    done = samples.page(0, ("fern",), outcomes=(samples.outcome("fern", detail=PAST),))
    store.create_institution_run(samples.institution_run(pages=1, candidates=1, status=Status.COMPLETED))
    store.put_pages([done])
    write_results(store, "deactivate-1", tmp_path / "results")
    assert read == ["institution runs", f"pages of {CODE}"]
    assert {file.name for file in (tmp_path / "results").iterdir()} == {"run.json", "outcomes.csv", "report.html"}
    assert "fern" in (tmp_path / "results" / "outcomes.csv").read_text(encoding="utf-8")
    report = page((tmp_path / "results" / "report.html").read_text(encoding="utf-8"))
    assert report.rows_of("fern")
    assert report.rows_of("Ashland 01OHIO_AAA")
    assert report.rows_of("01OHIO_TYPO")
    assert report.rows_of("Undergraduate")


def test_results_of_an_unknown_run_are_no_files(tmp_path: Path) -> None:
    """Nothing is written, not even the folder."""
    with pytest.raises(UnknownRun):
        write_results(MemoryStore(), "deactivate-1", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_published_report_with_too_many_patrons_has_numbers_and_cautions_but_no_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page stays small and tells who is to be looked at all the same; the CSV has everybody."""
    monkeypatch.setattr("patron_lifecycle.reports.publication.MAX_LISTED", 1)
    store = MemoryStore()
    store.put_institution(samples.institution(CODE, name="Ashland"))
    store.put_population(population())
    ids = ("fern", "moss", "=1+1")
    told = tuple(samples.outcome(user_id, detail=AGAIN if user_id == "moss" else "") for user_id in ids)
    one = samples.institution_run(
        pages=1, candidates=3, status=Status.COMPLETED, outcomes={Outcome.DEACTIVATED: 3}, finished_at=samples.NOW
    )
    store.create_institution_run(one)
    store.put_pages([samples.page(0, ids, outcomes=told)])
    html = write_report(store, samples.run(skipped=SKIPPED), [one], tmp_path, CODE)
    read = page(html)
    assert "fern" not in html
    assert "1 with a caution" in read.visible
    assert read.rows_of("Ashland 01OHIO_AAA")[0][-1] == "1"
    assert read.rows_of("Undergraduate")
    assert "TYPO" not in html
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html
    text = (tmp_path / "outcomes.csv").read_text(encoding="utf-8")
    assert all(f'"{user_id}"' in text for user_id in ("fern", "moss", "'=1+1"))
