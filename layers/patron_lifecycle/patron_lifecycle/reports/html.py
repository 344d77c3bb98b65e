"""The report of a run for a library's staff: one self-contained page, without scripts and outside resources."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment
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
from patron_lifecycle.reports.beside import NOTHING, Beside
from patron_lifecycle.reports.export import Row
from patron_lifecycle.reports.portrait import portrait_of, together
from patron_lifecycle.runs.model import Mode, RunStatus, Status, needs_a_look
from patron_lifecycle.templates import environment_of
from patron_lifecycle.wording import (
    as_words,
    explanation_of,
    hold_in_words,
    long_date,
    reason_label,
    sentence,
)

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
    """One bar of the chart. `percent` of the longest bar.

    `parts` are bars of patrons who are in this one already, each maybe in several.
    """

    label: str
    kind: _Kind
    patrons: int
    percent: float
    parts: tuple["_Bar", ...] = ()


@dataclass
class _Listed:
    """Patrons of one list: how many, and who, where the lists are wanted."""

    patrons: int = 0
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row, *, keep: bool) -> None:
        """Count one more, and keep the row if it is wanted."""
        self.patrons += 1
        if keep:
            self.rows.append(row)


class _Group(NamedTuple):
    """Patrons of one institution with the same outcome for the same reason, or with the same caution.

    `entry` is None for the list of all who were changed, or would be; `is_ahead` tells that what the entry says of them
    isn't so yet.
    """

    title: str
    kind: _Kind
    entry: _LegendEntry | None
    listed: _Listed
    is_ahead: bool = False

    @property
    def is_unfolded(self) -> bool:
        return self.kind is not _Kind.AS_INTENDED and self.listed.patrons <= _UNFOLDED


@dataclass
class _Told:
    """What the rows of one institution tell.

    `by_reason` has the patrons under each outcome and reason. `cautioned` counts, by outcome, those with a caution,
    whoever has two once; `under` has them under each outcome and caution.
    """

    by_reason: defaultdict[tuple[str, str], _Listed] = field(default_factory=lambda: defaultdict(_Listed))
    cautioned: Counter[str] = field(default_factory=Counter)
    under: defaultdict[tuple[str, Caution], _Listed] = field(default_factory=lambda: defaultdict(_Listed))

    def add(self, row: Row, *, keep: bool) -> None:
        """Take in one row; only one of a patron who was changed, or would be, is searched for cautions."""
        self.by_reason[row.outcome, row.reason].add(row, keep=keep)
        if row.reason or row.outcome not in _WOULD | _DONE:
            return
        cautions = cautions_in(row.detail)
        self.cautioned[row.outcome] += bool(cautions)
        for caution in cautions:
            self.under[row.outcome, caution].add(row, keep=keep)


def render_report(document: Mapping[str, Any], rows: Iterable[Row], beside: Beside = NOTHING) -> str:
    """The page as HTML text. `document` is a run as in `run.json`, `rows` its lines of `outcomes.csv`.

    The figures are the document's, the lists are the rows, and so are the cautions, which a document doesn't count.
    Rows of institutions that aren't in the document are left out, so a document with one institution gives that
    library's own report. Holds all rows in memory, unless `beside` says that the lists aren't wanted; the rows are read
    all the same then, for the cautions.
    """
    action, mode = Action(document["action"]), Mode(document["mode"])
    institutions = document["institutions"]
    told = {one["institution"]: _Told() for one in institutions}
    for row in rows:
        if row.institution in told:
            told[row.institution].add(row, keep=beside.lists)
    outcomes = sum((Counter(one["outcomes"]) for one in institutions), Counter[str]())
    change = action.would if mode is Mode.PREVIEW else action.done
    always = {change, Outcome.SKIPPED, Outcome.FAILED, *([Outcome.BLOCKED] if action is Action.PURGE else [])}
    left_to_look_at = {one["institution"]: _left_to_look_at(one) for one in institutions}
    statuses = Counter(one["status"] for one in institutions)
    groups = {one["institution"]: _groups(one, told[one["institution"]], beside) for one in institutions}
    is_starting = not institutions and document["status"] == RunStatus.RUNNING
    portraits = {code: portrait_of(beside.populations.get(code, ())) for code in told}
    explained = {group.entry for found in groups.values() for group in found}
    return _TEMPLATE.render(
        document=document,
        beside=beside,
        words=_WORDS[action],
        is_preview=mode is Mode.PREVIEW,
        nothing_started=not institutions and not is_starting,
        all_failed=bool(institutions) and statuses[Status.FAILED] == len(institutions),
        all_stopped=bool(institutions) and statuses[Status.CANCELLED] + statuses[Status.REJECTED] == len(institutions),
        statuses=statuses,
        is_running=any(Status(status).goes_on for status in statuses) or is_starting,
        is_untouched=not outcomes[action.done]
        and not any(one["reasons"].get(Reason.UNCONFIRMED) for one in institutions),
        day=_in_words(document["as_of"]),
        change=change.value,
        waiting=outcomes[action.would] if mode is Mode.APPLY else 0,
        can_be_undone=mode is Mode.APPLY and action is Action.DEACTIVATE and outcomes[action.done] > 0,
        columns=[outcome.value for outcome in Outcome if outcome in always or outcome in outcomes],
        outcomes=outcomes,
        to_look_at={code: count + told[code].cautioned.total() for code, count in left_to_look_at.items()},
        left_to_look_at=sum(left_to_look_at.values()),
        left_as_intended=sum(sum(one["reasons"].values()) for one in institutions) - sum(left_to_look_at.values()),
        bars=_bars(institutions, told.values()),
        groups=groups,
        portraits=portraits,
        together=together([portrait for portrait in portraits.values() if portrait is not None]),
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


def _with_caution(outcome: str, *cautions: Caution) -> str:
    what = f"but {_BUT[cautions[0]]}" if len(cautions) == 1 else "with a caution"
    return f"{as_words(outcome)}, {what}"


def _label(outcome: str, reason: str) -> str:
    return reason_label(reason) if reason else as_words(outcome)


def _bars(institutions: Iterable[Mapping[str, Any]], told: Iterable[_Told]) -> list[_Bar]:
    """Changes without and with cautions, and all reasons: what must be looked at first, then by count.

    Nobody is in two bars. Where there are several cautions, their bars are parts of the one of all who have any.
    """
    counts, cautioned, under = Counter[tuple[str, _Kind]](), Counter[str](), Counter[tuple[str, Caution]]()
    for one in told:
        cautioned += one.cautioned
        under += Counter({key: listed.patrons for key, listed in one.under.items()})
    for document in institutions:
        for outcome, reason, count in _figures(document):
            counts[_label(outcome, reason), _kind(outcome, reason, document["status"])] += count
    parts: dict[str, dict[str, int]] = {}
    for outcome, patrons in cautioned.items():
        cautions = {caution: count for (of, caution), count in under.items() if of == outcome}
        whole = _with_caution(outcome, *cautions)
        for label, kind in [key for key in counts if key[0] == as_words(outcome)]:
            counts[f"{label}, without a caution", kind] = counts.pop((label, kind)) - patrons
        counts[whole, _Kind.NEEDS_A_LOOK] += patrons
        if len(cautions) > 1:
            parts[whole] = {_BUT[caution]: count for caution, count in sorted(cautions.items(), key=lambda of: -of[1])}
    longest = max(counts.values(), default=0)

    def bar(label: str, kind: _Kind, patrons: int) -> _Bar:
        of_these = tuple(bar(part, kind, count) for part, count in parts.get(label, {}).items())
        return _Bar(label, kind, patrons, 100 * patrons / longest, of_these)

    bars = [bar(label, kind, patrons) for (label, kind), patrons in counts.items() if patrons > 0]
    return sorted(bars, key=lambda one: (list(_Kind).index(one.kind), -one.patrons, one.label))


def _figures(institution: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Outcome, reason and number of all who were changed, or would be, and of all who were left for a reason."""
    for outcome, count in institution["outcomes"].items():
        if outcome in _WOULD | _DONE:
            yield outcome, "", count
    for reason, count in institution["reasons"].items():
        yield explanation_of(reason).outcome.value, reason, count


def _groups(institution: Mapping[str, Any], told: _Told, beside: Beside) -> list[_Group]:
    """The lists of one institution, or, where they aren't wanted, their numbers, which are the document's then."""
    status = institution["status"]
    by_reason: Mapping[tuple[str, str], _Listed] = told.by_reason
    if not beside.lists:
        by_reason = {(outcome, reason): _Listed(count) for outcome, reason, count in _figures(institution) if count}
    groups = [
        _Group(
            f"{as_words(outcome)}: {_label(outcome, reason)}" if reason else as_words(outcome),
            _kind(outcome, reason, status),
            _entry(reason) if reason else None,
            listed,
        )
        for (outcome, reason), listed in by_reason.items()
    ]
    groups += [
        _Group(_with_caution(outcome, caution), _Kind.NEEDS_A_LOOK, _LEGEND_BY_CODE[caution], listed, outcome in _WOULD)
        for (outcome, caution), listed in told.under.items()
    ]
    # Who decides reads first whom the decision is about.
    first = _Kind.WOULD_CHANGE if status == Status.HELD else None
    return sorted(
        groups,
        key=lambda group: (
            group.kind is not first,
            list(_Kind).index(group.kind),
            -group.listed.patrons,
            group.title,
        ),
    )


def _coded(text: str) -> Markup:
    """The text, with what stands between backticks as code."""
    parts = text.split("`")
    return Markup().join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def _in_words(day: str | None) -> str:
    return "not begun" if day is None else f"{date.fromisoformat(day):%A}, {long_date(date.fromisoformat(day))}"


def _environment() -> Environment:
    environment = environment_of(Path(__file__).parent)
    environment.filters["coded"] = _coded
    environment.filters["date"] = long_date
    environment.filters["sentence"] = sentence
    environment.filters["time"] = lambda at: at.replace("T", " ").removesuffix("Z")
    return environment


_TEMPLATE = _environment().get_template("report.html.jinja")
