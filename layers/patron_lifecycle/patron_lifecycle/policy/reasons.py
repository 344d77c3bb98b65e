"""Every outcome and every reason, in one table: code, results, reports and docs all use these."""

from enum import StrEnum
from typing import NamedTuple


class Action(StrEnum):
    """What a run does with patrons."""

    DEACTIVATE = "deactivate"


class Outcome(StrEnum):
    """What happened to one candidate."""

    DEACTIVATED = "deactivated"
    WOULD_DEACTIVATE = "would_deactivate"
    SKIPPED = "skipped"
    BLOCKED = "blocked"
    FAILED = "failed"


class Explanation(NamedTuple):
    """One row of the table: the outcome that the reason leads to, what it means, what staff can do.

    `as_intended`: the policy means it so, or time mends it; otherwise somebody should look at the patron.
    """

    outcome: Outcome
    meaning: str
    remedy: str
    as_intended: bool = False


class Reason(StrEnum):
    """Why a candidate was left as it was. A write that Alma refused has `alma_<code>` for a reason instead."""

    IDENTITY_MISMATCH = "identity_mismatch"
    NOT_FOUND = "not_found"
    STAFF = "staff"
    LINKED_ACCOUNT = "linked_account"
    EXCLUDED_SET = "excluded_set"
    EXCLUDED_GROUP = "excluded_group"
    EXCLUDED_NOTE = "excluded_note"
    NO_EXPIRY_DATE = "no_expiry_date"
    NOT_EXPIRED = "not_expired"
    WITHIN_GRACE = "within_grace"
    ALREADY_INACTIVE = "already_inactive"
    UNVERIFIABLE = "unverifiable"
    NOT_ATTEMPTED = "not_attempted"
    UNCONFIRMED = "unconfirmed"

    @property
    def explanation(self) -> Explanation:
        """The row of the table for this reason."""
        return EXPLANATIONS[self]


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.IDENTITY_MISMATCH: Explanation(
        Outcome.SKIPPED,
        "Alma answered with another patron than the one asked for: the id is also an identifier of somebody else.",
        "Look both patrons up in Alma and give one of them another identifier.",
    ),
    Reason.NOT_FOUND: Explanation(
        Outcome.SKIPPED,
        "Alma knows no such patron any more.",
        "Nothing: the patron was deleted meanwhile.",
        as_intended=True,
    ),
    Reason.STAFF: Explanation(
        Outcome.SKIPPED,
        "A protected record type, or an active role other than Patron.",
        "Take the staff roles away in Alma if this person works there no longer.",
        as_intended=True,
    ),
    Reason.LINKED_ACCOUNT: Explanation(
        Outcome.SKIPPED,
        "A copy of a patron of another institution, which may still be active there.",
        "Nothing: the home institution looks after this patron.",
        as_intended=True,
    ),
    Reason.EXCLUDED_SET: Explanation(
        Outcome.SKIPPED,
        "A member of a set that the policy excludes.",
        "Take the patron out of the set in Alma.",
        as_intended=True,
    ),
    Reason.EXCLUDED_GROUP: Explanation(
        Outcome.SKIPPED,
        "Of a user group that the policy excludes.",
        "Change the patron's user group in Alma.",
        as_intended=True,
    ),
    Reason.EXCLUDED_NOTE: Explanation(
        Outcome.SKIPPED,
        "A user note holds a text that the policy excludes.",
        "Delete or reword the note in Alma.",
        as_intended=True,
    ),
    Reason.NO_EXPIRY_DATE: Explanation(
        Outcome.SKIPPED, "The record has no expiry date.", "Set an expiry date in Alma."
    ),
    Reason.NOT_EXPIRED: Explanation(
        Outcome.SKIPPED,
        "The expiry date is today or ahead.",
        "Nothing: the patron is current.",
        as_intended=True,
    ),
    Reason.WITHIN_GRACE: Explanation(
        Outcome.SKIPPED,
        "Expired for fewer days than the policy waits.",
        "Nothing: a later run takes the patron.",
        as_intended=True,
    ),
    Reason.ALREADY_INACTIVE: Explanation(
        Outcome.SKIPPED,
        "INACTIVE already.",
        "Nothing.",
        as_intended=True,
    ),
    Reason.UNVERIFIABLE: Explanation(
        Outcome.SKIPPED,
        "A check could not be made: a field is unreadable, or Alma gave no usable answer for this patron.",
        "Look at the patron in Alma; the detail says which field or answer.",
    ),
    Reason.NOT_ATTEMPTED: Explanation(
        Outcome.SKIPPED,
        "The institution run ended before it came to this patron.",
        "See what ended the institution run; the next run takes the patron.",
    ),
    Reason.UNCONFIRMED: Explanation(
        Outcome.FAILED,
        "The worker was lost while it was changing this patron: it may or may not have been done.",
        "Look at the patron's status in Alma.",
    ),
}
