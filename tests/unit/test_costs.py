"""docs/costs.md is what the recorded counts, the prices and the template make of it, and the arithmetic is right."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks.aws_usage import DUE_TO_DEACTIVATE, MEMBERS, USERS, registry_of, usual_institution
from benchmarks.capacity import Index, index_units, read_units, size_of, write_units
from benchmarks.costs import (
    ASSUMPTIONS,
    DAYS,
    PAGE,
    PRICES,
    RECORDED,
    REFRESHES,
    SIZES,
    TIDIES,
    WEEKS,
    Line,
    Month,
    Stack,
    costs_of,
    page_of,
)
from patron_lifecycle.registry import parse_registry
from sandbox.simulator.institutions import expired_and_active, expired_for_years

TIMELINE = Index("timeline", ("timeline_pk", "timeline_sk"))
STACK = Stack(
    memory=dict.fromkeys(("enumerator", "worker", "operator", "reporter", "link", "dashboard"), 1769),
    alarms=12,
    dashboards=1,
    report_days=61,
    log_days=90,
)


def recorded() -> dict[str, Any]:
    """What was measured."""
    found: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def test_the_page_is_what_was_measured_at_these_prices() -> None:
    """No figure of docs/costs.md stands there by hand; if this fails, `make costs` mends it."""
    text = PAGE.read_text(encoding="utf-8")
    assert text == page_of(text, recorded())


def test_what_stands_around_the_tables_stays() -> None:
    """Another measurement changes the tables and nothing else."""
    text = PAGE.read_text(encoding="utf-8")
    other = recorded() | {"measured_on": "2030-01-01"}
    assert page_of(text, other) == text.replace(f"Measured on {recorded()['measured_on']}", "Measured on 2030-01-01")


@pytest.mark.parametrize("part", ["<!-- made: month -->\n", "<!-- end -->"])
def test_a_page_without_a_place_for_a_table_is_told(part: str) -> None:
    """A part that is missing, or stands there twice, is named instead of being left out."""
    text = PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="should have"):
        page_of(text.replace(part, ""), recorded())
    with pytest.raises(ValueError, match="exactly one line <!-- made: month -->"):
        page_of(text + "<!-- made: month -->\n", recorded())


@pytest.mark.parametrize("size", SIZES)
def test_every_price_is_on_the_bill(size: int) -> None:
    """No price without a line, no line without a price, and no negative amount."""
    lines = list(Month(recorded(), size, Stack.deployed()).lines())
    assert {line.price for line in lines} == set(PRICES)
    assert all(line.amount >= 0 for line in lines)


def test_every_price_says_where_it_is_stated() -> None:
    """Each with its page; the units that it is for are more than none."""
    assert all(price.source and price.per > 0 and price.usd > 0 for price in PRICES.values())
    assert len(set(ASSUMPTIONS)) == len(ASSUMPTIONS)


def test_lines_of_one_price_share_its_allowance() -> None:
    """What is beyond the allowance is charged in proportion; within it nothing is; other prices are left alone."""
    free = PRICES["lambda time"].free
    lines = [
        Line("Lambda", "a", "lambda time", free),
        Line("Lambda", "b", "lambda time", 3 * free),
        Line("CloudWatch", "alarms", "alarms", 7),
        Line("Secrets Manager", "keys", "secrets", 20),
        Line("CloudWatch", "dashboards", "dashboards", 0),
    ]
    costs = costs_of(lines)
    usd = PRICES["lambda time"].usd
    assert [cost.by_list for cost in costs] == pytest.approx([free * usd, 3 * free * usd, 0.7, 8, 0])
    assert [cost.with_allowance for cost in costs] == pytest.approx([0.75 * free * usd, 2.25 * free * usd, 0, 8, 0])


def counts(small: float, of_all: float, usual: float) -> dict[str, Any]:
    """A record of counts that are all alike: of one small institution, of twenty, and of the usual one."""
    ours = ("calls", "cpu_seconds", "log_bytes", "log_lines", "dynamodb.read_units", "dynamodb.write_units")
    runs = ("seconds", "messages", "byte_days", "sqs.sends", "events.entries", "secretsmanager.calls")
    vault = ("s3.puts", "s3.bytes", "s3.lists", "s3.gets")
    names = {
        "enumerator": (*ours, "sqs.sends"),
        "worker": (*ours, *runs, *vault),
        "reporter": (*ours, "s3.puts", "s3.bytes", "ses.mails"),
        "reporter of the run": (*ours, "s3.puts", "s3.bytes", "sns.messages"),
    }
    kinds = ("deactivate", "purge preview", "purge")

    def of(value: float) -> dict[str, Any]:
        return {kind: {function: dict.fromkeys(each, value) for function, each in names.items()} for kind in kinds}

    operator = {what: {"operator": dict.fromkeys(ours, 2)} for what in ("tidy", "announce", "days_since")}
    operator |= {"status": {"operator": dict.fromkeys(ours, 3)}, "widgets": {"dashboard": dict.fromkeys(ours, 7)}}
    return {
        "start_up": {"enumerator": 0.1, "worker": 0.2, "operator": 0.3},
        "usual": {kind: {"functions": parts} for kind, parts in of(usual).items()},
        "small": {"1": of(small) | operator, "20": of(of_all) | operator},
    }


def test_a_run_over_many_takes_what_small_ones_do_and_what_each_usual_one_does_more() -> None:
    """The small run over twenty, and twenty times the difference between the usual institution and a small one."""
    month = Month(counts(small=4, of_all=50, usual=10), 20, STACK)
    assert month.of_run("purge", "worker", "calls") == 50 + 20 * (10 - 4)
    assert month.of_run("purge", "worker", "never measured") == 0
    assert month.of_runs("worker", "calls") == pytest.approx((WEEKS + 2 + 1) * 170)
    assert month.of_institutions("worker", "seconds") == pytest.approx((WEEKS + 2 + 1) * 20 * 10)
    assert month.of_operator("calls") == pytest.approx(60 * 3 + TIDIES * 2 + 2 * DAYS * 2)


def test_the_report_of_a_run_reads_all_and_is_put_once() -> None:
    """Each institution's report, and that of the run: it reads as much again, and is one report more."""
    month = Month(counts(small=4, of_all=50, usual=10), 20, STACK)
    runs = WEEKS + 2 + 1
    assert month.of_reports("dynamodb.read_units") == pytest.approx(runs * 2 * 20 * 10)
    assert month.of_reports("s3.puts") == pytest.approx(runs * (20 * 10 + 10))
    assert month.mails == pytest.approx(runs * 20 * 10)


def test_billed_seconds_are_waiting_and_work_and_starting() -> None:
    """With a whole CPU: what wasn't work was waiting; with twice the memory, work and starting take half as long."""
    record = counts(small=1, of_all=20, usual=10)
    runs, messages = WEEKS + 2 + 1, (WEEKS + 2 + 1) * (20 + 20 * 9)
    assert Month(record, 20, STACK).seconds()["worker"] == pytest.approx(runs * 20 * 10 + messages * 0.2)
    doubled = STACK._replace(memory=dict.fromkeys(STACK.memory, 2 * 1769))
    fast = Month(record, 20, doubled).seconds()
    assert fast["worker"] == pytest.approx((runs * 20 * 10 + messages * 0.2) / 2)
    assert fast["dashboard"] == pytest.approx(REFRESHES * (7 * 0.01 + 7 / 2))


def test_the_bill_counts_what_it_says() -> None:
    """Lines that can be told by hand: keys, alarms, dashboards, polling, mails, and a month's storage."""
    lines = {(line.service, line.what): line.amount for line in Month(counts(1, 20, 1), 20, STACK).lines()}
    assert lines["Secrets Manager", "API keys"] == 20
    assert (lines["CloudWatch", "alarms, by their metrics"], lines["CloudWatch", "dashboards"]) == (12, 1)
    runs = WEEKS + 2 + 1
    polled = 5 * DAYS * 24 * 3600 / 20
    assert lines["SQS", "requests"] == pytest.approx(polled + runs * (2 * 20 + 2 * 20))
    assert lines["SES", "mails to libraries"] == pytest.approx(runs * 20)
    assert lines["SNS", "mails to operators"] == pytest.approx(runs + 0.05 * runs * 20)
    assert lines["S3", "storage"] == pytest.approx(runs * 20 * (31 + 2 * 61) / DAYS / 2**30)
    assert lines["DynamoDB", "storage"] == pytest.approx(runs * 20 / DAYS / 2**30)
    assert lines["Lambda", "requests"] == pytest.approx(
        runs + runs * 20 + TIDIES + 2 * DAYS + 60 + runs * 21 + runs * 20 + 4 * REFRESHES
    )


def test_the_stack_is_the_templates() -> None:
    """Memory of every function, alarms and retention come from template.yaml."""
    stack = Stack.deployed()
    assert {"enumerator", "worker", "operator", "reporter", "link", "dashboard"} <= set(stack.memory)
    assert all(memory >= 128 for memory in stack.memory.values())
    assert stack.alarms == 9 + 2 * 5 + 2, "two of the alarms compare several metrics"
    assert stack.dashboards >= 1
    assert (stack.report_days, stack.log_days) == (90, 90)


def test_the_measured_institution_is_as_the_page_says() -> None:
    """So many users, members of the set and patrons due; the registries that are measured with are valid."""
    usual = usual_institution()
    assert len(usual.users) == USERS
    day = datetime.now(UTC).date()
    assert sum(expired_for_years(user, day) for user in usual.users.values()) == MEMBERS
    assert sum(expired_and_active(user, day) for user in usual.users.values()) >= DUE_TO_DEACTIVATE
    assert [one.notices for one in parse_registry(registry_of(3))] == [True] * 3


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "Ångström"}, 10),
        ({"N": "0"}, 1),
        ({"N": "7"}, 2),
        ({"N": "-123.45"}, 4),
        ({"N": "1000"}, 2),
        ({"B": b"12345"}, 5),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"N": "7"}]}, 3 + 1 + 2 + 1 + 2),
        ({"M": {"key": {"S": "ab"}}}, 3 + 1 + 3 + 2),
    ],
    ids=repr,
)
def test_the_size_of_an_attribute(value: dict[str, Any], size: int) -> None:
    """As AWS documents it: names and texts in UTF-8, two digits a byte, three bytes around a list or a map."""
    assert size_of({"name": value}) == 4 + size


def test_nothing_has_no_size_and_an_unknown_kind_is_told() -> None:
    """An item that isn't there takes no bytes; a kind that isn't known would be counted wrongly, so it is an error."""
    assert size_of(None) == size_of({}) == 0
    with pytest.raises(NotImplementedError, match="the size of SS isn't known here"):
        size_of({"names": {"SS": ["a"]}})


@pytest.mark.parametrize(
    ("size", "consistent", "units"),
    [(0, True, 1), (1, True, 1), (4096, True, 1), (4097, True, 2), (0, False, 0.5), (8193, False, 1.5)],
)
def test_reads_are_charged_by_four_kilobytes(size: int, consistent: bool, units: float) -> None:
    """Half of it where the latest isn't asked for; a read of nothing is charged as well."""
    assert read_units(size, consistent=consistent) == units


def item(kilobytes: float, *, at: str | None = None) -> dict[str, Any]:
    """An item of about so many kilobytes, in the index at a time if one is given."""
    index = {} if at is None else {"timeline_pk": {"S": "run"}, "timeline_sk": {"S": at}}
    return {"body": {"S": "x" * int(kilobytes * 1024 - 100)}, **index}


@pytest.mark.parametrize(
    ("before", "after", "table", "index"),
    [
        (None, item(1), 1, 0),
        (None, item(2.5), 3, 0),
        (item(5), item(1), 5, 0),
        (item(5), None, 5, 0),
        (None, None, 1, 0),
        (None, item(2.5, at="1"), 3, 3),
        (item(1, at="1"), item(2.5, at="1"), 3, 3),
        (item(1, at="1"), item(2.5, at="2"), 3, 1 + 3),
        (item(2.5, at="1"), item(2.5), 3, 3),
        (item(2.5, at="1"), None, 3, 3),
        (item(2.5, at="1"), item(2.5, at="1"), 3, 0),
    ],
)
def test_writes_are_charged_by_the_kilobyte_in_the_table_and_in_an_index(
    before: dict[str, Any] | None, after: dict[str, Any] | None, table: int, index: int
) -> None:
    """The larger of before and after; an index takes one write for what comes, goes or changes, two for a new key."""
    assert write_units(before, after) == table
    assert index_units(TIMELINE, before, after) == index
