"""A patron's record: read strictly, sent back as it was."""

import copy
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from patron_lifecycle.alma.records import PatronRecord, Unreadable, is_addressable, same_id
from sandbox.simulator.patrons import identifier, note, role
from tests.alma_facts import SAMPLES, needs_samples
from tests.samples import patron


def test_the_fields_that_rules_need_are_read() -> None:
    """A full record gives its id, codes, date, roles, notes and identifiers."""
    record = PatronRecord(
        patron(
            user_group="FAC",
            user_role=[role("200"), role("32")],
            user_note=[note("Prefers large print", date(2024, 1, 1))],
            user_identifier=[identifier("BARCODE", "22001")],
        )
    )
    assert record.primary_id == "fern.arno"
    assert (record.status, record.record_type, record.user_group) == ("ACTIVE", "PUBLIC", "FAC")
    assert record.expiry_date == date(2026, 6, 30)
    assert record.active_roles == {"200", "32"}
    assert record.note_texts == ("Prefers large print",)
    assert record.identifiers == ("fern.arno", "22001")
    assert not record.is_linked


def test_the_body_of_a_deactivation_alters_the_status_alone() -> None:
    """All fields go back as read, but for the new status and the roles, which Alma keeps when they are left out."""
    raw = patron(status="ACTIVE", a_field_of_tomorrow={"value": [1, None]})
    before = copy.deepcopy(raw)
    body = PatronRecord(raw).as_inactive()
    assert body == {field: value for field, value in before.items() if field != "user_role"} | {
        "status": {"value": "INACTIVE"}
    }
    assert raw == before, "the record as read stays as it was"
    assert list(body) == [field for field in before if field != "user_role"]


def test_the_text_of_unreadable_names_the_field_and_never_the_value() -> None:
    """What can't be read is named without showing what the patron's record holds."""
    with pytest.raises(Unreadable) as raised:
        _ = PatronRecord(patron(expiry_date="next spring")).expiry_date
    assert str(raised.value) == "expiry_date can't be read"
    assert raised.value.field == "expiry_date"
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2023-10-31Z", date(2023, 10, 31)),
        ("2023-10-31", date(2023, 10, 31)),
        ("2024-02-29Z", date(2024, 2, 29)),
        ("0001-01-01Z", date.min),
        ("9999-12-31Z", date.max),
        ("", None),
        (None, None),
    ],
)
def test_dates_are_read_as_alma_writes_them(value: str | None, day: date | None) -> None:
    """An XML date with or without Z is a day; an empty or absent one is none."""
    assert PatronRecord({"expiry_date": value}).expiry_date == day
    assert PatronRecord({}).expiry_date is None


@pytest.mark.parametrize(
    "value",
    ["2023-02-29Z", "2023-1-1Z", "2023-10-31z", " 2023-10-31Z", "20231031", "2023-10-31Z\n", "2023-10-31+01:00", 0, []],
)
def test_other_dates_are_unreadable(value: object) -> None:
    """A date that isn't plainly one is never guessed at."""
    with pytest.raises(Unreadable):
        _ = PatronRecord({"expiry_date": value}).expiry_date


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("fern.arno", "FERN.ARNO", True),
        (" fern.arno", "fern.arno ", True),
        ("Größe-1", "GRÖßE-1", True),
        ("fern.arno", "fern.arn", False),
        ("", "fern.arno", False),
        ("0123", "123", False),
    ],
)
def test_ids_are_compared_as_alma_does(one: str, other: str, *, same: bool) -> None:
    """Case and outer blanks make no difference, everything else does."""
    assert same_id(one, other) is same
    assert same_id(other, one) is same


@pytest.mark.parametrize(
    "user_id", ["", " ", ".", "..", "-", "me", "ME", "no primary id (123)", "No Primary Id", "no primary id\n(1)"]
)
def test_some_ids_mean_no_patron(user_id: str) -> None:
    """Ids that a URL or the users API gives another meaning are never asked for."""
    assert not is_addressable(user_id)


@pytest.mark.parametrize("user_id", ["fern.arno", "me2", "...", "a/b", "no primary idea", "ELBE#1", "fern@example.edu"])
def test_odd_ids_are_patrons_all_the_same(user_id: str) -> None:
    """Everything that can be encoded into a URL's segment can be asked for."""
    assert is_addressable(user_id)


def recorded_users() -> Iterator[Any]:
    """Every user object among the recorded samples, list rows included."""
    for path in sorted(SAMPLES.glob("user*.json")):
        document = json.loads(path.read_text("utf-8"))
        for number, row in enumerate(document.get("user", [document])):
            if "primary_id" in row:  # one sample is Alma's answer about a user that isn't there
                yield pytest.param(row, id=f"{path.stem}-{number}")


@needs_samples
@pytest.mark.parametrize("raw", list(recorded_users()))
def test_recorded_users_are_read(raw: dict[str, Any]) -> None:
    """Every recorded user shows its id and status, and a full one all that rules need."""
    record = PatronRecord(raw)
    assert record.primary_id
    assert record.status in ("ACTIVE", "INACTIVE")
    if "record_type" in raw:
        assert record.record_type
        assert record.user_group
        assert record.active_roles
        assert isinstance(record.note_texts, tuple)
        assert record.primary_id in record.identifiers
        assert record.expiry_date is None or record.expiry_date.year > 1990
