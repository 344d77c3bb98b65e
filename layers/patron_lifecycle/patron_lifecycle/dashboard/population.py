"""Who the users are: of one institution, and of all of them together. Counts, nobody's name."""

from collections.abc import Iterable, Sequence
from datetime import date
from functools import reduce
from typing import NamedTuple

from patron_lifecycle.dashboard.charts import Chart, Column, Panel, chart_of
from patron_lifecycle.dashboard.frame import Frame, day_in_words
from patron_lifecycle.policy.population import Age, Population, largest_groups, merge
from patron_lifecycle.registry import Institution

_GROUPS = 20  # told one by one; the rest is summed up
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
    """A population as it is told: labels with counts. The last two are None where no purge is enabled."""

    users: int
    statuses: list[tuple[str, int]]
    expiries: list[tuple[str, int]]
    groups: list[GroupRow]
    past_retention: int | None
    past_retention_in_a_month: int | None


class Row(NamedTuple):
    """An institution with its latest population; None for one whose users no sweep has counted yet."""

    institution: Institution
    population: Population | None
    expired: int


def figures_of(one: Population) -> Figures:
    """A population, of one institution or of several together, as it is told."""
    return Figures(
        one.users,
        [("Active", one.active), ("Inactive", one.inactive), ("Other status", one.other_status)],
        [
            ("Current", one.current),
            *((f"Expired, {_AGES[age]}", one.expired.get(age, 0)) for age in Age),
            ("Without an expiry date", one.no_expiry_date),
            ("With one that can't be read", one.unreadable),
        ],
        [
            GroupRow(name, group.patrons, group.expired)
            for name, group in largest_groups(one.groups, _GROUPS, "Without a group")
        ],
        one.past_retention,
        one.past_retention_in_a_month,
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
    known_ones = [row.population for row in rows if row.population is not None]
    return frame.render(
        "population",
        rows=rows,
        figures=figures_of(reduce(merge, known_ones)) if known_ones else None,
        institutions=len(known_ones),
        days=_days(one.day for one in known_ones),
    )


def _days(days: Iterable[date]) -> str:
    """From the first to the last of them, in words."""
    known = sorted(set(days))
    if not known:
        return ""
    return day_in_words(known[0]) + (f" to {day_in_words(known[-1])}" if len(known) > 1 else "")
