"""Who an institution's users are: what is counted of each, and that nobody is lost or counted twice."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.alma.records import PatronRecord
from patron_lifecycle.policy.model import Policy, Protect
from patron_lifecycle.policy.population import (
    MOST_GROUPS,
    NO_GROUP,
    OTHER_GROUPS,
    Age,
    Census,
    Population,
    Standing,
    UserGroup,
    a_month_on,
    count,
    merge,
    retention_of,
)
from patron_lifecycle.policy.reasons import Reason
from patron_lifecycle.policy.rules import Case, decide
from sandbox.simulator.patrons import coded
from tests.samples import CODE, TODAY, deactivate, long_gone, patron, purge


def census(day: date = TODAY, retention_years: int | None = 3) -> Census:
    """How the plain institution's users are counted."""
    return Census(CODE, "deactivate-1", day, retention_years)


def counted(*records: dict[str, Any], by: Census | None = None) -> Population:
    """The population of these records."""
    by = by or census()
    return count(by.nobody, map(by.traits_of, records))


def test_each_user_is_counted_by_status_expiry_and_group() -> None:
    """Staff too: a population is who is in Alma, not whom an action may touch."""
    found = counted(
        patron(expiry_date=TODAY),
        patron(expiry_date=TODAY - timedelta(days=1), user_group=coded("GRAD", "Graduate")),
        patron(expiry_date=None, record_type="STAFF"),
        long_gone(),
        patron(status="DELETED"),
    )
    assert found == Population(
        code=CODE,
        day=TODAY,
        run_id="deactivate-1",
        users=5,
        active=3,
        inactive=1,
        other_status=1,
        current=1,
        no_expiry_date=1,
        expired={Age.WEEK: 1, Age.YEAR: 1, Age.LONGER: 1},
        groups={
            "Undergraduate": UserGroup(patrons=4, expired=2),
            "Graduate": UserGroup(patrons=1, expired=1),
        },
        past_retention=1,
        past_retention_in_a_month=1,
    )


@pytest.mark.parametrize(
    ("expiry_date", "standing"),
    [
        (TODAY + timedelta(days=1), Standing.CURRENT),
        (TODAY, Standing.CURRENT),
        (TODAY - timedelta(days=1), Age.WEEK),
        (TODAY - timedelta(days=7), Age.WEEK),
        (TODAY - timedelta(days=8), Age.YEAR),
        (date(2025, 11, 23), Age.YEAR),
        (date(2025, 11, 22), Age.TWO_YEARS),
        (date(2024, 11, 23), Age.TWO_YEARS),
        (date(2024, 11, 22), Age.THREE_YEARS),
        (date(2023, 11, 23), Age.THREE_YEARS),
        (date(2023, 11, 22), Age.LONGER),
        (date(1, 1, 1), Age.LONGER),
        (None, Standing.NO_EXPIRY_DATE),
    ],
)
def test_an_expired_patron_is_as_old_as_the_anniversaries_say(
    expiry_date: date | None, standing: Standing | Age
) -> None:
    """The last day of an age belongs to it, and the day of expiry itself isn't past."""
    assert census().traits_of(patron(expiry_date=expiry_date)).standing is standing


@given(
    expiry_date=st.dates(),
    day=st.dates(),
    years=st.integers(1, 100),
)
def test_past_retention_is_what_the_purge_means_by_it(expiry_date: date, day: date, years: int) -> None:
    """Today and a month from now, whoever isn't counted is kept by the rule of the purge, and no one else is."""
    raw = long_gone(expiry_date=expiry_date)
    traits = census(day, years).traits_of(raw)
    for is_past, on in ((traits.is_past_retention, day), (traits.is_past_in_a_month, a_month_on(day))):
        policy = purge(retention_years=years, require_inactive=False, respect_purge_date=False)
        case = Case("fern.arno", PatronRecord(raw), policy, Protect(), on, lambda _: False)
        assert is_past == (decide(case).reason not in (Reason.NOT_EXPIRED, Reason.WITHIN_RETENTION))


@pytest.mark.parametrize(
    ("day", "later"),
    [
        (date(2026, 11, 23), date(2026, 12, 23)),
        (date(2026, 12, 1), date(2027, 1, 1)),
        (date(2026, 12, 31), date(2027, 1, 31)),
        (date(2026, 1, 31), date(2026, 2, 28)),
        (date(2028, 1, 30), date(2028, 2, 29)),
        (date(2026, 10, 31), date(2026, 11, 30)),
        (date(9999, 11, 30), date(9999, 12, 30)),
        (date(9999, 12, 1), date.max),
    ],
)
def test_a_month_on_stays_in_the_next_month(day: date, later: date) -> None:
    """A day that the next month hasn't got is its last one."""
    assert a_month_on(day) == later


def test_without_a_purge_nobody_is_said_to_be_past_its_retention() -> None:
    """Unknown is not zero, however many are added."""
    found = counted(long_gone(), by=census(retention_years=None))
    assert (found.past_retention, found.past_retention_in_a_month) == (None, None)
    assert merge(found, found).past_retention is None
    assert found.expired == {Age.LONGER: 1}


def test_the_retention_is_that_of_an_enabled_purge() -> None:
    """A purge that is switched off will hold nobody next month."""
    assert retention_of(Policy(purge=purge(retention_years=5))) == 5
    assert retention_of(Policy(deactivate=deactivate(), purge=purge(enabled=False))) is None
    assert retention_of(Policy(deactivate=deactivate())) is None


@pytest.mark.parametrize("value", ["2026-11-31Z", "23.11.2026", 20261123, ["2026-11-23Z"], True])
def test_an_expiry_date_that_cannot_be_read_is_counted_as_such(value: object) -> None:
    """It is neither absent nor past, so nobody is expired or past retention by it."""
    found = counted({**patron(), "expiry_date": value})
    assert (found.users, found.unreadable, found.expired, found.past_retention) == (1, 1, {}, 0)


def test_a_brief_row_tells_nothing_of_the_expiry_date() -> None:
    """What lists give without `expand=full` has no dates, so the absence of one says nothing."""
    found = counted({"primary_id": "fern.arno", "status": coded("ACTIVE", "Active")})
    assert (found.active, found.unreadable, found.no_expiry_date) == (1, 1, 0)


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (coded("UGRD", "Undergraduate"), "Undergraduate"),
        (coded("UGRD", "  Under \n graduate "), "Under graduate"),
        (coded("UGRD", " "), "UGRD"),
        ({"value": "UGRD"}, "UGRD"),
        ({"value": "UGRD", "desc": None}, "UGRD"),
        ({"value": None, "desc": 7}, NO_GROUP),
        (coded("", ""), NO_GROUP),
        ("UGRD", NO_GROUP),
        (None, NO_GROUP),
        (coded("X", "\ud800 half"), "? half"),
        (coded("X", "n" * 300), "n" * 100),
    ],
)
def test_a_user_group_has_a_name_that_can_be_stored(group: object, name: str) -> None:
    """Description, else code, on one line and not too long; what is no text is no group."""
    found = counted({**patron(), "user_group": group})
    assert found.groups == {name: UserGroup(patrons=1, expired=1)}
    assert Population.model_validate_json(found.model_dump_json()) == found


def test_of_many_groups_the_rest_is_taken_together() -> None:
    """A population stays small however many groups there are, and nobody is lost; a named group keeps its name."""
    many = [patron(user_group=coded(f"G{number}")) for number in range(250)]
    found = counted(*many)
    again = count(found, map(census().traits_of, many[:3]))
    assert len(again.groups) == MOST_GROUPS + 1
    assert again.groups["G0"] == UserGroup(patrons=2, expired=2)
    assert again.groups[OTHER_GROUPS] == UserGroup(patrons=250 - MOST_GROUPS, expired=250 - MOST_GROUPS)


def test_of_institutions_together_every_group_keeps_its_name() -> None:
    """However many the others have: the greatest of all may be the last one's alone."""
    many = counted(*(patron(user_group=coded(f"G{number}")) for number in range(250)))
    last = counted(*[patron(user_group=coded("Seniors"))] * 300)
    both = merge(many, last)
    assert both.groups["Seniors"] == UserGroup(patrons=300, expired=300)
    assert merge(both, many).groups[OTHER_GROUPS].patrons == 2 * (250 - MOST_GROUPS)


def test_a_merged_population_is_the_first_ones() -> None:
    """Day, run and institution are those of the first; the counts are added up."""
    one, other = counted(patron(), long_gone()), counted(long_gone(), by=census(TODAY + timedelta(days=1)))
    both = merge(one, other)
    assert (both.day, both.users, both.inactive, both.past_retention) == (TODAY, 3, 2, 2)
    assert both.expired == {Age.YEAR: 1, Age.LONGER: 2}


ODD = st.none() | st.text(max_size=5) | st.integers() | st.booleans() | st.lists(st.none(), max_size=1)
CODED = st.fixed_dictionaries({}, optional={"value": st.sampled_from(["ACTIVE", "INACTIVE"]) | ODD, "desc": ODD}) | ODD
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "record_type": CODED,
        "status": CODED,
        "expiry_date": st.dates(date(2015, 1, 1), date(2035, 1, 1)).map(lambda day: f"{day}Z") | ODD,
        "user_group": CODED,
    },
)


@given(
    records=st.lists(RECORDS, max_size=40),
    sizes=st.lists(st.integers(1, 15), min_size=1),
    retention_years=st.none() | st.integers(1, 5),
)
def test_everybody_is_counted_once_whatever_the_records_and_the_paging(
    records: list[dict[str, Any]], sizes: list[int], retention_years: int | None
) -> None:
    """Statuses, expiry dates and groups each sum up to all users, and however it is paged the sums are the same."""
    by = census(retention_years=retention_years)
    found, rest, turn = by.nobody, records, 0
    while rest:
        size = sizes[turn % len(sizes)]
        found, rest, turn = count(found, map(by.traits_of, rest[:size])), rest[size:], turn + 1
    assert found.users == len(records)
    assert found.active + found.inactive + found.other_status == found.users
    assert found.current + found.no_expiry_date + found.unreadable + sum(found.expired.values()) == found.users
    assert sum(group.patrons for group in found.groups.values()) == found.users
    assert sum(group.expired for group in found.groups.values()) == sum(found.expired.values())
    if retention_years is not None:
        assert (found.past_retention or 0) <= (found.past_retention_in_a_month or 0) <= found.users
    assert found == counted(*records, by=by)
    assert merge(counted(*records[:7], by=by), counted(*records[7:], by=by)) == found
    assert Population.model_validate_json(found.model_dump_json()) == found
