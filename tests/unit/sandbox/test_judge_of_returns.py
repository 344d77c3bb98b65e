"""The judge of runs that bring patrons back: each wrong reinstatement or restoration is found, and nothing else."""

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.simulator.alma import Alma
from sandbox.simulator.institutions import SimulatedInstitution, Write, expired_for_years
from sandbox.simulator.institutions import institution as standard_institution
from sandbox.simulator.judge import OutcomeRow, Terms, WriteJudge
from sandbox.simulator.patrons import WITHOUT_PRIMARY_ID, coded, identifier, note, record, role, xs_date
from sandbox.simulator.swap_all import refuses
from tests.unit.sandbox.simulator_caller import CODE, KEY, TODAY, Caller, world

AHEAD = date(2027, 6, 30)
EXPIRY = date(2026, 10, 1)
LEFT = date(2026, 11, 9)
REINSTATE = Terms("reinstate", TODAY)
EXTEND = Terms("reinstate", TODAY, expiry_date=AHEAD)
UNDO = Terms("reinstate", TODAY, left_as={"ROWAN.isar": (LEFT, EXPIRY)})


def inactive(primary_id: str = "Rowan.Isar", /, **fields: object) -> dict[str, Any]:
    """A patron whom a deactivation made INACTIVE, with `fields` set over it."""
    usual = {"status": "INACTIVE", "status_date": LEFT, "expiry_date": EXPIRY}
    return record(primary_id, **(usual | fields))


def of_reinstatement(user: dict[str, Any], terms: Terms = REINSTATE, **changes: object) -> list[str]:
    """What is wrong with making this patron ACTIVE, with further changes."""
    after = copy.deepcopy(user) | {"status": coded("ACTIVE", "Active"), "status_date": xs_date(TODAY)} | changes
    judge = WriteJudge(world()[0], terms)
    judge.see(Write("PUT", user["primary_id"], user, after, user["primary_id"]))
    return judge.wrongs


def restoring(*archived: dict[str, Any], **terms: Any) -> Terms:
    """The terms of a restore of these records."""
    return Terms("restore", TODAY, archived={user["primary_id"]: user for user in archived}, **terms)


def back(user: dict[str, Any], /, **changes: object) -> dict[str, Any]:
    """What is posted to bring this patron back, with further changes."""
    return user | {"status": {"value": "INACTIVE"}} | changes


@pytest.mark.parametrize(
    ("terms", "changes"),
    [
        (REINSTATE, {}),
        (EXTEND, {"expiry_date": "2027-06-30Z"}),
        (UNDO, {}),
        (replace(UNDO, expiry_date=AHEAD), {"expiry_date": "2027-06-30Z"}),
    ],
)
def test_a_right_reinstatement_is_right(terms: Terms, changes: dict[str, Any]) -> None:
    """Making an INACTIVE candidate ACTIVE, with the expiry date asked for and nothing else changed, is no wrong."""
    institution, call = world(inactive(loans=2, user_note=[note("Large print", TODAY)]))
    judge = WriteJudge(institution, terms, candidates=["rowan.isar"])
    body = call.get("/users/rowan.isar") | {"status": {"value": "ACTIVE"}} | changes
    del body["user_role"]
    call.put("/users/rowan.isar", body)
    assert (judge.wrongs, len(judge.writes)) == ([], 1)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"record_type": "STAFF"}, "record type staff"),
        ({"user_role": [role("200"), role("26")]}, "['26']"),
        ({"source_link_id": "1"}, "copy of another"),
        ({"status": "ACTIVE"}, "ACTIVE before"),
        ({"status": "DELETED"}, "can't be judged"),
        ({"user_role": None}, "can't be judged"),
    ],
)
@pytest.mark.parametrize("terms", [REINSTATE, UNDO])
def test_a_wrong_reinstatement_is_found(terms: Terms, fields: dict[str, object], why: str) -> None:
    """Staff, copies, the ACTIVE and the unreadable are not for a reinstatement, named or of a run."""
    (wrong,) = of_reinstatement(inactive(**fields), terms)
    assert wrong.startswith("Rowan.Isar was changed, but ")
    assert why in wrong


@pytest.mark.parametrize(
    "fields",
    [
        {"expiry_date": None},
        {"expiry_date": AHEAD},
        {"user_group": "COMMUNITY"},
        {"user_note": [note("Do not expire", TODAY)]},
        {"user_role": [role("200"), role("32") | {"status": {"value": "INACTIVE"}}]},
        {"status_date": None},
    ],
)
def test_what_keeps_nobody_inactive(fields: dict[str, object]) -> None:
    """Expiry and exclusions are no obstacle to a reinstatement."""
    strict = replace(REINSTATE, excluded_groups=frozenset({"COMMUNITY"}), excluded_notes=frozenset({"not expire"}))
    assert of_reinstatement(inactive(**fields), strict) == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"status_date": LEFT + timedelta(days=1)}, "no longer as of 2026-11-09 and 2026-10-01"),
        ({"status_date": None}, "no longer as of"),
        ({"expiry_date": None}, "no longer as of"),
        ({"expiry_date": AHEAD}, "no longer as of"),
        ({"status_date": "soon"}, "can't be judged"),
    ],
)
def test_an_undo_is_of_what_the_run_left(fields: dict[str, object], why: str) -> None:
    """Who has another status date or expiry date since is not for the undoing of a run."""
    (wrong,) = of_reinstatement(inactive(**fields), UNDO)
    assert why in wrong


@pytest.mark.parametrize("left_as", [{}, {"somebody": (LEFT, EXPIRY)}])
def test_an_undo_is_of_that_run_alone(left_as: dict[str, tuple[date, date]]) -> None:
    """Who isn't among those whom the run made INACTIVE is not for its undoing, even if it made nobody so."""
    assert of_reinstatement(inactive(), replace(UNDO, left_as=left_as)) == [
        "Rowan.Isar was changed, but the run that is undone did not make them INACTIVE"
    ]


@pytest.mark.parametrize(
    ("terms", "changes", "why"),
    [
        (REINSTATE, {"status": coded("INACTIVE")}, "the patron ended INACTIVE"),
        (REINSTATE, {"expiry_date": "2027-06-30Z"}, "more was changed than the status: expiry_date"),
        (REINSTATE, {"user_note": [{"note_text": "back"}]}, "more was changed than the status: user_note"),
        (EXTEND, {}, "expiry is on 2026-10-01Z instead of 2027-06-30"),
        (EXTEND, {"expiry_date": None}, "expiry is on None instead of 2027-06-30"),
        (
            EXTEND,
            {"expiry_date": "2027-06-30Z", "purge_date": "2028-06-30Z"},
            "more was changed than the expiry_date and status: purge_date",
        ),
    ],
)
def test_a_reinstatement_changes_nothing_else(terms: Terms, changes: dict[str, object], why: str) -> None:
    """Another status, another expiry date than asked for, and whatever else a PUT changes is found."""
    assert of_reinstatement(inactive(), terms, **changes) == [f"Rowan.Isar was changed, but {why}"]


def test_a_deactivation_sets_no_expiry_date() -> None:
    """A new expiry date belongs to a reinstatement: a deactivation may not set it, whatever the terms hold."""
    before = inactive(status="ACTIVE")
    after = copy.deepcopy(before) | {"status": coded("INACTIVE", "Inactive"), "expiry_date": "2027-06-30Z"}
    judge = WriteJudge(world()[0], replace(EXTEND, action="deactivate"))
    judge.see(Write("PUT", "Rowan.Isar", before, after, "Rowan.Isar"))
    assert judge.wrongs == ["Rowan.Isar was changed, but more was changed than the status: expiry_date"]


def test_a_reinstatement_of_somebody_else_is_found() -> None:
    """A PUT that reaches whoever has the id for a barcode, or is no candidate, is wrong."""
    institution, call = world(inactive("heir", user_identifier=[identifier("BARCODE", "Rowan.Isar")]))
    judge = WriteJudge(institution, REINSTATE, candidates={"Rowan.Isar"})
    call.put("/users/Rowan.Isar", call.get("/users/heir") | {"status": {"value": "ACTIVE"}})
    assert judge.wrongs == [
        "heir was changed, but it was Rowan.Isar who was asked for",
        "heir was changed, but that is no candidate",
    ]


@pytest.mark.parametrize("terms", [REINSTATE, UNDO, restoring(inactive())])
def test_no_return_deletes(terms: Terms) -> None:
    """Neither a reinstatement nor a restoration deletes anybody."""
    institution, call = world(inactive())
    judge = WriteJudge(institution, terms)
    call("DELETE", "/users/Rowan.Isar")
    assert f"Rowan.Isar was deleted, but that is no way to {terms.action}" in judge.wrongs


def test_each_return_has_its_own_method() -> None:
    """A reinstatement creates nobody, a restoration changes nobody."""
    institution, call = world()
    judge = WriteJudge(institution, REINSTATE)
    call.post(inactive())
    assert judge.wrongs == ["Rowan.Isar was created, but that is no way to reinstate"]
    wrongs = of_reinstatement(inactive(), restoring(inactive()))
    assert "Rowan.Isar was changed, but that is no way to restore" in wrongs


@pytest.mark.parametrize("terms", [REINSTATE, restoring(inactive())])
def test_a_preview_brings_nobody_back(terms: Terms) -> None:
    """In a preview the rightest write is wrong."""
    institution, call = world(*([inactive()] if terms is REINSTATE else []))
    judge = WriteJudge(institution, replace(terms, preview=True))
    if terms is REINSTATE:
        call.put("/users/Rowan.Isar", call.get("/users/Rowan.Isar") | {"status": {"value": "ACTIVE"}})
    else:
        call.post(back(inactive()))
    assert len(judge.wrongs) == 1
    assert "a preview writes nothing" in judge.wrongs[0]


@pytest.mark.parametrize(
    ("archived", "expiry_date", "changes"),
    [
        (inactive(), None, {}),
        (inactive(status="ACTIVE"), None, {}),
        (inactive(user_note=[note("Large print", TODAY)], user_identifier=[identifier("BARCODE", "1")]), None, {}),
        (inactive(fees=0.5, source_link_id="7", linking_id="8", proxy_for_user=[{"primary_id": "x"}]), None, {}),
        (inactive(), AHEAD, {"status": {"value": "ACTIVE"}, "expiry_date": "2027-06-30Z"}),
        (inactive(expiry_date=None), AHEAD, {"status": {"value": "ACTIVE"}, "expiry_date": "2027-06-30Z"}),
        (inactive(), TODAY, {}),
    ],
)
def test_a_right_restoration_is_right(
    archived: dict[str, Any], expiry_date: date | None, changes: dict[str, Any]
) -> None:
    """Who is gone comes back as archived: INACTIVE, or ACTIVE when the expiry date that was asked for is ahead."""
    institution, call = world(inactive("somebody"))
    judge = WriteJudge(institution, restoring(archived, expiry_date=expiry_date), candidates=["rowan.ISAR"])
    call.post(back(archived, **changes))
    assert (judge.wrongs, len(judge.writes)) == ([], 1)


@pytest.mark.parametrize(
    ("expiry_date", "changes", "why"),
    [
        (None, {"status": {"value": "ACTIVE"}}, "the patron came back ACTIVE"),
        (TODAY, {"status": {"value": "ACTIVE"}}, "the patron came back ACTIVE"),
        (None, {"expiry_date": "2027-06-30Z"}, "another expiry_date"),
        (TODAY, {"expiry_date": xs_date(TODAY)}, "another expiry_date"),
        (AHEAD, {"expiry_date": "2027-06-30Z"}, "the patron came back INACTIVE"),
        (AHEAD, {"status": {"value": "ACTIVE"}}, "expiry is on 2026-10-01Z instead of 2027-06-30"),
        (None, {"user_role": []}, "another user_role"),
        (None, {"user_note": [], "user_block": [], "last_name": "Elbe"}, "another last_name, user_note"),
        (None, {"primary_id": "ROWAN.ISAR"}, "another primary_id"),
        (None, {"account_type": {"value": "EXTERNAL"}, "external_id": "SIS"}, "another account_type, external_id"),
        (None, {"contact_info": {}}, "another contact_info"),
    ],
)
def test_a_wrong_restoration_is_found(expiry_date: date | None, changes: dict[str, object], why: str) -> None:
    """Another status or expiry date than is due, and whatever isn't as it was archived, is found."""
    email = {"email_address": "rowan.isar@example.edu"}
    archived = inactive(
        user_note=[note("Large print", TODAY)], contact_info={"address": [], "email": [email], "phone": []}
    )
    institution, call = world()
    judge = WriteJudge(institution, restoring(archived, expiry_date=expiry_date, refuses=refuses))
    created = call.post(back(archived, **changes))
    (wrong,) = judge.wrongs
    assert wrong.startswith(f"{created['primary_id']} was created, but ")
    assert wrong.endswith(why)


def test_only_the_archived_come_back() -> None:
    """Of whom there is no archived record, nobody can tell that they were purged, or as what they come back."""
    institution, call = world()
    judge = WriteJudge(institution, restoring())
    call.post(back(inactive()))
    assert judge.wrongs == ["Rowan.Isar was created, but there is no archived record"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"record_type": "CONTACT"}, "record type contact"), ({"record_type": None}, "can't be judged")],
)
def test_the_protected_do_not_come_back(fields: dict[str, object], why: str) -> None:
    """An archived record of a protected type, or one that can't be read, is not for a restoration."""
    archived, after = inactive(**fields), inactive()
    judge = WriteJudge(world()[0], restoring(archived))
    judge.see(Write("POST", "Rowan.Isar", None, after, "Rowan.Isar"))
    assert any(why in wrong for wrong in judge.wrongs), judge.wrongs


@pytest.mark.parametrize(
    "other",
    [
        inactive("ROWAN.ISAR"),
        inactive("heir", user_identifier=[identifier("NETID", "rowan.isar")]),
        inactive("2315"),
        inactive("heir", user_identifier=[identifier("INST_ID", "2315")]),
    ],
)
def test_ids_that_are_taken(other: dict[str, Any]) -> None:
    """Who is there, or has an id that somebody has by now, doesn't come back."""
    archived = inactive(user_identifier=[identifier("BARCODE", "2315")])
    institution, call = world(other)
    judge = WriteJudge(institution, restoring(archived))
    assert call("POST", "/users", back(archived)).status == 400
    assert judge.writes == []
    judge.see(Write("POST", "Rowan.Isar", None, back(archived), "Rowan.Isar"))
    (wrong,) = judge.wrongs
    assert "somebody has [" in wrong


def test_a_second_restoration_is_found() -> None:
    """The same primary id is created once in a run, even when the patron vanished meanwhile."""
    institution, call = world()
    judge = WriteJudge(institution, restoring(inactive()), candidates={"Rowan.Isar"})
    call.post(back(inactive()))
    institution.users.clear()
    call.post(back(inactive()))
    assert judge.wrongs == ["Rowan.Isar was created, but not for the first time"]


def test_candidates_alone_come_back() -> None:
    """Who is archived but was not selected stays away."""
    institution, call = world()
    judge = WriteJudge(institution, restoring(inactive(), inactive("olive.vah")), candidates={"Rowan.Isar"})
    call.post(back(inactive("olive.vah")))
    assert judge.wrongs == ["olive.vah was created, but that is no candidate"]


ADDRESS = {"line1": "1 Larch Street", "city": "Reedham"}
REFUSED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"contact_info": {"address": [ADDRESS, ADDRESS | {"line1": None}], "email": [], "phone": []}},
        {"contact_info": {"address": [ADDRESS], "email": [], "phone": []}},
    ),
    (
        {"contact_info": {"address": [], "email": [{"email_address": ""}], "phone": [{"phone_number": None}]}},
        {"contact_info": {}},
    ),
    ({"user_title": {"value": "exdoc", "desc": None}}, {"user_title": None}),
    ({"job_category": coded("OLDJOB")}, {"job_category": {"value": ""}}),
    (
        {"user_role": [role("200", parameters=[{"value": coded("DEFAULT_CIRC_DESK")}])]},
        {"user_role": [role("200")]},
    ),
]


@pytest.mark.parametrize(("archived", "left_out"), REFUSED)
def test_what_alma_refuses_may_be_left_out(archived: dict[str, Any], left_out: dict[str, Any]) -> None:
    """Pieces that Alma gives and doesn't take may be missing, where it refuses the whole and the terms allow for it."""
    user = inactive(**archived)
    wrongs = {}
    for allowed in (None, refuses, lambda _: False):
        institution, call = world()
        judge = WriteJudge(institution, restoring(user, refuses=allowed))
        assert call("POST", "/users", back(user)).status == 400
        call.post(back(user, **left_out))
        wrongs[allowed] = judge.wrongs
    (name,) = archived
    found = [f"Rowan.Isar was created, but it came back with another {name}"]
    assert list(wrongs.values()) == [found, [], found]


@pytest.mark.parametrize(
    "changes",
    [
        {"user_title": None, "user_group": {"value": ""}},
        {"user_title": None, "user_group": {"value": "FAC"}},
        {"user_title": {"value": "DR"}},
        {"user_title": None, "user_role": []},
        {"user_title": None, "job_category": None},
    ],
)
def test_nothing_but_what_alma_refuses_may_be_left_out(changes: dict[str, Any]) -> None:
    """With one piece refused, others that Alma would have taken are still to come back, and none in another form."""
    user = inactive(user_title={"value": "exdoc", "desc": None}, job_category=coded("TEACH", "Teaching"))
    institution, call = world()
    judge = WriteJudge(institution, restoring(user, refuses=refuses))
    call.post(back(user, **changes))
    assert len(judge.wrongs) == 1
    assert "it came back with another " in judge.wrongs[0]


def reinstated() -> tuple[WriteJudge, list[OutcomeRow]]:
    """An undoing of a run that went well, and its outcomes."""
    left_as = dict.fromkeys(("one", "staff", "later", "active", "owner"), (LEFT, EXPIRY))
    institution, call = world(
        inactive("one"),
        inactive("staff", record_type="STAFF"),
        inactive("later", status_date=TODAY),
        inactive("active", status="ACTIVE"),
        inactive("heir", user_identifier=[identifier("BARCODE", "owner")]),
    )
    terms = replace(UNDO, left_as=left_as)
    judge = WriteJudge(institution, terms, candidates={*left_as, "missing"})
    call.put("/users/one", call.get("/users/one") | {"status": {"value": "ACTIVE"}})
    return judge, [
        ("one", "reinstated", None, ""),
        ("staff", "skipped", "staff", ""),
        ("later", "skipped", "changed_since", ""),
        ("active", "skipped", "already_active", ""),
        ("owner", "skipped", "identity_mismatch", ""),
        ("missing", "skipped", "not_found", ""),
    ]


def restored() -> tuple[WriteJudge, list[OutcomeRow]]:
    """A restoration that went well, and its outcomes."""
    institution, call = world(inactive("taken"))
    terms = restoring(inactive("one"), inactive("taken"), inactive("staff", record_type="STAFF"), inactive("odd"))
    judge = WriteJudge(institution, terms, candidates={"one", "taken", "staff", "odd", "kept", "lost"})
    call.post(back(inactive("one")))
    return judge, [
        ("one", "restored", None, ""),
        ("taken", "skipped", "id_taken", ""),
        ("staff", "skipped", "staff", ""),
        ("odd", "failed", "alma_401855", ""),
        ("kept", "skipped", "not_in_run", ""),
        ("lost", "skipped", "not_in_vault", ""),
    ]


@pytest.mark.parametrize("ended", [reinstated, restored])
def test_true_outcomes_are_true(ended: Callable[[], tuple[WriteJudge, list[OutcomeRow]]]) -> None:
    """Outcomes that tell what happened are not found fault with."""
    judge, rows = ended()
    assert judge.wrongs == judge.check_outcomes(rows) == judge.check_reasons(rows) == []


@pytest.mark.parametrize(
    ("ended", "row", "wrongs"),
    [
        (reinstated, ("one", "skipped", "staff", ""), ["one is skipped, but was written to"]),
        (reinstated, ("staff", "reinstated", None, ""), ["staff is reinstated, but no write was seen"]),
        (reinstated, ("active", "skipped", "not_found", ""), ["active is skipped as not_found, but is there"]),
        (
            reinstated,
            ("later", "would_reinstate", None, ""),
            ["later is would_reinstate, which is no outcome of a run of reinstate"],
        ),
        (
            reinstated,
            ("missing", "restored", None, ""),
            ["missing is restored, which is no outcome of a run of reinstate"],
        ),
        (restored, ("one", "failed", "unconfirmed", ""), ["one is failed, but was written to"]),
        (restored, ("taken", "restored", None, ""), ["taken is restored, but no write was seen"]),
        (
            restored,
            ("odd", "would_restore", None, ""),
            ["odd is would_restore, which is no outcome of a run of restore"],
        ),
        (restored, ("odd", "purged", None, ""), ["odd is purged, which is no outcome of a run of restore"]),
    ],
)
def test_untrue_outcomes_are_found(
    ended: Callable[[], tuple[WriteJudge, list[OutcomeRow]]], row: OutcomeRow, wrongs: list[str]
) -> None:
    """Each way in which outcomes can differ from what happened is told of these actions too."""
    judge, rows = ended()
    assert judge.check_outcomes([row if one[0] == row[0] else one for one in rows]) == wrongs


@pytest.mark.parametrize(
    ("ended", "row", "wrong"),
    [
        (
            reinstated,
            ("staff", "skipped", "already_active", ""),
            "staff is skipped as already_active, but staff speaks",
        ),
        (
            reinstated,
            ("later", "skipped", "linked_account", ""),
            "later is skipped as linked_account, but changed_since",
        ),
        (reinstated, ("active", "failed", "alma_401860", ""), "active is failed, but already_active speaks against"),
        (
            reinstated,
            ("heir", "skipped", "changed_since", ""),
            "heir is skipped as changed_since, but not_in_run speaks",
        ),
        (reinstated, ("heir", "would_reinstate", None, ""), "heir is would_reinstate, but not_in_run speaks against"),
        (reinstated, ("later", "skipped", "unproven", ""), None),
        (reinstated, ("later", "skipped", "unverifiable", ""), None),
        (restored, ("odd", "skipped", "id_taken", ""), "odd is skipped as id_taken, but nothing speaks against"),
        (
            restored,
            ("odd", "skipped", "not_in_vault", ""),
            "odd is skipped as not_in_vault, but nothing speaks against",
        ),
        (restored, ("odd", "skipped", "not_in_run", ""), "odd is skipped as not_in_run, but nothing speaks against"),
        (restored, ("taken", "would_restore", None, ""), "taken is would_restore, but id_taken speaks against"),
        (restored, ("lost", "failed", "alma_401851", ""), "lost is failed, but not_in_run and not_in_vault speaks"),
        (restored, ("odd", "would_restore", None, ""), None),
        (restored, ("odd", "skipped", "not_attempted", ""), None),
    ],
)
def test_unfounded_reasons_are_found(
    ended: Callable[[], tuple[WriteJudge, list[OutcomeRow]]], row: OutcomeRow, wrong: str | None
) -> None:
    """A reason for leaving somebody as they are, or away, has to be there; against the others nothing may speak."""
    found = ended()[0].check_reasons([row])
    assert len(found) == (0 if wrong is None else 1)
    assert wrong is None or found[0].startswith(wrong)


@pytest.mark.parametrize("terms", [REINSTATE, restoring(inactive())])
def test_outcomes_of_a_preview(terms: Terms) -> None:
    """A preview ends in `would_…`; what only a run can do, it can't have done."""
    institution, _ = world(*([inactive()] if terms is REINSTATE else []))
    judge = WriteJudge(institution, replace(terms, preview=True))
    good: OutcomeRow = ("Rowan.Isar", f"would_{terms.action}", None, "")
    assert judge.check_outcomes([good]) == judge.check_reasons([good]) == []
    assert len(judge.check_outcomes([("Rowan.Isar", f"{terms.action}d", None, "")])) == 2


def standard() -> tuple[SimulatedInstitution, Caller]:
    """A standard institution and a caller."""
    institution = standard_institution(CODE, "Ashland", KEY, 400, 2, TODAY)
    return institution, Caller(Alma([institution], per_second=None, today=lambda: TODAY))


def test_a_purge_of_the_standard_institution_and_its_restoration() -> None:
    """Who was purged among invented patrons comes back, unless somebody has the id by now, or Alma refuses to."""
    institution, call = standard()
    purge = WriteJudge(institution, Terms("purge", TODAY))
    archived = {
        user["primary_id"]: copy.deepcopy(user)
        for user in list(institution.users.values())
        if expired_for_years(user, TODAY)
        and not user["primary_id"].startswith(WITHOUT_PRIMARY_ID)
        and not purge.objections(user)
        and call("DELETE", f"/users/{quote(user['primary_id'], safe='')}").status == 204
    }
    assert purge.wrongs == []
    judge = WriteJudge(institution, Terms("restore", TODAY, archived=archived, refuses=refuses), candidates=archived)
    rows: list[OutcomeRow] = []
    for primary_id, user in archived.items():
        if "id_taken" in judge.objections(user):
            rows.append((primary_id, "skipped", "id_taken", ""))
        elif call("POST", "/users", back(user)).status == 200:
            rows.append((primary_id, "restored", None, ""))
        else:
            rows.append((primary_id, "failed", "alma_401855", ""))
    assert judge.wrongs == judge.check_outcomes(rows) == judge.check_reasons(rows) == []
    ends = {outcome for _, outcome, _, _ in rows}
    assert ends == {"restored", "skipped", "failed"}


def test_a_deactivation_of_the_standard_institution_and_its_undoing() -> None:
    """Who was INACTIVE for the run that is undone becomes ACTIVE again; each of the others has a reason not to."""
    institution, call = standard()
    left_as = {
        user["primary_id"]: (date.fromisoformat(user["status_date"][:10]), date.fromisoformat(user["expiry_date"][:10]))
        for user in institution.users.values()
        if user["status"]["value"] == "INACTIVE" and "expiry_date" in user
    }
    judge = WriteJudge(institution, replace(EXTEND, left_as=left_as), candidates=left_as)
    changes = {"status": {"value": "ACTIVE"}, "expiry_date": xs_date(AHEAD)}
    kept: set[str] = set()
    rows: list[OutcomeRow] = []
    for primary_id in left_as:
        path = f"/users/{quote(primary_id, safe='')}"
        body = call.get(path)
        if found := judge.objections(body):
            kept |= set(found)
            rows.append((primary_id, "skipped", next(iter(found)), ""))
            continue
        del body["user_role"]
        done = call("PUT", path, body | changes).status == 200
        rows.append((primary_id, "reinstated", None, "") if done else (primary_id, "failed", "alma_401864", ""))
    assert judge.wrongs == judge.check_outcomes(rows) == judge.check_reasons(rows) == []
    assert kept == {"staff", "linked_account"}
    assert sum(outcome == "reinstated" for _, outcome, _, _ in rows) > len(rows) / 2
