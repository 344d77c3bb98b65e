"""The calls of Alma's API that the simulator knows: for each its parameters, its error codes, and what it does.

`ROUTES` is the whole table. A route is handed only the parameters that its row names, and may refuse only with
the codes that its row names, so a test can hold the table against the official OpenAPI documents.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from sandbox.simulator.institutions import SimulatedInstitution, SimulatedSet, link, member_id
from sandbox.simulator.messages import Refusal
from sandbox.simulator.patrons import HOST, Record, expansion
from sandbox.simulator.swap_all import created, replaced

_PAGING = ("limit", "offset")
_COUNTS = ("loans", "requests", "fees")
# Fields of GET /users that `q` may name and the simulator can search. Alma has more; they are answered
# like a query that wasn't understood.
_SEARCHABLE: Mapping[str, Callable[[Record], Iterable[str]]] = {
    "primary_id": lambda user: (user["primary_id"],),
    "first_name": lambda user: (user["first_name"],),
    "last_name": lambda user: (user["last_name"],),
    "middle_name": lambda user: (user["middle_name"],),
    "email": lambda user: (entry["email_address"] for entry in user["contact_info"]["email"]),
    "identifiers": lambda user: (entry["value"] for entry in user["user_identifier"]),
    "user_group": lambda user: (user["user_group"]["value"], user["user_group"]["desc"]),
    "note_text": lambda user: (entry["note_text"] for entry in user["user_note"]),
    "ALL": lambda user: (text for name, texts in _SEARCHABLE.items() if name != "ALL" for text in texts(user)),
}


@dataclass(frozen=True)
class Call:
    """One call of a route: its institution, the path's variables, the parameters that the route understands."""

    institution: SimulatedInstitution
    arguments: Mapping[str, str]
    query: Mapping[str, str]
    content_type: str
    body: bytes
    today: date

    def number(self, name: str, default: int, largest: int | None = None) -> int:
        """A whole number among the parameters.

        "Valid values are 0-100" (official API, `limit`). What happens beyond is only documented for sets
        (40166410 'Parameter value invalid.'); the same is chosen for the others, so that a client that asks
        for more than it may get is found out.
        """
        text = self.query.get(name) or str(default)
        if not (text.isascii() and text.isdecimal()) or (largest is not None and int(text) > largest):
            raise Refusal("40166410", f"Parameter value invalid: {name}.")
        return int(text)

    def page(self, rows: list[Any]) -> list[Any]:
        """The rows that `limit` and `offset` ask for."""
        offset = self.number("offset", 0)
        return rows[offset : offset + self.number("limit", 10, 100)]

    def json(self) -> object:
        """The body as JSON; None when it is none, or isn't declared as such."""
        try:
            return json.loads(self.body) if "json" in self.content_type else None
        except ValueError:
            return None

    def user_key(self) -> str:
        """The key of the user whom the path means. Raises `Refusal`: HTTP 400, never 404 (recorded replies)."""
        user_id, id_type = self.arguments["user_id"], self.query.get("user_id_type") or "all_unique"
        key = self.institution.find(user_id, id_type)
        if key is not None:
            return key
        if id_type == "all_unique":  # recorded, though PUT and DELETE are documented with 401890 alone
            raise Refusal("401861", f"User with identifier {user_id} was not found.")
        raise Refusal("401890", f"User with identifier {user_id} of type {id_type} was not found.")


class Answer(NamedTuple):
    """A route's answer: HTTP status, content (None: no body; a text: XML), number of full records in a list."""

    status: int
    content: Any
    full_rows: int = 0


class Route(NamedTuple):
    """One call of the API; `template` is the path below /almaws/v1 with its variables in braces."""

    method: str
    template: str
    answer: Callable[[Call], Answer]
    parameters: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def _listed(name: str, rows: list[Any], total: int) -> Record:
    """A list as Alma gives it: without rows the key is absent (recorded for loans and users)."""
    return ({name: rows} if rows else {}) | {"total_record_count": total}


def _shown(user: Record, expand: Iterable[str] = ()) -> Record:
    """A user as GET, PUT and POST show it: loans, requests and fees are null unless `expand` names them."""
    counts = {
        name: (user.get(name) or expansion(user["primary_id"], name, 0)) if name in expand else None for name in _COUNTS
    }
    return user | counts | {"link": None}


def _row(user: Record) -> Record:
    """A row of GET /users without expand: what a recorded list has, thus neither expiry_date nor user_group."""
    brief = {name: user[name] for name in ("primary_id", "first_name", "last_name", "gender", "password", "status")}
    return brief | dict.fromkeys(_COUNTS) | {"link": link(user)}


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s_,]+", text.casefold()) if word]


def _contains(words: list[str], texts: Iterable[str | None]) -> bool:
    """Alma's search by words, roughly: every word occurs somewhere."""
    text = " ".join(part.casefold().replace("_", " ") for part in texts if part)
    return all(word in text for word in words)


def get_users(call: Call) -> Answer:
    """GET /users: all users, those that a query finds, or those modified since a day."""
    query, since = call.query.get("q"), call.query.get("modify_date_from")
    if query and since:
        # "If both are provided, the request will be rejected"; the code isn't told.
        raise Refusal("402119", "General error. q and modify_date_from are mutually exclusive.")
    found = call.institution.users
    if query:
        name, _, text = query.partition("~")
        texts, words = _SEARCHABLE.get(name), _words(text)
        if texts is None or not words:
            return Answer(200, {"total_record_count": -1})  # a query that isn't understood, met by libraries
        found = {key: user for key, user in found.items() if _contains(words, texts(user))}
    if since:
        found = _modified_since(call, since)

    order = call.query.get("order_by")
    if order == "primary_id" and not query:
        keys = sorted(found)
    elif order == "first_name":
        keys = sorted(found, key=lambda key: (found[key]["first_name"].casefold(), key))
    else:  # "If the query option is used, the result will not sort by primary_id"
        keys = sorted(found, key=lambda key: (found[key]["last_name"].casefold(), found[key]["first_name"], key))
    page = [found[key] for key in call.page(keys)]
    if call.query.get("expand") == "full":
        return Answer(
            200, _listed("user", [_shown(user) | {"link": link(user)} for user in page], len(keys)), len(page)
        )
    return Answer(200, _listed("user", [_row(user) for user in page], len(keys)))


def _modified_since(call: Call, since: str) -> dict[str, Record]:
    """Users modified on or after a day; who hasn't been since the simulator started counts by status_date."""
    try:
        day = date.fromisoformat(since)
    except ValueError:
        raise Refusal("402119", "General error. modify_date_from is not of the form yyyy-MM-dd.") from None
    changed = call.institution.modified
    return {
        key: user
        for key, user in call.institution.users.items()
        if changed.get(key, date.fromisoformat(user["status_date"][:10])) >= day
    }


def get_user(call: Call) -> Answer:
    """GET /users/{user_id}: the full record."""
    expand = (call.query.get("expand") or "").split(",")
    return Answer(200, _shown(call.institution.users[call.user_key()], expand))


def put_user(call: Call) -> Answer:
    """PUT /users/{user_id}: the record is replaced; the answer is the full new one."""
    key = call.user_key()
    override = [name.strip() for name in (call.query.get("override") or "").split(",")]
    after = replaced(call.institution.users[key], call.json(), override=override, today=call.today)
    new_key = after["primary_id"].casefold()
    if new_key != key and new_key in call.institution.users:  # another primary id in the body renames the user
        raise _already_exists("PRIMARYIDENTIFIER", after["primary_id"])
    call.institution.replace(key, after, call.today, asked=call.arguments["user_id"])
    return Answer(200, _shown(after))


def post_user(call: Call) -> Answer:
    """POST /users: a new user, unless somebody has one of the ids; the answer, HTTP 200, is the full record."""
    user = created(call.json(), today=call.today)
    for id_type, value in call.institution.taken(user):
        raise _already_exists(id_type, value)
    call.institution.add(user, call.today, asked=user["primary_id"])
    return Answer(200, _shown(user))


def _already_exists(id_type: str, value: str) -> Refusal:
    return Refusal("401851", f"User with identifier {value} of type {id_type} already exists.")


def delete_user(call: Call) -> Answer:
    """DELETE /users/{user_id}: gone for good.

    What Alma refuses isn't documented: here it is loans, and whomever a test has declared `undeletable`.
    """
    key, asked = call.user_key(), call.arguments["user_id"]
    if (call.institution.users[key].get("loans") or {}).get("value") or key in call.institution.undeletable:
        id_type = call.query.get("user_id_type") or "all_unique"
        raise Refusal("401850", f"Failed to delete user with identifier {asked} of type {id_type}.")
    call.institution.remove(key, asked=asked)
    return Answer(204, None)


def get_general(call: Call) -> Answer:
    """GET /conf/general: which institution, and whether production or sandbox."""
    institution = call.institution
    return Answer(
        200,
        {
            "institution": {"value": institution.code, "desc": institution.name},
            "alma_url": "https://na00.alma.exlibrisgroup.com:443/",
            "environment_type": institution.environment_type,
            "digital": {
                "bucket": "na-st00.ext.exlibrisgroup.com",
                "region": "us-east-1",
                "ingest_url": "https://s3.amazonaws.com/na-st00.ext.exlibrisgroup.com",
                "delivery_url": "https://na-st00.ext.exlibrisgroup.com",
            },
        },
    )


def get_test(call: Call) -> Answer:
    """GET /users/operation/test and /conf/test: the key may read. XML whatever was asked."""
    return Answer(200, f"<test>GET - OK - institutionCode: {call.institution.code}</test>")


def post_test(call: Call) -> Answer:
    """POST /users/operation/test and /conf/test: the key may write."""
    return Answer(200, f"<test>POST - OK - institutionCode: {call.institution.code}</test>")


def get_sets(call: Call) -> Answer:
    """GET /conf/sets: rows without number_of_members; `q` searches for words in name or created_by."""
    rows = call.institution.sets
    if content := call.query.get("content_type"):
        rows = [row for row in rows if row.content == content]
    if set_type := call.query.get("set_type"):
        rows = [row for row in rows if _set_type(row) == set_type]
    if query := call.query.get("q"):
        name, tilde, text = query.partition("~")
        if not tilde or name not in ("name", "created_by"):
            raise Refusal("60106", "Invalid query format.")
        words = _words(text)
        rows = [row for row in rows if _contains(words, (row.name if name == "name" else "Staff, Ex Libris",))]
    return Answer(200, _listed("set", [_set_row(row) for row in call.page(rows)], len(rows)))


def get_set(call: Call) -> Answer:
    """GET /conf/sets/{set_id}: with the number of members, for a logical set as of now, and its query."""
    chosen = _chosen_set(call)
    row = _set_row(chosen)
    # A text in the official schema; a number was recorded once.
    row["number_of_members"] = {"value": str(len(_members(call, chosen))), "link": f"{row['link']}/members"}
    if chosen.condition is not None:
        row["query"] = {"value": chosen.query, "desc": f"where ({chosen.name})"}
    return Answer(200, row)


def get_members(call: Call) -> Answer:
    """GET /conf/sets/{set_id}/members: members as of now, so pages of a logical set drift as records change."""
    members = _members(call, _chosen_set(call))
    rows = [
        {"id": member, "description": f"Item {member}", "link": f"{HOST}/almaws/v1/items/{member}"}
        if isinstance(member, str)
        else {"id": member_id(member), "description": member["full_name"], "link": link(member)}
        for member in call.page(members)
    ]
    return Answer(200, _listed("member", rows, len(members)))


def _chosen_set(call: Call) -> SimulatedSet:
    for candidate in call.institution.sets:
        if candidate.id == call.arguments["set_id"]:
            return candidate
    raise Refusal("60107", "Invalid set ID.")


def _members(call: Call, chosen: SimulatedSet) -> list[Record] | list[str]:
    if chosen.content != "USER":
        return list(chosen.members)
    return list(call.institution.members(chosen, call.today))


def _set_type(row: SimulatedSet) -> str:
    return "ITEMIZED" if row.condition is None else "LOGICAL"


def _set_row(row: SimulatedSet) -> Record:
    created = "2024-09-02T14:05:00.000Z"
    return {
        "id": row.id,
        "name": row.name,
        "type": {"value": _set_type(row), "desc": _set_type(row).capitalize()},
        "content": {"value": row.content, "desc": {"USER": "User", "ITEM": "Physical items"}.get(row.content, "")},
        "status": {"value": "ACTIVE", "desc": "Active"},
        "origin": {"value": "UI", "desc": "Institution only"},
        "private": {"value": "false", "desc": "No"},
        "status_date": created,
        "created_by": {"value": "exl_impl", "desc": "Staff, Ex Libris"},
        "created_date": created,
        "link": f"{HOST}/almaws/v1/conf/sets/{row.id}",
    }


_GET_USERS = (*_PAGING, "q", "order_by", "expand", "modify_date_from")
_REFUSED_PUT = (
    "401652",
    "401664",
    "401676",
    "401851",
    "401853",
    "401854",
    "401855",
    "401858",
    "401860",
    "401861",
    "401864",
    "401890",
)
_REFUSED_POST = (
    "401658",
    "401664",
    "401676",
    "401851",
    "401853",
    "401854",
    "401855",
    "401857",
    "401864",
)
_GET_SETS = ("content_type", "set_type", "q", *_PAGING)

ROUTES = (
    Route("GET", "/users", get_users, _GET_USERS, ("402119", "40166410")),
    Route("POST", "/users", post_user, (), _REFUSED_POST),
    Route("GET", "/users/operation/test", get_test),
    Route("POST", "/users/operation/test", post_test),
    Route("GET", "/users/{user_id}", get_user, ("user_id_type", "expand"), ("401861", "401890")),
    Route("PUT", "/users/{user_id}", put_user, ("user_id_type", "override"), _REFUSED_PUT),
    Route("DELETE", "/users/{user_id}", delete_user, ("user_id_type",), ("401850", "401861", "401890")),
    Route("GET", "/conf/test", get_test),
    Route("POST", "/conf/test", post_test),
    Route("GET", "/conf/general", get_general),
    Route("GET", "/conf/sets", get_sets, _GET_SETS, ("60106", "40166410")),
    Route("GET", "/conf/sets/{set_id}", get_set, (), ("60107",)),
    Route("GET", "/conf/sets/{set_id}/members", get_members, _PAGING, ("60107", "40166410")),
)
