"""How fast Alma may be called at a certain time: quiet hours, by the institution's clock."""

from datetime import datetime
from zoneinfo import ZoneInfo

from patron_lifecycle.policy.model import Pace, QuietHours

_MINUTES = 24 * 60


def rate_at(pace: Pace, time_zone: str, now: datetime) -> float:
    """The calls a second that are allowed `now`: the lowest of the usual rate and of all quiet hours that hold.

    The clock on the wall of `time_zone` counts. What it shows twice in the night when summer time ends is quiet twice;
    what it leaves out when summer time begins is never quiet.
    """
    local = now.astimezone(ZoneInfo(time_zone))
    minute = local.hour * 60 + local.minute
    quiet = (hours.requests_per_second for hours in pace.quiet_hours if _holds(hours, minute))
    return min([pace.requests_per_second, *quiet])


def _holds(hours: QuietHours, minute: int) -> bool:
    """Whether this minute of the day is in the quiet hours, which last from `start` until just before `end`."""
    start, end = _minute_of(hours.start), _minute_of(hours.end)
    return (minute - start) % _MINUTES < (end - start) % _MINUTES


def _minute_of(time_of_day: str) -> int:
    hour, minute = time_of_day.split(":")
    return int(hour) * 60 + int(minute)
