"""Where runs live: the interface that everything above uses, and a version of it in memory.

The version in DynamoDB is in `dynamo`; one shared test holds both to the same contract.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from patron_lifecycle.alma.records import folded
from patron_lifecycle.policy.population import Population
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.model import (
    Baseline,
    Budget,
    Draft,
    Hashes,
    InstitutionRun,
    Mode,
    Notice,
    NoticeState,
    Page,
    Reading,
    ReportLink,
    Returned,
    Run,
    RunStatus,
    Status,
    Verdict,
)

if TYPE_CHECKING:
    from datetime import date, datetime


class Conflict(Exception):
    """Somebody else changed the item since it was read: nothing was written."""


class Store(Protocol):
    """Institutions, runs, institution runs, their pages and leases. Every write of an existing item is conditional."""

    def institutions(self) -> list[Institution]:
        """All registered institutions, disabled ones too, by code."""
        ...

    def institution(self, code: str) -> Institution | None:
        """One registered institution."""
        ...

    def put_institution(self, institution: Institution) -> None:
        """Add or replace an institution."""
        ...

    def create_run(self, run: Run) -> Run:
        """Store a new run; when there is one of that run_id, that one is given back unchanged."""
        ...

    def mark_launched(self, run_id: str) -> None:
        """Note that all institution runs of a run are stored and queued."""
        ...

    def run(self, run_id: str) -> Run | None:
        """One run."""
        ...

    def recent_runs(self, limit: int) -> list[Run]:
        """The latest runs, newest first."""
        ...

    def unlaunched_runs(self) -> list[Run]:
        """Runs whose institution runs aren't all stored and queued."""
        ...

    def create_institution_run(self, institution_run: InstitutionRun) -> None:
        """Store a new institution run; one that is there already stays as it is."""
        ...

    def institution_run(self, run_id: str, code: str) -> InstitutionRun | None:
        """One institution run."""
        ...

    def institution_runs(self, run_id: str) -> list[InstitutionRun]:
        """All institution runs of a run, by code."""
        ...

    def institution_runs_of(self, code: str, limit: int | None = None) -> list[InstitutionRun]:
        """The latest institution runs of an institution, newest first; all that are kept without a `limit`."""
        ...

    def open_institution_runs(self) -> list[InstitutionRun]:
        """All that are still to end, longest untouched first."""
        ...

    def save(self, institution_run: InstitutionRun) -> InstitutionRun:
        """Store a changed institution run. Raises `Conflict` when it isn't of the stored version."""
        ...

    def advance(self, institution_run: InstitutionRun, page: Page) -> tuple[InstitutionRun, Page]:
        """Store an institution run and one of its pages in one transaction. Raises `Conflict` as `save` does."""
        ...

    def settle(self, institution_run: InstitutionRun) -> tuple[InstitutionRun, Run]:
        """Store an institution run that ends, is held or paused, or goes on after that, and count it anew in its run.

        All in one transaction: unless it keeps its lease that is given back; the last one to end ends the run, exactly
        once; one to apply that has completed becomes the baseline; one that has taken patrons back is noted with the
        run that it undoes. Raises `Conflict` as `save` does.
        """
        ...

    def baseline(self, code: str, action: Action) -> Baseline | None:
        """What the last completed run to apply of this action in this institution changed."""
        ...

    def held(self, code: str, action: Action) -> str | None:
        """The run that is held in this institution for this action; the latest, if there were several."""
        ...

    def put_halt(self, run_id: str, code: str, verdict: Verdict) -> None:
        """Ask an institution run to stop at its next page; the first to ask is kept."""
        ...

    def halt(self, run_id: str, code: str) -> Verdict | None:
        """Who asked an institution run to stop."""
        ...

    def put_named(self, run_id: str, code: str, digest: str, ids: Sequence[str]) -> None:
        """Keep the ids of the patrons whom a person named for a run, under their digest."""
        ...

    def named(self, run_id: str, code: str, digest: str) -> tuple[str, ...]:
        """The ids kept under this digest, in order; none when there is none of it."""
        ...

    def put_returned(self, returned: Iterable[Returned]) -> None:
        """Remember that a run brings patrons back; what it said of one of them before is replaced."""
        ...

    def returned(self, code: str) -> dict[str, tuple[Returned, ...]]:
        """The patrons of an institution whom runs brought back lately, by folded primary id, the last run last."""
        ...

    def undone_by(self, run_id: str) -> list[tuple[str, str]]:
        """Institution and run of each that has taken this run back, for some of its patrons at least."""
        ...

    def put_population(self, population: Population) -> None:
        """Keep who an institution's users were on a day; what was kept of that day before is replaced."""
        ...

    def populations(self, code: str, limit: int | None = None) -> list[Population]:
        """Who an institution's users were, the latest day first."""
        ...

    def latest_populations(self) -> list[Population]:
        """Of each institution, who its users were on the latest day that is kept; by code."""
        ...

    def claim_notice(self, notice: Notice) -> bool:
        """Note that somebody is about to be told; False when it was noted before, so that nobody is told twice."""
        ...

    def notice_sent(self, notice: Notice) -> None:
        """Note that a claimed notice has gone out."""
        ...

    def unclaim_notice(self, notice: Notice) -> None:
        """Forget a claim whose notice has certainly not gone out, so that it may be tried again."""
        ...

    def notices(self, code: str, beginning: str) -> list[Notice]:
        """The notices to an institution's contacts, or to the operators (an empty code), whose keys begin so."""
        ...

    def put_link(self, link: ReportLink) -> None:
        """Remember a link that somebody is sent, so that it can be revoked, or that it was."""
        ...

    def links(self, run_id: str) -> list[ReportLink]:
        """The links to reports of a run, revoked ones too, by institution."""
        ...

    def budget(self, name: str) -> Budget:
        """What is known of an institution's, or a pool's, daily calls: nothing, if nothing is kept."""
        ...

    def put_budget(self, budget: Budget) -> None:
        """Keep what is known of daily calls. Raises `Conflict` when it isn't of the stored version."""
        ...

    def watched_since(self, action: Action, *, applies: bool, now: "datetime") -> "datetime":
        """Since when finished runs of an action are looked for, to apply or of any mode.

        Since `now`, which is kept, if nobody has before, or for runs of the other kind.
        """
        ...

    def forget_watched(self, action: Action) -> None:
        """Forget since when finished runs of an action are looked for: there are to be none."""
        ...

    def put_pages(self, pages: Iterable[Page]) -> None:
        """Store the pages of a manifest that nobody works on yet."""
        ...

    def page(self, run_id: str, code: str, number: int) -> Page:
        """One page. Raises `KeyError`."""
        ...

    def pages(self, institution_run: InstitutionRun) -> Iterator[Page]:
        """The pages of its manifest, in order; not those of a freezing that a crash has cut short."""
        ...

    def put_draft(self, run_id: str, code: str, reading: Reading, draft: Draft) -> None:
        """Store the next piece, number `chunks`, of a reading in progress."""
        ...

    def drafts(self, run_id: str, code: str, reading: Reading) -> Iterator[Draft]:
        """The pieces of a reading, in order; not those of another attempt."""
        ...

    def put_hashes(self, run_id: str, code: str, of: Hashes, hashes: bytes) -> None:
        """Freeze hashes of ids: of those in the exclusion sets, or of the manifest's, in its order."""
        ...

    def hashes(self, run_id: str, code: str, of: Hashes) -> bytes:
        """The frozen hashes; empty when there are none."""
        ...

    def acquire_lease(self, code: str, run_id: str) -> bool:
        """Whether the institution is now this run's: it was free, or this run's already."""
        ...

    def lease_holder(self, code: str) -> str | None:
        """The run that has the institution's lease."""
        ...

    def release_lease(self, code: str, run_id: str) -> None:
        """Give the lease back, if this run has it."""
        ...


def counted_anew(run: Run, before: Status, after: InstitutionRun) -> Run:
    """The run, one of whose institution runs was `before` and is now `after`; ended if that was the last to end."""
    status = after.status
    ended = dict(run.ended)
    if not status.is_open:
        ended[status] = ended.get(status, 0) + 1
    open_count = run.open_count - (not status.is_open)
    held_count = run.held_count + (status is Status.HELD) - (before is Status.HELD)
    paused_count = run.paused_count + (status is Status.PAUSED) - (before is Status.PAUSED)
    run_status = RunStatus.of(ended, open_count, held_count, paused_count)
    known = [until for until in (run.vault_until, after.vault_until) if until is not None]
    outcomes = {} if status.is_open else after.outcomes
    return run.but(
        outcomes=dict(Counter(run.outcomes) + Counter(outcomes)),
        to_look_at=run.to_look_at + (0 if status.is_open else after.to_look_at),
        touched=run.touched + (0 if status.is_open else after.touched),
        without_copies=run.without_copies + after.has_kept_no_copies,
        vault_until=run.vault_until if status.is_open else min(known, default=None),
        ended=ended,
        open_count=open_count,
        held_count=held_count,
        paused_count=paused_count,
        status=run_status,
        finished_at=None if open_count else after.finished_at,
        version=run.version + 1,
    )


def by_patron(returned: Iterable[Returned]) -> dict[str, tuple[Returned, ...]]:
    """What runs have said of patrons, by folded primary id, the last one last."""
    found: dict[str, list[Returned]] = {}
    for one in sorted(returned, key=lambda one: one.at):
        found.setdefault(folded(one.primary_id), []).append(one)
    return {user_id: tuple(every) for user_id, every in found.items()}


def baseline_of(institution_run: InstitutionRun, before: Baseline | None) -> Baseline | None:
    """The baseline that an institution run leaves behind, if it was to apply and has completed.

    `before` is the one that it found.
    """
    one = institution_run
    if one.mode is not Mode.APPLY or one.status is not Status.COMPLETED or one.finished_at is None:
        return None
    return Baseline(
        code=one.code,
        action=one.action,
        run_id=one.run_id,
        finished_at=one.finished_at,
        changes=one.changes,
        ever_changed=one.changes > 0 or (before is not None and before.ever_changed),
        exclusion_sizes=one.exclusion_sizes,
    )


class MemoryStore:
    """The store in memory, for tests: same contract, one lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._institutions: dict[str, Institution] = {}
        self._runs: dict[str, Run] = {}
        self._institution_runs: dict[tuple[str, str], InstitutionRun] = {}
        self._pages: dict[tuple[str, str, int], Page] = {}
        self._drafts: dict[tuple[str, str, int, int, int], Draft] = {}
        self._hashes: dict[tuple[str, str, Hashes], bytes] = {}
        self._named: dict[tuple[str, str, str], tuple[str, ...]] = {}
        self._leases: dict[str, str] = {}
        self._baselines: dict[tuple[str, Action], Baseline] = {}
        self._held: dict[tuple[str, Action], str] = {}
        self._halts: dict[tuple[str, str], Verdict] = {}
        self._returned: dict[str, dict[tuple[str, str], Returned]] = {}
        self._undone: dict[str, set[tuple[str, str]]] = {}
        self._populations: dict[tuple[str, date], Population] = {}
        self._notices: dict[tuple[str, str], Notice] = {}
        self._links: dict[tuple[str, str, str], ReportLink] = {}
        self._budgets: dict[str, Budget] = {}
        self._watched: dict[Action, tuple[bool, datetime]] = {}

    def institutions(self) -> list[Institution]:
        """See `Store`."""
        with self._lock:
            return sorted(self._institutions.values(), key=lambda institution: institution.code)

    def institution(self, code: str) -> Institution | None:
        """See `Store`."""
        with self._lock:
            return self._institutions.get(code)

    def put_institution(self, institution: Institution) -> None:
        """See `Store`."""
        with self._lock:
            self._institutions[institution.code] = institution

    def create_run(self, run: Run) -> Run:
        """See `Store`."""
        with self._lock:
            return self._runs.setdefault(run.run_id, run)

    def mark_launched(self, run_id: str) -> None:
        """See `Store`."""
        with self._lock:
            run = self._runs[run_id]
            self._runs[run_id] = run.but(launched=True, version=run.version + 1)

    def run(self, run_id: str) -> Run | None:
        """See `Store`."""
        with self._lock:
            return self._runs.get(run_id)

    def recent_runs(self, limit: int) -> list[Run]:
        """See `Store`."""
        with self._lock:
            return sorted(self._runs.values(), key=lambda run: (run.created_at, run.run_id), reverse=True)[:limit]

    def unlaunched_runs(self) -> list[Run]:
        """See `Store`."""
        with self._lock:
            return [run for run in self._runs.values() if not run.launched]

    def create_institution_run(self, institution_run: InstitutionRun) -> None:
        """See `Store`."""
        with self._lock:
            self._institution_runs.setdefault((institution_run.run_id, institution_run.code), institution_run)

    def institution_run(self, run_id: str, code: str) -> InstitutionRun | None:
        """See `Store`."""
        with self._lock:
            return self._institution_runs.get((run_id, code))

    def institution_runs(self, run_id: str) -> list[InstitutionRun]:
        """See `Store`."""
        with self._lock:
            return [value for key, value in sorted(self._institution_runs.items()) if key[0] == run_id]

    def institution_runs_of(self, code: str, limit: int | None = None) -> list[InstitutionRun]:
        """See `Store`."""
        with self._lock:
            found = [value for value in self._institution_runs.values() if value.code == code]
            return sorted(found, key=lambda value: (value.created_at, value.run_id), reverse=True)[:limit]

    def open_institution_runs(self) -> list[InstitutionRun]:
        """See `Store`."""
        with self._lock:
            found = [value for value in self._institution_runs.values() if value.status.is_open]
            return sorted(found, key=lambda value: value.touched_at)

    def save(self, institution_run: InstitutionRun) -> InstitutionRun:
        """See `Store`."""
        with self._lock:
            key = (institution_run.run_id, institution_run.code)
            stored = self._institution_runs.get(key)
            if stored is None or stored.version != institution_run.version:
                raise Conflict("institution run")
            saved = institution_run.but(version=institution_run.version + 1)
            self._institution_runs[key] = saved
            return saved

    def advance(self, institution_run: InstitutionRun, page: Page) -> tuple[InstitutionRun, Page]:
        """See `Store`."""
        with self._lock:
            key = (page.run_id, page.code, page.number)
            stored = self._pages.get(key)
            if stored is None or stored.version != page.version:
                raise Conflict("page")
            saved = self.save(institution_run)
            self._pages[key] = page.but(version=page.version + 1)
            return saved, self._pages[key]

    def settle(self, institution_run: InstitutionRun) -> tuple[InstitutionRun, Run]:
        """See `Store`."""
        run_id, code, action = institution_run.run_id, institution_run.code, institution_run.action
        with self._lock:
            before = self._institution_runs.get((run_id, code))
            saved = self.save(institution_run)
            if before is None:
                raise Conflict("institution run")
            run = counted_anew(self._runs[run_id], before.status, institution_run)
            self._runs[run_id] = run
            if not saved.status.keeps_lease:
                self.release_lease(code, run_id)
            if saved.status is Status.HELD:
                self._held[code, action] = run_id
            elif self._held.get((code, action)) == run_id:
                del self._held[code, action]
            if (baseline := baseline_of(saved, self._baselines.get((code, action)))) is not None:
                self._baselines[code, action] = baseline
            if (undone := saved.has_taken_back) is not None:
                self._undone.setdefault(undone, set()).add((code, run_id))
            return saved, run

    def baseline(self, code: str, action: Action) -> Baseline | None:
        """See `Store`."""
        with self._lock:
            return self._baselines.get((code, action))

    def held(self, code: str, action: Action) -> str | None:
        """See `Store`."""
        with self._lock:
            return self._held.get((code, action))

    def put_halt(self, run_id: str, code: str, verdict: Verdict) -> None:
        """See `Store`."""
        with self._lock:
            self._halts.setdefault((run_id, code), verdict)

    def halt(self, run_id: str, code: str) -> Verdict | None:
        """See `Store`."""
        with self._lock:
            return self._halts.get((run_id, code))

    def put_named(self, run_id: str, code: str, digest: str, ids: Sequence[str]) -> None:
        """See `Store`."""
        with self._lock:
            self._named[run_id, code, digest] = tuple(ids)

    def named(self, run_id: str, code: str, digest: str) -> tuple[str, ...]:
        """See `Store`."""
        with self._lock:
            return self._named.get((run_id, code, digest), ())

    def put_returned(self, returned: Iterable[Returned]) -> None:
        """See `Store`."""
        with self._lock:
            for one in returned:
                self._returned.setdefault(one.code, {})[folded(one.primary_id), one.run_id] = one

    def returned(self, code: str) -> dict[str, tuple[Returned, ...]]:
        """See `Store`."""
        with self._lock:
            return by_patron(self._returned.get(code, {}).values())

    def undone_by(self, run_id: str) -> list[tuple[str, str]]:
        """See `Store`."""
        with self._lock:
            return sorted(self._undone.get(run_id, ()))

    def put_population(self, population: Population) -> None:
        """See `Store`."""
        with self._lock:
            self._populations[population.code, population.day] = population

    def populations(self, code: str, limit: int | None = None) -> list[Population]:
        """See `Store`."""
        with self._lock:
            found = [one for one in self._populations.values() if one.code == code]
            return sorted(found, key=lambda one: one.day, reverse=True)[:limit]

    def latest_populations(self) -> list[Population]:
        """See `Store`."""
        with self._lock:
            found = sorted(self._populations.values(), key=lambda one: (one.code, one.day))
            return list({one.code: one for one in found}.values())

    def claim_notice(self, notice: Notice) -> bool:
        """See `Store`."""
        with self._lock:
            return self._notices.setdefault((notice.code, notice.key), notice) is notice

    def notice_sent(self, notice: Notice) -> None:
        """See `Store`."""
        with self._lock:
            self._notices[notice.code, notice.key] = notice.but(state=NoticeState.SENT)

    def unclaim_notice(self, notice: Notice) -> None:
        """See `Store`."""
        with self._lock:
            self._notices.pop((notice.code, notice.key), None)

    def notices(self, code: str, beginning: str) -> list[Notice]:
        """See `Store`."""
        with self._lock:
            found = sorted(self._notices.items())
            return [one for (of, key), one in found if of == code and key.startswith(beginning)]

    def put_link(self, link: ReportLink) -> None:
        """See `Store`."""
        with self._lock:
            self._links[link.run_id, link.code, link.digest] = link

    def links(self, run_id: str) -> list[ReportLink]:
        """See `Store`."""
        with self._lock:
            return [link for key, link in sorted(self._links.items()) if key[0] == run_id]

    def budget(self, name: str) -> Budget:
        """See `Store`."""
        with self._lock:
            return self._budgets.get(name, Budget(name=name))

    def put_budget(self, budget: Budget) -> None:
        """See `Store`."""
        with self._lock:
            if self.budget(budget.name).version != budget.version:
                raise Conflict("budget")
            self._budgets[budget.name] = budget.but(version=budget.version + 1)

    def watched_since(self, action: Action, *, applies: bool, now: "datetime") -> "datetime":
        """See `Store`."""
        with self._lock:
            for_real, since = self._watched.get(action, (applies, now))
            self._watched[action] = (applies, since if for_real == applies else now)
            return self._watched[action][1]

    def forget_watched(self, action: Action) -> None:
        """See `Store`."""
        with self._lock:
            self._watched.pop(action, None)

    def put_pages(self, pages: Iterable[Page]) -> None:
        """See `Store`."""
        with self._lock:
            self._pages.update({(page.run_id, page.code, page.number): page for page in pages})

    def page(self, run_id: str, code: str, number: int) -> Page:
        """See `Store`."""
        with self._lock:
            return self._pages[run_id, code, number]

    def pages(self, institution_run: InstitutionRun) -> Iterator[Page]:
        """See `Store`."""
        of_it = (institution_run.run_id, institution_run.code)
        with self._lock:
            found = [page for key, page in sorted(self._pages.items()) if key[:2] == of_it]
        return iter(found[: institution_run.pages])

    def put_draft(self, run_id: str, code: str, reading: Reading, draft: Draft) -> None:
        """See `Store`."""
        with self._lock:
            self._drafts[run_id, code, reading.source, reading.attempt, reading.chunks] = draft

    def drafts(self, run_id: str, code: str, reading: Reading) -> Iterator[Draft]:
        """See `Store`."""
        key = (run_id, code, reading.source, reading.attempt)
        with self._lock:
            return iter([self._drafts[*key, number] for number in range(reading.chunks)])

    def put_hashes(self, run_id: str, code: str, of: Hashes, hashes: bytes) -> None:
        """See `Store`."""
        with self._lock:
            self._hashes[run_id, code, of] = hashes

    def hashes(self, run_id: str, code: str, of: Hashes) -> bytes:
        """See `Store`."""
        with self._lock:
            return self._hashes.get((run_id, code, of), b"")

    def acquire_lease(self, code: str, run_id: str) -> bool:
        """See `Store`."""
        with self._lock:
            return self._leases.setdefault(code, run_id) == run_id

    def lease_holder(self, code: str) -> str | None:
        """See `Store`."""
        with self._lock:
            return self._leases.get(code)

    def release_lease(self, code: str, run_id: str) -> None:
        """See `Store`."""
        with self._lock:
            if self._leases.get(code) == run_id:
                del self._leases[code]
