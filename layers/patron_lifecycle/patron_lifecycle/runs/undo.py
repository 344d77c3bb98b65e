"""Whether a past run can still be taken back, until when, and by which event."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run


def undo_of(
    past: Run | InstitutionRun, undone: Iterable[tuple[str, str]], retention: timedelta, now: datetime
) -> dict[str, Any]:
    """How to take back a run, or one institution's part of it.

    `possible`; `until`, ISO 8601, until when nothing of what it takes is missing, or null; `why_not`; `note`; `event`,
    which previews it, or null; `undone_by`, the runs that have taken patrons back. `undone` has these runs with their
    institutions, as `Store.undone_by` gives them; `retention` is how long runs are kept.
    """
    until = _until(past, retention)
    why_not = _why_not(past, until, now)
    by = past.action.undone_by
    undone_by = list(dict.fromkeys(run_id for code, run_id in undone if _is_of(past, code)))
    event: dict[str, Any] | None = None
    if not why_not and by is not None:
        event = {"action": by.value, "mode": Mode.PREVIEW.value, "source_run_id": past.run_id}
        if isinstance(past, InstitutionRun):
            event["institutions"] = [past.code]
    return {
        "possible": not why_not,
        "until": None if why_not or until is None else until.isoformat(),
        "why_not": why_not,
        "note": _note(past, is_undone=bool(undone_by)) if not why_not else "",
        "event": event,
        "undone_by": undone_by,
    }


def _is_of(past: Run | InstitutionRun, code: str) -> bool:
    return not isinstance(past, InstitutionRun) or past.code == code


def _note(past: Run | InstitutionRun, *, is_undone: bool) -> str:
    notes = ["some of its patrons, or all, were brought back already"] if is_undone else []
    if isinstance(past, Run) and past.open_count:
        notes.append("only where it has ended")
    if isinstance(past, Run) and (without := past.without_copies):
        which = f"{without} institution{'s' if without > 1 else ''} whose vault_days was 0"
        notes.append(f"not in {which}: no copies were kept there")
    return "; ".join(notes)


def _until(past: Run | InstitutionRun, retention: timedelta) -> datetime | None:
    """Until when the outcomes, and of a purge the copies, are all kept; None when there are no copies."""
    kept = past.created_at + retention
    if past.action is not Action.PURGE:
        return kept
    return None if past.vault_until is None else min(kept, past.vault_until)


def _why_not(past: Run | InstitutionRun, until: datetime | None, now: datetime) -> str:
    is_open = past.status.is_open if isinstance(past, InstitutionRun) else past.open_count > 0 and not past.touched
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
        kept = "copies have" if past.action is Action.PURGE else "its results have"
        rest = "; a preview tells whose are still there" if past.action is Action.PURGE else ""
        return f"{kept} been kept until {until:%Y-%m-%d}{rest}"
    return ""
