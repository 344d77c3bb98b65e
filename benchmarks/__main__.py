"""`python -m benchmarks`: our worker against two plain scripts, on the same simulated Alma, at Alma's real latency.

All three deactivate the same members of the same set in three like institutions, each with 25 calls a second of
its own. The scripts are handed the ids; ours reads the set, checks the key and records every outcome as well.
"""

import contextlib
import io
import time
from datetime import UTC, datetime
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.baselines import BASELINES
from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.pace import Pace
from patron_lifecycle.observability import logger
from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.registry import Institution, parse_registry
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.events import parse_start
from patron_lifecycle.runs.launch import start_run
from patron_lifecycle.runs.model import WorkMessage, utc_now
from patron_lifecycle.runs.slice import Workshop, work
from patron_lifecycle.runs.store import MemoryStore
from sandbox.simulator.alma import Alma, Latency
from sandbox.simulator.institutions import SimulatedInstitution, institution
from sandbox.simulator.patrons import record
from sandbox.simulator.server import running
from tests.workbench import Keys, MemoryNotices, MemoryQueue, MemoryResumption, MemoryVault

PATRONS = 200
SET = "Expired and active, as of the start"
REGISTRY = f"""
institutions:
  - code: 01OHIO_AAA
    name: Alder
    region: na
    time_zone: UTC
    policy: {{deactivate: {{select: {{set_name: "{SET}"}}, max_percent: 100}}}}
"""


class Measured(NamedTuple):
    """One contender: seconds, patrons done and lost, calls and 429s as Alma counted them."""

    name: str
    seconds: float
    done: int
    lost: int
    calls: int
    throttled: int


def ours(base_url: str, api_key: str) -> tuple[int, int]:
    """Our worker, from the message to the closed run; patrons done and lost."""

    def connect(one: Institution, key: str, _seconds: float) -> AlmaClient:
        return AlmaClient(base_url=base_url, api_key=key, pace=Pace(one.policy.pace.requests_per_second))

    store, queue = MemoryStore(), MemoryQueue()
    (registered,) = parse_registry(REGISTRY)
    store.put_institution(registered)
    engine = Engine(store, queue, MemoryNotices(), MemoryResumption(), utc_now, "test")
    workshop = Workshop(engine, Keys({registered.code: api_key}), MemoryVault(), connect, time.monotonic)
    started = start_run(parse_start({"action": "deactivate", "mode": "apply"}), "bench", store, queue, utc_now)
    while queue.messages:
        message: WorkMessage = queue.messages.popleft()
        work(message, workshop, 270)
    (done,) = store.institution_runs(started.run_id)
    return done.outcomes.get(Outcome.DEACTIVATED, 0), done.candidates - sum(done.outcomes.values())


def like(code: str) -> SimulatedInstitution:
    """An institution with `PATRONS` patrons whom nothing keeps from being deactivated."""
    built = institution(code, code, f"key-of-{code}", 0, 1, datetime.now(UTC).date())
    for number in range(PATRONS):
        patron = record(f"{code.lower()}-{number}", status="ACTIVE", expiry_date="2026-01-31Z")
        built.users[patron["primary_id"].casefold()] = patron
    built.set_named(SET).members = tuple(patron["primary_id"] for patron in built.users.values())
    return built


def measure() -> list[Measured]:
    """Run all contenders, one after the other."""
    codes = ("01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC")
    alma = Alma([like(code) for code in codes], latency=Latency(seed=1))
    measured = []
    with running(alma) as url:
        for code, name in zip(codes, ("ours", *BASELINES), strict=True):
            ids = list(alma.institution(code).set_named(SET).members)
            began = time.perf_counter()
            done, lost = (
                BASELINES[name](url, f"key-of-{code}", ids) if name in BASELINES else ours(url, f"key-of-{code}")
            )
            calls = sum(count for (called, _, _), count in alma.calls.items() if called == code)
            seconds = time.perf_counter() - began
            measured.append(Measured(name, seconds, done, lost, calls, alma.throttled[code]))
    return measured


def main() -> None:
    """Measure and print."""
    with contextlib.redirect_stdout(io.StringIO()):  # the worker's own log lines and metrics
        logger.setLevel("ERROR")
        measured = measure()
    base = measured[0].done / measured[0].seconds
    table = Table(title=f"{PATRONS} patrons, GET 150 ms, PUT 300 ms, 25 calls a second allowed", box=box.SIMPLE_HEAD)
    table.add_column("")
    for heading in ("seconds", "patrons/s", "ours is … times", "calls/patron", "429s", "lost"):
        table.add_column(heading, justify="right")
    for one in measured:
        rate = one.done / one.seconds
        ratio = f"{base / rate:.2f}" if rate else "∞"
        calls = f"{one.calls / one.done:.2f}" if one.done else "-"
        table.add_row(one.name, f"{one.seconds:.1f}", f"{rate:.1f}", ratio, calls, f"{one.throttled}", f"{one.lost}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
