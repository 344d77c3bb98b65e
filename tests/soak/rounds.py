"""Rounds: randomised runs of one institution with everything going wrong, under the eyes of a judge.

A round is one run in one institution, and now and then the run that takes it back: invented patrons, a policy drawn at
random, faults of Alma and of the vault, workers that are killed between any two calls, people who change records and
sets between two slices, and who answer or don't. The judge sits inside the simulated Alma, knows the rules by itself,
and sees each write as it is carried out. A round is fully determined by its seed.
"""

import contextlib
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from patron_lifecycle.alma.errors import AlmaError
from patron_lifecycle.observability import logger
from patron_lifecycle.policy.model import ActionPolicy, Deactivate, Exclude, Policy, Protect, Purge, Select, Sets
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.answers import approve, cancel, reject
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import InstitutionRun, Mode, PageState, Status
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.vault import VaultUnavailable
from sandbox.simulator.institutions import SimulatedInstitution, SimulatedSet
from sandbox.simulator.judge import OutcomeRow, Terms, WriteJudge
from sandbox.simulator.messages import Fault, Reply, Request, error, general_error
from sandbox.simulator.patrons import record, xs_date
from sandbox.simulator.swap_all import created, refuses
from tests.workbench import STALLED_AFTER, TODAY, Killed, Workbench

CODE = "01OHIO_AAA"
EVERYBODY, KEEP, ALSO = "Everybody", "Keep", "Also"
_WRITES = frozenset(
    {"save", "advance", "settle", "put_population", "put_pages", "put_draft", "put_hashes", "put_returned"}
)
_SENT_ONCE = frozenset({("DELETE", "/users/{user_id}"), ("POST", "/users")})
_DAY = 24 * 3600.0


@dataclass
class Round:
    """What came of one round. `wrongs` are sentences; there should be none."""

    seed: int
    figures: Counter[str] = field(default_factory=Counter)
    wrongs: list[str] = field(default_factory=list)


class _Late(NamedTuple):
    """A delete, or, with a body, a creation, and when Alma gets it done."""

    at: float
    body: bytes


class DyingStore:
    """A store before and after each write of which the worker may be killed."""

    def __init__(self, store: MemoryStore, may_die: Callable[[], None]) -> None:
        self._store = store
        self._may_die = may_die

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in _WRITES:
            return method

        def dying(*arguments: Any) -> Any:
            self._may_die()
            result = method(*arguments)
            self._may_die()
            return result

        return dying


class Trial:
    """One round as it goes on."""

    def __init__(self, seed: int) -> None:
        self.result = Round(seed)
        self.draw = draw = random.Random(seed)
        self.action = draw.choice((Action.PURGE, Action.PURGE, Action.DEACTIVATE))
        self.mode = draw.choice((Mode.APPLY, Mode.APPLY, Mode.APPLY, Mode.PREVIEW))
        self.policy = _policy(self.action, draw)
        self.fault_rate = draw.choice((0.0, 0.01, 0.04))
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
        self.institution: SimulatedInstitution = self.bench.alma.institution(CODE)
        self._register()
        self._add_sets()
        self.judge = WriteJudge(self.institution, self._terms(), candidates=self._manifest, excluded=self._protected)
        self.bench.alma.faults.append(self._fault)
        self.bench.before_call = self.bench.after_call = self._may_die
        self.bench.vault.before_put = self.bench.vault.before_get = self._vault_fault
        self.frozen_members: tuple[str, ...] = ()
        self.late: dict[str, _Late] = {}  # what Alma is still at work on, by primary id
        self.unanswered = 0  # deletes and creations without a clear answer
        self.run_id = ""

    def play(self) -> Round:
        """Let the run go on, with all that comes in between, until it has ended; and hold the end against the truth."""
        self._play(action=self.action.value, mode=self.mode.value)
        source = self._run()
        if not source.status.is_open and self.mode is Mode.APPLY:
            self._hold_against_the_vault(list(self._rows(source)))
            if source.touched and self.draw.random() < 0.6:
                self._take_back(source)
        return self.result

    def _take_back(self, source: InstitutionRun) -> None:
        """Another run, with as much going wrong, which brings back whom the first one took away."""
        draw, day = self.draw, self.bench.time.now().date()
        undone_by = source.action.undone_by
        if undone_by is None:
            raise ValueError(f"nothing undoes a {source.action}")
        self._carry_out_late(all_of_them=True)
        self.action, self.mode = undone_by, draw.choice((Mode.APPLY, Mode.APPLY, Mode.PREVIEW))
        self.unanswered = 0
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
                self._change_record(known, may_go=True)
            elif not list(self.institution.taken(somebody := record(patron_id))):
                self.institution.users[patron_id.casefold()] = somebody

    def _copies(self) -> dict[str, dict[str, Any]]:
        """The records in the vault, by primary id; of several of one patron the last."""
        archives = sorted(self.bench.vault.archives.values(), key=lambda archive: archive.at)
        return {record["primary_id"]: dict(record) for archive in archives for record in archive.records}

    def _play(self, **event: str) -> None:
        """One run, from its start to its end."""
        self.run_id = self.bench.start(**event).run_id
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
        try:
            self.bench.slice(message, DyingStore(self.store, self._may_die))
        except Killed:
            self.result.figures["killed"] += 1
            self.bench.queue.messages.appendleft(message)
        except Exception as failure:  # noqa: BLE001 - Lambda reports it, and SQS gives the message back
            self.result.figures["given back"] += 1
            if not isinstance(failure, AlmaError | VaultUnavailable):
                self.result.wrongs.append(f"the worker failed: {failure!r}")
            self.bench.queue.messages.appendleft(message)
        if self.is_dead or self._run().status is not Status.PROCESSING:  # a redelivery takes its time
            self._carry_out_late(all_of_them=True)
        self.is_dead = False
        if self._run().frozen and not self.frozen_members:
            self.frozen_members = self.institution.set_named(KEEP).members
        if self.draw.random() < self.foreign_rate:
            self._carry_out_late(all_of_them=True)
            self._foreign_change()

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
            result.wrongs.append(f"the run never ended: {run.status}")
            return
        rows = list(self._rows(run))
        unconfirmed = tuple(f"{row[0]} ".casefold() for row in rows if row[2] == "unconfirmed")
        result.wrongs += self.judge.wrongs
        wrongs = self.judge.check_outcomes(rows)
        # Whom a worker was lost over, in a run that then ended for another cause, is told as just that.
        result.wrongs += [wrong for wrong in wrongs if not wrong.casefold().startswith(unconfirmed)]
        if run.status is Status.COMPLETED and not self.foreign_rate:
            result.wrongs += self.judge.check_reasons(row for row in rows if not self._has_only_a_barcode_taken(row))
        if run.status is Status.COMPLETED and any(row[2] == "not_attempted" for row in rows):
            result.wrongs.append("a completed run left somebody over")
        may_be_unclear = self.unanswered if run.status is Status.COMPLETED else run.candidates
        if len(unconfirmed) > (may_be_unclear if self.mode is Mode.APPLY else 0):
            result.wrongs.append(f"{len(unconfirmed)} unconfirmed in a run that is {run.status}")
        counted = Counter(row[1] for row in rows)
        if counted != Counter({outcome.value: count for outcome, count in run.outcomes.items()}):
            result.wrongs.append(f"counted {dict(run.outcomes)}, but the rows have {dict(counted)}")
        whole = self.store.run(run.run_id)
        if whole is None or whole.open_count or whole.held_count or whole.finished_at is None:
            result.wrongs.append(f"the run doesn't end with its institution: {whole}")
        elif (whole.outcomes, whole.to_look_at) != (run.outcomes, run.to_look_at):
            result.wrongs.append(f"the run sums up {whole.outcomes}, {whole.to_look_at} to look at, of {run.outcomes}")
        if self.store.lease_holder(CODE) is not None:
            result.wrongs.append("the lease was not given back")
        result.figures["judged"] += sum(row[2] != "not_attempted" for row in rows)
        result.figures["candidates"] += run.candidates
        result.figures["writes"] += len(self.judge.writes)
        result.figures["recovered"] += sum(row[3].startswith("recovered") for row in rows)
        result.figures["unconfirmed"] += len(unconfirmed)
        result.figures[f"runs {run.status}"] += 1
        result.figures.update(counted)

    def _has_only_a_barcode_taken(self, row: OutcomeRow) -> bool:
        """Whether it is for another identifier than the primary id alone that a patron can't be restored.

        Alma says so only when it is asked to create them, which a preview doesn't, and after looking at the record.
        """
        is_there = self.institution.find(row[0]) is not None
        return self.action is Action.RESTORE and row[1] in (Outcome.WOULD_RESTORE, Outcome.FAILED) and not is_there

    def _hold_against_the_vault(self, rows: Iterable[OutcomeRow]) -> None:
        if not isinstance(self.policy, Purge):
            return
        kept = self._copies()
        if not self.policy.vault_days:
            self.result.wrongs += [f"{key} is in a vault that is switched off" for key in kept]
            return
        self.result.wrongs += [
            f"{row[0]} was purged without a copy" for row in rows if row[1] == Outcome.PURGED and row[0] not in kept
        ]
        for write in self.judge.writes:
            copy = kept.get(write.primary_id, {})
            if {name: value for name, value in copy.items() if name != "link"} != {
                name: value for name, value in (write.before or {}).items() if name != "link"
            }:
                self.result.wrongs.append(f"the copy of {write.primary_id} is not what was deleted")

    def _rows(self, run: InstitutionRun) -> Iterator[OutcomeRow]:
        for page in self.store.pages(run):
            for row in page.closed(self.bench.time.now()):
                yield row.primary_id, row.outcome.value, row.reason or None, row.detail

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
        if self.draw.random() < self.fault_rate:
            raise VaultUnavailable("the vault could not be written (S3 answered SlowDown)")

    def _fault(self, request: Request) -> Fault | None:
        is_sent_once = (request.method, request.route) in _SENT_ONCE
        user_id = request.arguments.get("user_id") or _primary_id_in(request.body)
        if is_sent_once and user_id in self.late:
            self.result.wrongs.append(f"{request.method} of {user_id} was sent again while Alma was still at it")
        self._carry_out_late()
        if self.draw.random() >= self.fault_rate:
            return None
        self.result.figures["faults"] += 1
        carried_out = self.draw.random() < 0.5
        if is_sent_once:
            self.unanswered += 1
            if self.draw.random() < 0.3:
                self.late[user_id] = _Late(self.bench.time.clock() + self.draw.uniform(1, 90), request.body)
                return Fault(lost="timeout")
        kinds: tuple[Fault, ...] = (
            Fault(general_error(), carried_out=carried_out),
            Fault(Reply(502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>"), carried_out=carried_out),
            Fault(Reply(200, {"Content-Type": "application/json"}, b'{"primary_id": "cut o'), carried_out=carried_out),
            Fault(lost="reset", carried_out=carried_out),
            Fault(lost="timeout", carried_out=carried_out),
            Fault(error("PER_SECOND_THRESHOLD", "too many", status=429)),
        )
        return self.draw.choice(kinds)

    def _carry_out_late(self, *, all_of_them: bool = False) -> None:
        """Let Alma get done with deletes and creations whose answer nobody waits for any more."""
        now = self.bench.time.clock()
        for user_id in [one for one, late in self.late.items() if all_of_them or late.at <= now]:
            body = self.late.pop(user_id).body
            key = self.institution.find(user_id)
            if not body and key == user_id.casefold():
                self.institution.remove(key, asked=user_id)
            elif body and not refuses(json.loads(body)):
                user = created(json.loads(body), today=TODAY)
                if not list(self.institution.taken(user)):
                    self.institution.add(user, TODAY, asked=user_id)

    def _foreign_change(self) -> None:
        """Somebody else changes a record or a set, while no slice is at work."""
        users = self.institution.users
        maybe_written = set()
        run = self._run()
        if run.frozen and run.next_page < run.pages:
            page = self.store.page(run.run_id, CODE, run.next_page)
            maybe_written = {one.casefold() for one in page.eligible} if page.state is PageState.IN_PROGRESS else set()
        keep = self.institution.set_named(KEEP)
        if self.draw.random() < 0.2:
            keep.members = keep.members[1:]
        barcodes = {entry["value"].casefold() for record in users.values() for entry in record["user_identifier"]}
        for key in barcodes & set(users) - maybe_written:
            del users[key]  # from now on the id means whoever has it for a barcode
        for key in self.draw.sample(sorted(users), min(len(users), 5)):
            self._change_record(users[key], may_go=key not in maybe_written)

    def _change_record(self, record: dict[str, Any], *, may_go: bool) -> None:
        keep = self.institution.set_named(KEEP)
        match self.draw.randrange(7):
            case 0:
                record["expiry_date"] = xs_date(TODAY.replace(year=2030))
            case 1:
                record["loans"] = {"value": 1}
            case 2:
                record["fees"] = {"value": -3.5}
            case 3:
                record["requests"] = {"value": 1}
            case 4:
                keep.members = (*dict.fromkeys((*keep.members, record["primary_id"])),)
            case 5 if may_go:
                del self.institution.users[record["primary_id"].casefold()]
            case _:
                record["status"], record["status_date"] = {"value": "ACTIVE", "desc": "Active"}, xs_date(TODAY)

    # ── What the judge goes by ────────────────────────────────────────────────────────────────────────────────────────

    def _manifest(self) -> set[str]:
        return {one for page in self.store.pages(self._run()) for one in page.ids}

    def _protected(self) -> set[str]:
        if not self.policy.exclude.each:
            return set()
        return {*self.institution.set_named(KEEP).members, *self.frozen_members}

    def _terms(self) -> Terms:
        policy = self.policy
        shared: dict[str, Any] = {
            "action": self.action.value,
            "day": TODAY,
            "preview": self.mode is Mode.PREVIEW,
            "protected_types": frozenset(Protect().record_types),
            "excluded_groups": frozenset(policy.exclude.user_groups),
            "excluded_notes": frozenset(policy.exclude.note_contains),
        }
        if isinstance(policy, Purge):
            shared |= {
                "retention_years": policy.retention_years,
                "require_inactive": policy.require_inactive,
                "min_inactive_days": policy.min_inactive_days,
                "respect_purge_date": policy.respect_purge_date,
                "waive_fees_up_to": Decimal(str(policy.waive_fees_up_to)),
            }
        elif isinstance(policy, Deactivate):
            shared["grace_days"] = max(1, policy.grace_days)
        return Terms(**shared)

    def _register(self) -> None:
        policy = Policy.model_validate({self.action.value: self.policy})
        whole = Institution(code=CODE, name="Alder", region="na", time_zone="America/New_York", policy=policy)
        self.store.put_institution(whole)

    def _add_sets(self) -> None:
        ids = [one["primary_id"] for one in self.institution.users.values()]
        addressable = [one for one in ids if not one.startswith("no primary id")]
        some = self.draw.sample(addressable, len(addressable) // 20)
        self.institution.sets += [
            SimulatedSet("91", EVERYBODY, members=tuple(addressable)),
            SimulatedSet("92", KEEP, members=tuple(some)),
            SimulatedSet("93", ALSO, members=tuple(self.draw.sample(addressable, len(addressable) // 4))),
        ]


def _primary_id_in(body: bytes) -> str:
    """Whom a creation is of."""
    return str(json.loads(body)["primary_id"]) if body else ""


def _policy(action: Action, draw: random.Random) -> ActionPolicy:
    sweep, everybody = Select(sweep=True), Select(set_name=EVERYBODY)
    shared: dict[str, Any] = {
        "exclude": Exclude(
            set_names=draw.choice(((), (KEEP,))),
            user_groups=draw.choice(((), ("fac",))),
            note_contains=draw.choice(((), ("do not expire",))),
        ),
        "max_patrons": draw.choice((5, 500)),
        "max_percent": draw.choice((5.0, 100.0)),
    }
    if action is Action.DEACTIVATE:
        select = draw.choice((sweep, everybody, everybody, everybody, Select(set_name="Expired and active")))
        return Deactivate(select=select, grace_days=draw.choice((0, 7, 30)), **shared)
    return Purge(
        select=draw.choice((sweep, everybody, everybody, everybody, Select(set_name="OHIONET purge"))),
        retention_years=draw.choice((1, 3, 5)),
        require_inactive=draw.random() < 0.7,
        min_inactive_days=draw.choice((0, 14, 400)),
        respect_purge_date=draw.random() < 0.7,
        waive_fees_up_to=draw.choice((0.0, 0.5, 60.0)),
        also_select=draw.choice((Sets(), Sets(set_names=(ALSO,)))),
        vault_days=draw.choice((0, 7, 30)),
        first_run=draw.choice(("hold", "apply")),
        **shared,
    )


def play(seed: int) -> Round:
    """One round."""
    logger.setLevel("CRITICAL")
    with contextlib.redirect_stdout(io.StringIO()):  # metrics
        return Trial(seed).play()
