"""The daily calls of an institution, or of a pool of institutions: how many stay for others, and when there are more.

Alma tells with every reply how many calls are left today (X-Exl-Api-Remaining), and never how many there are in all.
The most that was left within the last 24 hours stands in for that.
"""

import contextlib
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from patron_lifecycle.policy.model import Pace
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.model import Budget
from patron_lifecycle.runs.store import Conflict, Store

WINDOW = timedelta(hours=24)
MOST_KEPT = 0.2  # of the most that was left: a small library's whole quota may be below its reserve
AFTER_RESET = timedelta(minutes=5)  # Alma's clock is not ours
_TRIES = 5


def reserve_in_force(pace: Pace, most: int) -> int:
    """How many calls are left for others: the reserve as asked for, and at most a fifth of the `most` that was left."""
    asked = pace.reserve_daily_calls
    wanted = asked if isinstance(asked, int) else math.ceil(most * float(asked.removesuffix("%")) / 100)
    return min(wanted, math.floor(most * MOST_KEPT))


def next_reset(pace: Pace, now: datetime) -> datetime:
    """When the quota is renewed next, in UTC."""
    clock, _, zone_name = pace.reset.partition(" ")
    zone = ZoneInfo(zone_name or "UTC")
    hour, minute = map(int, clock.split(":"))
    today = now.astimezone(zone).date()
    for days in range(3):
        day = today + timedelta(days=days)
        reset = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
        if reset > now:
            return reset
    raise ValueError(f"there is no {pace.reset} within three days of {now}")


def seen(budget: Budget, remaining: int, at: datetime) -> Budget:
    """The budget with one more reply of Alma's taken in; hours that don't count any more are left out."""
    hour = _hour(at)
    kept = {name: most for name, most in budget.most.items() if _hour(at - WINDOW) < name <= hour}
    return budget.but(most={**kept, hour: max(remaining, kept.get(hour, 0))})


def most_left(budget: Budget) -> int:
    """The most that was left in the hours that are kept."""
    return max(budget.most.values(), default=0)


def note(institution: Institution, remaining: int, at: datetime, store: Store) -> int:
    """Keep what a reply said is left today; how many of those calls are for others.

    Institutions of a pool share what is known, and the largest of their reserves is in force for all of them.
    """
    name = budget_name(institution)
    budget = store.budget(name)
    for _ in range(_TRIES):
        noted = seen(budget, remaining, at)
        if noted == budget:
            break
        with contextlib.suppress(Conflict):  # another worker of the pool was quicker
            store.put_budget(noted)
            break
        budget = store.budget(name)
    registered = store.institutions() if institution.pool else ()
    return kept_for_others(institution, registered, seen(budget, remaining, at))


def kept_for_others(institution: Institution, registered: Iterable[Institution], budget: Budget) -> int:
    """How many calls are for others by what is known: the largest reserve of those who share the quota."""
    most = most_left(budget)
    return max(reserve_in_force(one.policy.pace, most) for one in _sharing(institution, registered))


def budget_name(institution: Institution) -> str:
    """What the budget of an institution, or of its pool, is kept under."""
    return f"pool#{institution.pool}" if institution.pool else f"institution#{institution.code}"


def _sharing(institution: Institution, registered: Iterable[Institution]) -> Iterable[Institution]:
    yield institution
    if institution.pool:
        yield from (one for one in registered if one.pool == institution.pool and one.enabled)


def _hour(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H")
