"""Making a deleted patron anew: the body of the POST, from the record as Alma gave it before.

What Alma sets by itself can't be posted, and some of what Alma gives on a GET it refuses when it is sent back. What a
new account can't have again is listed in docs/restore.md.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from patron_lifecycle.alma.errors import Refused
from patron_lifecycle.alma.records import PatronRecord, xs_date

# "Output parameter" in rest_user.xsd. Alma never gives a `password`; `link` is the list's.
_SET_BY_ALMA = frozenset(
    {
        "full_name",
        "status_date",
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
    }
)
# Alma refuses an entry without this part, though it has given it on a GET (met by libraries).
_NEEDED_PARTS = {"address": "line1", "email": "email_address", "phone": "phone_number"}
_OPTIONAL_CODES = ("user_title", "job_category", "campus_code", "gender", "preferred_language", "cataloger_level")
_MISSING = "401664"  # "Mandatory field is missing: X" (official users API)
_NO_EXTERNAL_ID = "401853"  # "External Id must be empty for internal user" (the same), though it was given on a GET
_INVALID = frozenset({"401863", "401864"})  # "Given X type (Y) is not supported for …", "… is invalid" (the same)
_CODE_IN_MESSAGE = re.compile(r"\(([^()]+)\)")


def as_new(archived: Mapping[str, Any], expiry_date: date | None) -> dict[str, Any]:
    """The body of the POST that makes this patron anew: everything but what Alma sets by itself.

    ACTIVE with `expiry_date`, or, without one, INACTIVE and with the expiry date as it was.
    """
    body = {field: value for field, value in archived.items() if field not in _SET_BY_ALMA}
    if expiry_date is None:
        return {**body, "status": {"value": "INACTIVE"}}
    return {**body, "status": {"value": "ACTIVE"}, "expiry_date": xs_date(expiry_date)}


def without_refused(body: Mapping[str, Any], refused: Refused) -> dict[str, Any] | None:
    """The body without the pieces that a refusal is about; None when there are none that could be left out.

    These are entries of the contact data that lack what Alma needs, the external id of an internal account, and codes
    that its tables no longer have, in fields that may be empty and in the parameters of roles.
    """
    words = refused.message.lower()
    if refused.code == _MISSING:
        kinds = [kind for kind in _NEEDED_PARTS if kind in words]
        less = _without_broken_contacts(body, kinds or list(_NEEDED_PARTS))
    elif refused.code == _NO_EXTERNAL_ID:
        less = {name: value for name, value in body.items() if name != "external_id"}
    elif refused.code in _INVALID:
        told = _CODE_IN_MESSAGE.search(refused.message)
        less = _without_code(body, told[1] if told else None, words)
    else:
        return None
    return less if less != body else None


def left_out_of(stored: Mapping[str, Any], body: Mapping[str, Any]) -> list[str]:
    """What of such a body is not in the record that came of it, by name and without values."""
    pieces = [
        f"{kind} without {part}"
        for kind, part in _NEEDED_PARTS.items()
        if _broken(body, kind, part) and not _broken(stored, kind, part)
    ]
    pieces += [name for name in _OPTIONAL_CODES if _code(body.get(name)) and not _code(stored.get(name))]
    if body.get("external_id") and not stored.get("external_id"):
        pieces.append("external_id")
    if _parameters(stored) < _parameters(body):
        pieces.append("role parameter")
    return pieces


def is_as_sent(stored: PatronRecord, body: Mapping[str, Any]) -> bool:
    """Whether a record found in Alma is of the person whom such a body makes, whatever Alma has made of the dates."""
    sent = PatronRecord(body)
    names = ("first_name", "last_name", *(["external_id"] if sent.account_type == "EXTERNAL" else []))
    return (stored.user_group, stored.account_type) == (sent.user_group, sent.account_type) and all(
        (stored.raw.get(name) or "") == (body.get(name) or "") for name in names
    )


def _without_broken_contacts(body: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    contacts = body.get("contact_info")
    if not isinstance(contacts, Mapping):
        return dict(body)
    whole = {
        kind: [one for one in _objects(contacts[kind]) if one.get(_NEEDED_PARTS[kind])]
        for kind in kinds
        if _broken(body, kind, _NEEDED_PARTS[kind])
    }
    return {**body, "contact_info": {**contacts, **whole}}


def _without_code(body: Mapping[str, Any], code: str | None, words: str) -> dict[str, Any]:
    """Without what has this code, or, where it isn't known, has none that Alma describes.

    Where `words` name the field, or a parameter, it is that alone.
    """

    def goes(coded: object) -> bool:
        if code is not None:
            return _code(coded) == code
        return isinstance(coded, Mapping) and bool(_code(coded)) and not coded.get("desc")

    fields = [name for name in _OPTIONAL_CODES if goes(body.get(name))]
    named = [name for name in fields if name.removeprefix("user_").replace("_", " ") in words.replace("_", " ")]
    is_of_parameter = "parameter" in words
    dropped = [] if is_of_parameter else named or fields
    less = {name: value for name, value in body.items() if name not in dropped}
    if named and not is_of_parameter:
        return less
    roles = []
    for role in _objects(body.get("user_role")):
        given = _objects(role.get("parameter"))
        kept = [one for one in given if not goes(one.get("value"))]
        roles.append({**role, "parameter": kept} if len(kept) < len(given) else role)
    return {**less, "user_role": roles} if roles else less


def _broken(record: Mapping[str, Any], kind: str, part: str) -> bool:
    contacts = record.get("contact_info")
    return isinstance(contacts, Mapping) and any(not one.get(part) for one in _objects(contacts.get(kind)))


def _parameters(record: Mapping[str, Any]) -> int:
    return sum(len(_objects(role.get("parameter"))) for role in _objects(record.get("user_role")))


def _code(coded: object) -> object:
    return coded.get("value") if isinstance(coded, Mapping) else None


def _objects(entries: object) -> list[Mapping[str, Any]]:
    return [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list) else []
