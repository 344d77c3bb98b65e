"""Rounds: randomised runs of one institution with everything going wrong, under the eyes of a judge.

A round is one run in one institution, and now and then the run that takes it back: invented patrons, a policy drawn at
random, faults of Alma and of the vault, workers that are killed between any two calls, people who change records and
sets between two slices, and who answer or don't. The judge sits inside the simulated Alma, knows the rules by itself,
and sees each write as it is carried out. A round is fully determined by its seed.
"""

import contextlib
import io
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from patron_lifecycle.alma.errors import AlmaError
from patron_lifecycle.observability import logger
from patron_lifecycle.policy.model import Policy, Purge
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.answers import approve, cancel, reject
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import InstitutionRun, Mode, Status, WorkMessage
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.vault import VaultUnavailable
from sandbox.simulator.judge import OutcomeRow, Terms, WriteJudge
from sandbox.simulator.patrons import record
from sandbox.simulator.swap_all import refuses
from tests.soak.life import change_record
from tests.soak.mishaps import FailingAlma, FrailStore, Kind, Wrong
from tests.soak.policies import KEEP, add_sets, drawn_policy, terms_of
from tests.soak.truth import figures_of, maybe_written, rows_of, wrongs_in, wrongs_in_vault
from tests.workbench import STALLED_AFTER, TODAY, Killed, Workbench

CODE = "01OHIO_AAA"
_DAY = 24 * 3600.0


@dataclass
class Round:
    """What came of one round. There should be no `wrongs`."""

    seed: int
    figures: Counter[str] = field(default_factory=Counter)
    wrongs: list[Wrong] = field(default_factory=list)


class Trial:
    """One round as it goes on."""

    def __init__(self, seed: int) -> None:
        self.result = Round(seed)
        self.draw = draw = random.Random(seed)
        self.action = draw.choice((Action.PURGE, Action.PURGE, Action.DEACTIVATE))
        self.mode = draw.choice((Mode.APPLY, Mode.APPLY, Mode.APPLY, Mode.PREVIEW))
        self.policy = drawn_policy(self.action, draw)
        fault_rate = draw.choice((0.0, 0.01, 0.04))
        self.death_rate = draw.choice((0.0, 0.002, 0.008))
        self.foreign_rate = draw.choice((0.0, 0.0, 0.5))
        self.is_dead = False
        self.store = MemoryStore()
        self.bench = Workbench(
            users=draw.choice((60, 200, 400)),
            seed=draw.randrange(10**6),
            store=self.store,
            seconds=draw.choice((6.0, 16.0, 300.0)),
            forgetful_queue=draw.random() < 0.3,
            one_thread=draw.random() < 0.5,
        )
        self.institution = self.bench.alma.institution(CODE)
        self.alma = FailingAlma(self.institution, draw, fault_rate, self.bench.time.clock, lambda: TODAY)
        self._register()
        add_sets(self.institution, draw)
        terms = terms_of(self.policy, self.action, self.mode, TODAY)
        self.judge = WriteJudge(self.institution, terms, candidates=self._manifest, excluded=self._protected)
        self.bench.alma.faults.append(self.alma.fault)
        self.bench.before_call = self.bench.after_call = self._may_die
        self.bench.vault.before_put = self.bench.vault.before_get = self._vault_fault
        self.frozen_members: tuple[str, ...] = ()
        self.run_id = ""

    def play(self) -> Round:
        """Let the run go on, with all that comes in between, until it has ended; and hold the end against the truth."""
        self._play(action=self.action.value, mode=self.mode.value)
        source = self._run()
        if not source.status.is_open and self.mode is Mode.APPLY:
            self._hold_against_the_vault(source)
            if source.touched and self.draw.random() < 0.6:
                self._take_back(source)
        self.result.wrongs += self.alma.wrongs
        self.result.figures["faults"] += self.alma.faults
        return self.result

    def _take_back(self, source: InstitutionRun) -> None:
        """Another run, with as much going wrong, which brings back whom the first one took away."""
        draw, day = self.draw, self.bench.time.now().date()
        undone_by = source.action.undone_by
        if undone_by is None:
            raise ValueError(f"nothing undoes a {source.action}")
        self.alma.carry_out_late(all_of_them=True)
        self.action, self.mode = undone_by, draw.choice((Mode.APPLY, Mode.APPLY, Mode.PREVIEW))
        expiry_date = draw.choice((None, day + timedelta(days=200)))
        rows = [row for page in self.store.pages(source) for row in page.closed(self.bench.time.now())]
        proven = {row.primary_id: row for row in rows if row.outcome is source.action.done}
        restores = self.action is Action.RESTORE
        self._change_since(list(proven))
        terms = Terms(
            action="restore" if restores else "reinstate",
            day=day,
            preview=self.mode is Mode.PREVIEW,
            expiry_date=expiry_date,
            left_as=None if restores else {key: (row.status_date, row.expiry_date) for key, row in proven.items()},
            archived=self._copies() if restores else None,
            refuses=refuses,
        )
        self.judge = WriteJudge(self.institution, terms, candidates=self._manifest)
        asked = {} if expiry_date is None else {"expiry_date": expiry_date.isoformat()}
        self._play(action=self.action.value, mode=self.mode.value, source_run_id=source.run_id, **asked)

    def _change_since(self, patron_ids: list[str]) -> None:
        """Some whom the run took away are changed before it is taken back, or their ids given to somebody else."""
        for patron_id in self.draw.sample(patron_ids, min(len(patron_ids), self.draw.randrange(6))):
            if (known := self.institution.users.get(patron_id.casefold())) is not None:
                change_record(known, self.institution, self.draw, TODAY, may_go=True)
            elif not list(self.institution.taken(somebody := record(patron_id))):
                self.institution.users[patron_id.casefold()] = somebody

    def _copies(self) -> dict[str, dict[str, Any]]:
        """The records in the vault, by primary id; of several of one patron the last."""
        archives = sorted(self.bench.vault.archives.values(), key=lambda archive: archive.at)
        return {record["primary_id"]: dict(record) for archive in archives for record in archive.records}

    def _play(self, **event: str) -> None:
        """One run, from its start to its end."""
        self.run_id = self.alma.run_id = self.bench.start(**event).run_id
        answers = 0
        for _ in range(600):
            self._work()
            run = self._run()
            if run.status is Status.HELD and answers < 5:
                answers += 1
                self._answer(run)
            elif not run.status.is_open:
                break
            elif not self.bench.queue.messages:
                self.bench.time.seconds += STALLED_AFTER.total_seconds() + 60
                tidy(self.bench.engine, STALLED_AFTER)
                self.result.figures["tidied"] += 1
        self._hold_against_the_truth()

    def _work(self) -> None:
        """One delivery of a message; what fails is delivered again, as SQS does."""
        if not self.bench.queue.messages:
            return
        message = self.bench.queue.messages.popleft()
        self.result.figures["slices"] += 1
        self.is_dead = False
        if not self._is_worked_on(message):
            self.bench.queue.messages.appendleft(message)
            self.alma.unanswered[self.run_id] += len(maybe_written(self._run(), self.store))
        if self.is_dead or self._run().status is not Status.PROCESSING:  # a redelivery takes its time
            self.alma.carry_out_late(all_of_them=True)
        self.is_dead = False
        if self._run().frozen and not self.frozen_members:
            self.frozen_members = self.institution.set_named(KEEP).members
        if self.draw.random() < self.foreign_rate:
            self.alma.carry_out_late(all_of_them=True)
            self._foreign_change()

    def _is_worked_on(self, message: WorkMessage) -> bool:
        """Let a worker do a slice; whether it has come to its end."""
        try:
            self.bench.slice(message, self._frail())
        except Killed:
            self.result.figures["killed"] += 1
            return False
        except Exception as failure:  # noqa: BLE001 - Lambda reports it, and SQS gives the message back
            self.result.figures["given back"] += 1
            if not isinstance(failure, AlmaError | VaultUnavailable):
                self.result.wrongs.append(Wrong(Kind.OTHER, f"the worker failed: {failure!r}"))
            return False
        return True

    def _answer(self, run: InstitutionRun) -> None:
        """What a person says to a hold, sooner or later."""
        self.result.figures["held"] += 1
        self.bench.time.seconds += self.draw.uniform(0, 3 * _DAY)
        match self.draw.choice(("approve", "approve", "approve", "reject", "cancel", "nothing")):
            case "approve":
                approve(run.run_id, CODE, "ana", "", self.bench.engine)
            case "reject":
                reject(run.run_id, CODE, "bo", "", self.bench.engine)
            case "cancel":
                cancel(run.run_id, None, "cleo", self.bench.engine)
            case _:
                self.bench.time.seconds += 7 * _DAY
                tidy(self.bench.engine, STALLED_AFTER)

    def _hold_against_the_truth(self) -> None:
        run, result = self._run(), self.result
        if run.status.is_open:
            result.wrongs.append(Wrong(Kind.UNFINISHED, f"the run never ended: {run.status}"))
            return
        rows = rows_of(run, self.store, self.bench.time.now())
        result.wrongs += wrongs_in(run, rows, self.judge, self.alma.unanswered[run.run_id])
        if run.status is Status.COMPLETED and not self.foreign_rate:
            reasons = self.judge.check_reasons(row for row in rows if not self._has_only_a_barcode_taken(row))
            result.wrongs += (Wrong(Kind.OUTCOME, wrong) for wrong in reasons)
        whole = self.store.run(run.run_id)
        if whole is None or whole.open_count or whole.held_count or whole.finished_at is None:
            result.wrongs.append(Wrong(Kind.OTHER, f"the run doesn't end with its institution: {whole}"))
        elif (whole.outcomes, whole.to_look_at) != (run.outcomes, run.to_look_at):
            what = f"the run sums up {whole.outcomes}, {whole.to_look_at} to look at, of {run.outcomes}"
            result.wrongs.append(Wrong(Kind.OTHER, what))
        if self.store.lease_holder(CODE) is not None:
            result.wrongs.append(Wrong(Kind.OTHER, "the lease was not given back"))
        result.figures.update(figures_of(run, rows, self.judge))

    def _has_only_a_barcode_taken(self, row: OutcomeRow) -> bool:
        """Whether it is for another identifier than the primary id alone that a patron can't be restored.

        Alma says so only when it is asked to create them, which a preview doesn't, and after looking at the record.
        """
        is_there = self.institution.find(row[0]) is not None
        return self.action is Action.RESTORE and row[1] in (Outcome.WOULD_RESTORE, Outcome.FAILED) and not is_there

    def _hold_against_the_vault(self, purge: InstitutionRun) -> None:
        if isinstance(self.policy, Purge):
            rows = rows_of(purge, self.store, self.bench.time.now())
            self.result.wrongs += wrongs_in_vault(rows, self.judge, self._copies(), self.policy.vault_days)

    def _run(self) -> InstitutionRun:
        return self.bench.institution_run(self.run_id)

    # ── What goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────

    def _may_die(self) -> None:
        """Killed: no thread of the process goes on, whatever it was about to do."""
        if self.is_dead or self.draw.random() < self.death_rate:
            self.is_dead = True
            raise Killed

    def _vault_fault(self) -> None:
        self._may_die()
        if self.draw.random() < self.alma.rate:
            raise VaultUnavailable("the vault could not be written (S3 answered SlowDown)")

    def _frail(self) -> Any:
        return FrailStore(self.store, lambda _: self._may_die(), lambda _: self._may_die())

    def _foreign_change(self) -> None:
        """Somebody else changes a record or a set, while no slice is at work."""
        users = self.institution.users
        open_to_doubt = maybe_written(self._run(), self.store)
        keep = self.institution.set_named(KEEP)
        if self.draw.random() < 0.2:
            keep.members = keep.members[1:]
        barcodes = {entry["value"].casefold() for record in users.values() for entry in record["user_identifier"]}
        for key in barcodes & set(users) - open_to_doubt:
            del users[key]  # from now on the id means whoever has it for a barcode
        for key in self.draw.sample(sorted(users), min(len(users), 5)):
            change_record(users[key], self.institution, self.draw, TODAY, may_go=key not in open_to_doubt)

    # ── What the judge goes by ────────────────────────────────────────────────────────────────────────────────────────

    def _manifest(self) -> set[str]:
        return {one for page in self.store.pages(self._run()) for one in page.ids}

    def _protected(self) -> set[str]:
        if not self.policy.exclude.each:
            return set()
        return {*self.institution.set_named(KEEP).members, *self.frozen_members}

    def _register(self) -> None:
        policy = Policy.model_validate({self.action.value: self.policy})
        whole = Institution(code=CODE, name="Alder", region="na", time_zone="America/New_York", policy=policy)
        self.store.put_institution(whole)


def play(seed: int) -> Round:
    """One round."""
    logger.setLevel("CRITICAL")
    with contextlib.redirect_stdout(io.StringIO()):  # metrics
        return Trial(seed).play()
