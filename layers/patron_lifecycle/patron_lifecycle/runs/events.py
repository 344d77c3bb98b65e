"""The events that a person or a schedule sends, validated before anything happens."""

import difflib
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.model import Mode, Trigger
from patron_lifecycle.validation import problems_of

RequestId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
RunId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Person = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]
Code = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]


def _some(codes: tuple[str, ...]) -> tuple[str, ...]:
    if not codes:
        raise ValueError("is empty; name at least one, or leave it out for all enabled institutions")
    return codes


def _day_of_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f'is "{value[:40]}", which is no day; give one such as 2026-11-23')


Day = Annotated[date, BeforeValidator(_day_of_text)]  # pydantic alone takes a number of seconds for a day, too


class InvalidEvent(ValueError):
    """The event has mistakes; the text names each. Nothing was done."""


class Event(BaseModel):
    """Base of all events: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StartRun(Event):
    """The enumerator's event. Without `institutions` it is for all enabled ones; without `as_of` for today.

    `request_id` makes the start idempotent: the same id gives the same run.
    """

    action: Action
    mode: Mode = Mode.PREVIEW
    institutions: Annotated[tuple[Code, ...], AfterValidator(_some)] | None = None
    as_of: Day | None = None
    trigger: Trigger = Trigger.MANUAL
    request_id: RequestId | None = None


class Register(Event):
    """Operator: validate and store the registry, the text of `institutions.yaml`."""

    command: Literal["register"]
    registry: str


class Check(Event):
    """Operator: look whether institutions are ready: key, rights, sets, and what the next run would do there."""

    command: Literal["check"]
    institutions: Annotated[tuple[Code, ...], AfterValidator(_some)] | None = None


class Approve(Event):
    """Operator: let a held institution run go on. `by` is who says so."""

    command: Literal["approve"]
    run_id: RunId
    institution: Code
    by: Person
    note: Note = ""


class Reject(Event):
    """Operator: end a held institution run without changing anybody."""

    command: Literal["reject"]
    run_id: RunId
    institution: Code
    by: Person
    note: Note = ""


class Cancel(Event):
    """Operator: stop a run, or one institution's part of it, at its next page."""

    command: Literal["cancel"]
    run_id: RunId
    institution: Code | None = None
    by: Person


class StopAll(Event):
    """Operator: stop every run at its next page."""

    command: Literal["stop_all"]
    by: Person


class ShowStatus(Event):
    """Operator: the latest runs, one run with its institutions, or one institution's latest runs."""

    command: Literal["status"]
    run_id: RunId | None = None
    institution: Code | None = None


class Tidy(Event):
    """Operator, hourly by schedule: wake or fail what has stalled, so that no run stays open for ever."""

    command: Literal["tidy"]


OperatorEvent = Register | Check | Approve | Reject | Cancel | StopAll | ShowStatus | Tidy
OPERATOR_EVENTS: dict[str, type[OperatorEvent]] = {
    "register": Register,
    "check": Check,
    "approve": Approve,
    "reject": Reject,
    "cancel": Cancel,
    "stop_all": StopAll,
    "status": ShowStatus,
    "tidy": Tidy,
}

E = TypeVar("E", bound=Event)


def parse_start(event: object) -> StartRun:
    """Validate an enumerator event. Raises `InvalidEvent`."""
    return _parse(StartRun, event)


def parse_operator(event: object) -> OperatorEvent:
    """Validate an operator event by its `command`. Raises `InvalidEvent`.

    A `widgetContext`, which CloudWatch adds when a dashboard sends the event, is left out of account.
    """
    if isinstance(event, Mapping):
        event = {key: value for key, value in event.items() if key != "widgetContext"}
    command = event.get("command") if isinstance(event, Mapping) else None
    model = OPERATOR_EVENTS.get(command) if isinstance(command, str) else None
    if model is None:
        guesses = difflib.get_close_matches(str(command), OPERATOR_EVENTS, n=1)
        mend = f"; did you mean {guesses[0]}?" if guesses else ""
        if isinstance(event, Mapping) and "action" in event:
            mend = "; this event is one for the enumerator"
        raise InvalidEvent(
            f'command: should be one of {", ".join(OPERATOR_EVENTS)}, in an event such as {{"command": "status"}}{mend}'
        )
    return _parse(model, event)


def _parse(model: type[E], event: object) -> E:
    if not isinstance(event, Mapping):
        raise InvalidEvent("The event should be a JSON object. Nothing was done.")
    try:
        return model.model_validate_json(json.dumps(event))
    except ValidationError as error:
        problems = "\n".join(f"- {problem}" for problem in problems_of(error, model))
        raise InvalidEvent(f"The event has mistakes. Nothing was done. Mend:\n{problems}") from None
