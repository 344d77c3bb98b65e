"""The metrics that the functions log in CloudWatch's embedded metric format, and what a metric widget asks of them."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

_SEARCH = re.compile(r"SEARCH\(\s*(['\"])\s*\{(?P<schema>[^}]*)\}(?P<terms>.*?)\1\s*,.*\)", re.DOTALL)
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
    """What a widget shows of one metric: its sum, or `note`, where there is nothing to add up here."""

    label: str
    total: float | None
    note: str = ""


class Wanted(NamedTuple):
    """One entry of a widget's metrics: a metric, or an expression of CloudWatch's."""

    metric: Metric | None
    expression: str
    label: str


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


def wanted(metrics: Sequence[Sequence[Any]]) -> list[Wanted]:
    """A widget's `metrics`, with CloudWatch's abbreviations written out: "." the same as above, "..." all the rest."""
    found: list[Wanted] = []
    above: list[str] = []
    for entry in metrics:
        parts = [part for part in entry if not isinstance(part, dict)]
        options = next((part for part in entry if isinstance(part, dict)), {})
        label = str(options.get("label", ""))
        if not parts:
            found.append(Wanted(None, str(options.get("expression", "")), label))
            continue
        if "..." in parts:
            place = parts.index("...")
            after = parts[place + 1 :]
            parts = [*parts[:place], *above[place : len(above) - len(after)], *after]
        parts = [above[at] if part == "." and at < len(above) else str(part) for at, part in enumerate(parts)]
        above = parts
        pairs = zip(parts[2::2], parts[3::2], strict=False)
        found.append(Wanted(Metric(parts[0], parts[1] if len(parts) > 1 else "", tuple(sorted(pairs))), "", label))
    return found


def rows(asked: Iterable[Wanted], known: Iterable[Datum], namespace: str, since: int) -> list[Row]:
    """What a widget shows: sums of the values of `namespace` since then, in milliseconds since 1970.

    CloudWatch's own metrics, and expressions other than SEARCH, are named alone.
    """
    sums: defaultdict[Metric, float] = defaultdict(float)
    for datum in known:
        if datum.at >= since:
            sums[datum.metric] += datum.value
    return [row for one in asked for row in _rows(one, sums, namespace)]


def _rows(one: Wanted, sums: dict[Metric, float], namespace: str) -> list[Row]:
    if one.metric is not None and one.metric.namespace == namespace:
        return [Row(_label(one.metric, one.label), sums.get(one.metric, 0.0))]
    if one.metric is not None:
        return [Row(_label(one.metric, one.label), None, f"of {one.metric.namespace}")]
    search = _SEARCH.fullmatch(one.expression.strip())
    if search is None:
        return [Row(one.label or one.expression, None, f"worked out by CloudWatch: {one.expression}")]
    found = [metric for metric in sums if _matches(metric, search["schema"], search["terms"])]
    if search["schema"].split(",")[0].strip() != namespace:
        return [Row(one.label or one.expression, None, f"found by CloudWatch: {one.expression}")]
    return [Row(_label(metric, ""), sums[metric]) for metric in sorted(found)]


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
