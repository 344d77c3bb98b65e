"""How institution runs end, who comes next, and what becomes of those that have stalled."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from patron_lifecycle.observability import count_ended, logger
from patron_lifecycle.policy.reasons import Reason
from patron_lifecycle.runs.launch import launch
from patron_lifecycle.runs.model import InstitutionRun, Status, WorkMessage
from patron_lifecycle.runs.queue import Queue
from patron_lifecycle.runs.store import Conflict, Store

_LATEST = 50  # how many institution runs of one institution are looked through for one that waits
NEVER_STARTED_AFTER = timedelta(days=2)
_VAIN_WAKES_BEFORE_FIRST_SLICE = 3


class Tidied(NamedTuple):
    """What a tidy did: runs launched to the end; institution runs woken and failed, as `run_id/institution`."""

    launched: tuple[str, ...]
    woken: tuple[str, ...]
    failed: tuple[str, ...]


def end(
    institution_run: InstitutionRun, status: Status, reason: str, store: Store, queue: Queue, now: datetime
) -> InstitutionRun:
    """End an institution run, count what has no outcome as what it is, and send the institution's next.

    Raises `Conflict` when it has ended, or gone on, since it was read.
    """
    left = _left_over(institution_run, store)
    counted = institution_run.counting(
        Counter({why.explanation.outcome: count for why, count in left.items()}), Counter(left)
    )
    ended = counted.but(status=status, status_reason=reason, reading=None, finished_at=now, touched_at=now)
    ended, run = store.close(ended)
    logger.info(
        "institution run ended",
        run_id=run.run_id,
        institution=ended.code,
        status=ended.status,
        outcomes=ended.outcomes,
        run_status=run.status,
    )
    count_ended(ended)
    wake_next(institution_run.code, store, queue, now)
    return ended


def wake_next(code: str, store: Store, queue: Queue, now: datetime) -> str | None:
    """Send the institution's oldest waiting institution run a message; its run_id, or None when none waits."""
    for listed in reversed(store.institution_runs_of(code, _LATEST)):
        if listed.status is not Status.QUEUED:
            continue
        waiting = store.institution_run(listed.run_id, code)  # the list may lag behind what was just stored
        if waiting is not None and waiting.status is Status.QUEUED:
            wake(waiting, store, queue, now)
            return waiting.run_id
    return None


def wake(institution_run: InstitutionRun, store: Store, queue: Queue, now: datetime) -> None:
    """Send an institution run its next message.

    The message goes first: when the worker finds a seq ahead of the stored one it goes on with it, so nothing
    is lost if this ends between the two.
    """
    seq = institution_run.seq + 1
    queue.send([WorkMessage(run_id=institution_run.run_id, institution=institution_run.code, seq=seq)])
    try:
        store.save(institution_run.but(seq=seq, touched_at=now))
    except Conflict:
        logger.info("already gone on", run_id=institution_run.run_id, institution=institution_run.code)


def tidy(store: Store, queue: Queue, now: Callable[[], datetime], stalled_after: timedelta) -> Tidied:
    """Leave nothing open for ever: finish what an enumerator left half-launched, wake or fail what has stalled.

    An institution run is stalled when nothing was recorded of it for `stalled_after`: longer than SQS takes to
    give its message back as often as it may. One that waits for another's lease isn't. Since its message may still
    be waiting for a worker, it is sent another first, and failed when that was in vain. What goes wrong with one
    doesn't keep the others from being tidied; the first such error is raised at the end.
    """
    launched = []
    for run in store.unlaunched_runs():
        if now() - run.created_at > stalled_after:
            launch(run, store, queue)
            launched.append(run.run_id)
    woken: list[str] = []
    failed: list[str] = []
    errors: list[Exception] = []
    for found in store.open_institution_runs():
        if now() - found.touched_at <= stalled_after or _waits_for_another(found, store):
            continue
        try:
            why = _why_to_fail(found, now())
            if why:
                end(found, Status.FAILED, why, store, queue, now())
            else:
                wake(found.but(vain_wakes=found.vain_wakes + 1), store, queue, now())
        except Conflict:
            continue  # it has gone on meanwhile
        except Exception as error:  # noqa: BLE001 - one broken item, the next hour's too, must not stop the tidy
            logger.error("could not be tidied", run_id=found.run_id, institution=found.code, error=type(error).__name__)
            errors.append(error)
            continue
        (failed if why else woken).append(f"{found.run_id}/{found.code}")
    if errors:
        raise errors[0]
    return Tidied(tuple(launched), tuple(woken), tuple(failed))


def _why_to_fail(stalled: InstitutionRun, now: datetime) -> str:
    """Why a stalled institution run is to be failed; empty when it is to be woken."""
    if stalled.status is not Status.QUEUED and stalled.vain_wakes:
        trouble = f" Its last trouble: {stalled.trouble.rstrip('.')}." if stalled.trouble else ""
        reason = f"stalled: nothing was recorded since {stalled.touched_at:%Y-%m-%d %H:%M} UTC.{trouble}"
        return f"{reason} Look at the dead-letter queue, and start it again."
    never_started = stalled.status is Status.QUEUED and stalled.vain_wakes >= _VAIN_WAKES_BEFORE_FIRST_SLICE
    if never_started and now - stalled.created_at > NEVER_STARTED_AFTER:
        return "never started: no worker took it for two days. Look at the queue and the worker's errors."
    return ""


def _waits_for_another(institution_run: InstitutionRun, store: Store) -> bool:
    """Whether it is queued behind a run that is still open; a lease that an ended run left is given back."""
    if institution_run.status is not Status.QUEUED:
        return False
    holder = store.lease_holder(institution_run.code)
    if holder is None or holder == institution_run.run_id:
        return False
    holding = store.institution_run(holder, institution_run.code)
    if holding is not None and holding.status.is_open:
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
