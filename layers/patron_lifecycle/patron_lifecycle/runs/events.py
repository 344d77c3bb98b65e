"""The events that a person or a schedule sends, validated before anything happens."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from patron_lifecycle.alma.records import folded
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.model import BringBack, Mode, Trigger
from patron_lifecycle.validation import problems_of

RequestId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
RunId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Person = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]
Code = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]
SetId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]

MAX_PATRON_IDS = 1000
_MAX_ID = 255  # characters of a primary id (rest_user.xsd)


def _some(codes: tuple[str, ...]) -> tuple[str, ...]:
    if not codes:
        raise ValueError("is empty; name at least one, or leave it out for all enabled institutions")
    return codes


def _is_primary_id(text: str) -> bool:
    return bool(text.strip()) and len(text) <= _MAX_ID and text.isprintable()


def _patron_ids(given: object) -> object:
    """Checks ids one by one, in words that never show one: what is raised here ends in the log."""
    if not isinstance(given, list):
        raise ValueError('should be a list of primary ids, such as ["A00123456"]')  # noqa: TRY004 - pydantic wants it
    if not given:
        raise ValueError("is empty; name at least one patron")
    if len(given) > MAX_PATRON_IDS:
        raise ValueError(f"has {len(given):,} ids, more than {MAX_PATRON_IDS:,}; send them in several events")
    ids: dict[str, str] = {}
    for place, one in enumerate(given):
        if not isinstance(one, str):
            raise ValueError(f"holds what isn't text, at place {place + 1}; put each id in quotes")  # noqa: TRY004
        if not _is_primary_id(one):
            raise ValueError(
                f"holds no primary id at place {place + 1}: it is empty, longer than {_MAX_ID} characters, or has "
                "characters that can't be seen"
            )
        ids.setdefault(folded(one), one.strip())
    return tuple(ids.values())


PatronIds = Annotated[tuple[str, ...], BeforeValidator(_patron_ids)]


def _one_id(given: object) -> object:
    """As `_patron_ids`, for one."""
    if not isinstance(given, str) or not _is_primary_id(given):
        raise ValueError(f"should be the primary id of one patron, as text of up to {_MAX_ID} characters")
    return given.strip()


PatronId = Annotated[str, BeforeValidator(_one_id)]


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

    `request_id` makes the start idempotent: the same id gives the same run. The last four are for reinstate and
    restore: whom to bring back, and with which new expiry date. With `source_run_id`, `institutions` defaults to those
    of that run.
    """

    action: Action
    mode: Mode = Mode.PREVIEW
    institutions: Annotated[tuple[Code, ...], AfterValidator(_some)] | None = None
    as_of: Day | None = None
    trigger: Trigger = Trigger.MANUAL
    request_id: RequestId | None = None
    patron_ids: PatronIds | None = None
    set_id: SetId | None = None
    source_run_id: RunId | None = None
    expiry_date: Day | None = None

    @property
    def bring_back(self) -> BringBack | None:
        """Whom to bring back, the named patrons' ids left out; None for the actions that take away."""
        if self.action.undoes is None:
            return None
        return BringBack(
            named=_digest(self.patron_ids) if self.patron_ids else "",
            set_id=self.set_id,
            source_run_id=self.source_run_id,
            expiry_date=self.expiry_date,
        )

    @model_validator(mode="after")
    def _what_the_action_takes(self) -> Self:
        whom = [name for name in ("patron_ids", "set_id", "source_run_id") if getattr(self, name) is not None]
        match self.action:
            case Action.REINSTATE:
                if len(whom) != 1:
                    told = f"{' and '.join(whom)} are given" if whom else "none is given"
                    raise ValueError(f"reinstate takes exactly one of patron_ids, set_id, source_run_id; {told}")
            case Action.RESTORE:
                if self.set_id is not None:
                    raise ValueError("restore takes no set_id: who was deleted is in no set. Give source_run_id")
                if self.source_run_id is None:
                    raise ValueError("restore needs source_run_id: the purge whose patrons are to come back")
            case _:
                if extra := [*whom, *(["expiry_date"] if self.expiry_date else [])]:
                    raise ValueError(f"{self.action} takes no {', '.join(extra)}: only reinstate and restore do")
        if (self.patron_ids or self.set_id) and len(set(self.institutions or ())) != 1:
            raise ValueError(
                f"institutions: {whom[0]} goes with exactly one institution, since the same id is somebody else in "
                "another; name one"
            )
        return self


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


class Revoke(Event):
    """Operator: let the links to the reports of a run, or of one institution's part of it, lead nowhere."""

    command: Literal["revoke"]
    run_id: RunId
    institution: Code | None = None
    by: Person


class ShowStatus(Event):
    """Operator: the latest runs, one run with its institutions, one institution's latest runs, or a patron's story.

    With `registry`: all institutions as they are registered.
    """

    command: Literal["status"]
    run_id: RunId | None = None
    institution: Code | None = None
    patron_id: PatronId | None = None
    registry: bool = False

    @model_validator(mode="after")
    def _registry_by_itself(self) -> Self:
        if self.registry and any((self.run_id, self.institution, self.patron_id)):
            raise ValueError("registry goes by itself: it is about all institutions")
        return self

    @model_validator(mode="after")
    def _patron_of_one_institution(self) -> Self:
        if self.patron_id is not None and (self.institution is None or self.run_id is not None):
            raise ValueError("patron_id goes with institution, and without run_id: an id is somebody else elsewhere")
        return self


class Tidy(Event):
    """Operator, hourly by schedule: wake or fail what has stalled, so that no run stays open for ever."""

    command: Literal["tidy"]


class Resume(Event):
    """Operator, also by the schedule that a pause has made: let what is paused go on; all of it, or what is named."""

    command: Literal["resume"]
    run_id: RunId | None = None
    institution: Code | None = None


class Redrive(Event):
    """Operator: put back what lies in the dead-letter queue, each institution run with how far it had come."""

    command: Literal["redrive"]


class DaysSince(Event):
    """Operator, daily by schedule: how many days ago each action has finished last, for the alarms that watch it."""

    command: Literal["days_since"]


class Announce(Event):
    """Operator, daily by schedule: start the previews that tell libraries whom the coming purge will take."""

    command: Literal["announce"]


OperatorEvent = (
    Register
    | Check
    | Approve
    | Reject
    | Cancel
    | StopAll
    | Revoke
    | ShowStatus
    | Tidy
    | Announce
    | Resume
    | Redrive
    | DaysSince
)
OPERATOR_EVENTS: dict[str, type[OperatorEvent]] = {
    "register": Register,
    "check": Check,
    "approve": Approve,
    "reject": Reject,
    "cancel": Cancel,
    "stop_all": StopAll,
    "revoke": Revoke,
    "status": ShowStatus,
    "tidy": Tidy,
    "announce": Announce,
    "resume": Resume,
    "redrive": Redrive,
    "days_since": DaysSince,
}

E = TypeVar("E", bound=Event)


def _digest(ids: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(sorted(map(folded, ids))).encode()).hexdigest()[:16]


def parse_start(event: object) -> StartRun:
    """Validate an enumerator event. Raises `InvalidEvent`."""
    if isinstance(event, Mapping) and "command" in event:
        raise InvalidEvent("command: this event is one for the operator. Nothing was done.")
    return validated(StartRun, event)


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
        if isinstance(event, Mapping) and ("action" in event or str(command) in set(Action)):
            mend = "; this event is one for the enumerator"
        raise InvalidEvent(
            f'command: should be one of {", ".join(OPERATOR_EVENTS)}, in an event such as {{"command": "status"}}{mend}'
        )
    return validated(model, event)


def validated(model: type[E], event: object) -> E:
    """The event as what it should be. Raises `InvalidEvent` with every mistake in it, and how to mend it."""
    if not isinstance(event, Mapping):
        raise InvalidEvent("The event should be a JSON object. Nothing was done.")
    try:
        return model.model_validate_json(json.dumps(event))
    except ValidationError as error:
        problems = "\n".join(f"- {problem}" for problem in problems_of(error, model))
        raise InvalidEvent(f"The event has mistakes. Nothing was done. Mend:\n{problems}") from None
