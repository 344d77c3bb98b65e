"""Starting a run: which institutions, their institution runs, and the first message for each."""

import difflib
import hashlib
import json
from collections.abc import Callable
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from patron_lifecycle.policy.rules import anniversary
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.events import InvalidEvent, StartRun
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run, RunStatus, Skipped, Status, WorkMessage
from patron_lifecycle.runs.queue import Queue
from patron_lifecycle.runs.selection import results_gone
from patron_lifecycle.runs.store import Store

MAX_YEARS_AHEAD = 50  # of a new expiry date; some libraries have expiry dates in 2050


class Started(NamedTuple):
    """The enumerator's answer: institutions queued and left out, with why."""

    run_id: str
    queued: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def start_run(event: StartRun, request_id: str, store: Store, queue: Queue, now: Callable[[], datetime]) -> Started:
    """Start a run, or find the one that this request started before. Raises `InvalidEvent`.

    Safe to repeat at any point: run and institution runs are stored once by their ids, and a message that was
    sent twice is worked on once.
    """
    request_id = event.request_id or request_id
    run_id = f"{event.action}-{hashlib.sha256(request_id.encode()).hexdigest()[:16]}"
    run = store.run(run_id) or _create(event, run_id, request_id, store, now)
    if run.fingerprint != _fingerprint(event):
        raise InvalidEvent(
            f"request_id: {request_id} has started run {run.run_id} with another event before; "
            "send that event again, or use a new request_id"
        )
    if not run.launched:
        launch(run, store, queue)
    return Started(run.run_id, run.institutions, run.skipped)


def _create(event: StartRun, run_id: str, request_id: str, store: Store, now: Callable[[], datetime]) -> Run:
    """A new run as the event asks for it. Raises `InvalidEvent`; then nothing is stored."""
    registered = {institution.code: institution for institution in store.institutions()}
    source = _source_of(event, store)
    chosen, skipped = _choose(event, registered, source, store)
    _check_days(event, chosen, now())
    if event.patron_ids and event.bring_back and chosen:
        store.put_named(run_id, chosen[0].code, event.bring_back.named, event.patron_ids)
    return store.create_run(
        Run(
            run_id=run_id,
            action=event.action,
            mode=event.mode,
            as_of=event.as_of,
            trigger=event.trigger,
            request_id=request_id,
            fingerprint=_fingerprint(event),
            institutions=tuple(institution.code for institution in chosen),
            skipped=tuple(skipped),
            bring_back=event.bring_back,
            status=RunStatus.of({}, len(chosen)),
            launched=not chosen,
            open_count=len(chosen),
            created_at=now(),
            finished_at=None if chosen else now(),
        )
    )


def launch(run: Run, store: Store, queue: Queue) -> None:
    """Store and queue every institution run of `run`. Safe to repeat."""
    registered = {institution.code: institution for institution in store.institutions()}
    for code in run.institutions:
        store.create_institution_run(
            InstitutionRun(
                run_id=run.run_id,
                code=code,
                institution=registered[code],
                action=run.action,
                mode=run.mode,
                as_of=run.as_of,
                bring_back=run.bring_back,
                created_at=run.created_at,
                touched_at=run.created_at,
            )
        )
    queue.send(WorkMessage(run_id=run.run_id, institution=code, seq=0) for code in run.institutions)
    store.mark_launched(run.run_id)


def _source_of(event: StartRun, store: Store) -> Run | None:
    """The run whose patrons are to be brought back. Raises `InvalidEvent` when it is none that could be undone."""
    if event.source_run_id is None:
        return None
    source = store.run(event.source_run_id)
    undone = event.action.undoes
    if source is None:
        why = 'there is no such run, or its results are not kept any longer; {"command": "status"} lists the latest'
    elif source.action is not undone:
        other = f"; {source.action.undone_by} is for that one" if source.action.undone_by else ""
        why = f"that is a run of {source.action}, and {event.action} takes back what a run of {undone} has done{other}"
    elif source.mode is Mode.PREVIEW:
        why = "that was a preview, which changed nobody; name the real run"
    else:
        return source
    raise InvalidEvent(f"source_run_id: {event.source_run_id}: {why}")


def _choose(
    event: StartRun, registered: dict[str, Institution], source: Run | None, store: Store
) -> tuple[list[Institution], list[Skipped]]:
    if not registered:
        raise InvalidEvent('No institution is registered yet: send the operator {"command": "register", "registry": …}')
    chosen, skipped = [], []
    undone = {one.code: one for one in store.institution_runs(source.run_id)} if source else {}
    for code in dict.fromkeys(event.institutions or (source.institutions if source else registered)):
        institution = registered.get(code)
        if institution is None:
            guesses = difflib.get_close_matches(code.upper(), registered, n=1)
            guess = f" (did you mean {guesses[0]}?)" if guesses else ""
            reason = f"not registered: no such code in the registry{guess}; correct it, or add it to institutions.yaml"
        elif not institution.enabled:
            reason = "disabled: set enabled: true in institutions.yaml and register it"
        elif (policy := institution.policy.of(event.action)) is None or not policy.enabled:
            reason = f"{event.action} is not enabled: see policy.{event.action} in institutions.yaml"
        elif source is not None and (why := not_to_be_undone(source, code, undone.get(code))):
            reason = why
        else:
            chosen.append(institution)
            continue
        skipped.append(Skipped(institution=code, reason=reason))
    return chosen, skipped


def not_to_be_undone(source: Run, code: str, one: InstitutionRun | None) -> str:
    """Why a run can't be undone in an institution now, `one` being its institution run there; empty when it can."""
    if one is None and code in source.institutions:
        return results_gone(source.run_id)
    if one is None:
        return f"not part of {source.run_id}, which was for {', '.join(source.institutions) or 'no institution'}"
    if one.status is Status.HELD:
        return f"{source.run_id} is held here and has changed nobody: reject it, if it isn't wanted"
    if one.status.is_open:
        return f"{source.run_id} is still {one.status} here: wait for its end, or cancel it, then undo it"
    return ""


def _check_days(event: StartRun, chosen: list[Institution], now: datetime) -> None:
    for institution in chosen:
        today = today_in(institution, now)
        by = max(today, event.as_of or today)
        if event.expiry_date is not None and event.expiry_date <= by:
            raise InvalidEvent(
                f"expiry_date: {event.expiry_date} is not ahead of {by} at {institution.code}, so that it "
                "would change nothing; give a later day"
            )
        if event.expiry_date is not None and event.expiry_date > anniversary(today, MAX_YEARS_AHEAD):
            raise InvalidEvent(
                f"expiry_date: {event.expiry_date} is more than {MAX_YEARS_AHEAD} years ahead, so that the patrons "
                "would stay for ever; give the day on which they are to expire"
            )
        if event.mode is Mode.APPLY and event.as_of is not None and event.as_of > today:
            raise InvalidEvent(
                f"as_of: {event.as_of} is ahead of today, {today} at {institution.code}; a day ahead is for previews "
                'only: leave as_of out, or use "mode": "preview"'
            )


def past_expiry(one: InstitutionRun, today: date) -> str:
    """Why nobody is brought back with the new expiry date that was asked for, if it isn't ahead any more."""
    asked = one.new_expiry_date
    if asked is None or asked > today:
        return ""
    return (
        f"the new expiry date {asked} was ahead when {one.run_id} was started, and isn't on {today}: start a new run "
        "with a later day"
    )


def _fingerprint(event: StartRun) -> str:
    asked = event.model_dump(mode="json", exclude={"request_id", "trigger"})
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def day_of(institution_run: InstitutionRun, now: datetime) -> date:
    """The day that an institution run judges by: `as_of`, or today in the institution's time zone."""
    return institution_run.as_of or today_in(institution_run.institution, now)


def today_in(institution: Institution, now: datetime) -> date:
    """The day that it is in the institution's time zone."""
    return now.astimezone(ZoneInfo(institution.time_zone)).date()
