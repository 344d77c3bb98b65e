"""The deployed worker is killed again and again: what comes of a run is what comes of it undisturbed."""

import json
import random
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sandbox.killing import kill, worker_processes
from tests.e2e.conftest import Deployed, sandbox_with

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CODES = ("01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC", "01OHIO_DDD")
REGISTRY = """
defaults:
  region: na
  time_zone: America/New_York
  policy:
    deactivate: {select: {sweep: true}, max_percent: 100}
    purge: {select: {set_name: "OHIONET purge"}, exclude: {set_names: ["Community patrons"]}, max_percent: 100}
institutions:
  - {code: 01OHIO_AAA, name: Alder College}
  - {code: 01OHIO_BBB, name: Birch University}
  - {code: 01OHIO_CCC, name: Cedar College}
  - {code: 01OHIO_DDD, name: Dogwood State}
"""
DEACTIVATED, PURGED = CODES[:2], CODES[2:]
COMES_BACK_AFTER = 22  # seconds: a worker ends after 20, so that there are never two for one institution
LATEST = 6  # seconds after it has begun, within which a worker is killed: undisturbed it would take about as long


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The sandbox whose workers are killed."""
    with sandbox_with(tmp_path_factory.mktemp("disturbed"), REGISTRY, "--users", "500") as deployed:
        sqs: SQSClient = deployed.sandbox.aws.client("sqs")
        soon = {"VisibilityTimeout": str(COMES_BACK_AFTER)}
        (queue,) = (url for url in sqs.list_queues()["QueueUrls"] if "WorkQueue" in url)
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=soon)  # type: ignore[arg-type]
        yield deployed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A sandbox with the same patrons, which is left in peace."""
    with sandbox_with(tmp_path_factory.mktemp("undisturbed"), REGISTRY, "--users", "500") as deployed:
        yield deployed


def start(deployed: Deployed, action: str, codes: tuple[str, ...]) -> str:
    """Start a real run and give its run_id."""
    event = {"action": action, "mode": "apply", "institutions": list(codes)}
    run_id: str = deployed.sandbox.invoke("enumerator", event)["run_id"]
    return run_id


def kill_workers(deployed: Deployed, runs: Iterable[str], draw: random.Random, times: int) -> int:
    """Kill all the worker's processes at random instants, as long as one of the runs goes on; how many they were."""
    killed = 0
    for _ in range(times):
        while goes_on(deployed, runs) and not worker_processes(deployed.sandbox):
            time.sleep(0.1)
        time.sleep(draw.uniform(0, LATEST))
        killed += sum(map(kill, worker_processes(deployed.sandbox)))
    return killed


def goes_on(deployed: Deployed, runs: Iterable[str]) -> bool:
    """Whether a worker has something to do for one of the runs."""
    return any(one.status.goes_on for run_id in runs for one in deployed.sandbox.store.institution_runs(run_id))


def approve(deployed: Deployed, run_id: str) -> None:
    """Let a held run go on everywhere."""
    for code in PURGED:
        answer = {"command": "approve", "run_id": run_id, "institution": code, "by": "Ana"}
        assert deployed.sandbox.invoke("operator", answer)["status"] == "queued"


class Result(NamedTuple):
    """What a run has come to: figures by institution, and a row for each candidate.

    Left out is what may differ: the time, that a patron was read back, and the id that Alma gives each refusal.
    """

    figures: list[dict[str, Any]]
    rows: list[dict[str, str]]
    recovered: int


def result(deployed: Deployed, run_id: str, folder: Path) -> Result:
    """The result of a run that has completed."""
    document, rows = deployed.export(run_id, folder)
    assert document["status"] == "completed", document["institutions"]
    recovered = sum(row["detail"].startswith("recovered") for row in rows)
    for row in rows:
        del row["at"]
        row["detail"] = re.sub(r"^recovered.*|tracking id [\w-]+", "", row["detail"])
    for one in document["institutions"]:
        one["status_reason"] = re.sub(r" on \S+ at \S+ UTC", "", one["status_reason"])  # when it was approved
    return Result(document["institutions"], rows, recovered)


def users(deployed: Deployed, code: str) -> dict[str, dict[str, Any]]:
    """All records of a simulated institution, by primary id."""
    found = [json.loads(line) for line in deployed.simulated("users", code).decode().splitlines()]
    return {one["primary_id"]: one for one in found}


def test_a_killed_worker_changes_nothing_in_the_result(
    disturbed: Deployed, undisturbed: Deployed, tmp_path: Path
) -> None:
    """Every candidate ends as without a kill, and every record in Alma, whatever the workers were at when they died."""
    draw = random.Random()
    loud = start(disturbed, "deactivate", DEACTIVATED), start(disturbed, "purge", PURGED)
    killed = kill_workers(disturbed, loud, draw, 1)
    quiet = start(undisturbed, "deactivate", DEACTIVATED), start(undisturbed, "purge", PURGED)
    killed += kill_workers(disturbed, loud, draw, 1)
    for one, run_id in ((undisturbed, quiet[1]), (disturbed, loud[1])):
        assert one.wait(run_id) == 3
        approve(one, run_id)
    killed += kill_workers(disturbed, loud, draw, 1)
    assert killed
    for ours, theirs in zip(loud, quiet, strict=True):
        assert (disturbed.wait(ours), undisturbed.wait(theirs)) == (0, 0)
        found = result(disturbed, ours, tmp_path / ours)
        meant = result(undisturbed, theirs, tmp_path / theirs)
        assert found.figures == meant.figures
        pairs = zip(found.rows, meant.rows, strict=True)
        assert [pair for pair in pairs if pair[0] != pair[1]] == []
        assert meant.recovered == 0
    for code in CODES:
        assert users(disturbed, code) == users(undisturbed, code)
        written, meant = (json.loads(one.simulated("state", code))["writes"] for one in (disturbed, undisturbed))
        assert written == meant, "somebody was written twice"
