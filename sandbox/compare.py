"""What Alma holds, before and after: the demo shows by it that what was taken back is as it had been."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.gateway import PAGE_LIMIT, AlmaReader
from patron_lifecycle.alma.pace import Pace
from patron_lifecycle.runs.parallel import in_parallel

Users = dict[str, dict[str, Any]]
_SET_BY_ALMA = "status_date"  # the day of the last change of status, which nobody can set


class Difference(NamedTuple):
    """One institution's patrons, before and after, by what became of them. `otherwise` names each other change."""

    equal: int
    status_date_alone: int
    gone: tuple[str, ...]
    otherwise: tuple[str, ...]


def users_of(alma_url: str, keys: Mapping[str, str]) -> dict[str, Users]:
    """The full records of all users, by institution and primary id."""
    codes = list(keys)
    found = in_parallel(lambda code: _users(alma_url, keys[code]), codes, len(codes), lambda: True)
    return {code: users or {} for code, users in zip(codes, found, strict=True)}


def _users(alma_url: str, key: str) -> Users:
    client = AlmaClient(base_url=alma_url, api_key=key, pace=Pace(20))
    reader = AlmaReader(client)
    try:
        offsets = range(0, reader.number_of_users() or 0, PAGE_LIMIT)
        pages = in_parallel(reader.users_page, offsets, client.pace.concurrency, lambda: True)
    finally:
        client.close()
    return {user["primary_id"]: user for page in pages if page is not None for user in page.rows}


def difference(before: Users, after: Users) -> Difference:
    """What became of the patrons of one institution."""
    equal = status_date_alone = 0
    gone, otherwise = [], [f"{user_id} is new" for user_id in after if user_id not in before]
    for user_id, record in before.items():
        changed = set(_changed(record, after[user_id])) if user_id in after else None
        if changed is None:
            gone.append(user_id)
        elif not changed:
            equal += 1
        elif changed == {_SET_BY_ALMA}:
            status_date_alone += 1
        else:
            otherwise.append(f"{user_id}: {', '.join(sorted(changed))}")
    return Difference(equal, status_date_alone, tuple(gone), tuple(otherwise))


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    return (name for name in {*before, *after} if before.get(name) != after.get(name))
