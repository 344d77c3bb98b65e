"""The users API of the simulated Alma."""

import json
from datetime import date
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.simulator.alma import Alma
from sandbox.simulator.institutions import SimulatedInstitution, Write, expired_and_active
from sandbox.simulator.institutions import institution as standard_institution
from sandbox.simulator.messages import Fault, Request, json_reply
from sandbox.simulator.patrons import WITHOUT_PRIMARY_ID, identifier, record, role
from tests.unit.sandbox.simulator_caller import TODAY, Caller, refusal


def test_brief_rows_lack_expiry_and_group(call: Caller) -> None:
    """A list without expand has neither expiry_date nor user_group, and counts are null."""
    row = call.get("/users", order_by="primary_id")["user"][0]
    assert "expiry_date" not in row
    assert "user_group" not in row
    assert row["loans"] is None


def test_full_rows_are_records(call: Caller) -> None:
    """With expand=full a row is the whole record, counts null, with its link."""
    row = call.get("/users", expand="full", order_by="primary_id")["user"][-1]
    assert row["primary_id"] == "Willow.Elbe"
    assert row["expiry_date"] == "2026-10-01Z"
    assert row["loans"] is None
    assert row["link"].endswith("/users/Willow.Elbe")


def test_paging_covers_everybody_once(call: Caller) -> None:
    """Pages by limit and offset, sorted by primary id whatever its case, hold each user once."""
    pages = [call.get("/users", limit="3", offset=str(offset), order_by="primary_id") for offset in (0, 3)]
    ids = [row["primary_id"] for page in pages for row in page["user"]]
    assert ids == ["fern.arno", "no primary id (4711)", "sage/oder#1", "Willow.Elbe"]
    assert {page["total_record_count"] for page in pages} == {4}


def test_default_order_is_by_name(call: Caller) -> None:
    """Without order_by users come by last name, then first name."""
    assert [row["last_name"] for row in call.get("/users")["user"]] == ["Arno", "Elbe", "Oder", "Yonne"]


def test_first_names_sort_too(call: Caller) -> None:
    """order_by=first_name sorts by first name."""
    names = [row["first_name"] for row in call.get("/users", order_by="first_name")["user"]]
    assert names == ["Fern", "Reed", "Sage", "Willow"]


def test_no_rows_no_key(call: Caller) -> None:
    """A page past the end has the count but no `user` key; so has limit=0."""
    assert call.get("/users", offset="4") == {"total_record_count": 4}
    assert call.get("/users", limit="0") == {"total_record_count": 4}


@pytest.mark.parametrize(("name", "value"), [("limit", "101"), ("limit", "-1"), ("offset", "x")])
def test_numbers_out_of_range_are_refused(call: Caller, name: str, value: str) -> None:
    """A limit above 100, or what is no whole number, is refused."""
    assert refusal(call("GET", "/users", **{name: value}))[:2] == (400, "40166410")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("primary_id~willow", ["Willow.Elbe"]),
        ("identifiers~willow.elbe", ["fern.arno"]),
        ("ALL~willow", ["fern.arno", "Willow.Elbe"]),
        ("last_name~o", ["fern.arno", "sage/oder#1", "no primary id (4711)"]),
        ("user_group~community_patron", ["sage/oder#1"]),
    ],
)
def test_search_is_by_words_and_fuzzy(call: Caller, query: str, found: list[str]) -> None:
    """`q` finds whoever has all the words, also as a part of others, in order of name."""
    assert [row["primary_id"] for row in call.get("/users", q=query, order_by="primary_id")["user"]] == found


@pytest.mark.parametrize("query", ["expiry_date~2026", "willow", "last_name~"])
def test_search_that_is_not_understood(call: Caller, query: str) -> None:
    """A query by an unknown field, or without a field or word, is HTTP 200 with a total of -1."""
    assert call.get("/users", q=query) == {"total_record_count": -1}


def test_modified_since(call: Caller) -> None:
    """modify_date_from lists those changed since the day."""
    body = call.get("/users/fern.arno") | {"status": {"value": "INACTIVE"}}
    call.put("/users/fern.arno", body)
    assert [row["primary_id"] for row in call.get("/users", modify_date_from="2026-11-01")["user"]] == ["fern.arno"]
    assert call.get("/users", modify_date_from="2019-11-01")["total_record_count"] == 4


@pytest.mark.parametrize("query", [{"modify_date_from": "1 May"}, {"modify_date_from": "2026-01-01", "q": "ALL~fern"}])
def test_modified_since_is_refused(call: Caller, query: dict[str, str]) -> None:
    """modify_date_from goes neither with q nor without a date."""
    assert refusal(call("GET", "/users", **query))[:2] == (400, "402119")


def test_primary_id_wins_over_identifier(call: Caller) -> None:
    """An id is first a primary id, whatever its case, though it is another patron's barcode too."""
    assert call.get("/users/WILLOW.elbe")["primary_id"] == "Willow.Elbe"


def test_id_resolves_to_another_after_deletion(call: Caller, institution: SimulatedInstitution) -> None:
    """Once a patron is deleted, their id means whoever has it for a barcode."""
    institution.users["willow.elbe"]["loans"] = None
    assert call("DELETE", "/users/Willow.Elbe").status == 204
    assert call.get("/users/Willow.Elbe")["primary_id"] == "fern.arno"


def test_id_of_a_type(call: Caller) -> None:
    """user_id_type narrows the search to identifiers of that type."""
    assert call.get("/users/willow.elbe", user_id_type="BARCODE")["primary_id"] == "fern.arno"
    assert refusal(call("GET", "/users/willow.elbe", user_id_type="NETID"))[:2] == (400, "401890")


@pytest.mark.parametrize("raw", ["nobody", "-", "no%20primary%20id%20(4711)"])
def test_not_found_is_http_400(call: Caller, raw: str) -> None:
    """An unknown id, and a contact without a primary id, are HTTP 400 with 401861."""
    assert refusal(call("GET", f"/users/{raw}"))[:2] == (400, "401861")


def test_encoded_slash_is_part_of_the_id(call: Caller) -> None:
    """`%2F` and `%23` belong to the id; a bare slash doesn't."""
    assert call.get("/users/sage%2Foder%231")["primary_id"] == "sage/oder#1"
    assert call("GET", "/users/sage/oder%231").status == 404


def test_expand_shows_counts(call: Caller) -> None:
    """Counts are null unless expand names them; nothing is a zero."""
    assert call.get("/users/Willow.Elbe")["loans"] is None
    user = call.get("/users/Willow.Elbe", expand="loans,requests,fees")
    assert [user[name]["value"] for name in ("loans", "requests", "fees")] == [2, 0, 51.0]
    assert user["loans"]["link"].endswith("/users/Willow.Elbe/loans")
    assert call.get("/users/Willow.Elbe", expand="fees")["loans"] is None


def test_put_answers_the_stored_record(call: Caller, institution: SimulatedInstitution) -> None:
    """A PUT answers the full new record, dated today as its status changed, and is noted with before and after."""
    body = call.get("/users/Willow.Elbe") | {"status": {"value": "INACTIVE", "desc": "nonsense"}}
    answer = call.put("/users/Willow.Elbe", body)
    assert answer == call.get("/users/Willow.Elbe")
    assert answer["status"] == {"value": "INACTIVE", "desc": "Inactive"}
    assert answer["status_date"] == "2026-11-23Z"
    (write,) = institution.writes
    assert (write.method, write.primary_id) == ("PUT", "Willow.Elbe")
    assert write.before is not None
    assert write.after is not None
    assert write.before["status"]["value"] == "ACTIVE"
    assert write.after["status"]["value"] == "INACTIVE"


def test_put_keeps_status_date_without_a_change(call: Caller) -> None:
    """A PUT that leaves the status leaves its date."""
    body = call.get("/users/fern.arno")
    assert call.put("/users/fern.arno", body)["status_date"] == body["status_date"]


def test_put_swaps_lists(call: Caller) -> None:
    """Lists are replaced, an absent one is emptied; roles alone are kept when none come in."""
    body = call.get("/users/fern.arno")
    assert body["user_role"]
    assert body["user_identifier"]
    del body["user_role"], body["user_identifier"]
    answer = call.put("/users/fern.arno", body)
    assert answer["user_role"] == [role("200")]
    assert answer["user_identifier"] == []
    answer = call.put("/users/fern.arno", body | {"user_role": []})
    assert answer["user_role"] == [role("200")]
    answer = call.put("/users/fern.arno", body | {"user_role": [role("26")]})
    assert answer["user_role"] == [role("26")]


def test_put_gives_missing_elements_default_values(call: Caller) -> None:
    """What is missing is not kept: texts are emptied, dates removed, the status becomes ACTIVE."""
    body = {
        "primary_id": "fern.arno",
        "last_name": "Arno",
        "record_type": {"value": "PUBLIC"},
        "account_type": {"value": "INTERNAL"},
    }
    answer = call.put("/users/fern.arno", body)
    assert answer["first_name"] == ""
    assert answer["full_name"] == "Arno"
    assert "expiry_date" not in answer
    assert answer["contact_info"] == {"address": [], "email": [], "phone": []}
    assert answer["status"]["value"] == "ACTIVE"


def test_put_ignores_output_fields(call: Caller, institution: SimulatedInstitution) -> None:
    """Output-only fields that come in change nothing; the password never comes back."""
    institution.users["fern.arno"]["source_link_id"] = "77"
    body = call.get("/users/fern.arno")
    changed = {"status_date": "2001-01-01Z", "loans": {"value": 9}, "source_link_id": "1", "password": "secret"}
    assert call.put("/users/fern.arno", body | changed) == body
    assert call.get("/users/fern.arno", expand="loans")["loans"]["value"] == 0


def test_put_keeps_empty_fields_of_external_accounts(call: Caller, institution: SimulatedInstitution) -> None:
    """Of an EXTERNAL account an empty user group is not taken over, unless override names it."""
    institution.users["ext"] = record("ext", account_type="EXTERNAL", external_id="SIS")
    body = call.get("/users/ext") | {"user_group": {"value": ""}}
    assert call.put("/users/ext", body)["user_group"]["value"] == "UGRD"
    assert call.put("/users/ext", body, override="user_group")["user_group"]["value"] == ""


def test_put_renames(call: Caller, institution: SimulatedInstitution) -> None:
    """Another primary id in the body renames the patron, unless somebody has it."""
    body = call.get("/users/fern.arno")
    call.put("/users/fern.arno", body | {"primary_id": "fern.rhone"})
    assert "fern.arno" not in institution.users
    assert call.get("/users/fern.rhone")["primary_id"] == "fern.rhone"
    assert refusal(call("PUT", "/users/fern.rhone", body | {"primary_id": "Willow.ELBE"}))[1] == "401851"


def with_role_parameter() -> list[dict[str, Any]]:
    """A role whose parameter lost its description."""
    return [role("200", parameters=[{"value": {"value": "DEFAULT_CIRC_DESK", "desc": ""}}])]


@pytest.mark.parametrize(
    ("stored", "changed", "code", "message"),
    [
        ({}, {"primary_id": ""}, "401664", "primary_id"),
        ({}, {"last_name": None}, "401664", "last_name"),
        ({}, {"record_type": None}, "401664", "record_type"),
        ({}, {"contact_info": {"address": [{"line1": None}]}}, "401664", "address line1"),
        ({}, {"account_type": {"value": "OTHER"}}, "401860", "Failed"),
        ({}, {"external_id": "SIS"}, "401853", "must be empty"),
        ({}, {"account_type": {"value": "EXTERNAL"}}, "401854", "must be given"),
        ({"account_type": "EXTERNAL", "external_id": "SIS"}, {"external_id": "HR"}, "401858", "cannot be updated"),
        (
            {"account_type": "EXTERNAL", "external_id": "SIS"},
            {"account_type": {"value": "INTERNAL"}},
            "401860",
            "Failed",
        ),
        ({"account_type": "INTEXTAUTH"}, {}, "401855", "not supported"),
        ({}, {"user_title": {"value": "exdoc", "desc": None}}, "401864", "title"),
        ({}, {"job_category": {"value": "OLDJOB"}}, "401864", "job category"),
        ({}, {"status": {"value": "DELETED"}}, "401864", "status"),
        ({}, {"user_role": with_role_parameter()}, "401864", "DEFAULT_CIRC_DESK"),
        ({}, {"user_note": {"user_note": []}}, "401652", "java.util.ArrayList"),
        ({}, {"user_note": ["a note"]}, "401652", "java.util.ArrayList"),
        ({}, {"contact_info": []}, "401652", "contact_info"),
        ({}, {"status": "INACTIVE"}, "401652", "status"),
        ({}, {"user_identifier": [{"id_type": {"value": "BARCODE"}}]}, "401664", "user_identifier"),
        ({}, {"user_identifier": [{"value": "2315", "id_type": None}]}, "401664", "user_identifier"),
        ({}, {"user_identifier": [{"value": 2315}]}, "401652", "user_identifier"),
        ({}, {"first_name": 1}, "401652", "first_name"),
        ({}, {"expiry_date": "31/10/2026"}, "401652", "expiry_date"),
    ],
)
def test_put_refuses(
    call: Caller,
    institution: SimulatedInstitution,
    stored: dict[str, Any],
    changed: dict[str, Any],
    code: str,
    message: str,
) -> None:
    """A record that Alma wouldn't take is refused with its code, and nothing changes."""
    institution.users["x"] = record("x", **stored)
    before = call.get("/users/x")
    status, given, text = refusal(call("PUT", "/users/x", before | changed))
    assert (status, given) == (400, code)
    assert message in text
    assert call.get("/users/x") == before
    assert institution.writes == []


def test_put_of_no_json(call: Caller, alma: Alma) -> None:
    """A body that is no JSON object, or isn't declared as JSON, is refused."""
    assert refusal(call("PUT", "/users/fern.arno", ["a list"]))[1] == "401676"
    headers = {"Authorization": f"apikey {call.key}", "Accept": "application/json", "Content-Type": "application/json"}
    path = "/almaws/v1/users/fern.arno"
    assert refusal(alma.handle("PUT", path, {}, headers, b'{"primary_id": '))[1] == "401676"
    body = json.dumps(call.get("/users/fern.arno")).encode()
    assert refusal(alma.handle("PUT", path, {}, headers | {"Content-Type": "text/plain"}, body))[1] == "401676"


def test_put_of_nobody(call: Caller) -> None:
    """A PUT to an unknown id is not found, and creates nobody."""
    assert refusal(call("PUT", "/users/nobody", call.get("/users/fern.arno")))[:2] == (400, "401861")
    assert call.get("/users")["total_record_count"] == 4


def test_delete(call: Caller, institution: SimulatedInstitution) -> None:
    """A DELETE answers 204 without a body; a second one finds nobody; it is noted with the record as it was."""
    reply = call("DELETE", "/users/fern.arno")
    assert (reply.status, reply.body) == (204, b"")
    assert refusal(call("DELETE", "/users/fern.arno"))[:2] == (400, "401861")
    (write,) = institution.writes
    assert (write.method, write.primary_id, write.after) == ("DELETE", "fern.arno", None)
    assert write.before is not None
    assert write.before["primary_id"] == "fern.arno"


def test_delete_is_refused_with_loans(call: Caller) -> None:
    """Who has loans is not deleted."""
    assert refusal(call("DELETE", "/users/willow.elbe"))[:2] == (400, "401850")
    assert call.get("/users/willow.elbe")["primary_id"] == "Willow.Elbe"


def test_delete_is_refused_of_the_undeletable(call: Caller, institution: SimulatedInstitution) -> None:
    """Whom a test declares undeletable stays, by whatever id; the record tells nothing of it."""
    before = call.get("/users/fern.arno", expand="loans,requests,fees")
    institution.undeletable.add("fern.arno")
    assert call.get("/users/fern.arno", expand="loans,requests,fees") == before
    institution.users["willow.elbe"]["primary_id"] = "elsewhere"
    institution.users["elsewhere"] = institution.users.pop("willow.elbe")
    for asked in ("FERN.arno", "Willow.Elbe"):
        status, code, message = refusal(call("DELETE", f"/users/{asked}"))
        assert (status, code) == (400, "401850")
        assert asked in message
    assert institution.writes == []
    institution.undeletable.clear()
    assert call("DELETE", "/users/FERN.arno").status == 204


def test_delete_by_an_id_of_a_type(call: Caller, institution: SimulatedInstitution) -> None:
    """Without such an identifier a DELETE finds nobody, in the words for the type."""
    assert refusal(call("DELETE", "/users/fern.arno", user_id_type="NETID"))[:2] == (400, "401890")
    assert call("DELETE", "/users/willow.elbe", user_id_type="BARCODE").status == 204
    assert "fern.arno" not in institution.users


def test_write_tells_the_id_asked_for(call: Caller, institution: SimulatedInstitution) -> None:
    """A write names the id in the path beside the primary id of the record that it reached."""
    del institution.users["willow.elbe"]
    body = call.get("/users/Willow.Elbe")
    call.put("/users/Willow.Elbe", body)
    call("DELETE", "/users/WILLOW.elbe")
    assert [(write.asked, write.primary_id) for write in institution.writes] == [
        ("Willow.Elbe", "fern.arno"),
        ("WILLOW.elbe", "fern.arno"),
    ]


def test_write_is_handed_over_before_it_is_done(call: Caller, institution: SimulatedInstitution) -> None:
    """`on_write` sees each write that is carried out, and no refused one, with the users as they still are."""
    seen: list[tuple[Write, bool, str]] = []
    community = institution.set_named("Community patrons")

    def look(write: Write) -> None:
        present = any(user["primary_id"] == "sage/oder#1" for user in institution.members(community, TODAY))
        seen.append((write, present, institution.users["sage/oder#1"]["status"]["value"]))

    institution.on_write = look
    call.put("/users/sage%2Foder%231", call.get("/users/sage%2Foder%231") | {"status": {"value": "INACTIVE"}})
    call("DELETE", "/users/willow.elbe")
    call("DELETE", "/users/sage%2Foder%231")
    call("DELETE", "/users/sage%2Foder%231")
    assert [(write.method, present, status) for write, present, status in seen] == [
        ("PUT", True, "ACTIVE"),
        ("DELETE", True, "INACTIVE"),
    ]
    assert [write for write, _, _ in seen] == institution.writes


def test_a_fault_can_leave_a_count_out(call: Caller, institution: SimulatedInstitution, alma: Alma) -> None:
    """A test can let Alma keep a patron's loans to itself, as towards a key that is restricted to some libraries."""

    def hide(request: Request) -> Fault | None:
        if request.method == "GET" and request.arguments.get("user_id", "").casefold() == "willow.elbe":
            return Fault(json_reply(200, institution.users["willow.elbe"] | {"loans": None}))
        return None

    alma.faults.append(hide)
    user = call.get("/users/willow.elbe", expand="loans,fees")
    assert (user["loans"], user["fees"]["value"]) == (None, 51.0)
    assert call.get("/users/fern.arno", expand="loans")["loans"]["value"] == 0


def test_deactivation_alters_nothing_else() -> None:
    """Sent back with another status and without roles, every patron's record keeps all else, or is refused as meant."""
    institution = standard_institution("01OHIO_BBB", "B", "b", 600, 3, TODAY)
    call = Caller(Alma([institution], per_second=None, today=lambda: TODAY), "b")
    refused: dict[str, int] = {}
    due = [user for user in institution.users.values() if expired_and_active(user, TODAY)]
    for user in due:
        path = f"/users/{quote(user['primary_id'], safe='')}"
        before = call.get(path)
        body = {name: value for name, value in before.items() if name != "user_role"}
        reply = call("PUT", path, body | {"status": {"value": "INACTIVE"}})
        if reply.status == 200:
            after = json.loads(reply.body)
            assert {name for name in before | after if before.get(name) != after.get(name)} == {"status", "status_date"}
        else:
            code = refusal(reply)[1]
            refused[code] = refused.get(code, 0) + 1
    assert set(refused) == {"401664", "401864", "401855"}
    assert sum(refused.values()) < len(due) / 10
    assert not [user for user in due if user["primary_id"].startswith(WITHOUT_PRIMARY_ID)]


def test_identifier_found_whatever_its_case(call: Caller, institution: SimulatedInstitution) -> None:
    """An identifier is found in another case too."""
    institution.users["y"] = record("y", user_identifier=[identifier("NETID", "wi100")], expiry_date=date(2027, 1, 1))
    assert call.get("/users/WI100")["primary_id"] == "y"
