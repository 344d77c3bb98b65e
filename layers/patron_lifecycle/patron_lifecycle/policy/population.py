"""Who an institution's users are on a day: counts from a sweep of all of them, and nobody's name. Pure."""

import calendar
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from patron_lifecycle.alma.records import PatronRecord, Unreadable
from patron_lifecycle.policy.model import Policy
from patron_lifecycle.policy.rules import anniversary

MOST_GROUPS = 100  # named ones; a population is part of an item in DynamoDB, which may have 400 KB
OTHER_GROUPS = "other groups"
NO_GROUP = "none"
_LONGEST_NAME = 100  # characters of a user group's name
_WEEK = 7


class Age(StrEnum):
    """How long ago a patron expired, up to and including so many days or years."""

    WEEK = "7 days"
    YEAR = "1 year"
    TWO_YEARS = "2 years"
    THREE_YEARS = "3 years"
    LONGER = "longer"


class Standing(StrEnum):
    """What there is to say of an expiry date that isn't past, or of none. Each is a field of `Population`."""

    CURRENT = "current"
    NO_EXPIRY_DATE = "no_expiry_date"
    UNREADABLE = "unreadable"


class _Counts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UserGroup(_Counts):
    """How many patrons a user group has, and how many of them are expired."""

    patrons: int = 0
    expired: int = 0


class Population(_Counts):
    """Who an institution's users are on a day, as a sweep of all of them counted it. Counts, nobody's name.

    Each user, staff too, is in exactly one of `active`, `inactive` and `other_status`, and in exactly one of `current`
    (an expiry date that isn't past), `no_expiry_date`, `unreadable` (one that can't be read) and `expired`. `groups`
    goes by the user group's description; beside `MOST_GROUPS` of them the rest is under `OTHER_GROUPS`.
    `past_retention` counts those whom the purge's retention doesn't keep any more, today and a month from now, before
    any set or other rule is asked; None where no purge is enabled. `day` is the institution's day on which the run
    began: the real one, whatever day the run judges by.
    """

    code: str
    day: date
    run_id: str
    users: int = 0
    active: int = 0
    inactive: int = 0
    other_status: int = 0
    current: int = 0
    no_expiry_date: int = 0
    unreadable: int = 0
    expired: dict[Age, int] = {}
    groups: dict[str, UserGroup] = {}
    past_retention: int | None = None
    past_retention_in_a_month: int | None = None


_COUNTS = (
    "users",
    "active",
    "inactive",
    "other_status",
    *Standing,
    "past_retention",
    "past_retention_in_a_month",
)


class Traits(NamedTuple):
    """What is counted of one user. `status` is a field of `Population`; an `Age` as `standing` says expired."""

    status: str
    standing: Standing | Age
    group: str
    is_past_retention: bool = False
    is_past_in_a_month: bool = False


class Census(NamedTuple):
    """How the users of an institution are counted: on which day, by which run, with the purge's retention, if any."""

    code: str
    run_id: str
    day: date
    retention_years: int | None

    @property
    def nobody(self) -> Population:
        """The population before anybody is counted."""
        past = None if self.retention_years is None else 0
        return Population(
            code=self.code, day=self.day, run_id=self.run_id, past_retention=past, past_retention_in_a_month=past
        )

    def traits_of(self, raw: Mapping[str, Any]) -> Traits:
        """What is counted of a user, from the record as a sweep gives it; what can't be read is counted as such."""
        record = PatronRecord(raw)
        status = {"ACTIVE": "active", "INACTIVE": "inactive"}.get(record.known("status"), "other_status")
        group = _group_of(raw)
        try:
            expiry_date = record.expiry_date
        except Unreadable:
            return Traits(status, Standing.UNREADABLE, group)
        if expiry_date is None:
            # A brief row, as lists give without `expand=full`, tells nothing of the record's dates.
            return Traits(status, Standing.NO_EXPIRY_DATE if "record_type" in raw else Standing.UNREADABLE, group)
        if expiry_date >= self.day:
            standing: Standing | Age = Standing.CURRENT
        else:
            standing = _age(expiry_date, self.day)
        return Traits(
            status,
            standing,
            group,
            self._is_past(expiry_date, self.day),
            self._is_past(expiry_date, a_month_on(self.day)),
        )

    def _is_past(self, expiry_date: date, day: date) -> bool:
        """Whether the purge's retention doesn't keep the patron any more on that day."""
        return self.retention_years is not None and day > anniversary(expiry_date, self.retention_years)


def retention_of(policy: Policy) -> int | None:
    """For how many years the purge keeps expired patrons; None where no purge is enabled."""
    return policy.purge.retention_years if policy.purge is not None and policy.purge.enabled else None


def a_month_on(day: date) -> date:
    """The same day of the next month, or that month's last one where it has no such day."""
    year, month = divmod(day.year * 12 + day.month, 12)
    if year > date.max.year:
        return date.max
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def count(population: Population, users: Iterable[Traits]) -> Population:
    """The population with these users counted as well."""
    fields, expired, groups, lapsed = Counter[str](), Counter[Age](), Counter[str](), Counter[str]()
    for user in users:
        fields.update(("users", user.status))
        groups[user.group] += 1
        if isinstance(user.standing, Age):
            expired[user.standing] += 1
            lapsed[user.group] += 1
        else:
            fields[user.standing] += 1
        if population.past_retention is not None:
            fields["past_retention"] += user.is_past_retention
            fields["past_retention_in_a_month"] += user.is_past_in_a_month
    more = Population(
        code=population.code,
        day=population.day,
        run_id=population.run_id,
        **fields,
        expired=dict(expired),
        groups={name: UserGroup(patrons=number, expired=lapsed[name]) for name, number in groups.items()},
    )
    return _added(population, more, MOST_GROUPS)


def largest_groups(groups: Mapping[str, UserGroup], most: int, without: str) -> list[tuple[str, UserGroup]]:
    """At most so many of the largest user groups, all others together, and, as `without`, who is in none."""
    named = [(name, group) for name, group in groups.items() if name not in (OTHER_GROUPS, NO_GROUP)]
    named.sort(key=lambda item: (-item[1].patrons, item[0]))
    told, rest = named[:most], [group for _, group in named[most:]]
    label = f"{len(rest):,} other group{'' if len(rest) == 1 else 's'}"
    if OTHER_GROUPS in groups:
        rest, label = [*rest, groups[OTHER_GROUPS]], "All other groups"
    if rest:
        patrons, expired = sum(each.patrons for each in rest), sum(each.expired for each in rest)
        told.append((label, UserGroup(patrons=patrons, expired=expired)))
    if NO_GROUP in groups:
        told.append((without, groups[NO_GROUP]))
    return told


def merge(one: Population, other: Population) -> Population:
    """The first population with the other's counts added, such as another institution's; all groups keep their names.

    It may have more groups than `MOST_GROUPS`: it isn't one to be stored.
    """
    return _added(one, other, len(one.groups) + len(other.groups))


def _added(one: Population, other: Population, most_groups: int) -> Population:
    sums = {name: _sum(getattr(one, name), getattr(other, name)) for name in _COUNTS}
    expired = {age: sum(each.expired.get(age, 0) for each in (one, other)) for age in Age}
    return Population(
        code=one.code,
        day=one.day,
        run_id=one.run_id,
        **sums,
        expired={age: number for age, number in expired.items() if number},
        groups=_merged(one.groups, other.groups, most_groups),
    )


def _merged(one: Mapping[str, UserGroup], other: Mapping[str, UserGroup], most: int) -> dict[str, UserGroup]:
    """The groups of both; beside `most` names, of which the first ones keep theirs, the rest is `OTHER_GROUPS`."""
    merged = dict(one)
    named = len(merged) - (OTHER_GROUPS in merged)
    for name, group in other.items():
        if name not in merged and name != OTHER_GROUPS:
            named += 1
        to = name if name in merged or named <= most else OTHER_GROUPS
        before = merged.get(to, UserGroup())
        merged[to] = UserGroup(patrons=before.patrons + group.patrons, expired=before.expired + group.expired)
    return merged


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _age(expiry_date: date, day: date) -> Age:
    """The age of an expiry date that is past: years end on its anniversaries, as the purge's retention does."""
    if (day - expiry_date).days <= _WEEK:
        return Age.WEEK
    years = {1: Age.YEAR, 2: Age.TWO_YEARS, 3: Age.THREE_YEARS}
    return next((age for number, age in years.items() if day <= anniversary(expiry_date, number)), Age.LONGER)


def _group_of(raw: Mapping[str, Any]) -> str:
    """The description of the user group, or its code, as one line that can be stored; `NO_GROUP` without any."""
    group = raw.get("user_group")
    for name in (group.get("desc"), group.get("value")) if isinstance(group, Mapping) else ():
        if isinstance(name, str) and (words := name.split()):
            return " ".join(words).encode(errors="replace").decode()[:_LONGEST_NAME]
    return NO_GROUP
