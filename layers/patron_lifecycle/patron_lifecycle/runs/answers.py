"""What a person says to a run: approve or reject what is held, cancel what goes on, stop everything.

Who said it and when is kept with the institution run. An answer is for one institution run and for its frozen
manifest: whoever joined the set since is not touched by it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.launch import past_expiry, today_in
from patron_lifecycle.runs.lifecycle import end, settled_again, wake
from patron_lifecycle.runs.lookup import known_run, not_in_run
from patron_lifecycle.runs.model import Answer, InstitutionRun, Status, Verdict
from patron_lifecycle.runs.store import Conflict

_RECENT = 100  # runs that are looked through for unfinished ones, beside the index of open institution runs


class Cancelled(NamedTuple):
    """What a cancel did: institutions whose run has ended by it, goes to its next page first, or had ended before."""

    cancelled: tuple[str, ...]
    stopping: tuple[str, ...]
    ended: tuple[str, ...]


def approve(run_id: str, code: str, by: str, note: str, engine: Engine) -> InstitutionRun:
    """Let a held institution run go on. Raises `InvalidEvent` when it can't be approved; then nothing is changed."""
    one = _held(run_id, code, engine)
    _refuse_changed_policy(one, engine)
    _refuse_past_expiry(one, engine)
    verdict = Verdict(answer=Answer.APPROVED, by=by, note=note, at=engine.now())
    approved = one.but(
        status=Status.QUEUED,
        status_reason="",
        verdicts=(*one.verdicts, verdict),
        touched_at=verdict.at,
        idle_slices=0,
        vain_wakes=0,
        stalled_since=None,
    )
    try:
        saved, _ = engine.store.settle(approved)
    except Conflict:
        raise _changed_meanwhile(run_id, code) from None
    wake(saved, engine)
    return saved


def reject(run_id: str, code: str, by: str, note: str, engine: Engine) -> InstitutionRun:
    """End a held institution run; nobody is changed by it. Raises `InvalidEvent` when it isn't held."""
    one = _held(run_id, code, engine)
    verdict = Verdict(answer=Answer.REJECTED, by=by, note=note, at=engine.now())
    rejected = one.but(verdicts=(*one.verdicts, verdict))
    try:
        return end(rejected, Status.REJECTED, f"{verdict}. Nothing was changed.", engine)
    except Conflict:
        raise _changed_meanwhile(run_id, code) from None


def cancel(run_id: str, code: str | None, by: str, engine: Engine) -> Cancelled:
    """Stop a run, or one institution's part of it: at once where it waits, at the next page where it is at work.

    Safe to repeat. Raises `InvalidEvent` for a run or an institution that there isn't.
    """
    run = known_run(run_id, engine.store)
    if code is not None and code not in run.institutions:
        raise not_in_run(run, code)
    codes = (code,) if code else run.institutions
    verdict = Verdict(answer=Answer.CANCELLED, by=by, at=engine.now())
    _ask_to_stop(run_id, codes, verdict, engine)
    return _end_what_waits(run_id, codes, verdict, engine)


def stop_all(by: str, engine: Engine) -> dict[str, Cancelled]:
    """Cancel every run that has not ended; what became of each, by run_id."""
    store = engine.store
    unfinished = {one.run_id: None for one in store.open_institution_runs()}
    # The index may lag behind what was started a moment ago, and half-launched runs aren't in it.
    unfinished |= {
        run.run_id: None for run in (*store.unlaunched_runs(), *store.recent_runs(_RECENT)) if run.open_count
    }
    runs = [run for run in map(store.run, unfinished) if run is not None and run.open_count]
    verdict = Verdict(answer=Answer.CANCELLED, by=by, at=engine.now())
    for run in runs:
        _ask_to_stop(run.run_id, run.institutions, verdict, engine)
    return {run.run_id: _end_what_waits(run.run_id, run.institutions, verdict, engine) for run in runs}


def _ask_to_stop(run_id: str, codes: Iterable[str], verdict: Verdict, engine: Engine) -> None:
    """Let no slice begin another page. All of it comes before anything is ended, which may fail halfway."""
    for code in codes:
        one = engine.store.institution_run(run_id, code)
        if one is None or one.status.is_open:
            engine.store.put_halt(run_id, code, verdict)


def _end_what_waits(run_id: str, codes: Iterable[str], verdict: Verdict, engine: Engine) -> Cancelled:
    cancelled, stopping, ended = [], [], []
    for code in codes:
        one = engine.store.institution_run(run_id, code)
        if one is not None and not one.status.is_open:
            if one.status is Status.CANCELLED:
                settled_again(one, engine)  # by a cancel before this one, which may have failed halfway
            ended.append(code)
        elif (
            one is not None
            and one.status in (Status.QUEUED, Status.HELD, Status.PAUSED)
            and _end_now(one, verdict, engine)
        ):
            cancelled.append(code)
        else:
            stopping.append(code)
    return Cancelled(tuple(cancelled), tuple(stopping), tuple(ended))


def _end_now(one: InstitutionRun, verdict: Verdict, engine: Engine) -> bool:
    try:
        end_cancelled(one, verdict, engine)
    except Conflict:
        return False  # a worker has just begun with it, and finds that it is to stop
    return True


def end_cancelled(one: InstitutionRun, verdict: Verdict, engine: Engine) -> InstitutionRun:
    """End an institution run that somebody has cancelled. Raises `Conflict`."""
    return end(one.but(verdicts=(*one.verdicts, verdict)), Status.CANCELLED, f"{verdict}.", engine)


def _held(run_id: str, code: str, engine: Engine) -> InstitutionRun:
    run = known_run(run_id, engine.store)
    one = engine.store.institution_run(run_id, code)
    if one is None:
        raise not_in_run(run, code)
    if one.status is not Status.HELD:
        if not one.status.is_open:
            settled_again(one, engine)  # what was to be told of its end may have been lost with the first answer
        told = f", {one.verdicts[-1]}" if one.verdicts else ""
        raise InvalidEvent(f"run_id: {run_id} is not held in {code}, it is {one.status}{told}. Nothing was changed")
    if one.held_until is not None and engine.now() >= one.held_until:
        raise InvalidEvent(
            f"run_id: {run_id} was held in {code} until {one.held_until:%Y-%m-%d at %H:%M} UTC, and nobody had "
            "answered by then. Nothing was changed; start a new run"
        )
    return one


def _refuse_changed_policy(one: InstitutionRun, engine: Engine) -> None:
    """Who has been put under protection in the registry since the hold must not go by an old policy."""
    registered = engine.store.institution(one.code)
    if registered is None or not registered.enabled:
        raise InvalidEvent(f"institution: {one.code} has been switched off in the registry. Reject the run")
    if not registered.policy.has_same_rules(one.institution.policy, one.action):
        raise InvalidEvent(
            f"institution: the policy of {one.code} has changed since {one.run_id} was held, and the run would "
            "follow the old one. Reject it, and start a new run"
        )


def _refuse_past_expiry(one: InstitutionRun, engine: Engine) -> None:
    if why := past_expiry(one, today_in(one.institution, engine.now())):
        raise InvalidEvent(f"run_id: it can't be approved: {why}, and reject this one")


def _changed_meanwhile(run_id: str, code: str) -> InvalidEvent:
    return InvalidEvent(f"run_id: {run_id} in {code} has changed this very moment. Look at its status, then try again")
