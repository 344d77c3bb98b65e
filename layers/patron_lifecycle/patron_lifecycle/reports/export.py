"""A finished run, or one that is still going on, as two files: `run.json` and `outcomes.csv`."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import UTC
from pathlib import Path
from typing import NamedTuple

from patron_lifecycle.runs.model import InstitutionRun, Run, outcomes_of
from patron_lifecycle.runs.status import run_document
from patron_lifecycle.runs.store import Store


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
    _known(store, run_id)
    yield from _rows(store, store.institution_runs(run_id))


def export_run(store: Store, run_id: str, directory: Path) -> None:
    """Write `run.json` and `outcomes.csv` (RFC 4180), both UTF-8, into `directory`, which is made if need be.

    Raises `UnknownRun`, before anything is written.
    """
    run = _known(store, run_id)
    institution_runs = store.institution_runs(run_id)
    directory.mkdir(parents=True, exist_ok=True)
    document = json.dumps(run_document(run, institution_runs), indent=2, ensure_ascii=False)
    (directory / "run.json").write_text(document + "\n", encoding="utf-8")
    with (directory / "outcomes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(_rows(store, institution_runs))


def _known(store: Store, run_id: str) -> Run:
    run = store.run(run_id)
    if run is None:
        raise UnknownRun(run_id)
    return run


def _rows(store: Store, institution_runs: Iterable[InstitutionRun]) -> Iterator[Row]:
    for one in institution_runs:
        for page in store.pages(one):
            for outcome in outcomes_of(one, page):
                at = outcome.at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
                yield Row(one.code, outcome.primary_id, outcome.outcome.value, str(outcome.reason), outcome.detail, at)
