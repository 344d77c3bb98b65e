"""The policy as a library writes it: defaults, limits, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from patron_lifecycle.policy.model import Deactivate, Pace, Policy, PolicyModel, Protect, Purge, Select


def test_a_policy_of_a_selection_alone_is_the_documented_default() -> None:
    """Who writes nothing but a selection gets the consortium's rules."""
    deactivate = Deactivate(select=Select(sweep=True))
    assert deactivate.enabled
    assert (deactivate.grace_days, deactivate.max_patrons, deactivate.max_percent) == (7, 500, 10)
    purge = Purge(select=Select(set_name="OHIONET purge"))
    assert (purge.retention_years, purge.require_inactive, purge.min_inactive_days) == (3, True, 14)
    assert (purge.respect_purge_date, purge.waive_fees_up_to, purge.vault_days, purge.first_run) == (
        True,
        0,
        30,
        "hold",
    )
    policy = Policy(deactivate=deactivate)
    assert policy.protect == Protect(record_types=("STAFF", "CONTACT"))
    assert policy.pace == Pace(requests_per_second=20, reserve_daily_calls=10_000)
    assert policy.purge is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"sweep": True}, "sweep"),
        ({"set_id": "123"}, "set 123"),
        ({"set_name": " OHIONET purge "}, 'set "OHIONET purge"'),
    ],
)
def test_a_selection_tells_what_it_is(given: dict[str, Any], text: str) -> None:
    """Each kind of selection has a short name for people; outer blanks are no part of it."""
    assert str(Select(**given)) == text


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Select, {}),
        (Select, {"sweep": False}),
        (Select, {"sweep": True, "set_id": "1"}),
        (Select, {"set_id": "1", "set_name": "one"}),
        (Select, {"set_id": ""}),
        (Select, {"set_name": "   "}),
        (Select, {"set_id": 1}),
        (Deactivate, {}),
        (Deactivate, {"select": {"sweep": True}, "grace_days": -1}),
        (Deactivate, {"select": {"sweep": True}, "grace_days": 3651}),
        (Deactivate, {"select": {"sweep": True}, "grace_days": 7.5}),
        (Deactivate, {"select": {"sweep": True}, "grace_days": "7"}),
        (Deactivate, {"select": {"sweep": True}, "grace_days": True}),
        (Deactivate, {"select": {"sweep": True}, "max_patrons": 0}),
        (Deactivate, {"select": {"sweep": True}, "max_percent": 0}),
        (Deactivate, {"select": {"sweep": True}, "max_percent": 100.1}),
        (Deactivate, {"select": {"sweep": True}, "max_percent": float("nan")}),
        (Deactivate, {"select": {"sweep": True}, "retention_years": 3}),
        (Deactivate, {"select": {"sweep": True}, "exclude": {"sets": ["a"]}}),
        (Purge, {"select": {"set_id": "1"}, "vault_days": 31}),
        (Purge, {"select": {"set_id": "1"}, "retention_years": 0}),
        (Purge, {"select": {"set_id": "1"}, "first_run": "go"}),
        (Purge, {"select": {"set_id": "1"}, "waive_fees_up_to": -0.01}),
        (Pace, {"requests_per_second": 25.5}),
        (Pace, {"requests_per_second": 0}),
        (Pace, {"reserve_daily_calls": -1}),
        (Policy, {}),
        (Policy, {"protect": {}}),
    ],
)
def test_what_makes_no_sense_is_refused(model: type[PolicyModel], given: dict[str, Any]) -> None:
    """Out of limits, of another type, misspelt or contradictory: an error, never a silent default."""
    with pytest.raises(ValidationError):
        model.model_validate(given)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Deactivate, {"enabled": False}),
        (Deactivate, {"select": {"sweep": True}, "grace_days": 0}),
        (Deactivate, {"select": {"sweep": True}, "grace_days": 3650, "max_patrons": 1_000_000, "max_percent": 100}),
        (Purge, {"enabled": False}),
        (Purge, {"select": {"set_id": "1"}, "vault_days": 0, "first_run": "apply", "waive_fees_up_to": 0.5}),
        (Pace, {"requests_per_second": 25, "reserve_daily_calls": 0}),
        (Policy, {"purge": {"enabled": False}}),
    ],
)
def test_limits_themselves_are_accepted(model: type[PolicyModel], given: dict[str, Any]) -> None:
    """The smallest and the largest value that make sense are taken as given."""
    taken = model.model_validate(given)
    assert taken.model_dump(exclude_unset=True, exclude_none=True) == given


def test_a_policy_never_changes() -> None:
    """A policy that a run has frozen can't be altered in place."""
    policy = Deactivate(select=Select(sweep=True))
    with pytest.raises(ValidationError, match="frozen"):
        policy.grace_days = 1  # type: ignore[misc]
