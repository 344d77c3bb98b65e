"""Reading, judging, and giving single patrons to the hands that change them.

No write is ever sent again blindly: an id resolves against every identifier of everybody, so what it meant
a moment ago it may not mean now. After an answer that leaves it open whether Alma did it, the patron is read.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from patron_lifecycle.alma.errors import AlmaError, DailyThreshold, NotFound, Refused, Unauthorized, Unavailable
from patron_lifecycle.alma.gateway import AlmaReader
from patron_lifecycle.alma.pace import TooLate
from patron_lifecycle.alma.records import PatronRecord, Unreadable, folded, is_addressable
from patron_lifecycle.policy.cautions import cautions_on
from patron_lifecycle.policy.reasons import Action, Outcome, Reason
from patron_lifecycle.policy.rules import BroughtBack, Case, Decision, Left, decide
from patron_lifecycle.runs.hands import Candidate, Change, Hands, Judged
from patron_lifecycle.runs.model import InstitutionRun, Origin, PatronOutcome, Returned
from patron_lifecycle.runs.selection import Taken

FRESH_SECONDS = 60.0  # no write rests on a record read longer ago
_SENDS = 3  # of a change that may be sent again


@dataclass(frozen=True)
class Acting:
    """Judges and changes the patrons of one institution run during one slice.

    `deadline` is the clock time after which no call is begun; `excluded` tells whether one of these ids is in
    an exclusion set, the frozen or the fresh one; `returned` are the patrons whom this service brought back lately,
    by folded primary id; `today` is the institution's day; `again` are patrons whom other runs of the action that
    is undone have taken away. `stopped` fills with the answer after which Alma takes no
    more calls of this institution run: a refused key, or the daily quota spent; `unclear` holds the patrons to
    whom a write was sent of which it isn't known what became of it.
    """

    institution_run: InstitutionRun
    reader: AlmaReader
    hands: Hands
    excluded: Callable[[tuple[str, ...]], bool]
    returned: Mapping[str, Sequence[Returned]]
    today: date
    again: Mapping[str, Taken]
    clock: Callable[[], float]
    now: Callable[[], datetime]
    deadline: float
    stopped: list[AlmaError] = field(default_factory=list)
    unclear: set[str] = field(default_factory=set)

    def judge(self, candidate: Candidate) -> Judged | None:
        """Read one patron and decide. None when the time is up before Alma has answered, or `stopped`."""
        if (unasked := self._unasked(candidate)) is not None:
            return unasked
        asked_at = self.clock()  # not when the answer came: the record is as old as the question
        try:
            raw = self.reader.user(candidate.primary_id, self.hands.expand)
        except NotFound as error:
            return self._absent(candidate, error, asked_at)
        except (Unauthorized, DailyThreshold) as error:
            if error.code.startswith("http_"):  # no word of Alma's: may be about this id alone
                return self._unreadable(candidate, f"Alma gave no usable answer: {error}", is_outage=True)
            self.stopped.append(error)
            return None
        except TooLate:
            return None
        except Refused as error:
            return self._unreadable(candidate, f"Alma refused to show this user: {error.code} {error.message}")
        except AlmaError as error:
            if self.clock() >= self.deadline:
                return None
            return self._unreadable(candidate, f"Alma gave no usable answer: {error}", is_outage=True)
        return self._decided(candidate, PatronRecord(raw), asked_at)

    def _unasked(self, candidate: Candidate) -> Judged | None:
        """The decision on a patron about whom Alma needn't, or can't, be asked."""
        if not is_addressable(candidate.primary_id):
            return self._unreadable(candidate, "Alma gives no primary id by which this user could be asked for")
        if self._restores and candidate.archived is None:
            reason = Reason.NOT_IN_VAULT if candidate.origin else Reason.NOT_IN_RUN
            return Judged(candidate, None, Decision(reason), self.clock())
        return None

    def _absent(self, candidate: Candidate, error: NotFound, asked_at: float) -> Judged:
        if self._restores:
            return self._decided(candidate, None, asked_at)
        return Judged(candidate, None, Decision(Reason.NOT_FOUND, error.message), self.clock())

    @property
    def _restores(self) -> bool:
        return self.institution_run.action is Action.RESTORE

    def _decided(self, candidate: Candidate, found: PatronRecord | None, asked_at: float) -> Judged:
        """The decision on the record that Alma has given; to restore, on the one from the vault."""
        run = self.institution_run
        record = candidate.archived if self._restores else found
        if run.day is None or record is None:
            raise ValueError("nobody is judged without a day and a record")
        origin = candidate.origin
        policy = run.institution.policy
        case = Case(
            candidate.primary_id,
            record,
            run.policy,
            policy.protect,
            run.day,
            self.excluded,
            brought_back=tuple(
                BroughtBack(back.on, back.expiry_date, back.active, back.confirmed)
                for back in self.returned.get(folded(candidate.primary_id), ())
            ),
            left=None if origin is None else self._left(candidate.primary_id, origin),
            is_taken=found is not None,
        )
        cautions = cautions_on(case, policy, run.new_expiry_date, self.today)
        return Judged(candidate, found, decide(case), asked_at, cautions=cautions)

    def _left(self, primary_id: str, origin: Origin) -> Left:
        """How the run that is undone left a patron, and what other runs have done with them since."""
        since = ""
        taken = self.again.get(folded(primary_id))
        if taken is not None and taken.at > origin.at:
            since = f"taken away again by {taken.run_id}"
        for back in self.returned.get(folded(primary_id), ()):
            if back.confirmed and back.at > origin.at and back.run_id != self.institution_run.run_id:
                since = since or f"brought back by {back.run_id} before"
        return Left(origin.status_date, origin.expiry_date, origin.proven, "" if origin.named else since)

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
            if (change := self.hands.found_changed(judged)) is not None:
                return self._done(judged, change, if_done)
            if reason in (Reason.UNVERIFIABLE, Reason.NOT_IN_VAULT):  # it can't be looked at
                reason = Reason.UNCONFIRMED
        return PatronOutcome.because(judged.primary_id, reason, self.now(), detail)

    def act(self, judged: Judged, *, if_done: str = "") -> PatronOutcome | None:
        """Change one eligible patron. None when it is left for the next slice: undone, or `unclear`.

        `if_done` is as for `skip`.
        """
        outcome = self._change(judged, if_done)
        if outcome is not None:
            self.unclear.discard(judged.primary_id)
        return outcome

    def _change(self, judged: Judged, if_done: str) -> PatronOutcome | None:
        if self.stopped:
            return None
        sends = 0
        last: AlmaError | None = None
        unclear = ""  # says so, once a write may have been done although Alma didn't tell
        while judged.decision.eligible:
            if last is not None and (self.hands.once or sends >= _SENDS):
                return self._given_up(judged.primary_id, last)
            match self._send(judged, unclear or if_done):
                case PatronOutcome() as outcome:
                    return outcome
                case TooLate():
                    # What was archived must be what is deleted, so a purge reads nobody anew on its own here.
                    if self.hands.once or self.clock() + 1 >= self.deadline:
                        return None
                case error:
                    sends, last = sends + 1, error
                    if isinstance(error, Unavailable):
                        unclear = f"recovered: Alma's answer was lost ({error}), read back"
                        self.unclear.add(judged.primary_id)
            again = None if self.stopped else self.judge(judged.candidate)
            if again is None or again.is_outage:
                return None  # the next slice reads it, and tells Alma's trouble from the patron's
            judged = again
        return self.skip(judged, if_done=unclear or if_done)

    def _send(self, judged: Judged, if_done: str) -> PatronOutcome | AlmaError | TooLate:
        """Send one write. An error is given back when the patron has to be read before anything can be said."""
        try:
            change = self.hands.change(judged, min(judged.read_at + FRESH_SECONDS, self.deadline - self.hands.patience))
        except NotFound as error:
            gone = Decision(Reason.NOT_FOUND, error.message)
            return self.skip(judged._replace(record=None, decision=gone), if_done=if_done)
        except Refused as error:
            if if_done and self.hands.reason_for(error) is Reason.ID_TAKEN:
                return error  # maybe by this run's own write, whose answer was lost
            return self._refused(judged.primary_id, error)
        except (Unauthorized, DailyThreshold) as error:
            if not error.code.startswith("http_"):  # else no word of Alma's: may be about this id alone
                self.stopped.append(error)
            return error
        except (AlmaError, TooLate) as error:
            return error
        return self._done(judged, change, "") if self.hands.writes else self._would(judged)

    def _done(self, judged: Judged, change: Change, how: str) -> PatronOutcome:
        """The outcome of a patron who was changed, with the dates that undoing and protecting go by."""
        stored = change.stored
        return PatronOutcome(
            primary_id=judged.primary_id,
            outcome=self.hands.outcome,
            detail="; ".join(part for part in (*judged.cautions, *change.cautions, how) if part),
            at=self.now(),
            status_date=None if stored is None else stored.known("status_date"),
            expiry_date=None if stored is None else stored.known("expiry_date"),
        )

    def facts(self, judged: Judged) -> str:
        """What a person should know of a patron whom the run would change.

        Cautions, since when they are expired, who they are, and, if they are brought back, as what.
        """
        record = judged.record or judged.candidate.archived
        if record is None:
            return ""
        told = []
        with contextlib.suppress(Unreadable):
            told.append(f"expired {record.expiry_date}")
        with contextlib.suppress(Unreadable):
            told.append(f"{record.status} since {record.status_date}")
        with contextlib.suppress(Unreadable):
            told.append(record.user_group)
        return "; ".join(part for part in (*judged.cautions, ", ".join(told), self._comes_back_as()) if part)

    def _comes_back_as(self) -> str:
        if self.institution_run.action.undoes is None:
            return ""
        if (expiry_date := self.institution_run.new_expiry_date) is not None:
            return f"to be ACTIVE until {expiry_date}"
        return "to be INACTIVE, with that date" if self._restores else "to be ACTIVE, with that date"

    def _would(self, judged: Judged) -> PatronOutcome:
        outcome, detail = self.hands.outcome, self.facts(judged)
        return PatronOutcome(primary_id=judged.primary_id, outcome=outcome, detail=detail, at=self.now())

    def _refused(self, primary_id: str, error: Refused) -> PatronOutcome:
        reason = self.hands.reason_for(error)
        if reason is None:
            return self._failed(primary_id, error)
        return PatronOutcome.because(primary_id, reason, self.now(), _words(error))

    def still_unclear(self, judged: Judged) -> PatronOutcome:
        """The outcome of an eligible patron to whom an earlier slice sent a change that may not be sent again."""
        return self._unconfirmed(judged.primary_id, "a change was sent, and Alma didn't say what became of it")

    def _given_up(self, primary_id: str, error: AlmaError) -> PatronOutcome:
        if self.hands.once and isinstance(error, Unavailable):
            return self._unconfirmed(primary_id, f"Alma gave no clear answer ({error})")
        return self._refused(primary_id, error) if isinstance(error, Refused) else self._failed(primary_id, error)

    def _unconfirmed(self, primary_id: str, what: str) -> PatronOutcome:
        found = "nobody was found by the id" if self._restores else "the patron was found unchanged"
        detail = f"{what}; {found} when read again"
        return PatronOutcome.because(primary_id, Reason.UNCONFIRMED, self.now(), detail)

    def _failed(self, primary_id: str, error: AlmaError) -> PatronOutcome:
        detail = _words(error) or str(error)
        return PatronOutcome(
            primary_id=primary_id, outcome=Outcome.FAILED, reason=f"alma_{error.code}", detail=detail, at=self.now()
        )

    def _unreadable(self, candidate: Candidate, detail: str, *, is_outage: bool = False) -> Judged:
        return Judged(candidate, None, Decision(Reason.UNVERIFIABLE, detail), self.clock(), is_outage)


def _words(error: AlmaError) -> str:
    return f"{error.message} (tracking id {error.tracking_id})" if error.tracking_id else error.message
