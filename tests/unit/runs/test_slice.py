"""One institution run from its first message to its end, against the simulated Alma."""

import copy
import json
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patron_lifecycle.alma.errors import Unavailable
from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.registry import parse_registry
from patron_lifecycle.runs.answers import cancel
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import InstitutionRun, Mode, PageState, RunStatus, Status, WorkMessage
from patron_lifecycle.runs.store import MemoryStore
from sandbox.simulator.messages import Fault, Reply, Request, general_error, json_reply
from tests.workbench import STALLED_AFTER, TODAY, Killed, Workbench, registry_of

CODE = "01OHIO_AAA"
USER = "/users/{user_id}"


def of_set(name: str = "Expired and active", more: str = "") -> str:
    """A registry of one institution that deactivates the members of a set."""
    return f"""
institutions:
  - code: {CODE}
    name: Alder
    region: na
    time_zone: America/New_York
    policy:
      deactivate: {{select: {{set_name: "{name}"}}, max_patrons: 1000000, max_percent: 100{more}}}
"""


def users(bench: Workbench, code: str = CODE) -> dict[str, dict[str, Any]]:
    """Copies of all records of the simulated institution, by case-folded primary id."""
    return copy.deepcopy(bench.alma.institution(code).users)


def expected(record: dict[str, Any]) -> bool:
    """Whether the deactivation's rules let this patron be changed, said in another way than the rules."""
    expiry = record.get("expiry_date")
    return (
        expiry is not None
        and date.fromisoformat(expiry[:10]) <= TODAY - timedelta(days=7)
        and record["status"]["value"] == "ACTIVE"
        and record["record_type"]["value"] == "PUBLIC"
        and all(
            role["role_type"]["value"] == "200" for role in record["user_role"] if role["status"]["value"] == "ACTIVE"
        )
        and not record.get("source_link_id")
        and not record.get("source_institution_code")
        and not record["primary_id"].startswith("no primary id")
    )


def assert_true(bench: Workbench, run: InstitutionRun, before: dict[str, dict[str, Any]]) -> None:
    """Every candidate has one outcome, and it is what happened in Alma; nobody else was touched."""
    outcomes = bench.outcomes(run.run_id, run.code)
    assert len(outcomes) == run.candidates
    assert Counter(row.outcome for row in outcomes.values()) == Counter(run.outcomes)
    assert Counter(row.reason for row in outcomes.values() if row.reason) == Counter(run.reasons)
    writes = bench.alma.institution(run.code).writes
    written = [write.primary_id.casefold() for write in writes]
    assert len(set(written)) == len(written), "a patron was written twice"
    deactivated = {key.casefold() for key, row in outcomes.items() if row.outcome is Outcome.DEACTIVATED}
    assert set(written) == deactivated
    assert all(expected(before[key]) for key in deactivated)
    for write in writes:
        before_it, after_it = write.before or {}, write.after or {}
        changed = {key for key in before_it if before_it[key] != after_it.get(key)}
        assert write.method == "PUT"
        assert changed <= {"status", "status_date"}


def test_a_sweep_deactivates_exactly_who_the_rules_allow() -> None:
    """Everybody eligible whom Alma accepts becomes INACTIVE, nobody else is touched, and the counts say so."""
    bench = Workbench(users=600)
    before = users(bench)
    run = bench.run()
    assert run.status is Status.COMPLETED
    assert run.seen == 600
    assert_true(bench, run, before)
    eligible = {key for key, record in before.items() if expected(record)}
    tried = {
        key.casefold() for key, row in bench.outcomes(run.run_id).items() if row.outcome in ("deactivated", "failed")
    }
    assert tried == eligible
    assert run.outcomes[Outcome.DEACTIVATED] > 20


def test_the_same_again_finds_nothing_left_to_do() -> None:
    """A second run deactivates nobody: only who was skipped or refused is a candidate again."""
    bench = Workbench(users=300)
    first = bench.run()
    writes = len(bench.alma.institution(CODE).writes)
    second = bench.run()
    assert second.status is Status.COMPLETED
    assert Outcome.DEACTIVATED not in second.outcomes
    assert second.candidates == first.candidates - first.outcomes[Outcome.DEACTIVATED]
    assert len(bench.alma.institution(CODE).writes) == writes


def test_a_preview_says_what_the_real_run_does_and_writes_nothing() -> None:
    """Preview and apply agree patron by patron, but for what Alma refuses; the preview makes no write call."""
    bench = Workbench(users=400)
    preview = bench.run(mode="preview")
    assert {method for _, method, _ in bench.alma.calls} == {"GET"}
    would = {key for key, row in bench.outcomes(preview.run_id).items() if row.outcome is Outcome.WOULD_DEACTIVATE}
    applied = bench.run()
    did = {key for key, row in bench.outcomes(applied.run_id).items() if row.outcome in ("deactivated", "failed")}
    assert would == did
    assert preview.candidates == applied.candidates


@pytest.mark.parametrize("name", ["Expired and active", "Expired and active, as of the start"])
def test_a_set_is_read_whole_before_anything_changes(name: str) -> None:
    """A logical set whose members leave it as they are deactivated loses nobody; nor does an itemized one."""
    bench = Workbench(of_set(name), users=800)
    before = users(bench)
    run = bench.run()
    assert run.status is Status.COMPLETED
    assert run.candidates == run.seen
    assert_true(bench, run, before)
    left = [record for record in users(bench).values() if expected(record)]
    assert len(left) == run.outcomes[Outcome.FAILED]


@pytest.mark.untraced
def test_a_long_run_goes_on_over_several_slices() -> None:
    """With twenty seconds a slice, 20,000 users and about 2,000 candidates end with one outcome each."""
    bench = Workbench(users=20_000, seconds=16)
    before = users(bench)
    run = bench.run()
    assert run.status is Status.COMPLETED
    assert run.seen == 20_000
    assert run.candidates > 1_800
    assert run.slices >= 3
    assert_true(bench, run, before)


def test_memory_of_where_it_was_survives_slices_too_short_for_the_sweep() -> None:
    """A sweep that no single slice could finish is read on from where the last slice stopped."""
    bench = Workbench(users=6_000, seconds=3.5)
    run = bench.run(mode="preview")
    assert run.status is Status.COMPLETED
    assert run.seen == 6_000
    assert run.slices > 3


def test_excluded_sets_groups_and_notes_stay_out() -> None:
    """Members of an excluded set, patrons of an excluded group and holders of an excluded note are skipped so."""
    more = (
        ', exclude: {set_names: ["Community patrons"], user_groups: [staff_family], note_contains: ["Do Not Expire"]}'
    )
    bench = Workbench(of_set("Expired and active", more), users=1500)
    records = bench.alma.institution(CODE).users
    plain = [record for record in records.values() if expected(record) and not record["user_note"]]
    plain[0]["user_group"] = {"value": "STAFF_FAMILY", "desc": "Families"}
    run = bench.run()
    outcomes = bench.outcomes(run.run_id)
    assert outcomes[plain[0]["primary_id"]].reason == "excluded_group"
    assert run.reasons["excluded_set"] > 0
    assert run.reasons["excluded_note"] > 0
    community = {key for key, row in outcomes.items() if row.reason == "excluded_set"}
    assert all(records[key.casefold()]["user_group"]["value"] == "COMMUNITY" for key in community)


def test_who_joins_an_exclusion_set_while_the_run_goes_on_is_protected() -> None:
    """Exclusion sets are read again in every slice: a patron added to one between two slices stays ACTIVE."""
    more = ', exclude: {set_names: ["Community patrons"]}'
    bench = Workbench(of_set("Expired and active", more), users=1500, seconds=8)
    started = bench.start()
    bench.slice(bench.queue.messages.popleft())
    run = bench.institution_run(started.run_id)
    assert run.status is Status.PROCESSING
    last = [
        key for key in bench.store.page(run.run_id, CODE, run.pages - 1).ids if expected(users(bench)[key.casefold()])
    ]
    community = bench.alma.institution(CODE).set_named("Community patrons")
    community.members = (*community.members, last[0])
    bench.drain()
    assert bench.outcomes(started.run_id)[last[0]].reason == "excluded_set"


def test_who_was_in_an_exclusion_set_at_the_start_stays_protected() -> None:
    """A patron taken out of an exclusion set while the run goes on is still protected by the frozen one."""
    more = ', exclude: {set_names: ["Community patrons"]}'
    bench = Workbench(of_set("Expired and active", more), users=1500, seconds=8)
    bench.start()
    bench.slice(bench.queue.messages.popleft())
    community = bench.alma.institution(CODE).set_named("Community patrons")
    members, community.members = community.members, ()
    bench.drain()
    after = users(bench)
    assert not [key for key in members if after[key.casefold()]["status_date"] == f"{TODAY}Z"]


def test_institutions_trouble_stays_its_own() -> None:
    """A library without a key fails with what to mend, while the others complete."""
    bench = Workbench(registry_of("01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC"))
    del bench.keys["01OHIO_BBB"]
    started = bench.start()
    bench.drain()
    runs = {one.code: one for one in bench.store.institution_runs(started.run_id)}
    assert runs["01OHIO_BBB"].status is Status.FAILED
    assert "secret test/01OHIO_BBB is missing" in runs["01OHIO_BBB"].status_reason
    assert {runs[code].status for code in ("01OHIO_AAA", "01OHIO_CCC")} == {Status.COMPLETED}
    ended = bench.store.run(started.run_id)
    assert ended is not None
    assert ended.status is RunStatus.COMPLETED_WITH_FAILURES
    assert ended.open_count == 0


def test_a_key_of_another_institution_is_refused_before_anything_is_read() -> None:
    """When general answers with another code nothing is read or changed, in a preview as well."""
    bench = Workbench(registry_of("01OHIO_AAA", "01OHIO_BBB"))
    bench.keys["01OHIO_AAA"] = bench.keys["01OHIO_BBB"]
    run = bench.run(institutions=["01OHIO_AAA"], mode="preview")
    assert run.status is Status.FAILED
    assert "belongs to institution 01OHIO_BBB, not to 01OHIO_AAA" in run.status_reason
    assert set(bench.alma.calls) == {("01OHIO_BBB", "GET", "/conf/general")}


def test_an_unknown_key_fails_with_the_mend() -> None:
    """A key that Alma doesn't know ends the institution run and says which rights a key needs."""
    bench = Workbench()
    bench.keys[CODE] = "some-other-key"
    run = bench.run()
    assert run.status is Status.FAILED
    assert "read/write rights on Users" in run.status_reason
    assert "some-other-key" not in run.status_reason


def test_a_key_without_write_rights_is_found_before_the_first_write() -> None:
    """A read-only key fails an apply before anything is selected; a preview does with it."""
    bench = Workbench()
    bench.alma.institution(CODE).read_only_keys = frozenset({"reader"})
    bench.keys[CODE] = "reader"
    assert bench.run(mode="preview").status is Status.COMPLETED
    run = bench.run()
    assert run.status is Status.FAILED
    assert "may not write users" in run.status_reason
    assert run.candidates == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("No such set", 'no set of users is named "No such set"'),
        ("OHIONET purge items", "holds ITEM, not users"),
    ],
)
def test_a_set_that_cannot_be_used_fails_with_the_mend(name: str, told: str) -> None:
    """A set that doesn't exist or holds no users ends the institution run with what to mend."""
    run = Workbench(of_set(name)).run()
    assert run.status is Status.FAILED
    assert told in run.status_reason


def test_an_ambiguous_set_name_fails_with_the_ids() -> None:
    """Two sets of one name are never guessed between."""
    bench = Workbench(of_set())
    institution = bench.alma.institution(CODE)
    twin = copy.copy(institution.set_named("Expired and active"))
    twin.id = "777"
    institution.sets.append(twin)
    run = bench.run()
    assert run.status is Status.FAILED
    assert "777" in run.status_reason


def test_an_exclusion_set_that_is_gone_fails_before_anything_changes() -> None:
    """Without its exclusion set nobody is deactivated."""
    bench = Workbench(of_set(more=', exclude: {set_names: ["Long gone"]}'))
    run = bench.run()
    assert run.status is Status.FAILED
    assert 'no set of users is named "Long gone"' in run.status_reason
    assert not bench.alma.institution(CODE).writes


def test_a_pause_that_is_cancelled_says_who_was_not_attempted() -> None:
    """Alma's daily calls end midway, and nobody wants to wait: what was done is told, the rest is not_attempted."""
    bench = Workbench(users=600)
    before = users(bench)
    bench.alma.institution(CODE).daily_quota = 75
    paused = bench.run()
    assert paused.status is Status.PAUSED
    assert not bench.queue.messages
    cancel(paused.run_id, CODE, "ana", bench.engine)
    run = bench.institution_run(paused.run_id)
    assert run.outcomes[Outcome.DEACTIVATED] > 0
    assert run.reasons["not_attempted"] > 0
    assert "unconfirmed" not in run.reasons
    assert_true(bench, run, before)


def test_a_revoked_key_midway_ends_the_run_truthfully() -> None:
    """A key revoked between two writes: the done are told, the rest not attempted."""
    bench = Workbench(users=600)
    before = users(bench)

    def revoke_after_ten() -> None:
        if len(bench.alma.institution(CODE).writes) >= 10:
            bench.alma.institution(CODE).api_key = "another"

    bench.before_call = revoke_after_ten
    run = bench.run()
    assert run.status is Status.FAILED
    assert run.outcomes[Outcome.DEACTIVATED] >= 10
    assert_true(bench, run, before)


def faulty(bench: Workbench, wanted: str, method: str, fault: Fault) -> None:
    """Let every call of `method` for one patron go wrong so."""

    def judge(request: Request) -> Fault | None:
        same = request.arguments.get("user_id") == wanted and request.method == method
        return fault if same else None

    bench.alma.faults.append(judge)


def one_eligible(bench: Workbench) -> str:
    """The id of a patron whom the run is going to deactivate."""
    preview = bench.run(mode="preview")
    outcomes = bench.outcomes(preview.run_id)
    records = users(bench)
    return next(
        key
        for key, row in outcomes.items()
        if row.outcome is Outcome.WOULD_DEACTIVATE
        and all(address["line1"] for address in records[key.casefold()]["contact_info"]["address"])
        and records[key.casefold()]["account_type"]["value"] == "EXTERNAL"
        and not records[key.casefold()]["user_title"]["value"]
    )


def test_a_write_whose_answer_is_lost_is_read_back_and_never_sent_again() -> None:
    """Alma did it, the reply was lost: the patron is deactivated, told as recovered, written once."""
    bench = Workbench(users=200)
    before = users(bench)
    wanted = one_eligible(bench)
    faulty(bench, wanted, "PUT", Fault(carried_out=True, lost="reset"))
    run = bench.run()
    row = bench.outcomes(run.run_id)[wanted]
    assert row.outcome is Outcome.DEACTIVATED
    assert row.detail.startswith("recovered")
    assert_true(bench, run, before)


def test_a_write_that_was_not_done_is_tried_again_after_a_fresh_read() -> None:
    """An unclear answer to a write that Alma didn't carry out: read, decide anew, send again; at most three times."""
    bench = Workbench(users=200)
    wanted = one_eligible(bench)
    sent = []

    def judge(request: Request) -> Fault | None:
        if request.arguments.get("user_id") == wanted and request.method == "PUT":
            sent.append(request)
            return Fault(carried_out=False, reply=general_error()) if len(sent) == 1 else None
        return None

    bench.alma.faults.append(judge)
    run = bench.run()
    assert bench.outcomes(run.run_id)[wanted].outcome is Outcome.DEACTIVATED
    assert len(sent) == 2


def test_a_patron_whose_write_always_fails_is_failed_and_the_run_completes() -> None:
    """One patron's trouble never stops the run: three sends, then failed with Alma's code."""
    bench = Workbench(users=200)
    wanted = one_eligible(bench)
    faulty(bench, wanted, "PUT", Fault(carried_out=False, reply=general_error()))
    run = bench.run()
    assert run.status is Status.COMPLETED
    row = bench.outcomes(run.run_id)[wanted]
    assert (row.outcome, row.reason) == (Outcome.FAILED, "alma_GENERAL_ERROR")
    assert bench.alma.calls[CODE, "PUT", USER] == run.outcomes[Outcome.DEACTIVATED] + run.outcomes[Outcome.FAILED] + 2


def test_a_patron_whose_record_cannot_be_read_is_unverifiable() -> None:
    """A patron for whom Alma only has errors is skipped as unverifiable; the others are done."""
    bench = Workbench(users=200)
    wanted = one_eligible(bench)
    faulty(bench, wanted, "GET", Fault(carried_out=False, reply=Reply(502, {"Content-Type": "text/html"}, b"<html>")))
    run = bench.run()
    assert run.status is Status.COMPLETED
    assert bench.outcomes(run.run_id)[wanted].reason == "unverifiable"


def test_another_patron_in_the_answer_is_an_identity_mismatch() -> None:
    """When the look-up gives somebody else, nobody is changed."""
    bench = Workbench(users=200)
    wanted = one_eligible(bench)
    other = next(record for record in users(bench).values() if record["primary_id"] != wanted)
    faulty(bench, wanted, "GET", Fault(carried_out=False, reply=json_reply(200, other)))
    run = bench.run()
    assert bench.outcomes(run.run_id)[wanted].reason == "identity_mismatch"
    assert wanted not in {write.primary_id for write in bench.alma.institution(CODE).writes}


def test_alma_down_is_not_taken_for_patrons_trouble() -> None:
    """While Alma answers nothing at all the page is left for later, and nobody is called unverifiable."""
    bench = Workbench(users=200)
    started = bench.start()
    down = [False]

    def fall() -> None:
        down[0] = down[0] or bench.alma.calls[CODE, "GET", USER] >= 1

    bench.before_call = fall
    bench.alma.faults.append(
        lambda request: (
            Fault(carried_out=False, reply=general_error()) if down[0] and request.route.startswith("/users") else None
        )
    )
    bench.slice(bench.queue.messages.popleft())  # has selected: goes on, since that was progress
    message = bench.queue.messages.popleft()
    with pytest.raises(Unavailable):
        bench.slice(message)
    run = bench.institution_run(started.run_id)
    assert run.status is Status.PROCESSING
    assert "GENERAL_ERROR" in run.trouble
    bench.before_call = lambda: None
    down[0] = False
    bench.queue.messages.append(message)
    bench.drain()
    assert bench.institution_run(started.run_id).status is Status.COMPLETED
    assert "unverifiable" not in bench.institution_run(started.run_id).reasons


def test_an_outage_without_end_fails_the_institution_run_with_the_trouble() -> None:
    """After three slices without progress the institution run fails and says what Alma answered."""
    bench = Workbench(users=200)
    bench.alma.faults.append(
        lambda request: Fault(carried_out=False, reply=general_error()) if request.route.startswith("/users") else None
    )
    run = bench.run(mode="preview")
    assert run.status is Status.FAILED
    assert "no progress in 3 slices" in run.status_reason
    assert "GENERAL_ERROR" in run.status_reason


def test_a_stale_message_is_dropped() -> None:
    """A message of an earlier seq, of an ended run, or of none changes nothing."""
    bench = Workbench(users=200)
    run = bench.run()
    calls = bench.alma.calls.total()
    bench.slice(WorkMessage(run_id=run.run_id, institution=CODE, seq=0))
    bench.slice(WorkMessage(run_id="no-such-run", institution=CODE, seq=0))
    assert bench.alma.calls.total() == calls
    assert bench.institution_run(run.run_id) == run


def test_a_busy_institution_makes_the_later_run_wait() -> None:
    """The second run of an institution starts when the first has ended, whatever the order of messages."""
    bench = Workbench(users=1500, seconds=8)
    first, second = bench.start(), bench.start(mode="preview")
    bench.slice(bench.queue.messages.popleft())
    assert bench.institution_run(first.run_id).status is Status.PROCESSING
    bench.slice(bench.queue.messages.popleft())
    assert bench.institution_run(second.run_id).status is Status.QUEUED
    bench.drain()
    one, other = bench.institution_run(first.run_id), bench.institution_run(second.run_id)
    assert one.status is other.status is Status.COMPLETED
    assert one.finished_at is not None
    assert other.started_at is not None
    assert one.finished_at <= other.started_at


def test_a_set_that_keeps_changing_is_never_acted_on() -> None:
    """When announced and read counts never agree the institution run fails, with both figures."""
    bench = Workbench(of_set("Expired and active, as of the start"), users=400)
    chosen = bench.alma.institution(CODE).set_named("Expired and active, as of the start")
    chosen.members = (*chosen.members, chosen.members[0])  # lists a member twice
    run = bench.run()
    assert run.status is Status.FAILED
    assert f"announced {len(chosen.members)} but gave {len(chosen.members) - 1}" in run.status_reason
    assert not bench.alma.institution(CODE).writes


def test_a_set_that_changes_once_is_read_again() -> None:
    """One change while a set is read costs a second reading, and nobody is missed."""
    bench = Workbench(of_set("Expired and active"), users=3000)
    records = bench.alma.institution(CODE).users
    gone = next(record for record in records.values() if expected(record))
    calls = [0]

    def renew_one() -> None:
        calls[0] += 1
        if calls[0] == 6:
            gone["expiry_date"] = "2030-01-01Z"

    bench.before_call = renew_one
    run = bench.run(mode="preview")
    assert run.status is Status.COMPLETED
    assert gone["primary_id"] not in bench.outcomes(run.run_id)


def test_the_day_is_that_of_the_institution_and_stays() -> None:
    """Late in the evening in New York it is already tomorrow in UTC; the run judges by New York's day throughout."""
    bench = Workbench(users=100)
    bench.time.seconds += 9 * 3600  # 21:00 in New York, 02:00 UTC of the next day
    run = bench.run(mode="preview")
    assert bench.time.now().date() == TODAY + timedelta(days=1)
    assert run.day == TODAY


def test_as_of_moves_the_day_of_a_preview() -> None:
    """A preview of a later day holds at least everybody of today's."""
    bench = Workbench(users=600)
    today = bench.run(mode="preview")
    later = bench.run(mode="preview", as_of="2027-06-30")
    assert later.day == date(2027, 6, 30)
    assert set(bench.outcomes(today.run_id)) < set(bench.outcomes(later.run_id))


def test_the_run_keeps_alma_pace() -> None:
    """At 10 calls a second no call is ever answered 429 by an Alma that allows 15."""
    bench = Workbench(registry_of(CODE, pace=10), users=900, per_second=15, one_thread=True)
    run = bench.run()
    assert run.status is Status.COMPLETED
    assert run.throttled == 0
    assert bench.alma.throttled[CODE] == 0
    assert run.calls == bench.alma.calls.total()


def test_a_new_slice_does_not_spend_the_second_of_the_one_before_it() -> None:
    """Slices that follow each other at once, of one run and of the next, stay within Alma's limit together."""
    bench = Workbench(registry_of(CODE, pace=10), users=600, per_second=15, seconds=8, one_thread=True)
    bench.start(mode="preview")
    bench.start()
    bench.drain()
    assert bench.alma.throttled[CODE] == 0


class DyingStore(MemoryStore):
    """A store whose worker is killed at a given write, before or after it is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.die_at = -1
        self.after = False
        self.writes = 0

    def _write(self, name: str, *arguments: Any) -> Any:
        self.writes += 1
        dies = self.writes == self.die_at
        if dies and not self.after:
            raise Killed
        result = getattr(MemoryStore, name)(self, *arguments)
        if dies:
            raise Killed
        return result

    def advance(self, *arguments: Any) -> Any:
        """See `Store`."""
        return self._write("advance", *arguments)

    def close(self, *arguments: Any) -> Any:
        """See `Store`."""
        return self._write("close", *arguments)

    def put_pages(self, *arguments: Any) -> Any:
        """See `Store`."""
        return self._write("put_pages", *arguments)

    def put_draft(self, *arguments: Any) -> Any:
        """See `Store`."""
        return self._write("put_draft", *arguments)


@pytest.mark.untraced
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    call_deaths=st.lists(st.tuples(st.integers(1, 250), st.booleans()), max_size=3),
    store_death=st.integers(-1, 30),
    after=st.booleans(),
    lost=st.sets(st.integers(1, 120), max_size=6),
    mode=st.sampled_from(list(Mode)),
    seconds=st.sampled_from([6.0, 16.0, 300.0]),
    forgetful=st.booleans(),
)
def test_whenever_the_worker_dies_every_candidate_ends_with_one_true_outcome(
    seed: int,
    call_deaths: list[tuple[int, bool]],
    store_death: int,
    after: bool,
    lost: set[int],
    mode: Mode,
    seconds: float,
    forgetful: bool,
) -> None:
    """Killed at any calls or writes, with answers lost at random, the run still ends with the truth about everybody."""
    store = DyingStore()
    bench = Workbench(users=250, seed=seed, store=store, seconds=seconds, forgetful_queue=forgetful)
    before = users(bench)
    reference = Workbench(users=250, seed=seed)
    undisturbed = reference.run(mode=mode.value)
    store.die_at, store.after = store_death, after
    counts = Counter[str]()
    deaths_before = {number for number, after_it in call_deaths if not after_it}
    deaths_after = {number for number, after_it in call_deaths if after_it}

    def before_call() -> None:
        counts["begun"] += 1
        if counts["begun"] in deaths_before:
            raise Killed

    def after_call() -> None:
        counts["ended"] += 1
        if counts["ended"] in deaths_after:
            raise Killed

    def lose(request: Request) -> Fault | None:
        if request.method != "PUT":
            return None
        counts["puts"] += 1
        return Fault(carried_out=True, lost="reset") if counts["puts"] in lost else None

    bench.before_call, bench.after_call = before_call, after_call
    bench.alma.faults.append(lose)
    started = bench.start(mode=mode.value)
    bench.drain(deliveries=50)
    run = bench.institution_run(started.run_id)
    if run.status is Status.FAILED:  # three deaths in a row without progress between them are allowed to end it
        assert "no progress" in run.status_reason
        return
    assert run.status is Status.COMPLETED
    if mode is Mode.APPLY:
        assert_true(bench, run, before)
    else:
        assert not bench.alma.institution(CODE).writes
    assert {key: row.outcome for key, row in bench.outcomes(run.run_id).items()} == {
        key: row.outcome for key, row in reference.outcomes(undisturbed.run_id).items()
    }
    pages = list(store.pages(run))
    assert all(page.state is PageState.DONE for page in pages)


def test_a_failed_preview_calls_nobody_unconfirmed() -> None:
    """A preview can't have changed anybody: whom it didn't come to is not_attempted, even in a page it had begun."""
    bench = Workbench(users=600)

    def revoke_midway() -> None:
        if bench.alma.calls[CODE, "GET", "/users/{user_id}"] >= 20:
            bench.alma.institution(CODE).api_key = "another"

    bench.before_call = revoke_midway
    run = bench.run(mode="preview")
    assert run.status is Status.FAILED
    assert run.reasons["not_attempted"] > 0
    assert set(run.reasons) <= {"not_attempted", "staff", "linked_account"}
    assert all(row.reason != "unconfirmed" for row in bench.outcomes(run.run_id).values())


def test_an_id_that_cannot_be_stored_stops_nobody_else() -> None:
    """Half of a surrogate pair in an id, which JSON lets through: that user is unverifiable, the others are done."""
    bench = Workbench(users=90)
    wanted = one_eligible(bench)
    rows = list(users(bench).values())
    next(row for row in rows if row["primary_id"] == wanted)["primary_id"] = "odd\ud83d"
    body = json.dumps({"user": rows, "total_record_count": 90}).encode()
    listed = Fault(carried_out=False, reply=Reply(200, {"Content-Type": "application/json"}, body))
    bench.alma.faults.append(lambda request: listed if request.route == "/users" else None)
    run = bench.run()
    assert run.status is Status.COMPLETED
    assert run.reasons["unverifiable"] == 1
    assert run.outcomes[Outcome.DEACTIVATED] > 1


def due(bench: Workbench) -> list[dict[str, Any]]:
    """The live records of all patrons whom nothing keeps from being deactivated, and whom Alma would accept."""
    return [
        record
        for record in bench.alma.institution(CODE).users.values()
        if expected(record)
        and all(address["line1"] for address in record["contact_info"]["address"])
        and record["account_type"]["value"] == "EXTERNAL"
        and not record["user_title"]["value"]
    ]


@pytest.mark.parametrize("since", [{"expiry_date": "2030-01-31Z"}, {"source_link_id": "1234"}])
def test_who_was_changed_before_the_worker_died_is_told_so_whatever_happened_since(since: dict[str, str]) -> None:
    """A patron written just before the crash, and renewed or linked before the next slice, is still deactivated."""
    bench = Workbench(users=300)
    before = users(bench)
    started = bench.start()
    wrote: list[str] = []

    def die_after_a_write() -> None:
        if not wrote and (writes := bench.alma.institution(CODE).writes):
            wrote.append(writes[0].primary_id)
            raise Killed

    bench.after_call = die_after_a_write
    message = bench.queue.messages.popleft()
    with pytest.raises(Killed):
        bench.slice(message)
    bench.alma.institution(CODE).users[wrote[0].casefold()].update(since)
    bench.queue.messages.append(message)
    bench.drain()
    run = bench.institution_run(started.run_id)
    row = bench.outcomes(run.run_id)[wrote[0]]
    assert (row.outcome, row.detail[:9]) == (Outcome.DEACTIVATED, "recovered")
    assert_true(bench, run, before)


def test_a_lost_answer_is_told_as_done_even_when_the_patron_was_renewed_meanwhile() -> None:
    """Alma did it, the reply was lost, and a load extends the expiry date before the read-back: deactivated."""
    bench = Workbench(users=200)
    wanted = due(bench)[0]

    def renew(request: Request) -> Fault | None:
        if request.arguments.get("user_id") != wanted["primary_id"]:
            return None
        if request.method == "PUT":
            return Fault(carried_out=True, lost="reset")
        record = bench.alma.institution(CODE).users[wanted["primary_id"].casefold()]
        if record["status"]["value"] == "INACTIVE":
            record["expiry_date"] = "2030-01-31Z"
        return None

    bench.alma.faults.append(renew)
    run = bench.run()
    assert bench.outcomes(run.run_id)[wanted["primary_id"]].outcome is Outcome.DEACTIVATED


def slow_after_reading(bench: Workbench) -> None:
    """Let the first write take so long that the slice ends with most of its page unsent."""

    def judge(request: Request) -> Fault | None:
        if request.method == "PUT" and not bench.alma.institution(CODE).writes:
            bench.time.sleep(bench.seconds)
        return None

    bench.alma.faults.append(judge)


def test_whom_no_write_was_sent_to_is_never_called_recovered() -> None:
    """The deadline leaves a page half done; staff deactivate one of the rest by hand: already_inactive, not ours."""
    bench = Workbench(users=600, one_thread=True)
    slow_after_reading(bench)
    started = bench.start()
    bench.slice(bench.queue.messages.popleft())
    page = bench.store.page(started.run_id, CODE, 0)
    assert len(page.outcomes) < len(page.ids)
    assert page.eligible == ()
    by_hand = next(record for record in due(bench) if record["primary_id"] in page.open_ids)
    by_hand["status"] = {"value": "INACTIVE", "desc": "Inactive"}
    bench.drain()
    row = bench.outcomes(started.run_id)[by_hand["primary_id"]]
    assert row.reason == "already_inactive"


def test_whom_no_write_was_sent_to_is_not_attempted_when_the_run_fails() -> None:
    """The same half-done page, and the key is revoked before the next slice: nobody is called unconfirmed."""
    bench = Workbench(users=600, one_thread=True)
    slow_after_reading(bench)
    started = bench.start()
    bench.slice(bench.queue.messages.popleft())
    bench.keys[CODE] = "revoked"
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.status is Status.FAILED
    assert run.reasons["not_attempted"] > 10
    assert "unconfirmed" not in run.reasons


def test_an_outage_while_writing_leaves_patrons_for_the_next_slice() -> None:
    """Alma goes down between reading a page and writing it: nobody is called unverifiable, all are done later."""
    bench = Workbench(users=300)
    started = bench.start()
    is_down = [False]
    bench.before_call = lambda: is_down.__setitem__(0, is_down[0] or bool(bench.alma.institution(CODE).writes))
    bench.alma.faults.append(
        lambda request: (
            Fault(carried_out=False, reply=general_error())
            if is_down[0] and request.route.startswith("/users")
            else None
        )
    )
    bench.slice(bench.queue.messages.popleft())
    bench.before_call = lambda: None
    is_down[0] = False
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.status is Status.COMPLETED
    assert "unverifiable" not in run.reasons


def test_a_selection_cut_by_the_deadline_hands_over() -> None:
    """When calls' turns come after the deadline the slice ends in order: no failure, no delivery spent."""
    bench = Workbench(users=5_000, seconds=2.6)
    bench.start(mode="preview")
    for _ in range(3):
        bench.slice(bench.queue.messages.popleft())
    assert len(bench.queue.messages) == 1
    assert not bench.failures


def test_a_freezing_cut_short_leaves_no_rows_behind() -> None:
    """Killed after the pages were written, and selected anew with fewer members: one row for each candidate."""
    store = DyingStore()
    bench = Workbench(of_set("Expired and active, as of the start"), users=1500, store=store, seconds=8)
    started = bench.start()
    store.die_at, store.after = 2, True  # the draft, then the pages
    message = bench.queue.messages.popleft()
    with pytest.raises(Killed):
        bench.slice(message)
    bench.seconds = 300  # larger pages, so fewer of them
    bench.queue.messages.append(message)
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert len(bench.outcomes(run.run_id)) == run.candidates > 100


def test_an_institution_switched_off_before_its_first_slice_is_left_alone() -> None:
    """Disabled while its message waited: the institution run fails with why, and nothing is read or changed."""
    bench = Workbench(users=100)
    started = bench.start()
    (registered,) = bench.store.institutions()
    bench.store.put_institution(registered.model_copy(update={"enabled": False}))
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.status is Status.FAILED
    assert "switched off in the registry" in run.status_reason
    assert not bench.alma.calls


def test_a_message_of_an_ended_run_gives_back_what_its_worker_could_not() -> None:
    """Killed between ending a run and waking the next: the redelivered message wakes it."""
    bench = Workbench(users=100)
    first = bench.start(mode="preview")
    message = bench.queue.messages.popleft()
    second = bench.start(mode="preview")
    bench.slice(message)
    bench.store.acquire_lease(CODE, first.run_id)
    bench.queue.messages.clear()
    bench.slice(message)
    assert bench.store.lease_holder(CODE) is None
    bench.drain()
    assert bench.institution_run(second.run_id).status is Status.COMPLETED


def test_exclusion_sets_that_no_slice_can_read_are_named_as_the_cause() -> None:
    """The institution run fails and says that the exclusion sets are too large for a slice."""
    bench = Workbench(of_set(more=', exclude: {set_names: ["Huge"]}'), users=100, seconds=2.2)
    institution = bench.alma.institution(CODE)
    huge = copy.copy(institution.set_named("Community patrons"))
    huge.id, huge.name = "999", "Huge"
    huge.members = tuple(institution.users) * 60
    institution.sets.append(huge)
    run = bench.run()
    assert run.status is Status.FAILED
    assert "exclusion sets could not be read within a slice" in run.status_reason


@pytest.mark.parametrize("by", ["link", "id"])
def test_who_is_excluded_is_so_by_either_id_of_a_member(by: str) -> None:
    """A member of an exclusion set whose link names nobody is excluded by its id, and the other way round."""
    bench = Workbench(of_set(more=', exclude: {set_names: ["Community patrons"]}'), users=300)
    wanted = due(bench)[0]["primary_id"]
    named = {"link": f"https://alma.example.edu/almaws/v1/users/{wanted}", "id": "4711"}
    if by == "id":
        named = {"link": "https://alma.example.edu/almaws/v1/users/4711", "id": wanted}
    community = bench.alma.institution(CODE).set_named("Community patrons")
    community.members = (wanted,)
    body = {"member": [named], "total_record_count": 1}

    def members(request: Request) -> Fault | None:
        of_it = request.route.endswith("/members") and request.arguments.get("set_id") == community.id
        return Fault(reply=json_reply(200, body)) if of_it else None

    bench.alma.faults.append(members)
    run = bench.run()
    assert run.status is Status.COMPLETED
    assert bench.outcomes(run.run_id)[wanted].reason == "excluded_set"


def test_an_exclusion_set_with_an_unreadable_link_fails_the_run() -> None:
    """A link that isn't UTF-8 could leave somebody unprotected, so nobody is changed."""
    bench = Workbench(of_set(more=', exclude: {set_names: ["Community patrons"]}'), users=300)
    community = bench.alma.institution(CODE).set_named("Community patrons")
    community.members = (due(bench)[0]["primary_id"],)
    row = {"link": "https://alma.example.edu/almaws/v1/users/ren%E9", "id": "4711"}
    unreadable = Fault(reply=json_reply(200, {"member": [row], "total_record_count": 1}))
    bench.alma.faults.append(
        lambda request: (
            unreadable
            if request.route.endswith("/members") and request.arguments.get("set_id") == community.id
            else None
        )
    )
    run = bench.run()
    assert run.status is Status.FAILED
    assert "link can't be read" in run.status_reason
    assert not bench.alma.institution(CODE).writes


def test_a_message_that_comes_before_its_sender_has_noted_it_is_worked_on_at_once() -> None:
    """An approval sends the message, and then notes its seq: the worker that is quicker looks again, and goes on."""
    bench = Workbench()
    run_id = bench.start().run_id
    noted = [False]

    class NotedMeanwhile(MemoryStore):
        def __init__(self, store: MemoryStore) -> None:
            self.__dict__ = store.__dict__

        def acquire_lease(self, code: str, run_id: str) -> bool:
            if not noted[0]:
                noted[0] = True
                self.save(bench.institution_run(run_id).but(touched_at=bench.time.now()))
            return super().acquire_lease(code, run_id)

    assert isinstance(bench.store, MemoryStore)
    bench.slice(bench.queue.messages.popleft(), NotedMeanwhile(bench.store))
    assert noted[0]
    assert bench.institution_run(run_id).status is Status.COMPLETED


def test_a_run_that_has_stalled_doesnt_go_on_by_an_old_policy() -> None:
    """It lay for hours, and meanwhile somebody was put under protection: it fails, and a new run does what is due."""
    bench = Workbench(users=400, seconds=6)
    run_id = bench.start().run_id
    bench.slice(bench.queue.messages.popleft())
    bench.queue.messages.clear()  # the message is lost
    assert bench.institution_run(run_id).status.goes_on
    kept = registry_of(CODE).replace("{sweep: true}", "{sweep: true}, exclude: {user_groups: [fac]}")
    bench.store.put_institution(parse_registry(kept)[0])
    bench.time.seconds += STALLED_AFTER.total_seconds() + 60
    assert tidy(bench.engine, STALLED_AFTER).woken == (f"{run_id}/{CODE}",)
    bench.drain()
    one = bench.institution_run(run_id)
    assert one.status is Status.FAILED
    assert one.status_reason.startswith("the policy has changed since the run has stalled.")
    assert bench.store.lease_holder(CODE) is None
