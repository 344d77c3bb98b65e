"""The report of a run for a library's staff: one self-contained page, without scripts and outside resources."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from patron_lifecycle.policy.reasons import EXPLANATIONS, Action, Outcome, Reason
from patron_lifecycle.reports.export import Row
from patron_lifecycle.runs.model import Mode, Status

_UNFOLDED = 100  # a longer list is folded at first, except in print


class _Kind(StrEnum):
    """What a reader has to do about a patron, in the order in which a report tells."""

    NEEDS_A_LOOK = "needs a look"
    CHANGED = "changed"
    AS_INTENDED = "as intended"


class _Words(NamedTuple):
    title: str
    intent: str
    change: Mapping[Mode, Outcome]


_WORDS = {
    Action.DEACTIVATE: _Words(
        "Deactivation of expired patrons",
        "A patron who has been expired for as many days as the library waits becomes INACTIVE, without access to "
        "the account or to library content. Nobody is deleted.",
        {Mode.PREVIEW: Outcome.WOULD_DEACTIVATE, Mode.APPLY: Outcome.DEACTIVATED},
    )
}


class _LegendEntry(NamedTuple):
    """A reason, explained once. `anchor` is where links to it lead."""

    anchor: str
    label: str
    code: str
    outcome: str
    meaning: str
    remedy: str


_ALMA_ERROR = _LegendEntry(
    "reason-alma",
    "Alma error",
    "alma_<code>",
    Outcome.FAILED.value,
    "Alma refused the change, or gave no usable answer, with this code. The detail has Alma's own words. The patron "
    "was left as before.",
    "Mend the patron's record in Alma as the detail says; the next run tries again. If it comes back, ask Ex Libris "
    "with the tracking id.",
)
_LEGEND = (
    *(
        _LegendEntry(
            f"reason-{reason}",
            reason.replace("_", " ").capitalize(),
            reason.value,
            explained.outcome.value,
            explained.meaning,
            explained.remedy,
        )
        for reason, explained in EXPLANATIONS.items()
    ),
    _ALMA_ERROR,
)
_LEGEND_BY_CODE = {entry.code: entry for entry in _LEGEND}


class _Bar(NamedTuple):
    """One bar of the chart. `percent` of the longest bar."""

    label: str
    kind: _Kind
    patrons: int
    percent: float


class _Group(NamedTuple):
    """Patrons of one institution with the same outcome for the same reason. `entry` is None for those changed."""

    outcome: str
    label: str
    kind: _Kind
    entry: _LegendEntry | None
    rows: list[Row]

    @property
    def is_unfolded(self) -> bool:
        return self.kind is not _Kind.AS_INTENDED and len(self.rows) <= _UNFOLDED


def render_report(document: Mapping[str, Any], rows: Iterable[Row]) -> str:
    """The page as HTML text. `document` is a run as in `run.json`, `rows` its lines of `outcomes.csv`.

    The figures are the document's, the lists are the rows; rows of institutions that aren't in the document are
    left out, so a document with one institution gives that library's own report. Holds all rows in memory.
    """
    words, mode = _WORDS[Action(document["action"])], Mode(document["mode"])
    institutions = document["institutions"]
    groups: defaultdict[str, defaultdict[tuple[str, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.institution][row.outcome, row.reason].append(row)
    outcomes = sum((Counter(one["outcomes"]) for one in institutions), Counter[str]())
    reasons = sum((Counter(one["reasons"]) for one in institutions), Counter[str]())
    always = {words.change[mode], Outcome.SKIPPED, Outcome.FAILED}
    return _TEMPLATE.render(
        document=document,
        words=words,
        is_preview=mode is Mode.PREVIEW,
        failed=sum(one["status"] == Status.FAILED for one in institutions),
        is_running=any(Status(one["status"]).is_open for one in institutions),
        day=_in_words(document["as_of"]),
        change=words.change[mode].value,
        columns=[outcome.value for outcome in Outcome if outcome in always or outcome in outcomes],
        outcomes=outcomes,
        to_look_at=_to_look_at,
        bars=_bars(outcomes, reasons),
        reasons=reasons,
        groups={code: _groups(found) for code, found in groups.items()},
        legend=_LEGEND,
        changed=_Kind.CHANGED,
        Status=Status,
    )


def _kind(reason: str) -> _Kind:
    if not reason:
        return _Kind.CHANGED
    as_intended = reason in EXPLANATIONS and EXPLANATIONS[Reason(reason)].as_intended
    return _Kind.AS_INTENDED if as_intended else _Kind.NEEDS_A_LOOK  # what Alma refused, always


def _to_look_at(reasons: Mapping[str, int]) -> int:
    return sum(count for reason, count in reasons.items() if _kind(reason) is _Kind.NEEDS_A_LOOK)


def _entry(reason: str) -> _LegendEntry:
    return _LEGEND_BY_CODE.get(reason, _ALMA_ERROR)


def _label(outcome: str, reason: str) -> str:
    if not reason:
        return _as_words(outcome)
    entry = _entry(reason)
    return f"{entry.label} {reason.removeprefix('alma_')}" if entry is _ALMA_ERROR else entry.label


def _bars(outcomes: Mapping[str, int], reasons: Mapping[str, int]) -> list[_Bar]:
    """Outcomes that are changes, and all reasons: what must be looked at first, then by count."""
    changes = {change for words in _WORDS.values() for change in words.change.values()}
    counted = [(outcome, "", count) for outcome, count in outcomes.items() if outcome in changes]
    counted += [("", reason, count) for reason, count in reasons.items()]
    longest = max((count for _, _, count in counted), default=0)
    bars = [_Bar(_label(outcome, why), _kind(why), count, 100 * count / longest) for outcome, why, count in counted]
    return sorted(bars, key=lambda bar: (list(_Kind).index(bar.kind), -bar.patrons, bar.label))


def _groups(found: Mapping[tuple[str, str], list[Row]]) -> list[_Group]:
    groups = [
        _Group(outcome, _label(outcome, reason), _kind(reason), _entry(reason) if reason else None, rows)
        for (outcome, reason), rows in found.items()
    ]
    return sorted(groups, key=lambda group: (list(_Kind).index(group.kind), -len(group.rows), group.label))


def _as_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _in_words(day: str | None) -> str:
    if day is None:
        return "not begun"
    known = date.fromisoformat(day)
    return f"{known:%A, %B} {known.day}, {known.year}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = _as_words
    environment.filters["number"] = "{:,}".format
    environment.filters["counted"] = lambda count, noun: f"{count:,} {noun}{'' if count == 1 else 's'}"
    environment.filters["time"] = lambda at: at.replace("T", " ").removesuffix("Z")
    return environment


_TEMPLATE = _environment().get_template("report.html.jinja")
