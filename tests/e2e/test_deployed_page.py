"""The page of a sandbox that runs, and its mail box by the command line."""

from pathlib import Path

import requests

from patron_lifecycle.observability import NAMESPACE
from sandbox.web.cloud import LocalCloud
from sandbox.web.metrics import datums
from tests.e2e.conftest import Deployed


def test_up_prints_a_page_that_answers(deployed: Deployed) -> None:
    """The page shows each dashboard of the stack, or says that there is none, and knows the operator."""
    url = deployed.sandbox.page_url
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, timeout=20)
    assert answer.status_code == 200
    cloud = LocalCloud(deployed.state)
    names = sorted(cloud.dashboards())
    assert [name for name in names or ["There is no dashboard"] if name not in answer.text] == []
    assert deployed.sandbox.outputs["OperatorFunction"] in cloud.functions


def test_what_functions_have_measured_is_read_from_their_logs(deployed: Deployed) -> None:
    """A run that has ended is counted in the metrics that the page adds up."""
    run_id = deployed.invoke("enumerator", {"action": "deactivate", "institutions": ["01OHIO_AAA"]}).json["run_id"]
    assert deployed.command("wait", run_id).code == 0
    counted = [datum for datum in datums(LocalCloud(deployed.state).log_lines()) if datum.metric.name == "Outcomes"]
    assert {datum.metric.namespace for datum in counted} == {NAMESPACE}
    assert ("outcome", "would_deactivate") in {pair for datum in counted for pair in datum.metric.dimensions}


def test_the_mail_box_is_told_and_written(deployed: Deployed, tmp_path: Path) -> None:
    """`mail` prints one JSON object for each mail, and writes as many files."""
    printed = deployed.command("mail")
    assert (printed.code, printed.err) == (0, "")
    written = deployed.command("mail", "--out", str(tmp_path / "mails"))
    assert written.code == 0
    assert len(list((tmp_path / "mails").iterdir())) == len(written.out.splitlines()) == len(printed.out.splitlines())


def test_other_programs_reach_the_sandbox(deployed: Deployed) -> None:
    """`environment` prints what a shell takes over: with it, the stack is found as on AWS."""
    printed = deployed.command("environment")
    assert printed.code == 0
    told = dict(line.removeprefix("export ").split("=", 1) for line in printed.out.splitlines())
    assert told == deployed.sandbox.aws.environment
