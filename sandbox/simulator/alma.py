"""Alma's gateway for many institutions, in memory: keys, limits, latency, and what tests want to go wrong.

Nothing here sleeps: a reply says how long the caller has to wait for it.
"""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from urllib.parse import unquote

from sandbox.simulator.institutions import SimulatedInstitution
from sandbox.simulator.messages import (
    XML,
    Judge,
    Refusal,
    Reply,
    Request,
    daily_threshold,
    error,
    json_reply,
    not_found,
    per_second_threshold,
    unauthorized,
)
from sandbox.simulator.routes import ROUTES, Answer, Call, Route

PREFIX = "/almaws/v1"


@dataclass
class Latency:
    """How long Alma takes, in seconds: usual means, each call up to the share `jitter` off, drawn by `seed`.

    A POST takes as long as a PUT (chosen: nobody wrote it down).
    """

    get: float = 0.15
    put: float = 0.3
    delete: float = 0.6
    full_row: float = 0.004
    refusal: float = 0.02
    jitter: float = 0.25
    seed: int = 0
    _draw: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)  # noqa: S311

    def of_call(self, method: str, full_rows: int) -> float:
        """The seconds of one call whose answer lists so many full user records."""
        base = {"POST": self.put, "PUT": self.put, "DELETE": self.delete}.get(
            method, self.get
        ) + full_rows * self.full_row
        return self._jittered(base)

    def of_refusal(self) -> float:
        """The seconds of a refusal by the gateway, which never reaches Alma."""
        return self._jittered(self.refusal)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._draw.uniform(1 - self.jitter, 1 + self.jitter)


class Alma:
    """The simulated Alma; safe to be called by many threads.

    `latency` None: replies take no time. `per_second` is the number of calls that an institution may make in
    any second, as told by `clock`; None lifts it. `today` tells the day on which the daily quota begins anew,
    logical sets are evaluated and statuses are dated.

    For tests and judges: `faults` are asked, in order, about every call that the gateway lets in; `calls`
    counts calls by (institution, method, route), refused ones included, route "" for unknown paths;
    `throttled` counts 429s of the per-second limit by institution; `lowest` is the fewest calls that were ever left of
    a day's, by institution, once it has made one.
    """

    def __init__(
        self,
        institutions: Iterable[SimulatedInstitution],
        *,
        latency: Latency | None = None,
        per_second: int | None = 25,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self.institutions = {institution.code: institution for institution in institutions}
        self.latency = latency
        self.per_second = per_second
        self.faults: list[Judge] = []
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self.throttled: Counter[str] = Counter()
        self.lowest: dict[str, int] = {}
        self._clock = clock
        self._today = today
        self._lock = threading.RLock()  # reentrant: a fault may make a call of its own
        self._second: dict[str, deque[float]] = {code: deque() for code in self.institutions}
        self._used: Counter[tuple[str, date]] = Counter()
        self._tracked = 0

    def institution(self, code: str) -> SimulatedInstitution:
        """The institution of that code; KeyError when there is none."""
        return self.institutions[code]

    def handle(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        """Answer one call. `path` is the raw one, percent-encoded; the caller waits `latency` and heeds `lost`."""
        headers = {name.lower(): value for name, value in headers.items()}
        with self._lock:
            institution, may_write = self._authenticate(query, headers)
            if institution is None:
                return self._delayed(unauthorized())
            reply = self._through_gateway(institution, may_write, method, path, query, headers, body)
            code, remaining = institution.code, self.remaining(institution.code)
            self.lowest[code] = min(remaining, self.lowest.get(code, remaining))
            return replace(reply, headers={"X-Exl-Api-Remaining": str(remaining)} | dict(reply.headers))

    def remaining(self, code: str) -> int:
        """How many calls are left today to an institution, or to its pool."""
        sharing = self._sharing(code)
        quota = min(one.daily_quota for one in sharing)
        return max(0, quota - sum(self._used[one.code, self._today()] for one in sharing))

    def renew_quotas(self) -> None:
        """Count the calls of the day anew, as Alma does at midnight."""
        with self._lock:
            self._used.clear()

    def _sharing(self, code: str) -> list[SimulatedInstitution]:
        """The institution, and those that share its quota."""
        asked = self.institutions[code]
        others = self.institutions.values() if asked.pool else ()
        return [asked, *(one for one in others if one.pool == asked.pool and one is not asked)]

    def _authenticate(
        self, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[SimulatedInstitution | None, bool]:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "apikey":
            key = query.get("apikey", "")
        for institution in self.institutions.values():
            if key and key == institution.api_key:
                return institution, True
            if key in institution.read_only_keys:
                return institution, False
        return None, False

    def _through_gateway(
        self,
        institution: SimulatedInstitution,
        may_write: bool,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply:
        code, day = institution.code, self._today()
        route, arguments = _find_route(method, path)
        self.calls[code, method, route.template if route else ""] += 1
        if self._too_fast(code):
            self.throttled[code] += 1
            return self._delayed(per_second_threshold(as_xml=self.throttled[code] % 2 == 0))
        if not self.remaining(code):
            return self._delayed(daily_threshold())
        self._used[code, day] += 1
        if route is None:
            return self._delayed(not_found())
        if method != "GET" and not may_write:
            return self._delayed(unauthorized())

        request = Request(code, method, route.template, arguments, query, headers, body)
        fault = next((found for judge in self.faults if (found := judge(request)) is not None), None)
        if fault is not None and not fault.carried_out:
            reply = self._timed(fault.reply or Reply(200), method)
        else:
            reply = self._carry_out(institution, route, request)
        if fault is None:
            return reply
        instead = fault.reply or reply
        return replace(instead, latency=instead.latency or reply.latency, lost=fault.lost)

    def _too_fast(self, code: str) -> bool:
        """Whether this call is one too many within the last second; refused calls don't count (chosen)."""
        if self.per_second is None:
            return False
        now, recent = self._clock(), self._second[code]
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= self.per_second:
            return True
        recent.append(now)
        return False

    def _carry_out(self, institution: SimulatedInstitution, route: Route, request: Request) -> Reply:
        # Without a wish for JSON Alma speaks XML; of that the simulator knows errors alone.
        wants_json = "json" in request.headers.get("accept", "") or request.query.get("format") == "json"
        call = Call(
            institution=institution,
            arguments=request.arguments,
            query={name: request.query[name] for name in route.parameters if name in request.query},
            content_type=request.headers.get("content-type", ""),
            body=request.body,
            today=self._today(),
        )
        try:
            answer = route.answer(call)
        except Refusal as refusal:
            if refusal.code not in route.errors:
                raise AssertionError(f"{route.method} {route.template} gave {refusal.code}: add it to ROUTES") from None
            self._tracked += 1
            tracking_id = f"E01-{self._tracked:010}-SIMUL-AWAE{self._tracked:010}"
            reply = error(refusal.code, refusal.message, tracking_id=tracking_id, as_xml=not wants_json)
            return self._timed(reply, request.method)
        if answer.content is not None and not isinstance(answer.content, str) and not wants_json:
            text = b"The simulated Alma has no XML: send the header Accept: application/json"
            return self._timed(Reply(406, {"Content-Type": "text/plain"}, text), request.method)
        return self._timed(_reply(answer), request.method, answer.full_rows)

    def _timed(self, reply: Reply, method: str, full_rows: int = 0) -> Reply:
        return replace(reply, latency=self.latency.of_call(method, full_rows)) if self.latency else reply

    def _delayed(self, reply: Reply) -> Reply:
        return replace(reply, latency=self.latency.of_refusal()) if self.latency else reply


def _reply(answer: Answer) -> Reply:
    if answer.content is None:
        return Reply(answer.status)
    if isinstance(answer.content, str):
        return Reply(answer.status, {"Content-Type": XML}, answer.content.encode())
    return json_reply(answer.status, answer.content)


def _find_route(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    """The route of a raw path; a slash at its end is as good as none, `%2F` is part of a segment."""
    if not path.startswith(f"{PREFIX}/"):
        return None, {}
    segments = path.removeprefix(PREFIX).rstrip("/").split("/")
    for route in ROUTES:
        names = route.template.split("/")
        if route.method != method or len(names) != len(segments):
            continue
        if all(name == segment or name.startswith("{") for name, segment in zip(names, segments, strict=True)):
            pairs = zip(names, segments, strict=True)
            return route, {name.strip("{}"): unquote(segment) for name, segment in pairs if name.startswith("{")}
    return None, {}
