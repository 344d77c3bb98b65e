"""Watching a run from the command line."""

from collections.abc import Iterator

import pytest
from rich.console import Console

from patron_lifecycle.runs.model import Run, RunStatus
from patron_lifecycle.runs.pausing import resume
from sandbox import progress
from tests.workbench import Workbench

CODE = "01OHIO_AAA"


class Clock:
    """A time that passes while one sleeps; then what `happens` comes about, one thing each time."""

    def __init__(self, happens: Iterator[None]) -> None:
        self.seconds = 0.0
        self.happens = happens

    def monotonic(self) -> float:
        """Seconds since some time."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass, and the next thing happen."""
        self.seconds += seconds
        next(self.happens, None)


@pytest.fixture
def paused() -> tuple[Workbench, str]:
    """A deactivation that has paused, and a new day with calls for all of it."""
    bench = Workbench(users=400)
    bench.alma.institution(CODE).daily_quota = 80
    run_id = bench.start().run_id
    bench.drain()
    bench.alma.institution(CODE).daily_quota = 100_000
    bench.alma.renew_quotas()
    bench.time.seconds += 24 * 3600
    return bench, run_id


def watched(paused: tuple[Workbench, str], monkeypatch: pytest.MonkeyPatch, happens: Iterator[None]) -> Run:
    """What the watching of a run came to, and it came to something."""
    bench, run_id = paused
    monkeypatch.setattr(progress, "time", Clock(happens))
    run = progress.watch(bench.store, run_id, Console(quiet=True), timeout=60)
    assert run is not None
    return run


def test_what_was_resumed_a_moment_ago_is_waited_for(
    paused: tuple[Workbench, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paused until a worker has its message: that is no reason to stop watching."""
    bench, run_id = paused
    resume(run_id, None, bench.engine)

    def happens() -> Iterator[None]:
        yield
        bench.drain()
        yield

    assert watched(paused, monkeypatch, happens()).status is RunStatus.COMPLETED


def test_what_stays_paused_is_watched_no_longer(paused: tuple[Workbench, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sits there until Alma has renewed its calls."""
    assert watched(paused, monkeypatch, iter(())).status is RunStatus.PAUSED
