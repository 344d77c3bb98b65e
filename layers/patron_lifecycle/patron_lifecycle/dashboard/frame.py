"""The frame of every view: theme, times, numbers. Whatever comes from elsewhere is escaped in all of them.

CloudWatch cleans what a widget gives it: no script, no outside resource, no handler of events. A button is an `<a>`
with a `<cwdb-action>` right behind it, whose content is the event that CloudWatch sends to the `endpoint`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Any

from jinja2 import Environment

from patron_lifecycle.runs.model import InstitutionRun
from patron_lifecycle.templates import environment_of
from patron_lifecycle.wording import one_line


@dataclass(frozen=True)
class Frame:
    """What surrounds a view: the time, the time zone to tell times in, the theme, and the functions that buttons call.

    `dashboard` and `operator` are the ARNs of the two functions; without them a view has no links, or no buttons.
    """

    now: datetime
    zone: tzinfo = UTC
    is_dark: bool = False
    dashboard: str = ""
    operator: str = ""

    def render(self, template: str, **facts: Any) -> str:
        """A view as HTML text, by the template of that name."""
        return _environment.get_template(f"{template}.html.jinja").render(frame=self, **facts)

    def day_of(self, moment: datetime) -> date:
        """The day that it was then, in the time zone of the dashboard."""
        return moment.astimezone(self.zone).date()

    def moment(self, at: datetime) -> str:
        """`Mon, Nov 23, 2026, 12:00`, in the time zone of the dashboard."""
        local = at.astimezone(self.zone)
        return f"{local:%a}, {day_in_words(local)}, {local:%H:%M}"


def day_in_words(day: date) -> str:
    """`Nov 23, 2026`."""
    return f"{day:%b} {day.day}, {day.year}"


def is_dark(event: Mapping[str, Any]) -> bool:
    """Whether the event comes from a dashboard in the dark theme."""
    context = event.get("widgetContext")
    return isinstance(context, Mapping) and context.get("theme") == "dark"


def label_of(one: InstitutionRun) -> str:
    """`Ashland (01OHIO_AAA)`."""
    return f"{one_line(one.institution.name)} ({one.code})"


def _make_environment() -> Environment:
    environment = environment_of(Path(__file__).parent / "templates")
    environment.filters["line"] = one_line
    environment.filters["day"] = day_in_words
    environment.filters["named"] = label_of
    return environment


_environment = _make_environment()
