"""Telling libraries of the coming purge: whose turn it is today, and the previews that find out whom it will take."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import NamedTuple

from patron_lifecycle.notices.account import NO_SENDER
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.events import StartRun
from patron_lifecycle.runs.launch import start_run, today_in
from patron_lifecycle.runs.model import Mode, NoticeKind, Trigger
from patron_lifecycle.schedules import next_starts, schedules_of
from patron_lifecycle.settings import Settings

_LATEST = 10  # institution runs of a library that are looked through for a preview


class Announced(NamedTuple):
    """The previews that were started, by run_id with their institutions, or why there are none."""

    runs: dict[str, tuple[str, ...]]
    why_none: str = ""


class _Turn(NamedTuple):
    """The purge day in an institution's time zone, and which of its days of notice has come."""

    day: date
    notice: int


def days_of_notice(notice_days: Iterable[int], ahead: int) -> int | None:
    """Which of the days of notice counts when a purge is so many days ahead: the last that has come; None for none."""
    return min((days for days in notice_days if days >= ahead), default=None)


def key_of(day: date, notice: int) -> str:
    """The key of the notice that tells of the purge of `day`, `notice` days before it."""
    return f"{NoticeKind.COMING_PURGE}#{day}#{notice:03d}"  # so that no key begins like another


def announce(engine: Engine, settings: Settings) -> Announced:
    """Start the previews of the coming purge for the libraries whose day of notice has come. Safe to repeat.

    A day of notice on which nothing could be done, or whose preview failed, is made up for on the following days, as
    long as the next one hasn't come; no preview is started beside one that goes on, nor a second one on the same day.
    The reporter mails what a preview finds.
    """
    now = engine.now()
    starts = next_starts(settings, now).get(Action.PURGE)
    if starts is None or not schedules_of(settings)[Action.PURGE].applies:
        return Announced({}, "the monthly purge doesn't start by itself, or only as a preview")
    if not settings.notice_sender:
        return Announced({}, NO_SENDER)
    turns: defaultdict[_Turn, list[str]] = defaultdict(list)
    for institution in _to_be_told(engine.store.institutions()):
        turn = _turn_of(institution, starts, now)
        if turn is None:
            continue
        is_told = engine.store.notices(institution.code, key_of(turn.day, turn.notice))
        if not is_told and not _is_looked_at(institution.code, turn.day, engine, now):
            turns[turn].append(institution.code)
    return Announced({_start(turn, tuple(codes), engine, now): tuple(codes) for turn, codes in turns.items()})


def _to_be_told(institutions: Iterable[Institution]) -> Iterator[Institution]:
    for one in institutions:
        purge = one.policy.purge
        if one.enabled and one.notices and one.contacts and purge is not None and purge.enabled:
            yield one


def _turn_of(institution: Institution, starts: datetime, now: datetime) -> _Turn | None:
    day = today_in(institution, starts)
    ahead = (day - today_in(institution, now)).days
    notice = days_of_notice(institution.notice_days, ahead)
    return None if notice is None or ahead < 1 else _Turn(day, notice)


def _is_looked_at(code: str, day: date, engine: Engine, now: datetime) -> bool:
    """Whether a preview of the purge of `day` goes on, be it after a pause, or was started today."""
    for one in engine.store.institution_runs_of(code, _LATEST):
        is_alike = (one.action, one.mode, one.as_of) == (Action.PURGE, Mode.PREVIEW, day)
        if is_alike and (one.status.keeps_lease or one.created_at.date() == now.date()):
            run = engine.store.run(one.run_id)
            if run is not None and run.trigger is Trigger.SCHEDULE and run.launched:
                return True
    return False


def _start(turn: _Turn, codes: tuple[str, ...], engine: Engine, now: datetime) -> str:
    event = StartRun(
        action=Action.PURGE, mode=Mode.PREVIEW, institutions=codes, as_of=turn.day, trigger=Trigger.SCHEDULE
    )
    # The same run, if its start went wrong halfway and is repeated.
    these = hashlib.sha256(" ".join(codes).encode()).hexdigest()[:16]
    request_id = f"coming purge {turn.day}, notice of {turn.notice} days, {now:%Y-%m-%d} {these}"
    return start_run(event, request_id, engine.store, engine.queue, engine.now).run_id
