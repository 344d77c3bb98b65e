"""What waits: held institution runs, for a person, with figures and the buttons that decide; paused ones, for Alma."""

from collections.abc import Iterable
from typing import NamedTuple

from patron_lifecycle.dashboard.frame import Frame, label_of
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.runs.model import InstitutionRun, Mode, Status
from patron_lifecycle.wording import ACTION_NOUNS, Hold, counted, explanation_of, hold_in_words, one_line, reason_label

_QUESTIONS = {
    Action.DEACTIVATE: "Make {patrons} INACTIVE at {where}?",
    Action.PURGE: "Delete {patrons} at {where}?",
    Action.REINSTATE: "Make {patrons} ACTIVE again at {where}?",
    Action.RESTORE: "Make {patrons} anew at {where}?",
}


class Left(NamedTuple):
    """Candidates whom the run would leave as they are, for one reason."""

    outcome: Outcome
    label: str
    patrons: int
    meaning: str


class Paused(NamedTuple):
    """A paused institution run: how many of its candidates have an outcome, and whether it should have gone on."""

    one: InstitutionRun
    noun: str
    done: int
    is_late: bool


class Waiting(NamedTuple):
    """A held institution run, as a person has to see it before they decide."""

    one: InstitutionRun
    noun: str
    holds: list[Hold]
    left: list[Left]
    approve: str
    reject: str
    is_over: bool


def held_view(institution_runs: Iterable[InstitutionRun], frame: Frame) -> str:
    """All that are held among these, the longest held first, with a form that asks who decides; then who is paused."""
    found = list(institution_runs)
    held = [one for one in found if one.status is Status.HELD]
    held.sort(key=lambda one: (one.held_at or one.touched_at, one.code))
    paused = [one for one in found if one.status is Status.PAUSED]
    paused.sort(key=lambda one: (-one.pauses, one.paused_until or one.touched_at, one.code))
    return frame.render(
        "held", waiting=[_waiting(one, frame) for one in held], paused=[_paused(one, frame) for one in paused]
    )


def _paused(one: InstitutionRun, frame: Frame) -> Paused:
    preview = " (preview)" if one.mode is Mode.PREVIEW else ""
    is_late = one.paused_until is not None and frame.now > one.paused_until
    return Paused(one, f"{ACTION_NOUNS[one.action]}{preview}", sum(one.outcomes.values()), is_late)


def _waiting(one: InstitutionRun, frame: Frame) -> Waiting:
    holds = [hold_in_words(reason) for reason in one.hold_reasons]
    figures = "".join(f" {_sentence(hold.figures)}" for hold in holds)
    patrons, where = counted(one.due, "patron"), label_of(one)
    return Waiting(
        one,
        ACTION_NOUNS[one.action],
        holds,
        left_of(one),
        f"{_QUESTIONS[one.action].format(patrons=patrons, where=where)}{figures}{_what_it_means(one)}",
        f"Reject the {ACTION_NOUNS[one.action]} of {patrons} at {where}?{figures} Nobody is changed, and the run ends "
        "there.",
        is_over=one.held_until is not None and frame.now >= one.held_until,
    )


def left_of(one: InstitutionRun) -> list[Left]:
    """Whom an institution run has left as they are, or would: by outcome, then the most frequent reason first."""
    left = [
        Left(explanation_of(reason).outcome, reason_label(reason), count, explanation_of(reason).meaning)
        for reason, count in one.reasons.items()
        if count
    ]
    return sorted(left, key=lambda each: (list(Outcome).index(each.outcome), -each.patrons, each.label))


def _sentence(figures: str) -> str:
    text = one_line(figures).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _what_it_means(one: InstitutionRun) -> str:
    """What an approval can't take back."""
    if one.action is not Action.PURGE or one.institution.policy.purge is None:
        return ""
    days = one.institution.policy.purge.vault_days
    kept = f"A copy of each record is kept for {days} days" if days else "No copy is kept: nobody could be restored"
    return f" This can't be undone in Alma. {kept}."
