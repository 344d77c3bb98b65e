"""Tests of the export: run.json and outcomes.csv."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.reasons import Outcome, Reason
from patron_lifecycle.reports.export import Row, UnknownRun, defused, export_run, rows, write_outcomes
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.lifecycle import end
from patron_lifecycle.runs.model import InstitutionRun, Page, PageState, PatronOutcome, Status
from patron_lifecycle.runs.status import run_document
from patron_lifecycle.runs.store import MemoryStore
from tests.samples import CODE, NOW, institution_run, outcome, page, run
from tests.workbench import MemoryNotices, MemoryResumption

RUN_ID = "deactivate-1"


class NoQueue:
    """A queue that nothing has to be sent to."""

    def send(self, messages: object) -> None:
        """Refuse."""
        raise AssertionError(messages)


def stored(*parts: tuple[InstitutionRun, list[Page]]) -> MemoryStore:
    """A store with one run of these institution runs and their pages."""
    store = MemoryStore()
    store.create_run(run(RUN_ID, tuple(one.code for one, _ in parts)))
    for one, pages in parts:
        store.create_institution_run(one.but(pages=len(pages), candidates=sum(len(page.ids) for page in pages)))
        store.put_pages(pages)
    return store


def exported(store: MemoryStore, directory: Path) -> list[list[str]]:
    """The lines of the exported outcomes.csv."""
    export_run(store, RUN_ID, directory)
    with (directory / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def done_page(number: int, code: str, *ids: str) -> Page:
    """A page whose patrons were all deactivated."""
    done = tuple(outcome(primary_id) for primary_id in ids)
    return page(number, ids, code=code, state=PageState.DONE, outcomes=done)


def test_outcomes_csv_has_the_fixed_header_and_a_row_per_candidate(tmp_path: Path) -> None:
    """The columns are the contract's, and an outcome is told with its time in UTC to the second."""
    at = datetime(2026, 11, 23, 12, 0, 5, 999_999, tzinfo=timezone(timedelta(hours=-5)))
    skipped = PatronOutcome.because("reed.elbe", Reason.STAFF, at, "role 21")
    one = page(0, outcomes=(outcome("fern.arno", at=at), skipped), state=PageState.DONE)
    store = stored((institution_run(status=Status.COMPLETED, finished_at=NOW), [one]))
    assert exported(store, tmp_path / "new" / "folder") == [
        ["institution", "primary_id", "outcome", "reason", "detail", "at"],
        [CODE, "fern.arno", "deactivated", "", "", "2026-11-23T17:00:05Z"],
        [CODE, "reed.elbe", "skipped", "staff", "role 21", "2026-11-23T17:00:05Z"],
    ]


def test_odd_text_comes_back_as_it_was(tmp_path: Path) -> None:
    """Commas, quotes, line ends, blanks, other scripts and what a spreadsheet takes for a formula are kept raw."""
    odd = (
        "a,b",
        'say "x"',
        "two\r\nlines",
        "\n",
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        " blank ",
        "Ünïcödé 図書館 🙂",
    )
    outcomes = tuple(outcome(primary_id, detail=primary_id[::-1]) for primary_id in odd)
    store = stored((institution_run(), [page(0, odd, outcomes=outcomes)]))
    assert [(line[1], line[4]) for line in exported(store, tmp_path)[1:]] == [(text, text[::-1]) for text in odd]


def test_outcomes_csv_is_rfc_4180(tmp_path: Path) -> None:
    """Lines end in CR LF, a field with a quote is quoted and the quote doubled, and there is no byte order mark."""
    store = stored((institution_run(), [page(0, ('a"b',), outcomes=(outcome('a"b'),))]))
    export_run(store, RUN_ID, tmp_path)
    assert (tmp_path / "outcomes.csv").read_bytes() == (
        b'institution,primary_id,outcome,reason,detail,at\r\n01OHIO_AAA,"a""b",deactivated,,,2026-11-23T17:00:00Z\r\n'
    )


def test_rows_are_in_order_of_institution_page_and_place() -> None:
    """The order is the selection's, whatever order the outcomes were recorded in."""
    mixed = page(1, ("c", "d"), code="01OHIO_AAA", outcomes=(outcome("d"), outcome("c")))
    store = stored(
        (institution_run(code="01OHIO_BBB"), [done_page(0, "01OHIO_BBB", "z")]),
        (institution_run(), [mixed, done_page(0, "01OHIO_AAA", "b", "a")]),
    )
    told = [(row.institution[-3:], row.primary_id) for row in rows(store, RUN_ID)]
    assert told == [("AAA", "b"), ("AAA", "a"), ("AAA", "c"), ("AAA", "d"), ("BBB", "z")]


def test_every_candidate_of_a_failed_institution_run_has_one_row_that_agrees_with_the_counts(tmp_path: Path) -> None:
    """Pages done, in progress and untouched at the failure: each id once, and run.json counts the same."""
    pages = [
        done_page(0, CODE, "a", "b"),
        page(1, ("c", "d", "e"), state=PageState.IN_PROGRESS, eligible=("c", "d"), outcomes=(outcome("d"),)),
        page(2, ("f", "g")),
    ]
    store = stored((institution_run(status=Status.PROCESSING, next_page=1, outcomes={Outcome.DEACTIVATED: 3}), pages))
    found = store.institution_run(RUN_ID, CODE)
    assert found is not None
    ended_at = NOW + timedelta(minutes=5)
    end(
        found,
        Status.FAILED,
        "Alma's daily quota is spent.",
        Engine(store, NoQueue(), MemoryNotices(), MemoryResumption(), lambda: ended_at, "test"),
    )

    lines = [Row(*line) for line in exported(store, tmp_path)[1:]]
    assert [(row.primary_id, row.reason) for row in lines] == [
        ("a", ""),
        ("b", ""),
        ("c", "unconfirmed"),
        ("d", ""),
        ("e", "not_attempted"),
        ("f", "not_attempted"),
        ("g", "not_attempted"),
    ]
    assert {row.at for row in lines if row.reason} == {"2026-11-23T17:05:00Z"}
    document = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["institutions"][0]
    assert document["outcomes"] == Counter(row.outcome for row in lines)
    assert document["reasons"] == Counter(row.reason for row in lines if row.reason)
    assert document["candidates"] == len(lines)


@pytest.mark.parametrize("status", [status for status in Status if status.is_open])
def test_an_open_institution_run_shows_only_the_outcomes_so_far(status: Status) -> None:
    """Nobody is told to be left over while the institution run may still come to them."""
    half = page(0, ("a", "b", "c"), state=PageState.IN_PROGRESS, eligible=("a", "b"), outcomes=(outcome("b"),))
    store = stored((institution_run(status=status), [half, page(1, ("d",))]))
    assert [row.primary_id for row in rows(store, RUN_ID)] == ["b"]


def test_run_json_is_the_run_document_readable(tmp_path: Path) -> None:
    """The file holds what the operator's status tells, indented, with other scripts as they are."""
    ended = institution_run(status=Status.FAILED, status_reason='no set named "図書館"', finished_at=NOW)
    store = stored((ended, []))
    export_run(store, RUN_ID, tmp_path)
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    stored_run = store.run(RUN_ID)
    assert stored_run is not None
    assert json.loads(text) == run_document(stored_run, store.institution_runs(RUN_ID))
    assert '\n  "run_id": "deactivate-1",\n' in text
    assert "図書館" in text


def test_an_export_replaces_the_one_before(tmp_path: Path) -> None:
    """A second export into the same folder leaves nothing of the first."""
    exported(stored((institution_run(), [done_page(0, CODE, *"abc")])), tmp_path)
    assert len(exported(stored((institution_run(), [done_page(0, CODE, "a")])), tmp_path)) == 2


def test_an_unknown_run_is_a_clear_error_and_writes_nothing(tmp_path: Path) -> None:
    """The error names the run and says where the known ones are listed."""
    with pytest.raises(UnknownRun, match=r"There is no run deactivate-1: .*status.* lists the latest"):
        export_run(MemoryStore(), RUN_ID, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UnknownRun):
        next(rows(MemoryStore(), RUN_ID))


def test_rows_ask_for_the_next_page_only_when_it_is_needed() -> None:
    """Memory stays flat: the first row is there before the second page is read."""
    read: list[int] = []

    class Watched(MemoryStore):
        def pages(self, institution_run: InstitutionRun) -> Iterator[Page]:
            for found in super().pages(institution_run):
                read.append(found.number)
                yield found

    store = Watched()
    store.create_run(run(RUN_ID))
    store.create_institution_run(institution_run(pages=3))
    store.put_pages([done_page(number, CODE, f"patron-{number}") for number in range(3)])
    assert next(rows(store, RUN_ID)).primary_id == "patron-0"
    assert read == [0]


# ── The CSV for people, who open it in a spreadsheet ──────────────────────────────────────────────────────────────────

WIDE = "\uff1d\uff0b\uff0d\uff20"  # the full-width forms of = + - @
DANGEROUS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\tblank",
    "\rx",
    "\nx",
    "\0=1",
    *(f"{sign}1" for sign in WIDE),
    "\N{SMALL EQUALS SIGN}1",
    "  =1",
    "\N{NO-BREAK SPACE}=1",
    "\N{ZERO WIDTH NO-BREAK SPACE}=1",
    "\N{RIGHT-TO-LEFT OVERRIDE}=1",
    "'=1",
    "''=1",
    '"=1"',
    "\" '=1",
    "“=1”",
    "`@x",
    "\N{MINUS SIGN}1",
    "-",
)
HARMLESS = (
    "",
    "fern.arno",
    "a=b",
    "'tis",
    '"quoted"',
    "O'Hara-Smith",
    " blank ",
    "2026-11-23",
    "Ünïcödé 図書館 🙂",
    "a\n=b",
    "'",
)
# Said in another way than the code: what a spreadsheet may take for the beginning of a formula.
STARTS = re.compile(r"[\x00-\x1f\x7f]|[\s'\"`]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
CELLS = st.text(max_size=12) | st.text(alphabet=" \t\r\n'\"`=+-@,;a1é\uff1d\uff0b\uff0d\uff20\ufeff\u200b", max_size=8)


def written(told: list[Row], *, safe: bool) -> str:
    """What is written of these rows."""
    file = io.StringIO(newline="")
    write_outcomes(file, told, safe=safe)
    return file.getvalue()


def row_of(cell: str) -> Row:
    """A row that has this text in every cell."""
    return Row(*(cell for _ in Row._fields))


@pytest.mark.parametrize("cell", DANGEROUS)
def test_no_cell_can_be_taken_for_a_formula(cell: str) -> None:
    """An apostrophe before it makes it text, in every column; it is kept as it was behind that."""
    assert defused(cell) == f"'{cell}"
    line = list(csv.reader(io.StringIO(written([row_of(cell)], safe=True), newline=""), strict=True))[1]
    assert line == [f"'{cell}"] * len(Row._fields)


@pytest.mark.parametrize("cell", HARMLESS)
def test_a_cell_without_danger_is_left_as_it_is(cell: str) -> None:
    """Nobody has to wonder about an apostrophe where there is nothing to fear."""
    assert defused(cell) == cell


def test_the_csv_for_people_is_rfc_4180_with_the_same_columns() -> None:
    """Every cell is quoted, so that a spreadsheet that splits at semicolons finds no further cell in one."""
    told = [Row(CODE, "a;=1", "deactivated", "", 'say "x"', "2026-11-23T17:00:00Z")]
    assert written(told, safe=True) == (
        '"institution","primary_id","outcome","reason","detail","at"\r\n'
        '"01OHIO_AAA","a;=1","deactivated","","say ""x""","2026-11-23T17:00:00Z"\r\n'
    )


@given(cells=st.lists(st.tuples(*(CELLS for _ in Row._fields)), max_size=4))
def test_both_csvs_give_back_every_cell(cells: list[tuple[str, ...]]) -> None:
    """The raw one as it is; the one for people but for the apostrophe, with no cell that begins dangerously."""
    told = [Row(*line) for line in cells]
    header, *raw = csv.reader(io.StringIO(written(told, safe=False), newline=""), strict=True)
    safe_header, *safe = csv.reader(io.StringIO(written(told, safe=True), newline=""), strict=True)
    assert header == safe_header == list(Row._fields)
    assert raw == [list(line) for line in cells]
    assert len(safe) == len(raw)
    for cell, as_it_was in zip(chain(*safe), chain(*raw), strict=True):
        assert cell in (as_it_was, f"'{as_it_was}")
        assert not cell.strip(" ").startswith((*"=+-@\t\r\n\0", *WIDE))
        assert cell != as_it_was or not STARTS.match(as_it_was)


@given(cell=CELLS)
def test_an_apostrophe_can_be_told_from_one_that_was_there(cell: str) -> None:
    """Whoever reads the CSV for people with a program gets the text back: an apostrophe before danger was put there."""
    safe = defused(cell)
    assert (safe[1:] if safe.startswith("'") and defused(safe[1:]) == safe else safe) == cell


def test_a_csv_is_written_row_by_row() -> None:
    """Memory stays flat: what is written doesn't wait for the last row."""
    file = io.StringIO(newline="")

    def told() -> Iterator[Row]:
        yield row_of("first")
        yield row_of("second")
        assert "first" in file.getvalue()

    write_outcomes(file, told())
    assert "second" in file.getvalue()
