"""Stand-ins for the tests of the gateway: time that moves by sleeping alone, and an Alma that follows a script."""

import json
import threading
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.pace import Pace

Answer = requests.Response | Exception


class FakeClock:
    """Seconds that pass by sleeping alone; `lateness` is added to each sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lateness = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """The time now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds + self.lateness


class VirtualThreads:
    """Runs real threads in virtual time: it moves on to the next awakening when all of them sleep."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._awake = 0
        self._wake_times: list[float] = []
        self._changed = threading.Condition()

    def clock(self) -> float:
        """The time now."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Block the calling thread until its time has come."""
        with self._changed:
            wake_time = self._now + seconds
            self._wake_times.append(wake_time)
            self._rest()
            assert self._changed.wait_for(lambda: self._now >= wake_time, timeout=30)

    def run(self, *works: Callable[[], None]) -> None:
        """Run each work in a thread of its own, to the end."""
        self._awake = len(works)
        threads = [threading.Thread(target=self._perform, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
            assert not thread.is_alive()

    def _perform(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._changed:
                self._rest()

    def _rest(self) -> None:
        self._awake -= 1
        if self._awake == 0 and self._wake_times:
            self._now = min(self._wake_times)
            still_asleep = [moment for moment in self._wake_times if moment > self._now]
            self._awake = len(self._wake_times) - len(still_asleep)
            self._wake_times = still_asleep
            self._changed.notify_all()


class ScriptedAlma(BaseAdapter):
    """A requests adapter that answers from a list, or by a function, and keeps what it was asked and when."""

    def __init__(self, script: list[Answer] | Callable[[requests.PreparedRequest], Answer], clock: FakeClock) -> None:
        super().__init__()
        self._script = script
        self._clock = clock
        self.requests: list[requests.PreparedRequest] = []
        self.times: list[float] = []
        self.latency = 0.0

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """Answer as the script says next; an exception in it is raised."""
        self.requests.append(request)
        self.times.append(self._clock.now)
        self._clock.now += self.latency
        answer = self._script(request) if callable(self._script) else self._script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        answer.url = request.url or ""
        answer.request = request
        return answer

    def close(self) -> None:
        """Nothing to close."""

    @property
    def paths(self) -> list[str]:
        """Path and query of each request, without the host."""
        return [request.path_url for request in self.requests]


def reply(
    body: Mapping[str, Any] | bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> requests.Response:
    """A reply with a JSON object, or with the bytes given."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = requests.Response()
    response.status_code = status
    response.headers.update({"Content-Type": "application/json;charset=UTF-8"} | dict(headers or {}))
    response.raw = HTTPResponse(BytesIO(content), preload_content=False)
    return response


def error_reply(code: str, status: int = 400, message: str = "") -> requests.Response:
    """A reply with Alma's usual JSON error."""
    error = {"errorCode": code, "errorMessage": message, "trackingId": "E01-0101010101-ABCDE-AWAE1"}
    return reply({"errorsExist": True, "errorList": {"error": [error]}, "result": None}, status)


def client_of(alma: ScriptedAlma, clock: FakeClock, **options: Any) -> AlmaClient:
    """A client that talks to the script in fake time, fast enough that the pace is no matter."""
    return AlmaClient(
        base_url="https://alma.example.edu/",
        api_key="l7xxSECRETKEY",
        pace=Pace(25, clock, clock.sleep),
        adapter=alma,
        clock=clock,
        sleep=clock.sleep,
        **options,
    )
