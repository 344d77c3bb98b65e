"""The pace never exceeds the set rate, reaches it, slows down on a 429 and recovers."""

import math
import random
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patron_lifecycle.alma.pace import Pace, TooLate
from tests.unit.alma.scripted_alma import FakeClock, VirtualThreads


def most_in_a_second(starts: list[float]) -> int:
    """The largest number of starts in any window of one second (less a nanosecond for rounding)."""
    return max(sum(first <= start < first + 1 - 1e-9 for start in starts) for first in starts)


def starts_of(pace: Pace, clock: FakeClock, count: int) -> list[float]:
    """When each of that many calls starts."""
    starts = []
    for _ in range(count):
        pace.wait()
        starts.append(clock())
    return starts


def test_calls_are_evenly_spaced_from_the_first_on() -> None:
    """Each call starts one interval after the one before; the first doesn't wait."""
    clock = FakeClock()
    starts = starts_of(Pace(20, clock, clock.sleep), clock, 41)
    assert starts == pytest.approx([1000 + call / 20 for call in range(41)])


def test_idle_time_is_not_saved_up() -> None:
    """After an idle minute there is no burst."""
    clock = FakeClock()
    pace = Pace(10, clock, clock.sleep)
    starts_of(pace, clock, 5)
    clock.now += 60
    starts = starts_of(pace, clock, 11)
    assert starts == pytest.approx([starts[0] + call / 10 for call in range(11)])


def test_late_sleepers_cost_neither_pace_nor_limit() -> None:
    """With every sleep 10 ms late, 20 calls a second stay the limit and 95 % of them are reached."""
    clock = FakeClock()
    pace = Pace(20, clock, clock.sleep)
    clock.lateness = 0.01
    starts = starts_of(pace, clock, 400)
    assert most_in_a_second(starts) <= 20
    assert 399 / (starts[-1] - starts[0]) >= 19


def test_a_turn_after_not_after_is_too_late_and_uses_no_slot() -> None:
    """TooLate comes at once, and the slot that was refused is the next caller's."""
    clock = FakeClock()
    pace = Pace(2, clock, clock.sleep)
    pace.wait()
    with pytest.raises(TooLate):
        pace.wait(not_after=1000.4)
    assert clock() == 1000
    pace.wait(not_after=1000.5)
    assert clock() == 1000.5
    with pytest.raises(TooLate):
        pace.wait(not_after=1000.4)


def test_a_sleeper_woken_after_not_after_is_too_late() -> None:
    """A call that overslept isn't made: what it rests on may have grown old."""
    clock = FakeClock()
    pace = Pace(2, clock, clock.sleep)
    pace.wait()
    clock.lateness = 5
    with pytest.raises(TooLate):
        pace.wait(not_after=1001)


def test_a_halt_lets_a_second_pass_and_changes_nothing_else() -> None:
    """After a halt the first call comes a second later, and the pace is the set one at once."""
    clock = FakeClock()
    pace = Pace(20, clock, clock.sleep)
    pace.halt()
    starts = starts_of(pace, clock, 21)
    assert starts == pytest.approx([1001 + call / 20 for call in range(21)])


def test_a_429_halts_halves_and_is_recovered_from_slowly() -> None:
    """After a 429: no call for a second, then half the pace, the whole again some 3,500 calls later, and never more."""
    clock = FakeClock()
    pace = Pace(20, clock, clock.sleep)
    starts_of(pace, clock, 20)
    halted_at = clock()
    pace.back_off()
    starts = starts_of(pace, clock, 4000)
    assert starts[0] == pytest.approx(halted_at + 1)
    first_second = [start for start in starts if start < starts[0] + 1]
    assert 10 <= len(first_second) <= 11
    assert len([start for start in starts if start < starts[0] + 100]) < 1200
    assert starts[-1] - starts[-101] == pytest.approx(5)
    assert most_in_a_second(starts[-500:]) <= 20
    slower = [later for earlier, later in pairwise(starts) if later - earlier > 0.0501]
    assert slower[-1] - starts[0] == pytest.approx(250, abs=1)
    assert len(slower) == pytest.approx(math.log(2) / 0.0002, rel=0.01)


def test_several_429s_of_one_second_count_once() -> None:
    """Calls under way when Alma said no don't slow the pace again; a 429 after the halt does, down to 1 a second."""
    clock = FakeClock()
    pace = Pace(20, clock, clock.sleep)
    for _ in range(5):
        pace.back_off()
    first, second = starts_of(pace, clock, 2)
    assert (first, second - first) == pytest.approx((1001, 0.1))
    for _ in range(10):
        pace.back_off()
        clock.now += 1
    first, second = starts_of(pace, clock, 2)
    assert 0.8 < second - first <= 1


def starts_by(pace: Pace, clock: FakeClock, steps: list[tuple[str, float]]) -> list[float]:
    """When calls start, as they come: some wake up late, 429s come between them, and idle times."""
    starts: list[float] = []
    for step, seconds in steps:
        match step:
            case "wait":
                clock.lateness = seconds
                pace.wait()
                starts.append(clock())
            case "back_off":
                pace.back_off()
            case _:
                clock.now += seconds
    return starts


@settings(deadline=None, max_examples=60)
@given(
    st.one_of(st.integers(1, 25), st.floats(1, 25)),
    st.lists(st.tuples(st.sampled_from(["wait", "wait", "wait", "back_off", "idle"]), st.floats(0, 0.3)), max_size=120),
)
def test_no_second_has_more_starts_than_set(rate: float, steps: list[tuple[str, float]]) -> None:
    """Whatever the order of calls, 429s, idle times and late awakenings, no second has more starts than set."""
    clock = FakeClock()
    pace = Pace(rate, clock, clock.sleep)
    starts = [clock()]
    pace.wait()
    starts += starts_by(pace, clock, steps)
    assert most_in_a_second(starts) <= math.ceil(rate)


@pytest.mark.parametrize(("rate", "latency"), [(20, 0.15), (20, 0.6), (25, 0.3), (2, 3.0)])
def test_the_set_pace_is_reached_by_the_threads_asked_for(rate: int, latency: float) -> None:
    """With `concurrency` threads and calls of that latency, 95 % of the pace is reached and no second has more."""
    time = VirtualThreads()
    pace = Pace(rate, time.clock, time.sleep)
    for _ in range(100):
        pace.observe(latency)
    starts: list[float] = []

    def call_often() -> None:
        for _ in range(240 // pace.concurrency):
            pace.wait()
            starts.append(time.clock())
            time.sleep(latency)

    time.run(*[call_often] * pace.concurrency)
    starts.sort()
    assert most_in_a_second(starts) <= rate
    assert (len(starts) - 1) / (starts[-1] - starts[0]) >= 0.95 * rate


def test_a_429_voids_the_slots_that_other_threads_sleep_to() -> None:
    """Threads that already have a slot don't start in the halt either, and go on spaced by the lower rate."""
    time = VirtualThreads()
    pace = Pace(10, time.clock, time.sleep)
    starts: list[float] = []

    def call() -> None:
        pace.wait()
        starts.append(time.clock())

    def be_throttled() -> None:
        time.sleep(0.25)
        pace.back_off()

    time.run(be_throttled, *[call] * 8)
    starts.sort()
    assert starts[:3] == pytest.approx([1000, 1000.1, 1000.2])
    assert starts[3] == pytest.approx(1001.25)
    gaps = [later - earlier for earlier, later in pairwise(starts[3:])]
    assert all(0.19 < gap <= 0.2 + 1e-9 for gap in gaps)


def test_concurrency_fits_itself_to_the_latency() -> None:
    """For calls of 600 ms at the least, for slower ones as many as they need, within 2 and 32 threads."""
    assert Pace(1).concurrency == 2
    pace = Pace(20)
    assert pace.concurrency == 15
    for latency, threads in ((0.01, 15), (1.0, 25), (30.0, 32)):
        for _ in range(200):
            pace.observe(latency)
        assert pace.concurrency == threads


@pytest.mark.parametrize("rate", [0, -1, 0.5, math.nan])
def test_a_rate_below_one_is_refused(rate: float) -> None:
    """A pace below the floor to which a 429 may slow it down makes no sense."""
    with pytest.raises(ValueError, match="requests_per_second"):
        Pace(rate)


def changing(clock: FakeClock, rates: list[float], seconds: float) -> Callable[[], float]:
    """Rates that follow each other, each for so many seconds from the clock's first on; the last one stays."""
    return lambda: rates[min(int((clock() - 1000) / seconds), len(rates) - 1)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(1, 30), min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from(["wait"] * 5 + ["back_off", "idle"]), st.floats(0, 0.3)), max_size=150),
)
def test_no_second_has_more_starts_than_are_allowed_in_it(rates: list[float], steps: list[tuple[str, float]]) -> None:
    """The rate of the present counts from the moment on that it changes, up or down, and never goes above the top."""
    clock = FakeClock()
    pace = Pace(20, clock, clock.sleep, changing(clock, rates, 5))
    starts = starts_by(pace, clock, steps)
    for place, rate in enumerate(rates):
        until = math.inf if place == len(rates) - 1 else 1005 + 5 * place
        within = [start for start in starts if 1000 + 5 * place <= start < until]
        assert not within or most_in_a_second(within) <= math.ceil(min(rate, 20))


def test_a_lower_rate_holds_for_threads_that_wait_already() -> None:
    """With all threads asleep for slots of 20 a second, 2 a second hold as soon as it is time, and 20 after it."""
    time = VirtualThreads()
    pace = Pace(20, time.clock, time.sleep, lambda: 2 if 1010 <= time.clock() < 1030 else 20)
    starts: list[float] = []

    def call_often() -> None:
        for _ in range(40):
            pace.wait()
            starts.append(time.clock())
            time.sleep(0.3)

    time.run(*[call_often] * pace.concurrency)
    starts.sort()
    quiet = [start for start in starts if 1010 <= start < 1030]
    assert most_in_a_second(quiet) <= 2
    assert 36 <= len(quiet) <= 40
    assert min(later - earlier for earlier, later in pairwise(quiet)) > 0.49
    before, after = ([start for start in starts if begin <= start < begin + 8] for begin in (1002, 1040))
    assert min(len(before), len(after)) >= 0.95 * 8 * 20


def test_a_slowed_pace_goes_on_climbing_in_the_next_one() -> None:
    """What is left of a 429 is told, and a pace that takes over so much later is where the first would have been."""
    clock = FakeClock()
    first, second = Pace(20, clock, clock.sleep), Pace(20, clock, clock.sleep)
    assert first.slowed_to is None
    first.back_off()
    assert first.slowed_to == 10
    clock.now += 101
    second.go_on_from(10, seconds_ago=100)
    assert second.slowed_to == first.slowed_to == pytest.approx(1 / 0.08)
    clock.now += 150
    assert second.slowed_to is first.slowed_to is None


@pytest.mark.parametrize(("told", "seconds_ago", "now_at"), [(0.2, 0, 1), (5, -100, 5), (50, 0, None), (19, 1e9, None)])
def test_what_was_stored_of_a_pace_gives_no_odd_rate(told: float, seconds_ago: float, now_at: float | None) -> None:
    """A rate out of all bounds, and clocks that don't agree, end in a rate between the slowest and the set one."""
    clock = FakeClock()
    pace = Pace(19.999999999999996, clock, clock.sleep)
    pace.go_on_from(told, seconds_ago)
    assert pace.slowed_to == now_at


class SharedAlma:
    """25 calls in any second for all, refused ones included, and another program that makes `foreign` of them."""

    def __init__(self, foreign: float) -> None:
        self.foreign = foreign
        self._draw = random.Random(1)
        self._next_foreign = 1000.0
        self._recent: deque[float] = deque()

    def takes(self, now: float) -> bool:
        """Whether our call is taken, after those of the other program until now."""
        while self.foreign and self._next_foreign <= now:
            self._take(self._next_foreign)
            self._next_foreign += self._draw.uniform(0.9, 1.1) / self.foreign
        return self._take(now)

    def _take(self, now: float) -> bool:
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        self._recent.append(now)
        return len(self._recent) <= 25


class Slices:
    """Slices of 20 s, one after the other: each has a pace of its own, and hands on what that was slowed to."""

    def __init__(self, alma: SharedAlma) -> None:
        self.calls = self.refused = 0
        self._alma = alma
        self._clock = FakeClock()
        self._slowed_to: float | None = None
        self._slowed_at = 0.0

    def work(self, minutes: float) -> float:
        """Call as often as the pace allows, counting anew; the calls a second."""
        self.calls = self.refused = 0
        began = self._clock()
        while self._clock() < began + minutes * 60:
            self._slice()
        return self.calls / (self._clock() - began)

    def _slice(self) -> None:
        clock = self._clock
        pace, until = Pace(20, clock, clock.sleep), clock() + 20
        pace.halt()
        if self._slowed_to is not None:
            pace.go_on_from(self._slowed_to, clock() - self._slowed_at)
        while clock() < until:
            pace.wait()
            self.calls += 1
            if not self._alma.takes(clock()):
                self.refused += 1
                clock.sleep(0.02)
                pace.back_off()
        self._slowed_to, self._slowed_at = pace.slowed_to, clock()


@pytest.mark.parametrize("foreign", [6, 10, 15, 20])
def test_beside_another_program_429s_are_rare(foreign: int) -> None:
    """However much of Alma's 25 a second another program takes, over many slices less than 0.1 % of calls are refused,
    and more than half of what it leaves is used.
    """
    slices = Slices(SharedAlma(foreign))
    slices.work(minutes=30)
    rate = slices.work(minutes=120)
    assert 0 < slices.refused < slices.calls / 1000
    assert 0.5 * (25 - foreign) < rate < 25 - foreign


def test_when_the_other_program_has_ended_the_pace_comes_back() -> None:
    """Half an hour after a program that took 20 of the 25 calls a second, the whole pace is reached again."""
    alma = SharedAlma(20)
    slices = Slices(alma)
    slices.work(minutes=30)
    alma.foreign = 0
    slices.work(minutes=30)
    assert slices.work(minutes=5) > 0.95 * 20 * 19 / 20  # each slice begins with a halt of a second
    assert slices.refused == 0
