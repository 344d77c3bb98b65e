"""What things are called where people read of them: in reports, on the dashboard, in answers."""

from datetime import date
from typing import NamedTuple

from patron_lifecycle.policy.reasons import ALMA_ERROR, ALMA_ERROR_PREFIX, EXPLANATIONS, Action, Explanation, Reason
from patron_lifecycle.runs.guards import guard_of

_REASON_LABELS = {Reason.RESTORED: "Brought back before"}  # else it could be taken for what the run did

ACTION_NOUNS = {
    Action.DEACTIVATE: "deactivation",
    Action.PURGE: "purge",
    Action.REINSTATE: "reinstatement",
    Action.RESTORE: "restoration",
}


class Hold(NamedTuple):
    """One reason to hold: its guard in words, the figures, and what to look at before answering."""

    label: str
    figures: str
    remedy: str


def as_words(name: str) -> str:
    """`would_purge` as "Would purge"."""
    return name.replace("_", " ").capitalize()


def counted(count: int, noun: str) -> str:
    """`1 patron`, `1,200 patrons`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def sentence(text: str) -> str:
    """The text with a capital and a full stop; nothing stays nothing."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def long_date(day: date) -> str:
    """`November 23, 2026`."""
    return f"{day:%B} {day.day}, {day.year}"


def hold_in_words(reason: str) -> Hold:
    """A reason to hold in words; one that is of no guard is given as it is."""
    guard = guard_of(reason)
    if guard is None:
        return Hold("", reason, "")
    return Hold(as_words(guard), reason.partition(":")[2].strip(), guard.explanation.remedy)


def reason_label(reason: str) -> str:
    """Why a patron was left, in words: "Within retention"; Alma's errors with their code, "Alma error 401850"."""
    if reason in EXPLANATIONS:
        return _REASON_LABELS.get(Reason(reason), as_words(reason))
    return f"Alma error {reason.removeprefix(ALMA_ERROR_PREFIX)}"


def explanation_of(reason: str) -> Explanation:
    """What a reason means, and to which outcome it leads; Alma's errors among them."""
    return EXPLANATIONS[Reason(reason)] if reason in EXPLANATIONS else ALMA_ERROR


def one_line(text: str) -> str:
    """The text in one line, without characters that can't be seen, some of which turn around what follows them."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
