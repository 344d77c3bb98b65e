"""Lambda in the failure matrix: a worker that is gone, by timeout, for want of memory or by a kill, at every step."""

import pytest

from tests.integration.matrix.service import CODE, UNDISTURBED, Action, Make, Service, recovered, registry
from tests.workbench import Killed

pytestmark = pytest.mark.untraced

PACED = registry(CODE, per_second=1)  # with a Lambda of 30 s: pages of two patrons


def killed(service: Service, action: Action) -> int:
    """Kill a worker once after each call of a run that changes anything; how often it was killed in all."""
    kills = 0
    while True:
        service.fill()
        service.failures.clear()
        run_id = service.start(action)
        service.calls, service.kill_after = 0, kills
        service.finish(run_id)
        service.judge(run_id)
        assert service.told(run_id) == UNDISTURBED[action], f"killed after {kills}"
        assert recovered(service.rows(run_id)) <= {write.primary_id for write in service.alma.institution(CODE).writes}
        if service.kill_after is not None:  # it came to its end before
            assert not service.failures
            return kills
        assert [type(failure) for failure in service.failures] == [Killed]
        kills += 1


@pytest.mark.parametrize("action", ["deactivate", "purge"])
def test_a_worker_killed_at_any_step_changes_nothing_in_the_result(make: Make, action: Action) -> None:
    """Whatever the worker did last, timeout, out of memory and kill alike, the outcomes are those of a calm run."""
    service = make(PACED, seconds=30) if action == "purge" else make()
    assert killed(service, action) > 10
