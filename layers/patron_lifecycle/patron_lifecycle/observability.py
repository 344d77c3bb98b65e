"""Logs and metrics. Nothing personal goes into either: run, institution, page, counts, Alma's code and tracking id."""

from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, single_metric
from aws_lambda_powertools.metrics import MetricUnit

if TYPE_CHECKING:
    from patron_lifecycle.policy.reasons import Action
    from patron_lifecycle.runs.model import InstitutionRun

NAMESPACE = "AlmaPatronLifecycle"

logger = Logger()


def count_status(institution_run: "InstitutionRun", service: str) -> None:
    """Metrics of an institution run that is held or paused, or has ended: by action or status, never by institution.

    Its seconds are counted from its first slice to its end, the days that it was held included.

    `service` stands in for the function's name, which Powertools would add: the alarms of template.yaml ask for it, and
    which function has ended a run would only double the number of metrics.
    """
    _put("InstitutionRuns", 1, status=institution_run.status.value, service=service)
    if institution_run.pauses and institution_run.status.keeps_lease:
        _put("PausedDays", institution_run.pauses, service=service)
    if institution_run.status.is_open:
        return
    if institution_run.started_at is not None and institution_run.finished_at is not None:
        seconds = (institution_run.finished_at - institution_run.started_at).total_seconds()
        _put("InstitutionRunSeconds", seconds, MetricUnit.Seconds, service=service)
    action = institution_run.action.value
    _put("AlmaCalls", institution_run.calls, service=service)
    _put("AlmaThrottled", institution_run.throttled, service=service)
    for outcome, count in institution_run.outcomes.items():
        _put("Outcomes", count, action=action, outcome=outcome.value, service=service)


def put_days_since(action: "Action", days: float, service: str) -> None:
    """The metric of how many days ago an action has finished last."""
    _put("DaysSinceFinishedRun", days, action=action.value, service=service)


def _put(name: str, value: float, unit: MetricUnit = MetricUnit.Count, **dimensions: str) -> None:
    with single_metric(name=name, unit=unit, value=value, namespace=NAMESPACE) as metric:
        for dimension, dimension_value in dimensions.items():
            metric.add_dimension(name=dimension, value=dimension_value)
