"""Who a library's patrons are, made ready to be drawn: shares, the largest groups, and how it was over time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import reduce
from typing import NamedTuple

from patron_lifecycle.policy.population import Age, Population, a_month_on, largest_groups, merge

MOST_GROUPS = 15  # that are shown one by one
_AGES = {
    Age.WEEK: "Expired, up to 7 days ago",
    Age.YEAR: "Expired, 8 days to 1 year ago",
    Age.TWO_YEARS: "Expired, 1 to 2 years ago",
    Age.THREE_YEARS: "Expired, 2 to 3 years ago",
    Age.LONGER: "Expired, more than 3 years ago",
}
_MOST_MARKS = 20  # a line of more days is drawn without a mark for each
_WIDTH, _HEIGHT = 1000, 100  # of the drawing, which is stretched to its place


class Share(NamedTuple):
    """So many of all users: `percent` of them, for the reader, and `length` of the longest bar, in percent.

    `expired_length` is the part of the bar that stands for the expired ones among them, `expired` of them.
    """

    label: str
    patrons: int
    percent: float
    length: float
    expired: int = 0
    expired_length: float = 0.0


class Line(NamedTuple):
    """How many there were of something, day by day.

    `points` are for an SVG of 1000 by 100, `ys` the same heights in percent, from above.
    """

    label: str
    mark: str
    numbers: tuple[int, ...]
    points: str
    ys: tuple[float, ...]


class Trend(NamedTuple):
    """How it was over time, the first day first. `xs` are the days' places from left to right, in percent."""

    days: tuple[date, ...]
    xs: tuple[float, ...]
    top: int
    lines: tuple[Line, ...]
    has_marks: bool


class Portrait(NamedTuple):
    """Who a library's patrons are, on the latest day that is known, and before, if that is known (`trend`).

    `in_a_month` is a month after `latest.day`.
    """

    latest: Population
    statuses: tuple[Share, ...]
    expiry: tuple[Share, ...]
    groups: tuple[Share, ...]
    expired: int
    in_a_month: date
    trend: Trend | None


def portrait_of(populations: Sequence[Population]) -> Portrait | None:
    """The portrait from what was counted, the latest day first; None where nothing was."""
    if not populations:
        return None
    latest = populations[0]
    return Portrait(
        latest=latest,
        statuses=_shares(
            {"Active": latest.active, "Inactive": latest.inactive},
            {"Another status": latest.other_status},
            latest.users,
        ),
        expiry=_shares(
            {"Not expired": latest.current}
            | {label: latest.expired.get(age, 0) for age, label in _AGES.items()}
            | {"No expiry date": latest.no_expiry_date},
            {"Can't be read": latest.unreadable},
            latest.users,
        ),
        groups=_groups(latest),
        expired=_expired(latest),
        in_a_month=a_month_on(latest.day),
        trend=_trend(populations),
    )


def together(portraits: Sequence[Portrait]) -> Portrait | None:
    """All these libraries in one, each on its own latest day; None for fewer than two."""
    return portrait_of([reduce(merge, (one.latest for one in portraits))]) if len(portraits) > 1 else None


def _expired(population: Population) -> int:
    return sum(population.expired.values())


def _shares(always: Mapping[str, int], if_any: Mapping[str, int], users: int) -> tuple[Share, ...]:
    told = {**always, **{label: patrons for label, patrons in if_any.items() if patrons}}
    longest = max(told.values(), default=0)
    return tuple(
        Share(label, patrons, _percent(patrons, users), _percent(patrons, longest)) for label, patrons in told.items()
    )


def _groups(population: Population) -> tuple[Share, ...]:
    """The largest user groups, the rest together, and who has none."""
    told = largest_groups(population.groups, MOST_GROUPS, "No user group")
    longest = max((group.patrons for _, group in told), default=0)
    return tuple(
        Share(
            name,
            group.patrons,
            _percent(group.patrons, population.users),
            _percent(group.patrons, longest),
            group.expired,
            _percent(group.expired, longest),
        )
        for name, group in told
    )


def _trend(populations: Sequence[Population]) -> Trend | None:
    """The lines of the chart over time; None for fewer than two days."""
    in_order = sorted(populations, key=lambda one: one.day)
    days = tuple(one.day for one in in_order)
    span = (days[-1] - days[0]).days
    if not span:
        return None
    series = {
        ("Active", "circle"): [one.active for one in in_order],
        ("Inactive", "square"): [one.inactive for one in in_order],
        ("Expired", "triangle"): [_expired(one) for one in in_order],
    }
    top = max(max(numbers) for numbers in series.values())
    xs = tuple(_percent((day - days[0]).days, span) for day in days)
    lines = tuple(_line(label, mark, numbers, xs, top) for (label, mark), numbers in series.items())
    return Trend(days, xs, top, lines, has_marks=len(days) <= _MOST_MARKS)


def _line(label: str, mark: str, numbers: Iterable[int], xs: Iterable[float], top: int) -> Line:
    numbers = tuple(numbers)
    ys = tuple(round(100 - _percent(number, top), 1) for number in numbers)
    points = " ".join(f"{x * _WIDTH / 100:g},{y * _HEIGHT / 100:g}" for x, y in zip(xs, ys, strict=True))
    return Line(label, mark, numbers, points, ys)


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
