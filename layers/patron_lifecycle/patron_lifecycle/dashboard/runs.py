"""The latest runs, and which of them started nothing."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from patron_lifecycle.dashboard.frame import Frame
from patron_lifecycle.runs.model import Run, Status
from patron_lifecycle.wording import ACTION_NOUNS, as_words

_NAMED = 5  # institutions with the same reason; the others are counted


class LeftOut(NamedTuple):
    """The institutions that a run leaves out for the same reason: how many, and the first of them."""

    reason: str
    institutions: int
    codes: list[str]


class Row(NamedTuple):
    """One run. `institutions` counts them by status, in words; `status` says so when nothing was started."""

    run: Run
    noun: str
    status: str
    is_bad: bool
    institutions: list[str]
    left_out: list[LeftOut]


def runs_view(runs: Iterable[Run], frame: Frame) -> str:
    """The runs in the order given."""
    return frame.render("runs", rows=[_row(run) for run in runs])


def _row(run: Run) -> Row:
    going_on = run.open_count - run.held_count - run.paused_count
    counts = [
        *([f"{run.held_count:,} {Status.HELD}"] if run.held_count else []),
        *([f"{run.paused_count:,} {Status.PAUSED}"] if run.paused_count else []),
        *([f"{going_on:,} not ended yet"] if going_on else []),
        *(f"{run.ended[status]:,} {status}" for status in Status if run.ended.get(status)),
    ]
    failed = bool(run.ended.get(Status.FAILED))
    status = as_words(run.status) if run.institutions else "Nothing was started"
    return Row(run, ACTION_NOUNS[run.action], status, failed or not run.institutions, counts, _left_out(run))


def _left_out(run: Run) -> list[LeftOut]:
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for skipped in run.skipped:
        by_reason[skipped.reason].append(skipped.institution)
    found = [LeftOut(reason, len(codes), codes[:_NAMED]) for reason, codes in by_reason.items()]
    return sorted(found, key=lambda each: (-each.institutions, each.reason))
