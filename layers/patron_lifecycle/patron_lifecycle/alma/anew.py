"""Making a deleted patron anew: the body of the POST, from the record as Alma gave it before.

What Alma sets by itself can't be posted, and some of what Alma gives on a GET it refuses when it is sent back. What a
new account can't have again is listed in docs/restore.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

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
# Coded fields that may be empty; a code without a description is one that its table no longer has.
_OPTIONAL_CODES = ("user_title", "job_category", "campus_code", "gender", "preferred_language", "cataloger_level")
_REPAIRABLE = frozenset({"401664", "401863", "401864"})  # mandatory field missing, code not supported, code invalid


def as_new(archived: Mapping[str, Any], expiry_date: date | None) -> dict[str, Any]:
    """The body of the POST that makes this patron anew: everything but what Alma sets by itself.

    ACTIVE with `expiry_date`, or, without one, INACTIVE and with the expiry date as it was.
    """
    body = {field: value for field, value in archived.items() if field not in _SET_BY_ALMA}
    if expiry_date is None:
        return {**body, "status": {"value": "INACTIVE"}}
    return {**body, "status": {"value": "ACTIVE"}, "expiry_date": xs_date(expiry_date)}


def is_repairable(code: str) -> bool:
    """Whether a refusal with this code may be about a piece of the record that could be left out."""
    return code in _REPAIRABLE


def repaired(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The body without the pieces that Alma is known to refuse, and what was left out, by name and without values."""
    fit = dict(body)
    left_out = []
    contacts = fit.get("contact_info")
    if isinstance(contacts, Mapping):
        fit["contact_info"] = dict(contacts)
        for kind, part in _NEEDED_PARTS.items():
            whole = [one for one in _objects(contacts.get(kind)) if one.get(part)]
            if len(whole) < len(_objects(contacts.get(kind))):
                fit["contact_info"][kind] = whole
                left_out.append(f"{kind} without {part}")
    for name in _OPTIONAL_CODES:
        if _is_orphan(fit.get(name)):
            del fit[name]
            left_out.append(f"{name} without description")
    roles = list(_with_known_parameters(_objects(fit.get("user_role"))))
    if roles != fit.get("user_role", []):
        fit["user_role"] = roles
        left_out.append("role parameter without description")
    return fit, left_out


def left_out_of(stored: PatronRecord, body: Mapping[str, Any]) -> list[str]:
    """What was left out of such a body, by the record that came of it."""
    there = repaired(stored.raw)[1]
    return [piece for piece in repaired(body)[1] if piece not in there]


def is_as_sent(stored: PatronRecord, body: Mapping[str, Any]) -> bool:
    """Whether a record found in Alma is what such a body makes: the same person, with the same dates."""
    sent = PatronRecord(body)
    names = ("first_name", "last_name", "external_id")
    return (stored.expiry_date, stored.user_group, stored.account_type) == (
        sent.expiry_date,
        sent.user_group,
        sent.account_type,
    ) and all((stored.raw.get(name) or "") == (body.get(name) or "") for name in names)


def _with_known_parameters(roles: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for role in roles:
        given = _objects(role.get("parameter"))
        known = [one for one in given if not _is_orphan(one.get("value"))]
        yield {**role, "parameter": known} if len(known) < len(given) else dict(role)


def _is_orphan(coded: object) -> bool:
    return isinstance(coded, Mapping) and bool(coded.get("value")) and not coded.get("desc")


def _objects(entries: object) -> list[Mapping[str, Any]]:
    return [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list) else []
