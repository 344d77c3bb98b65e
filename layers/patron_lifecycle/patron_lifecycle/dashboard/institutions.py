"""The table of all institutions: what the last runs came to, what is going on now, and what comes next."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from patron_lifecycle.dashboard.frame import Frame
from patron_lifecycle.policy.reasons import SCHEDULED, Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run, Status
from patron_lifecycle.runs.store import Store
from patron_lifecycle.schedules import Schedule, why_not
from patron_lifecycle.wording import ACTION_NOUNS

LOOK_BACK = 100  # runs: with schedules alone, more than half a year


class Urgency(IntEnum):
    """What a person has to do about an institution; the table goes by it."""

    DECIDE = 0
    MEND = 1
    LOOK = 2
    NOTHING = 3
    DISABLED = 4


class Last(NamedTuple):
    """The last institution run of an action, and the last real one before it if it was a preview."""

    one: InstitutionRun
    real: InstitutionRun | None = None


class Row(NamedTuple):
    """One institution. `now` tells what is open there; `last` and `coming` go by action."""

    institution: Institution
    urgency: Urgency
    now: list[str]
    last: dict[Action, Last]
    coming: dict[Action, str]


LastRuns = Mapping[tuple[str, Action], Last]


def last_runs(store: Store, codes: Collection[str]) -> dict[tuple[str, Action], Last]:
    """The last run of each scheduled action in each of these institutions, as far as `LOOK_BACK` runs go back.

    One query for the runs, and one for each run that is the last of an institution: mostly two to four in all, since a
    schedule starts all institutions together. A query for each institution would be as many as there are institutions.
    """
    newest: dict[tuple[str, Action], Run] = {}
    newest_real: dict[tuple[str, Action], Run] = {}
    for run in store.recent_runs(LOOK_BACK):
        if run.action not in SCHEDULED:
            continue
        for code in run.institutions:
            newest.setdefault((code, run.action), run)
            if run.mode is Mode.APPLY:
                newest_real.setdefault((code, run.action), run)
    asked = {run.run_id for found in (newest, newest_real) for (code, _), run in found.items() if code in codes}
    read = {(one.run_id, one.code): one for run_id in sorted(asked) for one in store.institution_runs(run_id)}
    found = {}
    for key, run in newest.items():
        one = read.get((run.run_id, key[0]))
        real = newest_real.get(key)
        if one is not None:
            before = read.get((real.run_id, key[0])) if real is not None and real.run_id != run.run_id else None
            found[key] = Last(one, before)
    return found


def institutions_view(
    institutions: Iterable[Institution],
    last: LastRuns,
    open_runs: Iterable[InstitutionRun],
    schedules: Mapping[Action, Schedule],
    starts: Mapping[Action, datetime],
    frame: Frame,
) -> str:
    """All institutions, those first for which a person has something to do.

    `open_runs` are the institution runs that have not ended, `starts` when each action is started next.
    """
    open_at: defaultdict[str, list[InstitutionRun]] = defaultdict(list)
    for one in open_runs:
        open_at[one.code].append(one)
    coming = {action: _coming(schedules.get(action, Schedule()), starts.get(action), frame) for action in SCHEDULED}
    rows = [_row(one, last, open_at[one.code], coming, frame) for one in institutions]
    rows.sort(key=lambda row: (row.urgency, row.institution.name.casefold(), row.institution.code))
    return frame.render(
        "institutions",
        rows=rows,
        totals=Counter(row.urgency for row in rows),
        actions=SCHEDULED,
        nouns=ACTION_NOUNS,
        Urgency=Urgency,
    )


def _row(
    institution: Institution,
    last: LastRuns,
    open_runs: list[InstitutionRun],
    coming: dict[Action, str],
    frame: Frame,
) -> Row:
    mine = {action: last[institution.code, action] for action in SCHEDULED if (institution.code, action) in last}
    return Row(
        institution,
        _urgency(institution, mine.values(), open_runs),
        [
            f"{ACTION_NOUNS[one.action]} {_doing(one, frame)}"
            for one in sorted(open_runs, key=lambda one: one.created_at)
        ],
        mine,
        {action: _coming_here(institution, action, coming[action]) for action in SCHEDULED},
    )


def _doing(one: InstitutionRun, frame: Frame) -> str:
    preview = " (preview)" if one.mode is Mode.PREVIEW else ""
    until = f" until {frame.moment(one.paused_until)}" if one.status is Status.PAUSED and one.paused_until else ""
    return f"{one.status.value}{until}{preview}"


def _urgency(institution: Institution, last: Iterable[Last], open_runs: Iterable[InstitutionRun]) -> Urgency:
    """What there is to do. That a real run failed isn't mended by a preview: that needs no right to write."""
    last = list(last)
    ended = [each.one for each in last]
    if any(one.status is Status.HELD for one in open_runs):
        return Urgency.DECIDE
    if not institution.enabled:
        return Urgency.DISABLED
    if any(one.status is Status.FAILED for each in last for one in each if one is not None):
        return Urgency.MEND
    return Urgency.LOOK if any(one.to_look_at for one in ended) else Urgency.NOTHING


def _coming(schedule: Schedule, start: datetime | None, frame: Frame) -> str:
    """When a schedule starts an action, and whether for real."""
    if not schedule.is_on:
        return "by hand only"
    when = schedule.when if start is None else frame.moment(start)
    return f"{when}, {'for real' if schedule.applies else 'preview'}"


def _coming_here(institution: Institution, action: Action, coming: str) -> str:
    why = why_not(institution, action)
    return f"none: {why}" if why else coming
