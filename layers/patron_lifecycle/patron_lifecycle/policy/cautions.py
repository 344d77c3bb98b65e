"""What a person should know of a patron who is changed: for whom it won't last, or came to nothing before. Pure."""

from collections.abc import Iterator
from datetime import date, timedelta

from patron_lifecycle.alma.records import PatronRecord, Unreadable, xs_date
from patron_lifecycle.policy.model import Deactivate, Policy, Reinstate
from patron_lifecycle.policy.reasons import Caution
from patron_lifecycle.policy.rules import Case, decide

AGAIN_DAYS = 60  # a deactivation so soon after a patron was brought back is told


def cautions_on(case: Case, policy: Policy, expiry_date: date | None, today: date) -> tuple[str, ...]:
    """The cautions on a patron who is changed as `case.policy` says, each as it stands in the detail.

    `policy` is the whole policy of the institution, `expiry_date` the new one that a reinstate was asked for,
    `today` the institution's day, which is what counts for a patron who comes back.
    """
    try:
        match case.policy:
            case Deactivate():
                return tuple(_on_deactivation(case))
            case Reinstate():
                return tuple(_on_reinstatement(case._replace(day=max(case.day, today)), policy, expiry_date))
    except Unreadable:  # what the rules don't read may be of any shape: nothing can be said of it
        pass
    return ()


def _on_deactivation(case: Case) -> Iterator[str]:
    span = timedelta(days=AGAIN_DAYS)
    recent = [back for back in case.brought_back if back.confirmed and timedelta() <= case.day - back.on <= span]
    if not recent:
        return
    back = recent[-1]
    expiry_date = case.record.expiry_date
    if expiry_date != back.expiry_date:
        how = f"since then the expiry date was set to {expiry_date}, maybe by a SIS load"
    elif back.active:
        how = f"the expiry date was still {expiry_date}"
    else:
        how = f"INACTIVE then, set ACTIVE since, maybe by a SIS load; the expiry date was still {expiry_date}"
    yield Caution.DEACTIVATED_AGAIN.about(f"brought back on {back.on}; {how}")


def _on_reinstatement(case: Case, policy: Policy, expiry_date: date | None) -> Iterator[str]:
    if expiry := _past_expiry(case, policy, expiry_date):
        yield Caution.EXPIRY_PAST.about(f"expired on {expiry}")
    if case.record.account_type == "INTERNAL" and case.record.has_external_ids:
        yield Caution.INTERNAL_ACCOUNT.about("with external identifiers")


def _past_expiry(case: Case, policy: Policy, expiry_date: date | None) -> date | None:
    """The past expiry date by which the next deactivations will take the patron, exclusion sets left out of account."""
    deactivate = policy.deactivate
    after = {**case.record.raw, "status": {"value": "ACTIVE"}}
    if expiry_date is not None:
        after["expiry_date"] = xs_date(expiry_date)
    record = PatronRecord(after)
    expiry = record.expiry_date
    if deactivate is None or not deactivate.enabled or expiry is None or expiry >= case.day:
        return None
    later = case.day + timedelta(days=deactivate.grace_days)
    due = decide(Case(case.candidate, record, deactivate, policy.protect, later, in_excluded_set=lambda _: False))
    return expiry if due.eligible else None
