"""What eligible patrons are given to: hands that deactivate, purge, reinstate or restore them, or show who would be.

The only place from which Alma's patrons are changed. Chosen once for a slice: a preview's hands have nothing to write
with.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import count
from typing import Any, NamedTuple, Protocol

from patron_lifecycle.alma.anew import as_new, is_as_sent, left_out_of, without_refused
from patron_lifecycle.alma.errors import Refused, Unavailable
from patron_lifecycle.alma.gateway import AlmaWriter
from patron_lifecycle.alma.records import PatronRecord, Unreadable, same_id
from patron_lifecycle.policy.reasons import Action, Caution, Outcome, Reason
from patron_lifecycle.policy.rules import Decision
from patron_lifecycle.runs.model import Origin, Page
from patron_lifecycle.vault import Archive, Vault

_ID_EXISTS = "401851"  # "User with identifier X of type Y already exists" (official users API)
_DELETE_REFUSED = "401850"  # "Failed to delete user with identifier X of type Y" (official users API)


class Candidate(NamedTuple):
    """Who is to be judged; what the run that is undone says of them; and, to restore, their record in the vault."""

    primary_id: str
    origin: Origin | None = None
    archived: PatronRecord | None = None


class Judged(NamedTuple):
    """A patron's fresh record (None: Alma has given none), the decision, and when it was read (clock seconds).

    `cautions` are what a person has to know of the patron, should they be changed.
    """

    candidate: Candidate
    record: PatronRecord | None
    decision: Decision
    read_at: float
    is_outage: bool = False
    cautions: tuple[str, ...] = ()

    @property
    def primary_id(self) -> str:
        """The candidate's."""
        return self.candidate.primary_id


class Change(NamedTuple):
    """What came of a change: the record as Alma has stored it, where it tells, and cautions on it."""

    stored: PatronRecord | None = None
    cautions: tuple[str, ...] = ()


class Comeback(NamedTuple):
    """A patron about to be brought back: the record, the expiry date that they will have, and whether as ACTIVE."""

    record: PatronRecord
    expiry_date: date | None
    active: bool


Remember = Callable[[Sequence[Comeback]], None]  # keeps them in mind, before they are changed


class Hands(Protocol):
    """What eligible patrons are given to: hands that change Alma, or some that can't. Who makes some builds on this.

    `outcome` is that of a patron who was changed; `expand` what a record has to be read with; `once` whether a change
    is sent only once, or again after a fresh read that found it undone; `patience` how many seconds before the slice's
    deadline the last change is begun, so that its answer can be waited for.
    """

    outcome: Outcome
    writes: bool = True
    expand: tuple[str, ...] = ()
    once: bool = False
    patience: float = 0.0

    def prepare(self, page: Page, eligible: Sequence[Judged]) -> None:  # noqa: ARG002
        """Do what has to be done before the first patron of the page is changed. Raises `VaultUnavailable`."""
        return

    def change(self, judged: Judged, not_after: float) -> Change:
        """Change the patron. Raises `AlmaError`, or `TooLate` when its turn comes after `not_after`."""
        ...

    def found_changed(self, judged: Judged) -> Change | None:
        """The change, if the patron is found as it leaves them; None if not."""
        ...

    def reason_for(self, refused: Refused) -> Reason | None:  # noqa: ARG002
        """The reason that a refusal of the change means; None when it is just Alma's error."""
        return None


class DeactivatingHands(Hands):
    """Makes patrons INACTIVE."""

    outcome = Outcome.DEACTIVATED

    def __init__(self, writer: AlmaWriter) -> None:
        self._writer = writer

    def change(self, judged: Judged, not_after: float) -> Change:
        """See `Hands`. An answer that doesn't show the patron INACTIVE leaves it open whether it was done."""
        return Change(_put(self._writer, judged, _read(judged).as_inactive(), not_after))

    def found_changed(self, judged: Judged) -> Change | None:
        """See `Hands`."""
        found = judged.record
        return Change(found) if found is not None and _is(found, judged.primary_id, "INACTIVE") else None


class ReinstatingHands(Hands):
    """Makes patrons ACTIVE again, with `expiry_date` if one is given, and remembers it before."""

    outcome = Outcome.REINSTATED

    def __init__(self, writer: AlmaWriter, remember: Remember, expiry_date: date | None) -> None:
        self._writer = writer
        self._remember = remember
        self._expiry_date = expiry_date

    def prepare(self, page: Page, eligible: Sequence[Judged]) -> None:  # noqa: ARG002
        """See `Hands`. The purge will leave them alone for a while, even if the worker is lost now."""
        self._remember(_comebacks(map(_read, eligible), self._expiry_date, active=True))

    def change(self, judged: Judged, not_after: float) -> Change:
        """See `Hands`. An answer that doesn't show the patron ACTIVE leaves it open whether it was done."""
        stored = _put(self._writer, judged, _read(judged).as_active(self._expiry_date), not_after)
        return Change(stored, self._differences(stored))

    def found_changed(self, judged: Judged) -> Change | None:
        """See `Hands`. Somebody else may have made the patron ACTIVE, so the expiry date is looked at here too."""
        found = judged.record
        if found is None or not _is(found, judged.primary_id, "ACTIVE"):
            return None
        return Change(found, self._differences(found))

    def _differences(self, stored: PatronRecord) -> tuple[str, ...]:
        if self._expiry_date is None:
            return ()
        return _stored_differs(("expiry date", stored.known("expiry_date"), self._expiry_date))


class PurgingHands(Hands):
    """Deletes patrons, after their records have gone into the vault (None: the policy keeps none).

    A delete is sent once. Were it sent again while Alma is still at work on the first, the id might by then mean
    somebody else; whoever is still there when the answer was unclear is left for the next run, `unconfirmed`. Only
    after a worker was lost can it not be known whether one was sent: SQS then gives the message back no sooner than
    the queue's visibility timeout, six times the worker's own, and who is still there by then is deleted.
    """

    outcome = Outcome.PURGED
    expand = ("loans", "requests", "fees")
    once = True

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
        records = tuple(_read(one).raw for one in eligible)
        self._vault.put(
            Archive(page.run_id, page.code, page.number, next(self._parts), self._vault_days, self._now(), records)
        )

    def change(self, judged: Judged, not_after: float) -> Change:
        """See `Hands`."""
        self._writer.delete_user(_read(judged).primary_id, not_after)
        return Change()

    def found_changed(self, judged: Judged) -> Change | None:
        """See `Hands`. Gone, or the id means another patron now, of whom it is a further identifier."""
        return Change() if judged.decision.reason in (Reason.NOT_FOUND, Reason.IDENTITY_MISMATCH) else None

    def reason_for(self, refused: Refused) -> Reason | None:
        """See `Hands`."""
        return Reason.ALMA_REFUSED if refused.code == _DELETE_REFUSED else None


class RestoringHands(Hands):
    """Makes purged patrons anew from their records in the vault, and remembers it before.

    They come back INACTIVE, or ACTIVE with `expiry_date` if one is given. A POST is sent once, as a delete is: whoever
    isn't there after an unclear answer may still come to be.
    """

    outcome = Outcome.RESTORED
    once = True

    def __init__(self, writer: AlmaWriter, remember: Remember, expiry_date: date | None, patience: float) -> None:
        self.patience = patience
        self._writer = writer
        self._remember = remember
        self._expiry_date = expiry_date

    def prepare(self, page: Page, eligible: Sequence[Judged]) -> None:  # noqa: ARG002
        """See `Hands`. The purge will leave them alone for a while, even if the worker is lost now."""
        active = self._expiry_date is not None
        self._remember(_comebacks(map(_archived, eligible), self._expiry_date, active=active))

    def change(self, judged: Judged, not_after: float) -> Change:
        """See `Hands`. What Alma refuses as a whole is sent without the pieces that its refusals are about."""
        whole = body = self._body(judged)
        while True:
            try:
                stored = PatronRecord(self._writer.post_user(body, not_after))
                break
            except Refused as refused:
                less = without_refused(body, refused)
                if less is None:
                    raise
                body = less
        if not _is_of(stored, judged.primary_id):
            raise Unavailable(None, "unexpected_reply", "")
        return self._changed(stored, whole)

    def found_changed(self, judged: Judged) -> Change | None:
        """See `Hands`. There again, and as the POST makes them: somebody else may have been given the id meanwhile."""
        found = judged.record
        if found is None or judged.candidate.archived is None:
            return None
        body = self._body(judged)
        with contextlib.suppress(Unreadable):
            if _is_of(found, judged.primary_id) and is_as_sent(found, body):
                return self._changed(found, body)
        return None

    def reason_for(self, refused: Refused) -> Reason | None:
        """See `Hands`."""
        return Reason.ID_TAKEN if refused.code == _ID_EXISTS else None

    def _body(self, judged: Judged) -> dict[str, Any]:
        return as_new(_archived(judged).raw, self._expiry_date)

    def _changed(self, stored: PatronRecord, body: Mapping[str, Any]) -> Change:
        """What came of such a body, with cautions on what didn't come of it."""
        sent = PatronRecord(body)
        left_out = left_out_of(stored.raw, body)
        told = (Caution.LEFT_OUT.about(", ".join(left_out)),) if left_out else ()
        differs = _stored_differs(
            ("status", stored.known("status"), sent.known("status")),
            ("expiry date", stored.known("expiry_date"), sent.known("expiry_date")),
        )
        return Change(stored, (*told, *differs))


class PreviewHands(Hands):
    """Changes nothing: they have nothing to write with."""

    writes = False
    once = True

    def __init__(self, action: Action) -> None:
        self.outcome = action.would
        self.expand: tuple[str, ...] = PurgingHands.expand if action is Action.PURGE else DeactivatingHands.expand

    def change(self, judged: Judged, not_after: float) -> Change:  # noqa: ARG002
        """See `Hands`."""
        return Change()

    def found_changed(self, judged: Judged) -> Change | None:  # noqa: ARG002
        """See `Hands`."""
        return None


def _comebacks(records: Iterable[PatronRecord], expiry_date: date | None, *, active: bool) -> list[Comeback]:
    """These patrons, about to come back with the new expiry date, or else with their own."""
    return [Comeback(one, expiry_date or one.known("expiry_date"), active) for one in records]


def _stored_differs(*fields: tuple[str, object, object]) -> tuple[str, ...]:
    """The caution on what Alma has stored otherwise than it was sent: name, what there is, what was wanted of each."""
    found = [f"{name} {has or 'none'}, not {wanted or 'none'}" for name, has, wanted in fields if has != wanted]
    return (Caution.STORED_DIFFERS.about(", ".join(found)),) if found else ()


def _read(judged: Judged) -> PatronRecord:
    if judged.record is None:
        raise ValueError("nobody is changed unread")
    return judged.record


def _archived(judged: Judged) -> PatronRecord:
    if judged.candidate.archived is None:
        raise ValueError("nobody is restored without a copy")
    return judged.candidate.archived


def _put(writer: AlmaWriter, judged: Judged, body: dict[str, Any], not_after: float) -> PatronRecord:
    """Send a PUT, and give back what Alma stored. Raises `Unavailable` when that hasn't the status that was sent."""
    stored = PatronRecord(writer.put_user(_read(judged).primary_id, body, not_after))
    if not _is(stored, judged.primary_id, body["status"]["value"]):
        raise Unavailable(None, "unexpected_reply", "")
    return stored


def _is(record: PatronRecord, primary_id: str, status: str) -> bool:
    """Whether this is the record of that patron, with that status; False when it doesn't say so."""
    return _is_of(record, primary_id) and bool(record.known("status") == status)


def _is_of(record: PatronRecord, primary_id: str) -> bool:
    """Whether this is the record of that patron; False when it doesn't say so."""
    with contextlib.suppress(Unreadable):
        return same_id(record.primary_id, primary_id)
    return False
