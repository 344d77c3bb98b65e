"""Invented patrons: full user records as Alma gives them, dated relative to a day, varied by a seed.

Names come from plants and rivers, mails from example.edu: no record can be a real person's.
"""

import random
import zlib
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

Record = dict[str, Any]

HOST = "https://api-na.hosted.exlibrisgroup.com"

STATUSES = {"ACTIVE": "Active", "INACTIVE": "Inactive"}
RECORD_TYPES = {"PUBLIC": "Public", "STAFF": "Staff", "CONTACT": "Contact"}
ACCOUNT_TYPES = {
    "INTERNAL": "Internal",
    "EXTERNAL": "External",
    "INTEXTAUTH": "Internal with external authentication",
}
USER_GROUPS = {
    "UGRD": "Undergraduate",
    "GRAD": "Graduate",
    "FAC": "Faculty",
    "EMPL": "Employee",
    "COMMUNITY": "Community patron",
}
USER_TITLES = {"MS": "Ms.", "MR": "Mr.", "MX": "Mx.", "DR": "Dr.", "PROF": "Prof."}
JOB_CATEGORIES = {"TEACH": "Teaching", "ADMIN": "Administration"}
ROLE_TYPES = {"200": "Patron", "32": "Circulation Desk Operator", "26": "General System Administrator"}

_CODES = {
    "status": STATUSES,
    "record_type": RECORD_TYPES,
    "account_type": ACCOUNT_TYPES,
    "user_group": USER_GROUPS,
    "user_title": USER_TITLES,
    "job_category": JOB_CATEGORIES,
}

WITHOUT_PRIMARY_ID = "no primary id ("
DONOR = "DONOR"

_PLANTS = (  # noqa: SIM905 - one name a line would be a page of names
    "Alder Aster Bryony Cedar Clover Dahlia Fern Flax Gentian Hazel Heather Iris Juniper Larch Laurel Linden Lupin "
    "Maple Myrtle Olive Poppy Reed Rowan Sage Sedge Sorrel Tansy Thistle Vetch Willow Yarrow Sæl Chêne"
).split()
_RIVERS = (  # noqa: SIM905
    "Adige Arno Dane Drava Ebro Elbe Garonne Inn Isar Kama Lena Loire Main Meuse Narew Oder Ohře Prut Rhône Saône Sava "
    "Spree Tagus Tisza Ural Vah Vistula Volga Warta Weser Yonne Ångerman"
).split()
_TOWNS = ("Reedham", "Larchfield", "Oldbrook", "Stonewater", "Mossley Bend")
_DO_NOT_EXPIRE = "DO NOT EXPIRE: emeritus, see the director's letter"

# How an account stands on the day, as cards per 200 patrons.
_SITUATIONS = {
    "current": 109,
    "current_inactive": 3,
    "expires_today": 1,
    "expired_days_ago": 5,
    "expired_seven_days_ago": 1,
    "lapsed": 19,
    "lapsed_inactive": 19,
    "anniversary": 1,
    "long_gone": 33,
    "no_expiry_date": 8,
    "contact": 1,
}
_DUE = frozenset({"expired_seven_days_ago", "lapsed"})
_INACTIVE = frozenset({"current_inactive", "lapsed_inactive", "anniversary", "long_gone"})

# What is special about a patron: among those whom a deactivation or a purge has to look at, more than among the
# others, so that a small institution's run meets something of everything.
_TRAITS_OF_DUE = {
    "plain": 30,
    "odd_id": 7,
    "community": 4,
    "linked": 2,
    "staff_roles": 2,
    "note_other": 2,
    "no_purge_date": 2,
    "staff_record": 1,
    "staff_record_patron_role": 1,
    "note_keep": 1,
    "twin": 1,
    "purge_before_expiry": 1,
    "block": 1,
    "address_without_line1": 1,
    "orphan_title": 1,
    "invalid_code": 1,
    "circ_desk_parameter": 1,
    "intextauth": 1,
}
# Among 150 patrons 24 are long gone at least, so these 24 cards are all dealt in a small institution too. Thirteen
# are those of patrons whom a purge deletes, unless its policy excludes their group, their note, or a set of donors.
_TRAITS_OF_LONG_GONE = {
    "plain": 3,
    "donor": 2,
    "odd_id": 1,
    "community": 1,
    "note_keep": 1,
    "twin": 1,
    "former_staff": 1,
    "intextauth": 1,
    "no_purge_date": 1,
    "purge_before_expiry": 1,
    "purge_ahead": 1,
    "active": 1,
    "inactive_for_days": 1,
    "loan": 1,
    "fees": 1,
    "small_fee": 1,
    "credit": 1,
    "request": 1,
    "staff_record_patron_role": 1,
    "staff_roles": 1,
    "linked": 1,
}
_TRAITS_OF_OTHERS = {
    "plain": 62,
    "odd_id": 4,
    "community": 6,
    "linked": 3,
    "staff_roles": 2,
    "note_other": 4,
    "no_purge_date": 4,
    "staff_record": 3,
    "staff_record_patron_role": 1,
    "note_keep": 1,
    "twin": 1,
    "purge_before_expiry": 2,
    "block": 2,
    "address_without_line1": 1,
    "orphan_title": 1,
    "invalid_code": 1,
    "circ_desk_parameter": 1,
    "intextauth": 1,
}

_FEES = {"fees": 51.0, "small_fee": 0.5, "credit": -4.0}

# Characters that have a meaning in a URL, or that a careless client decodes, encodes or compares wrongly.
_ODD_IDS = (
    "{given}#{n}",
    "{given}/{n}",
    "{given}.{n}@example.edu",
    "{given} {n}",
    "{n}%{given}",
    "{given}%2F{n}",
    "{given}+{n}",
    "{given}?{n}",
    "{given}&id={n}",
    "Größe-{given}-{n}",
    "MiXeD.{given}.{n}",
)


def xs_date(day: date) -> str:
    """A date as Alma writes it: `2023-10-31Z`."""
    return f"{day.isoformat()}Z"


def years_before(day: date, years: int) -> date:
    """The same day `years` earlier; 28 February for a 29 February that isn't there."""
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)


def coded(value: str, description: str = "") -> dict[str, str]:
    """A code with its description, the shape of all coded fields."""
    return {"value": value, "desc": description}


def role(role_type: str, *, scope: str = "01OHIO_AAA", parameters: list[Record] | None = None) -> Record:
    """An active role of a user; 200 is Patron."""
    return {
        "status": coded("ACTIVE", "Active"),
        "scope": coded(scope, "Example Library"),
        "role_type": coded(role_type, ROLE_TYPES.get(role_type, "")),
        "parameter": parameters or [],
    }


def identifier(id_type: str, value: str, *, segment_type: str = "Internal") -> Record:
    """One further identifier of a user, such as a BARCODE."""
    return {
        "value": value,
        "id_type": coded(id_type, id_type.replace("_", " ").capitalize()),
        "note": None,
        "status": "ACTIVE",
        "segment_type": segment_type,
    }


def note(text: str, created: date) -> Record:
    """A library note on a user."""
    return {
        "note_type": coded("LIBRARY", "Library"),
        "note_text": text,
        "user_viewable": False,
        "popup_note": False,
        "created_by": "exl_impl",
        "created_date": f"{created.isoformat()}T14:05:00Z",
        "segment_type": "Internal",
    }


def expansion(primary_id: str, what: str, value: float) -> Record:
    """The count of loans or requests, or the balance of fees, as `expand` shows it."""
    return {"value": value, "link": f"{HOST}/almaws/v1/users/{quote(primary_id, safe='')}/{what}"}


def record(primary_id: str, **fields: object) -> Record:
    """A plain, active, internal patron, with `fields` set over it: for tests that need one of their own.

    A coded field may be given as its bare code, a date as `date`; a field given as None is left out. `loans`,
    `requests` and `fees` are given as numbers; the simulator shows them only where `expand` asks for them.
    """
    plain: Record = {
        "record_type": coded("PUBLIC", "Public"),
        "primary_id": primary_id,
        "first_name": "Fern",
        "middle_name": "",
        "last_name": "Arno",
        "full_name": "Fern Arno",
        "pref_first_name": "",
        "pref_middle_name": "",
        "pref_last_name": "",
        "pref_name_suffix": "",
        "user_title": coded(""),
        "job_category": coded(""),
        "job_description": "",
        "gender": coded(""),
        "user_group": coded("UGRD", "Undergraduate"),
        "campus_code": {"value": None, "desc": ""},
        "web_site_url": "",
        "cataloger_level": coded("00", "[00] Default Level"),
        "preferred_language": coded("en", "English"),
        "account_type": coded("INTERNAL", "Internal"),
        "external_id": "",
        "password": "",
        "force_password_change": "",
        "status": coded("ACTIVE", "Active"),
        "status_date": "2020-01-15Z",
        "contact_info": {"address": [], "email": [], "phone": []},
        "is_researcher": False,
        "researcher": None,
        "link": None,
        "requests": None,
        "loans": None,
        "fees": None,
        "user_identifier": [],
        "user_role": [role("200")],
        "user_block": [],
        "user_note": [],
        "user_statistic": [],
        "rs_library": [],
        "proxy_for_user": [],
    }
    for name, value in fields.items():
        if name in _CODES and isinstance(value, str):
            plain[name] = coded(value, _CODES[name].get(value, ""))
        elif name in ("loans", "requests", "fees") and isinstance(value, int | float):
            plain[name] = expansion(primary_id, name, value)
        elif isinstance(value, date):
            plain[name] = xs_date(value)
        elif value is None:
            plain.pop(name, None)
        else:
            plain[name] = value
    if "full_name" not in fields:
        plain["full_name"] = full_name(plain)
    return plain


def full_name(user: Record) -> str:
    """First, middle and last name in one, as Alma composes it."""
    return " ".join(part for name in ("first_name", "middle_name", "last_name") if (part := user.get(name)))


def generate(code: str, count: int, seed: int, today: date) -> list[Record]:
    """`count` full user records of the institution `code`; the same arguments give the same patrons.

    Of 200 patrons 21 are ACTIVE and expired for seven days or more: a deactivation's candidates, of whom one
    in ten is staff or a linked copy. 33 have been expired for more than three years: a purge's candidates, of
    whom a good half can go; among 150 patrons already they have one of everything that a purge has to heed.
    The others are current, expired for a few days, INACTIVE already, without an expiry date, or contacts
    without a primary id.
    """
    # Seeded sample data; crc32 since hash() of a text differs from process to process.
    draw = random.Random(zlib.crc32(f"{code} {seed}".encode()))  # noqa: S311
    situations = _deal(_SITUATIONS, draw)
    traits_of_due = _deal(_TRAITS_OF_DUE, draw)
    traits_of_long_gone = _deal(_TRAITS_OF_LONG_GONE, draw)
    traits_of_others = _deal(_TRAITS_OF_OTHERS, draw)
    users: list[Record] = []
    twin_of: str | None = None
    for number in range(count):
        situation = next(situations)
        traits = traits_of_due if situation in _DUE else traits_of_others
        trait = next(traits_of_long_gone if situation == "long_gone" else traits)
        user = _patron(code, number, situation, trait, draw, today)
        if twin_of is not None:
            # Once that other patron is gone, Alma resolves their id to this one.
            user["user_identifier"].append(identifier("BARCODE", twin_of))
            twin_of = None
        if trait == "twin" and situation != "contact":
            twin_of = user["primary_id"]
        users.append(user)
    return users


def _deal(cards: dict[str, int], draw: random.Random) -> Iterator[str]:
    """Card by card from a deck, which is laid out anew when it is used up.

    The copies of a card lie evenly spread, one at random in each of as many stretches of the deck: shares hold
    for small numbers too.
    """
    while True:
        places = [((n + draw.random()) / copies, name) for name, copies in cards.items() for n in range(copies)]
        yield from (name for _, name in sorted(places))


def _patron(code: str, number: int, situation: str, trait: str, draw: random.Random, today: date) -> Record:
    given, family = draw.choice(_PLANTS), draw.choice(_RIVERS)
    serial = 100_000 + number
    expiry = _expiry(situation, draw, today)
    inactive = situation in _INACTIVE and trait != "active"
    community = trait == "community"
    account = "INTEXTAUTH" if trait == "intextauth" else "INTERNAL"
    if trait != "intextauth" and not community and draw.random() < 0.55:
        account = "EXTERNAL"
    if situation == "contact":
        primary_id = f"{WITHOUT_PRIMARY_ID}{serial}12)"
    elif trait == "odd_id":
        primary_id = draw.choice(_ODD_IDS).format(given=given, n=serial)
    elif account == "EXTERNAL":
        primary_id = f"{draw.choice('ABST')}00{serial}"
    else:
        primary_id = f"{given}.{family}{serial}"
    user = record(
        primary_id,
        first_name=given,
        last_name=family,
        middle_name=draw.choice(("", "", "", "B.", "Q.")),
        account_type=account,
        external_id="SIS" if account == "EXTERNAL" else "",
        user_group="COMMUNITY" if community else draw.choice(("UGRD", "UGRD", "UGRD", "GRAD", "FAC", "EMPL")),
        status="INACTIVE" if inactive else "ACTIVE",
        status_date=_status_date(expiry, trait, draw, today, inactive=inactive),
        birth_date=date(1940, 1, 1) + timedelta(days=draw.randrange(24_000)) if draw.random() < 0.3 else None,
        expiry_date=expiry,
        purge_date=_purge_date(expiry, trait, draw, today),
        contact_info=_contact_info(f"{given}.{family}{serial}".lower(), account, draw, today),
        user_identifier=_identifiers(code, serial, given, account),
        user_role=[role("200", scope=code)],
        user_statistic=[{"statistic_category": coded("LIB", "Library user"), "segment_type": "External"}],
        **_obligations(situation, trait, draw),
    )
    _mark(user, trait, draw, today)
    _mark_roles(user, trait, code)
    _mark_unfit_for_put(user, trait)
    if situation == "contact":
        user |= {"record_type": coded("CONTACT", "Contact"), "user_identifier": [], "user_role": []}
    return user


def _expiry(situation: str, draw: random.Random, today: date) -> date | None:
    if situation == "no_expiry_date":
        return None
    if situation == "expires_today":
        return today
    if situation == "anniversary":
        return years_before(today, 3)
    ranges = {
        "current": (-730, -1),
        "current_inactive": (-730, -1),
        "contact": (-730, -1),
        "expired_days_ago": (1, 6),
        "expired_seven_days_ago": (7, 7),
        "lapsed": (8, 1_090),
        "lapsed_inactive": (8, 1_090),
        "long_gone": (1_100, 3_300),
    }
    return today - timedelta(days=draw.randint(*ranges[situation]))


def _status_date(expiry: date | None, trait: str, draw: random.Random, today: date, *, inactive: bool) -> date:
    if trait == "inactive_for_days":
        return today - timedelta(days=draw.randint(1, 13))
    if inactive and expiry is not None and expiry < today:
        return min(today, expiry + timedelta(days=draw.randint(7, 60)))
    return today - timedelta(days=draw.randint(20, 2_000))


def _purge_date(expiry: date | None, trait: str, draw: random.Random, today: date) -> date | None:
    if expiry is None or trait == "no_purge_date":
        return None
    if trait == "purge_ahead":
        return today + timedelta(days=draw.randint(1, 400))
    if trait == "purge_before_expiry":
        return expiry - timedelta(days=365)
    return expiry + timedelta(days=draw.choice((30, 180, 365, 1_096)))


def _contact_info(mailbox: str, account: str, draw: random.Random, today: date) -> Record:
    segment = "External" if account == "EXTERNAL" else "Internal"
    address = {
        "line1": f"{draw.randint(1, 99)} {draw.choice(_PLANTS)} Street",
        "line2": None,
        "line3": None,
        "line4": None,
        "line5": None,
        "city": draw.choice(_TOWNS),
        "state_province": "OH",
        "postal_code": f"{draw.randint(43_000, 45_999)}",
        "country": {"value": None, "desc": None},
        "address_note": "",
        "start_date": xs_date(today - timedelta(days=draw.randint(30, 2_000))),
        "preferred": True,
        "segment_type": segment,
        "address_type": [coded("home", "Home")],
    }
    email = {
        "email_address": f"{mailbox}@example.edu",
        "description": None,
        "preferred": True,
        "segment_type": segment,
        "email_type": [coded("personal", "Personal")],
    }
    phone = {
        "phone_number": f"555-01{draw.randint(0, 99):02}",
        "preferred": True,
        "preferred_sms": False,
        "segment_type": segment,
        "phone_type": [coded("mobile", "Mobile")],
    }
    return {"address": [address], "email": [email], "phone": [phone] if draw.random() < 0.4 else []}


def _identifiers(code: str, serial: int, given: str, account: str) -> list[Record]:
    segment = "External" if account == "EXTERNAL" else "Internal"
    found = [identifier("BARCODE", f"2{zlib.crc32(code.encode()) % 10_000:04}{serial:09}", segment_type=segment)]
    if account != "INTERNAL":
        found.append(identifier("NETID", f"{given[:2].lower()}{serial}", segment_type=segment))
    if serial % 3 == 0:
        found.append(identifier("INST_ID", f"I-{serial}", segment_type=segment))
    return found


def _obligations(situation: str, trait: str, draw: random.Random) -> dict[str, float]:
    """Loans, requests and fees: usual for those who use the library; others have what their trait says."""
    if situation.startswith("current"):
        luck = draw.random()
        return {"loans": draw.randint(0, 6), "requests": int(luck < 0.1), "fees": 2.5 if luck > 0.9 else 0.0}
    return {"loans": int(trait == "loan"), "requests": int(trait == "request"), "fees": _FEES.get(trait, 0.0)}


def _mark(user: Record, trait: str, draw: random.Random, today: date) -> None:
    created = today - timedelta(days=draw.randint(30, 1_500))
    match trait:
        case "donor":
            category = coded(DONOR, "Donor")
            user["user_statistic"].append({"statistic_category": category, "segment_type": "Internal"})
        case "linked":
            user["source_institution_code"] = "01OHIO_ZZZ"
            user["source_link_id"] = f"{draw.randint(10**9, 10**10)}"
        case "note_keep":
            user["user_note"].append(note(_DO_NOT_EXPIRE, created))
        case "note_other":
            user["user_note"].append(note("Prefers large print", created))
        case "block":
            user["user_block"].append(
                {
                    "block_type": coded("GENERAL", "General"),
                    "block_description": coded("01", "Lost card"),
                    "block_status": "ACTIVE",
                    "block_note": None,
                    "created_by": "exl_impl",
                    "created_date": f"{created.isoformat()}T09:30:00Z",
                    "segment_type": "Internal",
                }
            )
        case _:
            pass


def _mark_roles(user: Record, trait: str, code: str) -> None:
    match trait:
        case "staff_record" | "staff_record_patron_role":
            user["record_type"] = coded("STAFF", "Staff")
            if trait == "staff_record":
                user["user_role"].append(role("26", scope=code))
        case "staff_roles":
            user["user_role"].append(role("32", scope=code))
        case "former_staff":
            user["user_role"].append(role("32", scope=code) | {"status": coded("INACTIVE", "Inactive")})
        case "circ_desk_parameter":
            # Read as it is, refused when sent back: the parameter's code has lost its description.
            parameter = {"type": coded("CirculationDesk"), "scope": coded(code), "value": coded("DEFAULT_CIRC_DESK")}
            user["user_role"] = [role("200", scope=code, parameters=[parameter])]
        case _:
            pass


def _mark_unfit_for_put(user: Record, trait: str) -> None:
    """What Alma gives on a GET and refuses on a PUT."""
    match trait:
        case "address_without_line1":
            user["contact_info"]["address"][0]["line1"] = None
        case "orphan_title":
            user["user_title"] = {"value": "exdoc", "desc": None}
        case "invalid_code":
            user["job_category"] = coded("OLDJOB")
        case _:
            pass
