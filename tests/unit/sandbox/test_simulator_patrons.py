"""The invented patrons."""

import json
from collections import Counter
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.simulator.institutions import expired_and_active, expired_for_years, institution
from sandbox.simulator.patrons import WITHOUT_PRIMARY_ID, coded, generate, record, years_before
from tests.unit.sandbox.simulator_caller import TODAY

COUNT = 4_000


@pytest.fixture(scope="module")
def users() -> list[dict[str, Any]]:
    """Patrons of one institution."""
    return generate("01OHIO_AAA", COUNT, 1, TODAY)


def is_staff(user: dict[str, Any]) -> bool:
    """Whether a protected record type or a role other than Patron makes the user staff."""
    roles = {role["role_type"]["value"] for role in user["user_role"]}
    return user["record_type"]["value"] in ("STAFF", "CONTACT") or roles > {"200"}


def test_same_seed_same_patrons() -> None:
    """Code, seed and day determine the patrons; another seed or code gives others."""
    one = generate("01OHIO_AAA", 50, 1, TODAY)
    assert one == generate("01OHIO_AAA", 50, 1, TODAY)
    assert one != generate("01OHIO_AAA", 50, 2, TODAY)
    assert one != generate("01OHIO_BBB", 50, 1, TODAY)


def test_primary_ids_are_unique(users: list[dict[str, Any]]) -> None:
    """No two patrons have the same primary id, whatever its case."""
    assert len({user["primary_id"].casefold() for user in users}) == COUNT


def test_share_of_a_deactivations_work(users: list[dict[str, Any]]) -> None:
    """Eight to twelve in a hundred are ACTIVE, expired for a week or more, neither staff nor linked copies."""
    due = [
        user
        for user in users
        if expired_and_active(user, TODAY) and not is_staff(user) and "source_link_id" not in user
    ]
    assert 0.08 <= len(due) / COUNT <= 0.12


def test_most_are_current(users: list[dict[str, Any]]) -> None:
    """Most are ACTIVE and not yet expired."""
    current = [
        user
        for user in users
        if user["status"]["value"] == "ACTIVE" and user.get("expiry_date", "")[:10] >= TODAY.isoformat()
    ]
    assert len(current) > COUNT / 2


def test_every_kind_occurs(users: list[dict[str, Any]]) -> None:
    """Each kind of patron that a rule, a selection or a write can stumble over is among them."""
    expiry = Counter(user.get("expiry_date", "none") for user in users)
    for days in (0, 1, 6, 7):
        assert expiry[f"{TODAY - timedelta(days=days)}Z"], days
    assert expiry["2023-11-23Z"], "the third anniversary"
    assert expiry["none"]
    texts = [note["note_text"] for user in users for note in user["user_note"]]
    barcodes = {entry["value"] for user in users for entry in user["user_identifier"]}
    kinds = {
        "long gone, ACTIVE": any(expired_for_years(u, TODAY) and u["status"]["value"] == "ACTIVE" for u in users),
        "no purge date": any("purge_date" not in u and "expiry_date" in u for u in users),
        "purge before expiry": any(u.get("purge_date", "9") < u.get("expiry_date", "") for u in users),
        "STAFF, patron role alone": any(
            u["record_type"]["value"] == "STAFF" and len(u["user_role"]) == 1 for u in users
        ),
        "PUBLIC, staff roles": any(u["record_type"]["value"] == "PUBLIC" and len(u["user_role"]) > 1 for u in users),
        "linked copy": any(u.get("source_institution_code") for u in users),
        "do not expire": any("DO NOT EXPIRE" in text for text in texts),
        "another note": any("DO NOT EXPIRE" not in text for text in texts),
        "block": any(u["user_block"] for u in users),
        "without line1": any(not a["line1"] for u in users for a in u["contact_info"]["address"]),
        "orphan title": any(u["user_title"]["value"] == "exdoc" for u in users),
        "invalid code": any(u["job_category"]["value"] == "OLDJOB" for u in users),
        "role parameter": any(role["parameter"] for u in users for role in u["user_role"]),
        "contact without id": any(u["primary_id"].startswith(WITHOUT_PRIMARY_ID) for u in users),
        "barcode of one, primary id of another": any(u["primary_id"] in barcodes for u in users),
        "several identifiers": any(len(u["user_identifier"]) > 2 for u in users),
        "fees": any(u["fees"]["value"] > 0 for u in users),
        "credit": any(u["fees"]["value"] < 0 for u in users),
    }
    assert [kind for kind, occurs in kinds.items() if not occurs] == []
    assert {u["account_type"]["value"] for u in users} == {"INTERNAL", "EXTERNAL", "INTEXTAUTH"}
    assert set("#/@ %+?&ö") <= set("".join(u["primary_id"] for u in users))


def test_a_small_institution_has_work() -> None:
    """Of 150 patrons, too, some are due."""
    assert 12 <= sum(expired_and_active(user, TODAY) for user in generate("01OHIO_CCC", 150, 4, TODAY)) <= 20


def obstacles(user: dict[str, Any]) -> set[str]:
    """What keeps a long gone patron from being purged, as far as the record tells and no set or text is excluded."""
    fees = user["fees"]["value"]
    active_roles = {role["role_type"]["value"] for role in user["user_role"] if role["status"]["value"] == "ACTIVE"}
    found = {
        "ACTIVE": user["status"]["value"] == "ACTIVE",
        "INACTIVE for some days": user["status"]["value"] == "INACTIVE"
        and user["status_date"][:10] > (TODAY - timedelta(days=14)).isoformat(),
        "purge date ahead": user.get("purge_date", "")[:10] > TODAY.isoformat(),
        "loan": user["loans"]["value"] > 0,
        "request": user["requests"]["value"] > 0,
        "fees": fees > 1,
        "small fee": 0 < fees <= 1,
        "credit": fees < 0,
        "staff by record type alone": user["record_type"]["value"] == "STAFF" and active_roles == {"200"},
        "staff by roles alone": user["record_type"]["value"] == "PUBLIC" and active_roles > {"200"},
        "linked copy": bool(user.get("source_link_id")),
    }
    return {name for name, holds in found.items() if holds}


@pytest.mark.parametrize("count", [150, 200, 300])
def test_a_small_institution_has_one_of_everything_for_a_purge(count: int) -> None:
    """Of the long gone more than half can be purged, whatever is special about them; the others differ in why not."""
    users = generate("01OHIO_BBB", count, 7, TODAY)
    barcodes = {entry["value"] for user in users for entry in user["user_identifier"]}
    long_gone = [user for user in users if expired_for_years(user, TODAY)]
    kept = [obstacles(user) for user in long_gone if obstacles(user)]
    assert all(len(reasons) == 1 for reasons in kept), "each obstacle is met by itself"
    assert set().union(*kept) == {
        "ACTIVE",
        "INACTIVE for some days",
        "purge date ahead",
        "loan",
        "request",
        "fees",
        "small fee",
        "credit",
        "staff by record type alone",
        "staff by roles alone",
        "linked copy",
    }
    free = [user for user in long_gone if not obstacles(user)]
    assert len(long_gone) / 2 < len(free) <= count / 10
    kinds = {
        "no purge date": any("purge_date" not in u for u in free),
        "purge before expiry": any(u.get("purge_date", "9") < u["expiry_date"] for u in free),
        "community": any(u["user_group"]["value"] == "COMMUNITY" for u in free),
        "do not expire": any("DO NOT EXPIRE" in note["note_text"] for u in free for note in u["user_note"]),
        "twin": any(u["primary_id"] in barcodes for u in free),
        "odd id": any(quote(u["primary_id"]) != u["primary_id"] or "@" in u["primary_id"] for u in free),
        "INTEXTAUTH": any(u["account_type"]["value"] == "INTEXTAUTH" for u in free),
        "former staff": any(role["status"]["value"] == "INACTIVE" for u in free for role in u["user_role"]),
        "donor": any(len(u["user_statistic"]) > 1 for u in free),
    }
    assert [kind for kind, occurs in kinds.items() if not occurs] == []


def test_mails_are_examples(users: list[dict[str, Any]]) -> None:
    """Every mail address is at example.edu."""
    mails = [mail["email_address"] for user in users for mail in user["contact_info"]["email"]]
    assert mails
    assert all(mail.endswith("@example.edu") for mail in mails)


def test_records_share_nothing(users: list[dict[str, Any]]) -> None:
    """Records are independent: changing one in place leaves the others as they are."""
    copies = json.dumps(users[1:3])
    users[0]["user_role"][0]["status"]["value"] = "CHANGED"
    users[0]["status"]["value"] = "CHANGED"
    assert json.dumps(users[1:3]) == copies


def test_leap_day() -> None:
    """Three years before a 29 February is the 28th."""
    assert years_before(date(2028, 2, 29), 3) == date(2025, 2, 28)


def test_record_for_tests() -> None:
    """A test's own record takes bare codes, dates, numbers, and None for a field that is to be absent."""
    user = record("x", status="INACTIVE", expiry_date=date(2026, 1, 2), loans=3, purge_date=None, gender=coded("Q"))
    assert user["status"] == {"value": "INACTIVE", "desc": "Inactive"}
    assert user["expiry_date"] == "2026-01-02Z"
    assert user["loans"]["value"] == 3
    assert "purge_date" not in user
    assert user["gender"]["value"] == "Q"


def test_standard_sets() -> None:
    """The standard institution's sets are the documented ones, with members."""
    built = institution("01OHIO_AAA", "Ashland", "k", 400, 1, TODAY)
    sizes = {chosen.name: len(list(built.members(chosen, TODAY))) for chosen in built.sets if chosen.content == "USER"}
    assert sizes["OHIONET purge"] == sum(expired_for_years(user, TODAY) for user in built.users.values()) > 0
    assert sizes["Expired and active"] == sizes["Expired and active, as of the start"] > 0
    assert sizes["Community patrons"] > 0
    assert sizes["OHIONET purge test"] == 0
    assert [chosen.id[-2:] for chosen in built.sets] == ["01", "02", "03", "04", "05", "06", "07", "08"]
    assert built.set_named("OHIONET purge items").content == "ITEM"
    with pytest.raises(KeyError):
        built.set_named("OHIONET")


def test_set_of_those_protected_from_the_purge() -> None:
    """A few long gone patrons are protected, and nothing but the set speaks for them."""
    built = institution("01OHIO_AAA", "Ashland", "k", 150, 1, TODAY)
    protected = list(built.members(built.set_named("Protected from the purge"), TODAY))
    assert 2 <= len(protected) <= 4
    assert all(expired_for_years(user, TODAY) and not obstacles(user) for user in protected)


def test_set_of_those_to_purge_too() -> None:
    """Expired community patrons are named for the purge, the long gone among them and some who aren't."""
    built = institution("01OHIO_AAA", "Ashland", "k", 400, 1, TODAY)
    named = list(built.members(built.set_named("Also to purge"), TODAY))
    assert {user["user_group"]["value"] for user in named} == {"COMMUNITY"}
    assert {expired_for_years(user, TODAY) for user in named} == {True, False}
    assert all(user["expiry_date"][:10] < TODAY.isoformat() for user in named)
