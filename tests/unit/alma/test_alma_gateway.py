"""Reader and writer ask what Alma documents and see through the traps of its lists; sets are found exactly."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from patron_lifecycle.alma.errors import AlmaError, DailyThreshold, NotFound, Refused, Unauthorized, Unavailable
from patron_lifecycle.alma.gateway import (
    AlmaReader,
    AlmaWriter,
    General,
    Member,
    SetAmbiguous,
    SetDetail,
    SetNotFound,
    SetNotOfUsers,
    SetSummary,
    find_set_by_name,
    user_set,
)
from tests.alma_facts import SAMPLES, needs_samples
from tests.unit.alma.scripted_alma import Answer, FakeClock, ScriptedAlma, client_of, error_reply, reply

ROOT = "https://alma.example.edu/almaws/v1"


def alma_that(*script: Answer) -> tuple[AlmaWriter, ScriptedAlma]:
    """A writer, and the Alma that answers it by the script, then with outages."""
    answers = list(script)
    clock = FakeClock()
    alma = ScriptedAlma(lambda _: answers.pop(0) if answers else reply(b"", 503), clock)
    return AlmaWriter(client_of(alma, clock, retry_seconds=1)), alma


def query_of(request: requests.PreparedRequest) -> dict[str, str]:
    """The query of a request."""
    return dict(parse_qsl(urlsplit(request.path_url).query))


def a_set(set_id: str, name: str, content: str = "USER", **more: object) -> dict[str, Any]:
    """A set as a list row or, with `type` and `number_of_members` in `more`, in full."""
    return {"id": set_id, "name": name, "content": {"value": content, "desc": "?"}, **more}


def alma_with_sets(*sets: dict[str, Any], count: int | None = None) -> tuple[AlmaReader, ScriptedAlma]:
    """An Alma with these sets. Its name search finds all that share a word; `count` is the total it claims."""

    def answer(request: requests.PreparedRequest) -> Answer:
        path, query = urlsplit(request.path_url).path, query_of(request)
        if path != "/almaws/v1/conf/sets":
            found = [each for each in sets if path.endswith("/" + each["id"])]
            whole = {"type": {"value": "ITEMIZED"}, "number_of_members": {"value": "7"}}
            return reply(found[0] | whole) if found else error_reply("60107")
        rows = [
            each for each in sets if each["content"]["value"] == query.get("content_type", each["content"]["value"])
        ]
        if "q" in query:
            words = query["q"].removeprefix("name~").lower().split("_")
            rows = [each for each in rows if set(words) & set(each["name"].lower().split())]
        start, limit = int(query["offset"]), int(query["limit"])
        return reply({"set": rows[start : start + limit], "total_record_count": len(rows) if count is None else count})

    clock = FakeClock()
    alma = ScriptedAlma(answer, clock)
    return AlmaReader(client_of(alma, clock)), alma


def test_general_tells_whose_key_it_is() -> None:
    """Institution code and environment are read from /conf/general."""
    reader, alma = alma_that(
        reply({"institution": {"value": "01OHIO_AAA", "desc": "Ashland"}, "environment_type": "sandbox"}),
        reply({"institution": {"value": "01OHIO_AAA"}}),
    )
    assert reader.general() == General(institution_code="01OHIO_AAA", environment_type="sandbox")
    assert reader.general() == General(institution_code="01OHIO_AAA", environment_type="")
    assert alma.paths[0] == "/almaws/v1/conf/general"


def test_write_permission_is_checked_without_writing() -> None:
    """POST to the test operation succeeds, or raises the typed error of a read-only key."""
    writer, alma = alma_that(reply(b"<test>POST - OK</test>"), error_reply("UNAUTHORIZED"))
    writer.check_write()
    with pytest.raises(Unauthorized):
        writer.check_write()
    assert [(sent.method, sent.path_url) for sent in alma.requests] == [("POST", "/almaws/v1/users/operation/test")] * 2


def test_a_reader_has_nothing_to_write_with() -> None:
    """A preview's gateway offers no method that changes anything."""
    assert {name for name in vars(AlmaWriter) if not name.startswith("_")} == {
        "check_write",
        "put_user",
        "post_user",
        "delete_user",
    }
    assert not {"check_write", "put_user", "post_user", "delete_user"} & set(dir(AlmaReader))


def test_counts_are_asked_for_only_where_they_are_wanted() -> None:
    """Loans, requests and fees come with the record when `expand` names them."""
    reader, alma = alma_that(reply({"primary_id": "a"}), reply({"primary_id": "a"}))
    reader.user("a")
    reader.user("a", ("loans", "fees"))
    assert alma.requests[0].url == "https://alma.example.edu/almaws/v1/users/a"
    assert alma.requests[1].url == "https://alma.example.edu/almaws/v1/users/a?expand=loans%2Cfees"


@pytest.mark.parametrize(("body", "number"), [({"total_record_count": 17}, 17), ({"total_record_count": -1}, None)])
def test_the_number_of_users_is_alma_s_own_count(body: dict[str, int], number: int | None) -> None:
    """One row is asked for, the count is taken; a count that is none is told as none."""
    reader, alma = alma_that(reply(body))
    assert reader.number_of_users() == number
    assert str(alma.requests[0].url).endswith("/almaws/v1/users?limit=1")


@pytest.mark.parametrize("answer", [reply(b"", 204), reply(b"", 200), reply({"primary_id": "a"})])
def test_a_user_is_deleted_by_an_escaped_id(answer: requests.Response) -> None:
    """The id is one path segment whatever is in it; no content, or a body that tells of no error, means done."""
    writer, alma = alma_that(answer)
    writer.delete_user("a/b#c %é", not_after=2000)
    assert alma.requests[0].method == "DELETE"
    assert alma.paths == ["/almaws/v1/users/a%2Fb%23c%20%25%C3%A9"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (error_reply("401850"), Refused),
        (error_reply("401861"), NotFound),
        (error_reply("401890"), NotFound),
        (error_reply("UNAUTHORIZED", 200), Unauthorized),
        (reply(b"<html>busy</html>"), Unavailable),
        (reply(b"", 302), Unavailable),
        (reply(b"", 502), Unavailable),
        (requests.ReadTimeout("x"), Unavailable),
    ],
)
def test_a_delete_that_is_not_plainly_done_says_what_is_known(answer: Answer, error: type[AlmaError]) -> None:
    """Refused, gone already, or unclear: never taken for done, and never sent a second time."""
    writer, alma = alma_that(answer)
    with pytest.raises(error):
        writer.delete_user("a", not_after=2000)
    assert len(alma.requests) == 1


def test_a_user_is_read_and_put_as_it_is() -> None:
    """Records pass unchanged in both directions, unknown fields and empty lists too."""
    record = {"primary_id": "a/b", "user_note": [], "new_field": {"x": None}, "pi": 3.10}
    writer, alma = alma_that(reply(record), reply(record))
    assert writer.user("a/b") == record
    assert writer.put_user("a/b", record, not_after=2000) == record
    assert alma.paths == ["/almaws/v1/users/a%2Fb"] * 2
    assert json.loads(alma.requests[1].body or b"") == record


@pytest.mark.parametrize("body", [{}, {"primary_id": None}, {"primary_id": 7}, {"primary_id": ""}])
def test_a_user_without_primary_id_is_no_usable_reply(body: dict[str, object]) -> None:
    """Without one nobody can tell whose record it is; after a PUT it is unclear what was done."""
    writer, _ = alma_that(reply(body), reply(body))
    with pytest.raises(Unavailable, match="unreadable_reply"):
        writer.user("jane")
    with pytest.raises(Unavailable, match="unreadable_reply"):
        writer.put_user("jane", {}, not_after=2000)


def test_users_are_listed_in_full_and_in_order() -> None:
    """The list asks for all fields, by primary id, from an offset, and gives the rows as they are."""
    rows = [{"primary_id": "a"}, {"primary_id": "no primary id (123)", "link": f"{ROOT}/users/-"}]
    reader, alma = alma_that(reply({"user": rows, "total_record_count": 20_000}))
    page = reader.users_page(300)
    assert (page.total, page.rows) == (20_000, rows)
    assert query_of(alma.requests[0]) == {"expand": "full", "order_by": "primary_id", "offset": "300", "limit": "100"}


@pytest.mark.parametrize(
    ("count", "total"), [({}, None), ({"total_record_count": -1}, None), ({"total_record_count": "5"}, 5),
                         ({"total_record_count": 0}, 0), ({"total_record_count": None}, None),
                         ({"total_record_count": True}, None), ({"total_record_count": 5.5}, None)],
)  # fmt: skip
@pytest.mark.parametrize("rows", [{}, {"user": None}, {"user": []}])
def test_a_page_may_lack_rows_and_count(rows: dict[str, object], count: dict[str, object], total: int | None) -> None:
    """An absent list is an empty one; a count that is absent, -1 or no number is none."""
    reader, _ = alma_that(reply(rows | count))
    page = reader.users_page(0)
    assert (page.total, page.rows) == (total, [])


@pytest.mark.parametrize("rows", [{"primary_id": "a"}, "a", ["a"], [None], 0])
def test_rows_of_another_shape_are_no_usable_reply(rows: object) -> None:
    """One object instead of a list, or a row that is none, isn't taken for an empty page."""
    reader, _ = alma_that(reply({"user": rows, "total_record_count": 1}))
    with pytest.raises(Unavailable, match="unreadable_reply"):
        reader.users_page(0)


@pytest.mark.parametrize(
    ("member", "primary_id"),
    [
        ({"id": "123", "link": f"{ROOT}/users/jane"}, "jane"),
        ({"id": "123", "link": f"{ROOT}/users/jane%40example.edu"}, "jane@example.edu"),
        ({"id": "123", "link": f"{ROOT}/users/a%2Fb%23?user_id_type=all_unique"}, "a/b#"),
        ({"id": "123", "link": "/almaws/v1/users/100%25+1"}, "100%+1"),
        ({"link": f"{ROOT}/users/jane"}, "jane"),
        ({"id": "123", "link": f"{ROOT}/users/-"}, "no primary id (123)"),
        ({"id": "jane"}, "jane"),
        ({"id": "jane", "link": None}, "jane"),
        ({"id": "jane", "link": ""}, "jane"),
        ({"id": "jane", "link": f"{ROOT}/users/"}, "jane"),
        ({"id": "3333", "link": f"{ROOT}/bibs/2222/holdings/1/items/3333"}, "3333"),
        ({"id": "jane", "link": "http://[broken"}, "jane"),
    ],
)
def test_a_member_is_named_by_its_link(member: dict[str, object], primary_id: str) -> None:
    """The primary id is what the link to the user ends in, decoded; else the member's id."""
    reader, alma = alma_that(reply({"member": [member], "total_record_count": 1}))
    page = reader.set_members_page("77", 200)
    assert ([member.user_id for member in page.rows], page.total) == ([primary_id], 1)
    assert alma.paths == ["/almaws/v1/conf/sets/77/members?offset=200&limit=100"]


def test_a_member_without_link_and_id_is_no_usable_reply() -> None:
    """A member that nothing names must not vanish silently."""
    reader, _ = alma_that(reply({"member": [{"description": "?"}]}))
    with pytest.raises(Unavailable, match="unreadable_reply"):
        reader.set_members_page("77", 0)


@pytest.mark.parametrize(
    ("number", "count"),
    [({"value": "59"}, 59), ({"value": 59}, 59), ({"value": 0}, 0), ({"value": -1}, None), ({"value": ""}, None),
     ({"value": "many"}, None), ({}, None), (None, None), (59, None)],
)  # fmt: skip
def test_a_sets_count_may_be_text_number_or_nothing(number: object, count: int | None) -> None:
    """number_of_members is text by the schema and a number in a recorded reply; anything else is no count."""
    reader, alma = alma_that(reply(a_set("77", "Old", type={"value": "LOGICAL"}, number_of_members=number)))
    detail = reader.set_detail("77")
    assert detail == SetDetail(id="77", name="Old", content="USER", type="LOGICAL", number_of_members=count)
    assert alma.paths == ["/almaws/v1/conf/sets/77"]


@pytest.mark.parametrize("missing", ["id", "name", "content"])
def test_a_set_without_its_main_fields_is_no_usable_reply(missing: str) -> None:
    """What a set is and holds must be known before anything is selected by it."""
    whole = a_set("77", "Old", type={"value": "LOGICAL"})
    del whole[missing]
    reader, _ = alma_that(reply(whole))
    with pytest.raises(Unavailable, match="unreadable_reply"):
        reader.set_detail("77")


def test_sets_are_listed_by_content_or_searched_by_name() -> None:
    """Without a name all sets of users are asked for; with one, any sets, with underscores for blanks."""
    odd = {"id": "8", "name": None, "content": None}
    reader, alma = alma_that(reply({"set": [a_set("7", "Old"), odd]}), reply({}))
    assert reader.sets_page(100).rows == [
        SetSummary(id="7", name="Old", content="USER"),
        SetSummary(id="8", name="", content=""),
    ]
    assert reader.sets_page(0, name=" OHIONET  purge ").rows == []
    assert [query_of(sent) for sent in alma.requests] == [
        {"content_type": "USER", "offset": "100", "limit": "100"},
        {"q": "name~OHIONET_purge", "offset": "0", "limit": "100"},
    ]


def test_a_set_is_found_by_its_exact_name_on_any_page() -> None:
    """Like names, other cases and earlier pages don't matter; blanks around the name don't either."""
    others = [a_set(f"1{number:03}", f"OHIONET purge {number}") for number in range(230)]
    reader, alma = alma_with_sets(*others, a_set("7", "OHIONET purge "), a_set("8", "OHIONET Purge"))
    found = find_set_by_name(reader, "  OHIONET purge")
    assert found == SetDetail(id="7", name="OHIONET purge ", content="USER", type="ITEMIZED", number_of_members=7)
    assert len(alma.requests) == 4


@pytest.mark.parametrize("count", [-1, 100])
def test_a_count_that_lies_does_not_end_the_search(count: int) -> None:
    """With a total of -1, or one that a full page reaches, the list is read up to its end."""
    others = [a_set(f"1{number:03}", "other") for number in range(100)]
    reader, alma = alma_with_sets(*others, a_set("7", "Old"), count=count)
    assert find_set_by_name(reader, "Old").id == "7"
    assert not any("q" in query_of(sent) for sent in alma.requests)


@pytest.mark.parametrize("rows", [100, 3])
def test_an_alma_that_repeats_its_page_does_not_hold_the_search(rows: int) -> None:
    """A list that ignores the offset is read until nothing new comes."""
    page = {"set": [a_set(f"1{number:03}", "other") for number in range(rows)], "total_record_count": 5000}
    clock = FakeClock()
    alma = ScriptedAlma(lambda _: reply(page), clock)
    with pytest.raises(SetNotFound):
        find_set_by_name(AlmaReader(client_of(alma, clock)), "Old")
    assert len(alma.requests) == 4


def test_a_name_that_no_set_has_is_not_found() -> None:
    """Sets of like names don't count; the text says what to check."""
    reader, _ = alma_with_sets(a_set("7", "OHIONET purge 2"), a_set("8", "ohionet purge"))
    with pytest.raises(SetNotFound, match=r'"OHIONET purge".*capitals count'):
        find_set_by_name(reader, "OHIONET purge")


def test_a_name_that_several_sets_have_is_ambiguous() -> None:
    """Nobody guesses which one is meant; the text gives the ids."""
    reader, _ = alma_with_sets(a_set("7", "Old"), a_set("8", "Old "), a_set("9", "Old", "ITEM"))
    with pytest.raises(SetAmbiguous, match=r"2 sets .*7, 8.*set_id"):
        find_set_by_name(reader, "Old")


def test_a_name_of_a_set_of_something_else_is_told() -> None:
    """The text says what the set of that name holds."""
    reader, _ = alma_with_sets(a_set("7", "Old", "ITEM"), a_set("8", "Old books", "BIB_MMS"))
    with pytest.raises(SetNotOfUsers, match=r"Old.*id 7.*ITEM"):
        find_set_by_name(reader, "Old")


def test_a_set_of_users_wins_over_others_of_its_name() -> None:
    """An Alma that lists all contents nevertheless doesn't get a set of items selected."""
    rows = [a_set("7", "Old", "ITEM"), a_set("8", "Old")]
    reader, alma = alma_that(
        reply({"set": rows, "total_record_count": 2}), reply(a_set("8", "Old", type={"value": "LOGICAL"}))
    )
    assert find_set_by_name(reader, "Old").id == "8"
    assert alma.paths[-1] == "/almaws/v1/conf/sets/8"


def test_a_name_that_alma_takes_for_no_query_is_not_found() -> None:
    """The search by name only serves to say more: its refusal is no trouble of its own, a spent quota is."""
    reader, _ = alma_that(reply({}), error_reply("60106"))
    with pytest.raises(SetNotFound):
        find_set_by_name(reader, "~~")
    reader, _ = alma_that(reply({}), error_reply("DAILY_THRESHOLD", 429))
    with pytest.raises(DailyThreshold):
        find_set_by_name(reader, "~~")


def test_a_set_is_taken_by_id_when_it_holds_users() -> None:
    """By id, a set of users is given; another one or none at all is told with the way to mend it."""
    reader, _ = alma_with_sets(a_set("7", "Old"), a_set("8", "Books", "BIB_MMS"))
    assert user_set(reader, "7").number_of_members == 7
    with pytest.raises(SetNotOfUsers, match=r"Books.*id 8.*BIB_MMS"):
        user_set(reader, "8")
    for set_id in ("99", "..", ""):
        with pytest.raises(SetNotFound, match="check the id"):
            user_set(reader, set_id)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(lambda: error_reply("60340"), Refused), (lambda: error_reply("UNAUTHORIZED"), Unauthorized)],
)
def test_other_refusals_are_not_taken_for_a_missing_set(answer: Callable[[], Answer], error: type[Exception]) -> None:
    """Only Alma's word that the id is invalid says that there is no such set."""
    reader, _ = alma_that(answer())
    with pytest.raises(error):
        user_set(reader, "7")


@needs_samples
def test_recorded_replies_of_sets_and_users_parse() -> None:
    """The recorded list of sets, set, members and users are read as they were meant."""

    def sample(name: str) -> requests.Response:
        return reply((SAMPLES / name).read_bytes())

    reader, _ = alma_that(
        sample("sets.json"), sample("set_logical.json"), sample("set_members.json"), sample("users_response.json")
    )
    sets = reader.sets_page(0)
    assert (sets.total, len(sets.rows)) == (147, 5)
    assert sets.rows[0] == SetSummary(id="10043265300006532", name="AH-C to MAIN transfers", content="ITEM")
    detail = reader.set_detail("8768111200006532")
    assert (detail.content, detail.number_of_members) == ("IEPA", 59)
    members = reader.set_members_page("1", 0)
    assert (members.total, members.rows) == (2, [Member(user_id="3333", member_id="3333")])
    users = reader.users_page(0)
    assert (users.total, users.rows[0]["primary_id"]) == (1, "1234567")
    for file in SAMPLES.glob("user_*.json"):
        record = json.loads(file.read_bytes())
        if "errorsExist" not in record:
            assert alma_that(sample(file.name))[0].user("x") == record
