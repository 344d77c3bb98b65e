"""The report that people are given: of one institution's part of a run, or of the whole of it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from patron_lifecycle.reports.beside import beside_of
from patron_lifecycle.reports.bucket import OUTCOMES, REPORT, RUN
from patron_lifecycle.reports.export import rows_of, write_outcomes
from patron_lifecycle.reports.html import render_report
from patron_lifecycle.runs.model import InstitutionRun, Run
from patron_lifecycle.runs.status import run_document
from patron_lifecycle.runs.store import Store

MAX_LISTED = 20_000  # candidates; the page is built in memory, so that with more it has no lists


def write_report(
    store: Store, run: Run, institution_runs: Sequence[InstitutionRun], folder: Path, code: str = ""
) -> str:
    """Write report.html, outcomes.csv and run.json into `folder`; the page.

    With `code` it is the report of that institution, whose institution run is given, and tells of no other.
    Unlike an export's, this outcomes.csv is for spreadsheets: no cell of it is taken for a formula.
    """
    document = run_document(run, list(institution_runs))
    (folder / RUN).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    has_lists = sum(one.candidates for one in institution_runs) <= MAX_LISTED
    listed = list(rows_of(store, institution_runs)) if has_lists else None
    with (folder / OUTCOMES).open("w", encoding="utf-8", newline="") as file:
        write_outcomes(file, rows_of(store, institution_runs) if listed is None else listed)
    # Without lists the rows are read once more, one page of them at a time, for the cautions in them.
    told = rows_of(store, institution_runs) if listed is None else listed
    page = render_report(document, told, replace(beside_of(store, run, code), lists=has_lists))
    (folder / REPORT).write_text(page, encoding="utf-8")
    return page
