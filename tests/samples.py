"""Invented patrons, institutions and runs, for tests that need one of something.

Each function gives something plain and valid; `changes` replace whole fields of it.
"""

from datetime import UTC, date, datetime
from typing import Any

from patron_lifecycle.policy.model import Deactivate, Policy, Purge, Select
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.model import InstitutionRun, Mode, Page, PatronOutcome, Returned, Run, RunStatus, Trigger
from sandbox.simulator.patrons import identifier, record

CODE = "01OHIO_AAA"
TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 17, tzinfo=UTC)  # noon in New York


def patron(primary_id: str = "fern.arno", **changes: object) -> dict[str, Any]:
    """A user object of every field that Alma gives: a plain ACTIVE patron who expired in June 2026.

    `changes` are given as to the simulator's `record`: a bare code or a date will do, None leaves a field out.
    """
    usual: dict[str, object] = {
        "birth_date": date(1990, 2, 28),
        "expiry_date": date(2026, 6, 30),
        "purge_date": date(2029, 6, 30),
        "user_identifier": [identifier("BARCODE", f"bc-{primary_id}")],
    }
    return record(primary_id, **(usual | changes))


def long_gone(primary_id: str = "fern.arno", **changes: object) -> dict[str, Any]:
    """A plain patron whom a purge may delete: expired in 2020, INACTIVE since, without loans, requests or fees.

    `changes` are as for `patron`.
    """
    usual: dict[str, object] = {
        "status": "INACTIVE",
        "status_date": date(2020, 7, 14),
        "expiry_date": date(2020, 6, 30),
        "purge_date": date(2023, 6, 30),
        "loans": 0,
        "requests": 0,
        "fees": 0.0,
    }
    return patron(primary_id, **(usual | changes))


def deactivate(**changes: Any) -> Deactivate:
    """A policy of the deactivation: by sweep, all else by default."""
    return Deactivate(**{"select": Select(sweep=True), **changes})


def purge(**changes: Any) -> Purge:
    """A policy of the purge: by sweep, all else by default."""
    return Purge(**{"select": Select(sweep=True), **changes})


def institution(code: str = CODE, **changes: Any) -> Institution:
    """An enabled institution in New York that deactivates by sweep."""
    usual: dict[str, Any] = {
        "code": code,
        "name": f"Library {code}",
        "region": "na",
        "time_zone": "America/New_York",
        "policy": Policy(deactivate=deactivate()),
    }
    return Institution(**(usual | changes))


def run(run_id: str = "deactivate-1", institutions: tuple[str, ...] = (CODE,), **changes: Any) -> Run:
    """A launched run to apply, all of whose institution runs are still to end."""
    usual: dict[str, Any] = {
        "run_id": run_id,
        "action": Action.DEACTIVATE,
        "mode": Mode.APPLY,
        "as_of": None,
        "trigger": Trigger.MANUAL,
        "request_id": f"request of {run_id}",
        "fingerprint": "0" * 64,
        "institutions": institutions,
        "skipped": (),
        "status": RunStatus.RUNNING,
        "launched": True,
        "open_count": len(institutions),
        "created_at": NOW,
    }
    return Run(**(usual | changes))


def institution_run(run_id: str = "deactivate-1", code: str = CODE, **changes: Any) -> InstitutionRun:
    """A queued institution run to apply."""
    usual: dict[str, Any] = {
        "run_id": run_id,
        "code": code,
        "institution": institution(code),
        "action": Action.DEACTIVATE,
        "mode": Mode.APPLY,
        "as_of": None,
        "created_at": NOW,
        "touched_at": NOW,
    }
    return InstitutionRun(**(usual | changes))


def returned(primary_id: str, **changes: Any) -> Returned:
    """A patron who was brought back, INACTIVE and without an expiry date."""
    back = Returned(
        code=CODE,
        primary_id=primary_id,
        run_id="restore-1",
        on=date(2026, 11, 1),
        at=NOW,
        expiry_date=None,
        active=False,
    )
    return back.but(**changes)


def page(number: int = 0, ids: tuple[str, ...] = ("fern.arno", "reed.elbe"), **changes: Any) -> Page:
    """A frozen page of the plain institution run."""
    return Page(**({"run_id": "deactivate-1", "code": CODE, "number": number, "ids": ids} | changes))


def outcome(primary_id: str = "fern.arno", **changes: Any) -> PatronOutcome:
    """A patron who was deactivated."""
    return PatronOutcome(**({"primary_id": primary_id, "outcome": Outcome.DEACTIVATED, "at": NOW} | changes))
