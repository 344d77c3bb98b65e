"""Bad moments of a purge: late answers, policies that change, people who cancel, vaults and notices that fail.

Most of these were found by reading the code with an adversary's eyes; each failed before its mend.
"""

import contextlib
import csv
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.registry import parse_registry
from patron_lifecycle.reports.export import export_run
from patron_lifecycle.runs.answers import approve, cancel, reject, stop_all
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import InstitutionRun, Status
from patron_lifecycle.runs.notices import NoticeFailed
from patron_lifecycle.vault import Archive, S3Vault
from sandbox.simulator.messages import Fault, Reply, Request, error, general_error, unauthorized
from sandbox.simulator.patrons import identifier
from tests.unit.runs.test_guards import held_bench
from tests.unit.runs.test_purge import CODE, USER, add_set, gone, left, purge, purging, reasons, registry
from tests.workbench import STALLED_AFTER, Killed, Workbench, registry_of

KEEPING = registry(more='first_run: apply, exclude: {set_names: ["Keep"]}')


def of_registry(text: str) -> Any:
    """The first institution of a registry."""
    return parse_registry(text)[0]


def killed_after(bench: Workbench, what: str) -> None:
    """Let the worker be killed as soon as a call of this method was made, and do the slice."""
    dead = [False]

    def watch(request: Request) -> None:
        dead[0] = dead[0] or request.method == what

    def die() -> None:
        if dead[0]:
            raise Killed

    bench.alma.faults.insert(0, watch)
    bench.after_call = bench.before_call = die
    message = bench.queue.messages.popleft()
    with pytest.raises(Killed):
        bench.slice(message)
    bench.after_call = bench.before_call = lambda: None
    bench.alma.faults.remove(watch)
    bench.queue.messages.append(message)


# ── Deletes that Alma is still at work on ─────────────────────────────────────────────────────────────────────────────


def test_an_unclear_delete_is_not_sent_again_by_a_later_slice_either() -> None:
    """Alma finishes a delete late, and its id means somebody else by then, whom a second one would have hit."""
    twin = gone("reed", user_identifier=[identifier("BARCODE", "fern")], status="ACTIVE")
    bench = purging(gone("fern"), twin, listed=("fern",), one_thread=True)
    deletes, away = [0], [False]

    def slow_then_away(request: Request) -> Fault | None:
        if request.method == "DELETE":
            deletes[0] += 1
            if deletes[0] == 1:
                away[0] = True
                return Fault(lost="timeout", carried_out=False)
            bench.alma.institution(CODE).users.pop("fern", None)
        elif away[0] and request.route.startswith("/users"):
            return Fault(reply=general_error())
        return None

    bench.alma.faults.append(slow_then_away)
    started = bench.start(action="purge")
    message = bench.queue.messages.popleft()
    bench.slice(message)
    away[0] = False
    bench.drain()
    assert deletes == [1]
    assert "reed" in left(bench)
    row = bench.outcomes(started.run_id)["fern"]
    assert (row.outcome, row.reason) == (Outcome.FAILED, "unconfirmed")
    assert "Alma didn't say what became of it" in row.detail


def test_an_unclear_delete_is_remembered_though_the_next_slice_comes_to_others_first() -> None:
    """Of two unclear patrons the next slice reads one only at first: the other isn't forgotten, and not sent again."""
    twin = gone("twin", user_identifier=[identifier("BARCODE", "reed")], status="ACTIVE")
    listed = ("fern", "reed")
    bench = purging(gone("fern"), gone("reed"), twin, listed=listed, one_thread=True, seconds=120)
    deletes, is_first = list[str](), [True]

    def slow(request: Request) -> Fault | None:
        user_id = request.arguments.get("user_id", "")
        if request.method == "DELETE":
            deletes.append(user_id)
            if is_first[0]:
                return Fault(lost="timeout", carried_out=False)
            bench.alma.institution(CODE).users.pop("reed", None)
        elif is_first[0] and deletes and request.route.startswith("/users"):
            return Fault(reply=general_error())
        elif not is_first[0] and user_id == "fern":
            bench.time.sleep(31)
        return None

    bench.alma.faults.append(slow)
    started = bench.start(action="purge")
    bench.slice(bench.queue.messages.popleft())
    assert bench.store.page(started.run_id, CODE, 0).unclear == listed
    is_first[0] = False
    bench.drain()
    assert deletes == ["fern", "reed"]
    assert "twin" in left(bench)
    assert reasons(bench, bench.institution_run(started.run_id)) == {"fern": "unconfirmed", "reed": "unconfirmed"}


def test_a_delete_has_time_to_be_answered_before_the_slice_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """No delete begins so shortly before the end of a slice that its answer couldn't be waited for."""
    bench = purging(*(gone(f"p{n}") for n in range(200)), seconds=30, one_thread=True)
    ends, sent = [0.0], list[float]()
    real = bench.connect

    def connect(*arguments: Any) -> Any:
        ends[0] = bench.time.clock() + bench.seconds
        return real(*arguments)

    def slow(request: Request) -> None:
        if request.method == "DELETE":
            sent.append(ends[0] - bench.time.clock())
            bench.time.sleep(0.6)

    monkeypatch.setattr(bench, "connect", connect)
    bench.alma.faults.append(slow)
    run = purge(bench)
    assert run.outcomes == {Outcome.PURGED: 200}
    assert run.slices > 2
    assert min(sent) >= 3.0


def test_a_patron_who_vanishes_between_read_and_delete_after_a_crash_was_purged() -> None:
    """The lost worker's delete goes through after the next slice has read the patron: purged, recovered."""
    bench = purging(gone("fern"), one_thread=True)
    late = [True]

    def goes_through_late(request: Request) -> Fault | None:
        if request.method != "DELETE":
            return None
        if late[0]:
            late[0] = False
            return Fault(lost="timeout", carried_out=False)
        bench.alma.institution(CODE).users.pop("fern", None)
        return None

    bench.alma.faults.append(goes_through_late)
    started = bench.start(action="purge")
    killed_after(bench, "DELETE")
    bench.drain()
    row = bench.outcomes(started.run_id)["fern"]
    assert (row.outcome, row.detail[:9]) == (Outcome.PURGED, "recovered")


def test_what_a_lost_worker_deleted_is_purged_however_late_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as still there, then too old to be acted on, then gone: purged, recovered."""
    bench = purging(gone("fern"), one_thread=True)
    started = bench.start(action="purge")
    lost = Fault(lost="timeout", carried_out=False)
    bench.alma.faults.append(lambda request: lost if request.method == "DELETE" else None)
    killed_after(bench, "DELETE")
    real, is_slow = bench.vault.put, [True]

    def put(archive: Archive) -> None:
        real(archive)
        if is_slow[0]:
            is_slow[0] = False
            bench.time.sleep(61)
            del bench.alma.institution(CODE).users["fern"]

    monkeypatch.setattr(bench.vault, "put", put)
    bench.drain()
    row = bench.outcomes(started.run_id)["fern"]
    assert (row.outcome, row.detail[:9]) == (Outcome.PURGED, "recovered")


def test_throttling_without_end_is_no_unclear_answer() -> None:
    """By 429 Alma says that it did nothing, whatever its words: failed, not unconfirmed."""
    bench = purging(gone("fern"), seconds=30)
    slow_down = Fault(reply=Reply(429, {"Content-Type": "text/html"}, b"<html>slow down</html>"))
    bench.alma.faults.append(lambda request: slow_down if request.method == "DELETE" else None)
    assert reasons(bench, purge(bench)) == {"fern": "alma_http_429"}


def test_a_delete_that_a_firewall_forbids_stops_nobody_else() -> None:
    """HTTP 403 without a word of Alma's, for the DELETE of one odd id: failed, and the others are purged."""
    bench = purging(*(gone(f"p{n}") for n in range(20)), gone("<script>"))
    forbidden = Fault(reply=Reply(403, {"Content-Type": "text/html"}, b"<html>Forbidden</html>"))
    bench.alma.faults.append(
        lambda request: (
            forbidden if request.method == "DELETE" and request.arguments.get("user_id") == "<script>" else None
        )
    )
    run = purge(bench)
    assert run.status is Status.COMPLETED
    assert reasons(bench, run)["<script>"] == "alma_http_403"
    assert run.outcomes[Outcome.PURGED] == 20


def test_a_proxy_s_timeout_is_no_refusal() -> None:
    """HTTP 408 leaves it open whether Alma did it: the patron is read back."""
    bench = purging(gone("fern"))
    late = Fault(reply=error("REQUEST_TIMEOUT", "late", status=408), carried_out=True)
    bench.alma.faults.append(lambda request: late if request.method == "DELETE" else None)
    assert reasons(bench, purge(bench)) == {"fern": "purged"}


def test_a_patron_whom_a_firewall_forbids_stops_nobody_else() -> None:
    """HTTP 403 without a word of Alma's, for one odd id: that patron is unverifiable, the key is not to blame."""
    bench = purging(*(gone(f"p{n}") for n in range(20)), gone("<script>"))
    forbidden = Fault(reply=Reply(403, {"Content-Type": "text/html"}, b"<html>Forbidden</html>"))
    bench.alma.faults.append(lambda request: forbidden if request.arguments.get("user_id") == "<script>" else None)
    run = purge(bench)
    assert run.status is Status.COMPLETED
    assert run.reasons == {"unverifiable": 1}
    assert run.outcomes[Outcome.PURGED] == 20


def test_a_key_that_is_forbidden_everything_still_ends_the_run() -> None:
    """HTTP 403 for every user is the key's trouble."""
    bench = purging(gone("fern"))
    forbidden = Fault(reply=Reply(403, {"Content-Type": "text/html"}, b"<html>Forbidden</html>"))
    bench.alma.faults.append(lambda request: forbidden if request.route == USER else None)
    bench.alma.faults.append(
        lambda request: forbidden if request.route == "/users" and "expand" in request.query else None
    )
    run = purge(bench)
    assert run.status is Status.FAILED
    assert "refused the API key" in run.status_reason


# ── What is archived is what is deleted ───────────────────────────────────────────────────────────────────────────────


def test_the_vault_holds_the_record_that_was_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """When archiving takes so long that records grow old, they are read and archived anew before the delete."""
    bench = purging(gone("fern"), gone("reed"), one_thread=True)
    real, slow = bench.vault.put, [True]

    def put(archive: Archive) -> None:
        real(archive)
        if slow[0]:
            slow[0] = False
            bench.time.sleep(61)
            for user in bench.alma.institution(CODE).users.values():
                user["user_note"] = [{"note_text": "written meanwhile"}]

    deleted: list[Any] = []
    monkeypatch.setattr(bench.vault, "put", put)
    bench.alma.institution(CODE).on_write = deleted.append
    assert purge(bench).outcomes == {Outcome.PURGED: 2}
    kept = {one["primary_id"]: one for archive in bench.vault.archives.values() for one in archive.records}
    assert [kept[write.primary_id]["user_note"] for write in deleted] == [[{"note_text": "written meanwhile"}]] * 2


def test_a_vault_that_refuses_a_later_page_says_what_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first page was purged: nobody is told that nobody was deleted."""

    class OneObject:
        objects = 0

        def put_object(self, **_: object) -> None:
            self.objects += 1
            if self.objects > 1:
                denied: Any = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
                raise ClientError(denied, "PutObject")

    bench = purging(*(gone(f"p{n}") for n in range(250)))
    client: Any = OneObject()
    monkeypatch.setattr(bench, "vault", S3Vault(client, "vault"))
    run = purge(bench)
    assert run.status is Status.FAILED
    assert run.outcomes == {Outcome.PURGED: 100, Outcome.SKIPPED: 150}
    assert "nobody was deleted without a copy" in run.status_reason
    assert "Nothing was changed" not in run.status_reason


# ── Policies that change while a run waits ────────────────────────────────────────────────────────────────────────────


def test_a_policy_registered_before_the_first_slice_is_followed() -> None:
    """A run may wait long for its turn: whoever was put under protection meanwhile stays."""
    bench = purging(gone("fern"), gone("reed"))
    bench.start(action="purge")
    add_set(bench, "Keep", "fern")
    bench.store.put_institution(of_registry(KEEPING))
    bench.drain()
    assert left(bench) == {"fern"}


def test_a_policy_changed_between_approval_and_turn_ends_the_run() -> None:
    """An approved run that waits for another one doesn't follow a policy that was replaced meanwhile."""
    bench = held_bench(*(gone(f"p{n}") for n in range(150)), seconds=8, one_thread=True)
    held = purge(bench)
    bench.start(action="purge", mode="preview")
    bench.slice(bench.queue.messages.popleft())
    approve(held.run_id, CODE, "ana", "", bench.engine)
    add_set(bench, "Keep", "fern")
    bench.store.put_institution(of_registry(registry(more='exclude: {set_names: ["Keep"]}')))
    bench.drain()
    run = bench.institution_run(held.run_id)
    assert run.status is Status.FAILED
    assert "the policy has changed since the run was approved" in run.status_reason
    assert len(left(bench)) == 154


def test_a_newer_run_that_cannot_even_begin_leaves_the_held_one() -> None:
    """Only a run that has read whom it is about takes an older one's place."""
    bench = held_bench()
    held = purge(bench)
    key = bench.keys.pop(CODE)
    assert purge(bench).status is Status.FAILED
    assert bench.institution_run(held.run_id).status is Status.HELD
    bench.keys[CODE] = key
    approve(held.run_id, CODE, "ana", "", bench.engine)
    bench.drain()
    assert bench.institution_run(held.run_id).outcomes[Outcome.PURGED] == 3


def test_a_newer_run_that_never_gets_to_ask_leaves_the_held_one() -> None:
    """The key is revoked while the newer run decides: what somebody was asked about still waits."""
    bench = held_bench()
    held = purge(bench)
    refused = Fault(reply=unauthorized())
    bench.alma.faults.append(lambda request: refused if request.route == USER else None)
    assert purge(bench).status is Status.FAILED
    assert bench.institution_run(held.run_id).status is Status.HELD


def test_an_approval_in_the_moment_of_supersession_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The older run was approved just before the newer one rejects it: both come to their end, nothing fails."""
    bench = held_bench()
    held = purge(bench)
    newer = bench.start(action="purge")
    real, is_approved = bench.store.settle, [False]

    def settle(one: InstitutionRun) -> Any:
        if one.run_id == held.run_id and one.status is Status.REJECTED and not is_approved[0]:
            is_approved[0] = True
            approve(held.run_id, CODE, "ana", "", bench.engine)
        return real(one)

    monkeypatch.setattr(bench.store, "settle", settle)
    bench.drain()
    assert bench.failures == []
    assert bench.institution_run(held.run_id).outcomes[Outcome.PURGED] == 3
    assert bench.institution_run(newer.run_id).status is Status.HELD


def test_an_older_run_that_comes_late_gives_way_to_a_newer_held_one() -> None:
    """The later start is the one that a person has been asked about."""
    bench = held_bench()
    older = bench.start(action="purge")
    message = bench.queue.messages.popleft()
    bench.time.seconds += 60
    newer = purge(bench)
    assert newer.status is Status.HELD
    bench.queue.messages.append(message.model_copy(update={"seq": 9}))
    bench.drain()
    run = bench.institution_run(older.run_id)
    assert (run.status, run.status_reason) == (Status.REJECTED, f"superseded by {newer.run_id}. Nothing was changed.")
    assert bench.institution_run(newer.run_id).status is Status.HELD


def test_a_purge_of_nobody_is_not_the_first_purge() -> None:
    """A set without anybody to delete completes at once; the first list with names on it waits for a person."""
    bench = purging(
        *(gone(f"p{n}") for n in range(40)), registered=registry(more="", caps="max_percent: 100"), listed=()
    )
    assert purge(bench).status is Status.COMPLETED
    bench.alma.institution(CODE).sets[0].members = tuple(f"p{n}" for n in range(40))
    run = purge(bench)
    assert run.status is Status.HELD
    assert run.hold_reasons == ("first_run: the first purge here, of 40 among 40 candidates",)


# ── Reasons that are true ─────────────────────────────────────────────────────────────────────────────────────────────


def begun(bench: Workbench) -> str:
    """A purge after its first slice, which has deleted some."""
    started = bench.start(action="purge", institutions=[CODE])
    bench.slice(bench.queue.messages.popleft())
    run = bench.institution_run(started.run_id)
    assert run.status is Status.PROCESSING
    assert run.outcomes[Outcome.PURGED] > 0
    return started.run_id


def test_what_fails_midway_does_not_say_that_nothing_was_changed() -> None:
    """An exclusion set in flux, or a key swapped, after the first deletes."""
    some = tuple(f"p{n}" for n in range(90))
    kept = (gone(f"x{n}") for n in range(40))
    bench = purging(*map(gone, some), *kept, registered=KEEPING, listed=some, seconds=8, one_thread=True)
    keep = add_set(bench, "Keep", "x0", "x1")
    run_id = begun(bench)
    reads = [1]

    def flux(request: Request) -> None:
        if request.route.endswith("members") and request.arguments.get("set_id") == keep.id:
            reads[0] += 1
            keep.members = tuple(f"x{n}" for n in range(1 + reads[0]))

    bench.alma.faults.append(flux)
    bench.drain()
    run = bench.institution_run(run_id)
    assert run.status is Status.FAILED
    assert "different ids, 3 times over" in run.status_reason
    assert "Nothing was changed" not in run.status_reason


def test_what_fails_before_the_first_write_says_that_nothing_was_changed() -> None:
    """Whoever reads of the failure needn't look whether anybody is gone."""
    run = purge(purging(gone("fern"), registered=KEEPING))
    assert run.status is Status.FAILED
    assert run.status_reason.endswith("Nothing was changed.")


# ── People and machines at the wrong moment ───────────────────────────────────────────────────────────────────────────


def test_stop_all_asks_everything_to_stop_before_anything_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice that can't be sent, for a run that waits, keeps no run that is at work from stopping."""
    bench = Workbench(registry_of("01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC"), users=900, seconds=8, one_thread=True)
    started = bench.start()
    for code in ("01OHIO_BBB", "01OHIO_CCC"):
        message = next(message for message in bench.queue.messages if message.institution == code)
        bench.queue.messages.remove(message)
        bench.slice(message)

    def fails(_: InstitutionRun) -> None:
        raise NoticeFailed("EventBridge refused an event: ThrottlingException")

    with monkeypatch.context() as patched:
        patched.setattr(bench.notices, "institution_run_is", fails)
        with pytest.raises(NoticeFailed):
            stop_all("ana", bench.engine)
    bench.drain()
    assert {one.status for one in bench.store.institution_runs(started.run_id)} == {Status.CANCELLED}


@pytest.mark.parametrize("command", ["reject", "cancel"])
def test_an_answer_whose_notice_was_lost_is_told_when_it_is_repeated(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The answer took effect, and EventBridge failed: whoever gives it again changes nothing, and the end is told."""
    bench = held_bench()
    one = purge(bench)

    def answer() -> None:
        if command == "reject":
            reject(one.run_id, one.code, "cleo", "", bench.engine)
        else:
            cancel(one.run_id, None, "cleo", bench.engine)

    def fails(_: InstitutionRun) -> None:
        raise NoticeFailed("EventBridge refused an event: ThrottlingException")

    with monkeypatch.context() as patched:
        patched.setattr(bench.notices, "institution_run_is", fails)
        with pytest.raises(NoticeFailed):
            answer()
    ended = bench.institution_run(one.run_id)
    assert not ended.status.is_open
    told = len(bench.notices.institution_runs)
    with contextlib.suppress(InvalidEvent):
        answer()
    assert bench.institution_run(one.run_id) == ended
    assert [each.status for each in bench.notices.institution_runs[told:]] == [ended.status]
    assert [whole.run_id for whole in bench.notices.runs] == [one.run_id]


def test_a_cancel_right_before_the_hold_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop in the moment in which the run is held: it is cancelled, and nobody is asked to approve it."""
    bench = held_bench()
    started = bench.start(action="purge")
    real = bench.store.settle

    def settle(one: InstitutionRun) -> Any:
        if one.status is Status.HELD:
            cancel(started.run_id, None, "cleo", bench.engine)
        return real(one)

    monkeypatch.setattr(bench.store, "settle", settle)
    bench.drain()
    assert bench.institution_run(started.run_id).status is Status.CANCELLED


def test_a_cancel_during_the_hold_is_heeded_though_the_notice_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop while the run is held, and the worker then fails: the redelivered message cancels it."""
    bench = held_bench()
    started = bench.start(action="purge")
    real, tell, lost = bench.store.settle, bench.notices.institution_run_is, [True]

    def settle(one: InstitutionRun) -> Any:
        if one.status is Status.HELD:
            cancel(started.run_id, None, "cleo", bench.engine)
        return real(one)

    def tells_the_second_time(one: InstitutionRun) -> None:
        if lost[0]:
            lost[0] = False
            raise NoticeFailed("x")
        tell(one)

    monkeypatch.setattr(bench.store, "settle", settle)
    monkeypatch.setattr(bench.notices, "institution_run_is", tells_the_second_time)
    bench.drain()
    assert bench.institution_run(started.run_id).status is Status.CANCELLED


def test_a_cancel_as_a_worker_begins_leaves_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that had just taken the lease gives it back."""
    bench = purging(gone("fern"))
    started = bench.start(action="purge")
    real = bench.store.acquire_lease

    def acquire_lease(code: str, run_id: str) -> bool:
        cancel(started.run_id, None, "cleo", bench.engine)
        return real(code, run_id)

    monkeypatch.setattr(bench.store, "acquire_lease", acquire_lease)
    bench.slice(bench.queue.messages.popleft())
    assert bench.institution_run(started.run_id).status is Status.CANCELLED
    assert bench.store.lease_holder(CODE) is None


def test_an_export_during_an_approval_has_one_row_for_each(tmp_path: Path) -> None:
    """The pages are read after the run was approved and worked on: nobody stands there twice."""
    bench = held_bench()
    held = purge(bench)

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.store, name)

        def institution_runs(self, run_id: str) -> list[InstitutionRun]:
            found = bench.store.institution_runs(run_id)
            approve(held.run_id, CODE, "ana", "", bench.engine)
            bench.drain()
            return found

    racing: Any = Racing()
    export_run(racing, held.run_id, tmp_path)
    with (tmp_path / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        ids = [row["primary_id"] for row in csv.DictReader(file)]
    assert sorted(ids) == ["fern", "loaned", "reed", "sage"]


def test_an_approval_whose_message_is_lost_goes_on_by_the_tidy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator dies between settling the approval and sending its message: the tidy wakes the run."""
    bench = held_bench()
    held = purge(bench)

    def dies(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(bench.queue, "send", dies)
        with pytest.raises(Killed):
            approve(held.run_id, CODE, "ana", "", bench.engine)
    bench.time.seconds += (STALLED_AFTER + timedelta(minutes=1)).total_seconds()
    tidy(bench.engine, STALLED_AFTER)
    bench.drain()
    assert bench.institution_run(held.run_id).status is Status.COMPLETED


def test_slow_decisions_are_progress() -> None:
    """A pass of decisions that gets on by a few patrons at a time comes to its end, all of them being eligible."""
    bench = purging(*(gone(f"p{n}") for n in range(120)), registered=registry(more=""), one_thread=True)
    bench.alma.faults.append(
        lambda request: bench.time.sleep(1.5) if request.method == "GET" and request.route == USER else None
    )
    run = purge(bench)
    assert (run.status, run.due) == (Status.HELD, 120)


def test_a_short_rest_of_a_slice_is_not_read_away() -> None:
    """Where reading the exclusion sets leaves a few seconds only, what is read is deleted too."""
    more = 'first_run: apply, exclude: {set_names: ["Keep"]}'
    bench = purging(*(gone(f"p{n}") for n in range(100)), registered=registry(more=more), one_thread=True)
    keep = add_set(bench, "Keep", "x")

    def slow(request: Request) -> None:
        if request.route.endswith("members") and request.arguments.get("set_id") == keep.id:
            bench.time.sleep(288)

    bench.alma.faults.append(slow)
    assert purge(bench).outcomes == {Outcome.PURGED: 100}


def test_a_slow_pace_uses_the_whole_slice() -> None:
    """A page that isn't read within its time goes on in the same slice."""
    slow = registry(caps="max_percent: 100").replace("policy:\n", "policy:\n      pace: {requests_per_second: 5}\n")
    bench = purging(*(gone(f"p{n}") for n in range(400)), registered=slow)
    reads = [0]

    def throttle(request: Request) -> Fault | None:
        if request.method != "GET" or request.route != USER:
            return None
        reads[0] += 1
        return Fault(reply=error("PER_SECOND_THRESHOLD", "x", status=429)) if reads[0] % 40 == 1 else None

    bench.alma.faults.append(throttle)
    assert purge(bench).slices <= 3
