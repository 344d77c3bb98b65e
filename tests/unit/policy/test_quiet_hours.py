"""How fast Alma may be called goes by the clock on the institution's wall, whatever that clock does."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.model import Pace, QuietHours
from patron_lifecycle.policy.quiet_hours import rate_at

NEW_YORK = "America/New_York"
ZONES = (NEW_YORK, "UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns")
times_of_day = st.times().map(lambda time: f"{time:%H:%M}")
quiet_hours = (
    st.tuples(times_of_day, times_of_day, st.integers(1, 20))
    .filter(lambda drawn: drawn[0] != drawn[1])
    .map(lambda drawn: QuietHours(start=drawn[0], end=drawn[1], requests_per_second=drawn[2]))
)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2037, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


def pace_of(*hours: tuple[str, str, float]) -> Pace:
    """A pace of 20 a second with these quiet hours: start, end and rate."""
    quiet = (QuietHours(start=start, end=end, requests_per_second=rate) for start, end, rate in hours)
    return Pace(requests_per_second=20, quiet_hours=tuple(quiet))


def utc(text: str) -> datetime:
    """A moment that is written in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(st.lists(quiet_hours, max_size=4), st.sampled_from(ZONES), moments)
def test_the_lowest_rate_of_all_that_hold_counts(hours: list[QuietHours], zone: str, now: datetime) -> None:
    """A wall clock that shows a time from start until before end, maybe over midnight, is in the quiet hours."""
    shown = f"{now.astimezone(ZoneInfo(zone)):%H:%M}"
    rates = [20.0]
    for one in hours:
        over_midnight = one.end < one.start
        if (shown >= one.start or shown < one.end) if over_midnight else one.start <= shown < one.end:
            rates.append(one.requests_per_second)
    assert rate_at(Pace(quiet_hours=tuple(hours)), zone, now) == min(rates)


@given(quiet_hours, st.sampled_from(("UTC", "Asia/Kolkata")), moments)
def test_quiet_hours_and_the_hours_between_them_make_up_a_day(hours: QuietHours, zone: str, now: datetime) -> None:
    """Where the clock isn't changed, a time of day is in the hours from start to end or in those from end to start."""
    others = QuietHours(start=hours.end, end=hours.start, requests_per_second=hours.requests_per_second)
    slow = [rate_at(Pace(requests_per_second=25, quiet_hours=(one,)), zone, now) < 25 for one in (hours, others)]
    assert slow.count(True) == 1


@pytest.mark.parametrize(
    ("now", "rate"),
    [
        ("2026-11-24T02:59:59", 20),  # 21:59:59
        ("2026-11-24T03:00", 5),  # 22:00
        ("2026-11-24T04:59:59.999999", 5),  # 23:59:59.999999
        ("2026-11-24T05:00", 5),  # midnight
        ("2026-11-24T10:59:59.999999", 5),  # 05:59:59.999999
        ("2026-11-24T11:00", 20),  # 06:00
    ],
)
def test_quiet_hours_begin_and_end_to_the_minute_and_may_go_over_midnight(now: str, rate: float) -> None:
    """From 22:00 to 06:00 in New York."""
    assert rate_at(pace_of(("22:00", "06:00", 5)), NEW_YORK, utc(now)) == rate


def minutes_of_quiet(hours: tuple[str, str, float], begin: str) -> int:
    """How many minutes of the 24 hours from then on are quiet in New York."""
    pace, start = pace_of(hours), utc(begin)
    return sum(rate_at(pace, NEW_YORK, start + timedelta(minutes=minute)) < 20 for minute in range(24 * 60))


@pytest.mark.parametrize(
    ("hours", "usual", "spring", "autumn"),
    [
        (("01:00", "03:00", 5), 120, 60, 180),
        (("22:00", "06:00", 5), 480, 420, 540),
        (("02:15", "02:45", 5), 30, 0, 30),
        (("01:15", "01:45", 5), 30, 30, 60),
        (("12:00", "13:00", 5), 60, 60, 60),
    ],
)
def test_at_changes_of_summer_time_the_clock_on_the_wall_counts(
    hours: tuple[str, str, float], usual: int, spring: int, autumn: int
) -> None:
    """An hour that is left out isn't quiet, and one that comes twice is quiet twice: from 18:00 on."""
    assert minutes_of_quiet(hours, "2026-06-10T22:00") == usual
    assert minutes_of_quiet(hours, "2026-03-07T23:00") == spring
    assert minutes_of_quiet(hours, "2026-10-31T22:00") == autumn
