"""A patron's story: what this service did with one patron of an institution, and why, as far back as it is kept."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from patron_lifecycle.alma.records import same_id
from patron_lifecycle.policy.reasons import ALMA_ERROR, EXPLANATIONS, Action, Reason, cautions_in
from patron_lifecycle.runs.model import InstitutionRun, Mode, PatronOutcome, Status, outcomes_of
from patron_lifecycle.runs.selection import place_in_manifest
from patron_lifecycle.runs.store import Store


def tell_story(code: str, patron_id: str, store: Store, now: datetime) -> list[dict[str, Any]]:
    """What came of the patron in each run of the institution that had them for a candidate, newest first.

    Patrons are found by the id that the selection named them by, which is the primary id as a rule. The last real
    change offers the event that takes it back, where that is possible.
    """
    found = sorted(_outcomes(code, patron_id, store), key=lambda chapter: chapter[1].at, reverse=True)
    told, is_open = [], True
    for run, outcome in found:
        offered = _bring_back(run, outcome, now) if is_open and run.may_have_changed(outcome) else None
        told.append({**_chapter(run, outcome), "bring_back": offered})
        is_open = is_open and outcome.outcome is not run.action.done  # before what may have been nothing, one looks on
    return told


def _outcomes(code: str, patron_id: str, store: Store) -> Iterator[tuple[InstitutionRun, PatronOutcome]]:
    for one in store.institution_runs_of(code):
        number = place_in_manifest(one, patron_id, store) if one.frozen else None
        if number is None:
            continue
        with contextlib.suppress(KeyError):  # the table's retention has taken the page, and not yet its run
            page = store.page(one.run_id, code, number)
            yield from ((one, found) for found in outcomes_of(one, page) if same_id(found.primary_id, patron_id))


def _chapter(one: InstitutionRun, outcome: PatronOutcome) -> dict[str, Any]:
    explained = EXPLANATIONS[Reason(outcome.reason)] if outcome.reason in set(Reason) else ALMA_ERROR
    cautions = cautions_in(outcome.detail) if not outcome.reason else []
    return {
        "at": outcome.at.isoformat(),
        "run_id": one.run_id,
        "action": one.action.value,
        "mode": one.mode.value,
        "status": one.status.value,
        "outcome": outcome.outcome.value,
        "reason": str(outcome.reason),
        "detail": outcome.detail,
        "meaning": explained.meaning if outcome.reason else _meaning(one, outcome),
        "remedy": explained.remedy if outcome.reason else " ".join(one.advice.remedy for one in cautions),
        "answers": [str(verdict) for verdict in one.verdicts],
    }


def _bring_back(one: InstitutionRun, outcome: PatronOutcome, now: datetime) -> dict[str, Any] | None:
    """The event that previews bringing this patron back; None where nothing was taken away, or no copy is kept."""
    event = {"mode": Mode.PREVIEW.value, "institutions": [one.code], "patron_ids": [outcome.primary_id]}
    if one.action.undone_by is None:
        return None
    if one.action is Action.DEACTIVATE:
        return {"action": Action.REINSTATE.value, **event}
    if one.vault_until is None or one.vault_until <= now:
        return None
    return {"action": Action.RESTORE.value, **event, "source_run_id": one.run_id}


def _meaning(one: InstitutionRun, outcome: PatronOutcome) -> str:
    waits = " The run is held: it waits for a person." if one.status is Status.HELD else ""
    return f"{outcome.outcome.meaning}{waits}"
