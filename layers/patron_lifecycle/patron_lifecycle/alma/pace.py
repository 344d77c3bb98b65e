"""One pace for all threads that call one institution's Alma.

Alma counts the calls that all programs of an institution make within a second. `Pace` gives every call a slot of
its own, evenly spaced, so there are no bursts, and slows down for a while when Alma answers 429. Threads that wake
up late are counted where they really start, so no second ever sees more starts than the set number.

A 429 though we keep to our pace means that other programs call as well: the pace is halved at once. While they go on,
every climb back ends in the next 429, and what has to be rare is 429s among calls, so a climb has to take many calls.
Therefore the interval between two calls shrinks by the same fifth of a millisecond in every second: from half a pace
back to that pace it takes ln 2 / 0.0002 = 3,466 calls, whichever pace it is. One 429 in so many, or three where calls
that were under way are refused as well, stay under the 0.1 % that the design allows, however much the others take.
(A climb by so many calls a second in every second would be too quick at a slow pace, or too slow at a quick one.)
When nobody else calls any longer, 10 calls a second are 20 again after 250 s, 2.5 after half an hour, and the slowest
pace after 80 minutes.

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
_CLIMB = 0.0002  # seconds that the interval between calls shrinks by in each second
_SLOWEST = 1.0  # calls a second
_LEAST_LATENCY = 0.6  # seconds of the slowest call, a DELETE: after quick GETs slower writes follow
_WEIGHT = 0.1  # of one observation in the running mean
_MARGIN = 1.25  # more threads than the mean latency asks for, since latencies vary
_MIN_THREADS, _MAX_THREADS = 2, 32


class TooLate(Exception):
    """The call's turn would come later than the caller may still make it. No call was made."""


class Pace:
    """At most `requests_per_second` starts in any second, shared by threads.

    `at_present` tells how many a second are allowed now, where that changes with the time of day: the lower of both
    counts, from the next call on. `clock` gives seconds that never go back; all times that are passed in are times of
    this clock.
    """

    def __init__(
        self,
        requests_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        at_present: Callable[[], float] = lambda: math.inf,
    ) -> None:
        if not requests_per_second >= _SLOWEST:
            raise ValueError(f"requests_per_second is {requests_per_second}: should be {_SLOWEST:g} or more")
        self._top_rate = requests_per_second
        self._at_present = at_present
        self._set_rate = self._allowed()
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._schedule = 0  # slots given under an earlier schedule are void
        self._next_slot = -math.inf
        self._starts: deque[float] = deque(maxlen=math.ceil(requests_per_second))
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
        return min(_MAX_THREADS, max(_MIN_THREADS, math.ceil(self._top_rate * latency * _MARGIN)))

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
                self._heed_present(now)
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

    @property
    def slowed_to(self) -> float | None:
        """The calls a second that the last 429s leave us at present; None when the pace has climbed back."""
        with self._lock:
            climbed = self._climbed_at(self._clock())
        return climbed if climbed < self._top_rate else None

    def go_on_from(self, slowed_to: float, seconds_ago: float) -> None:
        """Go on with the climb of an earlier pace, which was at `slowed_to` calls a second so many seconds ago."""
        with self._lock:
            self._low_rate = min(self._top_rate, max(_SLOWEST, slowed_to))
            self._climbs_from = self._clock() - max(0.0, seconds_ago)

    def _halt(self, now: float) -> None:
        self._next_slot = now + _HALT_SECONDS
        self._schedule += 1

    def _rate_at(self, moment: float) -> float:
        return min(self._set_rate, self._climbed_at(moment))

    def _allowed(self) -> float:
        return min(self._top_rate, max(_SLOWEST, self._at_present()))

    def _heed_present(self, now: float) -> None:
        """When another rate has come to be set, halt: no second sees calls of both, and all slots are given anew."""
        allowed = self._allowed()
        if allowed != self._set_rate:
            self._set_rate = allowed
            self._halt(now)

    def _climbed_at(self, moment: float) -> float:
        interval = 1 / self._low_rate - max(0.0, moment - self._climbs_from) * _CLIMB
        return 1 / interval if interval > 1 / self._top_rate else self._top_rate

    def _window_opens(self) -> float:
        """When one more start is allowed: so long after the start that lies a second's calls back."""
        calls = math.ceil(self._set_rate)
        return self._starts[-calls] + calls / self._set_rate if calls <= len(self._starts) else -math.inf
