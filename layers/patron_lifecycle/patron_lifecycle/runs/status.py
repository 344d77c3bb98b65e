"""What is going on, as JSON: for the operator's `status`, and for `run.json` of an export."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from patron_lifecycle.alma.records import folded
from patron_lifecycle.runs.events import InvalidEvent, ShowStatus
from patron_lifecycle.runs.lookup import known_run
from patron_lifecycle.runs.model import InstitutionRun, Run, Status
from patron_lifecycle.runs.store import Store
from patron_lifecycle.runs.story import tell_story
from patron_lifecycle.runs.undo import undo_of

_LATEST = 30


def show_status(asked: ShowStatus, store: Store, retention: timedelta, now: datetime) -> dict[str, Any]:
    """The answer to the operator's `status`. Raises `InvalidEvent` for a run or an institution that there isn't.

    `retention` is how long runs are kept: what an undo of a past run takes goes with them.
    """
    if asked.registry:
        return {"registered": [one.model_dump(mode="json") for one in store.institutions()]}
    if asked.institution is not None and asked.patron_id is not None:
        return _story_of(asked.institution, asked.patron_id, store, now)

    def undo(past: Run | InstitutionRun, undone: Sequence[tuple[str, str]] | None = None) -> dict[str, Any]:
        return undo_of(past, store.undone_by(past.run_id) if undone is None else undone, retention, now)

    if asked.run_id is not None:
        run = known_run(asked.run_id, store)
        found = [one for one in store.institution_runs(asked.run_id) if asked.institution in (None, one.code)]
        document = run_document(run, found)
        document["bring_back"] = _bring_back(run)
        undone = store.undone_by(run.run_id)
        document["undo"] = undo(run, undone)
        document["institutions"] = [{**_with_answers(one), "undo": undo(one, undone)} for one in found]
        return document
    if asked.institution is not None:
        latest = store.institution_runs_of(asked.institution, _LATEST)
        told = [{**_of_one_institution(one), "undo": undo(one)} for one in latest]
        return _status_of(asked.institution, told, store)
    open_runs = store.open_institution_runs()
    held, paused = (
        [answered(one) for one in open_runs if one.status is waits] for waits in (Status.HELD, Status.PAUSED)
    )
    runs = [{**_summary(run), "undo": undo(run)} for run in store.recent_runs(_LATEST)]
    return {"held": held, "paused": paused, "runs": runs}


def _status_of(code: str, latest: list[dict[str, Any]], store: Store) -> dict[str, Any]:
    """An institution as registered, its whole policy with the caps included, and its latest runs."""
    registered = store.institution(code)
    if registered is None and not latest:
        raise _not_registered(code)
    return {
        "institution": code,
        "registered": registered.model_dump(mode="json") if registered else None,
        "latest": latest,
    }


def _story_of(code: str, patron_id: str, store: Store, now: datetime) -> dict[str, Any]:
    """What this service did with one patron, newest first, and when it brought them back last."""
    story = tell_story(code, patron_id, store, now)
    if not story and store.institution(code) is None:
        raise _not_registered(code)
    came_back = [one for one in store.returned(code).get(folded(patron_id), ()) if one.confirmed]
    back = came_back[-1] if came_back else None
    nothing = (
        "no run that is still kept had a candidate with this id: runs know patrons by their primary id, and who was "
        "never due in a sweep isn't recorded"
    )
    return {
        "institution": code,
        "patron_id": patron_id,
        "story": story,
        "note": "" if story else nothing,
        "brought_back": None
        if back is None
        else back.model_dump(mode="json", exclude={"code", "primary_id", "confirmed", "at"}),
    }


def _not_registered(code: str) -> InvalidEvent:
    return InvalidEvent(f"institution: {code} is not registered; correct the code, or register it")


def run_document(run: Run, institution_runs: list[InstitutionRun]) -> dict[str, Any]:
    """A run with its institution runs: the shape of `run.json`. `as_of` is the day that it judged by."""
    day = run.as_of or min((one.day for one in institution_runs if one.day), default=None)
    return {
        "run_id": run.run_id,
        "action": run.action.value,
        "mode": run.mode.value,
        "status": run.status.value,
        "as_of": day.isoformat() if day else None,
        "institutions": [_institution_document(one) for one in institution_runs],
    }


def _institution_document(one: InstitutionRun) -> dict[str, Any]:
    return {
        "institution": one.code,
        "status": one.status.value,
        "status_reason": one.status_reason,
        "hold_reasons": list(one.hold_reasons),
        "seen": one.seen,
        "candidates": one.candidates,
        "outcomes": {outcome.value: count for outcome, count in sorted(one.shown_outcomes.items())},
        "reasons": dict(sorted(one.reasons.items())),
    }


def answered(one: InstitutionRun) -> dict[str, Any]:
    """One institution run as it is now, with its run_id: the answer to approve and reject."""
    return {"run_id": one.run_id, "bring_back": _bring_back(one), **_with_answers(one)}


def _with_answers(one: InstitutionRun) -> dict[str, Any]:
    """What `run.json` tells of an institution run, what persons said to it, or until when they may, its trouble and
    its pause.

    The trouble is what the last slice met that made no progress.
    """
    answers = [verdict.model_dump(mode="json") for verdict in one.verdicts]
    until = one.held_until.isoformat() if one.status is Status.HELD and one.held_until else None
    return {
        **_institution_document(one),
        "answers": answers,
        "held_until": until,
        "trouble": one.trouble,
        "pause": _pause(one),
    }


def _pause(one: InstitutionRun) -> dict[str, Any] | None:
    """Since when it is paused, until when, on how many days it was, and the calls that are left and kept for others."""
    if one.status is not Status.PAUSED:
        return None
    return {
        "since": one.touched_at.isoformat(),
        "until": one.paused_until.isoformat() if one.paused_until else None,
        "days": one.pauses,
        "calls_left": one.remaining_calls,
        "calls_kept": one.paused_reserve,
    }


def _bring_back(asked: Run | InstitutionRun) -> dict[str, Any] | None:
    """Whom a run is to bring back, and with which new expiry date; None for one that takes away."""
    if asked.bring_back is None:
        return None
    told = asked.bring_back.model_dump(mode="json", exclude={"named"})
    return {**told, "named_patrons": bool(asked.bring_back.named)}


def _summary(run: Run) -> dict[str, Any]:
    return {
        "bring_back": _bring_back(run),
        "run_id": run.run_id,
        "action": run.action.value,
        "mode": run.mode.value,
        "status": run.status.value,
        "trigger": run.trigger.value,
        "created_at": run.created_at.isoformat(),
        "institutions": len(run.institutions),
        "open": run.open_count,
        "held": run.held_count,
        "paused": run.paused_count,
    }


def _of_one_institution(one: InstitutionRun) -> dict[str, Any]:
    when = {"created_at": one.created_at.isoformat(), "mode": one.mode.value, "action": one.action.value}
    return {"run_id": one.run_id, **when, **_with_answers(one)}
