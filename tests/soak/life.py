"""What others do to the patrons of an institution: staff, student information systems, the patrons themselves."""

import copy
import random
from collections.abc import Collection
from datetime import date, timedelta
from typing import Any

from sandbox.simulator.institutions import SimulatedInstitution
from sandbox.simulator.patrons import WITHOUT_PRIMARY_ID, coded, full_name, identifier, note, xs_date
from tests.soak.policies import ALSO, EVERYBODY, KEEP


def change_record(
    record: dict[str, Any], institution: SimulatedInstitution, draw: random.Random, today: date, *, may_go: bool
) -> None:
    """Change one thing that matters to a run, or, if it `may_go`, delete the record."""
    keep = institution.set_named(KEEP)
    match draw.randrange(7):
        case 0:
            record["expiry_date"] = xs_date(date(today.year + 4, today.month, 1))
        case 1:
            record["loans"] = {"value": 1}
        case 2:
            record["fees"] = {"value": -3.5}
        case 3:
            record["requests"] = {"value": 1}
        case 4:
            keep.members = (*dict.fromkeys((*keep.members, record["primary_id"])),)
        case 5 if may_go:
            del institution.users[record["primary_id"].casefold()]
        case _:
            record["status"], record["status_date"] = {"value": "ACTIVE", "desc": "Active"}, xs_date(today)


def live_a_week(
    institution: SimulatedInstitution,
    draw: random.Random,
    today: date,
    *,
    newcomers: list[dict[str, Any]],
    but: Collection[str],
) -> set[str]:
    """A week of everybody's life; the keys of all whose record, or place in a set, has changed.

    `newcomers` are records with ids that nobody has; `but` are keys whose records stay as they are.
    """
    changed = set()
    for key in draw.sample(sorted(institution.users), len(institution.users) // 6):
        if key not in but and not key.startswith(WITHOUT_PRIMARY_ID):
            _live(institution.users[key], draw, today)
            changed.add(key)
    for record in newcomers:
        institution.users[record["primary_id"].casefold()] = record
        changed.add(record["primary_id"].casefold())
    for name in (EVERYBODY, ALSO):
        some = institution.set_named(name)
        joined = [one["primary_id"] for one in newcomers if name == EVERYBODY or draw.random() < 0.25]
        some.members = (*(one for one in some.members if one.casefold() in institution.users), *joined)
    keep = institution.set_named(KEEP)
    kept_before = keep.members
    more = draw.sample(sorted(key for key in institution.users if not key.startswith(WITHOUT_PRIMARY_ID)), 2)
    joined = [institution.users[key]["primary_id"] for key in more]
    keep.members = (*dict.fromkeys((*kept_before[draw.choice((0, 1, 2)) :], *joined)),)
    return changed | {one.casefold() for one in (*kept_before, *keep.members)}


def newcomer(like: dict[str, Any], primary_id: str, barcode: str) -> dict[str, Any]:
    """A record like another one, for somebody with ids of their own."""
    return copy.deepcopy(like) | {"primary_id": primary_id, "user_identifier": [identifier("BARCODE", barcode)]}


def _live(record: dict[str, Any], draw: random.Random, today: date) -> None:
    """What a week brings to one patron."""

    def becomes(status: str, days_ago: int, expiry_days: int) -> None:
        record["status"] = coded(status, status.capitalize())
        record["status_date"] = xs_date(today - timedelta(days=days_ago))
        record["expiry_date"] = xs_date(today + timedelta(days=expiry_days))

    match draw.randrange(10):
        case 0:  # renewed
            becomes("ACTIVE", 0, draw.randint(100, 700))
        case 1 | 2 | 3:  # lapses, now or some time ago
            becomes("ACTIVE", 400, -draw.randint(0, 40))
        case 4 | 5:  # is found among long forgotten ones
            becomes("INACTIVE", draw.choice((5, 60, 500)), -draw.randint(1_000, 3_000))
            record |= {"loans": {"value": 0}, "fees": {"value": 0.0}, "requests": {"value": 0}}
        case 6:  # the student information system knows better
            record["user_group"] = coded(draw.choice(("UGRD", "GRAD", "FAC", "EMPL")))
            record["last_name"] = draw.choice(("Arno", "Elbe", "Loire", "Prut"))
            record["full_name"] = full_name(record)
        case 7:
            record["user_note"] = [note(draw.choice(("DO NOT EXPIRE: emeritus", "Prefers large print")), today)]
        case 8:  # borrows, owes
            record |= {"loans": {"value": draw.randrange(3)}, "fees": {"value": draw.choice((0.0, 0.5, 51.0))}}
        case _:
            record["purge_date"] = xs_date(today + timedelta(days=draw.randint(-400, 60)))
