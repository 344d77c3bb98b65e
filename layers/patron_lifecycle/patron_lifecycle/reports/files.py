"""All that is written about a run, in one folder."""

from pathlib import Path

from patron_lifecycle.reports.beside import beside_of
from patron_lifecycle.reports.export import known_run, rows_of, write_export
from patron_lifecycle.reports.html import render_report
from patron_lifecycle.runs.status import run_document
from patron_lifecycle.runs.store import Store


def write_results(store: Store, run_id: str, folder: Path) -> None:
    """Write a run's run.json, outcomes.csv and report.html. Raises `UnknownRun`. Holds all outcomes in memory."""
    run = known_run(store, run_id)
    institution_runs = store.institution_runs(run_id)
    document = run_document(run, institution_runs)
    told = list(rows_of(store, institution_runs))
    write_export(document, told, folder)
    report = render_report(document, told, beside_of(store, run))
    (folder / "report.html").write_text(report, encoding="utf-8")
