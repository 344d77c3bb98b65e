"""Small charts as SVG, one panel below the other, which say the same without colour: every bar has its figure.

CloudWatch's cleaning of widgets leaves shapes and texts; there are no patterns, no links and no ids, since a page may
show several charts.
"""

from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 860
_LEFT = 150  # for the names of the panels
_PANEL = 74
_BARS = 44  # the height of the longest bar
_COLUMNS = 20  # at most; older ones are left out
_FULL_NUMBERS = 10_000  # longer ones don't fit over a bar


class Panel(NamedTuple):
    """One row of bars: its name, and a value for each column, None for no bar."""

    title: str
    values: Sequence[int | None]


class Column(NamedTuple):
    """What the bars of one place have in common: two lines below, the whole in words, and whether they are hollow."""

    label: tuple[str, str]
    told: str
    is_hollow: bool = False


class Bar(NamedTuple):
    """A bar as drawn, in pixels from the upper left corner, with its figure and the place of that."""

    x: float
    y: float
    width: float
    height: float
    figure: str
    middle: float
    is_hollow: bool


class DrawnPanel(NamedTuple):
    """A panel as drawn: its name, its ground line, and its bars."""

    title: str
    ground: float
    bars: list[Bar]


class Chart(NamedTuple):
    """A chart as drawn. `labels` are the middles and texts below; `told` says all of it in words."""

    title: str
    told: str
    width: int
    height: int
    left: int
    panels: list[DrawnPanel]
    labels: list[tuple[float, tuple[str, str]]]


def chart_of(title: str, columns: Sequence[Column], panels: Sequence[Panel]) -> Chart | None:
    """The chart of the last columns, the oldest first; None when there is nothing to draw.

    Each panel has its own scale, so that few purged patrons are seen beside many deactivated ones. Panels without any
    value above zero are left out.
    """
    first = max(0, len(columns) - _COLUMNS)
    columns = columns[first:]
    kept = [Panel(each.title, each.values[first:]) for each in panels if any(each.values[first:])]
    if not columns or not kept:
        return None
    step = (WIDTH - _LEFT) / _COLUMNS
    middles = [_LEFT + step * (place + 0.5) for place in range(len(columns))]
    drawn = [_drawn(number, panel, columns, middles, step) for number, panel in enumerate(kept)]
    told = " ".join(
        f"{column.told}: {', '.join(f'{panel.title.lower()} {panel.values[place] or 0:,}' for panel in kept)}."
        for place, column in enumerate(columns)
    )
    labels = [(middle, column.label) for middle, column in zip(middles, columns, strict=True)]
    return Chart(title, told, WIDTH, len(kept) * _PANEL + 34, _LEFT, drawn, labels)


def _drawn(number: int, panel: Panel, columns: Sequence[Column], middles: Sequence[float], step: float) -> DrawnPanel:
    ground = (number + 1) * _PANEL
    most = max(value or 0 for value in panel.values)
    width = step * 0.6
    bars = [
        _bar(value, value / most * _BARS, middle, width, ground, is_hollow=column.is_hollow)
        for value, column, middle in zip(panel.values, columns, middles, strict=True)
        if value is not None
    ]
    return DrawnPanel(panel.title, ground, bars)


def _bar(value: int, height: float, middle: float, width: float, ground: float, *, is_hollow: bool) -> Bar:
    height = max(height, 1.0) if value else 0.0
    figure = f"{value:,}" if value < _FULL_NUMBERS else f"{value / 1000:,.0f}k"
    return Bar(
        round(middle - width / 2, 1),
        round(ground - height, 1),
        round(width, 1),
        round(height, 1),
        figure,
        middle,
        is_hollow,
    )
