"""The report of a run for a library's staff: one self-contained page, without scripts and outside resources."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from patron_lifecycle.policy.reasons import (
    ALMA_ERROR,
    ALMA_ERROR_PREFIX,
    EXPLANATIONS,
    Action,
    Caution,
    Outcome,
    Reason,
    cautions_in,
)
from patron_lifecycle.reports.export import Row
from patron_lifecycle.runs.model import Mode, Status, needs_a_look
from patron_lifecycle.wording import as_words, hold_in_words, reason_label

_UNFOLDED = 100  # a longer list is folded at first, except in print


class _Kind(StrEnum):
    """What a reader has to do about a patron, in the order in which a report tells."""

    NEEDS_A_LOOK = "needs a look"
    CHANGED = "changed"
    WOULD_CHANGE = "would be changed"
    AS_INTENDED = "as intended"


class _Words(NamedTuple):
    """What an action is called. `changed` is said of patrons, as in "patrons deleted from Alma"."""

    title: str
    intent: str
    changed: str
    change: str
    warning: str = ""
    keeping: str = ""


_WORDS = {
    Action.DEACTIVATE: _Words(
        "Deactivation of expired patrons",
        "A patron who has been expired for as many days as the library waits becomes INACTIVE, without access to "
        "the account or to library content. Nobody is deleted.",
        "deactivated in Alma",
        "be deactivated",
    ),
    Action.PURGE: _Words(
        "Purge of long-expired patrons",
        "A patron who has been expired for longer than the library keeps expired patrons is deleted from Alma.",
        "deleted from Alma",
        "be deleted",
        "Alma can't undo a deletion.",
        "A copy of each deleted record is kept, encrypted, in this service's vault for as long as the policy's "
        "vault_days says, and for so long a deleted patron can be restored from it, though without loan history, "
        "password and PIN. Where vault_days is 0, no copy is kept, and nobody can be restored.",
    ),
    Action.REINSTATE: _Words(
        "Reinstatement of patrons",
        "A patron who is INACTIVE becomes ACTIVE again, with a new expiry date where one was given. Nothing else in "
        "the record is changed.",
        "reinstated in Alma",
        "be reinstated",
    ),
    Action.RESTORE: _Words(
        "Restoration of purged patrons",
        "A patron who was deleted is made anew in Alma from the copy in this service's vault: INACTIVE, or ACTIVE with "
        "a new expiry date where one was given. Loan history, password and PIN can't come back.",
        "restored to Alma",
        "be restored",
    ),
}


class _LegendEntry(NamedTuple):
    """A reason or a caution, explained once. `anchor` is where links to it lead."""

    anchor: str
    label: str
    code: str
    outcome: str
    meaning: str
    remedy: str


_ALMA_ERROR = _LegendEntry(
    "reason-alma",
    "Alma error",
    f"{ALMA_ERROR_PREFIX}<code>",
    ALMA_ERROR.outcome.value,
    ALMA_ERROR.meaning,
    ALMA_ERROR.remedy,
)
_LEGEND = (
    *(
        _LegendEntry(
            f"reason-{reason}",
            reason_label(reason),
            reason.value,
            explained.outcome.value,
            explained.meaning,
            explained.remedy,
        )
        for reason, explained in EXPLANATIONS.items()
    ),
    _ALMA_ERROR,
    *(
        _LegendEntry(
            f"caution-{caution}",
            caution.replace("_", " ").capitalize(),
            caution.value,
            "changed",
            caution.advice.meaning,
            caution.advice.remedy,
        )
        for caution in Caution
    ),
)
_BUT = {  # what follows the outcome in the title of a list
    Caution.EXPIRY_PAST: "the expiry date is past",
    Caution.INTERNAL_ACCOUNT: "the account is INTERNAL",
    Caution.DEACTIVATED_AGAIN: "brought back not long ago",
    Caution.LEFT_OUT: "without some pieces of the record",
    Caution.STORED_DIFFERS: "Alma has stored something else",
}
_DONE = frozenset(action.done.value for action in Action)
_WOULD = frozenset(action.would.value for action in Action)
_LEGEND_BY_CODE = {entry.code: entry for entry in _LEGEND}


class _Bar(NamedTuple):
    """One bar of the chart. `percent` of the longest bar."""

    label: str
    kind: _Kind
    patrons: int
    percent: float


class _Group(NamedTuple):
    """Patrons of one institution with the same outcome for the same reason, or with the same caution.

    `entry` is None for the list of all who were changed, or would be; `is_ahead` tells that what the entry says of them
    isn't so yet.
    """

    title: str
    kind: _Kind
    entry: _LegendEntry | None
    rows: list[Row]
    is_ahead: bool = False

    @property
    def is_unfolded(self) -> bool:
        return self.kind is not _Kind.AS_INTENDED and len(self.rows) <= _UNFOLDED


class _Cautioned(NamedTuple):
    """Patrons of one institution with a caution: how many, and under each outcome and caution who.

    Whoever has two is under both, and counted once.
    """

    patrons: int
    under: Mapping[tuple[str, Caution], list[Row]]


def render_report(document: Mapping[str, Any], rows: Iterable[Row]) -> str:
    """The page as HTML text. `document` is a run as in `run.json`, `rows` its lines of `outcomes.csv`.

    The figures are the document's, the lists are the rows, and so are the cautions, which a document doesn't count.
    Rows of institutions that aren't in the document are left out, so a document with one institution gives that
    library's own report. Holds all rows in memory.
    """
    action, mode = Action(document["action"]), Mode(document["mode"])
    institutions = document["institutions"]
    status_of = {one["institution"]: one["status"] for one in institutions}
    groups: defaultdict[str, defaultdict[tuple[str, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.institution in status_of:
            groups[row.institution][row.outcome, row.reason].append(row)
    outcomes = sum((Counter(one["outcomes"]) for one in institutions), Counter[str]())
    change = action.would if mode is Mode.PREVIEW else action.done
    always = {change, Outcome.SKIPPED, Outcome.FAILED, *([Outcome.BLOCKED] if action is Action.PURGE else [])}
    cautioned = {code: _cautioned(groups[code]) for code in status_of}
    left_to_look_at = {one["institution"]: _left_to_look_at(one) for one in institutions}
    statuses = Counter(one["status"] for one in institutions)
    lists = {code: _groups(groups[code], cautioned[code], status) for code, status in status_of.items()}
    explained = {group.entry for found in lists.values() for group in found}
    return _TEMPLATE.render(
        document=document,
        words=_WORDS[action],
        is_preview=mode is Mode.PREVIEW,
        statuses=statuses,
        is_running=any(Status(status).goes_on for status in statuses),
        is_untouched=not outcomes[action.done]
        and not any(one["reasons"].get(Reason.UNCONFIRMED) for one in institutions),
        day=_in_words(document["as_of"]),
        change=change.value,
        waiting=outcomes[action.would] if mode is Mode.APPLY else 0,
        columns=[outcome.value for outcome in Outcome if outcome in always or outcome in outcomes],
        outcomes=outcomes,
        to_look_at={code: count + cautioned[code].patrons for code, count in left_to_look_at.items()},
        left_to_look_at=sum(left_to_look_at.values()),
        left_as_intended=sum(sum(one["reasons"].values()) for one in institutions) - sum(left_to_look_at.values()),
        bars=_bars(institutions, cautioned.values()),
        groups=lists,
        holds={one["institution"]: [hold_in_words(reason) for reason in one["hold_reasons"]] for one in institutions},
        answer=lambda command, code: _answer(command, document["run_id"], code),
        legend=[entry for entry in _LEGEND if entry in explained],
        Kind=_Kind,
        Status=Status,
    )


def _kind(outcome: str, reason: str, status: str) -> _Kind:
    """What a reader has to do about patrons with this outcome and reason, in an institution run of this status."""
    if not reason:
        return _Kind.WOULD_CHANGE if outcome in _WOULD else _Kind.CHANGED
    return _Kind.NEEDS_A_LOOK if needs_a_look(reason, status) else _Kind.AS_INTENDED


def _cautioned(found: Mapping[tuple[str, str], list[Row]]) -> _Cautioned:
    patrons = 0
    under: defaultdict[tuple[str, Caution], list[Row]] = defaultdict(list)
    for (outcome, reason), rows in found.items():
        if reason or outcome not in _WOULD | _DONE:
            continue
        for row in rows:
            cautions = cautions_in(row.detail)
            patrons += bool(cautions)
            for caution in cautions:
                under[outcome, caution].append(row)
    return _Cautioned(patrons, under)


def _left_to_look_at(institution: Mapping[str, Any]) -> int:
    """How many patrons were left as they were, though not as intended."""
    reasons, status = institution["reasons"], institution["status"]
    return sum(count for reason, count in reasons.items() if _kind("", reason, status) is _Kind.NEEDS_A_LOOK)


def _answer(command: str, run_id: str, code: str) -> str:
    """The operator's event that answers a hold."""
    return json.dumps(
        {"command": command, "run_id": run_id, "institution": code, "by": "YOUR NAME"}, ensure_ascii=False
    )


def _entry(reason: str) -> _LegendEntry:
    return _LEGEND_BY_CODE.get(reason, _ALMA_ERROR)


def _with_caution(outcome: str, caution: Caution) -> str:
    return f"{as_words(outcome)}, but {_BUT[caution]}"


def _label(outcome: str, reason: str) -> str:
    return reason_label(reason) if reason else as_words(outcome)


def _bars(institutions: Iterable[Mapping[str, Any]], cautioned: Iterable[_Cautioned]) -> list[_Bar]:
    """Outcomes that are changes, all cautions, and all reasons: what must be looked at first, then by count."""
    counts = Counter[tuple[str, _Kind]]()
    for one in institutions:
        changes = [(outcome, "", count) for outcome, count in one["outcomes"].items() if outcome in _WOULD | _DONE]
        left = [("", reason, count) for reason, count in one["reasons"].items()]
        for outcome, reason, count in (*changes, *left):
            counts[_label(outcome, reason), _kind(outcome, reason, one["status"])] += count
    for among in cautioned:
        for (outcome, caution), rows in among.under.items():
            counts[_with_caution(outcome, caution), _Kind.NEEDS_A_LOOK] += len(rows)
    longest = max(counts.values(), default=0)
    bars = [_Bar(label, kind, count, 100 * count / longest) for (label, kind), count in counts.items() if count]
    return sorted(bars, key=lambda bar: (list(_Kind).index(bar.kind), -bar.patrons, bar.label))


def _groups(found: Mapping[tuple[str, str], list[Row]], cautioned: _Cautioned, status: str) -> list[_Group]:
    groups = [
        _Group(
            f"{as_words(outcome)}: {_label(outcome, reason)}" if reason else as_words(outcome),
            _kind(outcome, reason, status),
            _entry(reason) if reason else None,
            rows,
        )
        for (outcome, reason), rows in found.items()
    ]
    groups += [
        _Group(_with_caution(outcome, caution), _Kind.NEEDS_A_LOOK, _LEGEND_BY_CODE[caution], rows, outcome in _WOULD)
        for (outcome, caution), rows in cautioned.under.items()
    ]
    # Who decides reads first whom the decision is about.
    first = _Kind.WOULD_CHANGE if status == Status.HELD else None
    return sorted(
        groups,
        key=lambda group: (group.kind is not first, list(_Kind).index(group.kind), -len(group.rows), group.title),
    )


def _coded(text: str) -> Markup:
    """The text, with what stands between backticks as code."""
    parts = text.split("`")
    return Markup().join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


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
    environment.filters["words"] = as_words
    environment.filters["coded"] = _coded
    environment.filters["number"] = "{:,}".format
    environment.filters["counted"] = lambda count, noun: f"{count:,} {noun}{'' if count == 1 else 's'}"
    environment.filters["sentence"] = lambda text: f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
    environment.filters["time"] = lambda at: at.replace("T", " ").removesuffix("Z")
    return environment


_TEMPLATE = _environment().get_template("report.html.jinja")
