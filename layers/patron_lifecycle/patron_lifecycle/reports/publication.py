"""The report that people are given: of one institution's part of a run, or of the whole of it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from patron_lifecycle.reports.bucket import OUTCOMES, REPORT, RUN
from patron_lifecycle.reports.export import Row, rows_of, write_outcomes
from patron_lifecycle.reports.html import render_report
from patron_lifecycle.runs.model import InstitutionRun, Run
from patron_lifecycle.runs.status import run_document
from patron_lifecycle.runs.store import Store

MAX_LISTED = 20_000  # candidates; the page is built in memory, so that with more it has no lists


def write_report(store: Store, run: Run, institution_runs: Sequence[InstitutionRun], folder: Path) -> str:
    """Write report.html, outcomes.csv and run.json into `folder`; the page.

    Unlike an export's, this outcomes.csv is for spreadsheets: no cell of it is taken for a formula.
    """
    document = run_document(run, list(institution_runs))
    (folder / RUN).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    has_lists = sum(one.candidates for one in institution_runs) <= MAX_LISTED
    told: Iterable[Row] = rows_of(store, institution_runs)
    listed = list(told) if has_lists else []
    with (folder / OUTCOMES).open("w", encoding="utf-8", newline="") as file:
        write_outcomes(file, listed if has_lists else told)
    page = render_report(document, listed)
    (folder / REPORT).write_text(page, encoding="utf-8")
    return page
