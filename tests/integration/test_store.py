"""One contract for both stores: the one in memory, and the one in DynamoDB on the table of the project's template."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patron_lifecycle.policy.model import Exclude, Pace, Policy, Purge, Select
from patron_lifecycle.policy.population import Age, Population, UserGroup
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.runs.dynamo import DynamoStore
from patron_lifecycle.runs.model import (
    PAGE_SIZE,
    Answer,
    Baseline,
    BringBack,
    Draft,
    Hashes,
    InstitutionRun,
    Mode,
    Notice,
    NoticeKind,
    NoticeState,
    Page,
    PageState,
    PatronOutcome,
    Reading,
    ReportLink,
    RunStatus,
    Skipped,
    Status,
    Verdict,
)
from patron_lifecycle.runs.store import Conflict, MemoryStore, Store
from sandbox.local_aws import LocalAws
from tests.samples import CODE, NOW, deactivate, institution, institution_run, outcome, page, returned, run

CODES = tuple(f"01OHIO_{letter * 3}" for letter in "ABCDEFGH")
RETENTION_DAYS = 400


@pytest.fixture(params=["memory", "dynamo"])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store, of either kind."""
    if request.param == "memory":
        return MemoryStore()
    return DynamoStore(request.getfixturevalue("table"), RETENTION_DAYS)


class Attempt(NamedTuple):
    """What one of several threads got: what `work` returned, or that it met a conflict."""

    given: Any
    conflict: bool


def at_once(*work: Callable[[], Any]) -> list[Attempt]:
    """Let threads do this at the same moment."""
    barrier = threading.Barrier(len(work))

    def one(do: Callable[[], Any]) -> Attempt:
        barrier.wait(30)
        try:
            return Attempt(do(), conflict=False)
        except Conflict:
            return Attempt(None, conflict=True)

    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(one, work))


def ended(one: InstitutionRun, status: Status = Status.COMPLETED) -> InstitutionRun:
    """The institution run as it is to be closed."""
    return one.but(status=status, finished_at=NOW + timedelta(hours=1))


# ── Institutions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_institutions_are_given_by_code(store: Store) -> None:
    """All of them, disabled ones too, whatever the order of their storing; storing one again replaces it."""
    assert store.institutions() == []
    purge = Purge(select=Select(set_id="1"), waive_fees_up_to=0.1, exclude=Exclude(set_names=("Größe №1",)))
    own = Policy(
        deactivate=deactivate(max_percent=2.5, exclude=Exclude(note_contains=("keep",), user_groups=("FAC",))),
        purge=purge,
        pace=Pace(requests_per_second=19.999999999999996, reserve_daily_calls=0),
    )
    first = institution("01OHIO_AAA", policy=own, contacts=("library@example.edu",))
    second = institution("01OHIO_BBB", enabled=False)
    store.put_institution(second)
    store.put_institution(institution("01OHIO_AAA"))
    store.put_institution(first)
    assert store.institutions() == [first, second]


# ── Runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_stored_once(store: Store) -> None:
    """Who stores a run of an id that there is gets the stored one, which stays as it is."""
    assert store.run("deactivate-1") is None
    first = run(
        institutions=CODES,
        as_of=date(2024, 2, 29),
        skipped=(Skipped(institution="01OHIO_ZZZ", reason="disabled"),),
        created_at=datetime(2026, 11, 23, 17, 0, 0, 123456, tzinfo=UTC),
    )
    assert store.create_run(first) == first
    assert store.create_run(run(fingerprint="another")) == first
    assert store.run("deactivate-1") == first


def test_one_of_many_who_store_a_run_at_once_stores_it(store: Store) -> None:
    """Of eight enumerators with the same request one stores its run, and all are given that one."""
    given = {
        attempt.given.fingerprint
        for attempt in at_once(*(lambda n=n: store.create_run(run(fingerprint=f"print-{n}")) for n in range(8)))
    }
    stored = store.run("deactivate-1")
    assert stored is not None
    assert given == {stored.fingerprint}


def test_the_latest_runs_come_first(store: Store) -> None:
    """By the time of creation, as many as are asked for."""
    for minute in (3, 1, 2, 5, 4):
        store.create_run(run(f"deactivate-{minute}", created_at=NOW + timedelta(minutes=minute)))
    assert [one.run_id for one in store.recent_runs(3)] == ["deactivate-5", "deactivate-4", "deactivate-3"]
    assert len(store.recent_runs(100)) == 5


def test_a_run_counts_as_unlaunched_until_it_is_marked(store: Store) -> None:
    """What an enumerator left half-done is found; the mark takes it off that list and changes nothing else."""
    one = store.create_run(run(launched=False))
    store.create_run(run("deactivate-2", launched=True))
    assert store.unlaunched_runs() == [one]
    store.mark_launched("deactivate-1")
    assert store.unlaunched_runs() == []
    marked = store.run("deactivate-1")
    assert marked is not None
    assert marked == one.but(launched=True, version=marked.version)
    assert marked.version > one.version
    store.mark_launched("deactivate-1")
    assert store.unlaunched_runs() == []


# ── Institution runs ──────────────────────────────────────────────────────────────────────────────────────────────────


ODD_PEOPLE = Population(
    code=CODE,
    day=date(2026, 11, 23),
    run_id="deactivate-1",
    users=3,
    active=3,
    no_expiry_date=1,
    expired={Age.WEEK: 1, Age.LONGER: 1},
    groups={"other groups": UserGroup(patrons=2, expired=2), "«Größe».#a:b": UserGroup(patrons=1)},
    past_retention=0,
)


def test_an_institution_run_is_stored_once(store: Store) -> None:
    """Storing one that is there already, as a repeated enumerator does, leaves it as it is."""
    assert store.institution_run("deactivate-1", CODE) is None
    first = institution_run(
        as_of=date(2026, 11, 1),
        reading=Reading(attempt=2, offset=300, first_total=-1, at_end=True, population=ODD_PEOPLE),
        reasons={"staff": 2, "alma_401860": 1},
        outcomes={Outcome.SKIPPED: 2, Outcome.FAILED: 1},
        remaining_calls=0,
        status_reason="“Größe”",
    )
    store.create_institution_run(first)
    store.create_institution_run(institution_run(seq=9))
    assert store.institution_run("deactivate-1", CODE) == first


def test_institution_runs_are_found_by_run_by_institution_and_while_open(store: Store) -> None:
    """By code within a run, newest first at an institution, longest untouched first among all that are open."""
    for number in (2, 1, 3):
        at = NOW + timedelta(minutes=number)
        for code in reversed(CODES[:2]):
            store.create_institution_run(institution_run(f"deactivate-{number}", code, created_at=at, touched_at=at))
    assert [one.code for one in store.institution_runs("deactivate-2")] == list(CODES[:2])
    assert store.institution_runs("deactivate-9") == []
    newest = store.institution_runs_of(CODE, 2)
    assert [(one.run_id, one.code) for one in newest] == [("deactivate-3", CODE), ("deactivate-2", CODE)]
    assert store.institution_runs_of("01OHIO_ZZZ", 10) == []
    first = store.institution_run("deactivate-1", CODE)
    assert first is not None
    store.save(first.but(touched_at=NOW + timedelta(hours=1)))
    still_open = [one.run_id for one in store.open_institution_runs() if one.code == CODE]
    assert still_open == ["deactivate-2", "deactivate-3", "deactivate-1"]


@pytest.mark.parametrize("status", Status)
def test_only_what_has_not_ended_is_open(store: Store, status: Status) -> None:
    """Queued, selecting, held, processing and paused are open; what has ended is on no list of open ones."""
    store.create_institution_run(institution_run())
    store.save(institution_run(status=status))
    still_open = (Status.QUEUED, Status.SELECTING, Status.HELD, Status.PROCESSING, Status.PAUSED)
    assert bool(store.open_institution_runs()) is (status in still_open)


def test_a_change_is_stored_by_whom_has_read_the_latest(store: Store) -> None:
    """Each save counts the version up; who comes with an older one has a conflict, and nothing is written."""
    store.create_institution_run(institution_run())
    first = store.save(institution_run(seq=1))
    assert first == institution_run(seq=1, version=1)
    with pytest.raises(Conflict):
        store.save(institution_run(seq=99))
    assert store.institution_run("deactivate-1", CODE) == first
    second = store.save(first.but(status=Status.SELECTING))
    assert store.institution_run("deactivate-1", CODE) == second


def test_what_was_never_stored_cannot_be_changed(store: Store) -> None:
    """To save, advance or close an institution run or a page that there isn't is a conflict."""
    store.create_run(run())
    store.put_pages([page()])
    with pytest.raises(Conflict):
        store.save(institution_run())
    with pytest.raises(Conflict):
        store.advance(institution_run(), page())
    with pytest.raises(Conflict):
        store.settle(ended(institution_run()))
    assert store.institution_run("deactivate-1", CODE) is None
    store.create_institution_run(institution_run())
    with pytest.raises(Conflict):
        store.advance(institution_run(), page(1))
    assert store.institution_run("deactivate-1", CODE) == institution_run()


def test_one_of_many_who_save_at_once_does(store: Store) -> None:
    """Eight writers of one version: one is stored, seven have a conflict."""
    store.create_institution_run(institution_run())
    attempts = at_once(*(lambda n=n: store.save(institution_run(seq=n)) for n in range(8)))
    (saved,) = [attempt.given for attempt in attempts if not attempt.conflict]
    assert store.institution_run("deactivate-1", CODE) == saved


# ── Pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pages_are_given_in_order(store: Store) -> None:
    """A manifest of more pages than one batch takes is stored whole, and read page by page or all in order."""
    pages = [page(number, tuple(f"patron-{number}-{row}" for row in range(PAGE_SIZE))) for number in range(61)]
    store.put_pages(iter(pages))
    store.put_pages([page(0, ("another institution's",), code="01OHIO_BBB"), page(0, run_id="deactivate-2")])
    assert list(store.pages(institution_run(pages=99))) == pages
    assert store.page("deactivate-1", CODE, 60) == pages[60]
    with pytest.raises(KeyError):
        store.page("deactivate-1", CODE, 61)
    assert list(store.pages(institution_run(code="01OHIO_ZZZ", pages=99))) == []


def test_more_pages_than_one_answer_holds_are_all_given(store: Store) -> None:
    """Pages full of Alma's long messages, several megabytes in all, come back complete."""
    long = "Größe " * 400
    pages = [
        page(n, ids := tuple(f"patron-{n}-{row}" for row in range(PAGE_SIZE))).but(
            outcomes=tuple(outcome(primary_id, detail=long) for primary_id in ids), state=PageState.DONE
        )
        for n in range(8)
    ]
    store.put_pages(pages)
    assert list(store.pages(institution_run(pages=99))) == pages


def test_a_page_and_its_institution_run_are_stored_together(store: Store) -> None:
    """Both get their next version, and both are read back as they were given back."""
    store.create_institution_run(institution_run())
    store.put_pages([page(0), page(1)])
    saved, saved_page = store.advance(
        institution_run(next_page=1, outcomes={Outcome.DEACTIVATED: 2}),
        page(0, state=PageState.DONE, outcomes=(outcome("fern.arno"), outcome("reed.elbe"))),
    )
    assert (saved.version, saved_page.version) == (1, 1)
    assert store.institution_run("deactivate-1", CODE) == saved
    assert list(store.pages(institution_run(pages=99))) == [saved_page, page(1)]


def test_of_a_page_and_its_institution_run_both_or_none_are_stored(store: Store) -> None:
    """An older version of either is a conflict, and the other isn't written either."""
    store.create_institution_run(institution_run())
    store.put_pages([page()])
    saved, saved_page = store.advance(institution_run(), page())
    for old_run, old_page in ((institution_run(), saved_page), (saved, page())):
        with pytest.raises(Conflict):
            store.advance(old_run.but(seq=99), old_page.but(eligible=("fern.arno",)))
    assert store.institution_run("deactivate-1", CODE) == saved
    assert store.page("deactivate-1", CODE, 0) == saved_page


odd_text = st.text(max_size=30) | st.sampled_from(
    ("", " ", "\0", "null", "1e400", "a\nb", "Ж" * 200, "😀", "NaN", "#", '"')
)
outcomes = st.builds(
    PatronOutcome,
    primary_id=odd_text,
    outcome=st.sampled_from(Outcome),
    reason=odd_text,
    detail=odd_text,
    at=st.datetimes(timezones=st.just(UTC)),
)
pages_of_anything = st.builds(
    page,
    ids=st.lists(odd_text, max_size=5).map(tuple),
    state=st.sampled_from(PageState),
    eligible=st.lists(odd_text, max_size=3).map(tuple),
    outcomes=st.lists(outcomes, max_size=3).map(tuple),
    version=st.integers(0, 10**12),
)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(stored=pages_of_anything)
def test_a_page_is_read_as_it_was_stored(store: Store, stored: Page) -> None:
    """Ids and details of any text, empty ones too, come back as they were, each time in the place of the last."""
    store.put_pages([stored])
    assert store.page("deactivate-1", CODE, 0) == stored


counts = st.dictionaries(odd_text, st.integers(0, 10**9), max_size=3)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(
    trouble=odd_text,
    reasons=counts,
    outcomes=st.dictionaries(st.sampled_from(Outcome), st.integers(0, 10**9)),
    day=st.none() | st.dates(),
    touched_at=st.datetimes(timezones=st.just(UTC)),
    max_percent=st.floats(0.001, 100),
)
def test_an_institution_run_is_read_as_it_was_stored(
    store: Store, max_percent: float, touched_at: datetime, **changes: Any
) -> None:
    """Whatever its texts, counts, dates and policy are, an institution run comes back equal."""
    policy = Policy(deactivate=deactivate(max_percent=max_percent))
    run_id = str(uuid.uuid4())
    stored = institution_run(run_id, institution=institution(policy=policy), touched_at=touched_at, **changes)
    store.create_institution_run(stored)
    assert store.institution_run(run_id, CODE) == stored


# ── Drafts and exclusions ─────────────────────────────────────────────────────────────────────────────────────────────


def test_drafts_are_given_by_attempt_in_order(store: Store) -> None:
    """The pieces of one reading don't mix with those of another, and one stored again is replaced."""
    pieces = [Draft(candidates=(f"patron-{number}", "Größe"), seen=bytes([number, 0, 255])) for number in range(12)]
    for number in reversed(range(12)):
        store.put_draft("deactivate-1", CODE, Reading(chunks=number), pieces[number])
    store.put_draft("deactivate-1", CODE, Reading(attempt=2), Draft(candidates=(), seen=b""))
    store.put_draft("deactivate-1", CODE, Reading(attempt=11), Draft(candidates=("eleventh attempt",), seen=b"11"))
    store.put_draft("deactivate-1", CODE, Reading(source=1), Draft(candidates=("another set",), seen=b"1"))
    store.put_draft("deactivate-1", CODE, Reading(chunks=3), Draft(candidates=("again",), seen=b"x"))
    pieces[3] = Draft(candidates=("again",), seen=b"x")
    assert list(store.drafts("deactivate-1", CODE, Reading(chunks=12))) == pieces
    assert list(store.drafts("deactivate-1", CODE, Reading(chunks=2))) == pieces[:2]
    assert list(store.drafts("deactivate-1", CODE, Reading(attempt=2, chunks=1))) == [Draft(candidates=(), seen=b"")]
    assert list(store.drafts("deactivate-1", CODE, Reading(attempt=3))) == []
    assert list(store.pages(institution_run(pages=99))) == []


@pytest.mark.parametrize("size", [0, 1, 299_999, 300_000, 300_001, 1_600_000])
def test_exclusions_of_any_number_are_frozen(store: Store, size: int) -> None:
    """Hashes beyond what one item or one answer holds come back whole; without any there are none."""
    hashes = (bytes(range(256)) * (size // 256 + 1))[:size]
    store.put_hashes("deactivate-1", CODE, Hashes.EXCLUSIONS, hashes)
    assert store.hashes("deactivate-1", CODE, Hashes.EXCLUSIONS) == hashes
    assert store.hashes("deactivate-1", "01OHIO_BBB", Hashes.EXCLUSIONS) == b""


def test_ids_and_exclusions_have_hashes_of_their_own(store: Store) -> None:
    """What is frozen of the manifest's ids and of the exclusion sets stays apart."""
    store.put_hashes("deactivate-1", CODE, Hashes.EXCLUSIONS, b"exclude1")
    store.put_hashes("deactivate-1", CODE, Hashes.MANIFEST, b"first001second02")
    assert store.hashes("deactivate-1", CODE, Hashes.EXCLUSIONS) == b"exclude1"
    assert store.hashes("deactivate-1", CODE, Hashes.MANIFEST) == b"first001second02"


@pytest.mark.parametrize("count", [1, 250, 251, 1000])
def test_named_patrons_come_back_whole_and_in_order(store: Store, count: int) -> None:
    """However many and however long their ids are, and those alone that are kept under this digest."""
    ids = tuple(f"{number:04}" + "Ω" * 251 for number in range(count))
    store.put_named("reinstate-1", CODE, "digest-1", ids)
    store.put_named("reinstate-1", CODE, "digest-2", ["fern.arno"])
    assert store.named("reinstate-1", CODE, "digest-1") == ids
    assert store.named("reinstate-1", CODE, "digest-2") == ("fern.arno",)
    assert store.named("reinstate-1", CODE, "digest-3") == ()
    assert store.named("reinstate-2", CODE, "digest-1") == ()


# ── Leases ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_is_one_runs_at_a_time(store: Store) -> None:
    """Who has it keeps it, may ask again, and alone can give it back."""
    assert store.lease_holder(CODE) is None
    assert store.acquire_lease(CODE, "deactivate-1")
    assert store.acquire_lease(CODE, "deactivate-1")
    assert not store.acquire_lease(CODE, "deactivate-2")
    assert store.acquire_lease("01OHIO_BBB", "deactivate-2"), "another institution's is free"
    store.release_lease(CODE, "deactivate-2")
    assert store.lease_holder(CODE) == "deactivate-1"
    store.release_lease(CODE, "deactivate-1")
    store.release_lease(CODE, "deactivate-1")
    assert store.lease_holder(CODE) is None
    assert store.acquire_lease(CODE, "deactivate-2")


def test_one_of_many_who_ask_at_once_gets_the_lease(store: Store) -> None:
    """Eight runs ask for one institution at the same moment: one has it."""
    attempts = at_once(*(lambda n=n: store.acquire_lease(CODE, f"deactivate-{n}") for n in range(8)))
    (winner,) = [number for number, attempt in enumerate(attempts) if attempt.given]
    assert store.lease_holder(CODE) == f"deactivate-{winner}"


# ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_to_close_ends_counts_and_gives_back_the_lease(store: Store) -> None:
    """One of two institutions ends: its run goes on, with one less to come."""
    store.create_run(run(institutions=CODES[:2]))
    for code in CODES[:2]:
        store.create_institution_run(institution_run(code=code))
        store.acquire_lease(code, "deactivate-1")
    saved, still_running = store.settle(ended(institution_run(), Status.FAILED))
    assert store.institution_run("deactivate-1", CODE) == saved
    assert store.run("deactivate-1") == still_running
    assert (still_running.status, still_running.open_count) == (RunStatus.RUNNING, 1)
    assert still_running.ended == {Status.FAILED: 1}
    assert still_running.finished_at is None
    assert store.lease_holder(CODE) is None
    assert store.lease_holder("01OHIO_BBB") == "deactivate-1"
    assert [one.code for one in store.open_institution_runs()] == ["01OHIO_BBB"]
    _, over = store.settle(ended(institution_run(code="01OHIO_BBB")))
    assert (over.status, over.open_count, over.finished_at) == (
        RunStatus.COMPLETED_WITH_FAILURES,
        0,
        NOW + timedelta(hours=1),
    )
    assert store.run("deactivate-1") == over


# ── Holds ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def held(one: InstitutionRun) -> InstitutionRun:
    """The institution run as it waits for a person."""
    return one.but(status=Status.HELD, held_at=NOW + timedelta(minutes=5), hold_reasons=("max_patrons: 9 due",))


def test_a_hold_gives_the_lease_back_and_is_found_by_action(store: Store) -> None:
    """A held institution run is open, its run is held once nothing else of it goes on, and the institution is free."""
    store.create_run(run("purge-1", CODES[:2], action=Action.PURGE))
    for code in CODES[:2]:
        store.create_institution_run(institution_run("purge-1", code, action=Action.PURGE))
        store.acquire_lease(code, "purge-1")
    assert store.held(CODE, Action.PURGE) is None
    saved, still_running = store.settle(held(institution_run("purge-1", action=Action.PURGE)))
    assert store.institution_run("purge-1", CODE) == saved
    assert (still_running.status, still_running.open_count, still_running.held_count) == (RunStatus.RUNNING, 2, 1)
    assert store.lease_holder(CODE) is None
    assert store.held(CODE, Action.PURGE) == "purge-1"
    assert store.held(CODE, Action.DEACTIVATE) is None
    _, waiting = store.settle(ended(institution_run("purge-1", "01OHIO_BBB", action=Action.PURGE)))
    assert (waiting.status, waiting.open_count, waiting.finished_at) == (RunStatus.HELD, 1, None)
    assert store.run("purge-1") == waiting


def test_a_run_that_took_patrons_back_is_noted_with_the_one_that_it_undid(store: Store) -> None:
    """Each institution and run of it, once some patrons were changed; not one that changed nobody, or goes on."""
    undo = BringBack(source_run_id="deactivate-1")
    shared = {"action": Action.REINSTATE, "bring_back": undo, "outcomes": {Outcome.REINSTATED: 2}}
    runs: dict[str, dict[str, Any]] = {
        "reinstate-1": shared,
        "reinstate-2": {**shared, "outcomes": {Outcome.SKIPPED: 2}},
        "reinstate-3": {**shared, "bring_back": BringBack(set_id="7")},
    }
    for run_id, changes in runs.items():
        store.create_run(run(run_id, action=Action.REINSTATE))
        store.create_institution_run(institution_run(run_id, **changes))
        assert store.undone_by("deactivate-1") == ([] if run_id == "reinstate-1" else [(CODE, "reinstate-1")])
        store.settle(ended(institution_run(run_id, **changes)))
    assert store.undone_by("deactivate-1") == [(CODE, "reinstate-1")]
    assert [one.code for one in store.institution_runs("deactivate-1")] == []


def test_a_run_knows_what_can_be_taken_back_of_it(store: Store) -> None:
    """How many it has changed, until when all copies are kept, and in how many institutions none were."""
    codes = CODES[:3]
    store.create_run(run("purge-1", codes, action=Action.PURGE))
    for code, days in zip(codes, (30, 0, 7), strict=True):
        whole = institution(
            code, policy=Policy.model_validate({"purge": {"select": {"sweep": True}, "vault_days": days}})
        )
        changes: dict[str, Any] = {
            "action": Action.PURGE,
            "institution": whole,
            "outcomes": {Outcome.PURGED: 2},
            "started_at": NOW,
        }
        store.create_institution_run(institution_run("purge-1", code, **changes))
        store.settle(ended(institution_run("purge-1", code, **changes)))
    done = store.run("purge-1")
    assert done is not None
    assert (done.touched, done.without_copies, done.vault_until) == (6, 1, NOW + timedelta(days=7))


def test_a_run_sums_up_what_came_of_its_institutions(store: Store) -> None:
    """Of those that have ended; who was left as intended, or by a cancel, isn't to be looked at."""
    codes = CODES[:4]
    store.create_run(run(institutions=codes))
    results: tuple[dict[str, Any], ...] = (
        {"status": Status.COMPLETED, "reasons": {"staff": 5, "unverifiable": 2}},
        {"status": Status.FAILED, "reasons": {"not_attempted": 3, "alma_500": 1}},
        {"status": Status.CANCELLED, "reasons": {"not_attempted": 9}},
    )
    for code, changes in zip(codes, results, strict=False):
        one = institution_run(code=code, outcomes={Outcome.DEACTIVATED: 4, Outcome.SKIPPED: 9}, **changes)
        store.create_institution_run(one.but(status=Status.PROCESSING))
        store.settle(one.but(finished_at=NOW))
    waiting = institution_run(code=codes[3], due=7, outcomes={Outcome.SKIPPED: 1}, reasons={"unverifiable": 1})
    store.create_institution_run(waiting)
    store.settle(waiting.but(status=Status.HELD, held_at=NOW))
    found = store.run("deactivate-1")
    assert found is not None
    assert found.outcomes == {Outcome.DEACTIVATED: 12, Outcome.SKIPPED: 27}
    assert (found.changes, found.to_look_at) == (12, 2 + 3 + 1)


@pytest.mark.parametrize(
    ("status", "run_status"),
    [(Status.QUEUED, RunStatus.RUNNING), (Status.REJECTED, RunStatus.CANCELLED), (Status.FAILED, None)],
)
def test_what_was_held_is_counted_anew(store: Store, status: Status, run_status: RunStatus | None) -> None:
    """An approved one runs again, a rejected one ends its run as cancelled; neither is held any more."""
    store.create_run(run())
    store.create_institution_run(institution_run())
    saved, _ = store.settle(held(institution_run()))
    changed = saved.but(status=Status.QUEUED) if status is Status.QUEUED else ended(saved, status)
    _, after = store.settle(changed)
    assert after.status is (run_status or RunStatus.COMPLETED_WITH_FAILURES)
    assert (after.held_count, after.open_count) == (0, int(status is Status.QUEUED))
    assert store.held(CODE, Action.DEACTIVATE) is None
    with pytest.raises(Conflict):
        store.settle(changed)


def test_a_later_hold_of_the_same_action_is_not_forgotten_with_an_earlier_one(store: Store) -> None:
    """When an older held run ends after a newer one was held, the newer one is still found."""
    for number in (1, 2):
        store.create_run(run(f"deactivate-{number}"))
        store.create_institution_run(institution_run(f"deactivate-{number}"))
    first, _ = store.settle(held(institution_run("deactivate-1")))
    store.settle(held(institution_run("deactivate-2")))
    store.settle(ended(first, Status.REJECTED))
    assert store.held(CODE, Action.DEACTIVATE) == "deactivate-2"


@pytest.mark.parametrize(
    ("changes", "is_baseline"),
    [
        ({"status": Status.COMPLETED}, True),
        ({"status": Status.COMPLETED, "mode": Mode.PREVIEW}, False),
        ({"status": Status.FAILED}, False),
        ({"status": Status.CANCELLED}, False),
        ({"status": Status.REJECTED}, False),
    ],
)
def test_only_a_completed_run_to_apply_is_compared_with(
    store: Store, changes: dict[str, Any], *, is_baseline: bool
) -> None:
    """Its changes and the sizes of its exclusion sets are kept for the next run's guards, by action."""
    one = institution_run(mode=changes.get("mode", Mode.APPLY))
    store.create_run(run())
    store.create_institution_run(one)
    figures = {"outcomes": {Outcome.DEACTIVATED: 7, Outcome.SKIPPED: 2}, "exclusion_sizes": {"set 14": 41}}
    store.settle(ended(one, changes["status"]).but(**figures))
    expected = Baseline(
        code=CODE,
        action=Action.DEACTIVATE,
        run_id="deactivate-1",
        finished_at=NOW + timedelta(hours=1),
        changes=7,
        ever_changed=True,
        exclusion_sizes={"set 14": 41},
    )
    assert store.baseline(CODE, Action.DEACTIVATE) == (expected if is_baseline else None)
    assert store.baseline(CODE, Action.PURGE) is None


def test_it_is_remembered_that_anybody_was_ever_changed(store: Store) -> None:
    """A finished run that changed nobody doesn't make the next one the first."""
    for number, changed in enumerate((0, 3, 0), 1):
        store.create_run(run(f"deactivate-{number}"))
        store.create_institution_run(institution_run(f"deactivate-{number}"))
        outcomes = {Outcome.DEACTIVATED: changed} if changed else {}
        store.settle(ended(institution_run(f"deactivate-{number}")).but(outcomes=outcomes))
        baseline = store.baseline(CODE, Action.DEACTIVATE)
        assert baseline is not None
        assert (baseline.changes, baseline.ever_changed) == (changed, number > 1)


def test_the_first_to_ask_for_a_halt_is_kept(store: Store) -> None:
    """A halt can be asked for before the institution run is stored; asking again changes nothing."""
    verdict = Verdict(answer=Answer.CANCELLED, by="ana", at=NOW)
    assert store.halt("deactivate-1", CODE) is None
    store.put_halt("deactivate-1", CODE, verdict)
    store.put_halt("deactivate-1", CODE, verdict.but(by="bo"))
    assert store.halt("deactivate-1", CODE) == verdict
    assert store.halt("deactivate-1", "01OHIO_BBB") is None


def test_who_is_due_is_kept_with_what_is_known_of_them(store: Store) -> None:
    """Whatever is in an id, it comes back with its facts."""
    ids = ("Größe#1", "a/b", "50%", "$.x", "a b", "日本")
    due = {one: f"expired 2020-05-31, {one}" for one in ids}
    store.create_institution_run(institution_run())
    store.put_pages([page(ids=ids)])
    _, saved = store.advance(institution_run(), page(ids=ids, due=due, unclear=ids[:2]))
    assert store.page("deactivate-1", CODE, 0) == saved
    assert saved.due == due
    assert saved.undecided_ids == []


def test_who_was_brought_back_is_remembered_by_id(store: Store) -> None:
    """By institution and id, whatever its case, once for each run; what a run said of somebody before is replaced."""
    one = returned("Fern.Arno#1")
    store.put_returned([one, one.but(primary_id="Größe", expiry_date=date(2020, 2, 29))])
    later = one.but(primary_id="FERN.ARNO#1", on=date(2026, 11, 20))
    store.put_returned([one, later])
    assert set(store.returned(CODE)) == {"fern.arno#1", "größe"}
    assert store.returned(CODE)["fern.arno#1"] == (later,)
    another = one.but(run_id="restore-2")
    store.put_returned([another])
    assert store.returned(CODE)["fern.arno#1"] == (later, another)
    assert store.returned("01OHIO_BBB") == {}


def test_to_close_leaves_another_runs_lease(store: Store) -> None:
    """A queued institution run that is ended doesn't free the institution from the run that is at work there."""
    store.create_run(run("deactivate-2"))
    store.create_institution_run(institution_run("deactivate-2"))
    store.acquire_lease(CODE, "deactivate-1")
    store.settle(ended(institution_run("deactivate-2"), Status.FAILED))
    assert store.lease_holder(CODE) == "deactivate-1"


def test_what_has_ended_is_not_closed_again(store: Store) -> None:
    """A second close, or one of an old version, is a conflict and counts nothing."""
    store.create_run(run(institutions=CODES[:2]))
    store.create_institution_run(institution_run())
    saved, after = store.settle(ended(institution_run()))
    with pytest.raises(Conflict):
        store.settle(ended(institution_run(), Status.FAILED))
    assert store.institution_run("deactivate-1", CODE) == saved
    assert store.run("deactivate-1") == after


def test_the_last_to_end_ends_the_run_exactly_once(store: Store) -> None:
    """Eight institution runs end at the same moment: each is counted, and just one of them sees the run ended."""
    store.create_run(run(institutions=CODES))
    for code in CODES:
        store.create_institution_run(institution_run(code=code))
        store.acquire_lease(code, "deactivate-1")
    attempts = at_once(
        *(
            lambda code=code, n=n: store.settle(
                ended(institution_run(code=code), Status.FAILED if n < 3 else Status.COMPLETED)
            )
            for n, code in enumerate(CODES)
        )
    )
    assert not any(attempt.conflict for attempt in attempts)
    seen = sorted(attempt.given[1].open_count for attempt in attempts)
    assert seen == list(range(8))
    over = store.run("deactivate-1")
    assert over is not None
    assert (over.status, over.open_count) == (RunStatus.COMPLETED_WITH_FAILURES, 0)
    assert over.ended == {Status.FAILED: 3, Status.COMPLETED: 5}
    assert over.finished_at == NOW + timedelta(hours=1)
    assert store.open_institution_runs() == []
    assert {store.lease_holder(code) for code in CODES} == {None}


def test_of_many_who_close_the_same_one_does(store: Store) -> None:
    """A worker and seven tidies end the same institution run: it is counted once, seven have a conflict."""
    store.create_run(run(institutions=CODES[:2]))
    store.create_institution_run(institution_run())
    attempts = at_once(*(lambda: store.settle(ended(institution_run())) for _ in range(8)))
    assert sum(attempt.conflict for attempt in attempts) == 7
    after = store.run("deactivate-1")
    assert after is not None
    assert (after.open_count, after.ended) == (1, {Status.COMPLETED: 1})


def test_a_run_may_be_marked_launched_while_its_first_ends(store: Store) -> None:
    """The enumerator's mark and the end of a quick institution run don't undo each other."""
    store.create_run(run(institutions=CODES, launched=False))
    for code in CODES:
        store.create_institution_run(institution_run(code=code))
    at_once(
        lambda: store.mark_launched("deactivate-1"),
        *(lambda code=code: store.settle(ended(institution_run(code=code))) for code in CODES),
    )
    over = store.run("deactivate-1")
    assert over is not None
    assert (over.launched, over.open_count, over.status) == (True, 0, RunStatus.COMPLETED)
    assert store.unlaunched_runs() == []


# ── DynamoDB alone ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_and_all_that_belongs_to_them_expire(table: Any) -> None:
    """Every item of a run carries the second at which DynamoDB may delete it; institutions and leases stay."""
    store = DynamoStore(table, RETENTION_DAYS)
    store.put_institution(institution())
    store.acquire_lease(CODE, "deactivate-1")
    store.create_run(run(launched=False))
    store.create_institution_run(institution_run())
    store.put_pages([page()])
    store.put_draft("deactivate-1", CODE, Reading(), Draft(candidates=(), seen=b"1"))
    store.put_hashes("deactivate-1", CODE, Hashes.EXCLUSIONS, b"12345678")
    store.advance(institution_run(), page())
    store.mark_launched("deactivate-1")
    store.put_halt("deactivate-1", CODE, Verdict(answer=Answer.CANCELLED, by="ana", at=NOW))
    store.put_returned([returned("fern.arno")])
    store.put_named("deactivate-1", CODE, "d1", ["a"])
    expiring = {item["pk"] + " " + item["sk"]: item.get("expires_at") for item in table.scan()["Items"]}
    (mark,) = [name for name in expiring if name.startswith("returned#01OHIO_AAA ") and name.endswith("#restore-1")]
    end_of_run = int((NOW + timedelta(days=RETENTION_DAYS)).timestamp())
    assert expiring.pop("registry institution#01OHIO_AAA") is None
    assert expiring.pop("lease#01OHIO_AAA lease") is None
    assert expiring.pop(mark) > time.time()
    assert expiring.pop("run#deactivate-1#01OHIO_AAA halt") == end_of_run
    assert expiring.pop("run#deactivate-1 run") == end_of_run
    assert expiring.pop("run#deactivate-1 institution#01OHIO_AAA") == end_of_run
    assert set(expiring) == {
        f"run#deactivate-1#01OHIO_AAA {sort_key}"
        for sort_key in ("page#00000", "draft#0#1#00000", "exclusions#00000", "named#d1#00000")
    }
    assert min(expiring.values()) > time.time(), "none of them has expired already"


def test_that_somebody_was_told_is_kept_until_the_purge_they_were_told_of(table: Any) -> None:
    """However soon results expire: what is forgotten would be told once more."""
    told = Notice(code=CODE, key="r1#done", kind=NoticeKind.DONE, run_id="r1", to=2, at=NOW)
    for days, kept in ((14, 60), (RETENTION_DAYS, RETENTION_DAYS)):
        store = DynamoStore(table, days)
        store.claim_notice(told)
        (item,) = table.scan()["Items"]
        assert item["expires_at"] == int((NOW + timedelta(days=kept)).timestamp())
        store.unclaim_notice(told)


def test_only_what_is_open_stands_in_the_open_index(table: Any) -> None:
    """Ended institution runs and launched runs leave the index, so that it stays small."""
    store = DynamoStore(table, RETENTION_DAYS)
    store.create_run(run(launched=False))
    store.create_institution_run(institution_run())
    assert table.scan(IndexName="open")["Count"] == 2
    store.mark_launched("deactivate-1")
    store.settle(ended(institution_run()))
    assert table.scan(IndexName="open")["Count"] == 0
    assert table.scan(IndexName="timeline")["Count"] == 2


def test_a_write_that_meets_a_transaction_is_a_conflict(table: Any) -> None:
    """DynamoDB refuses a plain write to an item that a transaction is changing just now."""
    store = DynamoStore(table, RETENTION_DAYS)
    store.create_institution_run(institution_run())
    with Stubber(table.meta.client) as stub:
        stub.add_client_error("put_item", "TransactionConflictException")
        with pytest.raises(Conflict):
            store.save(institution_run(seq=1))
        stub.add_client_error("put_item", "TransactionConflictException")
        assert not store.acquire_lease(CODE, "deactivate-1")


def test_a_failure_of_dynamodb_is_no_conflict(table: Any, local_aws: LocalAws) -> None:
    """When the table isn't there the error is DynamoDB's own, so that nobody takes it for somebody else's write."""
    store = DynamoStore(local_aws.resource("dynamodb").Table("nowhere"), RETENTION_DAYS)
    for write in (
        lambda: store.create_run(run()),
        lambda: store.create_institution_run(institution_run()),
        lambda: store.save(institution_run()),
        lambda: store.advance(institution_run(), page()),
        lambda: store.acquire_lease(CODE, "deactivate-1"),
        lambda: store.release_lease(CODE, "deactivate-1"),
    ):
        with pytest.raises(ClientError, match="ResourceNotFound"):
            write()


def test_the_latest_day_of_a_population_comes_first_and_replaces_what_was_kept_of_it(store: Store) -> None:
    """A sweep that is repeated on the same day doesn't make a second point in time."""
    days = [date(2026, 11, 9), date(2026, 11, 23), date(2026, 11, 16)]
    for day in days:
        store.put_population(Population(code=CODE, day=day, run_id="r1", users=10, active=7, inactive=3))
    groups = {"Students": UserGroup(patrons=8, expired=2)}
    again = Population(code=CODE, day=days[1], run_id="r2", users=8, expired={Age.WEEK: 2}, groups=groups)
    store.put_population(again)
    store.put_population(Population(code="01OHIO_ZZZ", day=days[1], run_id="r1"))
    found = store.populations(CODE)
    assert [one.day for one in found] == sorted(days, reverse=True)
    assert found[0] == again
    assert store.populations(CODE, 2) == found[:2]


def test_the_latest_populations_of_all_institutions_are_given_at_once(store: Store) -> None:
    """Each institution's latest day, whatever the order of storing; what is kept of an older day doesn't replace it."""
    assert store.latest_populations() == []
    latest = Population(code="01OHIO_BBB", day=date(2026, 11, 23), run_id="r1", users=10)
    for one in (
        latest.model_copy(update={"day": date(2026, 11, 16)}),
        latest,
        latest.model_copy(update={"day": date(2026, 11, 9)}),
        latest.model_copy(update={"code": "01OHIO_AAA", "day": date(2026, 11, 2)}),
    ):
        store.put_population(one)
    assert store.latest_populations() == [
        latest.model_copy(update={"code": "01OHIO_AAA", "day": date(2026, 11, 2)}),
        latest,
    ]
    assert len(store.populations("01OHIO_BBB")) == 3
    store.put_population(latest.model_copy(update={"users": 11}))
    assert store.latest_populations()[1].users == 11


def test_a_notice_is_claimed_once(store: Store) -> None:
    """Whoever comes second sends nothing; a claim that is given back may be taken again."""
    told = Notice(code=CODE, key="r1#done", kind=NoticeKind.DONE, run_id="r1", to=2, at=NOW)
    other = told.but(key="r1#held", kind=NoticeKind.HELD)
    assert store.claim_notice(told)
    assert store.claim_notice(other)
    assert not store.claim_notice(told.but(to=3))
    assert store.claim_notice(told.but(code=""))
    store.unclaim_notice(other)
    assert store.claim_notice(other)
    store.notice_sent(told)
    assert not store.claim_notice(told)
    assert store.notices(CODE, "r1#") == [told.but(state=NoticeState.SENT), other]
    assert store.notices(CODE, "r2#") == []
    assert len(store.notices(CODE, "")) == 2


def test_of_many_who_would_tell_one_does(store: Store) -> None:
    """Two reporters that take the same event at once send one mail between them."""
    told = Notice(code=CODE, key="r1#done", kind=NoticeKind.DONE, run_id="r1", to=2, at=NOW)
    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(lambda _: store.claim_notice(told.but()), range(8)))
    assert claimed.count(True) == 1


def test_links_are_remembered_with_who_revoked_them(store: Store) -> None:
    """All links of a run are found by it, the whole run's own among them, so that none stays open by mistake."""
    until = NOW + timedelta(days=14)
    links = [
        ReportLink(run_id="r1", code=code, digest=digest, created_at=NOW, until=until)
        for code, digest in (("", "aa"), (CODE, "bb"), (CODE, "cc"))
    ]
    for link in (*links, links[0].but(run_id="r2")):
        store.put_link(link)
    assert store.links("r1") == links
    store.put_link(links[1].but(revoked_by="Mira"))
    assert [link.revoked_by for link in store.links("r1")] == ["", "Mira", ""]


# ── Since when finished runs are looked for ───────────────────────────────────────────────────────────────────────────


def test_the_first_look_is_kept(store: Store) -> None:
    """Each action has its own moment, which later looks don't move, and which is new once it was forgotten."""
    later = NOW + timedelta(days=3, microseconds=7)
    store.forget_watched(Action.PURGE)
    assert store.watched_since(Action.PURGE, applies=True, now=NOW) == NOW
    assert store.watched_since(Action.PURGE, applies=True, now=later) == NOW
    assert store.watched_since(Action.DEACTIVATE, applies=True, now=later) == later
    store.forget_watched(Action.PURGE)
    assert store.watched_since(Action.PURGE, applies=True, now=later) == later
    assert store.watched_since(Action.DEACTIVATE, applies=True, now=NOW) == later


def test_a_look_for_runs_of_the_other_kind_is_a_first_one(store: Store) -> None:
    """Once a schedule that has run previews applies, or the other way round, it is watched from then on."""
    later = NOW + timedelta(days=3)
    store.forget_watched(Action.PURGE)
    assert store.watched_since(Action.PURGE, applies=False, now=NOW) == NOW
    assert store.watched_since(Action.PURGE, applies=True, now=later) == later
    assert store.watched_since(Action.PURGE, applies=True, now=later + timedelta(days=1)) == later
