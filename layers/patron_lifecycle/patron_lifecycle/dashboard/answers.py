"""What the operator answers to a button of the dashboard: HTML for the person who pressed it.

CloudWatch sends the button's own event with a `widgetContext` beside it, whose `forms.all` holds what was filled in.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from patron_lifecycle.dashboard.frame import Frame, is_dark, label_of
from patron_lifecycle.observability import logger
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import RegistryError
from patron_lifecycle.runs.events import OPERATOR_EVENTS, InvalidEvent
from patron_lifecycle.runs.model import Answer, InstitutionRun
from patron_lifecycle.wording import ACTION_NOUNS, counted, one_line

_FIELDS = ("by", "note")  # what a person fills in, as the events name it
_NEXT = {
    Action.DEACTIVATE: "made INACTIVE",
    Action.PURGE: "deleted",
    Action.REINSTATE: "made ACTIVE again",
    Action.RESTORE: "made anew",
}

Event = Mapping[str, Any]


def is_from_dashboard(event: object) -> bool:
    """Whether a dashboard has sent the event, and a person is to be shown the answer."""
    return isinstance(event, Mapping) and "widgetContext" in event


def answer_on_dashboard(
    event: Event,
    carry_out: Callable[[Event], InstitutionRun | dict[str, Any]],
    now: datetime,
    zone: tzinfo = UTC,
) -> str:
    """Carry out a command and tell in HTML what came of it; a mistake as well, with the way to mend it."""
    frame = Frame(now, zone, is_dark(event))
    try:
        done = carry_out(filled_in(event))
    except (InvalidEvent, RegistryError) as problem:
        return frame.render("trouble", title="Nothing was done", lines=str(problem).splitlines())
    except Exception as error:  # noqa: BLE001 - its text may hold anything, and would be shown as it is
        kind = type(error).__name__
        logger.error("a command from the dashboard failed", error=kind)
        told = (
            f"The operator met a {kind}, and it isn't known how far it came. Refresh the dashboard to see what holds "
            "now, then try again; if it comes back, look at the log of the operator function."
        )
        return frame.render("trouble", title="Something went wrong", lines=[told])
    if isinstance(done, InstitutionRun):
        return _decided(done, frame)
    return frame.render("document", document=json.dumps(done, indent=2, ensure_ascii=False))


def filled_in(event: Event) -> dict[str, Any]:
    """The event, with `by` and `note` from the form where it has none itself and its command takes them.

    Raises `InvalidEvent` when a person's name is needed and there is none.
    """
    command = event.get("command")
    model = OPERATOR_EVENTS.get(command) if isinstance(command, str) else None
    takes = model.model_fields if model is not None else {}
    form = _form_of(event)
    found = {name: form[name] for name in _FIELDS if name in takes and name not in event and form.get(name)}
    if "by" in takes and "by" not in event and "by" not in found:
        raise InvalidEvent(f"Fill in who decides, then press {str(command).replace('_', ' ').capitalize()} again.")
    return {**event, **found}


def _form_of(event: Event) -> dict[str, str]:
    """What was filled in, by the names of the fields; nothing that isn't text, and nothing blank."""
    context = event.get("widgetContext")
    forms = context.get("forms") if isinstance(context, Mapping) else None
    fields = forms.get("all") if isinstance(forms, Mapping) else None
    if not isinstance(fields, Mapping):
        return {}
    return {name: one_line(text) for name, text in fields.items() if isinstance(text, str) and one_line(text)}


def _decided(one: InstitutionRun, frame: Frame) -> str:
    verdict = one.verdicts[-1]
    patrons = counted(one.due, "patron")
    if verdict.answer is Answer.APPROVED:
        coming = (
            f"The run goes on by itself: each of the {patrons} is read and judged once more, and whom nothing speaks "
            f"against by then is {_NEXT[one.action]}. See the latest runs for how it goes."
        )
    else:
        coming = "Nobody was changed, and the run has ended here. Mend what held it, then start a new run."
    return frame.render(
        "decided",
        verdict=verdict,
        what=f"{ACTION_NOUNS[one.action]} of {patrons} at {label_of(one)}",
        run_id=one.run_id,
        coming=coming,
    )
