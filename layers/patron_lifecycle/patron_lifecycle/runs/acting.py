"""Reading, judging and changing single patrons. The only place from which Alma's patrons are changed.

No write is ever sent again blindly: an id resolves against every identifier of everybody, so what it meant
a moment ago it may not mean now. After an answer that leaves it open whether Alma did it, the patron is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from patron_lifecycle.alma.errors import (
    AlmaError,
    DailyThreshold,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from patron_lifecycle.alma.gateway import AlmaReader, AlmaWriter
from patron_lifecycle.alma.pace import TooLate
from patron_lifecycle.alma.records import PatronRecord, Unreadable, is_addressable, same_id
from patron_lifecycle.policy.reasons import Outcome, Reason
from patron_lifecycle.policy.rules import Case, Decision, decide
from patron_lifecycle.runs.model import InstitutionRun, PatronOutcome

FRESH_SECONDS = 60.0  # no write rests on a record read longer ago
SENDS = 3  # how often a write may be sent, each time after a fresh read that found it undone


class Hands(Protocol):
    """What an eligible patron is given to: one that changes Alma, or one that can't."""

    outcome: Outcome
    writes: bool

    def deactivate(self, record: PatronRecord, not_after: float) -> None:
        """Make the patron INACTIVE. Raises `AlmaError`, or `TooLate` when its turn comes after `not_after`."""
        ...


class ApplyHands:
    """Changes patrons in Alma."""

    outcome = Outcome.DEACTIVATED
    writes = True

    def __init__(self, writer: AlmaWriter) -> None:
        self._writer = writer

    def deactivate(self, record: PatronRecord, not_after: float) -> None:
        """See `Hands`. An answer that doesn't show the patron INACTIVE leaves it open whether it was done."""
        reply = PatronRecord(self._writer.put_user(record.primary_id, record.as_inactive(), not_after))
        if not _is_inactive(reply, record.primary_id):
            raise Unavailable(None, "unexpected_reply", "")


class PreviewHands:
    """Changes nothing: it has nothing to write with."""

    outcome = Outcome.WOULD_DEACTIVATE
    writes = False

    def deactivate(self, record: PatronRecord, not_after: float) -> None:
        """See `Hands`."""


class Judged(NamedTuple):
    """A patron's fresh record (None: there is none to judge), the decision, and when it was read (clock seconds)."""

    primary_id: str
    record: PatronRecord | None
    decision: Decision
    read_at: float
    is_outage: bool = False


@dataclass(frozen=True)
class Acting:
    """Judges and changes the patrons of one institution run during one slice.

    `deadline` is the clock time after which no call is begun; `excluded` tells whether one of these ids is in
    an exclusion set, the frozen or the fresh one. `stopped` fills with the answer after which Alma takes no
    more calls of this institution run: a refused key, or the daily quota spent; `unclear` holds the patrons to
    whom a write was sent of which it isn't known what became of it.
    """

    institution_run: InstitutionRun
    reader: AlmaReader
    hands: Hands
    excluded: Callable[[tuple[str, ...]], bool]
    clock: Callable[[], float]
    now: Callable[[], datetime]
    deadline: float
    stopped: list[AlmaError] = field(default_factory=list)
    unclear: set[str] = field(default_factory=set)

    def judge(self, primary_id: str) -> Judged | None:
        """Read one patron and decide. None when the time is up before Alma has answered, or `stopped`."""
        if not is_addressable(primary_id):
            return self._unreadable(primary_id, "Alma gives no primary id by which this user could be asked for")
        asked_at = self.clock()  # not when the answer came: the record is as old as the question
        try:
            raw = self.reader.user(primary_id)
        except NotFound as error:
            return Judged(primary_id, None, Decision(Reason.NOT_FOUND, error.message), self.clock())
        except (Unauthorized, DailyThreshold) as error:
            self.stopped.append(error)
            return None
        except TooLate:
            return None
        except Refused as error:
            return self._unreadable(primary_id, f"Alma refused to show this user: {error.code} {error.message}")
        except AlmaError as error:
            if self.clock() >= self.deadline:
                return None
            return self._unreadable(primary_id, f"Alma gave no usable answer: {error}", is_outage=True)
        record = PatronRecord(raw)
        run = self.institution_run
        if run.day is None:
            raise ValueError("the institution run has no day yet")
        case = Case(primary_id, record, run.policy, run.institution.policy.protect, run.day, self.excluded)
        return Judged(primary_id, record, decide(case), asked_at)

    def skip(self, judged: Judged, *, if_done: str = "") -> PatronOutcome:
        """The outcome of a patron who isn't eligible now.

        `if_done` is given for a patron who was eligible before and may have been changed by this run without
        its knowing: it is the detail of the outcome when the patron is found as that change leaves them, whatever
        else has become true of them since.
        """
        reason, detail = judged.decision
        if reason is None:
            raise ValueError("an eligible patron isn't skipped")
        if if_done and self.hands.writes:
            if judged.record is not None and _is_inactive(judged.record, judged.primary_id):
                return self._done(judged.primary_id, if_done)
            if reason is Reason.UNVERIFIABLE:
                reason = Reason.UNCONFIRMED
        return PatronOutcome.because(judged.primary_id, reason, self.now(), detail)

    def act(self, judged: Judged) -> PatronOutcome | None:
        """Change one eligible patron. None when it is left for the next slice: undone, or `unclear`."""
        outcome = self._change(judged)
        if outcome is not None:
            self.unclear.discard(judged.primary_id)
        return outcome

    def _change(self, judged: Judged) -> PatronOutcome | None:
        if self.stopped:
            return PatronOutcome.because(judged.primary_id, Reason.NOT_ATTEMPTED, self.now())
        sends = 0
        last: AlmaError | None = None
        unclear = ""  # says so, once a write may have been done although Alma didn't tell
        while judged.record is not None and judged.decision.eligible:
            if last is not None and sends >= SENDS:
                return self._failed(judged.primary_id, last)
            match self._send(judged, judged.record):
                case PatronOutcome() as outcome:
                    return outcome
                case TooLate():
                    if self.clock() + 1 >= self.deadline:
                        return None
                case error:
                    sends, last = sends + 1, error
                    if isinstance(error, Unavailable):
                        unclear = f"recovered: Alma's answer was lost ({error}), read back"
                        self.unclear.add(judged.primary_id)
            again = None if self.stopped else self.judge(judged.primary_id)
            if again is None and self.stopped and not unclear:
                return PatronOutcome.because(judged.primary_id, Reason.NOT_ATTEMPTED, self.now())
            if again is None or again.is_outage:
                return None  # the next slice reads it, and tells Alma's trouble from the patron's
            judged = again
        return self.skip(judged, if_done=unclear)

    def _send(self, judged: Judged, record: PatronRecord) -> PatronOutcome | AlmaError | TooLate:
        """Send one write. An error is given back when the patron has to be read before anything can be said."""
        try:
            self.hands.deactivate(record, min(judged.read_at + FRESH_SECONDS, self.deadline))
        except NotFound as error:
            return PatronOutcome.because(judged.primary_id, Reason.NOT_FOUND, self.now(), error.message)
        except Refused as error:
            return self._failed(judged.primary_id, error)
        except (Unauthorized, DailyThreshold) as error:
            self.stopped.append(error)
            return error
        except (AlmaError, TooLate) as error:
            return error
        return self._done(judged.primary_id, "")

    def _done(self, primary_id: str, detail: str) -> PatronOutcome:
        return PatronOutcome(primary_id=primary_id, outcome=self.hands.outcome, detail=detail, at=self.now())

    def _failed(self, primary_id: str, error: AlmaError) -> PatronOutcome:
        detail = f"{error.message} (tracking id {error.tracking_id})" if error.tracking_id else error.message
        return PatronOutcome(
            primary_id=primary_id, outcome=Outcome.FAILED, reason=f"alma_{error.code}", detail=detail, at=self.now()
        )

    def _unreadable(self, primary_id: str, detail: str, *, is_outage: bool = False) -> Judged:
        return Judged(primary_id, None, Decision(Reason.UNVERIFIABLE, detail), self.clock(), is_outage)


def _is_inactive(record: PatronRecord, primary_id: str) -> bool:
    """Whether this is the record of that patron, and INACTIVE; False when it doesn't say so."""
    try:
        return same_id(record.primary_id, primary_id) and record.status == "INACTIVE"
    except Unreadable:
        return False
