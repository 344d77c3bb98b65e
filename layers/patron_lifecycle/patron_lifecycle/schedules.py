"""When the schedules of template.yaml start something next: in words, and as a time."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.settings import Settings

_WEEKDAYS = {"MON": "Mon", "TUE": "Tues", "WED": "Wednes", "THU": "Thurs", "FRI": "Fri", "SAT": "Satur", "SUN": "Sun"}
_DAYS_AHEAD = 63  # any day of a month comes within two months, the 31st too


class Schedule(NamedTuple):
    """An action's schedule as deployed: its times in words, whether it is on, and whether what it starts is for real.

    Without one, an action is started by hand alone.
    """

    when: str = ""
    is_on: bool = False
    applies: bool = False


class _Usual(NamedTuple):
    """A cron expression of a usual kind: every day, a weekday (MON to SUN), or a day of the month, at this time."""

    at: time
    weekday: str = ""
    day: int = 0

    def is_on(self, day: date) -> bool:
        """Whether it starts something on this day."""
        return self.day in (0, day.day) and self.weekday in ("", list(_WEEKDAYS)[day.weekday()])


def schedules_of(settings: Settings) -> dict[Action, Schedule]:
    """The schedules that the template tells a function of."""
    zone = settings.schedule_time_zone
    return {
        Action.DEACTIVATE: Schedule(
            _in_words(settings.deactivate_schedule, zone),
            is_on=settings.deactivate_schedule_state == "ENABLED",
            applies=settings.apply_deactivate,
        ),
        Action.PURGE: Schedule(
            _in_words(settings.purge_schedule, zone),
            is_on=settings.purge_schedule_state == "ENABLED",
            applies=settings.apply_purge,
        ),
    }


def next_starts(settings: Settings, now: datetime) -> dict[Action, datetime]:
    """When each action is started next, in the schedules' time zone.

    An action is left out where its schedule is off, or isn't of a usual kind: then its words have to do.
    """
    zone = zone_of(settings)
    schedules = schedules_of(settings)
    expressions = {Action.DEACTIVATE: settings.deactivate_schedule, Action.PURGE: settings.purge_schedule}
    found = {
        action: next_start(expression, zone, now)
        for action, expression in expressions.items()
        if schedules[action].is_on
    }
    return {action: at for action, at in found.items() if at is not None}


def next_start(expression: str, zone: tzinfo, now: datetime) -> datetime | None:
    """When a schedule starts something the next time after `now`; None for an expression that isn't a usual one.

    A time that the clock leaps over as summer time begins isn't one: EventBridge Scheduler skips it.
    """
    usual = _usual(expression)
    if usual is None:
        return None
    today = now.astimezone(zone).date()
    days = (today + timedelta(ahead) for ahead in range(_DAYS_AHEAD))
    starts = (datetime.combine(day, usual.at, zone) for day in days if usual.is_on(day))
    return next((at for at in starts if at > now and _exists(at)), None)


def why_not(institution: Institution, action: Action) -> str:
    """Why no run of an action takes an institution along, by its registration; empty when one does."""
    policy = institution.policy.of(action)
    if not institution.enabled:
        return "the institution is disabled"
    return f"{action} is not enabled in its policy" if policy is None or not policy.enabled else ""


def zone_of(settings: Settings) -> tzinfo:
    """The time zone of the schedules; UTC where none is known."""
    try:
        return ZoneInfo(settings.schedule_time_zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _exists(at: datetime) -> bool:
    """Whether the clocks of its time zone ever show that time."""
    return at.astimezone(UTC).astimezone(at.tzinfo).replace(tzinfo=None) == at.replace(tzinfo=None)


def _usual(expression: str) -> _Usual | None:
    found = re.fullmatch(r"cron\((\d{1,2}) (\d{1,2}) (\S+) \* (\S+) \*\)", expression)
    if found is None or int(found[1]) > 59 or int(found[2]) > 23:
        return None
    at, day, weekday = time(int(found[2]), int(found[1])), found[3], found[4]
    if day == "?" and weekday in _WEEKDAYS:
        return _Usual(at, weekday=weekday)
    if day.isdecimal() and 1 <= int(day) <= 31 and weekday == "?":
        return _Usual(at, day=int(day))
    return _Usual(at) if {day, weekday} == {"?", "*"} else None


def _in_words(expression: str, zone: str) -> str:
    """When a schedule starts something; an expression that isn't one of the usual ones is given as it is."""
    if (usual := _usual(expression)) is not None:
        time_told = f"at {usual.at:%H:%M} {zone}".strip()
        if usual.weekday:
            return f"{_WEEKDAYS[usual.weekday]}days {time_told}"
        return f"on day {usual.day} of the month {time_told}" if usual.day else f"every day {time_told}"
    if found := re.fullmatch(r"rate\((\d+ [a-z]+)\)", expression):
        return f"every {found[1]}"
    return f"{expression} {zone}".strip()
