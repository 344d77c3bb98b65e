"""Reading, judging and changing single patrons. The only place from which Alma's patrons are changed.

No write is ever sent again blindly: an id resolves against every identifier of everybody, so what it meant
a moment ago it may not mean now. After an answer that leaves it open whether Alma did it, the patron is read.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
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
from patron_lifecycle.alma.records import PatronRecord, Unreadable, folded, is_addressable, same_id
from patron_lifecycle.policy.reasons import Action, Outcome, Reason
from patron_lifecycle.policy.rules import BroughtBack, Case, Decision, decide
from patron_lifecycle.runs.model import InstitutionRun, Page, PatronOutcome, Returned
from patron_lifecycle.vault import Archive, Vault

FRESH_SECONDS = 60.0  # no write rests on a record read longer ago
_DELETE_REFUSED = "401850"  # "Failed to delete user with identifier X of type Y" (official users API)


class Judged(NamedTuple):
    """A patron's fresh record (None: there is none to judge), the decision, and when it was read (clock seconds)."""

    primary_id: str
    record: PatronRecord | None
    decision: Decision
    read_at: float
    is_outage: bool = False


class Hands(Protocol):
    """What eligible patrons are given to: hands that change Alma, or some that can't.

    `outcome` is that of a patron who was changed; `expand` what a record has to be read with; `sends` how often a
    change may be sent, each time after a fresh read that found it undone; `patience` how many seconds before the
    slice's deadline the last change is begun, so that its answer can be waited for.
    """

    outcome: Outcome
    writes: bool
    expand: tuple[str, ...]
    sends: int
    patience: float

    def prepare(self, page: Page, eligible: Sequence[Judged]) -> None:
        """Do what has to be done before the first patron of the page is changed. Raises `VaultUnavailable`."""
        ...

    def change(self, record: PatronRecord, not_after: float) -> None:
        """Change the patron. Raises `AlmaError`, or `TooLate` when its turn comes after `not_after`."""
        ...

    def has_changed(self, judged: Judged) -> bool:
        """Whether the patron is found as the change leaves them."""
        ...

    def reason_for(self, refused: Refused) -> Reason | None:
        """The reason that a refusal of the change means; None when it is just Alma's error."""
        ...


class DeactivatingHands:
    """Makes patrons INACTIVE."""

    outcome = Outcome.DEACTIVATED
    writes = True
    expand: tuple[str, ...] = ()
    sends = 3
    patience = 0.0

    def __init__(self, writer: AlmaWriter) -> None:
        self._writer = writer

    def prepare(self, page: Page, eligible: Sequence[Judged]) -> None:
        """See `Hands`. Nothing: what was changed can be changed back."""

    def change(self, record: PatronRecord, not_after: float) -> None:
        """See `Hands`. An answer that doesn't show the patron INACTIVE leaves it open whether it was done."""
        reply = PatronRecord(self._writer.put_user(record.primary_id, record.as_inactive(), not_after))
        if not _is_inactive(reply, record.primary_id):
            raise Unavailable(None, "unexpected_reply", "")

    def has_changed(self, judged: Judged) -> bool:
        """See `Hands`."""
        return judged.record is not None and _is_inactive(judged.record, judged.primary_id)

    def reason_for(self, refused: Refused) -> Reason | None:  # noqa: ARG002
        """See `Hands`."""
        return None


class PurgingHands:
    """Deletes patrons, after their records have gone into the vault (None: the policy keeps none).

    A delete is sent once. Were it sent again while Alma is still at work on the first, the id might by then mean
    somebody else; whoever is still there when the answer was unclear is left for the next run, `unconfirmed`. Only
    after a worker was lost can it not be known whether one was sent: SQS then gives the message back no sooner than
    the queue's visibility timeout, six times the worker's own, and who is still there by then is deleted.
    """

    outcome = Outcome.PURGED
    writes = True
    expand: tuple[str, ...] = ("loans", "requests", "fees")
    sends = 1

    def __init__(
        self,
        writer: AlmaWriter,
        vault: Vault | None,
        vault_days: int,
        slice_number: int,
        now: Callable[[], datetime],
        patience: float,
    ) -> None:
        self.patience = patience
        self._writer = writer
        self._vault = vault
        self._vault_days = vault_days
        self._parts = (f"{slice_number}-{number}" for number in count(1))
        self._now = now

    def prepare(self, page: Page, eligible: Sequence[Judged]) -> None:
        """See `Hands`. The full records go into the vault as one object."""
        if self._vault is None:
            return
        records = tuple(one.record.raw for one in eligible if one.record is not None)
        self._vault.put(
            Archive(page.run_id, page.code, page.number, next(self._parts), self._vault_days, self._now(), records)
        )

    def change(self, record: PatronRecord, not_after: float) -> None:
        """See `Hands`."""
        self._writer.delete_user(record.primary_id, not_after)

    def has_changed(self, judged: Judged) -> bool:
        """See `Hands`. Gone, or the id means another patron now, of whom it is a further identifier."""
        return judged.decision.reason in (Reason.NOT_FOUND, Reason.IDENTITY_MISMATCH)

    def reason_for(self, refused: Refused) -> Reason | None:
        """See `Hands`."""
        return Reason.ALMA_REFUSED if refused.code == _DELETE_REFUSED else None


class PreviewHands:
    """Changes nothing: they have nothing to write with."""

    writes = False
    sends = 1
    patience = 0.0

    def __init__(self, action: Action) -> None:
        self.outcome = action.would
        self.expand: tuple[str, ...] = PurgingHands.expand if action is Action.PURGE else DeactivatingHands.expand

    def prepare(self, page: Page, eligible: Sequence[Judged]) -> None:
        """See `Hands`."""

    def change(self, record: PatronRecord, not_after: float) -> None:
        """See `Hands`."""

    def has_changed(self, judged: Judged) -> bool:  # noqa: ARG002
        """See `Hands`."""
        return False

    def reason_for(self, refused: Refused) -> Reason | None:  # noqa: ARG002
        """See `Hands`."""
        return None


@dataclass(frozen=True)
class Acting:
    """Judges and changes the patrons of one institution run during one slice.

    `deadline` is the clock time after which no call is begun; `excluded` tells whether one of these ids is in
    an exclusion set, the frozen or the fresh one; `returned` are the patrons whom this service brought back lately,
    by folded primary id. `stopped` fills with the answer after which Alma takes no
    more calls of this institution run: a refused key, or the daily quota spent; `unclear` holds the patrons to
    whom a write was sent of which it isn't known what became of it.
    """

    institution_run: InstitutionRun
    reader: AlmaReader
    hands: Hands
    excluded: Callable[[tuple[str, ...]], bool]
    returned: Mapping[str, Returned]
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
            raw = self.reader.user(primary_id, self.hands.expand)
        except NotFound as error:
            return Judged(primary_id, None, Decision(Reason.NOT_FOUND, error.message), self.clock())
        except (Unauthorized, DailyThreshold) as error:
            if error.code.startswith("http_"):  # no word of Alma's: may be about this id alone
                return self._unreadable(primary_id, f"Alma gave no usable answer: {error}", is_outage=True)
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
        back = self.returned.get(folded(primary_id))
        brought_back = None if back is None else BroughtBack(back.on, back.expiry_date)
        protect = run.institution.policy.protect
        case = Case(primary_id, record, run.policy, protect, run.day, self.excluded, brought_back)
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
            if self.hands.has_changed(judged):
                return self._done(judged.primary_id, if_done)
            if reason is Reason.UNVERIFIABLE:
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
            return PatronOutcome.because(judged.primary_id, Reason.NOT_ATTEMPTED, self.now())
        sends = 0
        last: AlmaError | None = None
        unclear = ""  # says so, once a write may have been done although Alma didn't tell
        while judged.record is not None and judged.decision.eligible:
            if last is not None and sends >= self.hands.sends:
                return self._given_up(judged.primary_id, last)
            match self._send(judged, judged.record, unclear or if_done):
                case PatronOutcome() as outcome:
                    return outcome
                case TooLate():
                    # What was archived must be what is deleted, so a purge reads nobody anew on its own here.
                    if self.hands.sends == 1 or self.clock() + 1 >= self.deadline:
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
        return self.skip(judged, if_done=unclear or if_done)

    def _send(self, judged: Judged, record: PatronRecord, if_done: str) -> PatronOutcome | AlmaError | TooLate:
        """Send one write. An error is given back when the patron has to be read before anything can be said."""
        try:
            self.hands.change(record, min(judged.read_at + FRESH_SECONDS, self.deadline - self.hands.patience))
        except NotFound as error:
            gone = Decision(Reason.NOT_FOUND, error.message)
            return self.skip(judged._replace(record=None, decision=gone), if_done=if_done)
        except Refused as error:
            return self._refused(judged.primary_id, error)
        except (Unauthorized, DailyThreshold) as error:
            if not error.code.startswith("http_"):  # else no word of Alma's: may be about this id alone
                self.stopped.append(error)
            return error
        except (AlmaError, TooLate) as error:
            return error
        return self._done(judged.primary_id, "" if self.hands.writes else facts_of(judged))

    def _done(self, primary_id: str, detail: str) -> PatronOutcome:
        return PatronOutcome(primary_id=primary_id, outcome=self.hands.outcome, detail=detail, at=self.now())

    def _refused(self, primary_id: str, error: Refused) -> PatronOutcome:
        reason = self.hands.reason_for(error)
        if reason is None:
            return self._failed(primary_id, error)
        return PatronOutcome.because(primary_id, reason, self.now(), _words(error))

    def still_unclear(self, judged: Judged) -> PatronOutcome:
        """The outcome of an eligible patron to whom an earlier slice sent a change that may not be sent again."""
        return self._unconfirmed(judged.primary_id, "a change was sent, and Alma didn't say what became of it")

    def _given_up(self, primary_id: str, error: AlmaError) -> PatronOutcome:
        if self.hands.sends == 1 and isinstance(error, Unavailable):
            return self._unconfirmed(primary_id, f"Alma gave no clear answer ({error})")
        return self._failed(primary_id, error)

    def _unconfirmed(self, primary_id: str, what: str) -> PatronOutcome:
        detail = f"{what}; the patron was found unchanged when read again"
        return PatronOutcome.because(primary_id, Reason.UNCONFIRMED, self.now(), detail)

    def _failed(self, primary_id: str, error: AlmaError) -> PatronOutcome:
        detail = _words(error) or str(error)
        return PatronOutcome(
            primary_id=primary_id, outcome=Outcome.FAILED, reason=f"alma_{error.code}", detail=detail, at=self.now()
        )

    def _unreadable(self, primary_id: str, detail: str, *, is_outage: bool = False) -> Judged:
        return Judged(primary_id, None, Decision(Reason.UNVERIFIABLE, detail), self.clock(), is_outage)


def facts_of(judged: Judged) -> str:
    """What a person should know of a patron whom a run would change: since when expired and INACTIVE, and who it is."""
    if judged.record is None:
        return ""
    told = []
    with contextlib.suppress(Unreadable):
        told.append(f"expired {judged.record.expiry_date}")
    with contextlib.suppress(Unreadable):
        told.append(f"{judged.record.status} since {judged.record.status_date}")
    with contextlib.suppress(Unreadable):
        told.append(judged.record.user_group)
    return ", ".join(told)


def _words(error: AlmaError) -> str:
    return f"{error.message} (tracking id {error.tracking_id})" if error.tracking_id else error.message


def _is_inactive(record: PatronRecord, primary_id: str) -> bool:
    """Whether this is the record of that patron, and INACTIVE; False when it doesn't say so."""
    try:
        return same_id(record.primary_id, primary_id) and record.status == "INACTIVE"
    except Unreadable:
        return False
