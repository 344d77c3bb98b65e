"""Who the users are: of one institution, and of all of them together. Counts, nobody's name."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from patron_lifecycle.dashboard.charts import Chart, Column, Panel, chart_of
from patron_lifecycle.dashboard.frame import Frame, day_in_words
from patron_lifecycle.policy.population import Age, Population, UserGroup
from patron_lifecycle.registry import Institution

_GROUPS = 20  # told one by one; the rest is summed up
_COUNTS = ("users", "active", "inactive", "other_status", "current", "no_expiry_date", "unreadable")
_AGES = {
    Age.WEEK: "up to 7 days ago",
    Age.YEAR: "up to a year ago",
    Age.TWO_YEARS: "up to two years ago",
    Age.THREE_YEARS: "up to three years ago",
    Age.LONGER: "longer ago",
}


class GroupRow(NamedTuple):
    """A user group, or several together."""

    name: str
    patrons: int
    expired: int


class Figures(NamedTuple):
    """A population, or several summed up. None for what is known of none of them."""

    users: int
    statuses: list[tuple[str, int]]
    expiries: list[tuple[str, int]]
    expired: int
    groups: list[GroupRow]
    past_retention: int | None
    past_retention_in_a_month: int | None


class Row(NamedTuple):
    """An institution with its latest population; None for one whose users no sweep has counted yet."""

    institution: Institution
    population: Population | None
    expired: int


def figures_of(populations: Sequence[Population]) -> Figures:
    """These populations summed up."""
    total = Counter[str]()
    ages, groups = Counter[Age](), Counter[str]()
    expired_of_group = Counter[str]()
    for one in populations:
        total.update({name: getattr(one, name) for name in _COUNTS})
        ages.update(one.expired)
        groups.update({name: group.patrons for name, group in one.groups.items()})
        expired_of_group.update({name: group.expired for name, group in one.groups.items()})
    return Figures(
        total["users"],
        [("Active", total["active"]), ("Inactive", total["inactive"]), ("Other status", total["other_status"])],
        [
            ("Current", total["current"]),
            *((f"Expired, {_AGES[age]}", ages[age]) for age in Age),
            ("Without an expiry date", total["no_expiry_date"]),
            ("With one that can't be read", total["unreadable"]),
        ],
        sum(ages.values()),
        _group_rows({name: UserGroup(patrons=count, expired=expired_of_group[name]) for name, count in groups.items()}),
        _sum_of_known(one.past_retention for one in populations),
        _sum_of_known(one.past_retention_in_a_month for one in populations),
    )


def chart_of_population(populations: Sequence[Population]) -> Chart | None:
    """How a population has changed; `populations` with the latest first."""
    in_time = list(reversed(populations))
    columns = [Column((f"{one.day:%b}", str(one.day.day)), day_in_words(one.day)) for one in in_time]
    return chart_of(
        "Users over time",
        columns,
        [
            Panel("Active", [one.active for one in in_time]),
            Panel("Inactive", [one.inactive for one in in_time]),
            Panel("Expired", [sum(one.expired.values()) for one in in_time]),
            Panel("No expiry date", [one.no_expiry_date for one in in_time]),
            Panel("Past the retention", [one.past_retention for one in in_time]),
        ],
    )


def population_view(institutions: Iterable[Institution], populations: Iterable[Population], frame: Frame) -> str:
    """The latest population of every registered institution, summed up and one by one."""
    known = {one.code: one for one in populations}
    rows = [
        Row(one, found, sum(found.expired.values()) if found else 0)
        for one in institutions
        for found in (known.get(one.code),)
    ]
    rows.sort(key=lambda row: (row.population is None, row.institution.name.casefold(), row.institution.code))
    counted = [row.population for row in rows if row.population is not None]
    return frame.render(
        "population",
        rows=rows,
        figures=figures_of(counted) if counted else None,
        institutions=len(counted),
        days=_days(one.day for one in counted),
    )


def _days(days: Iterable[date]) -> str:
    """From the first to the last of them, in words."""
    known = sorted(set(days))
    if not known:
        return ""
    return day_in_words(known[0]) + (f" to {day_in_words(known[-1])}" if len(known) > 1 else "")


def _group_rows(groups: Mapping[str, UserGroup]) -> list[GroupRow]:
    rows = sorted((GroupRow(name, group.patrons, group.expired) for name, group in groups.items()), key=_by_size)
    if len(rows) <= _GROUPS:
        return rows
    rest = rows[_GROUPS:]
    summed = GroupRow(f"{len(rest)} other groups", sum(row.patrons for row in rest), sum(row.expired for row in rest))
    return [*rows[:_GROUPS], summed]


def _by_size(row: GroupRow) -> tuple[int, str]:
    return -row.patrons, row.name


def _sum_of_known(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
