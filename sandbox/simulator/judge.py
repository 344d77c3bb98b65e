"""A judge of what a run does to a simulated institution. It knows the records themselves, and nothing of the service.

The rules are stated here a second time, from the librarian's side: what speaks against touching this patron
at this moment? A mistake in the service's own rules therefore doesn't hide itself.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from sandbox.simulator.institutions import SimulatedInstitution, Write
from sandbox.simulator.patrons import JOB_CATEGORIES, USER_TITLES, Record, xs_date
from sandbox.simulator.swap_all import OUTPUT_ONLY

Ids = Collection[str] | Callable[[], Collection[str]]
"""Primary ids or other identifiers, in any case; as a callable they are asked for when they are needed."""

OutcomeRow = tuple[str, str, str | None, str]
"""One candidate's end as the service tells it: primary id, outcome, reason, detail."""

_PATRON = "200"
_DONE = {"deactivate": "deactivated", "purge": "purged", "reinstate": "reinstated", "restore": "restored"}
_METHOD = {"deactivate": "PUT", "purge": "DELETE", "reinstate": "PUT", "restore": "POST"}
# What nobody is done to twice in a run. A second PUT finds the status that it would set, which speaks for itself.
_ONCE = frozenset({"purge", "restore"})
_VERB = {"PUT": "changed", "DELETE": "deleted", "POST": "created"}
# Reasons for leaving a patron alone that lie outside the record, or in what the service could not see of it.
_NOT_OF_THE_RECORD = frozenset(
    {"not_found", "identity_mismatch", "restored", "unverifiable", "unproven", "alma_refused", "not_attempted"}
)
_SOMEBODY_ELSE = frozenset({"not_found", "identity_mismatch"})
# What an entry of contact_info is nothing without.
_CONTACTS = {"address": "line1", "email": "email_address", "phone": "phone_number"}


@dataclass(frozen=True)
class Terms:
    """What an institution has agreed to: the action of the run, its day, and the policy in force, in plain values.

    `expiry_date` is the new one that a reinstate or a restore was asked for. `left_as` tells of each patron of a run
    that a reinstate undoes, by primary id, the status_date and the expiry_date as that run left them; None: the
    patrons were named, or are in a set. `archived` are the records that a restore goes by, by primary id, as they
    were before the purge. `refuses` tells whether Alma refuses such a record as it is (`swap_all.refuses` knows it
    of the simulated one): then those pieces may be left out that Alma gives and doesn't take; None: never.
    """

    action: Literal["deactivate", "purge", "reinstate", "restore"]
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
    expiry_date: date | None = None
    left_as: Mapping[str, tuple[date | None, date | None]] | None = None
    archived: Mapping[str, Record] | None = None
    refuses: Callable[[Record], bool] | None = None


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
        self._left_as = None if terms.left_as is None else {key.casefold(): it for key, it in terms.left_as.items()}
        self._archived = {key.casefold(): record for key, record in (terms.archived or {}).items()}
        self._institution = institution
        institution.on_write = self.see

    def see(self, write: Write) -> None:
        """Judge one write as it is about to be carried out."""
        self.wrongs += [f"{write.primary_id} was {_VERB[write.method]}, but {why}" for why in self._against(write)]
        self.writes.append(write)
        self._written.add(write.primary_id.casefold())

    def objections(self, record: Record) -> dict[str, str]:
        """What speaks against the run's action on this record: by the name of the reason, a sentence.

        The record is the one that Alma holds, for a restore the archived one.
        """
        found: dict[str, str] = {}
        against = {
            "deactivate": self._deactivation,
            "purge": self._purge,
            "reinstate": self._reinstatement,
            "restore": self._restoration,
        }[self.terms.action]
        try:
            found.update(against(record))
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            found["unverifiable"] = f"the record can't be judged: {error!r}"
        return found

    def check_outcomes(self, rows: Iterable[OutcomeRow]) -> list[str]:
        """What is wrong in the outcomes of an ended run, given as one row for each candidate.

        Every candidate has exactly one outcome; `purged`, `deactivated`, `reinstated` or `restored` are exactly
        those whom the run was seen to delete, change or create; nobody is said to be missing who is there.
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
        """Which candidates that were not written to were judged wrongly, by their records as they are now, or archived.

        For runs during which nobody else changed anything. A reason for leaving somebody alone has to be among
        what speaks against the patron, unless it lies outside the record; against whom Alma refused, or would
        have been written to, nothing may speak.
        """
        wrongs = []
        for primary_id, outcome, reason, _ in rows:
            key = primary_id.casefold()
            record = self._institution.users.get(key)
            if key in self._written or (record is None and self.terms.action != "restore"):
                continue
            found = self._objections_to(key, record)
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

    def _objections_to(self, key: str, held: Record | None) -> dict[str, str]:
        """What speaks against the run's action on the patron of that key, of whom Alma holds this record."""
        if self.terms.action == "restore":
            if key in self._archived:
                return self.objections(self._archived[key])
            # Who wasn't purged and of whom there is no copy can't be told apart: the reason may be either.
            return dict.fromkeys(("not_in_run", "not_in_vault"), "there is no archived record")
        return {} if held is None else self.objections(held)

    def _against(self, write: Write) -> Iterator[str]:
        """What speaks against this write: the call, the person, and what was made of the record."""
        terms = self.terms
        candidates = self._candidate_ids()
        if terms.preview:
            yield "a preview writes nothing"
        if write.method != _METHOD[terms.action]:
            yield f"that is no way to {terms.action}"
        if write.asked.casefold() != write.primary_id.casefold():
            yield f"it was {write.asked} who was asked for"
        if candidates is not None and write.primary_id.casefold() not in candidates:
            yield "that is no candidate"
        if terms.action in _ONCE and write.primary_id.casefold() in self._written:
            yield "not for the first time"
        yield from dict.fromkeys(self._objections_to(write.primary_id.casefold(), write.before).values())
        yield from self._against_result(write)

    def _against_result(self, write: Write) -> Iterator[str]:
        archived = self._archived.get(write.primary_id.casefold())
        if write.after is None:
            return
        if self.terms.action == "restore" and archived is not None:
            yield from self._wrongly_restored(archived, write.after)
        elif self.terms.action != "restore" and write.before is not None:
            yield from self._wrongly_changed(write.before, write.after)

    def _wrongly_changed(self, before: Record, after: Record) -> Iterator[str]:
        """What a PUT made of a record beside the status that was to be, and the expiry date that was asked for."""
        reinstates = self.terms.action == "reinstate"
        allowed = {"status", "status_date"}
        if after["status"]["value"] != ("ACTIVE" if reinstates else "INACTIVE"):
            yield f"the patron ended {after['status']['value']}"
        if reinstates and self.terms.expiry_date is not None:
            allowed.add("expiry_date")
            yield from _other_expiry(after, self.terms.expiry_date)
        if more := sorted(_differing(before, after) - allowed):
            yield f"more was changed than the {' and '.join(sorted(allowed - {'status_date'}))}: {', '.join(more)}"

    def _wrongly_restored(self, archived: Record, after: Record) -> Iterator[str]:
        """In what a record that was brought back is another than the archived one."""
        terms, allowed = self.terms, {"status", *OUTPUT_ONLY}
        ahead = terms.expiry_date if terms.expiry_date is not None and terms.expiry_date > terms.day else None
        if after["status"]["value"] != ("INACTIVE" if ahead is None else "ACTIVE"):
            yield f"the patron came back {after['status']['value']}"
        if ahead is not None:
            allowed.add("expiry_date")
            yield from _other_expiry(after, ahead)
        other = _differing(archived, after)
        if terms.refuses is not None and terms.refuses(archived):
            other &= _differing(_without_refused(archived), after)
        if other := other - allowed:
            yield f"it came back with another {', '.join(sorted(other))}"

    def _protected_type(self, record: Record) -> Iterator[tuple[str, str]]:
        record_type = record["record_type"]["value"].casefold()
        if record_type in _folded(self.terms.protected_types):
            yield "staff", f"the record type {record_type} is protected"

    def _never_changed(self, record: Record) -> Iterator[tuple[str, str]]:
        """Who is left alone by every action on a record that Alma holds."""
        yield from self._protected_type(record)
        roles = {role["role_type"]["value"] for role in record["user_role"] if role["status"]["value"] != "INACTIVE"}
        if roles - {_PATRON}:
            yield "staff", f"there are other roles than Patron: {sorted(roles - {_PATRON})}"
        if record.get("source_institution_code") or record.get("source_link_id"):
            yield "linked_account", "it is the copy of another institution's account"

    def _protections(self, record: Record) -> Iterator[tuple[str, str]]:
        """Who is left alone by a deactivation and by a purge."""
        terms = self.terms
        yield from self._never_changed(record)
        group = record["user_group"]["value"].casefold()
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
        yield from self._protections(record)
        expiry, status = _day(record, "expiry_date"), _status(record)
        if expiry is not None and expiry + timedelta(days=self.terms.grace_days) > self.terms.day:
            yield "within_grace", f"{self.terms.grace_days} days of grace have not passed since {expiry}"
        if status == "INACTIVE":
            yield "already_inactive", "the patron was INACTIVE before"

    def _purge(self, record: Record) -> Iterator[tuple[str, str]]:
        terms = self.terms
        yield from self._protections(record)
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

    def _reinstatement(self, record: Record) -> Iterator[tuple[str, str]]:
        yield from self._never_changed(record)
        if _status(record) == "ACTIVE":
            yield "already_active", "the patron was ACTIVE before"
        if self._left_as is None:
            return
        left_as = self._left_as.get(record["primary_id"].casefold())
        if left_as is None:
            yield "not_in_run", "the run that is undone did not make them INACTIVE"
        elif (_day(record, "status_date"), _day(record, "expiry_date")) != left_as:
            yield "changed_since", f"status or expiry date are no longer as of {_listed(map(str, left_as))}"

    def _restoration(self, archived: Record) -> Iterator[tuple[str, str]]:
        yield from self._protected_type(archived)
        if taken := [value for _, value in self._institution.taken(archived)]:
            yield "id_taken", f"somebody has {taken} already"

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


def _listed(found: Iterable[str]) -> str:
    return " and ".join(found) or "nothing"


def _differing(one: Record, other: Record) -> set[str]:
    return {name for name in one | other if one.get(name) != other.get(name)}


def _other_expiry(after: Record, asked: date) -> Iterator[str]:
    if after.get("expiry_date") != xs_date(asked):
        yield f"expiry is on {after.get('expiry_date')} instead of {asked}"


def _without_refused(archived: Record) -> Record:
    """The record without the pieces that Alma gives and refuses to take (met by libraries)."""
    contacts = archived["contact_info"]
    kept = {kind: [entry for entry in contacts[kind] if entry.get(part)] for kind, part in _CONTACTS.items()}
    tables = {"user_title": USER_TITLES, "job_category": JOB_CATEGORIES}
    orphans = [name for name, table in tables.items() if archived[name].get("value") not in table]
    roles = [
        role | {"parameter": [one for one in role["parameter"] if one["value"].get("desc")]}
        if role.get("parameter")
        else role
        for role in archived["user_role"]
    ]
    nothing = {"value": "", "desc": ""}
    external = {"external_id": ""} if archived["account_type"]["value"] == "INTERNAL" else {}
    return archived | {"contact_info": contacts | kept, "user_role": roles} | dict.fromkeys(orphans, nothing) | external


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
