"""Policies drawn at random, the sets that they name, and what the judge goes by under them."""

import random
from datetime import date
from decimal import Decimal
from typing import Any

from patron_lifecycle.policy.model import ActionPolicy, Deactivate, Exclude, Protect, Purge, Select, Sets
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.model import Mode
from sandbox.simulator.institutions import SimulatedInstitution, SimulatedSet
from sandbox.simulator.judge import Terms

EVERYBODY, KEEP, ALSO = "Everybody", "Keep", "Also"


def drawn_policy(action: Action, draw: random.Random) -> Deactivate | Purge:
    """A policy for the action."""
    sweep, everybody = Select(sweep=True), Select(set_name=EVERYBODY)
    shared: dict[str, Any] = {
        "exclude": Exclude(
            set_names=draw.choice(((), (KEEP,))),
            user_groups=draw.choice(((), ("fac",))),
            note_contains=draw.choice(((), ("do not expire",))),
        ),
        "max_patrons": draw.choice((5, 500)),
        "max_percent": draw.choice((5.0, 100.0)),
    }
    if action is Action.DEACTIVATE:
        select = draw.choice((sweep, everybody, everybody, everybody, Select(set_name="Expired and active")))
        return Deactivate(select=select, grace_days=draw.choice((0, 7, 30)), **shared)
    return Purge(
        select=draw.choice((sweep, everybody, everybody, everybody, Select(set_name="OHIONET purge"))),
        retention_years=draw.choice((1, 3, 5)),
        require_inactive=draw.random() < 0.7,
        min_inactive_days=draw.choice((0, 14, 400)),
        respect_purge_date=draw.random() < 0.7,
        waive_fees_up_to=draw.choice((0.0, 0.5, 60.0)),
        also_select=draw.choice((Sets(), Sets(set_names=(ALSO,)))),
        vault_days=draw.choice((0, 7, 30)),
        first_run=draw.choice(("hold", "apply")),
        **shared,
    )


def terms_of(policy: ActionPolicy, action: Action, mode: Mode, day: date) -> Terms:
    """What the judge goes by in a deactivation or a purge under this policy."""
    shared: dict[str, Any] = {
        "action": action.value,
        "day": day,
        "preview": mode is Mode.PREVIEW,
        "protected_types": frozenset(Protect().record_types),
        "excluded_groups": frozenset(policy.exclude.user_groups),
        "excluded_notes": frozenset(policy.exclude.note_contains),
    }
    if isinstance(policy, Purge):
        shared |= {
            "retention_years": policy.retention_years,
            "require_inactive": policy.require_inactive,
            "min_inactive_days": policy.min_inactive_days,
            "respect_purge_date": policy.respect_purge_date,
            "waive_fees_up_to": Decimal(str(policy.waive_fees_up_to)),
        }
    elif isinstance(policy, Deactivate):
        shared["grace_days"] = max(1, policy.grace_days)
    return Terms(**shared)


def add_sets(institution: SimulatedInstitution, draw: random.Random) -> None:
    """The sets that the policies name."""
    ids = [one["primary_id"] for one in institution.users.values()]
    addressable = [one for one in ids if not one.startswith("no primary id")]
    some = draw.sample(addressable, len(addressable) // 20)
    institution.sets += [
        SimulatedSet("91", EVERYBODY, members=tuple(addressable)),
        SimulatedSet("92", KEEP, members=tuple(some)),
        SimulatedSet("93", ALSO, members=tuple(draw.sample(addressable, len(addressable) // 4))),
    ]
