"""Starts in the failure matrix: an enumerator or a tidy killed at every step, and runs that are started at once."""

from itertools import count

import pytest

from patron_lifecycle.policy.reasons import Outcome
from tests.integration.matrix.cloud import Call
from tests.integration.matrix.service import CODE, UNDISTURBED, Action, Make, Service, registry
from tests.samples import patron
from tests.workbench import STALLED_AFTER, Killed

pytestmark = pytest.mark.untraced

BBB = "01OHIO_BBB"
CODES = (CODE, BBB)
ACTIONS = ("deactivate", "purge")
DUE = {"active.one": (Outcome.DEACTIVATED, "")}


def small(make: Make, *codes: str) -> Service:
    """Institutions, two unless said otherwise, of one patron each."""
    return make(registry(*(codes or CODES)))


def refill(service: Service) -> None:
    """Their patrons as they were at the beginning."""
    for code in service.alma.institutions:
        service.fill(code).users = {"active.one": patron("active.one")}


def launched(service: Service, request_id: str, kill_after: int | None = None) -> str | None:
    """Let the enumerator start a run, or be killed as it does; the run_id if it wasn't."""
    service.calls, service.kill_after = 0, kill_after
    try:
        answer = service.enumerate({"action": "deactivate", "mode": "apply"}, request_id)
    except Killed:
        return None
    service.kill_after = None
    assert answer["queued"] == list(service.alma.institutions)
    return str(answer["run_id"])


def assert_none_forgotten_none_twice(service: Service, run_id: str) -> None:
    """All institutions have been worked on, each in one slice, for which one message was enough."""
    service.finish(run_id)
    service.judge(run_id)
    for code in service.alma.institutions:
        assert service.told(run_id, code) == DUE
        assert service.one(run_id, code).slices == 1
    assert service.failures == []


def test_an_enumerator_killed_at_any_step_goes_on_when_lambda_repeats_it(make: Make) -> None:
    """Lambda repeats a start by itself, with the same request: the same run, no institution forgotten, none twice."""
    service = small(make)
    for kills in count():
        refill(service)
        if launched(service, f"request-{kills}", kills) is not None:
            break
        run_id = launched(service, f"request-{kills}")
        assert run_id is not None
        assert_none_forgotten_none_twice(service, service.watch(run_id))
    assert kills == 5  # the run, an institution run for each, their messages, and that it is launched


def test_an_enumerator_killed_at_any_step_is_finished_by_the_tidy(make: Make) -> None:
    """Nobody repeats the start: once the run is stored the tidy launches the rest of it; before, there is none."""
    service = small(make)
    known: set[str] = set()
    for kills in count():
        refill(service)
        if launched(service, f"request-{kills}", kills) is not None:
            break
        stored = {run.run_id for run in service.store.recent_runs(20)} - known
        assert len(stored) == min(kills, 1)
        for run_id in stored:
            service.watch(run_id)
            service.time.sleep(STALLED_AFTER.total_seconds() + 60)
            service.command("tidy")
            assert_none_forgotten_none_twice(service, run_id)
        known |= stored
    assert kills == 5


def test_a_tidy_killed_at_any_step_is_finished_by_the_next(make: Make) -> None:
    """It launches what an enumerator has left, and may itself be lost as it does: the next one goes on."""
    service = small(make, CODE)
    for kills in count():
        refill(service)
        assert launched(service, f"request-{kills}", 1) is None
        run_id = service.watch(service.store.recent_runs(1)[0].run_id)
        service.time.sleep(STALLED_AFTER.total_seconds() + 60)
        service.calls, service.kill_after = 0, kills
        try:
            service.command("tidy")
        except Killed:
            service.command("tidy")
        else:
            break
        assert_none_forgotten_none_twice(service, run_id)
    service.kill_after = None
    assert kills == 5  # the institution run, its message, that the run is launched, and another message with its seq
    assert_none_forgotten_none_twice(service, run_id)


def test_two_enumerators_with_one_request_start_one_run(make: Make) -> None:
    """The same schedule or the same event, delivered twice at once: one run, and one message for each institution."""
    service = small(make)
    refill(service)
    request = {"action": "deactivate", "mode": "apply", "request_id": "weekly"}
    answers: list[dict[str, object]] = []

    def another_first(call: Call) -> None:
        if call.name == "dynamodb.PutItem" and not answers:
            service.cloud.before_call = lambda _: None
            answers.append(service.enumerate(request))

    service.cloud.before_call = another_first
    first = service.enumerate(request)
    assert answers == [first]
    assert_none_forgotten_none_twice(service, service.watch(first["run_id"]))


@pytest.mark.parametrize("action", ACTIONS)
def test_two_runs_of_one_action_follow_one_another(make: Make, action: Action) -> None:
    """The second waits for the first, and then finds nobody left to be changed: each run is right on its own."""
    service = make()
    first, second = service.start(action), service.start(action)
    service.pump()
    assert_one_after_the_other(service, action, first, second)


@pytest.mark.parametrize("path", ["/conf/general", "/users/"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_second_run_that_comes_in_the_midst_of_the_first_waits(make: Make, action: Action, path: str) -> None:
    """Another worker gets the second run's message while the first one is at work: busy, and woken at its end."""
    service = make()
    first = service.start(action)
    (message,) = service.receive()
    second = service.start(action)
    second_message = message | {"Body": message["Body"].replace(first, second)}
    service.meanwhile("GET", path, lambda: service.slice(second_message))
    service.deliver(message)
    assert service.one(second).slices == 0
    service.pump()
    assert_one_after_the_other(service, action, first, second)


def assert_one_after_the_other(service: Service, action: Action, first: str, second: str) -> None:
    """The first has done all; the second came when it was done."""
    for run_id in (first, second):
        service.judge(run_id)
    assert service.told(first) == UNDISTURBED[action]
    left = {user_id: one for user_id, one in UNDISTURBED[action].items() if one[0] in ("skipped", "blocked")}
    assert service.told(second) == left
    assert service.failures == []
