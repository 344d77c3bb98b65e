"""Events: what a person or a schedule may send, and the sentence for what they may not."""

import contextlib
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.events import (
    DaysSince,
    Event,
    InvalidEvent,
    Redrive,
    Register,
    Resume,
    ShowStatus,
    StartRun,
    Tidy,
    parse_operator,
    parse_start,
)
from patron_lifecycle.runs.model import Mode, Trigger

COMMANDS = (
    "command: should be one of register, check, approve, reject, cancel, stop_all, revoke, status, tidy, announce, "
    "resume, redrive, days_since, "
    'in an event such as {"command": "status"}'
)


def test_an_event_of_an_action_alone_is_a_manual_preview_everywhere_today() -> None:
    """What isn't said is the harmless choice."""
    event = parse_start({"action": "deactivate"})
    assert event == StartRun(action=Action.DEACTIVATE)
    assert (event.mode, event.trigger) == (Mode.PREVIEW, Trigger.MANUAL)
    assert event.institutions is None
    assert event.as_of is None
    assert event.request_id is None


def test_everything_that_is_said_is_taken() -> None:
    """All keys of the enumerator's event are read; outer blanks of texts don't count."""
    event = parse_start(
        {
            "action": "deactivate",
            "mode": "apply",
            "institutions": ["01OHIO_BBB", " 01OHIO_AAA "],
            "as_of": "2024-02-29",
            "trigger": "schedule",
            "request_id": " deactivate 2026-11-23T07:00:00Z ",
        }
    )
    assert event.model_dump() == {
        "action": Action.DEACTIVATE,
        "mode": Mode.APPLY,
        "institutions": ("01OHIO_BBB", "01OHIO_AAA"),
        "as_of": date(2024, 2, 29),
        "trigger": Trigger.SCHEDULE,
        "request_id": "deactivate 2026-11-23T07:00:00Z",
        **dict.fromkeys(("patron_ids", "set_id", "source_run_id", "expiry_date")),
    }


def test_null_is_as_good_as_absent() -> None:
    """A schedule or a script may send null for what it doesn't mean to say."""
    event = parse_start({"action": "deactivate", "institutions": None, "as_of": None, "request_id": None})
    assert event == StartRun(action=Action.DEACTIVATE)


@pytest.mark.parametrize(
    ("event", "problems"),
    [
        ({}, ["action: is missing; add it"]),
        ({"action": "delete"}, ['action: is "delete", should be deactivate or purge or reinstate or restore']),
        (
            {"action": "Deactivate"},
            [
                'action: is "Deactivate", should be deactivate or purge or reinstate or restore; '
                "did you mean deactivate?"
            ],
        ),
        ({"mode": "aply"}, ['mode: is "aply", should be preview or apply; did you mean apply?']),
        ({"trigger": "cron"}, ['trigger: is "cron", should be schedule or manual']),
        (
            {"dry_run": True},
            [
                "dry_run: unknown key; known keys are action, mode, institutions, as_of, trigger, request_id, "
                "patron_ids, set_id, source_run_id, expiry_date"
            ],
        ),
        ({"institution": ["01OHIO_AAA"]}, ["institution: unknown key; did you mean institutions?"]),
        ({"asof": "2026-11-23"}, ["asof: unknown key; did you mean as_of?"]),
        (
            {"institutions": []},
            ["institutions: is empty; name at least one, or leave it out for all enabled institutions"],
        ),
        ({"institutions": "01OHIO_AAA"}, ['institutions: is "01OHIO_AAA", should be a list such as ["…"]']),
        ({"institutions": ["01OHIO_AAA", 7]}, ["institutions[1]: is 7, should be text; put it in quotes"]),
        ({"institutions": [" "]}, ["institutions[0]: is empty"]),
        ({"request_id": ""}, ["request_id: is empty"]),
        (
            {"mode": "aply", "asof": 1},
            [
                "asof: unknown key; did you mean as_of?",
                'mode: is "aply", should be preview or apply; did you mean apply?',
            ],
        ),
    ],
)
def test_every_mistake_of_an_event_is_told(event: dict[str, Any], problems: list[str]) -> None:
    """All mistakes are told at once, each by its field, and nothing is started."""
    whole = event if not event or "action" in event else {"action": "deactivate", **event}
    with pytest.raises(InvalidEvent) as raised:
        parse_start(whole)
    assert str(raised.value).split("\n") == [
        "The event has mistakes. Nothing was done. Mend:",
        *(f"- {problem}" for problem in problems),
    ]


@pytest.mark.parametrize(
    "as_of",
    [
        "",
        "today",
        "1763856000",
        "2026-11-23T00:00:00",
        "23.11.2026",
        "2026-02-30",
        "2026-13-01",
        "20261123",
        20261123,
        1.5,
        True,
        ["2026-11-23"],
    ],
)
def test_a_day_that_is_none_is_refused(as_of: object) -> None:
    """as_of is a calendar date in ISO form, and nothing that could be read as one."""
    with pytest.raises(InvalidEvent, match="- as_of: is "):
        parse_start({"action": "deactivate", "as_of": as_of})


@pytest.mark.parametrize("event", [None, [], "deactivate", 5, [{"action": "deactivate"}]])
def test_an_event_is_an_object(event: object) -> None:
    """Anything but a JSON object is refused, by either function."""
    with pytest.raises(InvalidEvent, match="should be a JSON object"):
        parse_start(event)
    with pytest.raises(InvalidEvent, match="command: should be one of register, check, approve, reject, cancel"):
        parse_operator(event)


@pytest.mark.parametrize(
    ("event", "parsed"),
    [
        ({"command": "register", "registry": ""}, Register(command="register", registry="")),
        ({"command": "status"}, ShowStatus(command="status")),
        ({"command": "status", "run_id": "deactivate-1"}, ShowStatus(command="status", run_id="deactivate-1")),
        ({"command": "status", "institution": "01OHIO_AAA"}, ShowStatus(command="status", institution="01OHIO_AAA")),
        ({"command": "status", "registry": True}, ShowStatus(command="status", registry=True)),
        ({"command": "tidy"}, Tidy(command="tidy")),
        ({"command": "redrive"}, Redrive(command="redrive")),
        ({"command": "days_since"}, DaysSince(command="days_since")),
        ({"command": "resume", "run_id": "purge-1"}, Resume(command="resume", run_id="purge-1")),
        ({"command": "status", "widgetContext": {"dashboardName": "x"}}, ShowStatus(command="status")),
    ],
)
def test_operator_commands_are_read(event: dict[str, Any], parsed: Event) -> None:
    """Each command gives its own event; what a CloudWatch dashboard adds of its own is no mistake."""
    before = dict(event)
    assert parse_operator(event) == parsed
    assert event == before


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ({}, COMMANDS),
        ({"command": "drop"}, COMMANDS),
        ({"command": ["status"]}, COMMANDS),
        ({"command": "aprove"}, f"{COMMANDS}; did you mean approve?"),
        ({"action": "purge"}, f"{COMMANDS}; this event is one for the enumerator"),
        ({"command": "approve", "run_id": "purge-1", "institution": "01OHIO_AAA"}, "by: is missing; add it"),
        ({"command": "approve", "run_id": "purge-1", "by": "ana"}, "institution: is missing; add it"),
        ({"command": "reject", "run_id": " ", "institution": "01OHIO_AAA", "by": "ana"}, "run_id: is empty"),
        ({"command": "cancel", "run_id": "purge-1", "by": ""}, "by: is empty"),
        ({"command": "stop_all"}, "by: is missing; add it"),
        ({"command": "check", "institutions": []}, "institutions: is empty; name at least one"),
        ({"command": "register"}, "registry: is missing; add it"),
        (
            {"command": "register", "registry": {"institutions": []}},
            'registry: is {"institutions": []}, should be text',
        ),
        ({"command": "status", "registry": "yes"}, 'registry: is "yes", should be true or false'),
        (
            {"command": "status", "registry": True, "run_id": "1"},
            "registry goes by itself: it is about all institutions",
        ),
        ({"command": "status", "runid": "1"}, "runid: unknown key; did you mean run_id?"),
        ({"command": "tidy", "run_id": "1"}, "run_id: unknown key; known keys are command"),
        ({"command": "redrive", "run_id": "1"}, "run_id: unknown key; known keys are command"),
        ({"command": "days_since", "action": "purge"}, "action: unknown key; known keys are command"),
    ],
)
def test_mistakes_of_operator_events_are_told(event: dict[str, Any], sentence: str) -> None:
    """An unknown command or key, or a missing one, is told with what there is."""
    with pytest.raises(InvalidEvent) as raised:
        parse_operator(event)
    assert sentence in str(raised.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(("action", "mode", "institutions", "as_of", "trigger", "request_id", "command", "registry"))


@given(
    event=st.dictionaries(keys | st.text(max_size=5), json_values | st.sampled_from(("deactivate", "status", "tidy")))
)
def test_any_json_is_an_event_or_a_mistake(event: dict[str, Any]) -> None:
    """Whatever is sent is read, or refused as an invalid event and never with another error."""
    for parse in (parse_start, parse_operator):
        with contextlib.suppress(InvalidEvent):
            assert isinstance(parse(event), Event)
