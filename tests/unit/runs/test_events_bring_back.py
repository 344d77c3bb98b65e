"""Events that bring patrons back: what they may say, a sentence for each mistake, and no patron's id in any of them."""

import contextlib
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.events import MAX_PATRON_IDS, InvalidEvent, parse_operator, parse_start

ONE = ["01OHIO_AAA"]


def sentences(event: dict[str, Any]) -> list[str]:
    """What is told of an event with mistakes."""
    with pytest.raises(InvalidEvent) as raised:
        parse_start(event)
    first, *problems = str(raised.value).split("\n")
    assert first == "The event has mistakes. Nothing was done. Mend:"
    return [problem.removeprefix("- ") for problem in problems]


@pytest.mark.parametrize(
    "event",
    [
        {"action": "reinstate", "patron_ids": ["A1"], "institutions": ONE},
        {"action": "reinstate", "set_id": "55", "institutions": ONE, "expiry_date": "2027-06-30"},
        {"action": "reinstate", "source_run_id": "deactivate-1"},
        {"action": "reinstate", "source_run_id": "deactivate-1", "institutions": ["01OHIO_AAA", "01OHIO_BBB"]},
        {"action": "restore", "source_run_id": "purge-1"},
        {"action": "restore", "source_run_id": "purge-1", "institutions": ["01OHIO_AAA", "01OHIO_BBB"]},
        {"action": "restore", "source_run_id": "purge-1", "patron_ids": ["A1", "B2"], "institutions": ONE},
        {"action": "restore", "source_run_id": "purge-1", "patron_ids": ["A1"], "institutions": [*ONE, *ONE]},
        {"action": "restore", "source_run_id": "purge-1", "set_id": None, "patron_ids": None},
    ],
)
def test_every_way_to_say_whom_to_bring_back_is_read(event: dict[str, Any]) -> None:
    """Each form is taken as it is; what is null isn't said."""
    parsed = parse_start({"mode": "apply", **event})
    assert parsed.action is Action(event["action"])
    said = {key: value for key, value in event.items() if value is not None and key not in ("action", "expiry_date")}
    told = {key: value for key, value in parsed.model_dump().items() if key in said}
    assert told == {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    assert parsed.expiry_date == (date(2027, 6, 30) if "expiry_date" in event else None)


def test_ids_are_taken_once_each_without_outer_blanks() -> None:
    """The same patron in another case, or with blanks around, is one patron, in the order and case first named."""
    ids = [" Fern ", "reed", "FERN", "REED ", "a b#/%"]
    parsed = parse_start({"action": "reinstate", "patron_ids": ids, "institutions": ONE})
    assert parsed.patron_ids == ("Fern", "reed", "a b#/%")


def test_as_many_ids_as_allowed_are_taken() -> None:
    """A thousand, of 255 characters each."""
    ids = [f"{number:0255}" for number in range(MAX_PATRON_IDS)]
    assert len(parse_start({"action": "reinstate", "patron_ids": ids, "institutions": ONE}).patron_ids or ()) == 1000


PLACE = (
    "patron_ids: holds no primary id at place 2: it is empty, longer than 255 characters, or has characters that "
    "can't be seen"
)
SOMEBODY_ELSE = "since the same id is somebody else in another; name one"


@pytest.mark.parametrize(
    ("event", "problems"),
    [
        (
            {"action": "reinstate"},
            ["reinstate takes exactly one of patron_ids, set_id, source_run_id; none is given"],
        ),
        (
            {"action": "reinstate", "patron_ids": ["A1"], "set_id": "5", "institutions": ONE},
            ["reinstate takes exactly one of patron_ids, set_id, source_run_id; patron_ids and set_id are given"],
        ),
        (
            {"action": "reinstate", "patron_ids": ["A1"], "source_run_id": "deactivate-1", "institutions": ONE},
            [
                "reinstate takes exactly one of patron_ids, set_id, source_run_id; "
                "patron_ids and source_run_id are given"
            ],
        ),
        (
            {"action": "reinstate", "patron_ids": ["A1"], "set_id": "5", "source_run_id": "x", "institutions": ONE},
            [
                "reinstate takes exactly one of patron_ids, set_id, source_run_id; "
                "patron_ids and set_id and source_run_id are given"
            ],
        ),
        (
            {"action": "restore"},
            ["restore needs source_run_id: the purge whose patrons are to come back"],
        ),
        (
            {"action": "restore", "patron_ids": ["A1"], "institutions": ONE},
            ["restore needs source_run_id: the purge whose patrons are to come back"],
        ),
        (
            {"action": "restore", "source_run_id": "purge-1", "set_id": "5", "institutions": ONE},
            ["restore takes no set_id: who was deleted is in no set. Give source_run_id"],
        ),
        (
            {"action": "reinstate", "patron_ids": ["A1"]},
            [f"institutions: patron_ids goes with exactly one institution, {SOMEBODY_ELSE}"],
        ),
        (
            {"action": "reinstate", "set_id": "5", "institutions": ["01OHIO_AAA", "01OHIO_BBB"]},
            [f"institutions: set_id goes with exactly one institution, {SOMEBODY_ELSE}"],
        ),
        (
            {"action": "restore", "source_run_id": "purge-1", "patron_ids": ["A1"]},
            [f"institutions: patron_ids goes with exactly one institution, {SOMEBODY_ELSE}"],
        ),
        (
            {"action": "deactivate", "patron_ids": ["A1"], "institutions": ONE},
            ["deactivate takes no patron_ids: only reinstate and restore do"],
        ),
        (
            {"action": "purge", "source_run_id": "purge-1", "expiry_date": "2027-06-30"},
            ["purge takes no source_run_id, expiry_date: only reinstate and restore do"],
        ),
        (
            {"action": "purge", "set_id": "5", "institutions": ONE},
            ["purge takes no set_id: only reinstate and restore do"],
        ),
        (
            {"action": "deactivate", "expiry_date": "2027-06-30"},
            ["deactivate takes no expiry_date: only reinstate and restore do"],
        ),
        (
            {"action": "reinstate", "patron_ids": [], "institutions": ONE},
            ["patron_ids: is empty; name at least one patron"],
        ),
        (
            {"action": "reinstate", "patron_ids": "A1", "institutions": ONE},
            ['patron_ids: should be a list of primary ids, such as ["A00123456"]'],
        ),
        (
            {"action": "reinstate", "patron_ids": {"A1": "A1"}, "institutions": ONE},
            ['patron_ids: should be a list of primary ids, such as ["A00123456"]'],
        ),
        (
            {"action": "reinstate", "patron_ids": ["A1", 7], "institutions": ONE},
            ["patron_ids: holds what isn't text, at place 2; put each id in quotes"],
        ),
        ({"action": "reinstate", "patron_ids": ["A1", " "], "institutions": ONE}, [PLACE]),
        ({"action": "reinstate", "patron_ids": ["A1", "x" * 256], "institutions": ONE}, [PLACE]),
        ({"action": "reinstate", "patron_ids": ["A1", "A\n2"], "institutions": ONE}, [PLACE]),
        (
            {"action": "reinstate", "patron_ids": ["x"] * 1001, "institutions": ONE},
            ["patron_ids: has 1,001 ids, more than 1,000; send them in several events"],
        ),
        (
            {"action": "reinstate", "set_id": " ", "institutions": ONE},
            ["set_id: is empty"],
        ),
        (
            {"action": "reinstate", "set_id": 55, "institutions": ONE},
            ["set_id: is 55, should be text; put it in quotes"],
        ),
        ({"action": "restore", "source_run_id": ""}, ["source_run_id: is empty"]),
        (
            {"action": "restore", "source_run_id": ["purge-1"]},
            ['source_run_id: is ["purge-1"], should be text'],
        ),
        (
            {"action": "restore", "source_run_id": "purge-1", "expiry_date": "30.6.2027"},
            ['expiry_date: is "30.6.2027", which is no day; give one such as 2026-11-23'],
        ),
        (
            {"action": "reinstate", "patron_id": ["A1"], "institutions": ONE},
            ["patron_id: unknown key; did you mean patron_ids?"],
        ),
    ],
)
def test_every_mistake_is_told_in_a_sentence(event: dict[str, Any], problems: list[str]) -> None:
    """What was wrong, where, and what to do; nothing is started."""
    assert sentences(event) == problems


# Ids that no sentence has by itself: long, and of letters that are in no word of it.
ids = st.text("XQZ0123456789", min_size=9, max_size=20)
broken_text = st.sampled_from(("\ud800", "x\udfff", "\x00", "\n", " ", "", "x" * 300))
odd_values = st.none() | st.booleans() | st.integers() | st.floats() | broken_text
nested = st.recursive(
    ids | odd_values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ids | broken_text, inner, max_size=3),
    max_leaves=8,
)


def ids_in(value: object) -> set[str]:
    """All ids of ours in a value, keys included."""
    if isinstance(value, str):
        return {value} if len(value) >= 9 and set(value) <= set("XQZ0123456789") else set()
    if isinstance(value, dict):
        return {found for part in (*value, *value.values()) for found in ids_in(part)}
    return {found for part in value for found in ids_in(part)} if isinstance(value, list) else set()


def told_of(parse: Callable[[object], object], event: object) -> str:
    """What is told of an event; nothing when it has no mistakes."""
    try:
        parse(event)
    except InvalidEvent as error:
        return str(error)
    return ""


@settings(max_examples=300)
@given(
    value=st.lists(ids | odd_values, max_size=5) | nested | st.lists(ids, min_size=1, max_size=3),
    more=st.fixed_dictionaries(
        {"action": st.sampled_from(("reinstate", "restore", "deactivate", "purge", "drop"))},
        optional={
            "institutions": st.sampled_from((ONE, [], ["a", "b"])),
            "source_run_id": st.sampled_from(("purge-1", "")),
            "set_id": st.sampled_from(("5", 5)),
            "expiry_date": st.sampled_from(("2027-06-30", "soon", float("nan"))),
            "mode": st.sampled_from(("apply", "aply", "\ud800")),
        },
    ),
    is_first=st.booleans(),
)
def test_no_id_of_a_patron_is_in_any_sentence(value: Any, more: dict[str, Any], *, is_first: bool) -> None:
    """Whatever is given for patron_ids, and whatever else is wrong: the text, which is logged, names no patron."""
    event = {"patron_ids": value, **more} if is_first else {**more, "patron_ids": value}
    told = told_of(parse_start, event)
    assert not [one for one in ids_in(value) if one[:6] in told]


@given(
    value=nested,
    more=st.dictionaries(st.sampled_from(("institution", "run_id", "by", "note")), odd_values | st.just("x")),
)
def test_no_id_is_in_what_is_told_of_a_status_event(value: Any, more: dict[str, Any]) -> None:
    """The same holds for the operator's patron_id."""
    told = told_of(parse_operator, {"command": "status", "patron_id": value, **more})
    assert not [one for one in ids_in(value) if one[:6] in told]


@pytest.mark.parametrize("place", ["first", "last"])
def test_what_is_no_json_is_told_without_the_event(place: str) -> None:
    """Half a surrogate pair, which no JSON text can have, is told as that, and the event isn't quoted."""
    ids = {"patron_ids": ["A00123456", "B\ud800"]}
    rest: dict[str, Any] = {"action": "reinstate", "institutions": ONE}
    (told,) = sentences(ids | rest if place == "first" else rest | ids)
    assert told.startswith("can't be read as JSON: ")
    assert told.endswith("; look for half a character, such as \\ud800")
    assert "A00123456" not in told
    assert "{" not in told


@given(value=nested)
def test_whatever_stands_for_patron_ids_is_read_or_refused(value: Any) -> None:
    """Nothing else than an InvalidEvent comes of it."""
    with contextlib.suppress(InvalidEvent):
        parse_start({"action": "reinstate", "institutions": ONE, "patron_ids": value})
