"""The page as a process beside local AWS: it shows what is deployed there, and ends with the sandbox."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.background import Background
from sandbox.local_aws import LocalAws
from sandbox.sandbox import Sandbox, stop
from sandbox.stack import ROOT
from sandbox.web.cloud import LocalCloud
from tests.fake_cloud import body, custom


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[LocalAws]:
    """A local AWS with no stack on it."""
    started = LocalAws.start(tmp_path)
    yield started
    if (tmp_path / "aws.json").exists():
        stop(tmp_path)


def known(folder: Path, **outputs: str) -> None:
    """Note what a sandbox would have deployed."""
    facts: dict[str, Any] = {"outputs": outputs, "alma_url": "http://127.0.0.1:9", "page_url": "http://127.0.0.1:9"}
    (folder / "sandbox.json").write_text(json.dumps(facts))


def get(url: str) -> requests.Response:
    """Ask the page."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=20)


def test_the_page_waits_for_its_sandbox_and_ends_with_it(aws: LocalAws, tmp_path: Path) -> None:
    """It answers before the stack is there, shows the dashboard once it is, and is gone after `stop`."""
    command = [sys.executable, "-m", "sandbox.web", "--state", str(tmp_path)]
    log = tmp_path / "page.log"
    page = Background.start(tmp_path / "page.json", command, log=log, cwd=ROOT, facts={}, piped=True)
    url = json.loads(page.first_line())["url"]
    assert url.startswith("http://127.0.0.1:")
    early = get(url)
    assert (early.status_code, "is still starting" in early.text) == (503, True)

    known(tmp_path)
    assert "There is no dashboard" in get(url).text
    aws.client("cloudwatch").put_dashboard(DashboardName="ops", DashboardBody=body(custom("Held")))
    assert "<h2>Held</h2>" in get(url).text
    assert "No mail has been sent." in get(f"{url}/mail").text

    Sandbox.attach(tmp_path).down()
    with pytest.raises(requests.ConnectionError):
        get(url)
    assert log.read_text() == ""


def test_dashboards_alarms_and_logs_are_those_of_local_aws(aws: LocalAws, tmp_path: Path) -> None:
    """What the page shows is what AWS holds; only the two functions that serve dashboards may be called."""
    known(tmp_path, DashboardFunction="d", OperatorFunction="o", WorkerFunction="w", TableName="t")
    cloudwatch = aws.client("cloudwatch")
    stored = body(custom("Held"))
    cloudwatch.put_dashboard(DashboardName="ops", DashboardBody=stored)
    cloudwatch.put_metric_alarm(
        AlarmName="failed",
        AlarmDescription="A run has failed",
        ComparisonOperator="GreaterThanThreshold",
        EvaluationPeriods=1,
        Threshold=0,
        MetricName="m",
        Namespace="n",
        Period=60,
        Statistic="Sum",
    )
    cloud = LocalCloud(tmp_path)
    assert cloud.dashboards() == {"ops": "arn:aws:cloudwatch::000000000000:dashboard/ops"}
    assert json.loads(cloud.body("ops")) == json.loads(stored)
    (alarm,) = cloud.alarms(["failed", "gone"])
    assert (alarm.name, alarm.description) == ("failed", "A run has failed")
    assert alarm.state in {"OK", "INSUFFICIENT_DATA"}
    assert cloud.functions == {"d", "o"}
    assert cloud.mails() == []
