"""CloudWatch's dashboards as it stores them, and what it tells a custom widget's function."""

import re
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

COLUMNS = 24
_DEFAULT_RANGE = timedelta(hours=3)
_DURATION = re.compile(
    r"-P(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?)?"
)
_PERIOD = 300  # seconds; CloudWatch's for the ranges that are usual
_FUNCTION_ARN = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:([A-Za-z0-9_-]+)")


class BadDashboard(Exception):
    """A dashboard's body isn't what CloudWatch takes; says what is wrong."""


class Widget(BaseModel):
    """One widget: where it lies on the grid of 24 columns, in units of the grid, and what CloudWatch is to show.

    Without `x` and `y` it lies in the next free place.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    x: int | None = Field(default=None, ge=0, lt=COLUMNS)
    y: int | None = Field(default=None, ge=0)
    width: int = Field(default=6, ge=1, le=COLUMNS)
    height: int = Field(default=6, ge=1, le=1000)
    properties: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """What stands over it; empty for none."""
        return str(self.properties.get("title", ""))

    @property
    def params(self) -> dict[str, Any]:
        """What a custom widget's function is to be asked."""
        params: dict[str, Any] = self.properties.get("params") or {}
        return params

    def updates_on(self, what: Literal["refresh", "resize", "timeRange"]) -> bool:
        """Whether a custom widget is loaded anew then; all others follow the refresh and the time range."""
        if self.type != "custom":
            return what != "resize"
        return (self.properties.get("updateOn") or {}).get(what) is True

    @property
    def css(self) -> str:
        """The place on the grid, as the style of an element."""
        column, row = ("auto" if at is None else str(at + 1) for at in (self.x, self.y))
        return f"--column: {column} / span {self.width}; --row: {row} / span {self.height}"


class Dashboard(BaseModel):
    """One dashboard, its widgets in the order in which one reads them."""

    model_config = ConfigDict(frozen=True)

    start: str = ""
    widgets: tuple[Widget, ...]

    @classmethod
    def read(cls, body: str) -> "Dashboard":
        """From the body that CloudWatch stores. Raises `BadDashboard`."""
        try:
            found = cls.model_validate_json(body)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
            raise BadDashboard(wrong) from None
        placed = sorted(found.widgets, key=lambda one: (one.y is None, one.y or 0, one.x or 0))
        return found.model_copy(update={"widgets": tuple(placed)})

    @property
    def range(self) -> timedelta:
        """How far back it looks at first; CloudWatch's three hours where it doesn't say, or names a fixed day."""
        parts = _DURATION.fullmatch(self.start)
        if parts is None:
            return _DEFAULT_RANGE
        given = {name: int(value or 0) for name, value in parts.groupdict().items()}
        months = given.pop("months")
        return timedelta(**given) + timedelta(days=30 * months) or _DEFAULT_RANGE


class View(BaseModel):
    """How the page shows a widget just now: `width` and `height` in pixels, `seconds` is how far back it looks.

    `forms` is what stands in the widget's form fields, by their names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    theme: Literal["light", "dark"] = "light"
    width: int = Field(default=0, ge=0)
    height: int = Field(default=0, ge=0)
    seconds: int = Field(default=int(_DEFAULT_RANGE.total_seconds()), gt=0, le=455 * 24 * 3600)
    forms: dict[str, str] = {}


def widget_context(name: str, arn: str, number: int, widget: Widget, view: View, now: datetime) -> dict[str, Any]:
    """What CloudWatch adds to each call of a custom widget, as `widgetContext`.

    `name` and `arn` are the dashboard's, `number` is the widget's place in it, counted from 0.
    """
    end = int(now.timestamp() * 1000)
    return {
        "dashboardName": name,
        "widgetId": f"widget-{number + 1}",
        "accountId": arn.split(":")[4],
        "locale": "en",
        "timezone": {"label": "UTC", "offsetISO": "+00:00", "offsetInMinutes": 0},
        "period": _PERIOD,
        "isAutoPeriod": True,
        "timeRange": {
            "mode": "relative",
            "start": end - view.seconds * 1000,
            "end": end,
            "relativeStart": view.seconds * 1000,
        },
        "theme": view.theme,
        "linkCharts": True,
        "title": widget.title,
        "forms": {"all": view.forms},
        "params": widget.params,
        "width": view.width,
        "height": view.height,
    }


def function_name(arn: str) -> str | None:
    """The function that an ARN names; None for what is no ARN of a function, or of one version of it alone."""
    found = _FUNCTION_ARN.fullmatch(arn)
    return found[1] if found else None
