"""What CloudWatch asks the dashboard function for: which view, and of which institution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import model_validator

from patron_lifecycle.dashboard.frame import Frame, is_dark
from patron_lifecycle.dashboard.held import held_view
from patron_lifecycle.dashboard.history import history_view
from patron_lifecycle.dashboard.institutions import institutions_view, last_runs
from patron_lifecycle.dashboard.population import population_view
from patron_lifecycle.dashboard.runs import runs_view
from patron_lifecycle.observability import logger
from patron_lifecycle.runs.events import Code, Event, InvalidEvent, validated
from patron_lifecycle.runs.store import Store
from patron_lifecycle.schedules import next_starts, schedules_of, zone_of
from patron_lifecycle.settings import Settings

_RUNS = 20  # shown among the latest
_HISTORY = 30  # institution runs, and populations, of one institution


class View(StrEnum):
    """What a widget can show."""

    HELD = "held"
    INSTITUTIONS = "institutions"
    RUNS = "runs"
    INSTITUTION = "institution"
    POPULATION = "population"


class Asked(Event):
    """A widget's parameters. `institution` goes with the view of that name alone."""

    view: View
    institution: Code | None = None

    @model_validator(mode="after")
    def _institution_of_its_view(self) -> "Asked":
        if self.view is View.INSTITUTION and self.institution is None:
            raise ValueError('institution: is missing; add the code, such as "institution": "01OHIO_AAA"')
        if self.view is not View.INSTITUTION and self.institution is not None:
            raise ValueError(f"institution: the view {self.view} is of all institutions; leave it out")
        return self


DOCUMENTATION = """\
# Alma Patron Lifecycle

Shows what the service has done and what waits for a person. It reads, and changes nothing; the buttons of the view
`held` call the operator function.

| parameter | what it is |
|---|---|
| `view` | `held`, `institutions`, `runs`, `population`, or `institution` |
| `institution` | the code of an institution, for the view `institution` alone |

- `held`: what waits for a decision, with its figures.
- `institutions`: all institutions, what their last runs came to, and when the next are.
- `runs`: the latest runs.
- `population`: who the users are, counted.
- `institution`: the history of one institution.

``` yaml
view: institutions
```
"""


@dataclass(frozen=True)
class Dashboard:
    """Views of what is in the store, as HTML text. `now` tells the time."""

    store: Store
    settings: Settings
    now: Callable[[], datetime]

    def answer(self, event: object, own_arn: str) -> str:
        """What CloudWatch shows: a view, documentation as markdown, or what is wrong with the event and how to mend it.

        `own_arn` is this function's, for links from one view to another.
        """
        known: Mapping[str, Any] = event if isinstance(event, Mapping) else {}
        if known.get("describe"):
            return DOCUMENTATION
        frame = Frame(self.now(), zone_of(self.settings), is_dark(known), own_arn, self.settings.operator_function_arn)
        try:
            return self._view(_asked(known), frame)
        except InvalidEvent as problem:
            return frame.render("trouble", title="This can't be shown", lines=str(problem).splitlines())
        except Exception as error:  # noqa: BLE001 - its text may hold anything, and would be shown to everybody
            kind = type(error).__name__
            logger.error("a view could not be shown", error=kind)
            told = f"The dashboard function met a {kind}. Refresh; if it comes back, look at the log of the function."
            return frame.render("trouble", title="This can't be shown", lines=[told])

    def _view(self, asked: Asked, frame: Frame) -> str:
        match asked.view:
            case View.HELD:
                return held_view(self.store.open_institution_runs(), frame)
            case View.INSTITUTIONS:
                return self._institutions(frame)
            case View.RUNS:
                return runs_view(self.store.recent_runs(_RUNS), frame)
            case View.POPULATION:
                return population_view(self.store.institutions(), self.store.latest_populations(), frame)
            case View.INSTITUTION:
                return self._history(asked.institution or "", frame)

    def _institutions(self, frame: Frame) -> str:
        institutions = self.store.institutions()
        return institutions_view(
            institutions,
            last_runs(self.store, {one.code for one in institutions}),
            self.store.open_institution_runs(),
            schedules_of(self.settings),
            next_starts(self.settings, frame.now),
            frame,
        )

    def _history(self, code: str, frame: Frame) -> str:
        registered = self.store.institution(code)
        runs = self.store.institution_runs_of(code, _HISTORY)
        institution = registered or (runs[0].institution if runs else None)
        if institution is None:
            raise InvalidEvent(f"institution: {code} is not registered; correct the code, or register it")
        return history_view(institution, registered is not None, runs, self.store.populations(code, _HISTORY), frame)


def _asked(event: Mapping[str, Any]) -> Asked:
    """The event validated. Raises `InvalidEvent`."""
    given = {key: value for key, value in event.items() if key not in ("widgetContext", "describe")}
    if not given:
        raise InvalidEvent(f"view: is missing; add one of {', '.join(View)} to the widget's parameters")
    return validated(Asked, given)
