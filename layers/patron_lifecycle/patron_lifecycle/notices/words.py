"""What notices say. Counts, sentences and a link: nothing personal is in any of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from patron_lifecycle.policy.model import Select
from patron_lifecycle.policy.reasons import Action, Explanation, Outcome
from patron_lifecycle.reports.bucket import LINK_DAYS
from patron_lifecycle.runs.model import InstitutionRun, Mode, NoticeKind, Run, Status, needs_a_look
from patron_lifecycle.templates import environment_of
from patron_lifecycle.wording import (
    ACTION_NOUNS,
    counted,
    explanation_of,
    hold_in_words,
    long_date,
    one_line,
    reason_label,
    sentence,
)


class Letter(NamedTuple):
    """A notice as it is sent: a subject of one line, and its text, for a mail in HTML as well."""

    subject: str
    text: str
    html: str


class _Words(NamedTuple):
    """What an action has done to patrons, and what it could not do with others."""

    done: str
    would: str
    take: str = "take"
    taken: str = "taken"


class _Left(NamedTuple):
    """Patrons who were left as they are for one reason, and what can be done about it."""

    label: str
    patrons: int
    explanation: Explanation


class _Content(NamedTuple):
    """What a notice says, in the order in which it says it."""

    subject: str
    lead: Sequence[str]
    figures: Sequence[tuple[str, int]] = ()
    left: Sequence[_Left] = ()
    closing: Sequence[str] = ()


_WORDS = {
    Action.DEACTIVATE: _Words("made INACTIVE", "be made INACTIVE"),
    Action.PURGE: _Words("deleted from Alma", "be deleted from Alma"),
    Action.REINSTATE: _Words("made ACTIVE again", "be made ACTIVE again", "bring back", "brought back"),
    Action.RESTORE: _Words("restored to Alma", "be restored to Alma", "bring back", "brought back"),
}


def to_contacts(kind: NoticeKind, one: InstitutionRun, link: str | None, *, is_attached: bool = False) -> Letter:
    """A notice to a library's contacts about an institution run; `link` leads to the report, unless it is attached."""
    content = _CONTENTS[kind](one)
    if is_attached:
        where = (
            "The report with the list of patrons is attached. It holds patron ids: keep it where such lists may lie."
        )
    elif link:
        where = f"The report with the list of patrons, for {LINK_DAYS} days:"
    else:
        where = "Your consortium's systems librarian has the report with the list of patrons."
    return _letter(content, one.institution.name, where, None if is_attached else link)


def of_hold(one: InstitutionRun, operator: str, link: str | None) -> Letter:
    """A notice to the operators that an institution run waits for them; `operator` is the function that they answer."""
    answer = f'{{"command": "approve", "run_id": "{one.run_id}", "institution": "{one.code}", "by": "YOUR NAME"}}'
    told = _held(one)
    content = told._replace(
        subject=f"Held: {_of(one)}",
        closing=[
            "To answer, press Approve or Reject on the dashboard, or invoke the operator function "
            f"{operator} within seven days with",
            answer,
            "To end it without a change, say reject instead of approve.",
        ],
    )
    return _letter(content, one.institution.name, "The report with the list of patrons:" if link else "", link)


def of_failure(one: InstitutionRun, operator: str, link: str | None) -> Letter:
    """A notice to the operators that an institution run has failed."""
    told = _not_taken(one)
    content = told._replace(
        subject=f"Failed: {_of(one)}",
        closing=[
            f"Run {one.run_id}. Mend the cause and start the run again for this institution. To see how far it came, "
            f"invoke {operator} with",
            f'{{"command": "status", "run_id": "{one.run_id}"}}',
        ],
    )
    return _letter(content, one.institution.name, "The report:" if link else "", link)


def of_run(run: Run, institution_runs: Sequence[InstitutionRun], link: str | None) -> Letter:
    """A notice to the operators that a run is over in all its institutions: all clear, or not."""
    ended = Counter(one.status for one in institution_runs)
    what = _noun(run)
    total = len(institution_runs)
    if not total:
        subject = f"Nothing was started: {what}"
        lead = ["No institution could take part, so nothing was done anywhere."]
    elif ended[Status.COMPLETED] == total:
        subject = f"All clear: {what}, {counted(total, 'institution')}"
        lead = [f"The {what} is over, and has completed in {_all(total)}."]
    else:
        troubles = ", ".join(f"{count} {status}" for status, count in ended.items() if status is not Status.COMPLETED)
        subject = f"Not all clear: {what}, {troubles} of {counted(total, 'institution')}"
        lead = [
            f"The {what} is over. It has completed in {ended[Status.COMPLETED]} of {counted(total, 'institution')}."
        ]
        lead += [
            f"{one.institution.name} ({one.code}): {one.status}. {sentence(one.reason_without_persons)}"
            for one in _not_completed(institution_runs)
        ]
    lead += [
        f"{one.institution.name} ({one.code}) paused on {counted(one.pauses, 'day')}: Alma's daily calls had come "
        "down to what is kept for others."
        for one in institution_runs
        if one.pauses
    ]
    lead += [f"Left out: {skip.institution}. {sentence(skip.reason)}" for skip in run.skipped]
    figures = [
        (f"patrons {_outcome_words(run.action, outcome)}", count) for outcome, count in sorted(run.outcomes.items())
    ]
    figures += (
        [("of those left as they are, patrons whom somebody should look at", run.to_look_at)] if run.to_look_at else []
    )
    content = _Content(subject, lead, figures, (), [f"Run {run.run_id}."])
    return _letter(content, "", "The report of the whole run:" if link else "", link)


def _coming(one: InstitutionRun) -> _Content:
    count = one.outcomes.get(one.action.would, 0)
    day = _day(one.day or one.as_of)
    lead = [
        f"On {day} the monthly purge will delete {counted(count, 'patron')} of {one.institution.name} from Alma, as "
        "far as can be told today."
        if count
        else f"On {day} the monthly purge will delete nobody of {one.institution.name}, as far as can be told today.",
        "Each of them is judged once more right before: who comes back, has a loan by then, or gets a new expiry date, "
        "stays. To keep somebody, set an expiry date ahead in Alma"
        + (f", or put them into {_any_of(one.policy.exclude.each)}." if one.policy.exclude.each else "."),
    ]
    if one.hold_reasons:
        lead.append(
            "The purge will first wait until somebody has approved it: " + "; ".join(map(_hold, one.hold_reasons)) + "."
        )
    figures = _figures(one)
    return _Content(
        f"{one.institution.name}: the purge on {day} will take {counted(count, 'patron')}",
        lead,
        figures,
        _left_in(one),
    )


def _done(one: InstitutionRun) -> _Content:
    words, noun, count = _WORDS[one.action], ACTION_NOUNS[one.action], one.changes
    told = f"{counted(count, 'patron')} {'was' if count == 1 else 'were'} {words.done}"
    subject = f"{one.institution.name}: {told}"
    lead = [f"The {noun} of {_day(one.day)} is over: {told}."]
    if one.status in (Status.REJECTED, Status.CANCELLED):
        subject = f"{one.institution.name}: the {noun} was {one.status}, {told}"
        lead = [
            f"The {noun} of {_day(one.day)} is over: {one.reason_without_persons}",
            *([f"{told[0].upper()}{told[1:]}."] if count else []),
        ]
    lead += _pauses(one)
    closing = []
    if count and one.action is Action.DEACTIVATE:
        closing.append(
            "Somebody by mistake? Set the status ACTIVE and an expiry date ahead in Alma, or ask your consortium's "
            "systems librarian."
        )
    if count and one.vault_until is not None:
        closing.append(
            f"Until {_day(one.vault_until.date())} a copy of each record is kept, and who was deleted by mistake can "
            "be restored: ask your consortium's systems librarian."
        )
    return _Content(subject, lead, _figures(one), (), closing)


def _pauses(one: InstitutionRun) -> list[str]:
    """On how many days it had to pause, if on any: it took so much longer."""
    if not one.pauses:
        return []
    return [f"It had paused on {counted(one.pauses, 'day')}, so as to leave others their share of Alma's daily calls."]


def _held(one: InstitutionRun) -> _Content:
    words, noun = _WORDS[one.action], ACTION_NOUNS[one.action]
    told = f"{counted(one.due, 'patron')} would {words.would}"
    return _Content(
        f"{one.institution.name}: the {noun} waits for a decision, {told}",
        [
            f"The {noun} of {_day(one.day)} is held. Nobody was changed. If it is approved, {told}.",
            *(f"Why it is held: {sentence(_hold(reason))}" for reason in one.hold_reasons),
            *(
                [f"If nobody answers, it is rejected by itself on {one.held_until:%Y-%m-%d at %H:%M} UTC."]
                if one.held_until
                else []
            ),
        ],
        _figures(one),
        (),
        ["Look at the list, and tell your consortium's systems librarian if somebody on it should stay."],
    )


def _not_taken(one: InstitutionRun) -> _Content:
    words, noun, count = _WORDS[one.action], ACTION_NOUNS[one.action], one.to_look_at
    subject = f"{one.institution.name}: the {noun} could not {words.take} {counted(count, 'patron')}"
    lead = [
        f"In the {noun} of {_day(one.day)}, {counted(count, 'patron')} could not be {words.taken}. They stay as they "
        "are, until somebody has settled what is in the way.",
    ]
    if one.status is Status.FAILED:
        told = f"{counted(one.changes, 'patron')} {'was' if one.changes == 1 else 'were'} {words.done} before that"
        if one.mode is Mode.PREVIEW:
            told = "nobody was changed, as in any preview"
        subject = f"{one.institution.name}: the {_noun(one)} failed, {told}"
        lead = [f"The {_noun(one)} of {_day(one.day)} failed, and {told}.", sentence(one.reason_without_persons)]
    return _Content(subject, lead, _figures(one), _left_in(one))


_CONTENTS = {
    NoticeKind.COMING_PURGE: _coming,
    NoticeKind.DONE: _done,
    NoticeKind.HELD: _held,
    NoticeKind.NOT_TAKEN: _not_taken,
}


def _figures(one: InstitutionRun) -> list[tuple[str, int]]:
    counts = one.shown_outcomes
    always = {one.action.would if one.status is Status.HELD or one.mode is Mode.PREVIEW else one.action.done}
    return [
        (f"patrons {_outcome_words(one.action, outcome)}", counts.get(outcome, 0))
        for outcome in Outcome
        if outcome in always or counts.get(outcome)
    ]


def _outcome_words(action: Action, outcome: Outcome) -> str:
    words = _WORDS[action]
    told = {
        action.done: words.done,
        action.would: f"who would {words.would}",
        Outcome.SKIPPED: "left as they are",
        Outcome.BLOCKED: "with something to be settled first",
        Outcome.FAILED: "where it failed",
    }
    return told.get(outcome, outcome.value)


def _left_in(one: InstitutionRun) -> list[_Left]:
    """Who was left as they were though nobody meant it so, by reason, most first."""
    found = [
        _Left(reason_label(reason), count, explanation_of(reason))
        for reason, count in one.reasons.items()
        if needs_a_look(reason, one.status)
    ]
    return sorted(found, key=lambda left: (-left.patrons, left.label))


def _not_completed(institution_runs: Iterable[InstitutionRun]) -> list[InstitutionRun]:
    return [one for one in institution_runs if one.status is not Status.COMPLETED]


def _noun(of: Run | InstitutionRun) -> str:
    """What a run is called: "purge", or "purge preview"."""
    return f"{ACTION_NOUNS[of.action]}{' preview' if of.mode is Mode.PREVIEW else ''}"


def _of(one: InstitutionRun) -> str:
    return f"{_noun(one)} at {one.institution.name} ({one.code})"


def _hold(reason: str) -> str:
    """Why it is held, with the figures, and without the guard's name, which stands for nothing to a reader."""
    return hold_in_words(reason).figures


def _any_of(sets: Iterable[Select]) -> str:
    return " or ".join(str(each) for each in sets)


def _all(total: int) -> str:
    return "its institution" if total == 1 else f"all {total} institutions"


def _day(day: date | None) -> str:
    return long_date(day) if day else "today"


def _letter(content: _Content, name: str, where: str, link: str | None) -> Letter:
    told: Mapping[str, object] = {"content": content, "name": name, "where": where, "link": link}
    return Letter(
        one_line(content.subject),
        _template("notice.txt.jinja").render(told),
        _template("notice.html.jinja").render(told),
    )


_template = environment_of(Path(__file__).parent).get_template
