"""How many days ago the scheduled actions have finished last: a metric that alarms watch, since they look back a week.

A run that never started raises no alarm of its own; that nothing has finished for too long does.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from patron_lifecycle.observability import logger, put_days_since
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.launch import today_in
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run, Status
from patron_lifecycle.runs.store import Store
from patron_lifecycle.schedules import schedules_of, why_not
from patron_lifecycle.settings import Settings

SCHEDULED = (Action.DEACTIVATE, Action.PURGE)
_READ = timedelta(days=40)  # so far back runs are read as a whole
_LATEST_RUNS = 300  # so many of them at most
_LATEST = 200  # institution runs of an institution that is in none of those


class DaysSince(NamedTuple):
    """Days since an action has finished last, to a tenth: of the institution where that is longest ago.

    `institution` is empty where there is none to count; `why` says what the days are counted from.
    """

    days: float
    institution: str
    why: str


def is_finished(one: InstitutionRun, *, applies: bool) -> bool:
    """Whether it is what the schedule is there for: it has completed, and for real if the schedule's runs are.

    A preview of a day ahead, by which a library is told of the coming purge, isn't.
    """
    if one.status is not Status.COMPLETED or (applies and one.mode is not Mode.APPLY):
        return False
    return one.as_of is None or one.as_of <= today_in(one.institution, one.created_at)


def since_of(runs: Iterable[InstitutionRun], *, applies: bool) -> tuple[datetime, str] | None:
    """From when an institution's days count, and why; None for one that was part of no run yet, being new.

    `runs` are its institution runs of one action, in any order.
    """
    all_runs = list(runs)
    finished = [one.finished_at or one.touched_at for one in all_runs if is_finished(one, applies=applies)]
    if finished:
        return max(finished), "the end of its last finished run"
    created = min((one.created_at for one in all_runs), default=None)
    return None if created is None else (created, "the start of its first run, since none has finished")


def days_since(
    runs: Mapping[str, Sequence[InstitutionRun]], watched_since: datetime, now: datetime, *, applies: bool
) -> DaysSince:
    """Days since an action has finished last, by the institution runs of those that have it enabled, by code.

    No day before `watched_since` counts: the schedule was off until then, or its runs were not for real as now.
    """
    found = {code: since for code, of_it in runs.items() if (since := since_of(of_it, applies=applies)) is not None}
    if not found:
        return DaysSince(_days(watched_since, now), "", "this was looked at first: no run has taken anybody along yet")
    longest_ago, code, why = min((since, code, why) for code, (since, why) in found.items())
    if longest_ago < watched_since:
        longest_ago, why = watched_since, "the first look since its schedule is on as it is now"
    return DaysSince(_days(longest_ago, now), code, why)


def publish_days_since(engine: Engine, settings: Settings) -> dict[str, dict[str, Any]]:
    """Publish the metric of each scheduled action, and give its figures. Safe to repeat."""
    told: dict[str, dict[str, Any]] = {}
    for action in SCHEDULED:
        found = _look(action, engine, settings)
        put_days_since(action, found.days, engine.service)
        logger.info("days since finished run", action=action, **found._asdict())
        told[action.value] = found._asdict()
    return told


def _look(action: Action, engine: Engine, settings: Settings) -> DaysSince:
    schedule, store, now = schedules_of(settings)[action], engine.store, engine.now()
    codes = [one.code for one in store.institutions() if not why_not(one, action)]
    if not schedule.is_on or not codes:
        store.forget_watched(action)
        why = "no institution has it enabled" if schedule.is_on else "its schedule is off"
        return DaysSince(0.0, "", f"nothing is counted: {why}")
    runs = _institution_runs(action, codes, store, now, applies=schedule.applies)
    return days_since(
        runs, store.watched_since(action, applies=schedule.applies, now=now), now, applies=schedule.applies
    )


def _institution_runs(
    action: Action, codes: Iterable[str], store: Store, now: datetime, *, applies: bool
) -> dict[str, list[InstitutionRun]]:
    """Of each institution its last finished institution run or, where the latest runs have none, all there are.

    As a rule the last run over all of them has everything. Only who isn't in any is asked for by itself.
    """
    found: dict[str, list[InstitutionRun]] = {}
    unknown = set(codes)
    for run in store.recent_runs(_LATEST_RUNS):
        if not unknown or now - run.created_at > _READ:
            break
        if not _may_know(run, action, unknown) or (applies and run.mode is not Mode.APPLY):
            continue
        for one in store.institution_runs(run.run_id):
            if one.code in unknown and is_finished(one, applies=applies):
                found[one.code] = [one]
                unknown.discard(one.code)
    for code in sorted(unknown):
        found[code] = [one for one in store.institution_runs_of(code, _LATEST) if one.action is action]
    return found


def _may_know(run: Run, action: Action, unknown: set[str]) -> bool:
    return run.action is action and run.ended.get(Status.COMPLETED, 0) > 0 and not unknown.isdisjoint(run.institutions)


def _days(since: datetime, now: datetime) -> float:
    return round(max(timedelta(0), now - since) / timedelta(days=1), 1)
