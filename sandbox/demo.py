"""The demo: what a systems librarian sees when the service does its main job for the first time."""

import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel

from patron_lifecycle.reports.export import export_run, rows
from patron_lifecycle.reports.html import render_report
from patron_lifecycle.runs.model import RunStatus
from patron_lifecycle.runs.status import run_document
from patron_lifecycle.runs.store import Store
from sandbox.progress import closing_tables, watch
from sandbox.sandbox import Sandbox, SandboxError

_PATIENCE_SECONDS = 300

STEPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("preview", "Who would become INACTIVE? A preview changes nothing in Alma.", {"mode": "preview"}),
    ("apply", "The real run: expired patrons become INACTIVE.", {"mode": "apply"}),
    ("again", "The same again: whoever is INACTIVE already isn't even a candidate.", {"mode": "apply"}),
)


def show(console: Console, registry: str, folder: Path, seed: int) -> None:
    """Run the demo; its reports stay in `folder`. Raises `SandboxError` when it doesn't come out as it should."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    console.print(Panel("Alma Patron Lifecycle: the weekly deactivation, on local AWS with a simulated Alma"))
    started = time.monotonic()
    with console.status("starting local AWS, deploying template.yaml, inventing patrons"):
        sandbox = Sandbox.up(folder, registry, seed=seed)
    try:
        console.print(f"[dim]ready in {time.monotonic() - started:.0f} s: AWS at {sandbox.aws.endpoint}[/dim]")
        for name, title, event in STEPS:
            console.rule(f"[bold]{title}", align="left")
            answer = sandbox.invoke("enumerator", {"action": "deactivate", **event})
            run = watch(sandbox.store, answer["run_id"], console, _PATIENCE_SECONDS)
            console.print(closing_tables(sandbox.store.institution_runs(answer["run_id"])))
            write_results(sandbox.store, answer["run_id"], folder / "results" / name)
            if run is None or run.status is not RunStatus.COMPLETED:
                raise SandboxError(
                    f"the run did not complete; see {folder / 'results' / name} and {folder / 'aws.log'}"
                )
    finally:
        sandbox.down()
    console.print(f"done in {time.monotonic() - started:.0f} s. Open the report of the real run:")
    console.print(str(folder / "results" / "apply" / "report.html"), style="bold", soft_wrap=True, highlight=False)


def write_results(store: Store, run_id: str, folder: Path) -> None:
    """Write a run's run.json, outcomes.csv and report.html. Raises `UnknownRun`."""
    export_run(store, run_id, folder)
    run = store.run(run_id)
    if run is not None:
        report = render_report(run_document(run, store.institution_runs(run_id)), rows(store, run_id))
        (folder / "report.html").write_text(report, encoding="utf-8")
