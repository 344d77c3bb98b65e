"""template.yaml: what a deployment promises, and what its linter catches."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from patron_lifecycle.policy.model import Purge
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.reports.bucket import LINK_DAYS
from patron_lifecycle.runs.events import Announce, DaysSince, Tidy, parse_operator, parse_start
from patron_lifecycle.runs.model import Mode, Status, Trigger
from patron_lifecycle.schedules import Schedule, schedules_of
from patron_lifecycle.settings import Settings
from scripts.lint_template import TEMPLATE, findings
from tests.template import DEFAULT, SOURCE, TEXT, Stack

TIMEOUTS: list[int] = SOURCE["Parameters"]["WorkerTimeout"]["AllowedValues"]


def schedule(stack: Stack, name: str) -> dict[str, Any]:
    """The schedule of a function."""
    return stack.of_type("AWS::Scheduler::Schedule")[name]


def environment(function: str, stack: "Stack") -> dict[str, Any]:
    """The environment variables of a function."""
    variables: dict[str, Any] = stack.of_type("AWS::Lambda::Function")[function]["Environment"]["Variables"]
    return variables


def statements(function: str, stack: Stack = DEFAULT) -> list[dict[str, Any]]:
    """What a function's own policies allow."""
    role = stack.of_type("AWS::IAM::Role")[f"{function}Role"]
    return [statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]]


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("written", "mistake", "rule"),
    [
        ("ReportBatchItemFailures]", "ReportBatchItemFailure]", "E3030"),
        ('"60": {Visibility: 360', '"60": {Visibility: 59', "E3505"),
        ("Type: ScheduleV2", "Type: ScheduleV3", "SAM"),
        ("OmitName: true", "OmitNames: true", "SAM"),
    ],
)
def test_lint_catches(written: str, mistake: str, rule: str) -> None:
    """A mistake that AWS would trip over, or worse not trip over, is found; and nothing but the mistake."""
    found = findings(TEXT.replace(written, mistake))

    assert TEXT.count(written) >= 1
    assert found
    assert all(line.startswith(rule) for line in found), found


def test_schedule_previews_by_default() -> None:
    """The weekly schedule starts a preview, every Monday at three in the morning, New York time."""
    weekly = schedule(DEFAULT, "EnumeratorDeactivate")

    assert weekly["ScheduleExpression"] == "cron(0 3 ? * MON *)"
    assert weekly["ScheduleExpressionTimezone"] == "America/New_York"
    assert weekly["State"] == "ENABLED"
    assert json.loads(weekly["Target"]["Input"]) == {
        "action": "deactivate",
        "mode": "preview",
        "trigger": "schedule",
        "request_id": "deactivate <aws.scheduler.scheduled-time>",
    }


def test_apply_deactivate_switches_the_schedule_to_apply() -> None:
    """ApplyDeactivate true, and nothing else, makes the schedule change patrons."""
    event = json.loads(schedule(Stack(ApplyDeactivate="true"), "EnumeratorDeactivate")["Target"]["Input"])

    assert event["mode"] == "apply"


def test_purge_schedule_previews_by_default() -> None:
    """The monthly schedule starts a preview, on the first at five in the morning, New York time."""
    monthly = schedule(DEFAULT, "EnumeratorPurge")

    assert monthly["ScheduleExpression"] == "cron(0 5 1 * ? *)"
    assert monthly["ScheduleExpressionTimezone"] == "America/New_York"
    assert monthly["State"] == "ENABLED"
    assert json.loads(monthly["Target"]["Input"]) == {
        "action": "purge",
        "mode": "preview",
        "trigger": "schedule",
        "request_id": "purge <aws.scheduler.scheduled-time>",
    }
    for name in ("RetryPolicy", "DeadLetterConfig", "Arn"):
        assert monthly["Target"][name] == schedule(DEFAULT, "EnumeratorDeactivate")["Target"][name]


def test_each_action_has_its_own_apply_switch() -> None:
    """ApplyPurge true makes the monthly schedule delete patrons, and leaves the weekly one alone; and the reverse."""
    modes = {
        switch: {
            name: json.loads(schedule(Stack(**{switch: "true"}), name)["Target"]["Input"])["mode"]
            for name in ("EnumeratorDeactivate", "EnumeratorPurge")
        }
        for switch in ("ApplyDeactivate", "ApplyPurge")
    }

    assert modes["ApplyDeactivate"] == {"EnumeratorDeactivate": "apply", "EnumeratorPurge": "preview"}
    assert modes["ApplyPurge"] == {"EnumeratorDeactivate": "preview", "EnumeratorPurge": "apply"}


@pytest.mark.parametrize(
    ("day", "time", "expression"),
    [
        (1, "00:00", "cron(0 0 1 * ? *)"),
        (28, "23:59", "cron(59 23 28 * ? *)"),
        (9, "10:05", "cron(5 10 9 * ? *)"),
        (9, "05:10", "cron(10 5 9 * ? *)"),
        (15, "00:30", "cron(30 0 15 * ? *)"),
        (15, "20:00", "cron(0 20 15 * ? *)"),
    ],
)
def test_purge_schedule_is_made_of_day_and_time(day: int, time: str, expression: str) -> None:
    """Day and time become a cron expression without leading zeros, which the operator is told as well."""
    stack = Stack(PurgeDay=day, PurgeTime=time)

    assert schedule(stack, "EnumeratorPurge")["ScheduleExpression"] == expression
    assert environment("Operator", stack)["PURGE_SCHEDULE"] == expression


@pytest.mark.parametrize(
    ("time", "taken"),
    [
        ("05:00", True),
        ("23:59", True),
        ("19:30", True),
        ("24:00", False),
        ("5:00", False),
        ("05:60", False),
        ("05:00 ", False),
        ("05:00:00", False),
        ("0500", False),
        ("", False),
    ],
)
def test_purge_time_is_a_time_of_day(time: str, taken: bool) -> None:
    """A purge time is two digits, a colon and two digits, and there is such a time."""
    assert bool(re.fullmatch(SOURCE["Parameters"]["PurgeTime"]["AllowedPattern"], time)) is taken


def test_every_month_has_the_purge_day() -> None:
    """No day can be chosen that some month lacks, since a purge would silently be left out then."""
    day = SOURCE["Parameters"]["PurgeDay"]

    assert (day["MinValue"], day["MaxValue"]) == (1, 28)


def test_schedules_can_be_off() -> None:
    """Each schedule has its own switch."""
    names = {
        "DeactivateScheduleState": "EnumeratorDeactivate",
        "PurgeScheduleState": "EnumeratorPurge",
        "NoticeScheduleState": "OperatorAnnounce",
        "TidyScheduleState": "OperatorTidy",
    }

    for switch, off in names.items():
        stack = Stack(**{switch: "DISABLED"})
        assert {name for name in names.values() if schedule(stack, name)["State"] == "DISABLED"} == {off}


@pytest.mark.parametrize(("switch", "mode"), [("true", Mode.APPLY), ("false", Mode.PREVIEW)])
def test_functions_accept_what_the_schedules_send(switch: str, mode: Mode) -> None:
    """Enumerator and operator take the schedules' input as it is, and read from it what the switches say."""
    stack = Stack(ApplyDeactivate=switch, ApplyPurge=switch)

    for name, action in [("EnumeratorDeactivate", Action.DEACTIVATE), ("EnumeratorPurge", Action.PURGE)]:
        start = parse_start(json.loads(schedule(stack, name)["Target"]["Input"]))
        assert (start.action, start.mode, start.trigger) == (action, mode, Trigger.SCHEDULE)
        assert start.request_id == f"{action} <aws.scheduler.scheduled-time>"
        assert (start.institutions, start.as_of) == (None, None)
    commands = {
        "OperatorTidy": Tidy(command="tidy"),
        "OperatorAnnounce": Announce(command="announce"),
        "OperatorDaysSince": DaysSince(command="days_since"),
    }
    for name, command in commands.items():
        assert parse_operator(json.loads(schedule(stack, name)["Target"]["Input"])) == command


def test_two_stages_fit_into_one_account() -> None:
    """No resource has a fixed name but log groups, which carry the stack's, and the dashboard, with the stage's."""
    for kind, name in [
        ("AWS::Scheduler::Schedule", "Name"),
        ("AWS::SQS::Queue", "QueueName"),
        ("AWS::DynamoDB::Table", "TableName"),
        ("AWS::Lambda::Function", "FunctionName"),
        ("AWS::S3::Bucket", "BucketName"),
        ("AWS::Events::Rule", "Name"),
        ("AWS::SNS::Topic", "TopicName"),
        ("AWS::CloudWatch::Alarm", "AlarmName"),
        ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"),
    ]:
        assert DEFAULT.of_type(kind)
        assert not [properties for properties in DEFAULT.of_type(kind).values() if name in properties]
    (dashboard,) = DEFAULT.of_type("AWS::CloudWatch::Dashboard").values()
    assert dashboard["DashboardName"] == "alma-patron-lifecycle-dev"
    groups = [group["LogGroupName"] for group in DEFAULT.of_type("AWS::Logs::LogGroup").values()]
    assert all("${AWS::StackName}" in group for group in groups)


def test_every_function_has_a_log_group_with_retention() -> None:
    """Each function logs to a group of its own, which forgets after LogRetentionDays."""
    stack = Stack(LogRetentionDays=30)
    groups = stack.of_type("AWS::Logs::LogGroup")
    used = [
        function["LoggingConfig"]["LogGroup"]["Ref"] for function in stack.of_type("AWS::Lambda::Function").values()
    ]

    assert sorted(used) == sorted(groups)
    assert {group["RetentionInDays"] for group in groups.values()} == {30}


@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_times_follow_from_the_worker_timeout(timeout: int) -> None:
    """A message is hidden for six timeouts; an institution run has stalled after three such waits and one timeout."""
    stack = Stack(WorkerTimeout=timeout)
    queue = stack.of_type("AWS::SQS::Queue")["WorkQueue"]
    functions = stack.of_type("AWS::Lambda::Function")

    assert functions["Worker"]["Timeout"] == timeout
    assert queue["VisibilityTimeout"] == 6 * timeout
    waits = queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"]
    assert functions["Operator"]["Environment"]["Variables"]["STALLED_AFTER_SECONDS"] == str(waits + timeout)
    oldest = stack.of_type("AWS::CloudWatch::Alarm")["OldestMessageAlarm"]
    assert (oldest["MetricName"], int(oldest["Threshold"])) == ("ApproximateAgeOfOldestMessage", waits + timeout)
    assert oldest["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["WorkQueue", "QueueName"]}}]


def test_every_dead_letter_queue_has_an_alarm() -> None:
    """What can't be delivered, started or done is kept for 14 days, and one message is enough to raise the alarm."""
    queues = DEFAULT.of_type("AWS::SQS::Queue")
    targets = {queues["WorkQueue"]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]}
    for each in DEFAULT.of_type("AWS::Scheduler::Schedule").values():
        targets.add(each["Target"]["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0])
    for config in DEFAULT.of_type("AWS::Lambda::EventInvokeConfig").values():
        targets.add(config["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0])
    alarms = {
        alarm["Dimensions"][0]["Value"]["Fn::GetAtt"][0]: alarm
        for alarm in DEFAULT.of_type("AWS::CloudWatch::Alarm").values()
        if alarm.get("MetricName") == "ApproximateNumberOfMessagesVisible"
    }

    assert targets == set(queues) - {"WorkQueue"} == set(alarms)
    for name, alarm in alarms.items():
        assert queues[name]["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert alarm["Namespace"] == "AWS/SQS"
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]


def test_what_a_schedule_starts_has_a_failure_destination() -> None:
    """A schedule's own queue doesn't see what fails inside the function, so every function it starts has another."""
    started = {each["Target"]["Arn"]["Fn::GetAtt"][0] for each in DEFAULT.of_type("AWS::Scheduler::Schedule").values()}
    guarded = {config["FunctionName"]["Ref"] for config in DEFAULT.of_type("AWS::Lambda::EventInvokeConfig").values()}

    assert started == {"Enumerator", "Operator"}
    assert guarded == {*started, "Reporter"}


def test_worker_takes_one_message_at_a_time_from_an_encrypted_fifo_queue() -> None:
    """One message an invocation, failures reported by message, as many workers as asked for, and the loop allowed."""
    (mapping,) = Stack(MaximumConcurrency=7).of_type("AWS::Lambda::EventSourceMapping").values()
    queues = DEFAULT.of_type("AWS::SQS::Queue")

    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 7}
    assert DEFAULT.of_type("AWS::Lambda::Function")["Worker"]["RecursiveLoop"] == "Allow"
    assert queues["WorkQueue"]["FifoQueue"] is queues["WorkDeadLetterQueue"]["FifoQueue"] is True
    assert all(queue["SqsManagedSseEnabled"] for queue in queues.values())


def test_only_worker_and_operator_read_keys_and_only_below_the_prefix() -> None:
    """The API keys are out of reach for the enumerator, and those who call Alma read no other secret."""
    allowed = {
        function: [statement for statement in statements(function) if "secretsmanager" in str(statement["Action"])]
        for function in ("Enumerator", "Worker", "Operator")
    }

    assert allowed["Enumerator"] == []
    assert allowed["Worker"] == allowed["Operator"]
    (reading,) = allowed["Worker"]
    assert reading["Action"] == "secretsmanager:GetSecretValue"
    assert reading["Resource"].endswith(":secret:alma-patron-lifecycle/dev/*")


def test_only_the_worker_reaches_the_vault_and_deletes_nothing() -> None:
    """The worker puts tagged objects into the vault, and gets them to restore; nobody deletes them."""
    allowed = {
        function: [statement for statement in statements(function) if "s3:" in str(statement["Action"])]
        for function in ("Enumerator", "Worker", "Operator")
    }

    assert allowed["Enumerator"] == []
    (links,) = allowed["Operator"]
    assert (links["Action"], links["Resource"]) == ("s3:DeleteObject", "${ReportsBucket.Arn}/links/*")
    objects, listing = allowed["Worker"]
    assert objects["Action"] == ["s3:PutObject", "s3:PutObjectTagging", "s3:GetObject"]
    assert objects["Resource"] == "${VaultBucket.Arn}/*"
    assert listing["Action"] == "s3:ListBucket"
    assert listing["Resource"] == {"Fn::GetAtt": ["VaultBucket", "Arn"]}
    assert environment("Worker", DEFAULT)["VAULT_BUCKET"] == {"Ref": "VaultBucket"}


def test_events_are_put_under_the_stages_own_name() -> None:
    """Who puts events on the default bus may do it with the stage's source alone, which they are told."""
    allowed = {
        function: [statement for statement in statements(function) if "events:" in str(statement["Action"])]
        for function in ("Enumerator", "Worker", "Operator")
    }

    assert allowed["Enumerator"] == allowed["Worker"] == allowed["Operator"]
    (putting,) = allowed["Worker"]
    assert putting["Action"] == "events:PutEvents"
    assert putting["Resource"].endswith(":event-bus/default")
    assert putting["Condition"] == {"StringEquals": {"events:source": "alma-patron-lifecycle.dev"}}
    for function in ("Enumerator", "Worker", "Operator"):
        assert environment(function, DEFAULT)["EVENT_SOURCE"] == "alma-patron-lifecycle.dev"


@pytest.mark.parametrize("function", ["Operator", "Dashboard"])
def test_operator_and_dashboard_know_the_schedules(function: str) -> None:
    """Both know the schedules as they were deployed, and the operator has time to ask every institution's Alma."""
    stack = Stack(ApplyDeactivate="true", PurgeScheduleState="DISABLED", TimeZone="Europe/Berlin")
    told = environment(function, stack)

    assert DEFAULT.of_type("AWS::Lambda::Function")["Operator"]["Timeout"] == 300
    assert {name: told[name] for name in told if re.search("SCHEDULE|APPLY", name)} == {
        "DEACTIVATE_SCHEDULE": "cron(0 3 ? * MON *)",
        "DEACTIVATE_SCHEDULE_STATE": "ENABLED",
        "APPLY_DEACTIVATE": "true",
        "PURGE_SCHEDULE": "cron(0 5 1 * ? *)",
        "PURGE_SCHEDULE_STATE": "DISABLED",
        "APPLY_PURGE": "false",
        "SCHEDULE_TIME_ZONE": "Europe/Berlin",
    }
    known = {name: value for name, value in told.items() if isinstance(value, str)}
    settings = Settings.from_environment({"TABLE_NAME": "runs", "QUEUE_URL": "queue", "RETENTION_DAYS": "400", **known})
    assert schedules_of(settings) == {
        Action.DEACTIVATE: Schedule("Mondays at 03:00 Europe/Berlin", is_on=True, applies=True),
        Action.PURGE: Schedule("on day 1 of the month at 05:00 Europe/Berlin", is_on=False, applies=False),
    }


@pytest.mark.parametrize("function", ["Enumerator", "Worker", "Operator", "Reporter", "Link", "Dashboard"])
def test_policies_name_actions_and_resources(function: str) -> None:
    """No function's own policy allows all actions of a service, or anything on all resources."""
    for statement in statements(function):
        assert "*" not in str(statement["Action"])
        assert statement["Resource"] not in ("*", ["*"]) or statement["Action"] == "ses:GetAccount"  # knows no other


@pytest.mark.parametrize(("given", "used"), [("", "alma-patron-lifecycle/dev"), ("opal/alma", "opal/alma")])
def test_functions_get_the_settings_they_read(given: str, used: str) -> None:
    """Every function's environment makes valid settings, the secret prefix being the stage's own unless given."""
    for function in Stack(SecretPrefix=given).of_type("AWS::Lambda::Function").values():
        variables = function["Environment"]["Variables"]
        deployed = {
            name: str(next(iter(value.values()))) if isinstance(value, dict) else str(value)
            for name, value in variables.items()
        }

        settings = Settings.from_environment(deployed)

        assert (settings.table_name, settings.queue_url) == ("RunsTable", "WorkQueue")
        assert (settings.secret_prefix, settings.retention_days) == (used, 400)
        assert deployed["POWERTOOLS_METRICS_NAMESPACE"] == "AlmaPatronLifecycle"


def test_service_names_tell_the_functions_apart() -> None:
    """Logs and metrics carry the function's own name."""
    names = {
        logical_id: function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for logical_id, function in DEFAULT.of_type("AWS::Lambda::Function").items()
    }

    functions = ("Enumerator", "Worker", "Operator", "Reporter", "Link", "Dashboard")
    assert names == {name: name.lower() for name in functions}


def test_table_is_kept_recoverable_and_encrypted() -> None:
    """The table is on demand, forgets by TTL, can be restored to any second, and outlives the stack."""
    resource = DEFAULT.resources["RunsTable"]
    table = resource["Properties"]

    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}


def test_vault_is_kept_private_and_encrypted() -> None:
    """The vault outlives the stack, keeps versions, is closed to the public and to plain HTTP, and is encrypted."""
    resource, policy = DEFAULT.resources["VaultBucket"], DEFAULT.resources["VaultBucketPolicy"]
    vault = resource["Properties"]
    (encryption,) = vault["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    (refusal,) = policy["Properties"]["PolicyDocument"]["Statement"]

    for each in (resource, policy):
        assert (each["DeletionPolicy"], each["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert vault["VersioningConfiguration"] == {"Status": "Enabled"}
    assert len(vault["PublicAccessBlockConfiguration"]) == 4
    assert all(vault["PublicAccessBlockConfiguration"].values())
    assert vault["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert encryption == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    assert policy["Properties"]["Bucket"] == {"Ref": "VaultBucket"}
    assert (refusal["Effect"], refusal["Principal"], refusal["Action"]) == ("Deny", "*", "s3:*")
    assert refusal["Resource"] == [{"Fn::GetAtt": ["VaultBucket", "Arn"]}, "${VaultBucket.Arn}/*"]
    assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def lifecycle_rules() -> list[dict[str, Any]]:
    """The lifecycle rules of the vault, all of which must be in force."""
    rules: list[dict[str, Any]] = DEFAULT.of_type("AWS::S3::Bucket")["VaultBucket"]["LifecycleConfiguration"]["Rules"]
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    return rules


def test_vault_has_a_rule_for_every_vault_days() -> None:
    """Whatever vault_days a policy may say, the objects tagged with it end after so many days, old versions too."""
    allowed = set(get_args(Purge.model_fields["vault_days"].annotation)) - {0}
    tagged = [rule for rule in lifecycle_rules() if "TagFilters" in rule]

    assert len(tagged) == len(allowed)
    for days in allowed:
        (rule,) = [one for one in tagged if one["TagFilters"] == [{"Key": "vault_days", "Value": str(days)}]]
        assert rule["ExpirationInDays"] == days
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}


def test_nothing_stays_in_the_vault_for_ever() -> None:
    """An object without a tag ends with the longest kept; old versions, markers and halves of uploads go in a day."""
    for_all = {rule["Id"]: rule for rule in lifecycle_rules() if "TagFilters" not in rule}
    longest = max(get_args(Purge.model_fields["vault_days"].annotation))

    assert not any("Prefix" in rule for rule in lifecycle_rules())
    assert for_all["keep-nothing-for-ever"]["ExpirationInDays"] == longest
    clean_up = for_all["clean-up"]
    assert clean_up["ExpiredObjectDeleteMarker"] is True
    assert "ExpirationInDays" not in clean_up
    assert clean_up["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert clean_up["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


@pytest.mark.parametrize("status", ["held", "failed"])
def test_held_and_failed_runs_raise_an_alarm(status: str) -> None:
    """An institution run that is held or fails raises an alarm, beside what the reporter tells."""
    (alarm,) = [
        each
        for each in DEFAULT.of_type("AWS::CloudWatch::Alarm").values()
        if {"Name": "status", "Value": status} in each.get("Dimensions", [])
    ]

    assert (alarm["Namespace"], alarm["MetricName"]) == ("AlmaPatronLifecycle", "InstitutionRuns")
    assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]} == {
        "status": status,
        "service": "alma-patron-lifecycle.dev",
    }
    assert (alarm["Statistic"], alarm["Period"], alarm["Threshold"]) == ("Sum", 300, 0)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["TreatMissingData"] == "notBreaching"
    assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]


def test_every_alarm_goes_to_the_topic() -> None:
    """Whoever is subscribed hears of all of them."""
    alarms = DEFAULT.of_type("AWS::CloudWatch::Alarm").values()
    assert len(alarms) == 11
    assert all(alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}] for alarm in alarms)


@pytest.mark.parametrize(
    ("name", "action", "days"), [("DeactivationOverdueAlarm", "deactivate", 8), ("PurgeOverdueAlarm", "purge", 32)]
)
def test_overdue_runs_raise_an_alarm(name: str, action: str, days: int) -> None:
    """By the figure of the day, which comes daily; a day without one is as bad."""
    alarm = DEFAULT.of_type("AWS::CloudWatch::Alarm")[name]
    assert {"Name": "action", "Value": action} in alarm["Dimensions"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Period"]) == ("DaysSinceFinishedRun", "Maximum", 86400)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", days)
    assert alarm["TreatMissingData"] == "breaching"
    daily = schedule(DEFAULT, "OperatorDaysSince")
    assert re.fullmatch(r"cron\(\d+ \d+ \* \* \? \*\)", daily["ScheduleExpression"])
    assert daily["State"] == "ENABLED"


def figure(alarm: str, **values: float) -> float:
    """What an alarm's expressions make of these values of its metrics; those left out have no data."""
    known: dict[str, Any] = {
        "IF": lambda condition, yes, no: yes if condition else no,
        "FILL": lambda value, filler: filler if value is None else value,
        "SUM": sum,
    }
    rows = DEFAULT.of_type("AWS::CloudWatch::Alarm")[alarm]["Metrics"]
    known |= {row["Id"]: values.get(row["Id"]) for row in rows if "MetricStat" in row}
    for row in reversed([row for row in rows if "Expression" in row]):  # what a first one is made of stands below it
        known[row["Id"]] = eval(row["Expression"], {}, known)
    (returned,) = [row["Id"] for row in rows if row.get("ReturnData", True)]
    return float(known[returned])


def test_no_alarm_looks_at_more_metrics_than_cloudwatch_takes() -> None:
    """Ten metrics and ten expressions at most, or the stack can't be deployed; exactly one of them is watched."""
    for alarm in DEFAULT.of_type("AWS::CloudWatch::Alarm").values():
        rows = alarm.get("Metrics", [])
        metrics = sum("MetricStat" in row for row in rows)
        assert max(metrics, len(rows) - metrics) <= 10
        assert not rows or sum(row.get("ReturnData", True) for row in rows) == 1


def test_the_error_rate_is_of_all_functions_that_nobody_watches() -> None:
    """Errors and invocations of all but the dashboard's; one in ten is too much, but not two errors at night."""
    alarm = DEFAULT.of_type("AWS::CloudWatch::Alarm")["ErrorRateAlarm"]
    watched = {
        (row["MetricStat"]["Metric"]["MetricName"], row["MetricStat"]["Metric"]["Dimensions"][0]["Value"]["Ref"])
        for row in alarm["Metrics"]
        if "MetricStat" in row
    }
    functions = set(DEFAULT.of_type("AWS::Lambda::Function")) - {"Dashboard"}
    assert watched == {(name, function) for name in ("Errors", "Invocations") for function in functions}
    assert {row["MetricStat"]["Period"] for row in alarm["Metrics"] if "MetricStat" in row} == {3600}
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 10)
    assert figure("ErrorRateAlarm", e2=2, i2=2) == 0
    assert figure("ErrorRateAlarm", e2=2, e3=1, i1=10, i2=10, i5=10) == 10
    assert figure("ErrorRateAlarm", e2=3, i2=60) == 5


def test_throttling_is_a_share_of_the_calls() -> None:
    """More than one in a hundred of the calls within an hour, and ten at least."""
    alarm = DEFAULT.of_type("AWS::CloudWatch::Alarm")["ThrottlingAlarm"]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 1)
    assert figure("ThrottlingAlarm", calls=1000, throttled=10) == 1
    assert figure("ThrottlingAlarm", calls=90, throttled=9) == 0
    assert figure("ThrottlingAlarm", calls=1000) == 0


def test_three_paused_days_raise_an_alarm() -> None:
    """The most days on which any institution run has paused; two of them are no news."""
    alarm = DEFAULT.of_type("AWS::CloudWatch::Alarm")["BudgetPausesAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"]) == ("PausedDays", "Maximum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 3)


def test_the_operator_reads_the_dead_letters_and_nobody_else_does() -> None:
    """What a redrive takes: to receive and to delete, from that one queue."""
    allowed = {
        function: [each for each in statements(function) if "sqs:ReceiveMessage" in each["Action"]]
        for function in ("Enumerator", "Operator", "Reporter", "Link", "Dashboard")
    }
    (reading,) = allowed.pop("Operator")
    assert reading["Action"] == ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    assert reading["Resource"] == {"Fn::GetAtt": ["WorkDeadLetterQueue", "Arn"]}
    assert not any(allowed.values())
    assert environment("Operator", DEFAULT)["DEAD_LETTER_QUEUE_URL"] == {"Ref": "WorkDeadLetterQueue"}


def test_the_reporter_hears_of_all_that_settles() -> None:
    """Every status in which an institution run waits for a person or has ended starts the reporter, of this stage only.

    One that is paused goes on by itself: there is nothing to tell or to decide, and no report to be made yet.
    """
    (rule,) = DEFAULT.of_type("AWS::Events::Rule").values()
    kinds = {f"Institution run {status}" for status in Status if not status.keeps_lease} | {"Run finished"}

    assert set(rule["EventPattern"]["detail-type"]) == kinds
    assert rule["EventPattern"]["source"] == ["alma-patron-lifecycle.dev"]
    (target,) = rule["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["Reporter", "Arn"]}
    queue = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]
    (policy,) = [
        each for each in DEFAULT.of_type("AWS::SQS::QueuePolicy").values() if each["Queues"] == [{"Ref": queue}]
    ]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    (rule_name,) = DEFAULT.of_type("AWS::Events::Rule")
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [rule_name, "Arn"]}}}


def test_alarms_may_publish_to_the_topic() -> None:
    """The topic's own policy lets in this account's alarms; the reporter comes by its role."""
    (policy,) = DEFAULT.of_type("AWS::SNS::TopicPolicy").values()
    (allowed,) = policy["PolicyDocument"]["Statement"]

    assert policy["Topics"] == [{"Ref": "AlarmTopic"}]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert (allowed["Effect"], allowed["Action"], allowed["Resource"]) == (
        "Allow",
        "sns:Publish",
        {"Ref": "AlarmTopic"},
    )
    assert "AWS::AccountId" in str(allowed["Condition"])


def test_the_link_function_reads_reports_and_nothing_else() -> None:
    """Anybody may call it; what it may do is read the reports bucket, and log."""
    (policy,) = DEFAULT.of_type("AWS::IAM::Role")["LinkRole"]["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("s3:GetObject", "${ReportsBucket.Arn}/*")
    (url,) = DEFAULT.of_type("AWS::Lambda::Url").values()
    assert url["AuthType"] == "NONE"


def test_reports_are_encrypted_and_end() -> None:
    """Reports end after ReportDays; a link's file ends a day after the link itself."""
    bucket = Stack(ReportDays=30).of_type("AWS::S3::Bucket")["ReportsBucket"]
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert (rules["reports"]["Prefix"], rules["reports"]["ExpirationInDays"]) == ("runs/", 30)
    assert (rules["links"]["Prefix"], rules["links"]["ExpirationInDays"]) == ("links/", LINK_DAYS + 1)
    assert SOURCE["Parameters"]["ReportDays"]["MinValue"] >= LINK_DAYS
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms"}


def test_mails_are_sent_from_one_address_alone() -> None:
    """Without NoticeSender the reporter may send no mail at all; with it, from that address alone."""
    assert "ses:" not in str(statements("Reporter"))
    allowed = statements("Reporter", Stack(NoticeSender="notices@example.edu"))
    (mails,) = [each for each in allowed if each.get("Sid") == "Mails"]
    assert mails["Condition"] == {"StringEquals": {"ses:FromAddress": "notices@example.edu"}}
    assert [resource.rpartition(":")[2] for resource in mails["Resource"]] == ["identity/*", "configuration-set/*"]


def test_alarms_are_mailed_only_to_a_given_address() -> None:
    """Without AlarmEmail there is no subscription; with it, there is one."""
    assert DEFAULT.of_type("AWS::SNS::Subscription") == {}
    (subscription,) = Stack(AlarmEmail="systems@example.edu").of_type("AWS::SNS::Subscription").values()
    assert subscription["Endpoint"] == "systems@example.edu"


def test_functions_run_on_python_3_13_on_arm() -> None:
    """Runtime and layer agree, and every function is traced."""
    layers = DEFAULT.of_type("AWS::Lambda::LayerVersion")
    (name,) = layers
    for function in DEFAULT.of_type("AWS::Lambda::Function").values():
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
        assert function["Layers"] == [{"Ref": name}]
        assert function["TracingConfig"] == {"Mode": "Active"}
    assert layers[name]["CompatibleRuntimes"] == ["python3.13"]


def test_code_is_where_the_template_looks_for_it() -> None:
    """Every function and the layer point at a folder of this project that holds what is to run."""
    for resource in SOURCE["Resources"].values():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::Serverless::Function":
            assert Path(TEMPLATE.parent, properties["CodeUri"], "app.py").is_file()
        elif resource["Type"] == "AWS::Serverless::LayerVersion":
            assert Path(TEMPLATE.parent, properties["ContentUri"], "requirements.txt").is_file()
            assert Path(TEMPLATE.parent, properties["ContentUri"], "patron_lifecycle").is_dir()
