"""The rules: (candidate, record, policy, day) -> decision. Pure and total: no clock, network or environment.

Rules are tried in order, the first match wins, and a field that a rule can't read makes the patron
`unverifiable`, which leaves them as they are.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from patron_lifecycle.alma.records import PatronRecord, Unreadable, same_id
from patron_lifecycle.policy.model import ActionPolicy, Deactivate, Protect, Purge, Reinstate, Restore
from patron_lifecycle.policy.reasons import Reason

RESTORED_DAYS = 180  # for so long the purge leaves alone whom this service has brought back
PATRON_ROLE = "200"  # UserRoleTypes: Patron


class Decision(NamedTuple):
    """Eligible when `reason` is None; otherwise why not, and in `detail` what a person needs beside the reason."""

    reason: Reason | None
    detail: str = ""

    @property
    def eligible(self) -> bool:
        """Whether the action may be carried out on this patron."""
        return self.reason is None


class BroughtBack(NamedTuple):
    """That this service brought a patron back: on which day, with which expiry date, and whether as ACTIVE.

    Not `confirmed`: it set about it, and isn't known to have done it.
    """

    on: date
    expiry_date: date | None
    active: bool = False
    confirmed: bool = True


class Left(NamedTuple):
    """How the run that is to be undone left a patron. Without `proven` it isn't known whether it changed them.

    `since` tells what another run has done with the patron since.
    """

    status_date: date | None
    expiry_date: date | None
    proven: bool = True
    since: str = ""


class Case(NamedTuple):
    """All that the rules may look at.

    `candidate` is the id that was selected; `record` the patron's fresh record; `policy` and `protect` are the
    institution's own; `day` is the institution's day of the run; `in_excluded_set` tells whether any of the given
    ids is in an exclusion set; `brought_back` when this service brought the patron back, the last time last; `left`
    how the run that is to be undone left them. To restore, `record` is the one from the vault, and `is_taken` tells
    whether its primary id means somebody in Alma.
    """

    candidate: str
    record: PatronRecord
    policy: ActionPolicy
    protect: Protect
    day: date
    in_excluded_set: Callable[[tuple[str, ...]], bool]
    brought_back: tuple[BroughtBack, ...] = ()
    left: Left | None = None
    is_taken: bool = False


class Rule(NamedTuple):
    """A reason and when it holds. `by_date_or_status` marks the rules that a sweep selects its candidates by.

    `figure` gives what a person should know beside the reason, such as the number of loans. `settings` are the keys
    of the policy that it goes by.
    """

    reason: Reason
    holds: Callable[[Case], bool]
    by_date_or_status: bool = False
    figure: Callable[[Case], str] = lambda _: ""
    settings: tuple[str, ...] = ()


def _is_staff(case: Case) -> bool:
    protected = {record_type.upper() for record_type in case.protect.record_types}
    return case.record.record_type.upper() in protected or bool(case.record.active_roles - {PATRON_ROLE})


def _in_excluded_set(case: Case) -> bool:
    exclude = case.policy.exclude
    return bool(exclude.set_ids or exclude.set_names) and case.in_excluded_set(case.record.identifiers)


def _in_excluded_group(case: Case) -> bool:
    groups = {group.casefold() for group in case.policy.exclude.user_groups}
    return bool(groups) and case.record.user_group.casefold() in groups


def _has_excluded_note(case: Case) -> bool:
    wanted = [text.casefold() for text in case.policy.exclude.note_contains]
    return bool(wanted) and any(text in note.casefold() for note in case.record.note_texts for text in wanted)


def _days_expired(case: Case) -> int:
    expiry_date = case.record.expiry_date
    if expiry_date is None:
        raise Unreadable("expiry_date")
    return (case.day - expiry_date).days


def _is_inactive(case: Case) -> bool:
    if case.record.status not in ("ACTIVE", "INACTIVE"):
        raise Unreadable("status")
    return case.record.status == "INACTIVE"


def _within_retention(case: Case, years: int) -> bool:
    expiry_date = case.record.expiry_date
    if expiry_date is None:
        raise Unreadable("expiry_date")
    return case.day <= anniversary(expiry_date, years)


def anniversary(day: date, years: int) -> date:
    """The same day `years` on: 1 March for a 29 February that isn't there, the last day of all for one beyond."""
    year = day.year + years
    if year > date.max.year:
        return date.max
    try:
        return day.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def _is_restored(case: Case) -> bool:
    return any(
        (case.day - back.on).days < RESTORED_DAYS and case.record.expiry_date == back.expiry_date
        for back in case.brought_back
    )


def _inactive_too_short(case: Case, days: int) -> bool:
    if days == 0:
        return False
    status_date = case.record.status_date
    if status_date is None:
        raise Unreadable("status_date")
    return (case.day - status_date).days < days


def _purge_date_ahead(case: Case) -> bool:
    return case.record.purge_date is not None and case.record.purge_date > case.day


def _money(balance: Decimal) -> str:
    amount = f"{abs(balance):f}" if balance != round(balance, 2) else f"{abs(balance):.2f}"
    return f"owes {amount}" if balance > 0 else f"in credit by {amount}"


def _inactive_rules(policy: Purge) -> tuple[Rule, ...]:
    if not policy.require_inactive:
        return ()
    days = policy.min_inactive_days
    return (
        Rule(
            Reason.STILL_ACTIVE,
            lambda case: not _is_inactive(case),
            by_date_or_status=True,
            settings=("require_inactive",),
        ),
        Rule(
            Reason.INACTIVE_TOO_SHORT,
            lambda case: _inactive_too_short(case, days),
            by_date_or_status=True,
            settings=("require_inactive", "min_inactive_days"),
        ),
    )


def _obligations(policy: Purge) -> tuple[Rule, ...]:
    tolerance = Decimal(str(policy.waive_fees_up_to))
    return (
        Rule(Reason.LOANS, lambda case: case.record.loans > 0, figure=lambda case: f"{case.record.loans} on loan"),
        Rule(
            Reason.FEES,
            lambda case: abs(case.record.fees) > tolerance,  # a credit is money too
            figure=lambda case: _money(case.record.fees),
            settings=("waive_fees_up_to",),
        ),
        Rule(
            Reason.REQUESTS, lambda case: case.record.requests > 0, figure=lambda case: f"{case.record.requests} open"
        ),
    )


def _is_unproven(case: Case) -> bool:
    return case.left is not None and not case.left.proven


def _has_changed_since(case: Case) -> bool:
    if case.left is None:
        return False
    return bool(case.left.since) or (case.record.status_date, case.record.expiry_date) != (
        case.left.status_date,
        case.left.expiry_date,
    )


def _what_changed(case: Case) -> str:
    if case.left is None:
        return ""
    if case.left.since:
        return case.left.since
    dates = (
        ("INACTIVE since", case.record.status_date, case.left.status_date),
        ("expiry date", case.record.expiry_date, case.left.expiry_date),
    )
    return ", ".join(f"{name} {now or 'none'}, not {then or 'none'}" for name, now, then in dates if now != then)


def _done_since(case: Case) -> str:
    return "" if case.left is None else case.left.since


_FOR_EVERY_ACTION = (
    Rule(Reason.IDENTITY_MISMATCH, lambda case: not same_id(case.record.primary_id, case.candidate)),
    Rule(Reason.STAFF, _is_staff, settings=("protect.record_types",)),
    Rule(Reason.LINKED_ACCOUNT, lambda case: case.record.is_linked),
)
_TO_TAKE_AWAY = (
    *_FOR_EVERY_ACTION,
    Rule(Reason.EXCLUDED_SET, _in_excluded_set, settings=("exclude.set_ids", "exclude.set_names")),
    Rule(Reason.EXCLUDED_GROUP, _in_excluded_group, settings=("exclude.user_groups",)),
    Rule(Reason.EXCLUDED_NOTE, _has_excluded_note, settings=("exclude.note_contains",)),
    Rule(Reason.NO_EXPIRY_DATE, lambda case: case.record.expiry_date is None, by_date_or_status=True),
    Rule(Reason.NOT_EXPIRED, lambda case: _days_expired(case) <= 0, by_date_or_status=True),
)


def rules_for(policy: ActionPolicy) -> tuple[Rule, ...]:
    """The rules of the action that `policy` is for, in the order in which they are tried.

    `not_found` comes from Alma's answer, before there is a record to judge.
    """
    match policy:
        case Deactivate(grace_days=grace_days):
            return (
                *_TO_TAKE_AWAY,
                Rule(
                    Reason.WITHIN_GRACE,
                    lambda case: _days_expired(case) < grace_days,
                    by_date_or_status=True,
                    settings=("grace_days",),
                ),
                Rule(Reason.ALREADY_INACTIVE, _is_inactive, by_date_or_status=True),
            )
        case Purge(retention_years=years, respect_purge_date=respects):
            by_purge_date = Rule(
                Reason.PURGE_DATE_AHEAD, _purge_date_ahead, by_date_or_status=True, settings=("respect_purge_date",)
            )
            return (
                *_TO_TAKE_AWAY,
                Rule(
                    Reason.WITHIN_RETENTION,
                    lambda case: _within_retention(case, years),
                    by_date_or_status=True,
                    settings=("retention_years",),
                ),
                Rule(Reason.RESTORED, _is_restored),
                *_inactive_rules(policy),
                *((by_purge_date,) if respects else ()),
                *_obligations(policy),
            )
        case Reinstate():
            return (
                *_FOR_EVERY_ACTION,
                Rule(Reason.ALREADY_ACTIVE, lambda case: not _is_inactive(case)),
                Rule(Reason.UNPROVEN, _is_unproven),
                Rule(Reason.CHANGED_SINCE, _has_changed_since, figure=_what_changed),
            )
        case Restore():
            return (
                *_FOR_EVERY_ACTION,
                Rule(Reason.ID_TAKEN, lambda case: case.is_taken, figure=_done_since),
                Rule(Reason.UNPROVEN, _is_unproven),
                Rule(Reason.CHANGED_SINCE, lambda case: bool(_done_since(case)), figure=_done_since),
            )
    raise NotImplementedError(f"no rules for {type(policy).__name__}")


def decide(case: Case) -> Decision:
    """Judge one patron on a fresh record: eligible, or the first reason that holds."""
    return _first_that_holds(rules_for(case.policy), case)


def is_candidate(raw: Mapping[str, Any], policy: ActionPolicy, day: date) -> bool:
    """Whether a sweep takes this user as a candidate: passes the date and status rules, or can't be judged.

    A row without a record type is a brief one (as lists give without `expand=full`): its dates aren't absent
    from the record, only from the row.
    """
    if "record_type" not in raw:
        return True
    case = Case("", PatronRecord(raw), policy, Protect(), day, in_excluded_set=lambda _: False)
    reason = _first_that_holds((rule for rule in rules_for(policy) if rule.by_date_or_status), case).reason
    return reason is None or reason is Reason.UNVERIFIABLE


def _first_that_holds(rules: Iterable[Rule], case: Case) -> Decision:
    for rule in rules:
        try:
            if rule.holds(case):
                return Decision(rule.reason, rule.figure(case))
        except Unreadable as unreadable:
            return Decision(Reason.UNVERIFIABLE, str(unreadable))
    return Decision(None)
