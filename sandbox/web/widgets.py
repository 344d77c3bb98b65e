"""What each kind of widget shows, as HTML."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

from patron_lifecycle.observability import NAMESPACE
from sandbox.stack import FunctionError
from sandbox.web.cloud import Cloud
from sandbox.web.dashboards import View, Widget, function_name
from sandbox.web.metrics import datums, rows, wanted

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table")
_NOT_OURS = "the page calls only the functions of this stack that serve its dashboards"


class Refused(Exception):
    """The page mustn't call this; says why."""


def markdown(text: str) -> str:
    """Markdown as HTML; HTML in it is text."""
    return str(_MARKDOWN.render(text))


def call(cloud: Cloud, endpoint: str, params: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """The HTML that a function answers a widget, as CloudWatch shows it.

    Raises `Refused` for a function that isn't one of `cloud.functions`, `FunctionError` when it fails.
    """
    name = function_name(endpoint)
    if name is None or name not in cloud.functions:
        raise Refused(f"{endpoint or 'no endpoint'}: {_NOT_OURS}")
    answer = cloud.invoke(name, {**params, "widgetContext": context})
    if isinstance(answer, str):
        return answer
    if isinstance(answer, dict) and isinstance(answer.get("markdown"), str):
        return markdown(answer["markdown"])
    return _show("json", text=json.dumps(answer, indent=2, ensure_ascii=False))


def show(cloud: Cloud, widget: Widget, view: View, context: Mapping[str, Any], now: datetime) -> str:
    """The HTML of a widget. Raises as `call` does."""
    if widget.type == "custom":
        return call(cloud, str(widget.properties.get("endpoint", "")), widget.params, context)
    kind = _KINDS.get(widget.type)
    if kind is None:
        return _show("elsewhere", what=f"This widget of the type {widget.type}")
    return kind(cloud, widget.properties, now - timedelta(seconds=view.seconds))


def problem_of(error: Exception) -> str:
    """What went wrong, for a person to read."""
    if isinstance(error, FunctionError):
        return f"The function failed. {error.error_type}: {error.error_message}"
    return f"AWS refused it. {error}"


PROBLEMS = (FunctionError, ClientError, BotoCoreError)


def _metric(cloud: Cloud, properties: Mapping[str, Any], since: datetime) -> str:
    asked = wanted(properties.get("metrics", []), str(properties.get("stat", "Average")))
    if not asked:
        return _alarm(cloud, properties.get("annotations", {}), since)
    found = rows(asked, datums(cloud.log_lines()), NAMESPACE, int(since.timestamp() * 1000))
    highest = max((row.figure or 0 for row in found), default=0)
    return _show("metric", rows=found, highest=highest, stats={row.stat for row in found if row.figure is not None})


def _alarm(cloud: Cloud, properties: Mapping[str, Any], _: datetime) -> str:
    names = [str(arn).partition(":alarm:")[2] for arn in properties.get("alarms", [])]
    return _show("alarm", alarms=cloud.alarms(names) if names else [])


def _text(_cloud: Cloud, properties: Mapping[str, Any], _: datetime) -> str:
    return markdown(str(properties.get("markdown", "")))


def _log(_cloud: Cloud, properties: Mapping[str, Any], _: datetime) -> str:
    return _show("log", query=str(properties.get("query", "")))


_KINDS: dict[str, Callable[[Cloud, Mapping[str, Any], datetime], str]] = {
    "metric": _metric,
    "alarm": _alarm,
    "text": _text,
    "log": _log,
}


def _show(kind: str, **facts: Any) -> str:
    return TEMPLATES.get_template(f"{kind}.html.jinja").render(facts)
