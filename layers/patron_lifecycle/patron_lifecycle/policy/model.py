"""What a consortium decides for an institution: the policy, as `institutions.yaml` writes it.

Every model is frozen and refuses unknown keys, so a misspelt key is an error and never a silent default.
"""

import json
import re
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from patron_lifecycle.policy.reasons import Action

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Days = Annotated[int, Field(ge=0, le=3650)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Percent = Annotated[float, Field(gt=0, le=100)]
MAX_DAILY_CALLS = 100_000_000


class PolicyModel(BaseModel):
    """Base of all policy models: frozen, strict about types (an unquoted number is no text), no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Select(PolicyModel):
    """Where candidates come from: exactly one of a sweep over all users, a set's id, or a set's exact name."""

    sweep: Literal[True] | None = None
    set_id: Text | None = None
    set_name: Text | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.sweep, self.set_id, self.set_name].count(None) != 2:
            raise ValueError("give exactly one of sweep: true, set_id, set_name")
        return self

    def __str__(self) -> str:
        if self.sweep:
            return "sweep"
        return f"set {self.set_id}" if self.set_id else f'set "{self.set_name}"'


class Sets(PolicyModel):
    """Any number of sets, by id or by exact name."""

    set_ids: tuple[Text, ...] = ()
    set_names: tuple[Text, ...] = ()

    @property
    def each(self) -> tuple[Select, ...]:
        """One selection for each set."""
        by_id = (Select(set_id=set_id) for set_id in self.set_ids)
        return (*by_id, *(Select(set_name=name) for name in self.set_names))


class Exclude(Sets):
    """Who stays out of an action: members of sets, user groups by code, notes that contain a text."""

    user_groups: tuple[Text, ...] = ()
    note_contains: tuple[Text, ...] = ()


class ActionPolicy(PolicyModel):
    """What every action has: its switch, who stays out of it, and how many it may change at once."""

    enabled: bool = True
    exclude: Exclude = Exclude()
    max_patrons: Count = 500
    max_percent: Percent = 10

    @property
    def selections(self) -> tuple[Select, ...]:
        """Everything that candidates come from, where the policy says so."""
        return ()


class ScheduledPolicy(ActionPolicy):
    """What every action has that runs by a schedule: its selection."""

    select: Select | None = None

    @property
    def selections(self) -> tuple[Select, ...]:
        """See `ActionPolicy`."""
        return (self.select,) if self.select else ()

    @model_validator(mode="after")
    def _enabled_needs_a_selection(self) -> Self:
        if self.enabled and self.select is None:
            raise ValueError("no selection: add select with one of sweep: true, set_id, set_name, or enabled: false")
        return self


class Deactivate(ScheduledPolicy):
    """The weekly action: an ACTIVE patron expired for `grace_days` or more becomes INACTIVE."""

    grace_days: Days = 7


class Purge(ScheduledPolicy):
    """The monthly action: a patron whose expiry date is more than `retention_years` past is deleted.

    `min_inactive_days` counts only with `require_inactive`. `waive_fees_up_to` is an amount in the institution's
    currency, owed or in credit. Members of `also_select` are candidates as well; whoever `exclude` names stays out
    all the same. `vault_days` says how long a deleted record is kept (0 keeps none).
    """

    retention_years: Annotated[int, Field(ge=1, le=100)] = 3
    require_inactive: bool = True
    min_inactive_days: Days = 14
    respect_purge_date: bool = True
    waive_fees_up_to: Annotated[float, Field(ge=0, le=1_000_000)] = 0
    also_select: Sets = Sets()
    vault_days: Literal[0, 7, 14, 30, 60, 90] = 30
    first_run: Literal["hold", "apply"] = "hold"

    @property
    def selections(self) -> tuple[Select, ...]:
        """The selection, and each set of `also_select`."""
        return (*super().selections, *self.also_select.each)


class Reinstate(ActionPolicy):
    """On demand: an INACTIVE patron becomes ACTIVE again. Not in the registry: it has the caps of the deactivation."""


class Restore(ActionPolicy):
    """On demand: a purged patron is made anew. Not in the registry: it has the caps of the purge."""


class Protect(PolicyModel):
    """Record types that no action ever touches."""

    record_types: tuple[Text, ...] = ("STAFF", "CONTACT")


def _time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError(f'"{text[:40]}" is no time of day; give one from "00:00" to "23:59", in quotes')
    return text


def _moment_of_reset(text: str) -> str:
    time, _, zone = text.partition(" ")
    _time_of_day(time)
    try:
        ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f'"{zone[:60]}" is no known time zone; write "00:00" for UTC, or "00:00 America/Chicago"'
        ) from None
    return text.removesuffix(" UTC")


def _calls_or_percent(given: object) -> object:
    if isinstance(given, str):
        if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,2})?%", given) or float(given[:-1]) > 100:
            raise ValueError(
                f'"{given[:40]}" is no share; give calls, such as 10000, without quotes, or a share from "0%" to "100%"'
            )
    elif isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MAX_DAILY_CALLS:
        raise ValueError(
            f"is {json.dumps(given, default=str)[:40]}, should be a number of calls from 0 to {MAX_DAILY_CALLS}, or a "
            'share such as "15%"'
        )
    return given


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]
Rate = Annotated[float, Field(ge=1, le=25)]  # calls a second


class QuietHours(PolicyModel):
    """Hours, by the institution's clock, in which Alma is called more slowly. An `end` before `start` is tomorrow's."""

    start: TimeOfDay
    end: TimeOfDay
    requests_per_second: Rate

    @model_validator(mode="after")
    def _last_a_while(self) -> Self:
        if self.start == self.end:
            raise ValueError(
                f'start and end are both "{self.start}"; give hours that end, or lower requests_per_second of the pace '
                "if it is to hold all day"
            )
        return self


class Pace(PolicyModel):
    """How fast Alma may be called (calls a second; Alma allows 25), and the daily calls that are left for others.

    `reserve_daily_calls` is a number of calls, or a share of the day's quota such as `15%`. `reset` is when Alma renews
    the quota: a time of day in UTC, or with a time zone after it. Of several quiet hours that hold at a time the lowest
    rate counts.
    """

    requests_per_second: Rate = 20
    quiet_hours: Annotated[tuple[QuietHours, ...], Field(max_length=24)] = ()
    reserve_daily_calls: Annotated[int | str, BeforeValidator(_calls_or_percent)] = 10_000
    reset: Annotated[str, AfterValidator(_moment_of_reset)] = "00:00"

    @model_validator(mode="after")
    def _quiet_is_slower(self) -> Self:
        for place, quiet in enumerate(self.quiet_hours):
            if quiet.requests_per_second > self.requests_per_second:
                raise ValueError(
                    f"quiet_hours[{place}].requests_per_second: is {quiet.requests_per_second:g}, above the "
                    f"{self.requests_per_second:g} of all other hours; give {self.requests_per_second:g} or less, or "
                    "raise requests_per_second"
                )
        return self


class Policy(PolicyModel):
    """The whole policy of one institution. An action without a section is not carried out there."""

    deactivate: Deactivate | None = None
    purge: Purge | None = None
    protect: Protect = Protect()
    pace: Pace = Pace()

    def of(self, action: Action) -> ActionPolicy | None:
        """The policy for one action; None where there is none."""
        match action:
            case Action.DEACTIVATE:
                return self.deactivate
            case Action.PURGE:
                return self.purge
            case Action.REINSTATE:
                return Reinstate(**_caps_of(self.deactivate))
            case Action.RESTORE:
                return Restore(**_caps_of(self.purge))

    def has_same_rules(self, other: "Policy", action: Action) -> bool:
        """Whether patrons are judged alike by both: how fast Alma is called doesn't matter."""
        return (self.of(action), self.protect) == (other.of(action), other.protect)

    @model_validator(mode="after")
    def _at_least_one_action(self) -> Self:
        if self.deactivate is None and self.purge is None:
            raise ValueError("no selection for any action: add deactivate or purge with select")
        return self


def _caps_of(policy: ActionPolicy | None) -> dict[str, Any]:
    """How many the action may change at once; the defaults where there is no policy for it."""
    return {} if policy is None else {"max_patrons": policy.max_patrons, "max_percent": policy.max_percent}
