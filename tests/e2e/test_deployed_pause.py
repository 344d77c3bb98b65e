"""A daily quota that doesn't suffice, on the deployed template: the run pauses, and goes on when it is renewed."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from patron_lifecycle.runs.model import InstitutionRun, Status
from sandbox.stack import ROOT
from tests.e2e.conftest import Deployed, sandbox_with

if TYPE_CHECKING:
    from mypy_boto3_scheduler import EventBridgeSchedulerClient

AAA, BBB = "01OHIO_AAA", "01OHIO_BBB"
REGISTRY = """
defaults:
  region: na
  time_zone: America/New_York
  policy: {deactivate: {select: {sweep: true}, max_percent: 100}}
institutions:
  - {code: 01OHIO_AAA, name: Alder College}
  - {code: 01OHIO_BBB, name: Birch University}
"""
QUOTA, RESERVE = 200, 200 // 5
ON_THE_WAY = 32  # calls that may be under way when the reserve is reached


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A sandbox whose institutions have a small quota."""
    options = ("--users", "1200", "--daily-quota", str(QUOTA))
    with sandbox_with(tmp_path_factory.mktemp("small"), REGISTRY, *options) as small:
        yield small


def schedules(deployed: Deployed) -> dict[str, Any]:
    """The schedules that let what is paused go on, by institution."""
    client: EventBridgeSchedulerClient = deployed.sandbox.aws.client("scheduler")
    found = {}
    for listed in client.list_schedules()["Schedules"]:
        if listed["GroupName"] != "default":
            schedule = client.get_schedule(Name=listed["Name"], GroupName=listed["GroupName"])
            found[json.loads(schedule["Target"]["Input"])["institution"]] = schedule
    return found


def bring_forward(deployed: Deployed, schedule: Any) -> None:
    """Let a schedule's time be now, as if the night were over."""
    client: EventBridgeSchedulerClient = deployed.sandbox.aws.client("scheduler")
    same = ("Name", "GroupName", "Target", "FlexibleTimeWindow", "ActionAfterCompletion", "Description", "State")
    now = f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})"
    client.update_schedule(ScheduleExpression=now, **{name: schedule[name] for name in same})


def stored(deployed: Deployed, run_id: str, code: str) -> InstitutionRun:
    """An institution run as it is stored."""
    one = deployed.sandbox.store.institution_run(run_id, code)
    assert one is not None
    return one


def until_over(deployed: Deployed, run_id: str, code: str) -> Status:
    """What an institution run comes to, which a schedule is to resume within some seconds."""
    for _ in range(240):
        if not stored(deployed, run_id, code).status.is_open:
            break
        time.sleep(0.25)
    return stored(deployed, run_id, code).status


def test_a_spent_quota_pauses_the_run_until_it_is_renewed(small: Deployed, tmp_path: Path) -> None:
    """Both pause at the reserve, with a schedule each; one goes on by its schedule, one by hand; all are dealt with."""
    run_id = small.start("deactivate", mode="apply")
    assert small.wait(run_id) == 3
    document, rows = small.export(run_id, tmp_path / "paused")
    assert {one["status"] for one in document["institutions"]} == {document["status"]} == {"paused"}
    for one in document["institutions"]:
        assert 0 < sum(row["institution"] == one["institution"] for row in rows) < one["candidates"]
        assert "are kept for others" in one["status_reason"]
        left = json.loads(small.simulated("state", one["institution"]))["lowest_remaining"]
        assert RESERVE - ON_THE_WAY <= left <= RESERVE

    planned, operator = schedules(small), small.sandbox.outputs["OperatorFunction"]
    assert set(planned) == {AAA, BBB}
    for code, schedule in planned.items():
        until = stored(small, run_id, code).paused_until
        assert until is not None
        assert f"{until:%H:%M}" == "00:05"
        assert schedule["ScheduleExpression"] == f"at({until:%Y-%m-%dT%H:%M:%S})"
        assert schedule["ActionAfterCompletion"] == "DELETE"
        assert schedule["Target"]["Arn"].endswith(f":function:{operator}")
        assert json.loads(schedule["Target"]["Input"]) == {"command": "resume", "run_id": run_id, "institution": code}

    left = json.loads(small.command("renew-quota").out)
    assert left == {AAA: QUOTA, BBB: QUOTA}
    bring_forward(small, planned[BBB])
    assert until_over(small, run_id, BBB) is Status.COMPLETED
    assert set(schedules(small)) == {AAA}, "a schedule is deleted once it has done its work"
    assert stored(small, run_id, AAA).status is Status.PAUSED
    assert small.wait(run_id) == 3

    resumed = small.command("invoke", "operator", str(ROOT / "events" / "operator-resume.json"))
    assert resumed.json == {"resumed": [f"{run_id}/{AAA}"], "not_paused": []}
    assert small.wait(run_id) == 0
    document, rows = small.export(run_id, tmp_path / "done")
    assert len({(row["institution"], row["primary_id"]) for row in rows}) == len(rows)
    for one in document["institutions"]:
        mine = Counter(row["outcome"] for row in rows if row["institution"] == one["institution"])
        assert mine == one["outcomes"]
        assert mine.total() == one["candidates"] > 100
        state = json.loads(small.simulated("state", one["institution"]))
        assert state["writes"] == {"PUT": mine["deactivated"]}
        assert state["lowest_remaining"] >= RESERVE - ON_THE_WAY
    assert small.invoke("operator", {"command": "resume", "run_id": run_id}).json["resumed"] == []
