"""The sets, general and test calls of the simulated Alma."""

from datetime import date

from sandbox.simulator.alma import Alma
from sandbox.simulator.institutions import SimulatedInstitution, SimulatedSet
from sandbox.simulator.patrons import record
from tests.unit.sandbox.simulator_caller import CODE, Caller, refusal


def names(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    """The names of listed sets."""
    return [row["name"] for row in answer.get("set", [])]


def test_list_of_sets_by_content_and_type(call: Caller) -> None:
    """content_type and set_type filter; rows have no number_of_members."""
    answer = call.get("/conf/sets", content_type="USER", set_type="LOGICAL")
    assert names(answer) == ["OHIONET purge", "Expired and active"]
    assert answer["total_record_count"] == 2
    assert "number_of_members" not in answer["set"][0]
    assert call.get("/conf/sets", content_type="ITEM")["set"][0]["content"]["value"] == "ITEM"


def test_list_of_sets_is_paged(call: Caller) -> None:
    """limit and offset page; past the end the key is absent."""
    assert names(call.get("/conf/sets", limit="2", offset="4")) == ["community_patrons old"]
    assert call.get("/conf/sets", offset="5") == {"total_record_count": 5}


def test_name_search_is_fuzzy(call: Caller) -> None:
    """A search by name finds others too: words as parts, underscores as spaces, any case."""
    assert names(call.get("/conf/sets", q="name~OHIONET_purge")) == ["OHIONET purge", "OHIONET purge items"]
    assert names(call.get("/conf/sets", q="name~Community patrons")) == ["Community patrons", "community_patrons old"]
    assert call.get("/conf/sets", q="created_by~nobody") == {"total_record_count": 0}
    assert refusal(call("GET", "/conf/sets", q="OHIONET"))[:2] == (400, "60106")


def test_sets_may_share_a_name(call: Caller, institution: SimulatedInstitution) -> None:
    """Two sets of one name are both listed."""
    institution.sets.append(SimulatedSet("16", "OHIONET purge"))
    assert names(call.get("/conf/sets", q="name~purge", content_type="USER")) == ["OHIONET purge", "OHIONET purge"]


def test_set_tells_its_members_and_query(call: Caller) -> None:
    """A set tells how many members it has; a logical one its query."""
    logical, itemized = call.get("/conf/sets/11"), call.get("/conf/sets/14")
    assert (logical["type"]["value"], logical["number_of_members"]["value"]) == ("LOGICAL", "1")
    assert logical["query"]["value"] == "USER where …"
    assert (itemized["type"]["value"], itemized["number_of_members"]["value"]) == ("ITEMIZED", "1")
    assert "query" not in itemized


def test_unknown_set(call: Caller) -> None:
    """An unknown set is HTTP 400 with 60107, and so are its members."""
    assert refusal(call("GET", "/conf/sets/99"))[:2] == (400, "60107")
    assert refusal(call("GET", "/conf/sets/99/members"))[:2] == (400, "60107")


def test_member_is_named_by_its_link(call: Caller) -> None:
    """A member's id isn't the primary id; the link ends in it, encoded."""
    answer = call.get("/conf/sets/14/members")
    assert answer["total_record_count"] == 1
    (member,) = answer["member"]
    assert member["id"].isdecimal()
    assert member["description"] == "Sage Oder"
    assert member["link"].endswith("/almaws/v1/users/sage%2Foder%231")


def test_contact_has_a_link_without_an_id(call: Caller, institution: SimulatedInstitution) -> None:
    """A contact without a primary id is linked as `-`."""
    institution.users["no primary id (4711)"]["expiry_date"] = "2020-01-01Z"
    members = call.get("/conf/sets/11/members")["member"]
    assert sorted(member["link"].rsplit("/", 1)[1] for member in members) == ["-", "fern.arno"]


def test_empty_set_has_no_member_key(call: Caller) -> None:
    """Members of an empty set are a count alone."""
    assert call.get("/conf/sets/15/members") == {"total_record_count": 0}


def test_set_of_items(call: Caller) -> None:
    """A set of items lists items."""
    (member,) = call.get("/conf/sets/12/members")["member"]
    assert "/items/2315" in member["link"]


def test_pages_of_a_logical_set_drift(call: Caller, institution: SimulatedInstitution) -> None:
    """A member that stops matching moves all later ones a place forward: the next page skips one."""
    for number in range(4):
        institution.users[f"n{number}"] = record(f"n{number}", expiry_date=date(2025, 1, 1))

    def page(offset: int) -> list[str]:
        answer = call.get("/conf/sets/13/members", limit="3", offset=str(offset))
        return [member["link"].rsplit("/", 1)[1] for member in answer["member"]]

    assert len({*page(0), *page(3)}) == 6
    first = page(0)
    call.put(f"/users/{first[0]}", call.get(f"/users/{first[0]}") | {"status": {"value": "INACTIVE"}})
    assert len({*first, *page(3)}) == 5


def test_general(call: Caller) -> None:
    """General tells code and environment."""
    general = call.get("/conf/general")
    assert general["institution"]["value"] == CODE
    assert general["environment_type"] == "sandbox"


def test_test_calls_answer_in_xml(call: Caller) -> None:
    """The test calls name the institution, in XML though JSON was asked."""
    for area in ("users/operation", "conf"):
        for method in ("GET", "POST"):
            reply = call(method, f"/{area}/test")
            assert reply.headers["Content-Type"].startswith("application/xml")
            assert reply.body.decode() == f"<test>{method} - OK - institutionCode: {CODE}</test>"


def test_institutions_are_apart(institution: SimulatedInstitution) -> None:
    """A key sees its own institution alone."""
    other = SimulatedInstitution("01OHIO_BBB", "B", "b", users=[record("olive.isar")])
    call = Caller(Alma([institution, other]), "b")
    assert [row["primary_id"] for row in call.get("/users")["user"]] == ["olive.isar"]
    assert call.get("/conf/general")["institution"]["value"] == "01OHIO_BBB"
