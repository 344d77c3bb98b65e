"""How the table grows: with the candidates of a run, by a small constant each, and with nothing else."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from boto3.dynamodb.types import TypeSerializer

from benchmarks.capacity import size_of
from patron_lifecycle.policy.model import Pace, Policy, Select
from patron_lifecycle.policy.population import Population
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.runs import dynamo
from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.lifecycle import send_on
from patron_lifecycle.runs.model import (
    PAGE_SIZE,
    Answer,
    BringBack,
    Budget,
    Draft,
    Hashes,
    InstitutionRun,
    Notice,
    NoticeKind,
    Reading,
    ReportLink,
    Status,
    Verdict,
)
from sandbox.simulator.institutions import SimulatedSet
from tests.samples import CODE, NOW, TODAY, institution_run, long_gone, page, purge, returned, run
from tests.samples import institution as registered
from tests.workbench import Killed, Workbench

pytestmark = pytest.mark.untraced

GONE = "Gone"
# What is kept of a purge, all of whose patrons are deleted, as DynamoDB counts bytes: docs/failure-modes.md says so.
MOST_BYTES_OF_A_RUN, MOST_BYTES_OF_A_CANDIDATE = 3_000, 175
ONCE_A_RUN = {"run run": 1, "run institution": 1, "run manifest": 1}
ONCE_AN_INSTITUTION = {"baseline": 1, "budget budget": 1}
A_DRAFT_HAS = 900  # candidates, about; drafts are there for a month
STAY = {"registry institution", "lease lease", "lease held", "baseline", "watched"}


class Kept(NamedTuple):
    """What is in the table: items by kind, and bytes in all."""

    kinds: Counter[str]
    size: int


def kind_of(item: dict[str, Any]) -> str:
    """The kind of an item: the fixed parts of its keys."""
    pk, sk = str(item["pk"]), str(item["sk"])
    what, part = pk.partition("#")[0], sk.partition("#")[0]
    return what if what in ("baseline", "returned", "population", "watched") else f"{what} {part}"


def kept_in(table: Any) -> Kept:
    """All that is in the table but for what is registered."""
    items: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    while True:
        reply = table.scan(**options)
        items += [item for item in reply["Items"] if item["pk"] != "registry"]
        if "LastEvaluatedKey" not in reply:
            break
        options = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}
    return Kept(Counter(map(kind_of, items)), sum(map(_size_of, items)))


def _size_of(item: dict[str, Any]) -> int:
    return size_of({name: TypeSerializer().serialize(value) for name, value in item.items()})


def bench_of(table: Any, candidates: int, **options: Any) -> Workbench:
    """An institution that purges a set of so many patrons, all of whom can go; its runs are kept in the table."""
    bench = Workbench(users=1, store=DynamoStore(table, 400), **options)
    simulated = bench.alma.institution(CODE)
    simulated.users = {f"gone.{number:05}": long_gone(f"Gone.{number:05}") for number in range(candidates)}
    simulated.users["stays"] = long_gone("Stays")
    members = tuple(f"Gone.{number:05}" for number in range(candidates))
    simulated.sets = [SimulatedSet("91", GONE, members=members)]
    policy = Policy(
        purge=purge(select=Select(set_name=GONE), first_run="apply", max_patrons=1_000_000, max_percent=100),
        pace=Pace(reserve_daily_calls=0),
    )
    bench.store.put_institution(registered(policy=policy))
    return bench


def purged(bench: Workbench) -> InstitutionRun:
    """The purge, done."""
    run = bench.run(action="purge")
    assert (run.status, run.outcomes.get(run.action.done, 0)) == (Status.COMPLETED, run.candidates)
    return run


def test_a_run_keeps_so_much_for_each_candidate_and_little_beside(fresh_table: Callable[[], Any]) -> None:
    """Purges of 0, 100, 1,000 and 3,000 patrons: items and bytes grow in a straight line, and not steeply."""
    sizes = {}
    for candidates in (0, 100, 1000, 3000):
        table = fresh_table()
        bench = bench_of(table, candidates)
        one = purged(bench)
        kinds, sizes[candidates] = kept_in(table)
        drafts = kinds.pop("run draft")
        assert drafts <= 1 + candidates / A_DRAFT_HAS
        assert kinds.pop("run page", 0) == one.pages == math.ceil(candidates / PAGE_SIZE)
        kinds["run manifest"] += 0
        assert kinds == {**ONCE_A_RUN, **ONCE_AN_INSTITUTION, "run manifest": min(candidates, 1)}
        more = len(bench.vault.archives) - one.pages
        assert 0 <= more <= 3 * (one.slices - 1), "an object a page, at most three more where a slice ended within one"
    assert sizes[0] <= MOST_BYTES_OF_A_RUN
    each = [(sizes[many] - sizes[0]) / many for many in (100, 1000, 3000)]
    assert max(each) <= MOST_BYTES_OF_A_CANDIDATE
    assert max(each) - min(each) < 0.05 * max(each), "a straight line"


@pytest.mark.parametrize(
    ("happens", "options"),
    [("slices", {"seconds": 50.0}), ("pauses", {"days_pass": True}), ("redeliveries", {"forgetful_queue": True})],
)
def test_nothing_is_added_by(fresh_table: Callable[[], Any], happens: str, options: dict[str, Any]) -> None:
    """More slices, pauses, and messages that come again: the same items, whatever happens to a run on its way."""
    undisturbed, disturbed = fresh_table(), fresh_table()
    purged(bench_of(undisturbed, 500))
    bench = bench_of(disturbed, 500, **options)
    run = {"slices": purged, "pauses": _purged_with_pauses, "redeliveries": _purged_with_redeliveries}[happens](bench)
    assert run.slices > 1
    assert kept_in(disturbed).kinds == kept_in(undisturbed).kinds
    parts = len(bench.vault.archives)
    assert run.pages <= parts <= run.pages + 3 * run.slices, "where a slice ends, a page is archived in pieces"


def _purged_with_pauses(bench: Workbench) -> InstitutionRun:
    bench.alma.institution(CODE).daily_quota = 400
    run = bench.run(action="purge")
    while run.status is Status.PAUSED:
        bench.time.sleep(timedelta(days=1).total_seconds())
        send_on([run], bench.engine)
        bench.drain()
        run = bench.institution_run(run.run_id)
    assert run.pauses > 1
    assert run.status is Status.COMPLETED
    return run


def _purged_with_redeliveries(bench: Workbench) -> InstitutionRun:
    """Every message comes twice, and the worker is lost in the middle of some slices."""
    calls = itertools.count(1)

    def lost_now_and_then() -> None:
        if next(calls) % 350 == 0:
            raise Killed

    bench.before_call = lost_now_and_then
    run = bench.run(action="purge")
    bench.queue.messages.extend(bench.queue.sent)
    bench.drain()
    return bench.institution_run(run.run_id)


def test_all_that_is_kept_of_runs_expires(table: Any) -> None:
    """Of every kind of item that the store can write, only what there is once for an institution or action stays."""
    store, held, done, back = DynamoStore(table, 400), "purge-1", "purge-2", "restore-1"
    store.put_institution(registered())
    for run_id, action in ((held, Action.PURGE), (done, Action.PURGE), (back, Action.RESTORE)):
        store.create_run(run(run_id, action=action))
        store.create_institution_run(institution_run(run_id, action=action))
    ended = {"status": Status.COMPLETED, "finished_at": NOW}
    taken_back = {"bring_back": BringBack(source_run_id=done), "outcomes": {Outcome.RESTORED: 1}}
    store.settle(institution_run(done, action=Action.PURGE).but(**ended))
    store.settle(institution_run(back, action=Action.RESTORE).but(**ended, **taken_back))
    store.settle(institution_run(held, action=Action.PURGE).but(status=Status.HELD, held_at=NOW))
    store.acquire_lease(CODE, held)
    store.put_pages([page().but(run_id=held)])
    store.put_draft(held, CODE, Reading(), Draft(candidates=(), seen=b"1"))
    for of in Hashes:
        store.put_hashes(held, CODE, of, b"12345678")
    store.put_halt(held, CODE, Verdict(answer=Answer.CANCELLED, by="ana", at=NOW))
    store.put_named(back, CODE, "d1", ["a"])
    store.put_returned([returned("fern.arno")])
    store.put_population(Population(code=CODE, day=TODAY, run_id=held, users=1))
    store.claim_notice(Notice(code=CODE, key="r1#done", kind=NoticeKind.DONE, run_id=held, to=2, at=NOW))
    store.put_link(ReportLink(run_id=held, code=CODE, digest="d", created_at=NOW, until=NOW))
    store.put_budget(Budget(name=f"institution#{CODE}"))
    store.watched_since(Action.PURGE, applies=True, now=NOW)
    expires = {kind_of(item): "expires_at" in item for item in table.scan()["Items"]}
    assert {kind for kind, does in expires.items() if not does} == STAY
    rows = [line for line in str(dynamo.__doc__).splitlines() if line.startswith("| ")]
    assert len(expires) == len(rows) - 1, "each kind in the documentation of the table, whose first row is its head"
