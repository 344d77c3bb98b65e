"""Dashboards as CloudWatch stores them, and what a widget's function is told."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.web.dashboards import BadDashboard, Dashboard, View, Widget, function_name, widget_context
from tests.fake_cloud import body, custom


def text(x: int | None, y: int | None, name: str) -> dict[str, object]:
    """A text widget."""
    return {"type": "text", "properties": {"markdown": name, "title": name}} | ({} if x is None else {"x": x, "y": y})


def test_widgets_are_read_from_top_left_on() -> None:
    """Widgets come row by row, those without a place last, with CloudWatch's size where none is given."""
    found = Dashboard.read(body(text(None, None, "d"), text(12, 3, "c"), text(0, 3, "b"), text(6, 0, "a"))).widgets
    assert [one.title for one in found] == ["a", "b", "c", "d"]
    assert found[0].css == "--column: 7 / span 6; --row: 1 / span 6"
    assert found[3].css == "--column: auto / span 6; --row: auto / span 6"


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("no JSON", "body: Invalid JSON"),
        ("{}", "widgets: Field required"),
        ('{"widgets": [{"x": 1}]}', "widgets.0.type: Field required"),
        ('{"widgets": [{"type": "text", "x": 24}]}', "widgets.0.x: Input should be less than 24"),
    ],
)
def test_what_is_no_dashboard_is_told(stored: str, told: str) -> None:
    """A body that CloudWatch wouldn't take is refused with the place of the mistake."""
    with pytest.raises(BadDashboard, match=told):
        Dashboard.read(stored)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("", timedelta(hours=3)),
        ("-PT6H", timedelta(hours=6)),
        ("-P7D", timedelta(days=7)),
        ("-P2W", timedelta(days=14)),
        ("-P1M", timedelta(days=30)),
        ("-P1DT30M", timedelta(days=1, minutes=30)),
        ("-P", timedelta(hours=3)),
        ("2026-11-01T00:00:00Z", timedelta(hours=3)),
    ],
)
def test_how_far_a_dashboard_looks_back(start: str, expected: timedelta) -> None:
    """Durations are taken as they are, and CloudWatch's three hours where there is none."""
    assert Dashboard.read(body(start=start)).range == expected


def test_only_custom_widgets_choose_when_they_are_asked_anew() -> None:
    """A custom widget says so in updateOn; all others follow the refresh and the range, but not the size."""
    chosen = Widget.model_validate(custom("Held", updateOn={"refresh": True, "resize": True, "timeRange": False}))
    assert [chosen.updates_on(what) for what in ("refresh", "resize", "timeRange")] == [True, True, False]
    silent = Widget.model_validate(custom("Held"))
    assert [silent.updates_on(what) for what in ("refresh", "resize", "timeRange")] == [False, False, False]
    metric = Widget(type="metric")
    assert [metric.updates_on(what) for what in ("refresh", "resize", "timeRange")] == [True, False, True]


def test_a_function_is_told_what_cloudwatch_tells() -> None:
    """The context has all of CloudWatch's keys, and can be sent as JSON."""
    widget = Widget.model_validate(custom("Held"))
    view = View(theme="dark", width=588, height=369, seconds=3600, forms={"by": "Ana"})
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    arn = "arn:aws:cloudwatch::012345678901:dashboard/ops"
    context = widget_context("ops", arn, 15, widget, view, now)
    end = 1_795_521_600_000
    assert json.loads(json.dumps(context)) == {
        "dashboardName": "ops",
        "widgetId": "widget-16",
        "accountId": "012345678901",
        "locale": "en",
        "timezone": {"label": "UTC", "offsetISO": "+00:00", "offsetInMinutes": 0},
        "period": 300,
        "isAutoPeriod": True,
        "timeRange": {"mode": "relative", "start": end - 3_600_000, "end": end, "relativeStart": 3_600_000},
        "theme": "dark",
        "linkCharts": True,
        "title": "Held",
        "forms": {"all": {"by": "Ana"}},
        "params": {"view": "held"},
        "width": 588,
        "height": 369,
    }


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:lambda:us-east-1:000000000000:function:patrons-Operator-1", "patrons-Operator-1"),
        ("arn:aws-us-gov:lambda:us-gov-east-1:000000000000:function:f", "f"),
        ("arn:aws:lambda:us-east-1:000000000000:function:f:live", None),
        ("arn:aws:states:us-east-1:000000000000:stateMachine:f", None),
        ("f", None),
        ("", None),
    ],
)
def test_a_function_is_named_by_its_arn_alone(arn: str, name: str | None) -> None:
    """Anything but the ARN of a function names none."""
    assert function_name(arn) == name


@given(st.text())
def test_no_text_but_an_arn_names_a_function(anything: str) -> None:
    """Whatever is asked for, a name comes from an ARN only."""
    assert function_name(anything) is None or anything.startswith("arn:aws")
