"""A patron's record as Alma gives it, read strictly.

Alma's user object is kept raw, since a PUT must send back every field as it was read. The properties
below read the few fields that rules need. What isn't of the shape that Alma documents raises
`Unreadable`: a rule can't be checked on it, so nobody is touched because of it.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

_XS_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})Z?")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?")  # no NaN, no Infinity
_WITHOUT_PRIMARY_ID = re.compile(r"no primary id\b.*", re.IGNORECASE | re.DOTALL)
# Path segments that the users API, or URL normalisation, gives another meaning than a patron's id.
_NOT_ADDRESSABLE = frozenset({"", ".", "..", "-", "me"})


class Unreadable(Exception):
    """A field of the record is not of the documented shape. `field` names it; the value stays out of the text."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} can't be read")
        self.field = field


def folded(user_id: str) -> str:
    """An id without regard to case: Alma's primary ids are case-insensitive (rest_user.xsd).

    Not by `casefold`, to which "ß" and "ss" are the same, as two patrons' ids needn't be.
    """
    return user_id.strip().lower()


def xs_date(day: date) -> str:
    """A date as Alma writes it: `2027-06-30Z` (recorded replies)."""
    return f"{day.isoformat()}Z"


def same_id(one: str, other: str) -> bool:
    """Whether two ids name the same patron."""
    return folded(one) == folded(other)


def is_addressable(user_id: str) -> bool:
    """Whether `GET /users/{user_id}` can mean this patron.

    Contacts are listed with `no primary id (…)` for an id and a link that ends in `/users/-` (seen in
    recorded lists); dots vanish when a URL is normalised; `ME` is a path of the users API of its own.
    """
    return folded(user_id) not in _NOT_ADDRESSABLE and not _WITHOUT_PRIMARY_ID.fullmatch(user_id.strip())


class PatronRecord:
    """One user object of `GET /users/{id}` or of a list row with `expand=full`; `raw` is never changed."""

    __slots__ = ("raw",)

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw

    def known(self, name: str) -> Any:
        """The property of that name; None where it can't be read."""
        try:
            return getattr(self, name)
        except Unreadable:
            return None

    @property
    def primary_id(self) -> str:
        """The primary id. Raises `Unreadable` when it is absent or no text."""
        value = self.raw.get("primary_id")
        if not isinstance(value, str) or not value.strip():
            raise Unreadable("primary_id")
        return value

    @property
    def status(self) -> str:
        """ACTIVE or INACTIVE, or another code that Alma gives."""
        return self._code("status")

    @property
    def record_type(self) -> str:
        """PUBLIC, STAFF or CONTACT, or another code that Alma gives."""
        return self._code("record_type")

    @property
    def account_type(self) -> str:
        """EXTERNAL for an account that the student information system feeds, INTERNAL, or INTEXTAUTH."""
        return self._code("account_type")

    @property
    def has_external_ids(self) -> bool:
        """Whether the record has an `external_id`, or identifiers in the External segment, as a SIS load sets them."""
        identifiers = self._objects("user_identifier")
        return bool(self.raw.get("external_id")) or any(one.get("segment_type") == "External" for one in identifiers)

    @property
    def user_group(self) -> str:
        """The code of the user group."""
        return self._code("user_group")

    @property
    def expiry_date(self) -> date | None:
        """The day on which the account expires; None when Alma gives none (seen in 11 of 35 recorded users)."""
        return self._date("expiry_date")

    @property
    def purge_date(self) -> date | None:
        """The day from which Alma's own purge job may take the patron; None when Alma gives none."""
        return self._date("purge_date")

    @property
    def status_date(self) -> date | None:
        """The day of the last change of status (output-only, rest_user.xsd); None when Alma gives none."""
        return self._date("status_date")

    @property
    def loans(self) -> int:
        """How many items are on loan, where the record was asked for with `expand=loans`. Never zero by absence."""
        return self._count("loans")

    @property
    def requests(self) -> int:
        """How many requests are open, where the record was asked for with `expand=requests`."""
        return self._count("requests")

    @property
    def fees(self) -> Decimal:
        """The balance of fees, where the record was asked for with `expand=fees`; negative for a credit."""
        return self._number("fees")

    @property
    def is_linked(self) -> bool:
        """Whether this is a copy of a patron of another institution (source_institution_code or source_link_id)."""
        return any(self.raw.get(field) not in (None, "") for field in ("source_institution_code", "source_link_id"))

    @property
    def active_roles(self) -> frozenset[str]:
        """The role_type codes of all roles that aren't INACTIVE; a role without a readable status counts as active."""
        codes = set()
        for role in self._objects("user_role"):
            status = role.get("status")
            if isinstance(status, Mapping) and status.get("value") == "INACTIVE":
                continue
            role_type = role.get("role_type")
            code = role_type.get("value") if isinstance(role_type, Mapping) else None
            if not isinstance(code, str) or not code:
                raise Unreadable("user_role.role_type")
            codes.add(code)
        return frozenset(codes)

    @property
    def note_texts(self) -> tuple[str, ...]:
        """The texts of all user notes."""
        texts = []
        for note in self._objects("user_note"):
            text = note.get("note_text")
            if text is not None and not isinstance(text, str):
                raise Unreadable("user_note.note_text")
            texts.append(text or "")
        return tuple(texts)

    @property
    def identifiers(self) -> tuple[str, ...]:
        """The primary id and the values of all further identifiers, active or not."""
        values = [self.primary_id]
        for identifier in self._objects("user_identifier"):
            value = identifier.get("value")
            if not isinstance(value, str):
                raise Unreadable("user_identifier.value")
            values.append(value)
        return tuple(values)

    def as_inactive(self) -> dict[str, Any]:
        """The body of the PUT that makes this patron INACTIVE and alters nothing else.

        A PUT replaces the whole record ("Swap All", official users API), so all fields go back as read.
        `user_role` is left out: Alma then keeps the roles, while a stored role may be refused when sent back
        (Ex Libris' own CSV loader leaves it out as well).
        """
        return self._with_status("INACTIVE")

    def as_active(self, expiry_date: date | None = None) -> dict[str, Any]:
        """The body of the PUT that makes this patron ACTIVE, with a new expiry date if one is given.

        It alters nothing else, as `as_inactive` does: an EXTERNAL account stays one, since a PUT with the account type
        and external id as read changes status and expiry date of such accounts too (official users API, by omission).
        """
        body = self._with_status("ACTIVE")
        return body if expiry_date is None else {**body, "expiry_date": xs_date(expiry_date)}

    def _with_status(self, status: str) -> dict[str, Any]:
        body = {field: value for field, value in self.raw.items() if field != "user_role"}
        return {**body, "status": {"value": status}}

    def _code(self, field: str) -> str:
        value = self.raw.get(field)
        code = value.get("value") if isinstance(value, Mapping) else None
        if not isinstance(code, str) or not code:
            raise Unreadable(field)
        return code

    def _date(self, field: str) -> date | None:
        value = self.raw.get(field)
        if value is None or value == "":
            return None
        match = _XS_DATE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise Unreadable(field)
        try:
            return date.fromisoformat(match[1])
        except ValueError:
            raise Unreadable(field) from None

    def _count(self, field: str) -> int:
        number = self._number(field)
        if number < 0 or number != number.to_integral_value():
            raise Unreadable(field)
        return int(number)

    def _number(self, field: str) -> Decimal:
        """The `value` of what `expand` adds: a number, or a number as text; what isn't there is no zero."""
        expanded = self.raw.get(field)
        value = expanded.get("value") if isinstance(expanded, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise Unreadable(field)
        try:
            text = str(value)
        except ValueError:  # an integer of thousands of digits
            raise Unreadable(field) from None
        if not _NUMBER.fullmatch(text):
            raise Unreadable(field)
        return Decimal(text)

    def _objects(self, field: str) -> list[Mapping[str, Any]]:
        value = self.raw.get(field)
        if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
            raise Unreadable(field)
        return value
