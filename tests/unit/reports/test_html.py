"""Tests of the report, read as a browser would: parsed, never searched as text alone."""

import json
import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from patron_lifecycle.policy.reasons import EXPLANATIONS, Action, Caution, Outcome, Reason
from patron_lifecycle.reports.export import Row
from patron_lifecycle.reports.html import render_report
from patron_lifecycle.runs.events import Approve, Reject, parse_operator
from patron_lifecycle.runs.guards import Guard

AT = "2026-11-23T17:00:05Z"
FIRST = "first_run: the first purge of this institution waits for a person; 612 of 803 candidates would be purged"
MANY = "max_patrons: 612 changes due, 500 allowed"
UNTIL = "held until somebody approves or rejects it, rejected by itself on 2026-11-30 at 17:00 UTC"
UNDO = "Alma can't undo a deletion."
HOSTILE = '<script>alert("x")</script>\'&amp; <img src=https://example.edu/x onerror=alert(1)>'


class ReadPage(HTMLParser):
    """The elements of a page with their attributes, its visible text, and the cells of each table row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.visible = ""
        self.verbatim: list[str] = []
        self._in_style = False
        self._in_cell = False
        self._in_pre = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element; a cell lasts until the next cell, row or end of table."""
        self.elements.append((tag, dict(attrs)))
        self._in_style = tag == "style"
        self._in_pre = tag == "pre"
        if self._in_pre:
            self.verbatim.append("")
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")
        if tag in ("tr", "th", "td", "tbody", "tfoot"):
            self._in_cell = tag in ("th", "td")

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a style or a table."""
        self._in_style = self._in_style and tag != "style"
        self._in_pre = self._in_pre and tag != "pre"
        self._in_cell = self._in_cell and tag != "table"

    def handle_data(self, data: str) -> None:
        """Note the text, except the style's."""
        if not self._in_style:
            self.visible += data
            if self._in_pre:
                self.verbatim[-1] += data
            if self._in_cell:
                self.cells[-1][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def rows_of(self, first: str) -> list[list[str]]:
        """The rows whose first cell has this text."""
        rows = [[cell.strip() for cell in row] for row in self.cells]
        return [row for row in rows if row[0] == first]


def institution(code: str, told: list[Row], **changes: object) -> dict[str, Any]:
    """An institution of run.json whose counts agree with its rows."""
    mine = [row for row in told if row.institution == code]
    return {
        "institution": code,
        "status": "completed",
        "status_reason": "",
        "hold_reasons": [],
        "seen": 20_000,
        "candidates": len(mine),
        "outcomes": dict(Counter(row.outcome for row in mine)),
        "reasons": dict(Counter(row.reason for row in mine if row.reason)),
    } | changes


def document(*institutions: dict[str, Any], **changes: object) -> dict[str, Any]:
    """A finished real run."""
    return {
        "run_id": "deactivate-1",
        "action": "deactivate",
        "mode": "apply",
        "status": "completed",
        "as_of": "2026-11-23",
        "institutions": list(institutions),
    } | changes


def purge(*institutions: dict[str, Any], **changes: object) -> dict[str, Any]:
    """A finished real purge."""
    return document(*institutions, action="purge", run_id="purge-0123456789abcdef") | changes


def held(code: str, told: list[Row], **changes: object) -> dict[str, Any]:
    """An institution whose purge waits for a decision."""
    return institution(code, told, status="held", status_reason=UNTIL, hold_reasons=[FIRST, MANY], **changes)


def rows_of(code: str, outcome: str, reason: str = "", count: int = 1, detail: str = "") -> list[Row]:
    """So many patrons with one outcome."""
    return [Row(code, f"{outcome}-{reason}-{number}", outcome, reason, detail, AT) for number in range(count)]


def page(html: str) -> ReadPage:
    """The page as read."""
    return ReadPage(html)


def chart_of(html: str) -> list[tuple[str, str, str, str]]:
    """Each bar of the chart: its label, what there is to do, the number, and the length of the bar."""
    bars = re.findall(
        r'<span>([^<]*?)(?: <span class="kind">([^<]*)</span>)?</span> <span>([0-9,]+)</span>\n'
        r'<svg.*?<rect class="bar" width="([0-9.]+%)"',
        html,
    )
    return [(unescape(label), kind, number, width) for label, kind, number, width in bars]


def test_the_table_of_institutions_agrees_with_the_document() -> None:
    """Each institution's figures and their sums are told, with thousands separators."""
    told = [
        *rows_of("01OHIO_AAA", "deactivated", count=1200),
        *rows_of("01OHIO_AAA", "skipped", "already_inactive", 30),
        *rows_of("01OHIO_AAA", "failed", "alma_401860", 2),
        *rows_of("01OHIO_BBB", "deactivated", count=4),
        *rows_of("01OHIO_BBB", "skipped", "no_expiry_date", 3),
    ]
    read = page(
        render_report(document(institution("01OHIO_AAA", told), institution("01OHIO_BBB", told, seen=15)), told)
    )
    assert read.rows_of("Institution") == [
        ["Institution", "Status", "Seen", "Candidates", "Deactivated", "Skipped", "Failed", "To look at"]
    ]
    assert read.rows_of("01OHIO_AAA") == [["01OHIO_AAA", "Completed", "20,000", "1,232", "1,200", "30", "2", "2"]]
    assert read.rows_of("01OHIO_BBB") == [["01OHIO_BBB", "Completed", "15", "7", "4", "3", "0", "3"]]
    assert read.rows_of("All") == [["All", "", "20,015", "1,239", "1,204", "33", "2", "5"]]


def test_every_patron_is_listed_once_under_the_outcome_and_reason() -> None:
    """Who, why, the detail and the time: one row for each row of the outcomes, none lost."""
    told = [
        *rows_of("01OHIO_AAA", "deactivated", count=250),
        *rows_of("01OHIO_AAA", "skipped", "staff", 120),
        *rows_of("01OHIO_AAA", "failed", "alma_401860", 1, "Mandatory field is missing: address line1"),
    ]
    html = render_report(document(institution("01OHIO_AAA", told)), told)
    read = page(html)
    listed = Counter(row[0] for row in read.cells if "-" in row[0] and row[0].rstrip("0123456789") != row[0])
    assert listed == Counter(row.primary_id for row in told)
    assert read.rows_of("failed-alma_401860-0") == [
        ["failed-alma_401860-0", "Mandatory field is missing: address line1", "2026-11-23 17:00:05"]
    ]
    assert read.visible.index("Failed: Alma error 401860") < read.visible.index("failed-alma_401860-0")


def test_reasons_that_need_somebody_come_first() -> None:
    """Those to look at, then those changed, then those left as they are on purpose, whatever their numbers."""
    told = [
        *rows_of("01OHIO_AAA", "skipped", "already_inactive", 40),
        *rows_of("01OHIO_AAA", "deactivated", count=20),
        *rows_of("01OHIO_AAA", "skipped", "no_expiry_date", 2),
        *rows_of("01OHIO_AAA", "failed", "unconfirmed", 3),
        *rows_of("01OHIO_AAA", "skipped", "within_grace", 50),
    ]
    html = render_report(document(institution("01OHIO_AAA", told)), told)
    assert re.findall(r"<h4>(.*?)</h4>", html) == [
        "Failed: Unconfirmed",
        "Skipped: No expiry date",
        "Deactivated",
        "Skipped: Within grace",
        "Skipped: Already inactive",
    ]


def test_only_short_lists_that_somebody_needs_are_unfolded() -> None:
    """A long list, and one where nothing was to be done, is folded until asked for."""
    told = [
        *rows_of("01OHIO_AAA", "failed", "unconfirmed", 3),
        *rows_of("01OHIO_AAA", "deactivated", count=2000),
        *rows_of("01OHIO_AAA", "skipped", "within_grace", 1),
    ]
    folds = page(render_report(document(institution("01OHIO_AAA", told)), told)).of("details")
    assert ["open" in fold for fold in folds[1:]] == [True, False, False]


def test_many_institutions_are_folded_and_each_link_leads_to_its_list() -> None:
    """Two hundred institutions make a page whose links all have a target on it, no id twice."""
    codes = [f"01OHIO_{number:03}" for number in range(200)]
    told = [row for code in codes for row in rows_of(code, "skipped", "no_expiry_date")]
    read = page(render_report(document(*(institution(code, told) for code in codes)), told))
    ids = [str(attributes["id"]) for _, attributes in read.elements if "id" in attributes]
    links = [str(link["href"]) for link in read.of("a")]
    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert len(links) == 400
    assert not any("open" in fold for fold in read.of("details") if fold.get("class") == "institution")


def test_one_institution_alone_is_unfolded() -> None:
    """A library that reads its own report sees its list at once."""
    fold = page(render_report(document(institution("01OHIO_AAA", [])), [])).of("details")[0]
    assert "open" in fold


def test_a_document_narrowed_to_one_institution_tells_of_no_other() -> None:
    """Rows of institutions that the document leaves out are left out: they are another library's patrons."""
    told = [*rows_of("01OHIO_AAA", "deactivated"), Row("01OHIO_BBB", "sedge.oder", "deactivated", "", "", AT)]
    html = render_report(document(institution("01OHIO_AAA", told)), told)
    assert "sedge.oder" not in html


def test_a_preview_cannot_be_taken_for_the_real_thing() -> None:
    """The banner, the title and every printed page say so, and no word says that anybody was deactivated."""
    told = rows_of("01OHIO_AAA", "would_deactivate", count=3)
    html = render_report(document(institution("01OHIO_AAA", told), mode="preview"), told)
    read = page(html)
    assert "Preview. Nothing was changed." in read.visible
    assert "Preview: Deactivation of expired patrons" in read.visible
    assert 'content: "Preview: nothing was changed"' in html
    assert read.rows_of("01OHIO_AAA")[0][4] == "3"
    assert read.rows_of("Institution")[0][4] == "Would deactivate"
    assert "Deactivated" not in read.visible.partition("What the reasons and cautions mean")[0]


def test_a_real_run_says_how_many_it_changed() -> None:
    """The banner tells the number, and nothing speaks of a preview."""
    told = rows_of("01OHIO_AAA", "deactivated", count=1100)
    html = render_report(document(institution("01OHIO_AAA", told)), told)
    assert "Real run. Patrons deactivated in Alma: 1,100." in page(html).visible
    assert "Preview" not in page(html).visible
    assert "nothing was changed" not in html


def test_a_failed_institution_says_why_and_what_to_do() -> None:
    """The reason stands in the table and in the institution's part, with what became of the rest."""
    told = rows_of("01OHIO_AAA", "skipped", "not_attempted", 2)
    failed = institution("01OHIO_AAA", told, status="failed", status_reason="The secret is empty: store the key.")
    read = page(render_report(document(failed, status="completed_with_failures"), told))
    assert read.visible.count("Why: The secret is empty: store the key.") == 2
    assert read.visible.count("What to do: have this mended") == 2
    assert read.visible.count("listed as “Not attempted”") == 2
    assert "1 failed" in read.visible
    assert "Completed with failures" in read.visible


def test_a_run_that_is_still_going_on_says_so() -> None:
    """The figures are marked as those so far, and an institution without any says that."""
    going_on = institution("01OHIO_AAA", [], status="queued", seen=0)
    read = page(render_report(document(going_on, status="running", as_of=None), []))
    assert "Still going on." in read.visible
    assert "no patron has an outcome yet" in read.visible
    assert "Still going on." not in page(render_report(document(institution("01OHIO_AAA", [])), [])).visible


def test_a_run_of_no_institution_says_that_nothing_was_started() -> None:
    """It has completed, but is no success: the banner, the title and every printed page say so."""
    html = render_report(document(as_of=None), [])
    read = page(html)
    assert "Nothing was started. No institution took part in this run, and nobody was changed." in read.visible
    assert "Nothing started: Deactivation of expired patrons" in read.visible
    assert 'content: "Nothing was started"' in html
    assert "Completed" not in read.visible
    assert "Real run." not in read.visible
    assert not read.of("svg")
    assert read.rows_of("All") == []
    assert "What the reasons" not in read.visible


def test_the_report_of_an_institution_that_has_ended_is_finished_though_others_go_on() -> None:
    """A library's own report, made while the run is at work elsewhere, is told as final."""
    told = rows_of("01OHIO_AAA", "deactivated", count=3)
    read = page(render_report(document(institution("01OHIO_AAA", told), status="running"), told))
    assert "Still going on." not in read.visible
    assert "RunCompleted" in read.visible
    rejected = institution("01OHIO_AAA", [], status="rejected", status_reason="rejected by Ana Systems.")
    assert "Rejected. Nobody was changed." in page(render_report(purge(rejected, status="running"), [])).visible


def test_a_run_that_failed_everywhere_does_not_look_like_a_success() -> None:
    """The banner says so, and that nobody was changed, as long as that is known."""
    lost = institution("01OHIO_AAA", [], status="failed", status_reason="the set isn't there.")
    run = document(lost, status="completed_with_failures")
    assert "Failed. Nobody was changed." in page(render_report(run, [])).visible
    assert "Preview. Nothing was changed. It failed." in page(render_report(run | {"mode": "preview"}, [])).visible
    told = rows_of("01OHIO_AAA", "failed", "unconfirmed")
    unclear = institution("01OHIO_AAA", told, status="failed", status_reason="no progress.")
    read = page(render_report(document(unclear, status="completed_with_failures"), told))
    assert "Nobody was changed" not in read.visible
    assert "Real run. Patrons deactivated in Alma: 0." in read.visible


def test_a_run_whose_institutions_are_not_there_yet_is_still_going_on() -> None:
    """Between its start and its first institution it isn't told as one that was never started."""
    read = page(render_report(document(as_of=None, status="running"), []))
    assert "Still going on." in read.visible
    assert "No institution has begun yet." in read.visible
    assert "Nothing was started" not in read.visible


@pytest.mark.parametrize("reason", list(Reason))
def test_the_legend_explains_every_reason_once(reason: Reason) -> None:
    """Outcome, meaning and remedy of each reason that occurs are on the page, and of no other."""
    told = {code: rows_of(code, reason.explanation.outcome, reason.value) for code in ("01OHIO_AAA", "01OHIO_BBB")}
    institutions = [institution(code, rows) for code, rows in told.items()]
    read = page(render_report(document(*institutions), [row for rows in told.values() for row in rows]))
    assert len([row for row in read.cells if row[0].strip().endswith(tuple(Reason))]) == 1
    explained = [[cell.strip() for cell in row] for row in read.cells if row[0].strip().endswith(reason.value)]
    explanation = EXPLANATIONS[reason]
    assert [row[1:] for row in explained] == [
        [explanation.outcome.value.capitalize(), explanation.meaning, explanation.remedy]
    ]


def test_what_alma_refused_is_explained_for_any_code() -> None:
    """A code of Alma's leads to one entry that says where its words are, and stands in the chart by itself."""
    told = [*rows_of("01OHIO_AAA", "failed", "alma_401860", 2), *rows_of("01OHIO_AAA", "failed", "alma_http_502")]
    html = render_report(document(institution("01OHIO_AAA", told)), told)
    read = page(html)
    assert "#reason-alma" in [link["href"] for link in read.of("a")]
    assert [row[1] for row in read.rows_of("Alma erroralma_<code>")] == ["Failed"]
    assert [bar[:3] for bar in chart_of(html)] == [
        ("Alma error 401860", "needs a look", "2"),
        ("Alma error http_502", "needs a look", "1"),
    ]


def test_the_chart_shows_changes_and_reasons_in_proportion() -> None:
    """The longest bar is full, the others are shares of it, none vanishes, and every number stands beside its bar."""
    told = [
        *rows_of("01OHIO_AAA", "deactivated", count=1000),
        *rows_of("01OHIO_AAA", "skipped", "staff", 250),
        *rows_of("01OHIO_AAA", "skipped", "no_expiry_date"),
    ]
    assert chart_of(render_report(document(institution("01OHIO_AAA", told)), told)) == [
        ("No expiry date", "needs a look", "1", "0.5%"),
        ("Deactivated", "", "1,000", "100.0%"),
        ("Staff", "as intended", "250", "25.0%"),
    ]


def test_hostile_text_stays_text() -> None:
    """Ids, details, reasons and the rest of a run can't become markup, and are told as they are."""
    told = [Row(HOSTILE, HOSTILE, "failed", f"alma_{HOSTILE}", HOSTILE, AT)]
    hostile = institution(HOSTILE, told, status="failed", status_reason=HOSTILE)
    read = page(render_report(document(hostile, run_id=HOSTILE), told))
    tame = [row._replace(institution="A", primary_id="b", reason="alma_1", detail="c") for row in told]
    plain = page(render_report(document(institution("A", tame, status="failed", status_reason="x")), tame))
    assert [tag for tag, _ in read.elements] == [tag for tag, _ in plain.elements]
    assert read.rows_of(HOSTILE)[-1] == [HOSTILE, HOSTILE, "2026-11-23 17:00:05"]
    assert read.visible.count(HOSTILE) >= 7
    assert not any(name.startswith("on") for _, attributes in read.elements for name in attributes)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No script, no address outside the page, and a policy that forbids browsers to load any."""
    told = [*rows_of("01OHIO_AAA", "deactivated"), *rows_of("01OHIO_AAA", "skipped", "staff")]
    html = render_report(document(institution("01OHIO_AAA", told)), told)
    read = page(html)
    assert not {tag for tag, _ in read.elements} & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert all(str(link["href"]).startswith("#") for link in read.of("a"))
    assert not re.search(r"https?:|//[a-z]|url\(|@import", html)
    policy = [meta["content"] for meta in read.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1
    assert str(policy[0]).startswith("default-src 'none';")


def test_the_page_can_be_read_aloud() -> None:
    """It names its language, and every header cell says what it is the header of."""
    told = [*rows_of("01OHIO_AAA", "deactivated"), *rows_of("01OHIO_AAA", "skipped", "staff")]
    read = page(render_report(document(institution("01OHIO_AAA", told)), told))
    assert read.of("html") == [{"lang": "en"}]
    assert {header.get("scope") for header in read.of("th")} == {"col", "row"}
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_long_list_stays_light() -> None:
    """Twenty thousand more patrons cost less than a hundred bytes each, ids included."""
    told = rows_of("01OHIO_AAA", "deactivated", count=20_000)
    few = render_report(document(institution("01OHIO_AAA", told[:1])), told[:1])
    many = render_report(document(institution("01OHIO_AAA", told)), told)
    assert (len(many) - len(few)) / 20_000 < 100


@pytest.mark.parametrize("outcome", list(Outcome))
def test_any_outcome_that_occurs_has_its_column(outcome: Outcome) -> None:
    """No count of the document is without a place in the table."""
    read = page(render_report(document(institution("A", [], outcomes={outcome.value: 7}, candidates=7)), []))
    header, figures = read.rows_of("Institution")[0], read.rows_of("A")[0]
    assert dict(zip(header, figures, strict=True))[outcome.value.replace("_", " ").capitalize()] == "7"


# ── Purges, and runs that wait for a decision ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["preview", "apply"])
def test_a_purge_says_that_it_cannot_be_undone(mode: str) -> None:
    """Before and after, it says that Alma can't undo it, and how long this service can; a deactivation doesn't."""
    read = page(render_report(purge(institution("01OHIO_AAA", []), mode=mode), []))
    assert "Purge of long-expired patrons" in read.visible
    assert UNDO in read.visible
    assert "vault for as long as the policy's vault_days says" in read.visible
    assert "for so long a deleted patron can be restored from it" in read.visible
    assert UNDO not in page(render_report(document(institution("01OHIO_AAA", [])), [])).visible


def test_a_purge_tells_who_was_deleted_and_who_could_not_be() -> None:
    """The banner counts the deleted; whoever was blocked has a column, and is listed with the figure."""
    told = [
        *rows_of("01OHIO_AAA", "purged", count=1100),
        *rows_of("01OHIO_AAA", "blocked", "loans", 2, "2 on loan"),
        *rows_of("01OHIO_AAA", "blocked", "alma_refused", 1, "Failed to delete user"),
        *rows_of("01OHIO_AAA", "skipped", "within_retention", 9),
    ]
    html = render_report(purge(institution("01OHIO_AAA", told)), told)
    read = page(html)
    assert "Real run. Patrons deleted from Alma: 1,100." in read.visible
    assert read.rows_of("Institution") == [
        ["Institution", "Status", "Seen", "Candidates", "Purged", "Skipped", "Blocked", "Failed", "To look at"]
    ]
    assert read.rows_of("01OHIO_AAA") == [
        ["01OHIO_AAA", "Completed", "20,000", "1,112", "1,100", "9", "3", "0", "3"],
    ]
    assert read.rows_of("blocked-loans-1") == [["blocked-loans-1", "2 on loan", "2026-11-23 17:00:05"]]
    assert ("Purged", "", "1,100", "100.0%") in chart_of(html)


@pytest.mark.parametrize("action", list(Action))
def test_every_action_has_the_column_of_its_change(action: Action) -> None:
    """A preview and a real run show their change, be it zero, and never the other's."""
    for mode, shown, absent in [("preview", action.would, action.done), ("apply", action.done, action.would)]:
        read = page(render_report(document(institution("A", []), action=action.value, mode=mode), []))
        assert f"0 {shown.replace('_', ' ')}" in read.visible
        assert shown.replace("_", " ").capitalize() in read.rows_of("Institution")[0]
        assert absent.replace("_", " ").capitalize() not in read.rows_of("Institution")[0]


def test_a_held_run_says_that_it_waits_and_why() -> None:
    """The banner, the title, table and list say so, with every figure, until when, and that nobody was changed."""
    told = [*rows_of("01OHIO_AAA", "would_purge", count=612), *rows_of("01OHIO_AAA", "blocked", "fees", 3, "balance 5")]
    html = render_report(purge(held("01OHIO_AAA", told), status="held"), told)
    read = page(html)
    assert "Held: waits for a decision. 1 institution, 612 patrons. Nobody was changed there." in read.visible
    assert "Held: Purge of long-expired patrons" in read.visible
    assert 'content: "Held: nobody was changed yet"' in html
    assert read.visible.count(f"Held: waits for a decision. H{UNTIL[1:]}. Nobody was changed here.") == 2
    for figures in ("612 of 803 candidates would be purged", "612 changes due, 500 allowed"):
        assert read.visible.count(figures) == 2
    for guard in (Guard.FIRST_RUN, Guard.MAX_PATRONS):
        assert read.visible.count(guard.explanation.remedy) == 1
    assert "would be deleted, if approved" in read.visible
    assert "Still going on." not in read.visible
    assert "Real run." not in read.visible


def test_a_held_run_lists_who_would_go_and_why_others_stay() -> None:
    """Nobody can decide without the list: all due patrons and all others are on it, in an unfolded institution."""
    told = [
        *rows_of("01OHIO_AAA", "would_purge", count=61),
        *rows_of("01OHIO_AAA", "skipped", "still_active", 4),
        *rows_of("01OHIO_BBB", "purged", count=3),
    ]
    run = purge(held("01OHIO_AAA", told), institution("01OHIO_BBB", told), status="held")
    read = page(render_report(run, told))
    listed = {row[0] for row in read.cells}
    assert {row.primary_id for row in told} <= listed
    figures = dict(zip(read.rows_of("Institution")[0], read.rows_of("01OHIO_AAA")[0], strict=True))
    assert (figures["Purged"], figures["Would purge"], figures["Skipped"]) == ("0", "61", "4")
    assert "Elsewhere, patrons deleted from Alma: 3." in read.visible
    assert ["open" in fold for fold in read.of("details") if fold.get("class") == "institution"] == [True, False]


def test_a_held_run_says_how_to_answer_it() -> None:
    """The two events on the page are valid for the operator, and name this run and this institution."""
    code = 'A"<b>&é'
    read = page(render_report(purge(held(code, []), status="held"), []))
    approve, reject = (parse_operator(json.loads(event)) for event in read.verbatim)
    assert isinstance(approve, Approve)
    assert isinstance(reject, Reject)
    for answer in (approve, reject):
        assert (answer.run_id, answer.institution) == ("purge-0123456789abcdef", code)


def test_a_held_run_without_candidates_is_a_page_too() -> None:
    """A guard may trip though nobody is due."""
    read = page(render_report(purge(held("01OHIO_AAA", []), status="held"), []))
    assert "Nobody: there were no candidates." in read.visible


def test_a_held_run_lists_first_whom_the_decision_is_about() -> None:
    """Whoever would be deleted comes before those who stay for a reason that needs a look."""
    told = [*rows_of("01OHIO_AAA", "blocked", "loans", 9), *rows_of("01OHIO_AAA", "would_purge", count=2)]
    visible = page(render_report(purge(held("01OHIO_AAA", told), status="held"), told)).visible
    assert "What would happen, and why" in visible
    assert visible.index("would_purge--0") < visible.index("blocked-loans-0")


def test_what_happened_elsewhere_is_not_told_as_what_would() -> None:
    """One library's purge has been approved and done, another's waits: the chart has both, and says so."""
    done, waiting = rows_of("01OHIO_AAA", "purged", count=17), rows_of("01OHIO_BBB", "would_purge", count=15)
    both = purge(institution("01OHIO_AAA", done), held("01OHIO_BBB", waiting), status="held")
    visible = page(render_report(both, [*done, *waiting])).visible
    assert "What happened, and what would, and why" in visible


def test_a_cancelled_preview_is_not_what_a_real_run_would_do() -> None:
    """It ended before everybody was judged."""
    told = [*rows_of("01OHIO_AAA", "would_purge"), *rows_of("01OHIO_AAA", "skipped", "not_attempted", 41)]
    ended = institution("01OHIO_AAA", told, status="cancelled", status_reason="cancelled by Ana Systems.")
    visible = page(render_report(purge(ended, mode="preview", status="cancelled"), told)).visible
    assert "Preview. Nothing was changed. It was cancelled before its end." in visible
    assert "This is what a real run would do" not in visible


@pytest.mark.parametrize("status", ["failed", "rejected", "cancelled"])
def test_a_run_that_ended_before_it_had_a_list_says_so(status: str) -> None:
    """That nobody is listed doesn't mean that nobody was selected."""
    one = institution("01OHIO_AAA", [], status=status, status_reason="the set isn't there.")
    read = page(render_report(purge(one, status="completed_with_failures"), []))
    assert "Nobody: it ended before it had a list." in read.visible


def test_an_approved_run_shows_in_passing_that_it_was_held() -> None:
    """It is a real run like others; why it was held stays to be read, without asking for an answer."""
    told = rows_of("01OHIO_AAA", "purged", count=612)
    read = page(render_report(purge(institution("01OHIO_AAA", told, hold_reasons=[FIRST, MANY])), told))
    assert "Real run. Patrons deleted from Alma: 612." in read.visible
    assert read.visible.count("It was held, and approved by a person:") == 2
    assert read.visible.count("612 changes due, 500 allowed") == 2
    assert "waits for a decision" not in read.visible
    assert not read.verbatim
    assert Guard.MAX_PATRONS.explanation.remedy not in read.visible


@pytest.mark.parametrize(
    ("status", "why", "banner"),
    [
        ("rejected", "rejected by Ana Systems on 2026-11-24 at 09:00 UTC: wrong set. Nothing was changed.", "Rejected"),
        ("rejected", "superseded by purge-fedcba9876543210. Nothing was changed.", "Rejected"),
        ("rejected", "nobody answered within 7 days. Nothing was changed.", "Rejected"),
        ("cancelled", "cancelled by Ana Systems on 2026-11-24 at 09:00 UTC.", "Cancelled"),
    ],
)
def test_a_run_that_was_refused_says_by_whom_and_changed_nobody(status: str, why: str, banner: str) -> None:
    """Who ended it and why it had been held are told; the patrons that it left are nothing to look at."""
    told = [*rows_of("01OHIO_AAA", "skipped", "not_attempted", 612), *rows_of("01OHIO_AAA", "blocked", "loans", 2)]
    ended = institution("01OHIO_AAA", told, status=status, status_reason=why, hold_reasons=[FIRST])
    html = render_report(purge(ended, status="cancelled"), told)
    read = page(html)
    assert f"{banner}. Nobody was changed." in read.visible
    assert read.visible.count(f"Why: {why}") == 2
    assert read.visible.count("It had been held before:") == 2
    assert "What to do: have this mended" not in read.visible
    assert read.rows_of("01OHIO_AAA")[0][-1] == "2"
    assert ("Not attempted", "as intended", "612", "100.0%") in chart_of(html)
    assert "waits for a decision" not in read.visible


@pytest.mark.parametrize("reason", [None, "unconfirmed"])
def test_a_run_that_was_cancelled_at_work_never_says_that_nobody_was_changed(reason: str | None) -> None:
    """Patrons deleted before the end are counted, and what isn't known isn't denied."""
    done = rows_of("01OHIO_AAA", "failed", reason) if reason else rows_of("01OHIO_AAA", "purged", count=20)
    told = [*done, *rows_of("01OHIO_AAA", "skipped", "not_attempted", 41)]
    ended = institution("01OHIO_AAA", told, status="cancelled", status_reason="cancelled by Ana Systems.")
    read = page(render_report(purge(ended, status="cancelled"), told))
    assert "Nobody was changed" not in read.visible
    assert f"Real run. Patrons deleted from Alma: {0 if reason else 20}." in read.visible


def test_a_preview_says_what_would_hold_the_real_run() -> None:
    """The figures are told, with what to look at; nothing asks for an answer, since nothing waits."""
    told = rows_of("01OHIO_AAA", "would_purge", count=612)
    run = purge(institution("01OHIO_AAA", told, hold_reasons=[FIRST, MANY]), mode="preview")
    html = render_report(run, told)
    read = page(html)
    assert "Preview. Nothing was changed." in read.visible
    assert read.visible.count("A real run would be held, and wait for somebody to decide:") == 2
    assert read.visible.count("612 changes due, 500 allowed") == 2
    assert Guard.MAX_PATRONS.explanation.remedy in read.visible
    assert not read.verbatim
    assert chart_of(html) == [("Would purge", "", "612", "100.0%")]


def test_a_remark_on_a_completed_run_is_a_note_and_no_error() -> None:
    """That a policy keeps no copies is told as a note; nothing is said to have gone wrong."""
    remark = "vault_days is 0: a real run would keep no copy of the records that it deletes."
    read = page(render_report(purge(institution("01OHIO_AAA", [], status_reason=remark), mode="preview"), []))
    assert read.visible.count(f"Note: {remark}") == 2
    assert "Why:" not in read.visible
    assert not [tag for tag, attributes in read.elements if "trouble" in str(attributes.get("class"))]


def test_a_reason_to_hold_of_another_make_is_told_as_it_is() -> None:
    """Text that no guard of ours wrote is shown whole, and stays text."""
    run = purge(institution("01OHIO_AAA", [], status="held", status_reason="", hold_reasons=[HOSTILE]), status="held")
    read = page(render_report(run, []))
    assert read.visible.count(HOSTILE) == 2
    assert not read.of("script")


# ── Patrons who were changed, and need a look all the same ────────────────────────────────────────────────────────────


PAST = "expiry_past: expired on 2024-05-01"
INTERNAL = "internal_account: with external identifiers"
AGAIN = "deactivated_again: brought back on 2026-10-12; the expiry date was still 2026-05-31"
LEFT_OUT = "left_out: address without line1"
DIFFERS = "stored_differs: status ACTIVE, not INACTIVE"
FACTS = "expired 2024-05-01, INACTIVE since 2024-05-10, STUDENT"


def patrons(outcome: str, **details: str) -> list[Row]:
    """One patron for each detail, by name."""
    return [Row("01OHIO_AAA", name, outcome, "", detail, AT) for name, detail in details.items()]


def reinstate(*institutions: dict[str, Any], **changes: object) -> dict[str, Any]:
    """A finished real reinstatement."""
    return document(*institutions, action="reinstate", run_id="reinstate-0123456789abcdef") | changes


def restore(*institutions: dict[str, Any], **changes: object) -> dict[str, Any]:
    """A finished real restoration."""
    return document(*institutions, action="restore", run_id="restore-0123456789abcdef") | changes


def lists_of(html: str) -> dict[str, list[str]]:
    """The primary ids under the title of each list."""
    lists = re.findall(r"<h4>(.*?)</h4>(.*?)</table>", html, re.DOTALL)
    return {title: re.findall(r'<tr><th scope="row">(.*?)(?:<td|\n)', body) for title, body in lists}


def notes_of(html: str) -> dict[str, str]:
    """What stands between the title of each list and its table."""
    lists = re.findall(r"<h4>(.*?)</h4>(.*?)<table", html, re.DOTALL)
    return {title: " ".join(ReadPage(body).visible.split()) for title, body in lists}


def test_a_reinstatement_warns_of_whom_the_next_deactivation_takes() -> None:
    """Each caution has a list of its own before that of all; who has two is in both, and in that of all once."""
    told = patrons("reinstated", ash="", fern=PAST, moss=f"{PAST}; {INTERNAL}", sedge=INTERNAL)
    html = render_report(reinstate(institution("01OHIO_AAA", told)), told)
    assert lists_of(html) == {
        "Reinstated, but the account is INTERNAL": ["moss", "sedge"],
        "Reinstated, but the expiry date is past": ["fern", "moss"],
        "Reinstated": ["ash", "fern", "moss", "sedge"],
    }
    notes = notes_of(html)
    assert notes["Reinstated, but the expiry date is past"].endswith(
        f"needs a look {Caution.EXPIRY_PAST.advice.meaning} What to do"
    )
    assert {"#caution-expiry_past", "#caution-internal_account"} <= {link["href"] for link in page(html).of("a")}
    assert all("open" in fold for fold in page(html).of("details"))


def test_a_deactivation_tells_who_had_been_brought_back_not_long_ago() -> None:
    """They are listed with when and why, and the remedy is a link away."""
    told = patrons("deactivated", ash="", fern=AGAIN, moss=f"{AGAIN}; recovered: done before the worker was lost")
    html = render_report(document(institution("01OHIO_AAA", told)), told)
    assert lists_of(html)["Deactivated, but brought back not long ago"] == ["fern", "moss"]
    assert page(html).rows_of("fern") == [["fern", AGAIN, "2026-11-23 17:00:05"]] * 2
    assert "set one ahead in Alma, or reinstate with an expiry_date" in page(html).visible


def test_a_restoration_tells_what_did_not_come_back_as_it_was() -> None:
    """Pieces that were left out, and what Alma has stored otherwise, are told of each patron."""
    told = patrons("restored", ash="", fern=LEFT_OUT, moss=f"{LEFT_OUT}; {DIFFERS}")
    html = render_report(restore(institution("01OHIO_AAA", told)), told)
    assert lists_of(html) == {
        "Restored, but without some pieces of the record": ["fern", "moss"],
        "Restored, but Alma has stored something else": ["moss"],
        "Restored": ["ash", "fern", "moss"],
    }


def test_patrons_with_a_caution_are_to_be_looked_at_and_each_is_counted_once() -> None:
    """Table, totals and heading count persons, not cautions, beside those who were left as they were."""
    told = [
        *patrons("reinstated", ash="", fern=PAST, moss=f"{PAST}; {INTERNAL}"),
        *rows_of("01OHIO_AAA", "skipped", "changed_since", 4),
        *rows_of("01OHIO_AAA", "skipped", "already_active", 5),
        Row("01OHIO_BBB", "sedge", "reinstated", "", PAST, AT),
    ]
    read = page(render_report(reinstate(institution("01OHIO_AAA", told), institution("01OHIO_BBB", told)), told))
    assert read.rows_of("01OHIO_AAA")[0][-1] == "6"
    assert read.rows_of("01OHIO_BBB")[0][-1] == "1"
    assert read.rows_of("All")[0][-1] == "7"
    text = " ".join(read.visible.split())
    assert "4 reinstated 7 to look at: 3 with a caution, 4 left as they are 5 left as they are, as intended" in text
    assert "12 candidates 6 to look at" in text


def test_the_chart_shows_nobody_twice() -> None:
    """Whoever was changed with a caution isn't in the bar of those without; who has two is in parts of one bar."""
    told = [
        *patrons("reinstated", ash="", fern=PAST, moss=f"{PAST}; {INTERNAL}"),
        Row("01OHIO_BBB", "sedge", "reinstated", "", PAST, AT),
        *rows_of("01OHIO_BBB", "reinstated", count=5),
        *rows_of("01OHIO_BBB", "skipped", "already_active", 4),
    ]
    run = reinstate(institution("01OHIO_AAA", told), institution("01OHIO_BBB", told))
    bars = chart_of(render_report(run, told))
    assert bars == [
        ("Reinstated, with a caution", "needs a look", "3", "50.0%"),
        ("of these: the expiry date is past", "", "3", "50.0%"),
        ("of these: the account is INTERNAL", "", "1", "16.7%"),
        ("Reinstated, without a caution", "", "6", "100.0%"),
        ("Already active", "as intended", "4", "66.7%"),
    ]
    assert sum(int(number) for label, _, number, _ in bars if not label.startswith("of these")) == len(told)


def test_a_single_caution_is_named_in_the_chart() -> None:
    """Where there is but one, its bar needs no parts; where everybody has it, there is no bar of the others."""
    told = patrons("deactivated", fern=AGAIN, moss=AGAIN)
    assert chart_of(render_report(document(institution("01OHIO_AAA", told)), told)) == [
        ("Deactivated, but brought back not long ago", "needs a look", "2", "100.0%")
    ]


def test_a_run_without_cautions_speaks_of_none() -> None:
    """The count of those to look at isn't split, and no list has a "but" in its title."""
    told = [*patrons("reinstated", ash=""), *rows_of("01OHIO_AAA", "skipped", "changed_since")]
    html = render_report(reinstate(institution("01OHIO_AAA", told)), told)
    assert "to look at:" not in page(html).visible
    assert list(lists_of(html)) == ["Skipped: Changed since", "Reinstated"]


def test_only_details_of_the_changed_are_searched_for_cautions() -> None:
    """Words of Alma's that happen to look like a caution make none of a patron who was left as they were."""
    told = [
        *rows_of("01OHIO_AAA", "failed", "alma_401860", 1, LEFT_OUT),
        *rows_of("01OHIO_AAA", "skipped", "staff", 1, f"role; {PAST}"),
        *rows_of("01OHIO_AAA", "blocked", "", 1, PAST),
        *patrons("restored", ash="recovered: Alma said left_out: nothing"),
    ]
    html = render_report(restore(institution("01OHIO_AAA", told)), told)
    assert not any(", but " in title for title in lists_of(html))
    assert page(html).rows_of("01OHIO_AAA")[0][-1] == "1"


def test_cautions_of_libraries_that_a_document_leaves_out_are_left_out() -> None:
    """A library's own report counts its own patrons alone."""
    told = [*patrons("reinstated", ash=""), Row("01OHIO_BBB", "sedge", "reinstated", "", PAST, AT)]
    html = render_report(reinstate(institution("01OHIO_AAA", told)), told)
    assert list(lists_of(html)) == ["Reinstated"]
    assert page(html).rows_of("01OHIO_AAA")[0][-1] == "0"


@pytest.mark.parametrize(
    ("mode", "status", "beginning"),
    [("preview", "completed", "After a real run: "), ("apply", "held", "If approved: ")],
)
def test_a_caution_on_what_is_still_ahead_says_so(mode: str, status: str, beginning: str) -> None:
    """Preview and held run list whom it would concern, and don't tell it as done."""
    told = patrons("would_reinstate", ash=FACTS, fern=f"{PAST}; {FACTS}")
    run = reinstate(institution("01OHIO_AAA", told, status=status), mode=mode, status=status)
    html = render_report(run, told)
    title = "Would reinstate, but the expiry date is past"
    assert lists_of(html) == {title: ["fern"], "Would reinstate": ["ash", "fern"]}
    assert f"needs a look {beginning}{Caution.EXPIRY_PAST.advice.meaning}" in notes_of(html)[title]
    assert "Reinstated, but" not in page(html).visible


def test_who_decides_reads_the_list_before_its_cautions() -> None:
    """In a held run all who would be changed come first, then those of them who need a look."""
    told = patrons("would_reinstate", ash=FACTS, fern=f"{PAST}; {FACTS}")
    run = reinstate(institution("01OHIO_AAA", told, status="held"), status="held")
    assert list(lists_of(render_report(run, told))) == [
        "Would reinstate",
        "Would reinstate, but the expiry date is past",
    ]


@pytest.mark.parametrize("caution", list(Caution))
def test_every_caution_has_a_list_and_an_entry_in_the_legend(caution: Caution) -> None:
    """Meaning and remedy are on the page, and its list links to them."""
    told = patrons("restored", ash=caution.about("so"))
    read = page(render_report(restore(institution("01OHIO_AAA", told)), told))
    explained = [row for row in read.cells if row[0].strip().endswith(caution.value)]
    advice = [text.replace("`", "") for text in caution.advice]
    assert [[cell.strip() for cell in row[1:]] for row in explained] == [["Changed", *advice]]
    assert f"#caution-{caution}" in [link["href"] for link in read.of("a")]


def test_hostile_ids_with_a_caution_stay_text() -> None:
    """An id and a detail can't become markup in the lists of cautions either."""
    told = [Row("01OHIO_AAA", HOSTILE, "reinstated", "", f"{PAST}; {HOSTILE}", AT)]
    read = page(render_report(reinstate(institution("01OHIO_AAA", told)), told))
    assert not {tag for tag, _ in read.elements} & {"script", "img"}
    assert read.rows_of(HOSTILE) == [[HOSTILE, f"{PAST}; {HOSTILE}", "2026-11-23 17:00:05"]] * 2


@pytest.mark.parametrize(
    ("action", "done", "would"),
    [
        (Action.DEACTIVATE, "deactivated in Alma", "be deactivated"),
        (Action.PURGE, "deleted from Alma", "be deleted"),
        (Action.REINSTATE, "reinstated in Alma", "be reinstated"),
        (Action.RESTORE, "restored to Alma", "be restored"),
    ],
)
def test_every_action_is_told_in_its_own_words(action: Action, done: str, would: str) -> None:
    """Nothing speaks of a deletion where patrons are brought back, in a real run and in one that waits."""
    told = rows_of("01OHIO_AAA", action.done)
    real = page(render_report(document(institution("01OHIO_AAA", told), action=action), told)).visible
    assert f"Real run. Patrons {done}: 1." in real
    told = rows_of("01OHIO_AAA", action.would)
    waits = page(render_report(document(held("01OHIO_AAA", told), action=action, status="held"), told)).visible
    assert f"would {would}, if approved" in waits
    assert f"read below who would {would}, and why others would not" in waits
    assert ("Alma can't undo" in waits) is (action is Action.PURGE)


def test_a_purge_that_left_alone_whom_the_service_brought_back_restored_nobody() -> None:
    """The reason `restored` has a label that can't be taken for the outcome of the same name."""
    told = rows_of("01OHIO_AAA", "skipped", "restored")
    html = render_report(purge(institution("01OHIO_AAA", told)), told)
    assert list(lists_of(html)) == ["Skipped: Brought back before"]


def test_a_paused_run_tells_of_those_not_yet_reached() -> None:
    """It isn't over: why, until when, and how many candidates have no outcome; a run that goes on says that."""
    told = rows_of("01OHIO_AAA", "deactivated", count=3)
    reason = "16 calls are left today, and 18 are kept for others. Goes on by itself on 2026-11-24 at 00:05 UTC."
    waiting = institution("01OHIO_AAA", told, status="paused", status_reason=reason, candidates=10)
    page = ReadPage(render_report(document(waiting, status="paused"), told))
    text = " ".join(page.visible.split())
    assert "Paused, and not over. 1 institution waits until Alma has renewed the daily calls" in text
    assert f"Paused, and goes on by itself. {reason} 7 candidates are still to be reached, with no outcome yet" in text
    assert "Paused: Deactivation of expired patrons" in text
    assert page.rows_of("01OHIO_AAA")[0][1] == "Paused"
    going_on = institution("01OHIO_BBB", [], status="processing")
    both = ReadPage(render_report(document(waiting, going_on, status="running"), told))
    assert "Still going on." in both.visible
    assert "1 paused" in both.visible
    preview = ReadPage(render_report(document(waiting, status="paused", mode="preview"), told)).visible
    assert "Nothing was changed. It isn't over: this is what a real run would do, so far." in preview
    none = institution("01OHIO_AAA", [], status="paused", status_reason=reason)
    empty = ReadPage(render_report(document(none, status="paused"), []))
    assert "Nobody has been reached yet." in empty.visible
    assert "no patron has an outcome yet" in empty.visible
