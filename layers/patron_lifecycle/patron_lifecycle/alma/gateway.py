"""What the service asks of Alma, in Alma's words: general, users and sets.

`AlmaReader` has no method that writes: it is all that a preview gets. User records are given as Alma sends them.

Alma's lists have traps, all seen in recorded replies or in programs of libraries: `total_record_count` may be -1,
absent or larger than the number of rows; a list without rows lacks its key; names are matched by words; a set member's
`id` needn't be the primary id, which stands in its `link`.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict

from patron_lifecycle.alma.client import AlmaClient, NotAddressable, Params
from patron_lifecycle.alma.errors import Refused, Unavailable

PAGE_LIMIT = 100  # rows of a list at most (official users and conf APIs)
USER_CONTENT = "USER"  # the code of SetContentType for sets of users
_NO_SUCH_SET = frozenset({"60107", "40166410"})  # "Invalid set ID", "Parameter value invalid" (official conf API)
_USER_LINK = re.compile(r".*/users/([^/?#]+)(?:[?#].*)?", re.DOTALL)

Row = TypeVar("Row")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class General(_Frozen):
    """Whose API key it is: `GET /conf/general`. `environment_type` is production or sandbox, or empty if not told."""

    institution_code: str
    environment_type: str


class SetSummary(_Frozen):
    """One row of `GET /conf/sets`; `content` is the code of what the set holds, such as USER."""

    id: str
    name: str
    content: str


class SetDetail(SetSummary):
    """One set; `number_of_members` is None when Alma gives no usable number."""

    number_of_members: int | None


class Page(_Frozen, Generic[Row]):
    """One page of a list. `total` is what Alma says the whole list has; None when it doesn't say, or says -1."""

    total: int | None
    rows: list[Row]


class Member(_Frozen):
    """One member of a set of users: the id in its link, by which the user is asked for, and its `id`, if any."""

    user_id: str
    member_id: str | None


class SelectionError(Exception):
    """A set that the policy names, or a run to be undone, can't be used. The text says which and how to mend it."""


class SetNotFound(SelectionError):
    """There is no such set."""


class SetAmbiguous(SelectionError):
    """Several sets of users have the name."""


class SetNotOfUsers(SelectionError):
    """The set holds something else than users."""


class AlmaReader:
    """Reads one institution. Every method raises what `AlmaClient.get` raises."""

    def __init__(self, client: AlmaClient) -> None:
        self._client = client

    def general(self) -> General:
        """The institution that the API key belongs to."""
        reply = self._client.get(("conf", "general"))
        environment = reply.get("environment_type")
        return General(
            institution_code=_required(_value(reply.get("institution"))),
            environment_type=environment if isinstance(environment, str) else "",
        )

    def user(self, user_id: str, expand: tuple[str, ...] = ()) -> dict[str, Any]:
        """The full record of the user with this primary id or any other identifier: compare its primary_id.

        `expand` may name loans, requests and fees, which are null in the record otherwise.
        """
        params: Params | None = {"expand": ",".join(expand)} if expand else None
        return _user_in(self._client.get(("users", user_id), params))

    def number_of_users(self) -> int | None:
        """How many users there are in all; None when Alma gives no usable number."""
        return _page(self._client.get(("users",), {"limit": 1}), "user", lambda row: row).total

    def users_page(self, offset: int, limit: int = PAGE_LIMIT) -> Page[dict[str, Any]]:
        """Full records of `limit` (at most 100) users, in the order of their primary ids."""
        params: Params = {"expand": "full", "order_by": "primary_id", "offset": offset, "limit": limit}
        return _page(self._client.get(("users",), params), "user", lambda row: row)

    def set_detail(self, set_id: str) -> SetDetail:
        """One set, whatever it holds. An unknown id is `Refused`, code 60107."""
        reply = self._client.get(("conf", "sets", set_id))
        return SetDetail(
            id=_required(reply.get("id")),
            name=_required(reply.get("name")),
            content=_required(_value(reply.get("content"))),
            number_of_members=_count(_value(reply.get("number_of_members"))),
        )

    def sets_page(self, offset: int, limit: int = PAGE_LIMIT, name: str | None = None) -> Page[SetSummary]:
        """Sets of users; with `name`, sets of any content with words of that name (Alma compares loosely)."""
        params: dict[str, str | int] = {"offset": offset, "limit": limit}
        if name is None:
            params["content_type"] = USER_CONTENT
        else:
            params["q"] = "name~" + "_".join(name.split())  # blanks in q may give HTTP 400
        return _page(self._client.get(("conf", "sets"), params), "set", _summary)

    def set_members_page(self, set_id: str, offset: int, limit: int = PAGE_LIMIT) -> Page[Member]:
        """`limit` (at most 100) members of a set of users."""
        reply = self._client.get(("conf", "sets", set_id, "members"), {"offset": offset, "limit": limit})
        return _page(reply, "member", _member)


class AlmaWriter(AlmaReader):
    """Reads and changes one institution."""

    def check_write(self) -> None:
        """Make sure that the API key may write users, changing nothing (`POST /users/operation/test`)."""
        self._client.post_text(("users", "operation", "test"))

    def put_user(self, primary_id: str, record: dict[str, Any], not_after: float) -> dict[str, Any]:
        """Replace the whole record, and give back the record as stored.

        Raises what `AlmaClient.put` raises; the write starts at `not_after` (a time of the client's clock) at the
        latest. After `Unavailable` it is unclear whether Alma carried it out.
        """
        return _user_in(self._client.put(("users", primary_id), record, not_after))

    def post_user(self, record: dict[str, Any], not_after: float) -> dict[str, Any]:
        """Create a user, and give back the record as stored. Raises and starts as `put_user` does.

        Sent without a parameter, so that nobody is written a letter and no registration rules are applied (defaults of
        the official users API). `Refused` with code 401851 when somebody has the primary id or an identifier already.
        """
        return _user_in(self._client.post(("users",), record, not_after))

    def delete_user(self, user_id: str, not_after: float) -> None:
        """Delete the user whom this id means, for good (HTTP 204, official users API).

        The id means whoever has it for a primary id or for any identifier at that moment. Raises and starts as
        `put_user` does; `Refused` with code 401850 when something is still tied to the user.
        """
        self._client.delete(("users", user_id), not_after)


def find_set_by_name(reader: AlmaReader, name: str) -> SetDetail:
    """The one set of users with exactly this name; blanks around it don't count, capitals do.

    Raises `SetNotFound`, `SetAmbiguous`, `SetNotOfUsers`.
    """
    wanted = name.strip()

    def named_so(search: str | None) -> list[SetSummary]:
        return [summary for summary in _all_sets(reader, search) if summary.name.strip() == wanted]

    found = named_so(None)
    if not found:
        # A set that holds something else: the search tells, unless Alma doesn't take the name for a query.
        with contextlib.suppress(Refused):
            found = named_so(wanted)
    users = [summary for summary in found if summary.content == USER_CONTENT]
    if len(users) > 1:
        ids = ", ".join(summary.id for summary in users)
        raise SetAmbiguous(
            f'{len(users)} sets of users are named "{wanted}" (ids {ids}): rename all but one, or select by set_id'
        )
    if chosen := users or found:
        return user_set(reader, chosen[0].id)
    raise SetNotFound(
        f'no set of users is named "{wanted}": check the name in Alma, where capitals count, and that the set is public'
    )


def user_set(reader: AlmaReader, set_id: str) -> SetDetail:
    """The set with this id. Raises `SetNotFound`, `SetNotOfUsers`."""
    try:
        detail = reader.set_detail(set_id)
    except Refused as error:
        if error.code not in _NO_SUCH_SET:
            raise
        detail = None
    except NotAddressable:
        detail = None
    if detail is None:
        raise SetNotFound(f'there is no set with the id "{set_id}": check the id in Alma, and that the set is public')
    if detail.content != USER_CONTENT:
        raise SetNotOfUsers(
            f'set "{detail.name}" (id {detail.id}) holds {detail.content}, not users: name a set whose content is users'
        )
    return detail


def _all_sets(reader: AlmaReader, name: str | None) -> list[SetSummary]:
    found: dict[str, SetSummary] = {}
    offset = 0
    while True:
        page = reader.sets_page(offset, name=name)
        new = {summary.id: summary for summary in page.rows if summary.id not in found}
        if not new:  # past the end, or an Alma that gives the same page for every offset
            return list(found.values())
        found |= new
        offset += len(page.rows)
        if len(page.rows) < PAGE_LIMIT and page.total is not None and offset >= page.total:
            return list(found.values())


def _page(reply: dict[str, Any], key: str, read: Callable[[dict[str, Any]], Row]) -> Page[Row]:
    rows = reply.get(key)
    rows = [] if rows is None else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _unreadable()
    return Page(total=_count(reply.get("total_record_count")), rows=[read(row) for row in rows])


def _user_in(reply: dict[str, Any]) -> dict[str, Any]:
    _required(reply.get("primary_id"))
    return reply


def _summary(row: dict[str, Any]) -> SetSummary:
    """One row of the list of sets; what is missing is empty, since an odd row mustn't hide the other sets."""
    fields = {"id": row.get("id"), "name": row.get("name"), "content": _value(row.get("content"))}
    return SetSummary(**{field: value if isinstance(value, str) else "" for field, value in fields.items()})


def _member(row: dict[str, Any]) -> Member:
    link, member_id = row.get("link"), row.get("id")
    found = _USER_LINK.fullmatch(link) if isinstance(link, str) else None
    if found is None:
        user_id = _required(member_id)
    else:
        user_id = f"no primary id ({member_id})" if found[1] == "-" else unquote(found[1])
    return Member(user_id=user_id, member_id=member_id if isinstance(member_id, str) else None)


def _value(coded: Any) -> Any:
    """The code of Alma's `{"value": code, "desc": text}`."""
    return coded.get("value") if isinstance(coded, dict) else None


def _count(value: Any) -> int | None:
    """A number that Alma may give as a number or as text; None for -1 and for anything else."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


def _required(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _unreadable()
    return value


def _unreadable() -> Unavailable:
    return Unavailable(200, "unreadable_reply", "the reply isn't of the shape that Alma documents")
