"""How institution runs end or are held, who comes next, and what becomes of those that have stalled."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from patron_lifecycle.observability import count_status, logger
from patron_lifecycle.policy.reasons import Reason
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.launch import launch
from patron_lifecycle.runs.model import HOLD_DAYS, InstitutionRun, Run, Status, WorkMessage
from patron_lifecycle.runs.store import Conflict, Store

_LATEST = 50  # how many institution runs of one institution are looked through for one that waits
NEVER_STARTED_AFTER = timedelta(days=2)
_VAIN_WAKES = 3  # at least, before it is failed: nobody may have tidied for two days
_LATE = timedelta(minutes=30)  # so long after its time nothing else resumes a paused one any more


class Tidied(NamedTuple):
    """What a tidy did: runs launched to the end; institution runs woken, failed and rejected: `run_id/institution`."""

    launched: tuple[str, ...]
    woken: tuple[str, ...]
    failed: tuple[str, ...]
    rejected: tuple[str, ...]


def end(institution_run: InstitutionRun, status: Status, reason: str, engine: Engine) -> InstitutionRun:
    """End an institution run, count what has no outcome as what it is, and send the institution's next.

    Raises `Conflict` when it has ended, or gone on, since it was read.
    """
    left = _left_over(institution_run, engine.store)
    counted = institution_run.counting(
        Counter({why.explanation.outcome: count for why, count in left.items()}), Counter(left)
    )
    now = engine.now()
    return settle(
        counted.but(status=status, status_reason=reason, reading=None, finished_at=now, touched_at=now), engine
    )


def hold(institution_run: InstitutionRun, reasons: Sequence[str], engine: Engine) -> InstitutionRun:
    """Let an institution run wait for a person, and send the institution's next. Raises `Conflict` as `end` does."""
    now = engine.now()
    held = institution_run.but(status=Status.HELD, hold_reasons=tuple(reasons), held_at=now, touched_at=now)
    by = f"{held.held_until:%Y-%m-%d at %H:%M} UTC"
    why = f"held until somebody approves or rejects it, rejected by itself on {by}"
    return settle(held.but(status_reason=why), engine)


def settle(changed: InstitutionRun, engine: Engine) -> InstitutionRun:
    """Store an institution run that has ended, or waits from now on, and do what comes after. Raises `Conflict`."""
    settled, run = engine.store.settle(changed)
    logger.info(
        "institution run settled",
        run_id=run.run_id,
        institution=settled.code,
        action=settled.action,
        mode=settled.mode,
        status=settled.status,
        slices=settled.slices,
        calls=settled.calls,
        throttled=settled.throttled,
        outcomes=settled.shown_outcomes,
        run_status=run.status,
    )
    count_status(settled, engine.service)
    _follow_up(settled, run, engine)
    return settled


def settled_again(institution_run: InstitutionRun, engine: Engine) -> None:
    """Do once more what comes after an institution run has ended or waits: its worker may have died before it could."""
    if not institution_run.status.keeps_lease:
        engine.store.release_lease(institution_run.code, institution_run.run_id)
    _follow_up(institution_run, engine.store.run(institution_run.run_id), engine)


def _follow_up(settled: InstitutionRun, run: Run | None, engine: Engine) -> None:
    """Send the institution's next, and tell what has come of this one and, with the last of them, of its run."""
    if not settled.status.keeps_lease:
        wake_next(settled.code, engine)
    engine.notices.institution_run_is(settled)
    if run is not None and run.finished_at is not None:
        engine.notices.run_is_finished(run)


def wake_next(code: str, engine: Engine) -> str | None:
    """Send the institution's oldest waiting institution run a message; its run_id, or None when none waits."""
    for listed in reversed(engine.store.institution_runs_of(code, _LATEST)):
        if listed.status not in (Status.QUEUED, Status.HELD):
            continue
        waiting = engine.store.institution_run(listed.run_id, code)  # the list may lag behind what was just stored
        if waiting is not None and waiting.status is Status.QUEUED:
            wake(waiting, engine)
            return waiting.run_id
    return None


def wake(institution_run: InstitutionRun, engine: Engine) -> None:
    """Send an institution run its next message.

    The message goes first: when the worker finds a seq ahead of the stored one it goes on with it, so nothing
    is lost if this ends between the two.
    """
    seq = institution_run.seq + 1
    engine.queue.send([WorkMessage(run_id=institution_run.run_id, institution=institution_run.code, seq=seq)])
    try:
        engine.store.save(institution_run.but(seq=seq, touched_at=engine.now()))
    except Conflict:
        logger.info("already gone on", run_id=institution_run.run_id, institution=institution_run.code)


def send_on(paused: Iterable[InstitutionRun], engine: Engine) -> None:
    """Send paused institution runs the message with which each goes on."""
    engine.queue.send(WorkMessage(run_id=one.run_id, institution=one.code, seq=one.seq) for one in paused)


def tidy(engine: Engine, stalled_after: timedelta) -> Tidied:
    """Leave nothing open for ever: finish what an enumerator left half-launched, wake or fail what has stalled.

    An institution run is stalled when nothing was recorded of it for `stalled_after`: longer than SQS takes to
    give its message back as often as it may. One that waits for another's lease isn't. It is sent another message each
    time that it is found stalled, so that an outage of hours heals by itself, and is failed when that has been in vain
    for two days: till then a person may mend the cause. Once a worker begins a slice the count starts anew. One that is
    held is rejected when nobody has answered in time; one that is paused is resumed when its schedule hasn't. What goes
    wrong with one doesn't keep the others from being tidied; the first such error is raised at the end.
    """
    store = engine.store
    launched = []
    for run in store.unlaunched_runs():
        if engine.now() - run.created_at > stalled_after:
            launch(run, store, engine.queue)
            launched.append(run.run_id)
    done: dict[Status, list[str]] = {Status.QUEUED: [], Status.FAILED: [], Status.REJECTED: []}
    errors: list[Exception] = []
    for found in store.open_institution_runs():
        try:
            became = _tidied(found, engine, stalled_after)
        except Conflict:
            continue  # it has gone on meanwhile
        except Exception as error:  # noqa: BLE001 - one broken item, the next hour's too, must not stop the tidy
            logger.error("could not be tidied", run_id=found.run_id, institution=found.code, error=type(error).__name__)
            errors.append(error)
            continue
        if became is not None:
            done[became].append(f"{found.run_id}/{found.code}")
    if errors:
        raise errors[0]
    woken, failed, rejected = (tuple(names) for names in done.values())
    return Tidied(tuple(launched), woken, failed, rejected)


def _tidied(found: InstitutionRun, engine: Engine, stalled_after: timedelta) -> Status | None:
    """Tidy one open institution run: what it became, QUEUED for one that was woken, None if it was left alone."""
    now = engine.now()
    if found.status is Status.HELD:
        if found.held_until is None or now < found.held_until:
            return None
        end(found, Status.REJECTED, f"nobody answered within {HOLD_DAYS} days. Nothing was changed.", engine)
        return Status.REJECTED
    if found.status is Status.PAUSED:
        return _resumed_late(found, engine)
    if now - found.touched_at <= stalled_after or _waits_for_another(found, engine.store):
        return None
    if why := _why_to_fail(found, now):
        end(found, Status.FAILED, why, engine)
        return Status.FAILED
    since = found.stalled_since or found.touched_at
    wake(found.but(vain_wakes=found.vain_wakes + 1, stalled_since=since), engine)
    return Status.QUEUED


def _resumed_late(paused: InstitutionRun, engine: Engine) -> Status | None:
    """Resume a paused one whose schedule didn't, or whose message was lost; fail it when that is in vain for days.

    The message goes first, as in `wake`: a worker that has it already meets a conflict at most, and looks again.
    """
    late = engine.now() - (paused.paused_until or paused.touched_at)
    if late <= _LATE:
        return None
    if late > NEVER_STARTED_AFTER and paused.vain_wakes >= _VAIN_WAKES:
        why = f"paused until {paused.paused_until:%Y-%m-%d %H:%M} UTC, and no worker has gone on with it for two days"
        end(paused, Status.FAILED, f"{why}. Look at the queue and the worker's errors, and start it again.", engine)
        return Status.FAILED
    send_on([paused], engine)
    engine.store.save(paused.but(vain_wakes=paused.vain_wakes + 1))
    return Status.QUEUED


def _why_to_fail(stalled: InstitutionRun, now: datetime) -> str:
    """Why a stalled institution run is to be failed; empty when it is to be woken."""
    since = stalled.stalled_since
    if since is None or now - since <= NEVER_STARTED_AFTER or stalled.vain_wakes < _VAIN_WAKES:
        return ""
    trouble = f" Its last trouble: {stalled.trouble.rstrip('.')}." if stalled.trouble else ""
    if stalled.status is Status.QUEUED:
        return f"never started: no worker took it for two days.{trouble} Look at the queue and the worker's errors."
    reason = f"stalled: nothing was recorded since {since:%Y-%m-%d %H:%M} UTC.{trouble}"
    return f"{reason} Look at the dead-letter queue and the worker's errors, and start it again."


def _waits_for_another(institution_run: InstitutionRun, store: Store) -> bool:
    """Whether it is queued behind a run that is still open; a lease that an ended run left is given back."""
    if institution_run.status is not Status.QUEUED:
        return False
    holder = store.lease_holder(institution_run.code)
    if holder is None or holder == institution_run.run_id:
        return False
    holding = store.institution_run(holder, institution_run.code)
    if holding is not None and holding.status.keeps_lease:
        return True
    store.release_lease(institution_run.code, holder)
    return False


def _left_over(institution_run: InstitutionRun, store: Store) -> dict[Reason, int]:
    """How many candidates have no outcome, by the reason that is true of them (see `Page.closed`)."""
    left = institution_run.candidates - sum(institution_run.outcomes.values())
    if not left:
        return {}
    page = store.page(institution_run.run_id, institution_run.code, institution_run.next_page)
    unconfirmed = sum(primary_id in page.eligible for primary_id in page.open_ids)
    return {
        reason: count
        for reason, count in {Reason.UNCONFIRMED: unconfirmed, Reason.NOT_ATTEMPTED: left - unconfirmed}.items()
        if count
    }
