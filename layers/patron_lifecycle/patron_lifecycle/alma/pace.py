"""One pace for all threads that call one institution's Alma.

Alma counts the calls that all programs of an institution make within a second. `Pace` gives every call a slot of
its own, evenly spaced, so there are no bursts, and slows down for a while when Alma answers 429. Threads that wake
up late are counted where they really start, so no second ever sees more starts than the set number.

No library: pyrate-limiter and limits keep a fixed rate and know nothing of a 429, and a token bucket lets a burst
go after every idle moment.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable

_HALT_SECONDS = 1.0  # Alma counts by the second
_SLOWER = 0.5
_CLIMB_PER_SECOND = 0.01  # of the set rate: from half the pace back to the whole in 50 s
_SLOWEST = 1.0  # calls a second
_LEAST_LATENCY = 0.6  # seconds of the slowest call, a DELETE: after quick GETs slower writes follow
_WEIGHT = 0.1  # of one observation in the running mean
_MARGIN = 1.25  # more threads than the mean latency asks for, since latencies vary
_MIN_THREADS, _MAX_THREADS = 2, 32


class TooLate(Exception):
    """The call's turn would come later than the caller may still make it. No call was made."""


class Pace:
    """At most `requests_per_second` starts in any second, shared by threads.

    `clock` gives seconds that never go back; all times that are passed in are times of this clock.
    """

    def __init__(
        self,
        requests_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not requests_per_second >= _SLOWEST:
            raise ValueError(f"requests_per_second is {requests_per_second}: should be {_SLOWEST:g} or more")
        self._set_rate = requests_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._schedule = 0  # slots given under an earlier schedule are void
        self._next_slot = -math.inf
        self._starts: deque[float] = deque(maxlen=math.ceil(requests_per_second))
        self._window = math.ceil(requests_per_second) / requests_per_second  # seconds in which _starts may lie
        self._low_rate = requests_per_second  # the rate at _climbs_from
        self._climbs_from = -math.inf
        self._latency = _LEAST_LATENCY

    @property
    def concurrency(self) -> int:
        """How many threads reach the set pace at the observed latency (Little's law with a margin): 2 to 32.

        Enough for calls of 600 ms at the least, since what is called next may be slower than what was observed;
        threads too many only wait for their slots.
        """
        latency = max(self._latency, _LEAST_LATENCY)
        return min(_MAX_THREADS, max(_MIN_THREADS, math.ceil(self._set_rate * latency * _MARGIN)))

    def observe(self, seconds: float) -> None:
        """Take in how long one call took."""
        with self._lock:
            self._latency += _WEIGHT * (seconds - self._latency)

    def wait(self, not_after: float | None = None) -> None:
        """Sleep until this call may start. Raises `TooLate` as soon as that is known to be after `not_after`."""
        schedule, slot = -1, 0.0
        while True:
            with self._lock:
                now = self._clock()
                reserves = schedule != self._schedule
                if reserves:
                    schedule, slot = self._schedule, max(now, self._next_slot)
                start = max(slot, self._window_opens())
                if not_after is not None and max(now, start) > not_after:
                    raise TooLate("the call's turn would come after the time that it may start at the latest")
                if reserves:
                    self._next_slot = slot + 1 / self._rate_at(slot)
                if start <= now:
                    self._starts.append(now)
                    return
            self._sleep(start - now)

    def halt(self) -> None:
        """No new call for a second: others may have used up the present one."""
        with self._lock:
            self._halt(self._clock())

    def back_off(self) -> None:
        """Alma answered 429: halt for a second, go on at half the rate, and climb back to the set one.

        Further 429s during the halt come from calls already under way, and change nothing.
        """
        with self._lock:
            now = self._clock()
            if now < self._climbs_from:
                return
            self._low_rate = max(_SLOWEST, self._rate_at(now) * _SLOWER)
            self._climbs_from = now + _HALT_SECONDS
            self._halt(now)

    def _halt(self, now: float) -> None:
        self._next_slot = now + _HALT_SECONDS
        self._schedule += 1

    def _rate_at(self, moment: float) -> float:
        climbed = max(0.0, moment - self._climbs_from) * _CLIMB_PER_SECOND * self._set_rate
        return min(self._set_rate, self._low_rate + climbed)

    def _window_opens(self) -> float:
        """When one more start is allowed: a full window after the start that lies that many calls back."""
        full = len(self._starts) == self._starts.maxlen
        return self._starts[0] + self._window if full else -math.inf
