"""The metrics that the functions log in CloudWatch's embedded metric format, and what a metric widget shows of them."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

_SEARCH = re.compile(
    r"SEARCH\(\s*(['\"])\s*\{(?P<schema>[^}]*)\}(?P<terms>.*?)\1\s*,\s*['\"](?P<stat>\w+)['\"].*\)", re.DOTALL
)
_STATS: dict[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Average": fmean,
    "Minimum": min,
    "Maximum": max,
    "SampleCount": len,
}
_TERM = re.compile(r'([\w.]+)\s*=\s*(?:\\?"([^"\\]*)\\?"|([^\s()"]+))')


class Metric(NamedTuple):
    """What CloudWatch keeps apart: dimensions are pairs of name and value, in the order of the names."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


class Datum(NamedTuple):
    """One value of a metric. `at` is in milliseconds since 1970."""

    metric: Metric
    at: int
    value: float


class Row(NamedTuple):
    """What a widget shows of one metric: one figure for the whole time, or `note` on why there is none.

    `stat` is what is made of the values, in CloudWatch's word, such as Sum.
    """

    label: str
    stat: str
    figure: float | None
    note: str = ""


class Wanted(NamedTuple):
    """One entry of a widget's metrics: a metric, or an expression of CloudWatch's."""

    metric: Metric | None
    expression: str
    label: str
    stat: str


def datums(lines: Iterable[str]) -> Iterator[Datum]:
    """The values that log lines carry; lines of another kind are passed over."""
    for line in lines:
        if '"_aws"' not in line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        for directive in entry["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = tuple(sorted((name, str(entry[name])) for name in names))
                for metric in directive["Metrics"]:
                    values = entry[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        kept = Metric(directive["Namespace"], metric["Name"], dimensions)
                        yield Datum(kept, entry["_aws"]["Timestamp"], float(value))


def wanted(metrics: Sequence[Sequence[Any]], stat: str = "Average") -> list[Wanted]:
    """A widget's `metrics`, with CloudWatch's abbreviations written out: "." the same as above, "..." all the rest.

    `stat` is the widget's, for those that have none of their own. What isn't to be seen, such as what an expression is
    made of, is left out.
    """
    found: list[Wanted] = []
    above: list[str] = []
    for entry in metrics:
        parts = [part for part in entry if not isinstance(part, dict)]
        options = next((part for part in entry if isinstance(part, dict)), {})
        is_visible = options.get("visible", True)
        label, own_stat = str(options.get("label", "")), str(options.get("stat", stat))
        if not parts:
            if is_visible:
                found.append(Wanted(None, str(options.get("expression", "")), label, own_stat))
            continue
        if "..." in parts:
            place = parts.index("...")
            after = parts[place + 1 :]
            parts = [*parts[:place], *above[place : len(above) - len(after)], *after]
        parts = [above[at] if part == "." and at < len(above) else str(part) for at, part in enumerate(parts)]
        above = parts
        pairs = zip(parts[2::2], parts[3::2], strict=False)
        metric = Metric(parts[0], parts[1] if len(parts) > 1 else "", tuple(sorted(pairs)))
        if is_visible:
            found.append(Wanted(metric, "", label, own_stat))
    return found


def rows(asked: Iterable[Wanted], known: Iterable[Datum], namespace: str, since: int) -> list[Row]:
    """What a widget shows of the values of `namespace` since then, in milliseconds since 1970.

    CloudWatch's own metrics, and expressions other than SEARCH, are named alone.
    """
    values: defaultdict[Metric, list[float]] = defaultdict(list)
    for datum in known:
        if datum.at >= since:
            values[datum.metric].append(datum.value)
    return [row for one in asked for row in _rows(one, values, namespace)]


def _rows(one: Wanted, values: Mapping[Metric, list[float]], namespace: str) -> list[Row]:
    if one.metric is not None:
        label = _label(one.metric, one.label)
        if one.metric.namespace == namespace:
            return [_row(label, one.stat, values.get(one.metric, []))]
        return [Row(label, one.stat, None, f"on AWS alone: {one.metric.namespace}")]
    label, search = one.label or one.expression, _SEARCH.fullmatch(one.expression.strip())
    if search is None:
        return [Row(label, one.stat, None, f"worked out by CloudWatch: {one.expression}")]
    if search["schema"].split(",")[0].strip() != namespace:
        return [Row(label, one.stat, None, f"found by CloudWatch: {one.expression}")]
    found = sorted(metric for metric in values if _matches(metric, search["schema"], search["terms"]))
    return [_row(_label(metric, ""), search["stat"], values[metric]) for metric in found]


def _row(label: str, stat: str, values: list[float]) -> Row:
    if stat not in _STATS:
        return Row(label, stat, None, f"{stat}: worked out by CloudWatch")
    if not values and stat not in ("Sum", "SampleCount"):
        return Row(label, stat, None, "nothing measured")
    return Row(label, stat, float(_STATS[stat](values)))


def _matches(metric: Metric, schema: str, terms: str) -> bool:
    namespace, *names = (part.strip().strip("\"'\\") for part in schema.split(","))
    given = {"MetricName": metric.name, **dict(metric.dimensions)}
    pairs = [(name, quoted or bare) for name, quoted, bare in _TERM.findall(terms)]
    return (
        metric.namespace == namespace
        and {name for name, _ in metric.dimensions} == set(names)
        and all(given.get(name) == value for name, value in pairs)
    )


def _label(metric: Metric, label: str) -> str:
    """The label that the dashboard gives, unless CloudWatch would have to fill it in; else the metric's own words."""
    if label and "${" not in label:
        return label
    values = " ".join(value for name, value in metric.dimensions if name != "service")
    return f"{metric.name} {values}".strip()
