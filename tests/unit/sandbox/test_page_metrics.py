"""What metric widgets show: sums of what the functions log."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sandbox.web.metrics import Row, datums, rows, wanted
from tests.fake_cloud import emf

SPACE = "AlmaPatronLifecycle"
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
SINCE = int(NOW.timestamp() * 1000)
BEFORE = datetime(2026, 11, 24, 2, 59, tzinfo=UTC)

LINES = [
    "START RequestId: 1",
    '{"level": "INFO", "message": "\\"_aws\\" in a message"}',
    '"_aws" in what is no JSON',
    emf("Outcomes", 30, NOW, action="purge", outcome="purged", service="s"),
    emf("Outcomes", 12, NOW, action="purge", outcome="purged", service="s"),
    emf("Outcomes", 500, BEFORE, action="purge", outcome="purged", service="s"),
    emf("Outcomes", 7, NOW, action="purge", outcome="blocked", service="s"),
    emf("Outcomes", 3, NOW, action="deactivate", outcome="deactivated", service="s"),
    emf("AlmaCalls", 90, NOW, action="purge", service="s"),
    emf("AlmaThrottled", 0.5, NOW, service="s"),
]


def shown(*metrics: list[Any]) -> list[Row]:
    """The rows of a widget with these metrics that shows sums."""
    return rows(wanted(metrics, "Sum"), datums(LINES), SPACE, SINCE)


def test_values_of_the_time_asked_for_are_added_up() -> None:
    """The sum is of exactly the metric with exactly these dimensions, in any order; what came before doesn't count."""
    assert shown([SPACE, "Outcomes", "service", "s", "outcome", "purged", "action", "purge"]) == [
        Row("Outcomes purge purged", "Sum", 42)
    ]
    assert shown([SPACE, "Outcomes", "action", "purge"]) == [Row("Outcomes purge", "Sum", 0)]
    assert shown([SPACE, "AlmaThrottled", "service", "s", {"label": "throttled"}]) == [Row("throttled", "Sum", 0.5)]


def test_other_figures_than_sums_are_worked_out_too() -> None:
    """A metric's own stat counts before the widget's; of nothing there is a sum, but neither mean nor extreme."""
    purged = [SPACE, "Outcomes", "action", "purge", "outcome", "purged", "service", "s"]
    stats = ("Sum", "Average", "Minimum", "Maximum", "SampleCount")
    assert [row.figure for stat in stats for row in shown([*purged, {"stat": stat}])] == [42, 21, 12, 30, 2]
    missing = [SPACE, "Outcomes", "action", "restore"]
    found = shown(missing, [*missing, {"stat": "Maximum"}], [*purged, {"stat": "p99"}])
    assert [(row.figure, row.note) for row in found] == [
        (0, ""),
        (None, "nothing measured"),
        (None, "p99: worked out by CloudWatch"),
    ]


def test_abbreviations_are_written_out() -> None:
    """A dot is what stands above, three dots are all of it but what follows."""
    first = [SPACE, "Outcomes", "action", "purge", "outcome", "purged", "service", "s"]
    assert shown(first, [".", ".", ".", "deactivate", ".", "deactivated", ".", "."]) == [
        Row("Outcomes purge purged", "Sum", 42),
        Row("Outcomes deactivate deactivated", "Sum", 3),
    ]
    assert shown(first, ["...", "blocked", "service", "s"]) == [
        Row("Outcomes purge purged", "Sum", 42),
        Row("Outcomes purge blocked", "Sum", 7),
    ]


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_search_finds_all_metrics_of_its_dimensions(quote: str) -> None:
    """SEARCH gives each metric with just its dimensions that fits its terms."""
    terms = 'MetricName="Outcomes" action="purge"' if quote == "'" else "MetricName=Outcomes action=purge"
    search = f"SEARCH({quote}{{{SPACE},action,outcome,service}} {terms}{quote}, 'Sum', 300)"
    assert shown([{"expression": search, "label": "${PROP('Dim.outcome')}"}]) == [
        Row("Outcomes purge blocked", "Sum", 7),
        Row("Outcomes purge purged", "Sum", 42),
    ]


def test_what_only_cloudwatch_can_tell_is_named() -> None:
    """Metrics of AWS's own, sums of sums and searches among AWS's metrics have a note instead of a figure."""
    search = "SEARCH('{AWS/Lambda,FunctionName} Errors', 'Sum', 300)"
    found = shown(
        ["AWS/Lambda", "Errors", "FunctionName", "worker"],
        [{"expression": "100 * m1 / m2", "label": "share"}],
        [{"expression": search}],
    )
    assert [(row.label, row.figure) for row in found] == [("Errors worker", None), ("share", None), (search, None)]
    assert [row.note for row in found] == [
        "on AWS alone: AWS/Lambda",
        "worked out by CloudWatch: 100 * m1 / m2",
        f"found by CloudWatch: {search}",
    ]
