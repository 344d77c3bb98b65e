"""A finished run, or one that is still going on, as two files: `run.json` and `outcomes.csv`."""

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from patron_lifecycle.runs.model import InstitutionRun, Run, outcomes_of
from patron_lifecycle.runs.status import run_document
from patron_lifecycle.runs.store import Store

_FORMULA_STARTS = frozenset("=+-@\N{MINUS SIGN}")
_QUOTES = frozenset("'\"`")
_PASSED_OVER = frozenset({"Cc", "Cf", "Pi", "Pf"})  # categories: control, invisible, typographic quotes


class UnknownRun(LookupError):
    """There is no such run, or it is older than the retention and was deleted."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"There is no run {run_id}: it was never started, or its results are older than the retention. "
            'The operator\'s {"command": "status"} lists the latest runs.'
        )


class Row(NamedTuple):
    """One line of `outcomes.csv`: what happened to one candidate. All text; `at` is ISO 8601 in UTC.

    `primary_id` and `detail` are personal, and raw: neither is changed to please a spreadsheet.
    """

    institution: str
    primary_id: str
    outcome: str
    reason: str
    detail: str
    at: str


def rows(store: Store, run_id: str) -> Iterator[Row]:
    """The outcomes of a run, by institution, page and place in the page. Holds one page in memory at a time.

    Where the institution run has ended every candidate has a row, and where it is held as well: whom it waits to
    change is told so. Elsewhere those that have an outcome so far. Raises `UnknownRun`.
    """
    known_run(store, run_id)
    yield from rows_of(store, store.institution_runs(run_id))


def export_run(store: Store, run_id: str, directory: Path) -> None:
    """Write `run.json` and `outcomes.csv` (RFC 4180), both UTF-8, into `directory`, which is made if need be.

    Raises `UnknownRun`, before anything is written.
    """
    run = known_run(store, run_id)
    institution_runs = store.institution_runs(run_id)
    write_export(run_document(run, institution_runs), rows_of(store, institution_runs), directory)


def write_export(document: Mapping[str, Any], told: Iterable[Row], directory: Path) -> None:
    """Write a run as `run_document` gives it, and its rows, as `export_run` does."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (directory / "run.json").write_text(text + "\n", encoding="utf-8")
    with (directory / "outcomes.csv").open("w", encoding="utf-8", newline="") as file:
        write_outcomes(file, told, safe=False)


def write_outcomes(file: TextIO, told: Iterable[Row], *, safe: bool = True) -> None:
    """Write the header and the rows as CSV (RFC 4180) to a file that was opened with `newline=""`, one by one.

    `safe` is for people, who open it in a spreadsheet: a cell that one could take for a formula begins with an
    apostrophe (see `defused`), and every cell is quoted, since a spreadsheet that splits at semicolons or tabs as well
    would find further cells in one that isn't. Otherwise every cell is as it is, for programs.
    """
    writer = csv.writer(file, quoting=csv.QUOTE_ALL if safe else csv.QUOTE_MINIMAL)
    writer.writerow(Row._fields)
    writer.writerows((map(defused, row) for row in told) if safe else told)


def defused(cell: str) -> str:
    """The text of a cell, with an apostrophe before it where a spreadsheet could take it for a formula.

    That is where it begins with = + - @ in any width, or with a control character such as tab, CR or LF, be there
    blanks, invisible characters or quotes before it (OWASP, CSV Injection). Nothing else is changed, so without that
    apostrophe it is the text as it was.
    """
    passed_over = "".join(takewhile(_is_passed_over, cell))
    start = unicodedata.normalize("NFKC", cell[len(passed_over) :][:1])[:1]
    has_control = any(unicodedata.category(char) == "Cc" for char in passed_over)
    return f"'{cell}" if start in _FORMULA_STARTS or has_control else cell


def _is_passed_over(char: str) -> bool:
    """Whether a spreadsheet, or who cleans its cells, may pass over it at the beginning of a cell."""
    category = unicodedata.category(char)
    return char.isspace() or category in _PASSED_OVER or unicodedata.normalize("NFKC", char) in _QUOTES


def known_run(store: Store, run_id: str) -> Run:
    """The run. Raises `UnknownRun`."""
    run = store.run(run_id)
    if run is None:
        raise UnknownRun(run_id)
    return run


def rows_of(store: Store, institution_runs: Iterable[InstitutionRun]) -> Iterator[Row]:
    """The outcomes of these institution runs, as `rows` gives those of a run."""
    for one in institution_runs:
        for page in store.pages(one):
            for outcome in outcomes_of(one, page):
                at = outcome.at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
                yield Row(one.code, outcome.primary_id, outcome.outcome.value, str(outcome.reason), outcome.detail, at)
