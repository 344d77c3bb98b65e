"""What `PUT /users/{user_id}` makes of a record: Alma's "Swap All", with its refusals.

"Existing fields' information will be replaced with the incoming information. Incoming lists will replace
existing lists" (official users API); missing elements get default values.
"""

import copy
import re
from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

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
# "Output parameter" in rest_user.xsd, like status_date and full_name: what comes in is ignored. The password is
# never given back, and an empty one keeps the one that is stored.
_OUTPUT_ONLY = [
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


def replaced(stored: Record, incoming: object, *, override: Collection[str] = (), today: date) -> Record:
    """The record that Alma stores for `incoming`, a parsed JSON body. Raises `Refusal`."""
    if not isinstance(incoming, dict):
        raise Refusal("401676", "No valid XML was given.")
    _refuse_wrong_shapes(incoming)
    _refuse_missing(incoming)
    _refuse_account_change(stored, incoming)
    _refuse_codes(incoming)

    after = _incoming_fields(stored, incoming)
    after["status_date"] = xs_date(today) if _status_changes(stored, after) else stored.get("status_date")
    if after["account_type"]["value"] == "EXTERNAL":
        for name in set(_KEPT_WHEN_EMPTY) - set(override):
            if not (_value(incoming, name) if name in _CODED else incoming.get(name)):
                after[name] = copy.deepcopy(stored.get(name, after[name]))
    for name in _OUTPUT_ONLY:
        if name in stored:
            after[name] = copy.deepcopy(stored[name])
    after["full_name"] = full_name(after)
    return after


def _incoming_fields(stored: Record, incoming: Record) -> Record:
    """All fields that the caller sets, with default values for those that are missing."""
    after: Record = {"primary_id": incoming["primary_id"]}
    after |= {name: incoming.get(name) or "" for name in _TEXTS}
    after |= {name: _coded(stored.get(name), incoming.get(name)) for name in _CODED}
    after |= {name: _date(name, incoming[name]) for name in _DATES if incoming.get(name)}
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


def _date(name: str, text: object) -> str:
    match = _DATE.fullmatch(text) if isinstance(text, str) else None
    try:
        return xs_date(date.fromisoformat(match[1] if match else ""))
    except ValueError:
        raise _undeserializable("javax.xml.datatype.XMLGregorianCalendar", name) from None


def _undeserializable(java_type: str, name: str) -> Refusal:
    """The words are recorded for wrapped lists; the code that comes with them is not: a general one was chosen."""
    return Refusal("401652", f"Cannot deserialize value of type `{java_type}` (through reference chain: User[{name}])")


def _refuse_wrong_shapes(incoming: Record) -> None:
    contacts = {} if incoming.get("contact_info") is None else incoming["contact_info"]
    if not isinstance(contacts, dict):
        raise _undeserializable("ContactInfo", "contact_info")
    lists = {name: incoming.get(name) for name in (*_LISTS, "user_role")} | {
        f"contact_info.{name}": contacts.get(name) for name in _CONTACTS
    }
    for name, value in lists.items():
        if value is not None and not (isinstance(value, list) and all(isinstance(entry, dict) for entry in value)):
            raise _undeserializable("java.util.ArrayList", name)
    for name in (*_CODED, "status", "account_type"):
        if incoming.get(name) is not None and not isinstance(incoming[name], dict):
            raise _undeserializable("UserField", name)
    for name in ("primary_id", *_TEXTS):
        if incoming.get(name) is not None and not isinstance(incoming[name], str):
            raise _undeserializable("java.lang.String", name)


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


def _refuse_account_change(stored: Record, incoming: Record) -> None:
    before, after = _value(stored, "account_type"), _value(incoming, "account_type")
    # "Currently not supported", says the official users API; nobody recorded whether a PUT is refused in fact.
    if "INTEXTAUTH" in (before, after):
        raise Refusal("401855", "The account type 'Internal with external authentication' is currently not supported.")
    # From external to internal is not possible by the API, and which code says so is not documented.
    if after not in ACCOUNT_TYPES or (before, after) == ("EXTERNAL", "INTERNAL"):
        raise Refusal("401860", "Failed to update user.")
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
