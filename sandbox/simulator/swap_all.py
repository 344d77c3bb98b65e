"""What `PUT /users/{user_id}` and `POST /users` make of a record: Alma's "Swap All", with its refusals.

"Existing fields' information will be replaced with the incoming information. Incoming lists will replace
existing lists" (official users API); missing elements get default values. A POST is the same with nobody there
before: what POST does beyond its codes and mandatory fields is hardly documented.
"""

import copy
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from sandbox.simulator.messages import Refusal
from sandbox.simulator.patrons import ACCOUNT_TYPES, JOB_CATEGORIES, STATUSES, USER_TITLES, Record, full_name, xs_date

_TEXTS = [
    "first_name",
    "middle_name",
    "last_name",
    "pref_first_name",
    "pref_middle_name",
    "pref_last_name",
    "pref_name_suffix",
    "job_description",
    "web_site_url",
    "external_id",
    "force_password_change",
]
_CODED = [
    "record_type",
    "user_title",
    "job_category",
    "gender",
    "user_group",
    "campus_code",
    "cataloger_level",
    "preferred_language",
]
_DATES = ("birth_date", "expiry_date", "purge_date")
_LISTS = ("user_identifier", "user_block", "user_note", "user_statistic", "rs_library")
_CONTACTS = ("address", "email", "phone")
# "Output parameter" in rest_user.xsd: what comes in is ignored. The password is never given back, and an empty one
# keeps the one that is stored.
_KEPT_AS_STORED = [
    "last_patron_activity_date",
    "requests",
    "loans",
    "fees",
    "proxy_for_user",
    "source_link_id",
    "source_institution_code",
    "linking_id",
    "link",
    "password",
]
OUTPUT_ONLY = frozenset({"full_name", "status_date", *_KEPT_AS_STORED})  # nobody can bring these back as they were
# "Will not be replaced if updated manually (or if empty in the incoming user record)", external accounts, unless
# named in `override`. Who updated a field is not simulated: only an empty one is kept.
_KEPT_WHEN_EMPTY = [
    "user_group",
    "job_category",
    "preferred_language",
    "campus_code",
    "user_title",
    "pref_first_name",
    "pref_middle_name",
    "pref_last_name",
    "cataloger_level",
]
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})Z?")
# Who is there before a POST. No roles are made up for somebody who is sent without any; Alma's own registration
# rules, which may add some, have to be asked for.
_NOBODY: Record = {
    "account_type": {"value": ""},
    "status": {"value": ""},
    "user_role": [],
    "requests": None,
    "loans": None,
    "fees": None,
    "proxy_for_user": [],
    "link": None,
    "password": "",
}


class _General(NamedTuple):
    """Where PUT and POST differ: the code for what can't be read, code and words for an account type."""

    unreadable: str
    account_type: tuple[str, str]


# The words for what can't be read are recorded for wrapped lists; the codes that come with them are not, nor is the
# one that a PUT refuses a change from EXTERNAL to INTERNAL with: general ones were chosen.
_PUT = _General("401652", ("401860", "Failed to update user."))
_POST = _General("401658", ("401857", "The given user account type is illegal (must be INTERNAL/EXTERNAL)."))


def replaced(stored: Record, incoming: object, *, override: Collection[str] = (), today: date) -> Record:
    """The record that Alma stores when `incoming`, a parsed JSON body, is PUT over `stored`. Raises `Refusal`."""
    return _swapped(stored, incoming, _PUT, override, today)


def created(incoming: object, *, today: date) -> Record:
    """The record that Alma stores when `incoming`, a parsed JSON body, is POSTed. Raises `Refusal`.

    Chosen, for want of a source: notes and blocks keep created_by and created_date as they are sent, and whoever
    is sent without roles has none.
    """
    return _swapped(_NOBODY, incoming, _POST, (), today)


def refuses(user: Record) -> bool:
    """Whether Alma refuses to create this user for what is in the record, whoever else has their ids."""
    try:
        created(user, today=date.min)
    except Refusal:
        return True
    return False


def _swapped(stored: Record, incoming: object, general: _General, override: Collection[str], today: date) -> Record:
    if not isinstance(incoming, dict):
        raise Refusal("401676", "No valid XML was given.")
    for java_type, name in _unreadable(incoming):
        message = f"Cannot deserialize value of type `{java_type}` (through reference chain: User[{name}])"
        raise Refusal(general.unreadable, message)
    _refuse_missing(incoming)
    _refuse_account(stored, incoming, general.account_type)
    _refuse_codes(incoming)

    after = _incoming_fields(stored, incoming)
    after["status_date"] = xs_date(today) if _status_changes(stored, after) else stored.get("status_date")
    if after["account_type"]["value"] == "EXTERNAL":
        for name in set(_KEPT_WHEN_EMPTY) - set(override):
            if not (_value(incoming, name) if name in _CODED else incoming.get(name)):
                after[name] = copy.deepcopy(stored.get(name, after[name]))
    for name in _KEPT_AS_STORED:
        if name in stored:
            after[name] = copy.deepcopy(stored[name])
    after["full_name"] = full_name(after)
    return after


def _incoming_fields(stored: Record, incoming: Record) -> Record:
    """All fields that the caller sets, with default values for those that are missing."""
    after: Record = {"primary_id": incoming["primary_id"]}
    after |= {name: incoming.get(name) or "" for name in _TEXTS}
    after |= {name: _coded(stored.get(name), incoming.get(name)) for name in _CODED}
    after |= {name: f"{incoming[name].removesuffix('Z')}Z" for name in _DATES if incoming.get(name)}
    after |= {name: incoming.get(name) or [] for name in _LISTS}
    contacts = incoming.get("contact_info") or {}
    after["contact_info"] = {name: contacts.get(name) or [] for name in _CONTACTS}
    # A list without roles keeps the stored ones, alone among the lists.
    after["user_role"] = incoming.get("user_role") or copy.deepcopy(stored["user_role"])
    after["is_researcher"] = incoming.get("is_researcher") or False
    after["researcher"] = incoming.get("researcher")
    account_type, status = _value(incoming, "account_type"), _value(incoming, "status") or "ACTIVE"
    after["account_type"] = {"value": account_type, "desc": ACCOUNT_TYPES[account_type]}
    after["status"] = {"value": status, "desc": STATUSES[status]}
    return after


def _status_changes(stored: Record, after: Record) -> bool:
    return bool(stored["status"]["value"] != after["status"]["value"])


def _value(user: Mapping[str, Any], name: str) -> str:
    field = user.get(name)
    return str(field.get("value") or "") if isinstance(field, Mapping) else ""


def _coded(stored: Record | None, incoming: Record | None) -> Record:
    """A coded field: descriptions come from Alma's tables, so the same code keeps the stored one."""
    if not incoming:
        return {"value": "", "desc": ""}
    if stored is not None and stored.get("value") == incoming.get("value"):
        return copy.deepcopy(stored)
    return {"value": incoming.get("value"), "desc": incoming.get("desc") or ""}


def _is_date(text: object) -> bool:
    match = _DATE.fullmatch(text) if isinstance(text, str) else None
    try:
        date.fromisoformat(match[1] if match else "")
    except ValueError:
        return False
    return True


def _unreadable(incoming: Record) -> Iterator[tuple[str, str]]:
    """Java's type and the name of each field that is of another shape."""
    yield from _unreadable_lists(incoming)
    for name in (*_CODED, "status", "account_type"):
        if incoming.get(name) is not None and not isinstance(incoming[name], dict):
            yield "UserField", name
    for name in ("primary_id", *_TEXTS):
        if incoming.get(name) is not None and not isinstance(incoming[name], str):
            yield "java.lang.String", name
    for name in _DATES:
        if incoming.get(name) and not _is_date(incoming[name]):
            yield "javax.xml.datatype.XMLGregorianCalendar", name


def _unreadable_lists(incoming: Record) -> Iterator[tuple[str, str]]:
    contacts = {} if incoming.get("contact_info") is None else incoming["contact_info"]
    if not isinstance(contacts, dict):
        yield "ContactInfo", "contact_info"
        return
    lists = {name: incoming.get(name) for name in (*_LISTS, "user_role")} | {
        f"contact_info.{name}": contacts.get(name) for name in _CONTACTS
    }
    for name, value in lists.items():
        if value is not None and not (isinstance(value, list) and all(isinstance(entry, dict) for entry in value)):
            yield "java.util.ArrayList", name
            return
    if not all(isinstance(entry.get("value"), str | None) for entry in incoming.get("user_identifier") or []):
        yield "java.lang.String", "user_identifier"


def _refuse_missing(incoming: Record) -> None:
    """rest_user.xsd names record_type, primary_id and account_type as mandatory; others were met by libraries."""
    for name in ("primary_id", "last_name"):
        if not incoming.get(name):
            raise Refusal("401664", f"Mandatory field is missing: {name}")
    for name in ("record_type", "account_type"):
        if not _value(incoming, name):
            raise Refusal("401664", f"Mandatory field is missing: {name}")
    contacts = incoming.get("contact_info") or {}
    for name, part in (("address", "line1"), ("email", "email_address"), ("phone", "phone_number")):
        if any(not entry.get(part) for entry in contacts.get(name) or []):
            raise Refusal("401664", f"Mandatory field is missing: {name} {part}")
    for entry in incoming.get("user_identifier") or []:
        if not (entry.get("value") and _value(entry, "id_type")):
            raise Refusal("401664", "Mandatory field is missing: user_identifier")


def _refuse_account(stored: Record, incoming: Record, otherwise: tuple[str, str]) -> None:
    before, after = _value(stored, "account_type"), _value(incoming, "account_type")
    # "Currently not supported", says the official users API; nobody recorded whether it is refused in fact.
    if "INTEXTAUTH" in (before, after):
        raise Refusal("401855", "The account type 'Internal with external authentication' is currently not supported.")
    if after not in ACCOUNT_TYPES or (before, after) == ("EXTERNAL", "INTERNAL"):
        raise Refusal(*otherwise)
    external_id = incoming.get("external_id") or ""
    if after == "INTERNAL" and external_id:
        raise Refusal("401853", "External Id must be empty for internal user.")
    if after == "EXTERNAL" and not external_id:
        raise Refusal("401854", "External Id must be given for external user.")
    if before == after == "EXTERNAL" and external_id != stored.get("external_id"):
        raise Refusal(
            "401858",
            "The external id in DB does not fit the given value in xml - external id cannot be updated.",
        )


def _refuse_codes(incoming: Record) -> None:
    """Codes that a table no longer has are refused, even though the record was read with them."""
    for name, label, table in (
        ("user_title", "title", USER_TITLES),
        ("job_category", "job category", JOB_CATEGORIES),
        ("status", "status", STATUSES),
    ):
        code = _value(incoming, name)
        if code and code not in table:
            raise Refusal("401864", f"Given {label} type ({code}) is invalid.")
    for role in incoming.get("user_role") or []:
        for parameter in role.get("parameter") or []:
            if _value(parameter, "value") == "DEFAULT_CIRC_DESK" and not (parameter["value"].get("desc")):
                raise Refusal("401864", "Given role parameter type (DEFAULT_CIRC_DESK) is invalid.")
