"""The judge of writes and outcomes: each wrong is found, and nothing else."""

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.simulator.alma import Alma
from sandbox.simulator.institutions import Write, expired_for_years
from sandbox.simulator.institutions import institution as standard_institution
from sandbox.simulator.judge import OutcomeRow, Terms, WriteJudge
from sandbox.simulator.patrons import WITHOUT_PRIMARY_ID, coded, identifier, note, record, role
from tests.unit.sandbox.simulator_caller import CODE, KEY, TODAY, Caller, world

PURGE = Terms("purge", TODAY)
DEACTIVATE = Terms("deactivate", TODAY)
STRICT = Terms(
    "purge", TODAY, excluded_groups=frozenset({"community"}), excluded_notes=frozenset({"do not expire", "emeritus"})
)


def gone(primary_id: str = "Rowan.Isar", /, **fields: object) -> dict[str, Any]:
    """A patron whom a purge deletes, with `fields` set over it."""
    usual = {"status": "INACTIVE", "status_date": date(2022, 6, 1), "expiry_date": date(2022, 5, 1)}
    return record(primary_id, **(usual | fields))


def lapsed(primary_id: str = "Rowan.Isar", /, **fields: object) -> dict[str, Any]:
    """A patron whom a deactivation changes, with `fields` set over it."""
    return record(primary_id, **({"expiry_date": date(2026, 10, 1)} | fields))


def put(caller: Caller, primary_id: str, /, **changes: object) -> None:
    """Send a patron back INACTIVE, and with further changes."""
    body = caller.get(f"/users/{primary_id}")
    del body["user_role"]
    caller.put(f"/users/{primary_id}", body | {"status": {"value": "INACTIVE"}} | changes)


def of_delete(user: dict[str, Any], terms: Terms = PURGE, **judging: Any) -> list[str]:
    """What is wrong with deleting this patron, whatever the simulated Alma says to it."""
    judge = WriteJudge(world()[0], terms, **judging)
    judge.see(Write("DELETE", user["primary_id"], user, None, user["primary_id"]))
    return judge.wrongs


def of_put(user: dict[str, Any], terms: Terms = DEACTIVATE, **judging: Any) -> list[str]:
    """What is wrong with making this patron INACTIVE."""
    after = copy.deepcopy(user) | {"status": coded("INACTIVE", "Inactive"), "status_date": "2026-11-23Z"}
    judge = WriteJudge(world()[0], terms, **judging)
    judge.see(Write("PUT", user["primary_id"], user, after, user["primary_id"]))
    return judge.wrongs


def test_a_right_purge_is_right() -> None:
    """Deleting candidates against whom nothing speaks, each once, is no wrong, whatever the case of their ids."""
    institution, call = world(gone(), gone("olive.vah", user_group="FAC"), gone("left.alone", loans=1))
    judge = WriteJudge(institution, STRICT, candidates={"rowan.isar", "OLIVE.VAH", "left.alone"})
    assert call("DELETE", "/users/rowan.isar").status == 204
    assert call("DELETE", "/users/Olive.Vah").status == 204
    assert judge.wrongs == []
    assert [write.primary_id for write in judge.writes] == ["Rowan.Isar", "olive.vah"]


def test_a_right_deactivation_is_right() -> None:
    """Making a candidate INACTIVE and changing nothing else is no wrong."""
    institution, call = world(lapsed(fees=4, loans=2))
    judge = WriteJudge(institution, DEACTIVATE, candidates=["Rowan.Isar"])
    put(call, "rowan.isar")
    assert (judge.wrongs, len(judge.writes)) == ([], 1)


PROTECTED: list[tuple[dict[str, object], str]] = [
    ({"record_type": "STAFF"}, "record type staff"),
    ({"record_type": "CONTACT"}, "record type contact"),
    ({"user_role": [role("200"), role("32")]}, "['32']"),
    ({"user_role": [role("26")]}, "['26']"),
    ({"user_role": [role("32") | {"status": {"value": None}}]}, "['32']"),
    ({"source_institution_code": "01OHIO_ZZZ"}, "copy of another"),
    ({"source_link_id": "1"}, "copy of another"),
    ({"user_group": "COMMUNITY"}, "user group community"),
    ({"user_note": [note("Emeritus; DO NOT expire", TODAY)]}, "note to the contrary"),
    ({"expiry_date": None}, "no expiry date"),
    ({"expiry_date": TODAY}, "expiry is on 2026-11-23"),
    ({"expiry_date": "1 May 2020"}, "can't be judged"),
    ({"user_role": None}, "can't be judged"),
]


@pytest.mark.parametrize(("fields", "why"), PROTECTED)
def test_nothing_may_be_done_to_the_protected(fields: dict[str, object], why: str) -> None:
    """Staff, copies, the excluded, and those without a readable expiry date are not for any action."""
    for wrongs in (of_delete(gone(**fields), STRICT), of_put(lapsed(**fields), replace(STRICT, action="deactivate"))):
        assert any(why in wrong for wrong in wrongs), wrongs


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"expiry_date": date(2023, 11, 23)}, "until the end of 2026-11-23"),
        ({"status": "ACTIVE"}, "is ACTIVE"),
        ({"status": "DELETED"}, "can't be judged"),
        ({"status_date": TODAY - timedelta(days=13)}, "since 2026-11-10 only"),
        ({"status_date": None}, "since when"),
        ({"purge_date": TODAY + timedelta(days=1)}, "purge date 2026-11-24"),
        ({"purge_date": "soon"}, "can't be judged"),
        ({"loans": 1}, "1 loans"),
        ({"requests": 2}, "2 requests"),
        ({"fees": 0.01}, "fees is 0.01"),
        ({"fees": -0.01}, "fees is -0.01"),
        ({"fees": {"value": None}}, "can't be judged"),
        ({"fees": {"value": float("nan")}}, "can't be judged"),
    ],
)
def test_a_wrong_deletion_is_found(fields: dict[str, object], why: str) -> None:
    """Each thing that keeps a patron from being purged is found, by itself."""
    (wrong,) = of_delete(gone(**fields))
    assert wrong.startswith("Rowan.Isar was deleted, but ")
    assert why in wrong


@pytest.mark.parametrize(
    "fields",
    [
        {"expiry_date": date(2023, 11, 22)},
        {"status_date": TODAY - timedelta(days=14)},
        {"purge_date": TODAY},
        {"purge_date": date(2020, 1, 1)},
        {"user_role": [role("200"), role("32") | {"status": {"value": "INACTIVE"}}]},
        {"user_role": []},
        {"user_group": "COMMUNITY"},
        {"user_note": [note("Do not expire", TODAY)]},
        {"account_type": "INTEXTAUTH"},
        {"loans": 0, "requests": 0, "fees": 0.0},
        {"loans": None, "requests": None, "fees": None},
    ],
)
def test_what_is_no_obstacle_is_none(fields: dict[str, object]) -> None:
    """A purge is right to the day, and what no policy excludes is not held against it."""
    assert of_delete(gone(**fields)) == []


@pytest.mark.parametrize(
    ("expiry", "years", "first_day"),
    [
        (date(2020, 2, 29), 3, date(2023, 3, 2)),
        (date(2020, 2, 29), 4, date(2024, 3, 1)),
        (date(2020, 2, 28), 3, date(2023, 3, 1)),
        (date(2021, 3, 1), 3, date(2024, 3, 2)),
        (date(2021, 12, 31), 1, date(2023, 1, 1)),
    ],
)
def test_anniversaries(expiry: date, years: int, first_day: date) -> None:
    """The day after the anniversary is the first one to purge on; a missing 29 February is 1 March."""
    user = gone(expiry_date=expiry, status_date=expiry)
    assert of_delete(user, Terms("purge", first_day, retention_years=years)) == []
    assert len(of_delete(user, Terms("purge", first_day - timedelta(days=1), retention_years=years))) == 1


def test_terms_can_be_laxer() -> None:
    """ACTIVE patrons, purge dates and small sums count only as far as the terms say; sums in both directions."""
    lax = Terms("purge", TODAY, require_inactive=False, respect_purge_date=False, waive_fees_up_to=Decimal("0.5"))
    user = gone(status="ACTIVE", purge_date=date(2030, 1, 1))
    assert of_delete(user | {"fees": {"value": 0.5}}, lax) == []
    assert of_delete(user | {"fees": {"value": -0.5}}, lax) == []
    assert len(of_delete(user | {"fees": {"value": 0.51}}, lax)) == 1
    assert len(of_delete(user | {"fees": {"value": -0.51}}, lax)) == 1
    assert of_delete(gone(record_type="STAFF"), Terms("purge", TODAY, protected_types=frozenset())) == []


def test_exclusion_sets_are_asked_anew() -> None:
    """Who is in an exclusion set, by primary id or any identifier, is not for the run from that moment on."""
    excluded: set[str] = set()
    institution, call = world(
        gone("one"), gone("two"), gone("three", user_identifier=[identifier("BARCODE", "B3")]), gone("four")
    )
    judge = WriteJudge(institution, PURGE, excluded=lambda: excluded)
    call("DELETE", "/users/one")
    assert judge.wrongs == []
    excluded |= {"TWO", "b3"}
    for primary_id in ("two", "three", "four"):
        call("DELETE", f"/users/{primary_id}")
    assert judge.wrongs == [
        "two was deleted, but an exclusion set names ['two']",
        "three was deleted, but an exclusion set names ['b3']",
    ]


def test_members_of_sets_are_known_at_the_moment_of_the_write() -> None:
    """The set of the very patron who goes still names them as the deletion is judged."""
    institution = standard_institution(CODE, "Ashland", KEY, 150, 1, TODAY)
    call = Caller(Alma([institution], per_second=None, today=lambda: TODAY))
    chosen = institution.set_named("Protected from the purge")
    judge = WriteJudge(
        institution, PURGE, excluded=lambda: [user["primary_id"] for user in institution.members(chosen, TODAY)]
    )
    for primary_id in chosen.members:
        call("DELETE", f"/users/{quote(primary_id, safe='')}")
    assert len(judge.wrongs) == len(chosen.members) > 0


def test_another_patron_by_the_same_id_is_found() -> None:
    """A deletion that reaches whoever has the id for a barcode is wrong, candidate or not."""
    institution, call = world(gone(), gone("heir", user_identifier=[identifier("BARCODE", "ROWAN.isar")]))
    judge = WriteJudge(institution, PURGE, candidates={"Rowan.Isar", "heir"})
    call("DELETE", "/users/Rowan.Isar")
    assert judge.wrongs == []
    call("DELETE", "/users/Rowan.Isar")
    assert judge.wrongs == ["heir was deleted, but it was Rowan.Isar who was asked for"]


def test_candidates_are_frozen_at_the_first_write() -> None:
    """Only candidates may be written to: those who were named when the first write was seen."""
    manifest = ["ONE"]
    institution, call = world(gone("one"), gone("two"))
    judge = WriteJudge(institution, PURGE, candidates=lambda: manifest)
    call("DELETE", "/users/one")
    manifest.append("two")
    call("DELETE", "/users/two")
    assert judge.wrongs == ["two was deleted, but that is no candidate"]


def test_a_second_deletion_is_found() -> None:
    """The same primary id is deleted once in a run, even when it came back meanwhile."""
    institution, call = world(gone())
    judge = WriteJudge(institution, PURGE)
    call("DELETE", "/users/Rowan.Isar")
    institution.users["rowan.isar"] = gone()
    call("DELETE", "/users/Rowan.Isar")
    assert judge.wrongs == ["Rowan.Isar was deleted, but not for the first time"]


def test_each_action_has_its_own_method() -> None:
    """A purge changes nobody, a deactivation deletes nobody, neither creates anybody."""
    assert "Rowan.Isar was changed, but that is no way to purge" in of_put(gone(), PURGE)
    assert of_delete(lapsed(), DEACTIVATE) == ["Rowan.Isar was deleted, but that is no way to deactivate"]
    for terms in (PURGE, DEACTIVATE):
        institution, call = world()
        judge = WriteJudge(institution, terms)
        call.post(lapsed())
        assert judge.wrongs == [f"Rowan.Isar was created, but that is no way to {terms.action}"]


def test_a_preview_writes_nothing() -> None:
    """In a preview the rightest write is wrong."""
    (wrong,) = of_delete(gone(), Terms("purge", TODAY, preview=True))
    assert "a preview writes nothing" in wrong
    (wrong,) = of_put(lapsed(), Terms("deactivate", TODAY, preview=True))
    assert "a preview writes nothing" in wrong


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"expiry_date": TODAY - timedelta(days=6)}, "7 days of grace"),
        ({"status": "INACTIVE", "status_date": TODAY}, "INACTIVE before"),
        ({"status": "DELETED"}, "can't be judged"),
    ],
)
def test_a_wrong_deactivation_is_found(fields: dict[str, object], why: str) -> None:
    """Who is INACTIVE, or within the days of grace, is not for a deactivation; on the seventh day they are."""
    (wrong,) = of_put(lapsed(**fields))
    assert why in wrong
    assert of_put(lapsed(expiry_date=TODAY - timedelta(days=7))) == []


def test_a_deactivation_changes_nothing_else() -> None:
    """Whatever else a PUT changes is found: a field, a name, a status that stays."""
    institution, call = world(lapsed("one"), lapsed("two"), lapsed("three", user_note=[note("Large print", TODAY)]))
    judge = WriteJudge(institution, DEACTIVATE)
    put(call, "one", primary_id="eins", external_id="")
    put(call, "two", status={"value": "ACTIVE"})
    put(call, "three", user_note=[])
    assert judge.wrongs == [
        "one was changed, but more was changed than the status: primary_id",
        "two was changed, but the patron ended ACTIVE",
        "three was changed, but more was changed than the status: user_note",
    ]


def ended() -> tuple[WriteJudge, list[OutcomeRow]]:
    """A purge of four candidates that went well, and its outcomes."""
    institution, call = world(gone("one"), gone("Two"), gone("owes", fees=9.0), gone("staff", record_type="STAFF"))
    judge = WriteJudge(institution, PURGE, candidates={"one", "two", "owes", "staff", "missing"})
    call("DELETE", "/users/one")
    call("DELETE", "/users/two")
    return judge, [
        ("one", "purged", None, ""),
        ("Two", "purged", None, "recovered"),
        ("owes", "blocked", "fees", "9.0"),
        ("staff", "skipped", "staff", ""),
        ("missing", "skipped", "not_found", ""),
    ]


def test_true_outcomes_are_true() -> None:
    """Outcomes that tell what happened are not found fault with."""
    judge, rows = ended()
    assert judge.wrongs == judge.check_outcomes(rows) == judge.check_reasons(rows) == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda rows: rows[1:], ["one is a candidate without an outcome", "one was written to, but has no outcome"]),
        (lambda rows: [*rows, ("ONE", "purged", None, "")], ["one has 2 outcomes"]),
        (
            lambda rows: [*rows, ("else", "skipped", "staff", "")],
            ["else has an outcome, but is no candidate"],
        ),
        (
            lambda rows: [("one", "skipped", "loans", ""), *rows[1:]],
            ["one is skipped, but was written to"],
        ),
        (
            lambda rows: [("one", "skipped", "not_found", ""), *rows[1:]],
            ["one is skipped, but was written to"],
        ),
        (lambda rows: [*rows[:4], ("missing", "purged", None, "")], ["missing is purged, but no write was seen"]),
        (
            lambda rows: [*rows[:4], ("missing", "would_purge", None, "")],
            ["missing is would_purge, which is no outcome of a run of purge"],
        ),
        (
            lambda rows: [*rows[:3], ("STAFF", "skipped", "not_found", ""), rows[4]],
            ["STAFF is skipped as not_found, but is there"],
        ),
        (
            lambda rows: [*rows[:3], ("staff", "skipped", "identity_mismatch", ""), rows[4]],
            ["staff is skipped as identity_mismatch, but is there"],
        ),
    ],
)
def test_untrue_outcomes_are_found(change: Callable[[list[OutcomeRow]], list[OutcomeRow]], wrong: list[str]) -> None:
    """Each way in which outcomes can differ from what happened is told."""
    judge, rows = ended()
    assert judge.check_outcomes(change(rows)) == wrong


def test_somebody_elses_deletion_is_not_the_runs() -> None:
    """Who was deleted in Alma by other hands is not found, and not purged."""
    institution, _ = world(gone())
    judge = WriteJudge(institution, PURGE, candidates=["Rowan.Isar"])
    institution.users.clear()
    assert judge.check_outcomes([("Rowan.Isar", "skipped", "not_found", "")]) == []
    assert judge.check_outcomes([("Rowan.Isar", "purged", None, "")]) == ["Rowan.Isar is purged, but no write was seen"]


def test_without_candidates_any_outcome_may_be() -> None:
    """A judge who doesn't know the candidates still holds outcomes and writes against each other."""
    institution, call = world(gone("one"), gone("two"))
    judge = WriteJudge(institution, PURGE)
    call("DELETE", "/users/one")
    assert judge.check_outcomes([("one", "purged", None, ""), ("else", "skipped", "not_found", "")]) == []
    assert judge.check_outcomes([]) == ["one was written to, but has no outcome"]


def test_outcomes_of_a_preview() -> None:
    """A preview ends in `would_…`; what only a run can do, it can't have done."""
    institution, _ = world(lapsed())
    judge = WriteJudge(institution, Terms("deactivate", TODAY, preview=True))
    assert judge.check_outcomes([("Rowan.Isar", "would_deactivate", None, "")]) == []
    assert judge.check_reasons([("Rowan.Isar", "would_deactivate", None, "")]) == []
    assert judge.check_outcomes([("Rowan.Isar", "deactivated", None, "")]) == [
        "Rowan.Isar is deactivated, which is no outcome of a preview of deactivate",
        "Rowan.Isar is deactivated, but no write was seen",
    ]


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        (("one", "skipped", "staff", ""), ["one is skipped as staff, but nothing speaks against"]),
        (("owes", "blocked", "loans", ""), ["owes is blocked as loans, but fees speaks against"]),
        (("owes", "failed", "alma_401860", ""), ["owes is failed, but fees speaks against"]),
        (("owes", "would_purge", None, ""), ["owes is would_purge, but fees speaks against"]),
        (("owes", "blocked", "fees", ""), []),
        (("one", "failed", "alma_401860", ""), []),
        (("one", "blocked", "alma_refused", ""), []),
        (("one", "skipped", "not_attempted", ""), []),
        (("one", "skipped", "unverifiable", "loans"), []),
        (("elsewhere", "skipped", "staff", ""), []),
    ],
)
def test_unfounded_reasons_are_found(row: OutcomeRow, wrong: list[str]) -> None:
    """A reason for leaving somebody alone has to be there; against whom Alma refused nothing speaks."""
    institution, _ = world(gone("one"), gone("owes", fees=9.0))
    assert WriteJudge(institution, PURGE).check_reasons([row]) == wrong


def test_a_purge_of_the_standard_institution() -> None:
    """Of invented patrons exactly those can go against whom nothing speaks, and the others are found one by one."""
    institution = standard_institution(CODE, "Ashland", KEY, 300, 1, TODAY)
    call = Caller(Alma([institution], per_second=None, today=lambda: TODAY))
    judge = WriteJudge(institution, PURGE)
    long_gone = [
        user
        for user in institution.users.values()
        if expired_for_years(user, TODAY) and not user["primary_id"].startswith(WITHOUT_PRIMARY_ID)
    ]
    kept = {user["primary_id"]: found for user in long_gone if (found := judge.objections(user))}
    ids = [user["primary_id"] for user in long_gone]
    for primary_id in ids:
        if primary_id not in kept:
            assert call("DELETE", f"/users/{quote(primary_id, safe='')}").status == 204
    assert judge.wrongs == []
    assert len(judge.writes) > len(long_gone) / 2
    assert {reason for found in kept.values() for reason in found} == {
        "staff",
        "linked_account",
        "still_active",
        "inactive_too_short",
        "purge_date_ahead",
        "loans",
        "fees",
        "requests",
    }
    for primary_id in kept:
        institution.users[primary_id.casefold()]["loans"] = None
        call("DELETE", f"/users/{quote(primary_id, safe='')}")
    with_loans = [primary_id for primary_id, found in kept.items() if "loans" in found]
    assert len(judge.wrongs) == len(kept) - len(with_loans)
