"""All that is written about a run, in one folder."""

from pathlib import Path

from patron_lifecycle.reports.export import export_run, rows
from patron_lifecycle.reports.html import render_report
from patron_lifecycle.runs.status import run_document
from patron_lifecycle.runs.store import Store


def write_results(store: Store, run_id: str, folder: Path) -> None:
    """Write a run's run.json, outcomes.csv and report.html. Raises `UnknownRun`."""
    export_run(store, run_id, folder)
    run = store.run(run_id)
    if run is not None:
        report = render_report(run_document(run, store.institution_runs(run_id)), rows(store, run_id))
        (folder / "report.html").write_text(report, encoding="utf-8")
