"""Taken away and brought back is as before: of every patron, in every field that Alma gives back.

All but what Alma sets by itself: the date of the status; and of a patron who was deleted and made anew, what the users
API calls output parameters, and the status, since they come back INACTIVE.
"""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patron_lifecycle.alma.records import is_addressable
from patron_lifecycle.policy.reasons import Outcome
from sandbox.simulator.patrons import coded, expansion, full_name, generate, identifier, note, record, role, xs_date
from sandbox.simulator.swap_all import refuses
from tests.alma_facts import SAMPLES, needs_samples
from tests.unit.runs import test_bringing_back as world
from tests.unit.runs.test_bringing_back import ANY_NUMBER, CODE, bench_of, done, registry
from tests.unit.runs.test_purge import left, reasons
from tests.workbench import TODAY

pytestmark = pytest.mark.untraced

Patron = dict[str, Any]

LAPSED, LONG_GONE = date(2026, 6, 30), date(2020, 5, 31)
SET_BY_ALMA = {"status_date"}
# "Output parameter" in rest_user.xsd; `link` is the list's, and a password is never given.
OUTPUT_ONLY = {
    "status_date",
    "last_patron_activity_date",
    "requests",
    "loans",
    "fees",
    "proxy_for_user",
    "source_link_id",
    "source_institution_code",
    "linking_id",
    "link",
    "password",
}
EVERYBODY_GOES = (
    f"{ANY_NUMBER}, require_inactive: false, respect_purge_date: false, waive_fees_up_to: 1000, vault_days: 7"
)
NOTHING = {"value": "", "desc": ""}


def differing(one: Patron, other: Patron) -> set[str]:
    """The fields in which two records differ."""
    return {name for name in one | other if one.get(name) != other.get(name)}


def without_refused(patron: Patron) -> Patron:
    """The record without the pieces that Alma gives and doesn't take back."""
    contacts = patron["contact_info"]
    parts = (("address", "line1"), ("email", "email_address"), ("phone", "phone_number"))
    kept = {kind: [entry for entry in contacts[kind] if entry.get(part)] for kind, part in parts}
    codes = {name: NOTHING for name in ("user_title", "job_category") if not patron[name]["desc"]}
    roles = [
        one | {"parameter": [each for each in one["parameter"] if each["value"]["desc"]]} for one in patron["user_role"]
    ]
    return patron | codes | {"contact_info": contacts | kept, "user_role": roles}


NAMES = {
    "contact_info": ("address without line1", "email without email_address", "phone without phone_number"),
    "user_title": ("user_title",),
    "job_category": ("job_category",),
    "user_role": ("role parameter",),
}


def ids_of(patron: Patron) -> list[str]:
    """All ids of a patron, without regard to case."""
    return [patron["primary_id"].casefold(), *(one["value"].casefold() for one in patron["user_identifier"])]


def deactivated_and_undone(patrons: Iterable[Patron], expiry_date: date | None = None) -> Counter[str]:
    """Deactivate, undo that, and compare everybody with before; how many came to what in the deactivation."""
    bench = bench_of(*patrons)
    held = {key: dict(one) for key, one in bench.alma.institution(CODE).users.items()}
    before = world.given(bench)
    source = done(bench, "deactivate")
    rows = bench.outcomes(source.run_id)
    deactivated = {key.casefold() for key, row in rows.items() if row.outcome is Outcome.DEACTIVATED}
    assert {key.casefold() for key, status in world.status_of(bench).items() if status == "INACTIVE"} >= deactivated
    judge = world.undoing(bench, source, expiry_date=expiry_date)
    event = {"expiry_date": expiry_date.isoformat()} if expiry_date else {}
    run = done(bench, "reinstate", source_run_id=source.run_id, **event)
    world.is_right(bench, judge, run)
    assert {key.casefold(): told for key, told in reasons(bench, run).items()} == dict.fromkeys(
        deactivated, "reinstated"
    )
    after = world.given(bench)
    assert after.keys() == before.keys()
    expected = SET_BY_ALMA | ({"expiry_date"} if expiry_date else set())
    changed = {key: differing(before[key], after[key]) for key in before}
    assert {key for key, names in changed.items() if names} <= deactivated
    assert all(names <= expected for names in changed.values()), changed
    assert all(after[key]["expiry_date"] == xs_date(expiry_date) for key in deactivated if expiry_date)
    others = {key: one for key, one in bench.alma.institution(CODE).users.items() if key not in deactivated}
    assert others == {key: one for key, one in held.items() if key not in deactivated}
    return Counter(row.reason or row.outcome.value for row in rows.values())


def purged_and_restored(patrons: Iterable[Patron], expiry_date: date | None = None) -> Counter[str]:
    """Purge, restore, and compare everybody with before; how many came to what in the restore."""
    patrons = list(patrons)
    bench = bench_of(*patrons, registered=registry(purge=EVERYBODY_GOES))
    before = world.given(bench)
    source = done(bench, "purge")
    gone = {key.casefold() for key, row in bench.outcomes(source.run_id).items() if row.outcome is Outcome.PURGED}
    assert gone == before.keys() - world.given(bench).keys()
    archived = [one for one in patrons if one["primary_id"].casefold() in gone]
    judge = world.restoring(bench, *archived, expiry_date=expiry_date)
    event = {"expiry_date": expiry_date.isoformat()} if expiry_date else {}
    run = done(bench, "restore", source_run_id=source.run_id, **event)
    shared = {one for one, count in Counter(one for patron in patrons for one in ids_of(patron)).items() if count > 1}
    twins = {patron["primary_id"] for patron in patrons if shared.intersection(ids_of(patron))}
    rows = world.rows_of(bench, run)
    assert judge.wrongs == []
    assert judge.check_outcomes(rows) == []
    assert judge.check_reasons(row for row in rows if row[0] not in twins) == []  # a twin's ids are taken by now
    told = {key.casefold(): row for key, row in bench.outcomes(run.run_id).items()}
    assert told.keys() == gone
    after = world.given(bench)
    came = {key for key, row in told.items() if row.outcome is Outcome.RESTORED}
    assert after.keys() == (before.keys() - gone) | came
    assert all(after[key] == before[key] for key in before.keys() - gone)
    for patron in archived:
        key = patron["primary_id"].casefold()
        if told[key].reason == "id_taken":
            assert patron["primary_id"] in twins
        elif key in came:
            is_as_before(before[key], after[key], told[key].detail, expiry_date)
        else:
            assert refuses(without_refused(patron))
            assert told[key].reason in ("alma_401855", "alma_401864")
    return Counter(str(row.reason or row.outcome.value) for row in told.values())


def is_as_before(before: Patron, after: Patron, detail: str, expiry_date: date | None) -> None:
    """A restored patron is as before, but for what Alma refuses, which the detail names, piece by piece."""
    expected = before | {"status": coded("INACTIVE", "Inactive")}
    if expiry_date is not None:
        expected = before | {"status": coded("ACTIVE", "Active"), "expiry_date": xs_date(expiry_date)}
    if not refuses(before):
        assert (differing(expected, after) - OUTPUT_ONLY, detail) == (set(), "")
        return
    kept = without_refused(before)
    lost = {name: differing({name: before[name]}, {name: kept[name]}) for name in NAMES}
    pieces = {piece for name, pieces in NAMES.items() if lost[name] for piece in pieces}
    contacts = before["contact_info"]
    pieces -= {
        f"{kind} without {part}"
        for kind, part in (("address", "line1"), ("email", "email_address"), ("phone", "phone_number"))
        if contacts[kind] == kept["contact_info"][kind]
    }
    assert differing(expected | {name: kept[name] for name in NAMES}, after) - OUTPUT_ONLY == set()
    assert detail.startswith("left_out: ")
    assert set(detail.removeprefix("left_out: ").split(", ")) == pieces


# ── The patrons of the simulated Alma ─────────────────────────────────────────────────────────────────────────────────


def expired(patrons: Iterable[Patron], expiry: date, status: str) -> list[Patron]:
    """The patrons with an expiry date and a status that make them candidates, without loans, requests and fees."""
    dates = {"expiry_date": xs_date(expiry), "status": coded(status, status.capitalize())}
    return [
        one | dates | {name: expansion(one["primary_id"], name, 0) for name in ("loans", "requests", "fees")}
        for one in patrons
    ]


def test_every_kind_of_patron_is_deactivated_and_undone() -> None:
    """Of all kinds that the simulated Alma knows, as they are, and as if every one of them had expired."""
    came = deactivated_and_undone(generate(CODE, 700, 3, TODAY))
    came += deactivated_and_undone(expired(generate(CODE, 420, 4, TODAY), LAPSED, "ACTIVE"), date(2027, 6, 30))
    assert came["deactivated"] > 300
    assert min(came[code] for code in ("alma_401664", "alma_401855", "alma_401864", "staff", "linked_account")) > 1


def test_every_kind_of_patron_is_purged_and_restored() -> None:
    """As they are, and as if every one of them were long gone; those whom Alma refuses are failed with its code."""
    came = purged_and_restored(generate(CODE, 500, 3, TODAY))
    came += purged_and_restored(expired(generate(CODE, 420, 4, TODAY), LONG_GONE, "INACTIVE"), date(2027, 6, 30))
    assert came["restored"] > 300
    assert came["alma_401855"] > 1
    assert set(came) == {"restored", "alma_401855", "id_taken"}


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 300), everybody=st.booleans())
def test_any_patrons_are_deactivated_and_undone(seed: int, start: int, *, everybody: bool) -> None:
    """Whatever the seed."""
    patrons = generate(CODE, 400, seed, TODAY)[start : start + 60]
    deactivated_and_undone(expired(patrons, LAPSED, "ACTIVE") if everybody else patrons)


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 300), everybody=st.booleans())
def test_any_patrons_are_purged_and_restored(seed: int, start: int, *, everybody: bool) -> None:
    """Whatever the seed."""
    patrons = generate(CODE, 400, seed, TODAY)[start : start + 60]
    purged_and_restored(expired(patrons, LONG_GONE, "INACTIVE") if everybody else patrons)


def test_deactivated_then_purged_they_come_back_as_before_all_of_it() -> None:
    """From ACTIVE over INACTIVE and deleted to ACTIVE again, by three more runs: all but what Alma sets or refuses."""
    bench = bench_of(
        *expired(generate(CODE, 120, 5, TODAY), LONG_GONE, "ACTIVE"),
        registered=registry(purge=f"{ANY_NUMBER}, min_inactive_days: 0, respect_purge_date: false"),
    )
    before = world.given(bench)
    done(bench, "deactivate")
    source = done(bench, "purge")
    gone = before.keys() - world.given(bench).keys()
    assert len(gone) > 80
    done(bench, "restore", source_run_id=source.run_id)
    named = [before[key]["primary_id"] for key in gone]
    run = done(bench, "reinstate", patron_ids=named, institutions=[CODE])
    back = {key for key, told in reasons(bench, run).items() if told == "reinstated"}
    assert len(back) >= len(gone) - 2  # a twin can't come back while the other one has the id
    after = world.given(bench)
    taken = {key: one for key, one in before.items() if not refuses(one)}
    changed = {key: differing(taken[key], after[key]) for key in map(str.casefold, back) if key in taken}
    assert len(changed) > 70
    assert {key: names - OUTPUT_ONLY for key, names in changed.items() if names - OUTPUT_ONLY} == {}


# ── Recorded patrons ──────────────────────────────────────────────────────────────────────────────────────────────────


def recorded() -> dict[str, Patron]:
    """All users in the recorded replies, by file and place."""
    found: dict[str, Patron] = {}
    for file in sorted(SAMPLES.glob("user*.json")) if SAMPLES.is_dir() else []:
        content = json.loads(file.read_bytes())
        rows = content.get("user", [content])
        found |= {f"{file.name} {place}": one for place, one in enumerate(rows) if "primary_id" in one}
    return found


RECORDED = recorded()


def candidate_from(sample: Patron, expiry: date, status: str, **changes: Any) -> Patron:
    """A recorded user with what a list's row lacks, a date and a status that make it a candidate."""
    whole = record(sample["primary_id"]) | sample | changes
    return expired([whole | {"full_name": full_name(whole)}], expiry, status)[0]


def shown(patron: Patron) -> Patron:
    """As Alma gives it of the same patron by GET: a list's row has a link of its own."""
    return patron | {"link": None}


@needs_samples
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_patrons_are_as_before(name: str) -> None:
    """With the title that Alma's table no longer has, and without it; a contact without an id is left alone."""
    sample = shown(RECORDED[name])
    is_contact = sample["primary_id"].startswith("no primary id")
    for changes in ({}, {"user_title": NOTHING}):
        has_orphan = not changes and bool(sample.get("user_title", NOTHING)["value"])
        came = deactivated_and_undone([candidate_from(sample, LAPSED, "ACTIVE", **changes)])
        wanted = "alma_401864" if has_orphan else "deactivated"
        assert came == {"unverifiable" if is_contact else wanted: 1}
        came = purged_and_restored([candidate_from(sample, LONG_GONE, "INACTIVE", **changes)])
        assert came == ({} if is_contact else {"restored": 1})


@needs_samples
def test_recorded_patrons_are_met() -> None:
    """The recorded replies have EXTERNAL and INTERNAL patrons, and a contact."""
    assert len(RECORDED) >= 5
    assert {one.get("account_type", {}).get("value") for one in RECORDED.values()} == {"EXTERNAL", "INTERNAL", None}
    assert all(Path(SAMPLES, name.split()[0]).is_file() for name in RECORDED)


# ── Patrons of any shape ──────────────────────────────────────────────────────────────────────────────────────────────

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=10)
words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=10)
known = st.builds(coded, words, words)
maybe_known = known | st.just(coded(""))
days = st.dates(date(1950, 1, 1), date(2035, 12, 31)).map(xs_date)
segments = st.sampled_from(("Internal", "External"))
ids = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("#/%?&+ .@-ß"), min_size=1, max_size=12
).filter(lambda one: one == one.strip() and is_addressable(one) and one.casefold().strip() == one.casefold())

addresses = st.fixed_dictionaries(
    {
        "line1": words | words | st.none(),
        "line2": texts | st.none(),
        "city": texts,
        "postal_code": texts,
        "country": st.just({"value": None, "desc": None}) | known,
        "preferred": st.booleans(),
        "segment_type": segments,
        "address_type": st.lists(known, max_size=3),
    },
    optional={"start_date": days, "end_date": days, "address_note": texts},
)
emails = st.fixed_dictionaries(
    {
        "email_address": words | words | st.none(),
        "description": texts | st.none(),
        "preferred": st.booleans(),
        "segment_type": segments,
        "email_type": st.lists(known, max_size=2),
    }
)
phones = st.fixed_dictionaries(
    {
        "phone_number": words | words | st.just(""),
        "preferred": st.booleans(),
        "preferred_sms": st.booleans(),
        "segment_type": segments,
        "phone_type": st.lists(known, max_size=2),
    }
)
contacts = st.fixed_dictionaries(
    {
        "address": st.lists(addresses, max_size=3),
        "email": st.lists(emails, max_size=2),
        "phone": st.lists(phones, max_size=2),
    }
)
notes = st.builds(
    lambda text, day, viewable, popup, segment: (
        note(text, day) | {"user_viewable": viewable, "popup_note": popup, "segment_type": segment}
    ),
    texts,
    st.dates(date(2000, 1, 1), TODAY),
    st.booleans(),
    st.booleans(),
    segments,
)
blocks = st.fixed_dictionaries(
    {
        "block_type": known,
        "block_description": known,
        "block_status": st.sampled_from(("ACTIVE", "INACTIVE")),
        "block_note": texts | st.none(),
        "created_by": texts,
        "created_date": st.just("2024-02-29T09:30:00Z"),
        "segment_type": segments,
    },
    optional={"expiry_date": st.just("2027-02-28T09:30:00Z")},
)
statistics = st.fixed_dictionaries(
    {"statistic_category": known, "segment_type": segments}, optional={"category_type": known, "statistic_note": texts}
)
parameters = st.fixed_dictionaries(
    {"type": known, "scope": known, "value": known | st.just(coded("DEFAULT_CIRC_DESK"))}
)
patron_roles = st.builds(
    lambda scope, given, more: role("200", scope=scope) | {"parameter": given} | more,
    words,
    st.lists(parameters, max_size=2),
    st.just({}) | st.just({"expiry_date": "2027-06-30Z"}),
)
inactive_roles = st.builds(
    lambda code, scope: role(code, scope=scope) | {"status": coded("INACTIVE", "Inactive")},
    st.sampled_from(("200", "32", "26")),
    words,
)
accounts = st.sampled_from(
    (
        {"account_type": "INTERNAL", "external_id": ""},
        {"account_type": "EXTERNAL", "external_id": "SIS"},
        {"account_type": "EXTERNAL", "external_id": "Banner & Söhne"},
        {"account_type": "INTEXTAUTH", "external_id": "SIS"},
    )
)
shapes: st.SearchStrategy[Patron] = st.fixed_dictionaries(
    {
        "account": accounts,
        "first_name": texts,
        "middle_name": texts,
        "last_name": words,
        "contact_info": contacts,
        "user_note": st.lists(notes, max_size=3),
        "user_block": st.lists(blocks, max_size=2),
        "user_statistic": st.lists(statistics, max_size=3),
        "user_role": st.lists(patron_roles | inactive_roles, max_size=3),
        "rs_library": st.lists(st.fixed_dictionaries({"code": known}), max_size=2),
        "proxy_for_user": st.just([]),
        "user_title": st.sampled_from((coded(""), coded("DR", "Dr."), {"value": "exdoc", "desc": None})),
        "job_category": st.sampled_from((coded(""), coded("TEACH", "Teaching"), coded("OLDJOB"))),
        "is_researcher": st.booleans(),
        "researcher": st.none() | st.fixed_dictionaries({"orcid": texts}),
    },
    optional={
        "birth_date": days,
        "purge_date": days,
        "last_patron_activity_date": days,
        "pref_first_name": texts,
        "pref_last_name": texts,
        "pref_name_suffix": texts,
        "gender": maybe_known,
        "user_group": known,
        "campus_code": maybe_known | st.just({"value": None, "desc": ""}),
        "preferred_language": maybe_known,
        "cataloger_level": maybe_known,
        "job_description": texts,
        "web_site_url": texts,
    },
)
id_types = st.sampled_from(("BARCODE", "NETID", "UNIV_ID"))
further_ids = st.builds(
    lambda id_type, segment, status, text: (
        identifier(id_type, "", segment_type=segment) | {"status": status, "note": text}
    ),
    id_types,
    segments,
    st.sampled_from(("ACTIVE", "INACTIVE")),
    texts | st.none(),
)


@st.composite
def institutions(draw: st.DrawFn) -> list[Patron]:
    """A few patrons of any shape, each with ids that nobody else has."""
    given_ids = draw(st.lists(ids, min_size=1, max_size=9, unique_by=lambda one: one.casefold()))
    patrons = []
    while given_ids:
        further = [
            draw(further_ids) | {"value": given_ids.pop()}
            for _ in range(draw(st.integers(0, min(3, len(given_ids) - 1))))
        ]
        shape = draw(shapes)
        patrons.append(record(given_ids.pop(), user_identifier=further, **shape.pop("account"), **shape))
    return patrons


@settings(max_examples=60)
@given(
    patrons=institutions(),
    expiry=st.dates(date(2000, 1, 1), TODAY - timedelta(days=7)),
    expiry_date=st.none() | st.dates(TODAY + timedelta(days=1), date(2076, 11, 22)),
)
def test_patrons_of_any_shape_are_deactivated_and_undone(
    patrons: list[Patron], expiry: date, expiry_date: date | None
) -> None:
    """Names, addresses, notes, blocks, statistics, roles, identifiers of whatever make: all is as before."""
    came = deactivated_and_undone(expired(patrons, expiry, "ACTIVE"), expiry_date)
    assert came.total() == len(patrons)
    assert set(came) <= {"deactivated", "alma_401855", "alma_401864", "alma_401664"}


@settings(max_examples=60)
@given(
    patrons=institutions(),
    expiry=st.dates(date(1990, 1, 1), date(2023, 11, 22)),
    status=st.sampled_from(("ACTIVE", "INACTIVE")),
    expiry_date=st.none() | st.dates(TODAY + timedelta(days=1), date(2076, 11, 22)),
)
def test_patrons_of_any_shape_are_purged_and_restored(
    patrons: list[Patron], expiry: date, status: str, expiry_date: date | None
) -> None:
    """All is as before, or, of what Alma refuses, left out and named; whom it refuses altogether is failed."""
    came = purged_and_restored(expired(patrons, expiry, status), expiry_date)
    assert came.total() == len(patrons)
    assert set(came) <= {"restored", "alma_401855"}


def test_ids_of_each_other_let_one_of_two_come_back() -> None:
    """One's barcode is the other's primary id: whoever is made anew first has it, the other is told so."""
    twins = [record("fern"), record("reed", user_identifier=[identifier("BARCODE", "fern")])]
    bench = bench_of(*expired(twins, LONG_GONE, "INACTIVE"), registered=registry(purge=EVERYBODY_GOES))
    source = done(bench, "purge")
    assert left(bench) == set()
    run = done(bench, "restore", source_run_id=source.run_id)
    assert sorted(reasons(bench, run).values()) == ["id_taken", "restored"]
