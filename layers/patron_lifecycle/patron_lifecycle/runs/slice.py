"""One slice of an institution run: what a worker does with one message, in the time that a Lambda has.

lease → check → select → freeze → guard, then page by page: read → decide → archive → act → record. Every step can be
the last one before the worker dies: what is stored always tells the next slice where to go on, and which patrons may
have been changed.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.errors import AlmaError, DailyThreshold, Refused, Unauthorized
from patron_lifecycle.alma.gateway import AlmaReader, AlmaWriter, SelectionError
from patron_lifecycle.alma.pace import TooLate
from patron_lifecycle.alma.records import PatronRecord, folded
from patron_lifecycle.api_keys import SecretProblem, Secrets
from patron_lifecycle.observability import logger
from patron_lifecycle.policy.model import ActionPolicy, Purge, Reinstate, Restore, Select
from patron_lifecycle.policy.population import Census, retention_of
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.acting import Acting
from patron_lifecycle.runs.answers import end_cancelled
from patron_lifecycle.runs.budget import note
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.guards import Figures
from patron_lifecycle.runs.hands import (
    Candidate,
    Comeback,
    DeactivatingHands,
    Hands,
    Judged,
    PreviewHands,
    PurgingHands,
    ReinstatingHands,
    RestoringHands,
)
from patron_lifecycle.runs.launch import day_of, not_to_be_undone, past_expiry, today_in
from patron_lifecycle.runs.lifecycle import end, hold, settled_again, wake
from patron_lifecycle.runs.model import (
    PAGE_SIZE,
    Hashes,
    InstitutionRun,
    Mode,
    Origin,
    Page,
    PageState,
    PatronOutcome,
    Returned,
    Status,
    WorkMessage,
)
from patron_lifecycle.runs.parallel import in_parallel
from patron_lifecycle.runs.pausing import pause
from patron_lifecycle.runs.selection import (
    Exclusions,
    Source,
    Taken,
    TimeIsUp,
    candidates_in,
    candidates_of,
    freeze,
    hash_of,
    narrowed,
    packed,
    read_candidates,
    read_exclusions,
    results_gone,
    source_for,
    taken_by_others,
    unpacked,
)
from patron_lifecycle.runs.store import Conflict
from patron_lifecycle.runs.trouble import note_failure
from patron_lifecycle.vault import Vault, VaultRefused, VaultUnavailable

R = TypeVar("R")

MAX_SLICES = 500
MAX_IDLE_SLICES = 3
_LOOKS = 3  # at an institution run that others are changing this very moment
READING_SECONDS = 30.0  # of one page at most, so that its writes rest on fresh records
_LATEST = 100  # institution runs of an institution that are looked through for held ones alike
_CALLS_EACH = 2  # of a patron who is changed: one reads, one writes
LEAST_SECONDS = 2.0  # a page isn't begun with less


class Trouble(Exception):
    """What ends an institution run as failed. The text says what to mend and holds nothing personal."""


class Superseded(Exception):
    """A newer run of the same action is held already. The text names it."""


class Halted(Exception):
    """Somebody has cancelled the institution run; `work` ends it."""


@dataclass(frozen=True)
class Workshop:
    """All that a slice works with. `clock` counts seconds.

    `connect` opens the way to an institution's Alma: from its registration, its API key, and the slice's seconds.
    """

    engine: Engine
    secrets: Secrets
    vault: Vault
    connect: Callable[[Institution, str, float], AlmaClient]
    clock: Callable[[], float]


def work(message: WorkMessage, workshop: Workshop, seconds: float) -> None:
    """Do one slice, in at most `seconds`, and send the continuation if there is more to do.

    An exception other than the ones that end the institution run means: nothing is lost, let SQS give the
    message back. What it was is noted as the institution run's trouble, and logged.
    """
    try:
        _work(message, workshop, seconds)
    except Exception as error:
        note_failure(message, error, workshop.engine.store)
        raise


def _work(message: WorkMessage, workshop: Workshop, seconds: float) -> None:
    begun = _begin(message, workshop)
    if begun is None:
        return
    slice_ = _Slice(begun, workshop, seconds)
    try:
        slice_.perform()
    except Halted:
        slice_.end_cancelled()
    except Superseded as newer:
        slice_.end_superseded(str(newer))
    except (Trouble, SecretProblem, SelectionError, VaultRefused) as trouble:
        slice_.fail(str(trouble))
    except DailyThreshold:
        slice_.pause(remaining=0)
    except Unauthorized as error:
        slice_.end_or_go_on_with_another_key(error)
    except (TimeIsUp, TooLate):
        slice_.go_on_later()
    except (AlmaError, VaultUnavailable) as error:
        if not slice_.note(str(error)):
            raise  # SQS gives the message back much later, when Alma, or the vault, may be well again
        slice_.go_on_later()
    finally:
        slice_.close()


def _begin(message: WorkMessage, workshop: Workshop) -> InstitutionRun | None:
    """The institution run that the message is for, if it may go on now.

    Whoever has sent the message may be about to note that: then it is looked at anew, since SQS would give the message
    back much later only.
    """
    for _ in range(_LOOKS - 1):
        with contextlib.suppress(Conflict):
            return _begun(message, workshop)
    return _begun(message, workshop)


def _begun(message: WorkMessage, workshop: Workshop) -> InstitutionRun | None:
    """See `_begin`. Raises `Conflict` when the institution run has changed this very moment."""
    engine = workshop.engine
    store = engine.store
    run = store.institution_run(message.run_id, message.institution)
    if run is None or not run.status.keeps_lease or message.seq < run.seq:
        logger.info("stale message dropped", **message.model_dump())
        if run is not None and not run.status.goes_on:  # its worker may have died before it could do this
            halt = store.halt(run.run_id, run.code)
            if run.status.is_open and halt is not None:
                end_cancelled(run, halt, engine)
            else:
                settled_again(run, engine)
        return None
    if (halt := store.halt(run.run_id, run.code)) is not None:
        end_cancelled(run, halt, engine)
        return None
    if run.status is Status.QUEUED or _has_lain(run):
        registered = store.institution(run.code)
        if why := _why_not(run, registered):
            end(run, Status.FAILED, why, engine)
            return None
        if registered is not None and (not run.frozen or _has_lain(run)):
            run = run.but(institution=registered)  # what was registered since it was queued, or lay, counts
    if not store.acquire_lease(run.code, run.run_id):
        logger.info("institution is busy with another run; waits for it to end", **message.model_dump())
        return None
    if run.slices >= MAX_SLICES or run.idle_slices >= MAX_IDLE_SLICES:
        end(run, Status.FAILED, _too_many_slices(run), engine)
        return None
    return _save_begun(run, message.seq, engine)


def _save_begun(run: InstitutionRun, seq: int, engine: Engine) -> InstitutionRun | None:
    """The institution run with one more slice begun; None when it was cancelled this very moment."""
    now = engine.now()
    was_paused = run.status is Status.PAUSED
    begun = run.but(
        status=Status.SELECTING if run.status is Status.QUEUED else run.paused_in if was_paused else run.status,
        status_reason="" if was_paused else run.status_reason,
        seq=seq,
        slices=run.slices + 1,
        idle_slices=run.idle_slices + 1,
        idle_pauses=run.idle_pauses if was_paused or run.idle_slices else 0,
        vain_wakes=0,
        stalled_since=None,
        day=run.day or day_of(run, now),
        started_at=run.started_at or now,
        touched_at=now,
    )
    try:
        return engine.store.settle(begun)[0] if was_paused else engine.store.save(begun)
    except Conflict:
        stored = engine.store.institution_run(run.run_id, run.code)
        if stored is None or stored.status.keeps_lease:
            raise
        settled_again(stored, engine)  # so that it doesn't keep the lease
        return None


def _has_lain(run: InstitutionRun) -> bool:
    """Whether nobody has worked on it for long: by now the registry may say something else."""
    return run.status is Status.PAUSED or run.stalled_since is not None


def _why_not(run: InstitutionRun, registered: Institution | None) -> str:
    """Why a queued institution run may not begin, or one that has lain go on; empty when it may."""
    policy = registered.policy.of(run.action) if registered else None
    untouched = "" if Status.PROCESSING in (run.status, run.paused_in) else " Nothing was changed."
    since = "was paused" if run.status is Status.PAUSED else "has stalled" if run.stalled_since is not None else ""
    if registered is None or not registered.enabled or policy is None or not policy.enabled:
        return f"{run.action} has been switched off in the registry since the run {since or 'was started'}.{untouched}"
    is_bound = run.frozen or run.status is not Status.QUEUED
    if is_bound and not registered.policy.has_same_rules(run.institution.policy, run.action):
        return f"the policy has changed since the run {since or 'was approved'}.{untouched} Start a new run."
    return ""


def _too_many_slices(run: InstitutionRun) -> str:
    no_end = run.slices >= MAX_SLICES
    why = f"no end after {run.slices} slices" if no_end else f"no progress in {run.idle_slices} slices"
    trouble = run.trouble or "look at the worker's log"
    return f"{why}: {trouble}"


class _Slice:
    def __init__(self, institution_run: InstitutionRun, workshop: Workshop, seconds: float) -> None:
        self.run = institution_run
        self.engine, self.workshop, self.seconds = workshop.engine, workshop, seconds
        self.store = workshop.engine.store
        self.deadline = workshop.clock() + seconds
        self.today = today_in(institution_run.institution, workshop.engine.now())  # maybe not the day judged by
        self.client: AlmaClient | None = None
        self.api_key = ""
        self.marks: dict[str, Returned] = {}
        self.reserve: int | None = None
        self._calls_before, self._throttled_before = institution_run.calls, institution_run.throttled

    def perform(self) -> None:
        """Check, select and guard if that isn't done, then judge and change page by page until end or deadline."""
        run = self.run
        self.api_key = self.workshop.secrets.api_key(run.code)
        self.client = self.workshop.connect(run.institution, self.api_key, self.seconds)
        self.client.deadline = self.deadline
        self.client.pace.halt()  # the slice before this one, by another worker, may have called a moment ago
        if run.slowed_to is not None and run.slowed_at is not None:
            self.client.pace.go_on_from(run.slowed_to, (self.engine.now() - run.slowed_at).total_seconds())
        reader = AlmaReader(self.client)
        self._check_institution(reader)
        self._keep_reserve()
        if why := past_expiry(run, self.today):
            raise Trouble(why)
        hands = self._hands(self.client)
        excluded = self._read_exclusions(reader)
        self._keep_reserve()
        if not self.run.frozen:
            self._select(reader, excluded)
        hashes = excluded.hashes | unpacked(self.store.hashes(run.run_id, run.code, Hashes.EXCLUSIONS))
        acting = Acting(
            institution_run=self.run,
            reader=reader,
            hands=hands,
            excluded=lambda ids: any(hash_of(user_id) in hashes for user_id in ids),
            returned=self.store.returned(run.code),
            today=self.today,
            again=self._taken_again(),
            clock=self.workshop.clock,
            now=self.engine.now,
            deadline=self.deadline,
        )
        if self.run.status is Status.SELECTING and self._is_held(acting):
            return
        while self.run.next_page < self.run.pages:
            self._next_page_if_time(acting.hands.patience)
            if not self._gets_on_with_page(acting):
                raise TimeIsUp
        self._complete()

    def end_cancelled(self) -> None:
        """End the institution run as cancelled, as somebody has asked."""
        stored = self._stored()
        if (halt := self.store.halt(stored.run_id, stored.code)) is not None:
            end_cancelled(self._counted(stored), halt, self.engine)

    def end_superseded(self, by: str) -> None:
        """End the institution run as rejected, for a newer one."""
        end(self._counted(self._stored()), Status.REJECTED, f"superseded by {by}. Nothing was changed.", self.engine)

    def fail(self, reason: str) -> None:
        """End the institution run as failed."""
        stored = self._stored()
        untouched = " Nothing was changed." if stored.status is Status.SELECTING else ""
        end(self._counted(stored), Status.FAILED, f"{reason.rstrip('.')}.{untouched}", self.engine)

    def end_or_go_on_with_another_key(self, refusal: Unauthorized) -> None:
        """Alma has refused the key: fail the institution run, unless the key was rotated while this slice used it."""
        if self._has_another_key():
            self.go_on_later()
            return
        self.fail(
            f"Alma refused the API key ({refusal}). In the Ex Libris developer network, give the institution's key "
            "read/write rights on Users and read rights on Configuration, and store it in Secrets Manager."
        )

    def _has_another_key(self) -> bool:
        """Whether Secrets Manager has another key by now than the one that this slice works with."""
        try:
            return self.workshop.secrets.api_key(self.run.code) != self.api_key
        except SecretProblem:
            return False

    def note(self, trouble: str) -> bool:
        """Keep what ended this slice, for whoever has to explain it; whether the slice made progress before."""
        noted = self.store.save(self._counted(self._stored().but(trouble=trouble)))
        return noted.idle_slices == 0

    def close(self) -> None:
        """Give the connections back."""
        if self.client is not None:
            self.client.close()

    def _check_institution(self, reader: AlmaReader) -> None:
        """The key must be this institution's own."""
        answered = reader.general().institution_code
        if answered.casefold() != self.run.code.casefold():
            raise Trouble(
                f"the API key belongs to institution {answered}, not to {self.run.code}: store the key of "
                f"{self.run.code} in its secret"
            )

    def _keep_reserve(self) -> None:
        """Note once how many calls are left today, and how many of them are for others. Raises `TimeIsUp` at once then.

        Not every reply needs to tell: it is noted with the first that has.
        """
        if self.reserve is None and self.client is not None and self.client.remaining is not None:
            self.reserve = note(self.run.institution, self.client.remaining, self.engine.now(), self.store)
        if self._is_reserve_reached():
            raise TimeIsUp

    def _hands(self, client: AlmaClient) -> Hands:
        """What eligible patrons are given to. A preview gets nothing to write with; else the key must be able to."""
        if self.run.mode is Mode.PREVIEW:
            return PreviewHands(self.run.action)
        writer = AlmaWriter(client)
        if not self.run.write_checked:
            try:
                writer.check_write()
            except (Unauthorized, Refused) as error:
                if isinstance(error, Unauthorized) and self._has_another_key():
                    raise
                raise Trouble(
                    f"the API key may not write users ({error}): give it read/write rights on Users in the Ex Libris "
                    "developer network"
                ) from None
            self.run = self.run.but(write_checked=True)
        policy, new_expiry_date, patience = self.run.policy, self.run.new_expiry_date, min(5.0, self.seconds / 10)
        match policy:
            case Purge():
                vault = self.workshop.vault if policy.vault_days else None
                return PurgingHands(writer, vault, policy.vault_days, self.run.slices, self.engine.now, patience)
            case Reinstate():
                return ReinstatingHands(writer, self._remember, new_expiry_date)
            case Restore():
                return RestoringHands(writer, self._remember, new_expiry_date, patience)
        return DeactivatingHands(writer)

    def _remember(self, patrons: Sequence[Comeback]) -> None:
        """Store who is about to be brought back, for the purges and deactivations to come."""
        run = self.run
        for one in patrons:
            self.marks[folded(one.record.primary_id)] = Returned(
                code=run.code,
                primary_id=one.record.primary_id,
                run_id=run.run_id,
                on=self.today,
                at=self.engine.now(),
                expiry_date=one.expiry_date,
                active=one.active,
            )
        self.store.put_returned(self.marks[folded(one.record.primary_id)] for one in patrons)

    def _confirm(self, acting: Acting, outcomes: Sequence[PatronOutcome]) -> None:
        """Store that these patrons were brought back, now or by a slice before."""
        if self.run.action.undoes is None:
            return
        done = {folded(one.primary_id): one for one in outcomes if one.outcome is self.run.action.done}
        before = {
            user_id: mark
            for user_id in done
            for mark in acting.returned.get(user_id, ())
            if mark.run_id == self.run.run_id
        }
        marks = {**before, **self.marks}
        self.store.put_returned(
            marks[user_id].but(confirmed=True, at=one.at, expiry_date=one.expiry_date)
            for user_id, one in done.items()
            if user_id in marks
        )

    def _read_exclusions(self, reader: AlmaReader) -> Exclusions:
        """The exclusion sets as they are now. They are read whole in every slice, so they must fit into one."""
        try:
            return read_exclusions(reader, self.run.policy.exclude, self._width, self._has_time)
        except (TimeIsUp, TooLate):
            if self._is_reserve_reached():
                raise
            self.note(
                f"the exclusion sets could not be read within a slice of {self.seconds:.0f} s: make them smaller, or "
                "raise WorkerTimeout or pace.requests_per_second"
            )
            raise

    def _select(self, reader: AlmaReader, excluded: Exclusions) -> None:
        """Read the candidates, and freeze them and the exclusion sets."""
        run = self.run
        candidates = self._kept_here()
        if candidates is None:
            candidates = self._read_in_alma(reader)
        self.store.put_hashes(run.run_id, run.code, Hashes.EXCLUSIONS, packed(excluded.hashes))
        frozen = freeze(self.run, candidates, self.store, self._page_size())
        frozen = frozen.but(
            frozen=True,
            seen=frozen.seen or frozen.candidates,
            all_users=self._all_users(reader, frozen),
            exclusion_sizes=excluded.sizes,
            idle_slices=0,
        )
        self.run = self.store.save(self._counted(frozen))
        logger.info(
            "manifest frozen",
            run_id=run.run_id,
            institution=run.code,
            candidates=frozen.candidates,
            pages=frozen.pages,
        )

    def _kept_here(self) -> Iterable[tuple[str, Origin | None]] | None:
        """The candidates where they are in our own table: those of the run that is undone, or named by a person."""
        run, asked = self.run, self.run.bring_back
        if asked is None or asked.set_id is not None:
            return None
        named = self.store.named(run.run_id, run.code, asked.named) if asked.named else ()
        if asked.named and not named:
            raise Trouble("the patrons who were named are not kept any longer: start a new run")
        if asked.source_run_id is None:
            return ((user_id, None) for user_id in named)
        source = self.store.run(asked.source_run_id)
        undone = self.store.institution_run(asked.source_run_id, run.code)
        if source is None or undone is None:
            raise Trouble(results_gone(asked.source_run_id))
        if why := not_to_be_undone(source, run.code, undone):
            raise Trouble(why)
        candidates = candidates_of(undone, self.store)
        return narrowed(candidates, named) if named else candidates

    def _taken_again(self) -> Mapping[str, Taken]:
        """Whom other runs of the action that is undone have taken away, each with the last such run."""
        asked = self.run.bring_back
        if asked is None or asked.source_run_id is None:
            return {}
        undone = self.store.institution_run(asked.source_run_id, self.run.code)
        return {} if undone is None else taken_by_others(undone, self.store)

    def _read_in_alma(self, reader: AlmaReader) -> Iterable[tuple[str, Origin | None]]:
        """The candidates that Alma gives: those of the policy's selections, or of the set that was asked for."""
        run, asked = self.run, self.run.bring_back
        wanted = (Select(set_id=asked.set_id),) if asked is not None else run.policy.selections
        if run.day is None or not wanted:
            raise ValueError("an institution run that selects has a day and a selection")
        selections = run.sources or wanted
        census = Census(
            code=run.code,
            run_id=run.run_id,
            day=today_in(run.institution, run.started_at or self.engine.now()),
            retention_years=retention_of(run.institution.policy),
        )
        sources: list[Source] = [source_for(reader, select, run.policy, run.day, census) for select in selections]
        self.run = run.but(sources=tuple(source.select for source in sources))
        self.run = read_candidates(self.run, sources, self.store, self._width, self._has_time, self._before_rows)
        return ((user_id, None) for user_id in candidates_in(self.run, self.store))

    def _all_users(self, reader: AlmaReader, frozen: InstitutionRun) -> int | None:
        """All users of the institution, by which caps in percent go; for a restore with those who were deleted."""
        for select, reading in zip(frozen.sources, frozen.readings, strict=True):
            if select.sweep:
                return reading.seen
        users = reader.number_of_users()
        return users + frozen.candidates if users is not None and frozen.action is Action.RESTORE else users

    def _supersede(self) -> None:
        """Reject an older run of the same action that is held. Raises `Superseded` when that one is newer.

        Runs that bring back stand side by side, unless it is for the same patrons.
        """
        for held in self._held_alike():
            if held.created_at > self.run.created_at:
                raise Superseded(held.run_id)
            with contextlib.suppress(Conflict):  # somebody has answered it this very moment
                end(held, Status.REJECTED, f"superseded by {self.run.run_id}. Nothing was changed.", self.engine)

    def _held_alike(self) -> Iterator[InstitutionRun]:
        code, asked = self.run.code, self.run.bring_back
        if asked is None:
            run_ids = [self.store.held(code, self.run.action)]
        else:
            latest = self.store.institution_runs_of(code, _LATEST)
            run_ids = [one.run_id for one in latest if asked.is_for_the_same_as(one.bring_back)]
        for run_id in run_ids:
            found = self.store.institution_run(run_id, code) if run_id else None
            if found is not None and found.status is Status.HELD and found.action is self.run.action:
                yield found

    def _is_held(self, acting: Acting) -> bool:
        """Whether a guard trips. If none does, or a person has approved, the pages may be worked on."""
        if self.run.mode is Mode.APPLY and not self.run.is_approved:
            figures = self._figures()
            if figures.needs_decisions:
                self._decide_pages(acting)
                if reasons := figures.hold_reasons(self.run.due):
                    self._halt_if_asked()
                    self._supersede()
                    self.run = hold(self._counted(self.run), reasons, self.engine)
                    if (halt := self.store.halt(self.run.run_id, self.run.code)) is not None:
                        end_cancelled(self.run, halt, self.engine)  # it was asked for while this was being held
                    return True
            self._supersede()
        self.run = self.store.save(self._counted(self.run.but(status=Status.PROCESSING)))
        return False

    def _figures(self) -> Figures:
        return Figures.of(self.run, self.store.baseline(self.run.code, self.run.action))

    def _decide_pages(self, acting: Acting) -> None:
        """Judge all candidates before the first write: who isn't eligible has an outcome then, the others are due."""
        while self.run.decided_pages < self.run.pages:
            self._next_page_if_time()
            page = self.store.page(self.run.run_id, self.run.code, self.run.decided_pages)
            judged = self._judged(acting, page, page.undecided_ids)
            eligible = {one.primary_id: acting.facts(one) for one in judged if one.decision.eligible}
            page = self._record(page, [acting.skip(one) for one in judged if not one.decision.eligible], due=eligible)
            if acting.stopped:
                raise acting.stopped[0]
            if page.undecided_ids and not judged:
                raise TimeIsUp

    def _complete(self) -> None:
        """End it. A preview tells why a real run would be held, and that nothing would be kept of whom it deletes."""
        run, reason = self.run, "".join(f"{verdict}." for verdict in self.run.verdicts)
        if run.mode is Mode.PREVIEW:
            run = run.but(hold_reasons=tuple(self._figures().hold_reasons(run.changes)))
            reason = _without_vault(run.policy)
        self.run = end(self._counted(run), Status.COMPLETED, reason, self.engine)

    def _next_page_if_time(self, patience: float = 0.0) -> None:
        """Before each page: raises `Halted` when somebody has cancelled, `TimeIsUp` near the end of slice or calls.

        `patience` is how long before the slice's end the last change is begun.
        """
        self._before_rows()
        if self.deadline - self.workshop.clock() < LEAST_SECONDS + patience:
            raise TimeIsUp

    def _before_rows(self) -> None:
        """Before each stretch of rows that is selected from: as before a page."""
        self._halt_if_asked()
        self._keep_reserve()

    def _halt_if_asked(self) -> None:
        if self.store.halt(self.run.run_id, self.run.code) is not None:
            raise Halted

    def _candidates(self, page: Page, ids: Sequence[str]) -> list[Candidate]:
        """These patrons of a page, with what the run that is undone says of them, and their records to be restored."""
        origins = {user_id: page.origins.get(user_id) for user_id in ids}
        if self.run.action is not Action.RESTORE:
            return [Candidate(user_id, origin) for user_id, origin in origins.items()]
        source = self.run.bring_back.source_run_id if self.run.bring_back else None
        if source is None:
            raise ValueError("a restore has a run that it undoes")
        wanted: dict[int, list[str]] = {}
        for user_id, origin in origins.items():
            if origin is not None:
                wanted.setdefault(origin.page, []).append(user_id)
        copies: dict[str, PatronRecord] = {}
        for number, some in wanted.items():  # one page of that run after the other, since each is kept whole
            kept = self.workshop.vault.records(self.run.code, source, number)
            copies |= {user_id: PatronRecord(kept[folded(user_id)]) for user_id in some if folded(user_id) in kept}
        return [Candidate(user_id, origin, copies.get(user_id)) for user_id, origin in origins.items()]

    def _judged(self, acting: Acting, page: Page, ids: Sequence[str]) -> list[Judged]:
        """The decisions on these patrons of a page, as many of them as the time allows."""
        clock = self.workshop.clock
        candidates = self._candidates(page, ids)
        read_until = clock() + min(READING_SECONDS, (self.deadline - acting.hands.patience - clock()) / 2)
        judged = _given(
            in_parallel(
                acting.judge,
                candidates,
                self._width(),
                lambda: not (acting.stopped or self._is_reserve_reached()) and clock() < read_until,
            )
        )
        if acting.stopped:
            raise acting.stopped[0]
        if any(one.is_outage for one in judged):
            acting.reader.users_page(0, 1)  # raises when it is Alma's trouble, not these patrons'
        return judged

    def _gets_on_with_page(self, acting: Acting) -> bool:
        """Judge and change the next page's patrons, as many as the time allows; whether that got the run on."""
        page = self.store.page(self.run.run_id, self.run.code, self.run.next_page)
        clock = self.workshop.clock
        judged = self._judged(acting, page, self._affordable(page.open_ids, acting.hands))
        if_done = dict.fromkeys(page.eligible, "recovered: done before the worker or the answer was lost, read back")
        not_again = set(page.unclear) if acting.hands.once else set()
        eligible = [one for one in judged if one.decision.eligible and one.primary_id not in not_again]
        skipped = [
            acting.skip(one, if_done=if_done.get(one.primary_id, "")) for one in judged if not one.decision.eligible
        ]
        skipped += [
            acting.still_unclear(one) for one in judged if one.decision.eligible and one.primary_id in not_again
        ]
        if eligible and acting.hands.writes:
            acting.hands.prepare(page, eligible)
            known = dict.fromkeys([*page.eligible, *(one.primary_id for one in eligible)])
            page = page.but(state=PageState.IN_PROGRESS, eligible=tuple(known))
            self.run, page = self.store.advance(self._counted(self.run), page)
        acted = _given(
            in_parallel(
                lambda one: acting.act(one, if_done=if_done.get(one.primary_id, "")),
                eligible,
                self._width(),
                lambda: not self._is_reserve_reached() and clock() < self.deadline - acting.hands.patience,
            )
        )
        read = {one.primary_id for one in judged}
        still_open = read - {outcome.primary_id for outcome in (*skipped, *acted)}
        unclear = acting.unclear | (set(page.unclear) - read)
        known_undone = read - acting.unclear - (still_open & set(if_done))
        page = page.but(
            eligible=tuple(user_id for user_id in page.eligible if user_id not in known_undone),
            unclear=tuple(user_id for user_id in page.ids if user_id in unclear),
        )
        self._confirm(acting, [*skipped, *acted])
        page = self._record(page, [*skipped, *acted])
        if acting.stopped:
            raise acting.stopped[0]
        return bool(skipped or acted) or page.state is PageState.DONE

    def _affordable(self, ids: Sequence[str], hands: Hands) -> Sequence[str]:
        """As many of these patrons as today's calls are enough to change as well: who was only read is read again."""
        remaining = self.client.remaining if self.client is not None else None
        if remaining is None or not hands.writes:
            return ids
        return ids[: max(1, (remaining - self._kept) // _CALLS_EACH)]

    def _record(self, page: Page, outcomes: list[PatronOutcome], *, due: Mapping[str, str] | None = None) -> Page:
        """Store outcomes and counts together, so that both are exact whatever happens next.

        `due` is given by the pass of decisions before the first write, which leaves the page to be worked on.
        """
        page = page.but(outcomes=(*page.outcomes, *outcomes), due={**page.due, **(due or {})})
        run = self._counted(self.run).counting(
            Counter(outcome.outcome for outcome in outcomes),
            Counter(outcome.reason for outcome in outcomes if outcome.reason),
        )
        if outcomes or due:
            run = run.but(idle_slices=0, trouble="")
        if due is not None:
            decided = not page.undecided_ids
            run = run.but(due=run.due + len(due), decided_pages=page.number + decided)
        elif not page.open_ids:
            page = page.but(state=PageState.DONE)
            run = run.but(next_page=page.number + 1, idle_slices=0, trouble="")
        self.run, page = self.store.advance(run, page)
        return page

    def go_on_later(self) -> None:
        """Send the continuation: another slice goes on from what is stored. At the reserve of calls, pause instead."""
        if self._is_reserve_reached():
            self.pause()
            return
        run = self._stored()
        logger.info(
            "slice ended",
            run_id=run.run_id,
            institution=run.code,
            slices=run.slices,
            page=run.next_page,
            pages=run.pages,
        )
        if self.client is not None and self.client.throttled and run.idle_slices:
            told = (
                f"Alma has answered {self.client.throttled:,} of the last slice's {self.client.calls:,} calls with 429"
            )
            run = run.but(trouble=run.trouble or told)
        wake(self._counted(run), self.engine)

    def pause(self, remaining: int | None = None) -> None:
        """Wait until Alma renews its daily calls; `remaining` is how many there are left, if Alma said otherwise."""
        run = self._counted(self._stored())
        paused = pause(run if remaining is None else run.but(remaining_calls=remaining), self._kept, self.engine)
        if paused.status is Status.PAUSED and (halt := self.store.halt(paused.run_id, paused.code)) is not None:
            end_cancelled(paused, halt, self.engine)  # it was asked for since the last page was begun

    def _is_reserve_reached(self) -> bool:
        """Whether what is left of today's calls is for others. Who has been begun with is finished all the same."""
        if self.client is None or self.client.remaining is None:
            return False
        return self.client.remaining - self.client.under_way <= self._kept

    @property
    def _kept(self) -> int:
        """How many of today's calls are for others, as far as that is known yet."""
        return self.reserve or 0

    def _stored(self) -> InstitutionRun:
        """The institution run as stored, as long as no later slice has taken it over."""
        stored = self.store.institution_run(self.run.run_id, self.run.code)
        if stored is None or stored.slices != self.run.slices:
            raise Conflict("institution run")
        return stored

    def _counted(self, run: InstitutionRun) -> InstitutionRun:
        """With the calls so far and the time: what a tidy tells the living from the stalled by."""
        touched = run.but(touched_at=self.engine.now())
        if self.client is None:
            return touched
        remaining = self.client.remaining if self.client.remaining is not None else run.remaining_calls
        slowed_to = self.client.pace.slowed_to
        return touched.but(
            calls=self._calls_before + self.client.calls,
            throttled=self._throttled_before + self.client.throttled,
            slowed_to=slowed_to,
            slowed_at=None if slowed_to is None else touched.touched_at,
            remaining_calls=remaining,
        )

    def _page_size(self) -> int:
        """As many candidates as can be read and written in about a fifth of a slice."""
        rate = self.run.institution.policy.pace.requests_per_second
        return max(1, min(PAGE_SIZE, int(rate * self.seconds / 10)))

    def _width(self) -> int:
        if self.client is None:
            raise ValueError("no client yet")
        return self.client.pace.concurrency

    def _has_time(self) -> bool:
        return not self._is_reserve_reached() and self.workshop.clock() < self.deadline


def _without_vault(policy: ActionPolicy) -> str:
    """What a preview says of a policy by which a purge keeps nothing."""
    if not isinstance(policy, Purge) or policy.vault_days:
        return ""
    return "vault_days is 0: a real run would keep no copy of the records that it deletes."


def _given(results: Sequence[R | None]) -> list[R]:
    return [result for result in results if result is not None]
