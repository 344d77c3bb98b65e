"""Where runs live: the interface that everything above uses, and a version of it in memory.

The version in DynamoDB is in `dynamo`; one shared test holds both to the same contract.
"""

import threading
from collections.abc import Iterable, Iterator
from typing import Protocol

from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.model import Draft, InstitutionRun, Page, Run, RunStatus


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

    def institution_runs_of(self, code: str, limit: int) -> list[InstitutionRun]:
        """The latest institution runs of an institution, newest first."""
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

    def close(self, institution_run: InstitutionRun) -> tuple[InstitutionRun, Run]:
        """End an institution run, in one transaction: store it, count it in its run, give its lease back.

        The last one to end ends the run, exactly once. Raises `Conflict` when it had ended already.
        """
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

    def put_draft(self, run_id: str, code: str, attempt: int, number: int, draft: Draft) -> None:
        """Store a piece of a reading in progress."""
        ...

    def drafts(self, run_id: str, code: str, attempt: int, count: int) -> Iterator[Draft]:
        """The first `count` pieces of one attempt's reading, in order."""
        ...

    def put_exclusions(self, run_id: str, code: str, hashes: bytes) -> None:
        """Freeze the hashes of the ids in the exclusion sets."""
        ...

    def exclusions(self, run_id: str, code: str) -> bytes:
        """The frozen hashes."""
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


def closed(run: Run, institution_run: InstitutionRun) -> Run:
    """The run with one more institution run ended, and ended itself if it was the last."""
    ended = {**run.ended, institution_run.status: run.ended.get(institution_run.status, 0) + 1}
    open_count = run.open_count - 1
    status = RunStatus.of(ended, open_count)
    finished_at = None if status is RunStatus.RUNNING else institution_run.finished_at
    return run.but(ended=ended, open_count=open_count, status=status, finished_at=finished_at)


class MemoryStore:
    """The store in memory, for tests: same contract, one lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._institutions: dict[str, Institution] = {}
        self._runs: dict[str, Run] = {}
        self._institution_runs: dict[tuple[str, str], InstitutionRun] = {}
        self._pages: dict[tuple[str, str, int], Page] = {}
        self._drafts: dict[tuple[str, str, int, int], Draft] = {}
        self._exclusions: dict[tuple[str, str], bytes] = {}
        self._leases: dict[str, str] = {}

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

    def institution_runs_of(self, code: str, limit: int) -> list[InstitutionRun]:
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

    def close(self, institution_run: InstitutionRun) -> tuple[InstitutionRun, Run]:
        """See `Store`."""
        with self._lock:
            saved = self.save(institution_run)
            run = self._runs[institution_run.run_id]
            run = closed(run, institution_run).but(version=run.version + 1)
            self._runs[run.run_id] = run
            self.release_lease(institution_run.code, institution_run.run_id)
            return saved, run

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

    def put_draft(self, run_id: str, code: str, attempt: int, number: int, draft: Draft) -> None:
        """See `Store`."""
        with self._lock:
            self._drafts[run_id, code, attempt, number] = draft

    def drafts(self, run_id: str, code: str, attempt: int, count: int) -> Iterator[Draft]:
        """See `Store`."""
        with self._lock:
            found = [draft for key, draft in sorted(self._drafts.items()) if key[:3] == (run_id, code, attempt)]
        return iter(found[:count])

    def put_exclusions(self, run_id: str, code: str, hashes: bytes) -> None:
        """See `Store`."""
        with self._lock:
            self._exclusions[run_id, code] = hashes

    def exclusions(self, run_id: str, code: str) -> bytes:
        """See `Store`."""
        with self._lock:
            return self._exclusions.get((run_id, code), b"")

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
