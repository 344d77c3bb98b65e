"""Bad moments of a reinstatement and a restore: workers that are killed anywhere, and answers that are lost or unclear.

Whatever happens, everybody has one outcome and it is true, nobody is made twice, nobody else is touched, and who was
brought back is remembered.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.runs.answers import cancel
from patron_lifecycle.runs.model import InstitutionRun, Status, WorkMessage
from patron_lifecycle.runs.pausing import resume
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.vault import VaultRefused, VaultUnavailable
from sandbox.simulator.messages import Fault, Reply, Request, error, general_error, json_reply
from sandbox.simulator.patrons import coded, identifier, record, xs_date
from tests.unit.runs.test_bringing_back import (
    AHEAD,
    CODE,
    LAPSED,
    PIECES,
    USERS,
    bench_of,
    done,
    due,
    is_right,
    restoring,
    rows_of,
    status_of,
    undoing,
    user,
    writes,
)
from tests.unit.runs.test_purge import USER, gone, left, reasons
from tests.workbench import TODAY, Killed, Workbench

BACK = [Action.REINSTATE, Action.RESTORE]
WRITE = {Action.REINSTATE: "PUT", Action.RESTORE: "POST"}
STORE_WRITES = ("save", "advance", "settle", "put_pages", "put_hashes", "put_returned", "put_draft")


class Scene:
    """An institution in which a run has taken away some patrons, and another is about to bring them back."""

    def __init__(self, by: Action, *patrons: dict[str, Any], expiry_date: date | None = None, **more: Any) -> None:
        make = due if by is Action.REINSTATE else gone
        self.by = by
        self.patrons = patrons or tuple(make(f"p{number}") for number in range(5))
        bystanders = [
            record("willow", expiry_date=AHEAD),
            record("iris", expiry_date=AHEAD, user_identifier=[identifier("BARCODE", "bc-9")]),
        ]
        self.bench = bench_of(*self.patrons, *bystanders, one_thread=True, store=MemoryStore(), **more)
        assert by.undoes is not None
        self.source = done(self.bench, by.undoes.value)
        assert self.source.changes == len(self.patrons)
        self.event = {"action": by.value, "source_run_id": self.source.run_id}
        if expiry_date is not None:
            self.event["expiry_date"] = expiry_date.isoformat()
        judge = undoing if by is Action.REINSTATE else restoring
        archived = () if by is Action.REINSTATE else self.patrons
        self.judge = judge(self.bench, *(archived or (self.source,)), expiry_date=expiry_date)
        self.run_id = ""

    def start(self) -> WorkMessage:
        """Start the run; its first message."""
        self.run_id = self.bench.start(**self.event).run_id
        return self.bench.queue.messages[0]

    def play(self) -> InstitutionRun:
        """Start the run, and let it come to its end."""
        self.start()
        self.bench.drain()
        return self.run

    @property
    def run(self) -> InstitutionRun:
        """The run that brings back, as it is now."""
        return self.bench.institution_run(self.run_id)

    @property
    def users(self) -> dict[str, dict[str, Any]]:
        """Everybody in Alma."""
        return self.bench.alma.institution(CODE).users

    def all_are_back(self, expected: dict[str, dict[str, Any]]) -> None:
        """All came back, once each, as without any trouble; it is told so, and remembered."""
        run = self.run
        assert (run.status, run.status_reason) == (Status.COMPLETED, "")
        is_right(self.bench, self.judge, run)
        assert set(reasons(self.bench, run).values()) == {self.by.done.value}
        assert run.outcomes == {self.by.done: len(self.patrons)}
        assert self.users == expected
        self.has_written_once()
        self.is_remembered()

    def has_written_once(self) -> None:
        """Nobody was created or changed twice by this run."""
        method = WRITE[self.by]
        assert max(Counter(one for how, one in writes(self.bench) if how == method).values()) <= 1 + (method == "PUT")

    def is_remembered(self) -> None:
        """Whoever was brought back is known to the purges to come."""
        marks = self.bench.store.returned(CODE)
        back = {key for key, row in self.bench.outcomes(self.run_id).items() if row.outcome is self.by.done}
        assert set(marks) >= {key.casefold() for key in back}
        for key in back:
            (mark,) = marks[key.casefold()]
            assert (mark.run_id, mark.on, mark.confirmed) == (self.run_id, TODAY, True)
            found = user(self.bench, key)
            assert (mark.active, mark.expiry_date and xs_date(mark.expiry_date)) == (
                found["status"]["value"] == "ACTIVE",
                found["expiry_date"],
            )


def without_trouble(by: Action, expiry_date: date | None = None) -> dict[str, dict[str, Any]]:
    """How everybody ends when nothing goes wrong."""
    scene = Scene(by, expiry_date=expiry_date)
    scene.play()
    scene.all_are_back(scene.users)
    return scene.users


class DyingStore:
    """A store at whose n-th write, counted over all slices, the worker is killed: before it, or right after it."""

    def __init__(self, store: Any, count: list[int], at: int, *, after: bool) -> None:
        self._store, self._count, self._at, self._after = store, count, at, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in STORE_WRITES:
            return method

        def dying(*arguments: Any) -> Any:
            self._count[0] += 1
            if self._count[0] == self._at and not self._after:
                raise Killed
            result = method(*arguments)
            if self._count[0] == self._at and self._after:
                raise Killed
            return result

        return dying


class Reaper:
    """Kills the worker once, at the n-th call of Alma's: before it, or right after it; then no thread of it goes on."""

    def __init__(self, bench: Workbench, at: int, moment: str) -> None:
        self.is_dead = False
        self._at, self._moment, self._calls = at, moment, 0
        bench.before_call = lambda: self._meet("before_call")
        bench.after_call = lambda: self._meet("after_call")

    def _meet(self, moment: str) -> None:
        self._calls += moment == self._moment
        if self._calls == self._at and moment == self._moment:
            self.is_dead = True
        if self.is_dead:
            raise Killed


def worked_through(scene: Scene, reaper: Reaper | None = None, store: Any = None) -> int:
    """Work through the queue; a killed worker's message is given back. How many were killed."""
    killed = 0
    for _ in range(100):
        if not scene.bench.queue.messages:
            return killed
        message = scene.bench.queue.messages.popleft()
        if reaper is not None:
            reaper.is_dead = False
        try:
            scene.bench.slice(message, store)
        except Killed:
            killed += 1
            scene.bench.queue.messages.appendleft(message)
    raise AssertionError("the queue never runs dry")


# ── Workers that are killed ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", BACK)
@pytest.mark.parametrize("moment", ["before_call", "after_call"])
@pytest.mark.parametrize("expiry_date", [None, AHEAD])
def test_a_worker_killed_at_any_call_loses_nobody(by: Action, moment: str, expiry_date: date | None) -> None:
    """Before or right after each call of Alma in turn: all end as without it, and those in doubt are told recovered."""
    expected = without_trouble(by, expiry_date)
    died, recovered = 0, 0
    for at in range(1, 40):
        scene = Scene(by, expiry_date=expiry_date)
        scene.start()
        killed = worked_through(scene, Reaper(scene.bench, at, moment))
        scene.all_are_back(expected)
        recovered += sum("recovered: " in row[3] for row in rows_of(scene.bench, scene.run))
        died += killed
        if not killed:
            break
    assert died >= 13  # at least the checks, five reads, five writes
    assert recovered >= 5 if moment == "after_call" else recovered > 0


@pytest.mark.parametrize("by", BACK)
@pytest.mark.parametrize("after", [False, True])
def test_a_worker_killed_at_any_write_of_the_store_loses_nobody(by: Action, *, after: bool) -> None:
    """Before or right after each item that is stored."""
    expected = without_trouble(by)
    died = 0
    for at in range(1, 40):
        scene = Scene(by)
        count = [0]
        scene.start()
        killed = worked_through(scene, store=DyingStore(scene.bench.store, count, at, after=after))
        scene.all_are_back(expected)
        died += killed
        if not killed:
            break
    assert died >= 8


@pytest.mark.parametrize("moment", ["before_get"])
def test_a_worker_killed_at_any_look_into_the_vault_loses_nobody(moment: str) -> None:
    """The copies are looked up anew by the next one."""
    expected = without_trouble(Action.RESTORE)
    scene = Scene(Action.RESTORE)
    looks = [0]

    def die() -> None:
        looks[0] += 1
        if looks[0] == 1:
            raise Killed

    setattr(scene.bench.vault, moment, die)
    scene.start()
    assert worked_through(scene) == 1
    scene.all_are_back(expected)


def killed_after_each_write(scene: Scene, times: int) -> None:
    """Start the run; its first worker is killed as soon as Alma has made a change, the next one after one more."""
    message = scene.start()
    for written in range(1, times + 1):

        def die(written: int = written) -> None:
            if len(scene.judge.writes) == written:
                raise Killed

        scene.bench.before_call = scene.bench.after_call = die
        scene.bench.queue.messages.clear()
        with pytest.raises(Killed):
            scene.bench.slice(message)
    scene.bench.before_call = scene.bench.after_call = lambda: None
    scene.bench.queue.messages.append(message)
    scene.bench.drain()


@pytest.mark.parametrize("by", BACK)
def test_a_worker_killed_again_loses_nobody(by: Action) -> None:
    """Two workers one after the other: the third one finds what both have done."""
    expected = without_trouble(by)
    scene = Scene(by)
    killed_after_each_write(scene, 2)
    scene.all_are_back(expected)
    assert scene.run.slices == 3


@pytest.mark.parametrize("by", BACK)
def test_a_run_whose_workers_all_die_tells_what_it_does_not_know(by: Action) -> None:
    """After four of them it fails: everybody of the page is unconfirmed, and another run brings back the others."""
    scene = Scene(by)
    killed_after_each_write(scene, 4)
    run = scene.run
    assert (run.status, run.reasons) == (Status.FAILED, {"unconfirmed": 5})
    assert scene.judge.wrongs == []
    assert len(scene.judge.writes) == 4
    assert len(scene.bench.store.returned(CODE)) == 5
    again = done(scene.bench, **scene.event)
    assert again.outcomes == {by.done: 1, Outcome.SKIPPED: 4}
    scene.has_written_once()


def killed_with_a_write_under_way(scene: Scene) -> list[bytes]:
    """Kill the worker as it has just sent its first write, which Alma hasn't carried out yet; that write's body."""
    sent: list[bytes] = []

    def slow(request: Request) -> Fault | None:
        if request.method != WRITE[scene.by] or request.route not in (USERS, USER):
            return None
        sent.append(request.body)
        return Fault(lost="timeout")

    def die() -> None:
        if sent:
            raise Killed

    scene.bench.alma.faults.append(slow)
    scene.bench.before_call = scene.bench.after_call = die
    message = scene.start()
    scene.bench.queue.messages.clear()
    with pytest.raises(Killed):
        scene.bench.slice(message)
    scene.bench.before_call = scene.bench.after_call = lambda: None
    scene.bench.alma.faults.clear()
    scene.bench.queue.messages.append(message)
    return sent


def test_a_post_that_goes_through_after_its_worker_s_death_was_this_run_s() -> None:
    """The next worker reads the id as free, and its own POST is refused since the first is carried out just then."""
    expected = without_trouble(Action.RESTORE)
    scene = Scene(Action.RESTORE)
    (body,) = killed_with_a_write_under_way(scene)
    late = json.loads(body)["primary_id"]
    headers = {"authorization": f"apikey {scene.bench.keys[CODE]}", "content-type": "application/json"}
    is_open = [True]

    def carry_out_first(request: Request) -> None:
        if request.method == "POST" and request.route == USERS and is_open[0]:
            is_open[0] = False
            scene.bench.alma.handle("POST", "/almaws/v1/users", {}, headers, body)

    scene.bench.alma.faults.append(carry_out_first)
    scene.bench.drain()
    assert "recovered: " in scene.bench.outcomes(scene.run_id)[late].detail
    scene.all_are_back(expected)


def test_whose_barcode_is_taken_after_a_worker_s_death_is_still_told_so() -> None:
    """The second POST is refused for another patron's barcode: id_taken with Alma's words, not recovered."""
    scene = Scene(Action.RESTORE, gone("fern", user_identifier=[identifier("BARCODE", "bc-1")]))
    killed_with_a_write_under_way(scene)
    scene.users["rowan"] = record("rowan", user_identifier=[identifier("BARCODE", "bc-1")])
    scene.bench.drain()
    row = scene.bench.outcomes(scene.run_id)["fern"]
    assert (row.outcome, row.reason) == (Outcome.SKIPPED, "id_taken")
    assert "User with identifier bc-1 of type BARCODE already exists." in row.detail
    assert scene.judge.writes == []


def test_who_was_given_the_id_after_a_worker_s_death_was_not_restored_by_it() -> None:
    """Another person has the id by then: id_taken, and that person stays as they are."""
    scene = Scene(Action.RESTORE, gone("fern"), gone("reed"))
    killed_with_a_write_under_way(scene)
    somebody = record("fern", last_name="Somebody", expiry_date=gone("x")["expiry_date"])
    scene.users["fern"] = somebody
    scene.bench.drain()
    assert reasons(scene.bench, scene.run) == {"fern": "id_taken", "reed": "restored"}
    assert scene.users["fern"] is somebody


@pytest.mark.parametrize("what", ["objects gone", "objects corrupt"])
def test_who_may_have_been_restored_is_unconfirmed_without_the_copy(what: str) -> None:
    """Restored right before the worker died, and the copies are over: not told as one who never came back."""
    scene = Scene(Action.RESTORE)

    def die() -> None:
        if scene.judge.writes:
            raise Killed

    scene.bench.after_call = scene.bench.before_call = die
    message = scene.start()
    scene.bench.queue.messages.clear()
    with pytest.raises(Killed):
        scene.bench.slice(message)
    scene.bench.after_call = scene.bench.before_call = lambda: None
    if what == "objects gone":
        scene.bench.vault.archives.clear()
    else:
        unreadable: Any = ("nothing",)
        archives = scene.bench.vault.archives
        archives.update({key: one._replace(records=unreadable) for key, one in archives.items()})
    scene.bench.queue.messages.append(message)
    scene.bench.drain()
    (restored,) = {write.primary_id for write in scene.judge.writes}
    told = reasons(scene.bench, scene.run)
    assert told[restored] == "unconfirmed"
    assert set(told.values()) == {"unconfirmed"}
    assert scene.bench.outcomes(scene.run_id)[restored].outcome is Outcome.FAILED


# ── Answers that are lost or unclear ──────────────────────────────────────────────────────────────────────────────────

LOST: dict[str, Fault] = {
    "timeout": Fault(lost="timeout"),
    "reset": Fault(lost="reset"),
    "503": Fault(general_error()),
    "502": Fault(Reply(502, {}, b"<html>")),
    "401658": Fault(error("401658", "Failed to create user.")),
    "401652": Fault(error("401652", "General error")),
    "402119": Fault(error("402119", "General error")),
    "cut off": Fault(Reply(200, {}, b'{"primary_id": "p')),
    "empty": Fault(Reply(200, {}, b"")),
    "of nobody": Fault(json_reply(200, {"primary_id": " "})),
    "of somebody else": Fault(json_reply(200, record("willow"))),
}


def at_writes(scene: Scene, fault: Fault, which: Callable[[int], bool] = lambda _: True) -> list[int]:
    """Let this happen to the writes of patrons that `which` names by their number; how many writes there were."""
    count = [0]

    def judge(request: Request) -> Fault | None:
        if request.method != WRITE[scene.by] or request.route not in (USERS, USER):
            return None
        count[0] += 1
        return fault if which(count[0]) else None

    scene.bench.alma.faults.append(judge)
    return count


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("by", BACK)
@pytest.mark.parametrize("which", ["all", "second"])
def test_what_was_done_though_the_answer_was_lost_is_told(by: Action, lost: str, which: str) -> None:
    """Each is read back, found there, and told as recovered; nothing is sent twice."""
    expected = without_trouble(by)
    scene = Scene(by)
    at_writes(scene, replace(LOST[lost], carried_out=True), lambda number: which == "all" or number == 2)
    scene.play()
    scene.all_are_back(expected)
    assert len(scene.judge.writes) == 5
    recovered = [row[3] for row in rows_of(scene.bench, scene.run) if "recovered: Alma's answer was lost" in row[3]]
    assert len(recovered) == (5 if which == "all" else 1)


@pytest.mark.parametrize("lost", LOST)
def test_a_post_without_a_clear_answer_that_was_not_done_is_not_sent_again(lost: str) -> None:
    """Nobody is found: unconfirmed, one POST, nothing half-done; a later restore brings them back."""
    scene = Scene(Action.RESTORE)
    count = at_writes(scene, LOST[lost], lambda number: number <= 2)
    run = scene.play()
    assert Counter(reasons(scene.bench, run).values()) == {"restored": 3, "unconfirmed": 2}
    assert count == [5]
    unconfirmed = {key for key, told in reasons(scene.bench, run).items() if told == "unconfirmed"}
    assert not unconfirmed & left(scene.bench)
    scene.has_written_once()
    scene.is_remembered()
    scene.bench.alma.faults.clear()
    again = done(scene.bench, **scene.event)
    assert {key for key, told in reasons(scene.bench, again).items() if told == "restored"} == unconfirmed


@pytest.mark.parametrize("lost", [one for one in LOST if one != "401658"])
def test_a_put_that_was_not_done_is_sent_again_after_a_fresh_read(lost: str) -> None:
    """Found INACTIVE as before: sent once more, up to three times; all come back."""
    expected = without_trouble(Action.REINSTATE)
    scene = Scene(Action.REINSTATE)
    at_writes(scene, LOST[lost], lambda number: number <= 2)
    scene.play()
    scene.all_are_back(expected)
    assert len(scene.judge.writes) == 5


def test_a_put_that_never_gets_through_is_failed_and_undone() -> None:
    """After three tries the patron is INACTIVE as before, and told with Alma's code."""
    scene = Scene(Action.REINSTATE)
    at_writes(scene, LOST["503"])
    before = dict(status_of(scene.bench))
    run = scene.play()
    assert set(reasons(scene.bench, run).values()) == {"alma_GENERAL_ERROR"}
    assert status_of(scene.bench) == before


@pytest.mark.parametrize("by", BACK)
def test_throttling_is_waited_for(by: Action) -> None:
    """429s at reads and writes: by them Alma says that it did nothing, so it is sent again and counts once."""
    expected = without_trouble(by)
    scene = Scene(by)
    seen = Counter[str]()

    def throttle(request: Request) -> Fault | None:
        seen[request.route] += 1
        is_nth = seen[request.route] % 3 == 1
        return Fault(error("PER_SECOND_THRESHOLD", "too many", status=429)) if is_nth else None

    scene.bench.alma.faults.append(throttle)
    scene.play()
    scene.all_are_back(expected)
    assert len(scene.judge.writes) == 5
    assert scene.run.throttled > 5


@pytest.mark.parametrize("by", BACK)
def test_a_spent_quota_makes_it_wait_for_the_next_day(by: Action) -> None:
    """Alma takes no more calls after two writes: the run pauses, two are back, and tomorrow the others are."""
    scene = Scene(by)
    spent = Fault(error("DAILY_THRESHOLD", "spent", status=429))
    scene.bench.alma.faults.append(lambda _: spent if len(scene.judge.writes) >= 2 else None)
    paused = scene.play()
    assert (paused.status, paused.outcomes) == (Status.PAUSED, {by.done: 2})
    scene.bench.alma.faults.clear()
    resume(None, None, scene.bench.engine)
    scene.bench.drain()
    run = scene.bench.institution_run(paused.run_id)
    assert (run.status, run.outcomes) == (Status.COMPLETED, {by.done: 5})
    scene.is_remembered()
    assert scene.judge.wrongs == []
    assert len(scene.judge.writes) == 5


@pytest.mark.parametrize("by", BACK)
def test_an_outage_in_the_middle_ends_in_the_truth(by: Action) -> None:
    """Alma goes down with writes under way, every other one carried out: all are told right in the end."""
    scene = Scene(by)
    sent = [0]

    def down(request: Request) -> Fault | None:
        if request.method == WRITE[by] and request.route in (USERS, USER):
            sent[0] += 1
            return Fault(general_error(), carried_out=sent[0] % 2 == 1)
        return Fault(general_error()) if sent[0] >= 4 else None

    scene.bench.alma.faults.append(down)
    message = scene.start()
    scene.bench.queue.messages.clear()
    try:
        scene.bench.slice(message)
    except Exception:  # noqa: BLE001 - SQS gives the message back
        scene.bench.queue.messages.append(message)
    if not scene.bench.queue.messages:
        scene.bench.queue.messages.append(scene.bench.queue.sent[-1])
    scene.bench.alma.faults.clear()
    scene.bench.drain()
    run = scene.run
    assert run.status is Status.COMPLETED
    assert scene.judge.wrongs == []
    assert scene.judge.check_outcomes(rows_of(scene.bench, run)) == []
    told = Counter(reasons(scene.bench, run).values())
    undone = sent[0] // 2
    assert told == ({"reinstated": 5} if by is Action.REINSTATE else {"restored": 5 - undone, "unconfirmed": undone})
    scene.has_written_once()
    scene.is_remembered()


def test_a_late_post_is_unconfirmed_and_never_sent_again() -> None:
    """Alma creates the patron long after nobody waits for it any more; a later restore finds them back."""
    scene = Scene(Action.RESTORE, gone("fern"))
    bodies: list[bytes] = []

    def slow(request: Request) -> Fault | None:
        if request.method != "POST" or request.route != USERS:
            return None
        bodies.append(request.body)
        return Fault(lost="timeout")

    scene.bench.alma.faults.append(slow)
    run = scene.play()
    assert reasons(scene.bench, run) == {"fern": "unconfirmed"}
    assert len(bodies) == 1
    scene.bench.alma.faults.clear()
    headers = {"authorization": f"apikey {scene.bench.keys[CODE]}", "content-type": "application/json"}
    scene.bench.alma.handle("POST", "/almaws/v1/users", {}, headers, bodies[0])
    again = done(scene.bench, **scene.event)
    assert reasons(scene.bench, again) == {"fern": "id_taken"}
    assert "fern" in scene.bench.store.returned(CODE)


def test_an_unclear_post_is_not_sent_again_by_a_later_slice_either() -> None:
    """Neither its answer nor the reading back came in this slice: the next one reads, and doesn't send."""
    scene = Scene(Action.RESTORE, gone("fern"))
    posts = [0]

    def away(request: Request) -> Fault | None:
        if request.method == "POST" and request.route == USERS:
            posts[0] += 1
            return Fault(lost="timeout")
        return Fault(general_error()) if posts[0] and request.route.startswith("/users") else None

    scene.bench.alma.faults.append(away)
    message = scene.start()
    scene.bench.queue.messages.clear()
    scene.bench.slice(message)
    assert scene.bench.store.page(scene.run_id, CODE, 0).unclear == ("fern",)
    scene.bench.alma.faults.clear()
    scene.bench.drain()
    row = scene.bench.outcomes(scene.run_id)["fern"]
    assert (row.outcome, row.reason, posts) == (Outcome.FAILED, "unconfirmed", [1])
    assert "Alma didn't say what became of it" in row.detail


# ── What is told of those who were recovered ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("piece", PIECES)
def test_what_was_left_out_is_named_though_the_answer_was_lost(piece: str) -> None:
    """The second POST was carried out, its answer lost: the patron is back, and the detail names what is missing."""
    refused, _, name = PIECES[piece]
    scene = Scene(Action.RESTORE, gone("fern", **refused))
    at_writes(scene, replace(LOST["timeout"], carried_out=True), lambda number: number == 2)
    run = scene.play()
    is_right(scene.bench, scene.judge, run)
    detail = scene.bench.outcomes(run.run_id)["fern"].detail
    assert f"left_out: {name}; " in detail
    assert "recovered: " in detail


def test_what_is_there_is_not_named_as_left_out() -> None:
    """Recovered, and whole: Alma took the orphaned title this time."""
    scene = Scene(Action.RESTORE, gone("fern", **PIECES["a title"][0]))
    title = {"value": "exdoc", "desc": None}

    def takes_it(request: Request) -> Fault | None:
        if request.method != "POST" or request.route != USERS:
            return None
        scene.users["fern"] = json.loads(request.body) | {"status_date": xs_date(TODAY)}
        return Fault(lost="timeout")

    scene.bench.alma.faults.append(takes_it)
    run = scene.play()
    assert scene.users["fern"]["user_title"] == title
    detail = scene.bench.outcomes(run.run_id)["fern"].detail
    assert detail.startswith("recovered: ")
    assert "left_out" not in detail


@pytest.mark.parametrize("how", ["answer lost", "worker lost"])
def test_a_date_that_is_not_there_is_told_though_the_answer_was_lost(how: str) -> None:
    """Found ACTIVE, by whomever, but with the old expiry date: the deactivation would take them, so it is told."""
    scene = Scene(Action.REINSTATE, due("fern"), expiry_date=AHEAD)
    active = {"status": coded("ACTIVE", "Active"), "status_date": xs_date(TODAY)}
    if how == "worker lost":
        killed_with_a_write_under_way(scene)
        scene.users["fern"] |= active
        scene.bench.drain()
    else:

        def sets_the_status_alone(request: Request) -> Fault | None:
            if request.method != "PUT":
                return None
            scene.users["fern"] |= active
            return Fault(lost="timeout")

        scene.bench.alma.faults.append(sets_the_status_alone)
        scene.play()
    row = scene.bench.outcomes(scene.run_id)["fern"]
    assert row.outcome is Outcome.REINSTATED
    assert f"stored_differs: expiry date {LAPSED}, not {AHEAD}; recovered: " in row.detail


# ── The vault at the wrong moment ─────────────────────────────────────────────────────────────────────────────────────


def test_a_vault_that_is_away_for_a_while_is_waited_for() -> None:
    """Nobody is told as missing from it; all come back in a later slice."""
    expected = without_trouble(Action.RESTORE)
    scene = Scene(Action.RESTORE)
    looks = [0]

    def away() -> None:
        looks[0] += 1
        if looks[0] <= 2:
            raise VaultUnavailable("the vault could not be read (S3 answered SlowDown)")

    scene.bench.vault.before_get = away
    scene.play()
    scene.all_are_back(expected)


def test_a_vault_that_refuses_ends_the_restore_with_nobody_changed() -> None:
    """Failed, with what to mend; nobody is told as not being in it."""
    scene = Scene(Action.RESTORE)

    def refuse() -> None:
        raise VaultRefused("the vault could not be read (S3 answered AccessDenied)")

    scene.bench.vault.before_get = refuse
    run = scene.play()
    assert run.status is Status.FAILED
    assert "AccessDenied" in run.status_reason
    assert run.reasons == {"not_attempted": 5}
    assert scene.judge.writes == []
    assert scene.bench.store.returned(CODE) == {}


# ── Ids that mean somebody else ───────────────────────────────────────────────────────────────────────────────────────


def test_an_id_that_turns_into_a_barcode_before_the_post_changes_nobody() -> None:
    """Free when it was read, another patron's barcode when it is posted: id_taken, and that patron stays."""
    scene = Scene(Action.RESTORE, gone("fern"))
    rowan = record("rowan", user_identifier=[identifier("BARCODE", "FERN")])

    def taken(request: Request) -> None:
        if request.method == "POST" and request.route == USERS:
            scene.users["rowan"] = rowan

    scene.bench.alma.faults.append(taken)
    run = scene.play()
    row = scene.bench.outcomes(run.run_id)["fern"]
    assert (row.outcome, row.reason) == (Outcome.SKIPPED, "id_taken")
    assert scene.users["rowan"] is rowan
    assert scene.judge.writes == []


def test_a_post_that_is_answered_with_somebody_else_is_read_back() -> None:
    """The answer shows another patron: not taken for a success; who isn't there is unconfirmed."""
    scene = Scene(Action.RESTORE, gone("fern"))
    at_writes(scene, Fault(json_reply(200, record("willow"))))
    assert reasons(scene.bench, scene.play()) == {"fern": "unconfirmed"}


@pytest.mark.parametrize("by", BACK)
def test_a_person_who_cancels_midway_stops_it_there(by: Action) -> None:
    """Who was brought back by then is told and remembered; the others are not attempted, and can be asked for again."""
    make = due if by is Action.REINSTATE else gone
    scene = Scene(by, *(make(f"p{number:03}") for number in range(200)), seconds=8)
    scene.start()
    scene.bench.slice(scene.bench.queue.messages.popleft())
    assert scene.run.status is Status.PROCESSING
    cancel(scene.run_id, None, "cleo", scene.bench.engine)
    scene.bench.drain()
    run = scene.run
    assert run.status is Status.CANCELLED
    assert 0 < run.outcomes[by.done] == len(scene.judge.writes) < 200
    assert run.reasons["not_attempted"] == 200 - run.outcomes[by.done]
    assert scene.judge.check_outcomes(rows_of(scene.bench, run)) == []
    scene.is_remembered()
    again = done(scene.bench, **scene.event)
    assert again.outcomes[by.done] == 200 - run.outcomes[by.done]


def test_a_bench_has_bystanders() -> None:
    """Those whom no run is about are there to be touched by mistake."""
    scene = Scene(Action.RESTORE)
    assert left(scene.bench) == {"willow", "iris"}
    assert isinstance(scene.bench, Workbench)
