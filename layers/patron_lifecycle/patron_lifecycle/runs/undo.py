"""Whether a past run can still be taken back, until when, and by which event."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run


def undo_of(past: Run | InstitutionRun, runs: Iterable[Run], retention: timedelta, now: datetime) -> dict[str, Any]:
    """How to take back a run, or one institution's part of it.

    `possible`; `until`, ISO 8601, until when nothing of what it takes is missing, or null; `why_not`; `event`, which
    previews it, or null; `undone_by`, those of `runs` that were to take it back. `retention` is how long runs are kept.
    """
    until = _until(past, retention)
    why_not = _why_not(past, until, now)
    by = past.action.undone_by
    event: dict[str, Any] | None = None
    if not why_not and by is not None:
        event = {"action": by.value, "mode": Mode.PREVIEW.value, "source_run_id": past.run_id}
        if isinstance(past, InstitutionRun):
            event["institutions"] = [past.code]
    return {
        "possible": not why_not,
        "until": None if why_not or until is None else until.isoformat(),
        "why_not": why_not,
        "event": event,
        "undone_by": [run.run_id for run in runs if _takes_back(run, past)],
    }


def _takes_back(run: Run, past: Run | InstitutionRun) -> bool:
    is_there = not isinstance(past, InstitutionRun) or past.code in run.institutions
    source = run.bring_back.source_run_id if run.bring_back else None
    return run.mode is Mode.APPLY and source == past.run_id and is_there


def _until(past: Run | InstitutionRun, retention: timedelta) -> datetime | None:
    """Until when the outcomes, and of a purge the copies, are all kept; None when there are no copies."""
    kept = past.created_at + retention
    if past.action is not Action.PURGE:
        return kept
    return None if past.vault_until is None else min(kept, past.vault_until)


def _why_not(past: Run | InstitutionRun, until: datetime | None, now: datetime) -> str:
    is_open = past.status.is_open if isinstance(past, InstitutionRun) else past.open_count > 0
    if past.action.undone_by is None:
        return f"a {past.action} brings patrons back: there is nothing to undo"
    if past.mode is Mode.PREVIEW:
        return "a preview changes nobody"
    if is_open:
        return "it has not ended"
    if not past.touched:
        return "it changed nobody"
    if until is None:
        return "no copies were kept of whom it deleted (vault_days was 0)"
    if until <= now:
        return f"what it takes has been kept until {until:%Y-%m-%d}; parts of it may still be there, try a preview"
    return ""
