"""What a run is doing, for people who watch: a bar for each institution, and closing tables."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run, RunStatus, Status
from patron_lifecycle.runs.store import Store

_LOOK_SECONDS = 0.4
_RESUME_SECONDS = 3.0  # so long what was resumed may stay paused, until a worker has its message
_COLUMNS = 6  # more institutions than that make the table of reasons too wide
_COLOURS = {
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.HELD: "magenta",
    Status.PAUSED: "cyan",
    Status.CANCELLED: "dim",
    Status.REJECTED: "dim",
    Status.QUEUED: "dim",
}


def watch(store: Store, run_id: str, console: Console, timeout: float) -> Run | None:
    """Show progress until all of it has ended or waits, for a person or for Alma, a pause for some seconds already.

    The run, or None when `timeout` seconds were not enough. Raises `LookupError` for a run that there isn't.
    """
    deadline = time.monotonic() + timeout
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        TextColumn("{task.fields[count]:>11}"),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        bars: dict[str, TaskID] = {}
        moved_at = time.monotonic()
        while True:
            run = store.run(run_id)
            if run is None:
                raise LookupError(f'there is no run {run_id}; the operator\'s {{"command": "status"}} lists the latest')
            for one in store.institution_runs(run_id):
                _show(progress, bars, one)
            now = time.monotonic()
            if run.status is not RunStatus.PAUSED:
                moved_at = now
            is_fresh = run.status is RunStatus.PAUSED and now - moved_at < _RESUME_SECONDS
            if run.status is not RunStatus.RUNNING and not is_fresh:
                return run
            if now >= deadline:
                return None if run.status is RunStatus.RUNNING else run
            time.sleep(_LOOK_SECONDS)


def closing_tables(institution_runs: Sequence[InstitutionRun]) -> Group:
    """What came of a run: figures by institution, and why patrons were left as they were, by reason."""
    outcomes = [outcome for outcome in Outcome if any(outcome in one.shown_outcomes for one in institution_runs)]
    figures = Table(box=box.SIMPLE_HEAD, collapse_padding=True)
    for heading in ("institution", "status"):
        figures.add_column(heading, no_wrap=True)
    for heading in ("seen", "candidates", *outcomes):
        figures.add_column(heading.replace("_", " "), justify="right")
    for one in institution_runs:
        colour = _COLOURS.get(one.status, "yellow")
        counts = (one.seen, one.candidates, *(one.shown_outcomes.get(outcome, 0) for outcome in outcomes))
        status = f"[{colour}]{one.status}[/{colour}]"
        figures.add_row(one.code, status, *(f"{count:,}" for count in counts))
    return Group(figures, *_remarks(institution_runs), *_reasons(institution_runs))


def _remarks(institution_runs: Sequence[InstitutionRun]) -> Iterator[Text]:
    """Why institution runs are as they are: what went wrong, what they are held for, or would be."""
    held = [one for one in institution_runs if one.status is Status.HELD]
    for one in institution_runs:
        if one.status_reason and one not in held:
            yield Text(f"  {one.code}: {one.status_reason}", style=_COLOURS.get(one.status, ""))
        if one in held or one.mode is Mode.PREVIEW:
            would = "" if one in held else "a real run is held, "
            for reason in one.hold_reasons:
                yield Text(f"  {one.code}: {would}{reason}", style=_COLOURS[Status.HELD])
    if held:
        until = min(one.held_until for one in held if one.held_until)
        yield Text(f"  approve or reject each by {until:%Y-%m-%d %H:%M} UTC", style=_COLOURS[Status.HELD])


def _reasons(institution_runs: Sequence[InstitutionRun]) -> Iterator[Table]:
    """Why patrons were left as they were, if any was."""
    total = Counter[str]()
    for one in institution_runs:
        total.update(one.reasons)
    if not total:
        return
    shown = institution_runs if len(institution_runs) <= _COLUMNS else []
    short = [one.code.rpartition("_")[2] for one in shown]
    headings = short if len(set(short)) == len(short) else [one.code for one in shown]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("why left as they were", no_wrap=True)
    for heading in (*headings, "all"):
        table.add_column(heading, justify="right")
    for reason, count in total.most_common():
        table.add_row(reason, *(f"{one.reasons.get(reason, 0):,}" for one in shown), f"{count:,}")
    yield table


def _show(progress: Progress, bars: dict[str, TaskID], one: InstitutionRun) -> None:
    decided = one.due if one.status in (Status.SELECTING, Status.HELD) and not one.is_approved else 0
    done = sum(one.outcomes.values()) + decided
    if one.code not in bars:
        bars[one.code] = progress.add_task(one.code, total=None, count="", doing="")
    bar = bars[one.code]
    if not one.status.goes_on:
        progress.stop_task(bar)
    known = one.frozen or not one.status.keeps_lease
    progress.update(
        bar,
        total=max(one.candidates, 1) if known else None,
        completed=done if one.candidates or not known else 1,
        count=f"{done:,}/{one.candidates:,}" if known else "",
        doing=one.status.value,
    )
