"""The dashboard of template.yaml: what CloudWatch takes, what the code puts, and what is where."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from patron_lifecycle.dashboard.widget import View
from patron_lifecycle.observability import NAMESPACE, count_status, put_days_since
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.runs.days_since import SCHEDULED
from patron_lifecycle.runs.model import Status
from tests.samples import NOW, institution_run
from tests.template import MADE, Stack

SCHEMA = json.loads((Path(__file__).parents[1] / "dashboard.schema.json").read_text(encoding="utf-8"))
STACK = Stack(Stage="test")
SERVICE = "alma-patron-lifecycle.test"
PSEUDO = {"AWS::Region", "AWS::AccountId", "AWS::Partition", "AWS::StackName"}
OF_AWS = {  # the metrics of AWS's own that we show, with their dimensions
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): {"QueueName"},
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): {"QueueName"},
    ("AWS/Lambda", "Errors"): {"FunctionName"},
    ("AWS/Lambda", "Throttles"): {"FunctionName"},
    ("AWS/Lambda", "Duration"): {"FunctionName"},
    ("AWS/Lambda", "ConcurrentExecutions"): {"FunctionName"},
    ("AWS/DynamoDB", "ConsumedReadCapacityUnits"): {"TableName"},
    ("AWS/DynamoDB", "ConsumedWriteCapacityUnits"): {"TableName"},
    ("AWS/DynamoDB", "ReadThrottleEvents"): {"TableName"},
    ("AWS/DynamoDB", "WriteThrottleEvents"): {"TableName"},
    ("AWS/DynamoDB", "SystemErrors"): {"TableName", "Operation"},
}

AWS_NAMES = {"Invocations"} | {name for _, name in OF_AWS}


def body() -> dict[str, Any]:
    """The dashboard as CloudWatch gets it, but for what depends on a deployed resource."""
    (dashboard,) = STACK.of_type("AWS::CloudWatch::Dashboard").values()
    parsed: dict[str, Any] = json.loads(dashboard["DashboardBody"])
    return parsed


WIDGETS: list[dict[str, Any]] = body()["widgets"]


def problems(document: object) -> list[str]:
    """What the schema has against a dashboard."""
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)]


def of_kind(kind: str) -> list[dict[str, Any]]:
    """The properties of all widgets of one type."""
    return [widget["properties"] for widget in WIDGETS if widget["type"] == kind]


def metrics() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Namespace, name and dimensions of every metric shown; a dot stands for what the one before has in its place."""
    for properties in of_kind("metric"):
        before: list[str] = []
        for row in properties["metrics"]:
            texts = [part for part in row if isinstance(part, str)]
            if not texts:
                continue
            whole = [before[place] if part == "." else part for place, part in enumerate(texts)]
            before = whole
            yield whole[0], whole[1], dict(zip(whole[2::2], whole[3::2], strict=True))


def emitted(printed: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Name and dimensions of every metric in what was printed, as CloudWatch reads it."""
    return {
        (metric["Name"], frozenset((name, document[name]) for name in names))
        for line in printed.splitlines()
        for document in (json.loads(line),)
        for group in document["_aws"]["CloudWatchMetrics"]
        for names in group["Dimensions"]
        for metric in group["Metrics"]
    }


def of_alarms() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Name and dimensions of every metric that an alarm watches."""
    found = []
    for alarm in STACK.of_type("AWS::CloudWatch::Alarm").values():
        several = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
        found += several or [alarm]
    return {(one["MetricName"], frozenset((of["Name"], str(of["Value"])) for of in one["Dimensions"])) for one in found}


def test_the_schema_is_one() -> None:
    """What holds the dashboard is itself held to what a JSON schema is."""
    Draft202012Validator.check_schema(SCHEMA)


def test_the_dashboard_is_valid() -> None:
    """CloudWatch takes it: every widget has what its type requires, and nothing that AWS doesn't name."""
    assert problems(body()) == []


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"widgets": [{"type": "metric", "properties": {"metrics": [["A", "B"]]}}]},
        {"widgets": [{"type": "metric", "properties": {"region": "us-east-1"}}]},
        {"widgets": [{"type": "metric", "properties": {"region": "us-east-1", "metrics": [["A"]]}}]},
        {"widgets": [{"type": "metric", "properties": {"region": "us-east-1", "metrics": [], "view": "pies"}}]},
        {"widgets": [{"type": "metric", "properties": {"region": "us-east-1", "metrics": [], "period": 90}}]},
        {"widgets": [{"type": "text", "properties": {}}]},
        {"widgets": [{"type": "text", "properties": {"markdown": "x", "title": "y"}}]},
        {"widgets": [{"type": "text", "x": 24, "y": 0, "properties": {"markdown": "x"}}]},
        {"widgets": [{"type": "text", "x": 0, "properties": {"markdown": "x"}}]},
        {"widgets": [{"type": "text", "width": 25, "properties": {"markdown": "x"}}]},
        {"widgets": [{"type": "text", "height": 0, "properties": {"markdown": "x"}}]},
        {"widgets": [{"type": "log", "properties": {"region": "us-east-1", "query": "fields @message"}}]},
        {"widgets": [{"type": "alarm", "properties": {"alarms": []}}]},
        {"widgets": [{"type": "custom", "properties": {"params": {}}}]},
        {"widgets": [{"type": "customs", "properties": {"endpoint": "arn"}}]},
        {"widgets": [{"type": "text", "properties": {"markdown": "x"}}] * 501},
        {"widgets": [], "theme": "dark"},
        {"widgets": [], "start": "last month"},
    ],
    ids=lambda broken: json.dumps(broken)[:80],
)
def test_the_schema_finds_what_is_wrong(broken: object) -> None:
    """A missing or unknown property, a place outside of the grid, and a value that there isn't are found."""
    assert problems(broken)


def test_no_widget_covers_another_and_none_sticks_out() -> None:
    """Each place of the grid belongs to one widget at most, and there is no gap between the rows."""
    taken: dict[tuple[int, int], str] = {}
    for widget in WIDGETS:
        title = str(widget["properties"].get("title", widget["properties"].get("markdown")))
        assert widget["x"] + widget["width"] <= 24, title
        for place in itertools.product(
            range(widget["x"], widget["x"] + widget["width"]), range(widget["y"], widget["y"] + widget["height"])
        ):
            assert taken.setdefault(place, title) == title, (title, taken[place])
    rows = {y for _, y in taken}
    assert len(taken) == 24 * len(rows) == 24 * (max(rows) + 1)


def test_every_metric_is_one_that_is_put(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours have the very names and dimensions that the code puts, and all of these are shown; AWS's have AWS's.

    Alarms watch nothing else either.
    """
    for action, status in itertools.product(Action, Status):
        blocked = {Outcome.BLOCKED: 1} if action is Action.PURGE else {}
        outcomes = {action.done: 1, action.would: 1, Outcome.SKIPPED: 1, Outcome.FAILED: 1, **blocked}
        if status in (Status.HELD, Status.PAUSED) or not status.is_open:
            pauses = int(status is Status.PAUSED)
            one = institution_run(status=status, action=action, outcomes=outcomes, pauses=pauses)
            count_status(one.but(started_at=NOW, finished_at=NOW), SERVICE)
    for action in SCHEDULED:
        put_days_since(action, 1.5, SERVICE)
    put = emitted(capsys.readouterr().out)
    assert {watched for watched in of_alarms() if watched[0] not in AWS_NAMES} <= put
    shown = list(metrics())
    assert {(name, frozenset(of.items())) for namespace, name, of in shown if namespace == NAMESPACE} == put
    for namespace, name, dimensions in shown:
        assert namespace == NAMESPACE or OF_AWS[namespace, name] == set(dimensions)


def test_what_the_dashboard_names_is_there() -> None:
    """Every resource and parameter that it is made of exists, and metrics and logs are those of our own resources."""
    source = json.dumps(MADE["Resources"]["OperationsDashboard"])
    names = {name.partition(".")[0] for name in re.findall(r"\$\{([^}]+)\}", source)} - {"Intro", "Errors"}
    assert {"Dashboard", "RunsTable", "WorkQueue", "Stage", "WorkerLogs"} <= names
    assert names <= {*MADE["Resources"], *MADE["Parameters"], *PSEUDO}
    values = {value for namespace, _, of in metrics() for value in of.values() if namespace.startswith("AWS/")}
    functions = {f"${{{name}}}" for name in STACK.of_type("AWS::Lambda::Function")}
    assert functions <= values
    queues = {f"${{{name}.QueueName}}" for name in STACK.of_type("AWS::SQS::Queue")}
    assert queues <= values
    (log,) = of_kind("log")
    groups = {f"SOURCE '${{{name}}}'" for name in STACK.of_type("AWS::Logs::LogGroup")}
    assert set(log["query"].split(" | ")[: len(groups)]) == groups


def test_every_alarm_is_shown() -> None:
    """Whoever looks sees the state of all alarms there are."""
    (alarms,) = of_kind("alarm")
    assert set(alarms["alarms"]) == {f"${{{name}.Arn}}" for name in STACK.of_type("AWS::CloudWatch::Alarm")}


def test_every_view_for_all_institutions_has_its_widget() -> None:
    """The dashboard function is asked for each view but the one that a click on a name opens."""
    shown = of_kind("custom")
    assert [one["params"] for one in shown] == [
        {"view": view} for view in (View.HELD, View.INSTITUTIONS, View.RUNS, View.POPULATION)
    ]
    assert {one["endpoint"] for one in shown} == {"${Dashboard.Arn}"}


def test_expressions_are_of_metrics_in_their_widget() -> None:
    """Every name in an expression is the id of a metric beside it."""
    expressions = 0
    for properties in of_kind("metric"):
        settings = [part for row in properties["metrics"] for part in row if isinstance(part, dict)]
        ids = {setting["id"] for setting in settings if "id" in setting}
        for setting in settings:
            if "expression" in setting:
                expressions += 1
                assert set(re.findall(r"\b[a-z]\w*", setting["expression"])) <= ids
    assert expressions == 1


def test_saved_queries_ask_our_logs_for_what_they_hold() -> None:
    """Each carries the stage's name, asks log groups of the stack, and goes by lines and keys that the code logs."""
    queries = STACK.of_type("AWS::Logs::QueryDefinition")
    groups = set(STACK.of_type("AWS::Logs::LogGroup"))
    assert {query["Name"] for query in queries.values()} == {
        f"alma-patron-lifecycle-test/{name}"
        for name in ("errors", "slices-of-institution-runs", "calls-by-institution", "commands")
    }
    code = "".join(
        file.read_text(encoding="utf-8")
        for folder in ("layers/patron_lifecycle/patron_lifecycle", "functions")
        for file in Path(__file__).parents[2].joinpath(folder).rglob("*.py")
    )
    for query in queries.values():
        assert {group["Ref"] for group in query["LogGroupNames"]} <= groups
        for lines in re.findall(r'message (?:= |in \[)((?:"[^"]+"(?:, )?)+)', query["QueryString"]):
            assert all(line in code for line in re.findall(r'"[^"]+"', lines))


def statements(policy: str) -> list[dict[str, Any]]:
    """What a managed policy allows."""
    found: list[dict[str, Any]] = STACK.of_type("AWS::IAM::ManagedPolicy")[policy]["PolicyDocument"]["Statement"]
    return found


def test_a_viewer_reads_and_an_approver_may_give_commands_besides() -> None:
    """A viewer may invoke the dashboard function alone; the other policy adds the operator function, and says so."""
    viewer, approver = statements("ViewerPolicy"), statements("ApproverPolicy")
    (added,) = [each for each in approver if each not in viewer]
    assert [each for each in approver if each != added] == viewer
    assert (added["Action"], added["Resource"]) == ("lambda:InvokeFunction", {"Fn::GetAtt": ["Operator", "Arn"]})
    (invoked,) = [each for each in viewer if "lambda:" in str(each["Action"])]
    assert (invoked["Action"], invoked["Resource"]) == ("lambda:InvokeFunction", {"Fn::GetAtt": ["Dashboard", "Arn"]})
    policies = STACK.of_type("AWS::IAM::ManagedPolicy")
    assert "every command" in policies["ApproverPolicy"]["Description"]
    assert not any("ManagedPolicyName" in policy for policy in policies.values())
    verbs = re.findall(r"'\w+:([A-Z][a-z]+)\w*'", str([each["Action"] for each in viewer]) + f"'{invoked['Action']}'")
    assert set(verbs) <= {"Get", "List", "Describe", "Start", "Stop", "Invoke"}


def test_a_viewer_asks_only_our_logs_and_sees_only_our_dashboard() -> None:
    """What AWS lets narrow down is narrowed down."""
    by_sid = {each["Sid"]: each for each in statements("ViewerPolicy")}
    assert by_sid["Dashboard"]["Resource"].endswith(":dashboard/${OperationsDashboard}")
    logs = {resource["Fn::GetAtt"][0] for resource in by_sid["Logs"]["Resource"]}
    assert logs == set(STACK.of_type("AWS::Logs::LogGroup"))
    anything = [each for each in by_sid.values() if each["Resource"] == "*"]
    assert [each["Sid"] for each in anything] == ["MetricsAndAlarms"]
    assert "logs:StartQuery" not in anything[0]["Action"]


def test_the_dashboard_function_can_only_read() -> None:
    """Its own policy gets and queries the table and its indexes, and nothing else."""
    role = STACK.of_type("AWS::IAM::Role")["DashboardRole"]
    (statement,) = (each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"])
    assert statement["Action"] == ["dynamodb:GetItem", "dynamodb:Query"]
    assert statement["Resource"] == [{"Fn::GetAtt": ["RunsTable", "Arn"]}, "${RunsTable.Arn}/index/*"]


def test_its_buttons_call_the_operator() -> None:
    """The dashboard function is told the operator's address, and may not invoke it."""
    function = STACK.of_type("AWS::Lambda::Function")["Dashboard"]
    told = function["Environment"]["Variables"]["OPERATOR_FUNCTION_ARN"]
    assert told == {"Fn::GetAtt": ["Operator", "Arn"]}
    assert function["Timeout"] == 30
