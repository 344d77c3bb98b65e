"""The clock in the failure matrix: midnight, the year's end, 29 February, and the changes of summer time."""

from datetime import UTC, date, datetime, timedelta

import pytest

from patron_lifecycle.policy.reasons import Outcome
from tests.integration.matrix.service import CODE, Action, Make, Service, registry
from tests.samples import long_gone, patron

pytestmark = pytest.mark.untraced

NEW_YORK, AUCKLAND = "America/New_York", "Pacific/Auckland"

# When the first slice begins (UTC), the institution's zone, and the day that it is there.
MOMENTS = {
    "midnight is over": (datetime(2026, 11, 24, 5, 0, 1, tzinfo=UTC), NEW_YORK, date(2026, 11, 24)),
    "midnight is coming": (datetime(2026, 11, 24, 4, 59, 58, tzinfo=UTC), NEW_YORK, date(2026, 11, 23)),
    "the year ends": (datetime(2027, 1, 1, 4, 59, 58, tzinfo=UTC), NEW_YORK, date(2026, 12, 31)),
    "the year begins": (datetime(2026, 12, 31, 11, 0, 1, tzinfo=UTC), AUCKLAND, date(2027, 1, 1)),
    "29 February": (datetime(2028, 2, 29, 17, tzinfo=UTC), NEW_YORK, date(2028, 2, 29)),
    "28 February of a common year": (datetime(2027, 3, 1, 4, 59, 58, tzinfo=UTC), NEW_YORK, date(2027, 2, 28)),
    "summer time begins": (datetime(2027, 3, 14, 6, 59, 58, tzinfo=UTC), NEW_YORK, date(2027, 3, 14)),
    "summer time has moved midnight": (datetime(2027, 3, 15, 3, 59, 58, tzinfo=UTC), NEW_YORK, date(2027, 3, 14)),
    "summer time ends": (datetime(2026, 11, 1, 5, 59, 58, tzinfo=UTC), NEW_YORK, date(2026, 11, 1)),
    "winter time has moved midnight": (datetime(2026, 11, 2, 4, 59, 58, tzinfo=UTC), NEW_YORK, date(2026, 11, 1)),
}

OF_THE_YEAR = ("the year ends", "the year begins", "29 February", "28 February of a common year")


def at_the_edge(make: Make, moment: str, action: Action) -> tuple[Service, str, date]:
    """A run that begins at this moment, over patrons on either side of the edge that the day draws."""
    begin, zone, day = MOMENTS[moment]
    service = make(registry(CODE, zone=zone, per_second=1), begin=begin)
    institution = service.alma.institution(CODE)
    a_week = timedelta(days=7)
    expired = {"today": day, "six days ago": day - a_week + timedelta(1), "a week ago": day - a_week}
    three_years = day.replace(year=day.year - 3, day=28) if (day.month, day.day) == (2, 29) else None
    edge = three_years or day.replace(year=day.year - 3)
    gone = {"not yet": edge + timedelta(days=1), "on the day": edge, "over": edge - timedelta(days=1)}
    made = [patron(name.replace(" ", "."), expiry_date=expiry, purge_date=None) for name, expiry in expired.items()]
    made += [long_gone(name.replace(" ", "."), expiry_date=expiry, purge_date=None) for name, expiry in gone.items()]
    institution.users = {one["primary_id"]: one for one in made}
    institution.set_named("To purge").members = tuple(name.replace(" ", ".") for name in gone)
    run_id = service.start(action)
    return service, service.watch(run_id, day), day


@pytest.mark.parametrize(
    ("moment", "action"), [*((one, "deactivate") for one in MOMENTS), *((one, "purge") for one in OF_THE_YEAR)]
)
def test_a_run_judges_by_the_day_on_which_it_began(make: Make, moment: str, action: Action) -> None:
    """The institution's day at the first slice, whatever day it becomes in the midst, there or in UTC or in Alma."""
    service, run_id, day = at_the_edge(make, moment, action)
    service.pump()
    service.judge(run_id)
    assert service.one(run_id).day == day
    if action == "deactivate":
        assert service.told(run_id) == {"a.week.ago": (Outcome.DEACTIVATED, "")}
    else:
        kept = (Outcome.SKIPPED, "within_retention")
        is_leap_day = (day.month, day.day) == (2, 29)
        on_the_day = (Outcome.PURGED, "") if is_leap_day else kept
        assert service.told(run_id) == {"not.yet": kept, "on.the.day": on_the_day, "over": (Outcome.PURGED, "")}
    assert service.failures == []


def test_slices_on_either_side_of_midnight_judge_by_one_day(make: Make) -> None:
    """The run goes on after midnight, in another slice: who is a week over on the new day only is left for the next."""
    begin = datetime(2026, 11, 24, 4, 59, 40, tzinfo=UTC)
    service = make(registry(CODE, per_second=1), begin=begin, seconds=30)
    day = date(2026, 11, 23)
    edge = {f"edge.{number}": day - timedelta(days=6) for number in range(3)}
    due = {f"due.{number:02}": day - timedelta(days=7) for number in range(20)}
    service.alma.institution(CODE).users = {
        name: patron(name, expiry_date=expiry, purge_date=None) for name, expiry in (edge | due).items()
    }
    run_id = service.watch(service.start(), day)
    service.pump()
    service.judge(run_id)
    one = service.one(run_id)
    assert one.finished_at is not None
    assert (one.day, one.slices > 1, one.finished_at > datetime(2026, 11, 24, 5, tzinfo=UTC)) == (day, True, True)
    assert service.told(run_id) == dict.fromkeys(due, (Outcome.DEACTIVATED, ""))
