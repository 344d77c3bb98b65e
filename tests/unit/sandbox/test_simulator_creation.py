"""What the simulated Alma makes of POST /users."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.simulator.alma import Alma
from sandbox.simulator.institutions import SimulatedInstitution, Write
from sandbox.simulator.institutions import institution as standard_institution
from sandbox.simulator.messages import Fault, Request, general_error
from sandbox.simulator.patrons import WITHOUT_PRIMARY_ID, identifier, note, record, role
from sandbox.simulator.swap_all import OUTPUT_ONLY, refuses
from tests.unit.sandbox.simulator_caller import TODAY, Caller, refusal

LEAST = {
    "primary_id": "reed.main",
    "last_name": "Main",
    "record_type": {"value": "PUBLIC"},
    "account_type": {"value": "INTERNAL"},
}


def sent(user: dict[str, Any]) -> dict[str, Any]:
    """What a caller sends of a record: all that isn't output alone."""
    return {name: value for name, value in user.items() if name not in OUTPUT_ONLY}


def test_least_record(call: Caller) -> None:
    """Four fields are enough; the rest gets default values, in all the fields that a GET gives, dated today."""
    user = call.post(LEAST)
    assert user == call.get("/users/REED.main")
    assert set(user) == set(call.get("/users/sage%2Foder%231"))
    assert (user["first_name"], user["full_name"]) == ("", "Main")
    assert user["status"] == {"value": "ACTIVE", "desc": "Active"}
    assert user["status_date"] == "2026-11-23Z"
    assert user["contact_info"] == {"address": [], "email": [], "phone": []}
    lists = ("user_role", "user_identifier", "user_block", "user_note", "user_statistic", "rs_library")
    assert [user[name] for name in (*lists, "proxy_for_user")] == [[]] * 7
    assert [user[name] for name in ("requests", "loans", "fees", "password")] == [None, None, None, ""]
    assert not {"expiry_date", "purge_date", "birth_date", "source_link_id", "linking_id"} & set(user)


def test_status_and_lists_are_as_sent(call: Caller) -> None:
    """Status, roles and lists are those that are sent; notes keep by whom and when they were written."""
    lists = {
        "user_role": [role("200"), role("26")],
        "user_identifier": [identifier("BARCODE", "2315")],
        "user_note": [note("Prefers large print", date(2021, 5, 1))],
    }
    user = call.post(LEAST | lists | {"status": {"value": "INACTIVE"}, "expiry_date": "2027-01-31"})
    assert {name: user[name] for name in lists} == lists
    assert (user["status"]["value"], user["status_date"]) == ("INACTIVE", "2026-11-23Z")
    assert user["expiry_date"] == "2027-01-31Z"
    assert call.get("/users/2315")["primary_id"] == "reed.main"


def test_output_fields_are_ignored(call: Caller) -> None:
    """What Alma itself writes can't be sent, nor is the password shown."""
    plain = call.post(LEAST)
    call("DELETE", "/users/reed.main")
    changed = {
        "full_name": "Somebody Else",
        "status_date": "2001-01-01Z",
        "last_patron_activity_date": "2001-01-01Z",
        "loans": {"value": 9},
        "fees": {"value": 9.5},
        "proxy_for_user": [{"primary_id": "fern.arno"}],
        "source_institution_code": "01OHIO_ZZZ",
        "source_link_id": "77",
        "linking_id": "77",
        "password": "secret",
    }
    assert call.post(LEAST | changed) == plain
    assert call.get("/users/reed.main", expand="loans")["loans"]["value"] == 0


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"primary_id": ""}, "401664", "primary_id"),
        ({"last_name": None}, "401664", "last_name"),
        ({"record_type": {"value": ""}}, "401664", "record_type"),
        ({"account_type": None}, "401664", "account_type"),
        ({"contact_info": {"address": [{"line1": None}]}}, "401664", "address line1"),
        ({"contact_info": {"email": [{"email_address": ""}]}}, "401664", "email email_address"),
        ({"contact_info": {"phone": [{}]}}, "401664", "phone phone_number"),
        ({"account_type": {"value": "OTHER"}}, "401857", "must be INTERNAL/EXTERNAL"),
        ({"account_type": {"value": "INTEXTAUTH"}}, "401855", "not supported"),
        ({"account_type": {"value": "EXTERNAL"}}, "401854", "must be given"),
        ({"external_id": "SIS"}, "401853", "must be empty"),
        ({"user_title": {"value": "exdoc", "desc": None}}, "401864", "title"),
        ({"job_category": {"value": "OLDJOB"}}, "401864", "job category"),
        ({"status": {"value": "DELETED"}}, "401864", "status"),
        (
            {"user_role": [role("200", parameters=[{"value": {"value": "DEFAULT_CIRC_DESK", "desc": ""}}])]},
            "401864",
            "DEFAULT_CIRC_DESK",
        ),
        ({"user_note": {"user_note": []}}, "401658", "java.util.ArrayList"),
        ({"contact_info": []}, "401658", "contact_info"),
        ({"status": "INACTIVE"}, "401658", "status"),
        ({"expiry_date": "31/10/2026"}, "401658", "expiry_date"),
        ({"primary_id": "WILLOW.elbe"}, "401851", "WILLOW.elbe of type PRIMARYIDENTIFIER"),
        ({"primary_id": "b-77"}, "401851", "b-77 of type PRIMARYIDENTIFIER"),
        ({"primary_id": "no primary id (4711)"}, "401851", "already exists"),
        ({"user_identifier": [identifier("NETID", "Fern.Arno")]}, "401851", "Fern.Arno of type NETID"),
        ({"user_identifier": [identifier("NETID", "b-77")]}, "401851", "b-77 of type NETID"),
    ],
)
def test_refusals(
    call: Caller, institution: SimulatedInstitution, changed: dict[str, Any], code: str, message: str
) -> None:
    """A record that Alma wouldn't take is refused with its code, and nobody is created or changed."""
    institution.users["fern.arno"]["user_identifier"].append(identifier("BARCODE", "B-77"))
    before = call.get("/users", expand="full")
    status, given, text = refusal(call("POST", "/users", LEAST | changed))
    assert (status, given) == (400, code)
    assert message in text
    assert call.get("/users", expand="full") == before
    assert institution.writes == []
    assert refuses(LEAST | changed) is (code != "401851")


def test_post_of_no_json(call: Caller, alma: Alma) -> None:
    """A body that is no JSON object, or isn't declared as JSON, is refused."""
    assert refusal(call("POST", "/users", [LEAST]))[1] == "401676"
    headers = {"Authorization": f"apikey {call.key}", "Accept": "application/json", "Content-Type": "text/plain"}
    assert refusal(alma.handle("POST", "/almaws/v1/users", {}, headers, json.dumps(LEAST).encode()))[1] == "401676"


def test_only_once(call: Caller, institution: SimulatedInstitution) -> None:
    """The same record can't be created twice, but again once the patron is gone."""
    call.post(LEAST)
    assert refusal(call("POST", "/users", LEAST))[1] == "401851"
    call("DELETE", "/users/reed.main")
    call.post(LEAST)
    assert [write.method for write in institution.writes] == ["POST", "DELETE", "POST"]


def test_external_account(call: Caller) -> None:
    """An EXTERNAL account with its external id is created as such."""
    external = {"account_type": {"value": "EXTERNAL"}, "external_id": "SIS"}
    user = call.post(LEAST | external)
    assert (user["account_type"]["value"], user["external_id"]) == ("EXTERNAL", "SIS")


def test_write_is_noted(call: Caller, institution: SimulatedInstitution) -> None:
    """A POST is a write with nothing before it, handed over while the patron isn't there yet."""
    seen: list[tuple[Write, bool]] = []
    institution.on_write = lambda write: seen.append((write, "reed.main" in institution.users))
    user = call.post(LEAST | {"primary_id": "Reed.Main"})
    ((write, there),) = seen
    assert (write.method, write.primary_id, write.before, write.asked) == ("POST", "Reed.Main", None, "Reed.Main")
    assert (write.after, there) == (user, False)
    assert institution.writes == [write]


def test_the_new_are_found_in_order(call: Caller, institution: SimulatedInstitution) -> None:
    """A sweep meets a new patron at the place of the primary id, and whoever asks for the modified finds them."""
    institution.modified["reed.main"] = date(2025, 5, 1)  # of a patron who had the id and is gone
    call.post(LEAST)
    ids = [row["primary_id"] for row in call.get("/users", order_by="primary_id")["user"]]
    assert ids == ["fern.arno", "no primary id (4711)", "reed.main", "sage/oder#1", "Willow.Elbe"]
    assert [row["primary_id"] for row in call.get("/users", modify_date_from="2026-11-23")["user"]] == ["reed.main"]


@pytest.mark.parametrize(
    ("fault", "there"), [(Fault(lost="timeout", carried_out=True), True), (Fault(reply=general_error()), False)]
)
def test_faults(call: Caller, institution: SimulatedInstitution, fault: Fault, there: bool) -> None:
    """A test can let a POST go wrong, done or not; it sees the route and the body."""
    seen: list[Request] = []

    def judge(request: Request) -> Fault:
        seen.append(request)
        return fault

    call.alma.faults.append(judge)
    reply = call("POST", "/users", LEAST)
    assert reply.lost is not None or reply.status == 503
    assert ("reed.main" in institution.users) is there
    assert [(request.method, request.route, json.loads(request.body)) for request in seen] == [
        ("POST", "/users", LEAST)
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_round_trip(seed: int) -> None:
    """Who is deleted and created from all but the output fields of a GET is the same again, or is refused as meant."""
    institution = standard_institution("01OHIO_BBB", "B", "b", 600, seed, TODAY)
    call = Caller(Alma([institution], per_second=None, today=lambda: TODAY), "b")
    refused: Counter[str] = Counter()
    addressable = [user for user in institution.users.values() if not user["primary_id"].startswith(WITHOUT_PRIMARY_ID)]
    for stored in addressable:
        path = f"/users/{quote(stored['primary_id'], safe='')}"
        before = call.get(path)
        del institution.users[stored["primary_id"].casefold()]
        reply = call("POST", "/users", sent(before))
        if reply.status == 200:
            after = call.get(path)
            assert sent(after) == sent(before)
            assert after["full_name"] == before["full_name"]
            assert after == json.loads(reply.body)
        else:
            refused[refusal(reply)[1]] += 1
            institution.users[stored["primary_id"].casefold()] = stored
    assert set(refused) == {"401664", "401864", "401855", "401851"}
    assert refused.total() < len(addressable) / 10


@pytest.mark.parametrize(
    "change",
    [
        lambda user: user | {"user_title": {"value": ""}},
        lambda user: {name: value for name, value in user.items() if name != "user_title"},
    ],
)
def test_without_what_was_refused(call: Caller, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """A record that was refused for one code is taken without it."""
    user = sent(record("x", user_title={"value": "exdoc", "desc": None}, user_group="FAC"))
    assert refusal(call("POST", "/users", user))[1] == "401864"
    created = call.post(change(user))
    assert created["user_title"] == {"value": "", "desc": ""}
    assert created["user_group"] == user["user_group"]
