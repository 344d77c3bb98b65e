"""Putting back what lies in the dead-letter queue: each institution run goes on from where it was stored last."""

import json
from typing import Any, NamedTuple

from pydantic import ValidationError

from patron_lifecycle.observability import logger
from patron_lifecycle.runs.dead_letters import DeadLetter, DeadLetters
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.lifecycle import send_on, wake
from patron_lifecycle.runs.model import InstitutionRun, Mode, Status, WorkMessage
from patron_lifecycle.runs.trouble import told


class Redriven(NamedTuple):
    """What a redrive did with the messages that it found; those of one institution run are told as one.

    Each of `put_back`, which go on now, and of `left`, which go on by themselves, wait for a person, or have ended,
    has `run_id`, `institution`, `status`, `why` (the last trouble, as far as it was noted), `received` (how often SQS
    has given out the message) and `done`, which says what was done and what is to be done. Messages in `kept` stay in
    the queue: `message_id` and `why`.
    """

    put_back: tuple[dict[str, Any], ...]
    left: tuple[dict[str, Any], ...]
    kept: tuple[dict[str, str], ...]


class _Dealt(NamedTuple):
    """What became of one message: the entry that tells of it, and whether its institution run was put back."""

    entry: dict[str, Any]
    put_back: bool


def redrive(dead_letters: DeadLetters, engine: Engine) -> Redriven:
    """Read the dead-letter queue to its end, and put back whatever may go on. Safe to repeat at any point.

    A message is deleted once its institution run has been sent its next one. What goes wrong with one message leaves
    it in the queue, and doesn't keep the others from being dealt with.
    """
    dealt: dict[tuple[str, str], _Dealt] = {}
    kept: list[dict[str, str]] = []
    for letter in dead_letters.read():
        try:
            message = WorkMessage.model_validate_json(letter.body)
        except ValidationError:
            kept.append(_kept(letter, "it is no message of this service: look at it in SQS, and delete it"))
            continue
        key = (message.run_id, message.institution)
        try:
            one = _deal_with(message, letter, engine)
            dead_letters.delete(letter)
        except Exception as error:  # noqa: BLE001 - one broken item must not keep the others in the queue
            kept.append(_kept(letter, f"{'/'.join(key)} could not be put back: {told(error)}. Try again"))
            continue
        before = dealt.get(key)
        dealt[key] = before if before is not None and before.put_back else one
    return Redriven(
        tuple(one.entry for one in dealt.values() if one.put_back),
        tuple(one.entry for one in dealt.values() if not one.put_back),
        tuple(kept),
    )


def _deal_with(message: WorkMessage, letter: DeadLetter, engine: Engine) -> _Dealt:
    """Let an institution run go on, if the message was its last and it may."""
    stored = engine.store.institution_run(message.run_id, message.institution)
    done, put_back = _put_back(stored, message, engine)
    about: dict[str, Any] = {"run_id": message.run_id, "institution": message.institution}
    status = None if stored is None else stored.status.value
    logger.info("dead letter", **about, message_id=letter.message_id, status=status, put_back=put_back)
    why = _why(stored) if stored is not None else ""
    return _Dealt({**about, "status": status, "why": why, "received": letter.received, "done": done}, put_back)


def _why(stored: InstitutionRun) -> str:
    return stored.trouble or stored.reason_without_persons or "nothing was noted: look at the worker's log"


def _put_back(stored: InstitutionRun | None, message: WorkMessage, engine: Engine) -> tuple[str, bool]:
    """What was done with an institution run, in words, and whether it was sent a message."""
    if stored is None:
        return "nothing: no such institution run is kept (any longer)", False
    if stored.status is Status.PAUSED:
        send_on([stored], engine)
        return "resumed; without calls to spare it pauses again", True
    if stored.status is Status.HELD:
        return "nothing: it is held, and waits for approve or reject", False
    if not stored.status.goes_on:
        return f"nothing: it has ended.{_what_to_do(stored)}", False
    if message.seq < stored.seq:
        return "nothing: it was sent a newer message since, and goes on with that one", False
    again = stored.but(seq=max(stored.seq, message.seq), idle_slices=0, vain_wakes=0, stalled_since=engine.now())
    wake(again, engine)
    return "put back: it goes on from where it was stored last", True


def _what_to_do(ended: InstitutionRun) -> str:
    """How to begin again what has failed; empty for what nobody has to begin again."""
    if ended.status is not Status.FAILED:
        return ""
    event: dict[str, Any] = {"action": ended.action.value, "mode": ended.mode.value, "institutions": [ended.code]}
    if ended.mode is Mode.PREVIEW and ended.as_of is not None:
        event["as_of"] = ended.as_of.isoformat()
    named = ""
    if (back := ended.bring_back) is not None:
        told_of = {"set_id": back.set_id, "source_run_id": back.source_run_id, "expiry_date": back.expiry_date}
        event |= {key: str(value) for key, value in told_of.items() if value is not None}
        named = ", with the patron_ids of then," if back.named else ""
    return f" Mend the cause, and start a new run: send the enumerator{named} {json.dumps(event)}"


def _kept(letter: DeadLetter, why: str) -> dict[str, str]:
    logger.error("dead letter kept", message_id=letter.message_id)
    return {"message_id": letter.message_id, "why": why}
