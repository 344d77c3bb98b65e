"""One institution of a consortium that is soaked: its patrons, what goes wrong there, and its judges."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta

from patron_lifecycle.policy.model import Purge
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.policy.rules import RESTORED_DAYS
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.model import InstitutionRun, Mode, Status
from patron_lifecycle.runs.store import MemoryStore
from sandbox.simulator.institutions import SimulatedInstitution, Write
from sandbox.simulator.judge import Terms, WriteJudge
from sandbox.simulator.swap_all import refuses
from tests.soak.mishaps import FailingAlma, Kind, Wrong
from tests.soak.policies import KEEP, terms_of
from tests.soak.truth import figures_of, maybe_written, rows_of, wrongs_in, wrongs_in_vault
from tests.workbench import MemoryVault, Time

_SOMEBODY_ELSE = ("not_found", "identity_mismatch")


class House:
    """An institution. `seconds` are what its slices have; `changed` tells when others changed a patron, by key.

    `open` are the run_ids of its institution runs that have not been seen to end; `last_mishap` is when something last
    went wrong here that may keep one from going on.
    """

    def __init__(
        self,
        registered: Institution,
        simulated: SimulatedInstitution,
        store: MemoryStore,
        vault: MemoryVault,
        draw: random.Random,
        time: Time,
        *,
        seconds: float,
        fault_rate: float,
        death_rate: float,
    ) -> None:
        self.code = registered.code
        self.registered = registered
        self.simulated = simulated
        self.seconds = seconds
        self.death_rate = death_rate
        self.alma = FailingAlma(simulated, draw, fault_rate, time.clock, lambda: time.now().date())
        self.open: dict[str, None] = {}
        self.changed: dict[str, float] = {}
        self.last_mishap = 0.0
        self.wrongs: list[Wrong] = []
        self.figures = Counter[str]()
        self._store = store
        self._vault = vault
        self._time = time
        self._noted: set[str] = set()
        self._judges: dict[str, WriteJudge] = {}
        self._frozen: dict[str, tuple[str, ...]] = {}  # the members of the exclusion set as a run has frozen them
        self._restored: dict[str, tuple[date, object]] = {}
        simulated.on_write = self._see

    def note(self, run_id: str) -> None:
        """A run was started here."""
        if run_id not in self._noted:
            self._noted.add(run_id)
            self.open[run_id] = None

    def open_runs(self) -> Iterator[InstitutionRun]:
        """Its institution runs that were open when they were last looked at."""
        for run_id in self.open:
            if (found := self._store.institution_run(run_id, self.code)) is not None:
                yield found

    def maybe_written(self) -> set[str]:
        """The keys of those who may have been written to by a worker that was lost: nobody else changes them now."""
        return {key for run in self.open_runs() for key in maybe_written(run, self._store)}

    def look_at(self, run_id: str) -> None:
        """Hold one of its institution runs against the truth, as far as it has come."""
        run = self._store.institution_run(run_id, self.code)
        if run is None:
            return
        if run.frozen and run_id not in self._frozen:
            self._frozen[run_id] = self._kept()
        holder = self._store.lease_holder(self.code)
        if run.status in (Status.SELECTING, Status.PROCESSING, Status.PAUSED) and holder != run_id:
            self._wrong(Kind.OTHER, run, f"is {run.status}, but {holder} has the lease")
        if run.status.is_open:
            return
        if holder == run_id:
            self._wrong(Kind.OTHER, run, "has ended, but not given back the lease")
        self._judge_end(run)
        del self.open[run_id]
        self._judges.pop(run_id, None)
        self.simulated.on_write = self._see

    def _judge_end(self, run: InstitutionRun) -> None:
        judge, rows = self._judge(run.run_id), rows_of(run, self._store, self._time.now())
        since = (run.created_at - self._time.now()).total_seconds() + self._time.seconds
        fresh = {key for key, at in self.changed.items() if at >= since}
        told = [
            (row[0], row[1], None, row[3]) if row[2] in _SOMEBODY_ELSE and row[0].casefold() in fresh else row
            for row in rows
        ]
        found = list(wrongs_in(run, told, judge, self.alma.unanswered[run.run_id]))
        if run.status is Status.COMPLETED and run.action is not Action.RESTORE:
            unchanged = [row for row in rows if row[0].casefold() not in fresh]
            found += (Wrong(Kind.OUTCOME, wrong) for wrong in judge.check_reasons(unchanged))
        if isinstance(run.policy, Purge) and run.mode is Mode.APPLY:
            found += wrongs_in_vault(rows, judge, self._copies(run.run_id), run.policy.vault_days)
        for kind, what in found:
            self._wrong(kind, run, what)
        self.figures += figures_of(run, rows, judge)
        self.figures["pauses"] += run.pauses
        self.figures["institution runs"] += 1

    def _wrong(self, kind: Kind, run: InstitutionRun, what: str) -> None:
        self.wrongs.append(Wrong(kind, f"{run.run_id} in {self.code} at {self._time.now():%Y-%m-%d %H:%M}: {what}"))

    # ── The judges ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _see(self, write: Write) -> None:
        """Let the judge of the run that is at work see a write."""
        run_id, key = self.alma.run_id, write.primary_id.casefold()
        self._judge(run_id).see(write)
        self.changed[key] = self._time.seconds
        today = self._time.now().date()
        if write.method == "POST" and write.after is not None:
            self._restored[key] = (today, write.after.get("expiry_date"))
        elif write.method == "DELETE" and key in self._restored and write.before is not None:
            on, expiry_date = self._restored[key]
            if today - on < timedelta(days=RESTORED_DAYS) and write.before.get("expiry_date") == expiry_date:
                what = f"{write.primary_id} was deleted by {run_id}, though brought back on {on}"
                self.wrongs.append(Wrong(Kind.WRITE, what))

    def _judge(self, run_id: str) -> WriteJudge:
        if run_id not in self._judges:
            run = self._store.institution_run(run_id, self.code)
            if run is None:
                raise ValueError(f"{run_id} has written, and isn't stored")
            self._judges[run_id] = WriteJudge(
                self.simulated,
                self._terms(run),
                candidates=lambda: self._manifest(run_id),
                excluded=lambda: self._protected(run),
            )
            self.simulated.on_write = self._see
        return self._judges[run_id]

    def _manifest(self, run_id: str) -> set[str]:
        run = self._store.institution_run(run_id, self.code)
        return set() if run is None else {one for page in self._store.pages(run) for one in page.ids}

    def _protected(self, run: InstitutionRun) -> set[str]:
        if run.bring_back is not None or not run.policy.exclude.each:
            return set()
        return {*self._kept(), *self._frozen.get(run.run_id, ())}

    def _kept(self) -> tuple[str, ...]:
        """The members of the exclusion set, as Alma lists them: who is gone isn't listed any more."""
        return tuple(one for one in self.simulated.set_named(KEEP).members if one.casefold() in self.simulated.users)

    def _terms(self, run: InstitutionRun) -> Terms:
        day = run.day or self._time.now().date()
        asked = run.bring_back
        if asked is None or asked.source_run_id is None:
            return terms_of(run.policy, run.action, run.mode, day)
        restores = run.action is Action.RESTORE
        return Terms(
            action="restore" if restores else "reinstate",
            day=day,
            preview=run.mode is Mode.PREVIEW,
            expiry_date=asked.expiry_date,
            left_as=None if restores else self._left_as(asked.source_run_id),
            archived=self._copies(asked.source_run_id) if restores else None,
            refuses=refuses,
        )

    def _left_as(self, source_run_id: str) -> dict[str, tuple[date | None, date | None]]:
        """How the run that is undone has left whom it has changed, for certain."""
        source = self._store.institution_run(source_run_id, self.code)
        if source is None:
            return {}
        return {
            row.primary_id: (row.status_date, row.expiry_date)
            for page in self._store.pages(source)
            for row in page.closed(self._time.now())
            if row.outcome is source.action.done
        }

    def _copies(self, run_id: str) -> dict[str, dict[str, object]]:
        """The records that a run has archived, by primary id; of several of one patron the last."""
        prefix = f"{self.code}/{run_id}/"
        own = (archive for key, archive in self._vault.archives.items() if key.startswith(prefix))
        return {one["primary_id"]: dict(one) for it in sorted(own, key=lambda it: it.at) for one in it.records}
