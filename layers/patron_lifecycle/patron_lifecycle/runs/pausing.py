"""Pausing an institution run when Alma's daily calls have come down to the reserve, and letting it go on.

To resume is to send the message that the pause has left unsent, no more: the worker that gets it does the rest. So it
may be done twice, or too early, or be lost and done later, without harm.
"""

from collections.abc import Iterable
from typing import NamedTuple

from patron_lifecycle.observability import logger
from patron_lifecycle.runs.budget import AFTER_RESET, next_reset
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.lifecycle import end, send_on, settle
from patron_lifecycle.runs.lookup import known_run, not_in_run
from patron_lifecycle.runs.model import InstitutionRun, Status
from patron_lifecycle.wording import counted

MAX_IDLE_PAUSES = 7  # days on end, after an alarm on the third


class Resumed(NamedTuple):
    """What a resume did, as `run_id/institution`: who goes on now, and who wasn't paused (any longer)."""

    resumed: tuple[str, ...]
    not_paused: tuple[str, ...]


def pause(institution_run: InstitutionRun, reserve: int, engine: Engine) -> InstitutionRun:
    """Let an institution run wait until Alma renews its daily calls. Raises `Conflict`.

    `reserve` is how many calls were to be left for others. It goes on by a schedule, which is made before anything is
    stored: one too many wakes nobody. Without one the hourly tidy lets it go on. It has failed when day after day it
    had to pause before it got on at all: else it would keep the institution's other runs waiting for ever.
    """
    one, now = institution_run, engine.now()
    until = next_reset(one.institution.policy.pace, now - AFTER_RESET) + AFTER_RESET
    is_another_day = one.paused_until != until  # who resumes it too early makes no other day of it
    idle_pauses = one.idle_pauses + is_another_day if one.idle_slices else 0
    if idle_pauses >= MAX_IDLE_PAUSES:
        return end(one, Status.FAILED, _why_in_vain(one, idle_pauses), engine)
    verb = "is" if one.remaining_calls == 1 else "are"
    left = f"{counted(one.remaining_calls, 'call')} {verb}" if one.remaining_calls else "no call is"
    paused = one.but(
        status=Status.PAUSED,
        status_reason=(
            f"{left} left today, and {reserve:,} are kept for others (reserve_daily_calls). Goes on by itself on "
            f"{until:%Y-%m-%d at %H:%M} UTC, when Alma has renewed its daily calls."
        ),
        pauses=one.pauses + is_another_day,
        idle_pauses=idle_pauses,
        paused_in=one.status,
        paused_until=until,
        paused_reserve=reserve,
        seq=one.seq + 1,
        idle_slices=0,
        vain_wakes=0,
        stalled_since=None,
        trouble="",
        touched_at=now,
    )
    try:
        engine.resumption.plan(paused)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run is to pause, and the tidy resumes it
        logger.error("no schedule to resume", run_id=paused.run_id, institution=paused.code, error=type(error).__name__)
    return settle(paused, engine)


def resume(run_id: str | None, code: str | None, engine: Engine) -> Resumed:
    """Let what is paused go on: all of it, a run's, or an institution's. Raises `InvalidEvent` for what there isn't.

    Who has no calls to spare yet pauses again after a single one.
    """
    named = list(_named(run_id, code, engine))
    paused = [one for one in named if one.status is Status.PAUSED]
    send_on(paused, engine)
    return Resumed(_names(paused), _names(one for one in named if one.status is not Status.PAUSED))


def _why_in_vain(one: InstitutionRun, days: int) -> str:
    untouched = " Nothing was changed." if one.status is Status.SELECTING else ""
    return (
        f"no progress on {days} days: each time it had to leave Alma's daily calls to others before it got on. "
        "See who uses them up, whether pace.reset tells when Alma renews them, and whether reserve_daily_calls and the "
        f"exclusion sets can be made smaller.{untouched}"
    )


def _named(run_id: str | None, code: str | None, engine: Engine) -> Iterable[InstitutionRun]:
    store = engine.store
    if run_id is None:
        if code is not None and store.institution(code) is None:
            raise InvalidEvent(f"institution: {code} is not registered; correct the code, or register it")
        for listed in store.open_institution_runs():
            one = store.institution_run(listed.run_id, listed.code)  # the list may lag behind
            if one is not None and one.status is Status.PAUSED and code in (None, one.code):
                yield one
        return
    run = known_run(run_id, store)
    if code is not None and code not in run.institutions:
        raise not_in_run(run, code)
    yield from (one for one in store.institution_runs(run_id) if code in (None, one.code))


def _names(some: Iterable[InstitutionRun]) -> tuple[str, ...]:
    return tuple(f"{one.run_id}/{one.code}" for one in some)
