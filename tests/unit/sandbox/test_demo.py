"""The demo waits for whoever decides on the dashboard."""

from patron_lifecycle.runs.answers import approve, reject
from patron_lifecycle.runs.model import Status
from sandbox.demo import await_decision
from tests.samples import CODE
from tests.unit.runs.test_guards import held_bench
from tests.unit.runs.test_purge import purge


def test_it_goes_on_once_all_that_was_held_is_answered() -> None:
    """However somebody answers, and however long they take; without anything held it doesn't wait at all."""
    for answer in (approve, reject):
        bench = held_bench()
        one = purge(bench)
        looks: list[float] = []

        def decide_the_third_time(seconds: float) -> None:
            looks.append(seconds)  # noqa: B023 - called in this very round
            if len(looks) == 3:  # noqa: B023
                answer(one.run_id, CODE, "Mira", "", bench.engine)  # noqa: B023

        await_decision(bench.store, one.run_id, decide_the_third_time)
        assert len(looks) == 3
        assert bench.institution_run(one.run_id).status is not Status.HELD
        await_decision(bench.store, one.run_id, decide_the_third_time)
        assert len(looks) == 3
