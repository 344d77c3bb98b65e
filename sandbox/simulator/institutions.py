"""One simulated institution: its keys, patrons and sets, and the record of what was done to it."""

import copy
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from sandbox.simulator.patrons import DONOR, HOST, WITHOUT_PRIMARY_ID, Record, generate, years_before

DAILY_QUOTA = 1_000_000

Condition = Callable[[Record, date], bool]


@dataclass
class SimulatedSet:
    """A set of Alma: logical when it has a `condition`, itemized otherwise.

    `members` of an itemized set of users are primary ids (those who are gone are no longer listed), of another
    content their ids. A logical set asks `condition(record, today)` of every user each time it is looked at,
    since a logical set is a saved query; `query` is its text as Alma would show it. The literal index names
    of queries over users are not published: these are made up.
    """

    id: str
    name: str
    content: str = "USER"
    members: tuple[str, ...] = ()
    condition: Condition | None = None
    query: str = ""


class Write(NamedTuple):
    """One write that Alma carried out: copies of the whole record before, unless created, and after, unless deleted.

    `primary_id` is whose record it was; `asked` the id in the path, which may be another patron's, or the primary
    id of whom a POST creates.
    """

    method: str
    primary_id: str
    before: Record | None
    after: Record | None
    asked: str


class SimulatedInstitution:
    """An institution; `users` holds the records by case-folded primary id and may be changed by a test at will.

    `loans`, `requests` and `fees` of a record are what `expand` shows. `read_only_keys` may read but not write.
    `daily_quota` is the number of calls a day, 1,000,000 when None; institutions of the same `pool` share the smallest.

    For tests: `undeletable` are case-folded primary ids whose deletion is refused with 401850, for a reason that
    the record doesn't show. `on_write` is handed each write as it is about to be carried out, while users and
    sets are still as they were; what a test changes in `users` by itself is no write.
    """

    def __init__(
        self,
        code: str,
        name: str,
        api_key: str,
        read_only_keys: Iterable[str] = (),
        environment_type: str = "sandbox",
        users: Iterable[Record] = (),
        sets: Iterable[SimulatedSet] = (),
        daily_quota: int | None = None,
    ) -> None:
        self.code = code
        self.name = name
        self.api_key = api_key
        self.read_only_keys = frozenset(read_only_keys)
        self.environment_type = environment_type
        # In the order that a sweep asks for, which makes its sorting cheap.
        self.users: dict[str, Record] = {
            user["primary_id"].casefold(): user
            for user in sorted(users, key=lambda user: user["primary_id"].casefold())
        }
        self.sets = list(sets)
        self.daily_quota = DAILY_QUOTA if daily_quota is None else daily_quota
        self.pool: str | None = None
        self.writes: list[Write] = []
        self.modified: dict[str, date] = {}
        self.undeletable: set[str] = set()
        self.on_write: Callable[[Write], None] | None = None

    def set_named(self, name: str) -> SimulatedSet:
        """The first set of that name; KeyError when there is none."""
        for candidate in self.sets:
            if candidate.name == name:
                return candidate
        raise KeyError(name)

    def find(self, user_id: str, id_type: str = "all_unique") -> str | None:
        """The key in `users` of the patron whom Alma means by `user_id`, None when nobody is meant.

        all_unique is first the primary id, which is case-insensitive (rest_user.xsd), then any identifier of
        any patron. Chosen, for want of a source: identifiers are case-insensitive too and also found when
        inactive, and the first patron that has one wins. Contacts without a primary id can't be addressed.
        """
        wanted = user_id.casefold()
        if id_type == "all_unique" and wanted in self.users and not wanted.startswith(WITHOUT_PRIMARY_ID):
            return wanted
        for key, user in self.users.items():
            for identifier in user["user_identifier"]:
                if identifier["value"].casefold() == wanted and id_type in (
                    "all_unique",
                    identifier["id_type"]["value"],
                ):
                    return key
        return None

    def members(self, chosen: SimulatedSet, today: date) -> Iterator[Record]:
        """The users who are in the set now."""
        if chosen.condition is not None:
            yield from (user for user in self.users.values() if chosen.condition(user, today))
            return
        for primary_id in chosen.members:
            user = self.users.get(primary_id.casefold())
            if user is not None:
                yield user

    def taken(self, user: Record) -> Iterator[tuple[str, str]]:
        """Type and value of each id of `user` that somebody here has already, as a primary id or an identifier.

        Chosen, for want of a source: neither its type nor its case makes an id another one.
        """
        in_use = set(self.users)
        for other in self.users.values():
            in_use.update(entry["value"].casefold() for entry in other["user_identifier"])
        ids = [("PRIMARYIDENTIFIER", user["primary_id"])]
        ids += [(entry["id_type"]["value"], entry["value"]) for entry in user["user_identifier"]]
        return ((id_type, value) for id_type, value in ids if value.casefold() in in_use)

    def add(self, user: Record, today: date, *, asked: str) -> None:
        """Carry out a POST for the primary id `asked`: `user` is a new patron, whose ids nobody has."""
        self._note("POST", None, user, asked)
        key = user["primary_id"].casefold()
        self.users[key] = user
        self.modified[key] = today

    def replace(self, key: str, after: Record, today: date, *, asked: str) -> None:
        """Carry out a PUT to the id `asked`: the record under `key` becomes `after`, maybe with a new primary id."""
        self._note("PUT", self.users[key], after, asked)
        new_key = after["primary_id"].casefold()
        if new_key != key:
            del self.users[key]
        self.users[new_key] = after
        self.modified[new_key] = today

    def remove(self, key: str, *, asked: str) -> None:
        """Carry out a DELETE of the id `asked`, which means the record under `key`."""
        self._note("DELETE", self.users[key], None, asked)
        del self.users[key]

    def _note(self, method: str, before: Record | None, after: Record | None, asked: str) -> None:
        primary_id = asked if before is None else before["primary_id"]
        write = Write(method, primary_id, copy.deepcopy(before), copy.deepcopy(after), asked)
        self.writes.append(write)
        if self.on_write is not None:
            self.on_write(write)


def institution(code: str, name: str, api_key: str, count: int, seed: int, today: date) -> SimulatedInstitution:
    """The standard institution: `count` generated patrons and these sets.

    | name | content, type | members |
    |---|---|---|
    | OHIONET purge | USER logical | expired more than three years ago |
    | OHIONET purge test | USER itemized | nobody; a search for the name above finds it too |
    | OHIONET purge items | ITEM itemized | two items |
    | Expired and active | USER logical | ACTIVE, expired for a week or more: who is deactivated leaves it |
    | Expired and active, as of the start | USER itemized | the members of the set above as the simulator starts |
    | Community patrons | USER itemized | user group COMMUNITY |
    | Protected from the purge | USER itemized | donors, whom a purge would delete otherwise |
    | Also to purge | USER itemized | user group COMMUNITY, expired; some of them less than three years ago |
    """
    users = generate(code, count, seed, today)

    def ids(condition: Condition) -> tuple[str, ...]:
        addressable = (user for user in users if not user["primary_id"].startswith(WITHOUT_PRIMARY_ID))
        return tuple(user["primary_id"] for user in addressable if condition(user, today))

    number = zlib.crc32(code.encode())
    sets = [
        SimulatedSet(
            id=f"1{number:010}01",
            name="OHIONET purge",
            condition=expired_for_years,
            query='USER where USER ((expiryDate LESS_THAN "today - 3 years"))',
        ),
        SimulatedSet(id=f"1{number:010}02", name="OHIONET purge test"),
        SimulatedSet(id=f"1{number:010}03", name="OHIONET purge items", content="ITEM", members=("2315", "2316")),
        SimulatedSet(
            id=f"1{number:010}04",
            name="Expired and active",
            condition=expired_and_active,
            query='USER where USER ((expiryDate LESS_EQUAL "today - 7 days") AND USER (status EQUAL "ACTIVE"))',
        ),
        SimulatedSet(
            id=f"1{number:010}05", name="Expired and active, as of the start", members=ids(expired_and_active)
        ),
        SimulatedSet(
            id=f"1{number:010}06",
            name="Community patrons",
            members=ids(lambda user, _: _is_community(user)),
        ),
        SimulatedSet(
            id=f"1{number:010}07", name="Protected from the purge", members=ids(lambda user, _: _is_donor(user))
        ),
        SimulatedSet(
            id=f"1{number:010}08",
            name="Also to purge",
            members=ids(lambda user, day: _is_community(user) and str(user.get("expiry_date") or "9") < _text(day)),
        ),
    ]
    return SimulatedInstitution(code, name, api_key, users=users, sets=sets)


def expired_for_years(user: Record, today: date) -> bool:
    """Whether the patron's expiry date lies more than three years before `today`."""
    return str(user.get("expiry_date") or "9") < _text(years_before(today, 3))


def expired_and_active(user: Record, today: date) -> bool:
    """Whether the patron is ACTIVE and expired for seven days or more."""
    expiry = user.get("expiry_date")
    return (
        expiry is not None
        and user["status"]["value"] == "ACTIVE"
        and str(expiry)[:10] <= _text(date.fromordinal(today.toordinal() - 7))
    )


def _is_community(user: Record) -> bool:
    return bool(user["user_group"]["value"] == "COMMUNITY")


def _is_donor(user: Record) -> bool:
    return any(entry["statistic_category"]["value"] == DONOR for entry in user["user_statistic"])


@lru_cache(maxsize=8)
def _text(day: date) -> str:
    return day.isoformat()


def member_id(user: Record) -> str:
    """A number that isn't the primary id: what a member of a set of users has for an id is not documented."""
    return f"{zlib.crc32(user['primary_id'].encode())}0121"


def link(user: Record) -> str:
    """The address of a user; contacts without a primary id have `-` in the id's place (recorded list)."""
    primary_id = user["primary_id"]
    segment = "-" if primary_id.startswith(WITHOUT_PRIMARY_ID) else quote(primary_id, safe="")
    return f"{HOST}/almaws/v1/users/{segment}"
