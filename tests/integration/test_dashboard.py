"""The dashboard as deployed, on local AWS with the simulated Alma: look, fill in a name, press, and look again."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sandbox.sandbox import Sandbox
from sandbox.stack import ROOT, logs
from tests.unit.dashboard.widget_page import Click, WidgetPage

AAA, BBB = "01OHIO_AAA", "01OHIO_BBB"
PATIENCE = 60  # seconds until a test that waits gives up
REGISTRY = """
defaults:
  region: na
  time_zone: America/New_York
  policy:
    deactivate: {select: {set_name: "Expired and active"}}
    purge: {select: {set_name: "OHIONET purge"}, exclude: {set_names: ["Community patrons"]}}
institutions:
  - {code: 01OHIO_AAA, name: "Alder <College>"}
  - {code: 01OHIO_BBB, name: Birch University}
"""
THEME = {"dashboardName": "alma-patron-lifecycle-sandbox", "theme": "dark", "forms": {"all": {}}}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The project's own functions, with two institutions of a few hundred patrons."""
    folder = tmp_path_factory.mktemp("dashboard")
    keys = {code: f"key-of-{code}" for code in (AAA, BBB)}
    running = Sandbox.up(folder, REGISTRY, keys=keys, users=200, latency=False)
    yield running
    running.down()


@pytest.fixture(scope="module")
def held(sandbox: Sandbox) -> str:
    """The run_id of a first purge, held in both institutions."""
    run_id: str = sandbox.invoke("enumerator", {"action": "purge", "mode": "apply"})["run_id"]
    deadline = time.monotonic() + PATIENCE
    while len(sandbox.invoke("operator", {"command": "status"})["held"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return run_id


def show(sandbox: Sandbox, view: str, **more: Any) -> WidgetPage:
    """A view, as the widget of that name is given it."""
    return WidgetPage(sandbox.invoke("dashboard", {"view": view, "widgetContext": THEME, **more}))


def press(sandbox: Sandbox, click: Click, **form: str) -> WidgetPage:
    """What a person is shown who has filled this in and pressed a button."""
    names = {sandbox.outputs["OperatorFunction"]: "operator", sandbox.outputs["DashboardFunction"]: "dashboard"}
    function = names[str(click.action["endpoint"]).rpartition(":")[2]]
    return WidgetPage(sandbox.invoke(function, {**click.event, "widgetContext": {**THEME, "forms": {"all": form}}}))


def button(sandbox: Sandbox, text: str, code: str) -> Click:
    """The button of this text for one institution."""
    (found,) = [
        click for click in show(sandbox, "held").clicks if (click.text, click.event["institution"]) == (text, code)
    ]
    return found


def test_the_deployed_dashboard_is_valid(sandbox: Sandbox) -> None:
    """What CloudFormation made of the template is what CloudWatch takes, every name in it put in."""
    found = sandbox.aws.client("cloudwatch").get_dashboard(DashboardName=sandbox.outputs["DashboardName"])
    body = json.loads(found["DashboardBody"])
    schema = json.loads((ROOT / "tests" / "dashboard.schema.json").read_text(encoding="utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(body)] == []
    assert "${" not in found["DashboardBody"]
    custom = [one["properties"] for one in body["widgets"] if one["type"] == "custom"]
    assert {one["endpoint"].rpartition(":")[2] for one in custom} == {sandbox.outputs["DashboardFunction"]}
    assert sandbox.outputs["DashboardUrl"].endswith(f"/{sandbox.outputs['DashboardName']}")


def test_a_held_purge_is_approved_and_another_rejected(sandbox: Sandbox, held: str) -> None:
    """First without a name, which does nothing; then with one; then nothing waits any more."""
    assert sorted(show(sandbox, "held").texts["h3"])[0].startswith("Alder <College> (01OHIO_AAA): purge of ")
    approve = button(sandbox, "Approve", AAA)
    assert press(sandbox, approve).says("Fill in who decides, then press Approve again.")
    assert button(sandbox, "Approve", AAA) == approve

    told = press(sandbox, approve, by="Ana <Systems>", note="looked at the list")
    assert told.texts["h2"] == ["Approved"]
    assert told.says("Approved by Ana <Systems>")
    assert press(sandbox, approve, by="Ana").says(f"{held} is not held in {AAA}")
    assert press(sandbox, button(sandbox, "Reject", BBB), by="Ana").texts["h2"] == ["Rejected"]
    assert show(sandbox, "held").says("Nothing is held")

    deadline = time.monotonic() + PATIENCE
    while not (page := show(sandbox, "runs")).says("1 completed, 1 rejected"):
        assert time.monotonic() < deadline, page.visible
        time.sleep(0.1)
    (run,) = sandbox.invoke("operator", {"command": "status", "run_id": held, "institution": AAA})["institutions"]
    assert page.says(f"{run['outcomes']['purged']} purged")
    assert [(said["by"], said["note"]) for said in run["answers"]] == [("Ana <Systems>", "looked at the list")]


def test_every_view_is_shown_and_links_to_the_history(sandbox: Sandbox, held: str) -> None:
    """With the function's own, narrow rights; a click on a name opens that institution's history."""
    for view in ("institutions", "population"):
        page = show(sandbox, view)
        assert not page.says("can't be shown"), page.visible
    (click,) = [one for one in show(sandbox, "institutions").clicks if one.event["institution"] == AAA]
    assert click.text == "Alder <College>"
    history = press(sandbox, click)
    assert history.texts["h2"] == ["Alder <College> (01OHIO_AAA)"]
    assert history.says(held)
    assert show(sandbox, "institution", institution="01OHIO_ZZZ").says("01OHIO_ZZZ is not registered")
    assert sandbox.invoke("dashboard", {"describe": True}).startswith("# ")


def test_commands_are_logged_without_who_gave_them(sandbox: Sandbox, held: str) -> None:
    """Command, run and institution, from where, and the request by which CloudTrail tells who; no name and no note."""
    press(
        sandbox,
        Click(
            "Reject",
            {"endpoint": sandbox.outputs["OperatorFunction"]},
            {"command": "reject", "run_id": held, "institution": BBB},
        ),
        by="Zoe",
        note="never",
    )
    deadline = time.monotonic() + PATIENCE
    while True:
        lines = logs(sandbox.aws, sandbox.outputs["OperatorFunction"])
        found = [json.loads(line) for line in lines if '"message":"command"' in line and '"command":"reject"' in line]
        if found:
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (found[-1]["run_id"], found[-1]["institution"], found[-1]["from_dashboard"]) == (held, BBB, True)
    assert found[-1]["function_request_id"]
    assert not any("Zoe" in line or "never" in line or "Ana" in line for line in lines)
