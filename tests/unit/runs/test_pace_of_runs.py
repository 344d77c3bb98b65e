"""How fast a worker calls Alma: slower in quiet hours, and beside other programs from one slice to the next."""

from datetime import timedelta

from patron_lifecycle.runs.model import InstitutionRun, Status
from tests.workbench import NOON, Workbench, registry_of

CODE = "01OHIO_AAA"
QUIET = "quiet_hours: [{start: '12:01', end: '12:02', requests_per_second: 1}]"


class Times:
    """When Alma was called, in seconds since noon in New York."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self.seconds: list[float] = []
        bench.before_call = self._note

    def _note(self) -> None:
        self.seconds.append((self._bench.time.now() - NOON) / timedelta(seconds=1))

    def rate(self, begin: float, end: float) -> float:
        """The calls a second from `begin` to `end`."""
        return sum(begin <= second < end for second in self.seconds) / (end - begin)


def test_quiet_hours_begin_and_end_in_the_midst_of_a_slice() -> None:
    """For a minute in the midst of a slice the worker makes one call a second instead of four, and then four again."""
    registry = registry_of(CODE).replace("requests_per_second: 20", f"requests_per_second: 4, {QUIET}")
    bench = Workbench(registry, users=1900, seconds=900, one_thread=True)
    times = Times(bench)
    done = bench.run()
    assert (done.status, done.slices) == (Status.COMPLETED, 1)
    assert 3.8 <= times.rate(5, 60) <= 4
    assert 0.95 <= times.rate(61, 120) <= 1
    assert 3.8 <= times.rate(122, times.seconds[-1]) <= 4


class OtherProgram:
    """Another program that calls the institution's Alma so many times a second."""

    def __init__(self, bench: Workbench, per_second: float) -> None:
        self._bench = bench
        self._per_second = per_second
        self._next = bench.time.clock()
        self._key = bench.keys[CODE]
        bench.time.sleep = self._sleep  # type: ignore[method-assign]

    def _sleep(self, seconds: float) -> None:
        """Let time pass for the worker, and call meanwhile."""
        time = self._bench.time
        until = time.seconds + seconds
        while self._next <= until:
            time.seconds = self._next
            self._bench.alma.handle("GET", "/almaws/v1/conf/general", {}, {"Authorization": f"apikey {self._key}"})
            self._next += 1 / self._per_second
        time.seconds = until


def beside_another_program() -> InstitutionRun:
    """A run in slices of 10 s, of which another program takes 10 of Alma's 25 calls a second."""
    bench = Workbench(users=2000, seconds=10, per_second=25, one_thread=True)
    OtherProgram(bench, 10)
    done = bench.run()
    assert done.status is Status.COMPLETED
    assert not bench.failures
    return done


def test_a_slice_goes_on_at_the_pace_to_which_the_one_before_was_slowed() -> None:
    """Beside another program each slice is not turned away anew: what the first one met is known to all of them."""
    done = beside_another_program()
    assert done.slices > 4
    assert done.throttled == 1
    assert done.slowed_to is not None
    assert 10 < done.slowed_to < 15
    assert done.slowed_at == done.touched_at
