"""A patron's story: what this service did with one patron of an institution, and why, as far back as it is kept."""

from collections.abc import Iterator
from typing import Any

from patron_lifecycle.alma.records import same_id
from patron_lifecycle.policy.reasons import ALMA_ERROR, EXPLANATIONS, Action, Reason
from patron_lifecycle.runs.model import InstitutionRun, Mode, PatronOutcome, Status, outcomes_of
from patron_lifecycle.runs.selection import place_in_manifest
from patron_lifecycle.runs.store import Store

_ALL = 100_000  # institution runs of one institution; the table's retention ends the list much earlier


def tell_story(code: str, patron_id: str, store: Store) -> Iterator[dict[str, Any]]:
    """What came of the patron in each run of the institution that had them for a candidate, newest first.

    Patrons are found by the id that the selection named them by, which is the primary id as a rule.
    """
    for one in store.institution_runs_of(code, _ALL):
        number = place_in_manifest(one, patron_id, store) if one.frozen else None
        if number is None:
            continue
        try:
            page = store.page(one.run_id, code, number)
        except KeyError:  # the table's retention has taken it, and not yet its run
            continue
        for outcome in outcomes_of(one, page):
            if same_id(outcome.primary_id, patron_id):
                yield _chapter(one, outcome)


def _chapter(one: InstitutionRun, outcome: PatronOutcome) -> dict[str, Any]:
    explained = EXPLANATIONS[Reason(outcome.reason)] if outcome.reason in set(Reason) else ALMA_ERROR
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
        "remedy": explained.remedy if outcome.reason else "",
        "answers": [str(verdict) for verdict in one.verdicts],
        "bring_back": _bring_back(one, outcome),
    }


def _bring_back(one: InstitutionRun, outcome: PatronOutcome) -> dict[str, Any] | None:
    """The event that previews bringing this patron back, where the run has taken something away."""
    by = one.action.undone_by
    if by is None or outcome.outcome is not one.action.done:
        return None
    source = {"source_run_id": one.run_id} if by is Action.RESTORE else {}
    event = {"action": by.value, "mode": Mode.PREVIEW.value, "institutions": [one.code]}
    return {**event, **source, "patron_ids": [outcome.primary_id]}


def _meaning(one: InstitutionRun, outcome: PatronOutcome) -> str:
    waits = " The run is held: it waits for a person." if one.status is Status.HELD else ""
    return f"{outcome.outcome.meaning}{waits}"
