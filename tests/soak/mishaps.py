"""What goes wrong in a soak: Alma's answers, AWS, and workers that are killed."""

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple

from patron_lifecycle.runs.store import Store
from sandbox.simulator.institutions import SimulatedInstitution
from sandbox.simulator.messages import Fault, Reply, Request, error, general_error
from sandbox.simulator.swap_all import created, refuses

_WRITES = frozenset(
    {
        "create_run",
        "create_institution_run",
        "mark_launched",
        "acquire_lease",
        "release_lease",
        "put_halt",
        "put_budget",
    }
    | {"save", "advance", "settle", "put_population", "put_pages", "put_draft", "put_hashes", "put_returned"}
)
_SENT_ONCE = frozenset({("DELETE", "/users/{user_id}"), ("POST", "/users")})


class AwsTrouble(Exception):
    """AWS has answered with an error, or not at all."""


class Kind(StrEnum):
    """What a wrong is counted as."""

    WRITE = "wrong writes"
    OUTCOME = "lost or double outcomes"
    UNFINISHED = "institution runs not finished"
    OTHER = "other wrongs"


class Wrong(NamedTuple):
    """Something that must not be, in a sentence."""

    kind: Kind
    what: str


class FrailStore:
    """A store before and after each write of which something may go wrong: `before` and `after` get its name."""

    def __init__(self, store: Store, before: Callable[[str], None], after: Callable[[str], None]) -> None:
        self._store = store
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in _WRITES:
            return method

        def frail(*arguments: Any) -> Any:
            self._before(name)
            result = method(*arguments)
            self._after(name)
            return result

        return frail


class _Late(NamedTuple):
    """A delete, or, with a body, a creation, of a run, and when Alma gets it done."""

    at: float
    body: bytes
    run_id: str


class FailingAlma:
    """What goes wrong in the Alma of one institution, for the share `rate` of all calls.

    `run_id` is the run that is at work there, or whose write Alma gets done late; `unanswered` counts, by
    run, the deletes and creations without a clear answer, and those over whom a worker was lost.
    """

    def __init__(
        self,
        institution: SimulatedInstitution,
        draw: random.Random,
        rate: float,
        clock: Callable[[], float],
        today: Callable[[], date],
    ) -> None:
        self.rate = rate
        self.run_id = ""
        self.unanswered = Counter[str]()
        self.faults = 0
        self.wrongs: list[Wrong] = []
        self._late: dict[str, _Late] = {}  # what Alma is still at work on, by primary id
        self._institution = institution
        self._draw = draw
        self._clock = clock
        self._today = today

    def fault(self, request: Request) -> Fault | None:
        """What becomes of a call instead of what should."""
        is_sent_once = (request.method, request.route) in _SENT_ONCE
        user_id = request.arguments.get("user_id") or _primary_id_in(request.body)
        if is_sent_once and user_id in self._late:
            what = f"{request.method} of {user_id} was sent again while Alma was still at it"
            self.wrongs.append(Wrong(Kind.WRITE, what))
        self.carry_out_late()
        if self._draw.random() >= self.rate:
            return None
        self.faults += 1
        carried_out = self._draw.random() < 0.5
        if is_sent_once:
            self.unanswered[self.run_id] += 1
            if self._draw.random() < 0.3:
                self._late[user_id] = _Late(self._clock() + self._draw.uniform(1, 90), request.body, self.run_id)
                return Fault(lost="timeout")
        kinds: tuple[Fault, ...] = (
            Fault(general_error(), carried_out=carried_out),
            Fault(Reply(502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>"), carried_out=carried_out),
            Fault(Reply(200, {"Content-Type": "application/json"}, b'{"primary_id": "cut o'), carried_out=carried_out),
            Fault(lost="reset", carried_out=carried_out),
            Fault(lost="timeout", carried_out=carried_out),
            Fault(error("PER_SECOND_THRESHOLD", "too many", status=429)),
        )
        return self._draw.choice(kinds)

    def carry_out_late(self, *, all_of_them: bool = False) -> None:
        """Let Alma get done with deletes and creations whose answer nobody waits for any more."""
        now, at_work = self._clock(), self.run_id
        for user_id in [one for one, late in self._late.items() if all_of_them or late.at <= now]:
            _, body, self.run_id = self._late.pop(user_id)
            key = self._institution.find(user_id)
            if not body and key == user_id.casefold():
                self._institution.remove(key, asked=user_id)
            elif body and not refuses(json.loads(body)):
                user = created(json.loads(body), today=self._today())
                if not list(self._institution.taken(user)):
                    self._institution.add(user, self._today(), asked=user_id)
        self.run_id = at_work


def _primary_id_in(body: bytes) -> str:
    """Whom a creation is of."""
    return str(json.loads(body)["primary_id"]) if body else ""
