"""A judge of what a run does to a simulated institution. It knows the records themselves, and nothing of the service.

The rules are stated here a second time, from the librarian's side: what speaks against touching this patron
at this moment? A mistake in the service's own rules therefore doesn't hide itself.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from sandbox.simulator.institutions import SimulatedInstitution, Write
from sandbox.simulator.patrons import Record

Ids = Collection[str] | Callable[[], Collection[str]]
"""Primary ids or other identifiers, in any case; as a callable they are asked for when they are needed."""

OutcomeRow = tuple[str, str, str | None, str]
"""One candidate's end as the service tells it: primary id, outcome, reason, detail."""

_PATRON = "200"
_DONE = {"deactivate": "deactivated", "purge": "purged"}
_VERB = {"PUT": "changed", "DELETE": "deleted", "POST": "created"}
# Reasons for leaving a patron alone that lie outside the record, or in what the service could not see of it.
_NOT_OF_THE_RECORD = frozenset(
    {"not_found", "identity_mismatch", "restored", "unverifiable", "alma_refused", "not_attempted"}
)
_SOMEBODY_ELSE = frozenset({"not_found", "identity_mismatch"})


@dataclass(frozen=True)
class Terms:
    """What an institution has agreed to: the action of the run, its day, and the policy in force, in plain values."""

    action: Literal["deactivate", "purge"]
    day: date
    preview: bool = False
    grace_days: int = 7
    retention_years: int = 3
    require_inactive: bool = True
    min_inactive_days: int = 14
    respect_purge_date: bool = True
    waive_fees_up_to: Decimal = Decimal(0)
    protected_types: frozenset[str] = frozenset({"STAFF", "CONTACT"})
    excluded_groups: frozenset[str] = frozenset()
    excluded_notes: frozenset[str] = frozenset()


class WriteJudge:
    """Watches the writes to `institution` during one run, and holds the run's outcomes against them.

    A judge takes the institution's `on_write`: who had it before is relieved.

    `candidates` are the primary ids that the run may change, None: anybody's; they are asked for once, at the
    first write or when the outcomes are checked, as a manifest is frozen before the first write. `excluded` are
    the ids in exclusion sets, asked for anew at each write. Each write is judged on the record as Alma holds it
    at that moment, so what somebody else changed since the run read it counts.

    `wrongs` are the writes that were not right, a sentence for each thing that spoke against; `writes` all that
    were seen.
    """

    def __init__(
        self, institution: SimulatedInstitution, terms: Terms, *, candidates: Ids | None = None, excluded: Ids = ()
    ) -> None:
        self.terms = terms
        self.wrongs: list[str] = []
        self.writes: list[Write] = []
        self._written: set[str] = set()
        self._candidates = candidates
        self._frozen: frozenset[str] | None = None
        self._excluded = excluded
        self._institution = institution
        institution.on_write = self.see

    def see(self, write: Write) -> None:
        """Judge one write as it is about to be carried out."""
        self.wrongs += [f"{write.primary_id} was {_VERB[write.method]}, but {why}" for why in self._against(write)]
        self.writes.append(write)
        self._written.add(write.primary_id.casefold())

    def objections(self, record: Record) -> dict[str, str]:
        """What speaks against the run's action on this record: by the name of the reason, a sentence."""
        found: dict[str, str] = {}
        try:
            found.update(self._protections(record))
            found.update(self._deactivation(record) if self.terms.action == "deactivate" else self._purge(record))
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            found["unverifiable"] = f"the record can't be judged: {error!r}"
        return found

    def check_outcomes(self, rows: Iterable[OutcomeRow]) -> list[str]:
        """What is wrong in the outcomes of an ended run, given as one row for each candidate.

        Every candidate has exactly one outcome; `purged` or `deactivated` are exactly those whom the run was
        seen to delete or change; nobody is said to be missing who is there.
        """
        rows = list(rows)
        counts = Counter(row[0].casefold() for row in rows)
        wrongs = [f"{key} has {count} outcomes" for key, count in counts.items() if count > 1]
        candidates = self._candidate_ids()
        if candidates is not None:
            wrongs += [f"{key} is a candidate without an outcome" for key in sorted(candidates - set(counts))]
            wrongs += [f"{key} has an outcome, but is no candidate" for key in sorted(set(counts) - candidates)]
        wrongs += [f"{key} was written to, but has no outcome" for key in sorted(self._written - set(counts))]
        return wrongs + [wrong for row in rows for wrong in self._wrong_in(row)]

    def check_reasons(self, rows: Iterable[OutcomeRow]) -> list[str]:
        """Which candidates that were not written to were judged wrongly, by their records as they are now.

        For runs during which nobody else changed anything. A reason for leaving somebody alone has to be among
        what speaks against the patron, unless it lies outside the record; against whom Alma refused, or would
        have been written to, nothing may speak.
        """
        wrongs = []
        for primary_id, outcome, reason, _ in rows:
            record = self._institution.users.get(primary_id.casefold())
            if record is None or primary_id.casefold() in self._written:
                continue
            found = self.objections(record)
            if outcome in ("skipped", "blocked"):
                if reason not in found and reason not in _NOT_OF_THE_RECORD:
                    wrongs.append(f"{primary_id} is {outcome} as {reason}, but {_listed(found)} speaks against")
            elif found:
                wrongs.append(f"{primary_id} is {outcome}, but {_listed(found)} speaks against")
        return wrongs

    def _candidate_ids(self) -> frozenset[str] | None:
        if self._frozen is None and self._candidates is not None:
            self._frozen = _folded(self._candidates)
        return self._frozen

    def _against(self, write: Write) -> Iterator[str]:
        """What speaks against this write: the call, the person, and what was made of the record."""
        terms = self.terms
        candidates = self._candidate_ids()
        if terms.preview:
            yield "a preview writes nothing"
        if write.method != {"deactivate": "PUT", "purge": "DELETE"}[terms.action]:
            yield f"that is no way to {terms.action}"
        if write.asked.casefold() != write.primary_id.casefold():
            yield f"it was {write.asked} who was asked for"
        if candidates is not None and write.primary_id.casefold() not in candidates:
            yield "that is no candidate"
        if terms.action == "purge" and write.primary_id.casefold() in self._written:
            yield "not for the first time"
        if write.before is None:
            return
        yield from self.objections(write.before).values()
        if write.after is not None:
            yield from _unwanted_changes(write.before, write.after)

    def _protections(self, record: Record) -> Iterator[tuple[str, str]]:
        """Who is left alone by every action."""
        terms = self.terms
        record_type, group = record["record_type"]["value"].casefold(), record["user_group"]["value"].casefold()
        if record_type in _folded(terms.protected_types):
            yield "staff", f"the record type {record_type} is protected"
        roles = {role["role_type"]["value"] for role in record["user_role"] if role["status"]["value"] != "INACTIVE"}
        if roles - {_PATRON}:
            yield "staff", f"there are other roles than Patron: {sorted(roles - {_PATRON})}"
        if record.get("source_institution_code") or record.get("source_link_id"):
            yield "linked_account", "it is the copy of another institution's account"
        ids = _folded([record["primary_id"], *(entry["value"] for entry in record["user_identifier"])])
        if named := ids & _folded(self._excluded):
            yield "excluded_set", f"an exclusion set names {sorted(named)}"
        if group in _folded(terms.excluded_groups):
            yield "excluded_group", f"the user group {group} is excluded"
        texts = [note["note_text"].casefold() for note in record["user_note"]]
        if any(wanted in text for wanted in _folded(terms.excluded_notes) for text in texts):
            yield "excluded_note", f"there is a note to the contrary: {texts}"
        expiry = _day(record, "expiry_date")
        if expiry is None:
            yield "no_expiry_date", "there is no expiry date"
        elif expiry >= terms.day:
            yield "not_expired", f"expiry is on {expiry} only"

    def _deactivation(self, record: Record) -> Iterator[tuple[str, str]]:
        expiry, status = _day(record, "expiry_date"), _status(record)
        if expiry is not None and expiry + timedelta(days=self.terms.grace_days) > self.terms.day:
            yield "within_grace", f"{self.terms.grace_days} days of grace have not passed since {expiry}"
        if status == "INACTIVE":
            yield "already_inactive", "the patron was INACTIVE before"

    def _purge(self, record: Record) -> Iterator[tuple[str, str]]:
        terms = self.terms
        expiry, purge_date = _day(record, "expiry_date"), _day(record, "purge_date")
        if expiry is not None and terms.day <= (kept_until := _anniversary(expiry, terms.retention_years)):
            yield "within_retention", f"records expired on {expiry} are kept until the end of {kept_until}"
        if terms.require_inactive:
            status, since = _status(record), _day(record, "status_date")
            if status != "INACTIVE":
                yield "still_active", f"the patron is {status}"
            elif since is None:
                yield "unverifiable", "nothing tells since when the patron is INACTIVE"
            elif since + timedelta(days=terms.min_inactive_days) > terms.day:
                yield "inactive_too_short", f"the patron is INACTIVE since {since} only"
        if terms.respect_purge_date and purge_date is not None and purge_date > terms.day:
            yield "purge_date_ahead", f"the purge date {purge_date} is ahead"
        if (loans := _amount(record, "loans")) > 0:
            yield "loans", f"there are {loans} loans"
        if abs(balance := _amount(record, "fees")) > terms.waive_fees_up_to:
            yield "fees", f"the balance of fees is {balance}"
        if (requests := _amount(record, "requests")) > 0:
            yield "requests", f"there are {requests} requests"

    def _wrong_in(self, row: OutcomeRow) -> Iterator[str]:
        primary_id, outcome, reason, _ = row
        key, done = primary_id.casefold(), _DONE[self.terms.action]
        was_written = key in self._written
        possible = f"would_{self.terms.action}" if self.terms.preview else done
        if outcome not in (possible, "skipped", "blocked", "failed"):
            kind = "preview" if self.terms.preview else "run"
            yield f"{primary_id} is {outcome}, which is no outcome of a {kind} of {self.terms.action}"
        if outcome == done and not was_written:
            yield f"{primary_id} is {outcome}, but no write was seen"
        if outcome != done and was_written:
            yield f"{primary_id} is {outcome}, but was written to"
        if reason in _SOMEBODY_ELSE and self._institution.find(primary_id) == key:
            yield f"{primary_id} is {outcome} as {reason}, but is there"


def _folded(ids: Ids) -> frozenset[str]:
    return frozenset(one.casefold() for one in (ids() if callable(ids) else ids))


def _listed(found: Collection[str]) -> str:
    return " and ".join(found) or "nothing"


def _unwanted_changes(before: Record, after: Record) -> Iterator[str]:
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    if after["status"]["value"] != "INACTIVE":
        yield f"the patron ended {after['status']['value']}"
    if more := sorted(changed - {"status", "status_date"}):
        yield f"more was changed than the status: {', '.join(more)}"


def _status(record: Record) -> str:
    status = record["status"]["value"]
    if status not in ("ACTIVE", "INACTIVE"):
        raise ValueError(f"status {status}")
    return str(status)


def _day(record: Record, name: str) -> date | None:
    text = record.get(name)
    return date.fromisoformat(text.removesuffix("Z")) if text else None


def _anniversary(day: date, years: int) -> date:
    """The same day of the month, counted on from its first, which makes 1 March of a 29 February that isn't there."""
    return date(day.year + years, day.month, 1) + timedelta(days=day.day - 1)


def _amount(record: Record, name: str) -> Decimal:
    """A count, or the balance of fees; a record without one has nothing of the kind."""
    field = record.get(name)
    if field is None:
        return Decimal(0)
    if not isinstance(field["value"], int | float):
        raise TypeError(f"{name} {field['value']}")
    return Decimal(str(field["value"]))
