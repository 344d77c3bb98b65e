"""Every outcome and every reason, in one table: code, results, reports and docs all use these."""

import re
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """What happened to one candidate."""

    DEACTIVATED = "deactivated"
    PURGED = "purged"
    REINSTATED = "reinstated"
    RESTORED = "restored"
    WOULD_DEACTIVATE = "would_deactivate"
    WOULD_PURGE = "would_purge"
    WOULD_REINSTATE = "would_reinstate"
    WOULD_RESTORE = "would_restore"
    SKIPPED = "skipped"
    BLOCKED = "blocked"
    FAILED = "failed"

    @property
    def meaning(self) -> str:
        """What the outcome says, for the docs."""
        return _MEANINGS[self]


_MEANINGS = {
    Outcome.DEACTIVATED: "The patron is INACTIVE in Alma now; nothing else in the record was changed.",
    Outcome.PURGED: "The patron is no longer in Alma. While the vault keeps a copy, this service can bring them back.",
    Outcome.REINSTATED: "The patron is ACTIVE in Alma again, with the new expiry date if one was given.",
    Outcome.RESTORED: "The patron is in Alma again, made anew from the copy in the vault.",
    Outcome.WOULD_DEACTIVATE: "A preview, or a held run: a real run would make the patron INACTIVE.",
    Outcome.WOULD_PURGE: "A preview, or a held run: a real run would delete the patron.",
    Outcome.WOULD_REINSTATE: "A preview, or a held run: a real run would make the patron ACTIVE again.",
    Outcome.WOULD_RESTORE: "A preview, or a held run: a real run would put the patron into Alma again.",
    Outcome.SKIPPED: "The patron was left as they were, for the reason given.",
    Outcome.BLOCKED: "The patron was left as they were: something has to be settled first.",
    Outcome.FAILED: "Alma refused the change, or it isn't known whether it was made.",
}


class Action(StrEnum):
    """What a run does with patrons."""

    DEACTIVATE = "deactivate"
    PURGE = "purge"
    REINSTATE = "reinstate"
    RESTORE = "restore"

    @property
    def undone_by(self) -> "Action | None":
        """The action that takes back what this one did; None for one that brings patrons back itself."""
        return {Action.DEACTIVATE: Action.REINSTATE, Action.PURGE: Action.RESTORE}.get(self)

    @property
    def undoes(self) -> "Action | None":
        """The action whose runs this one takes back; None for one that is undone itself."""
        return next((action for action in Action if action.undone_by is self), None)

    @property
    def done(self) -> Outcome:
        """The outcome of a patron with whom it was done."""
        return _CHANGES[self][0]

    @property
    def would(self) -> Outcome:
        """The outcome of a patron with whom it would be done: in previews, and while a run is held."""
        return _CHANGES[self][1]


_CHANGES = {
    Action.DEACTIVATE: (Outcome.DEACTIVATED, Outcome.WOULD_DEACTIVATE),
    Action.PURGE: (Outcome.PURGED, Outcome.WOULD_PURGE),
    Action.REINSTATE: (Outcome.REINSTATED, Outcome.WOULD_REINSTATE),
    Action.RESTORE: (Outcome.RESTORED, Outcome.WOULD_RESTORE),
}
SCHEDULED = tuple(action for action in Action if action.undone_by is not None)  # the others are asked for by a person


class Explanation(NamedTuple):
    """One row of the table: the outcome that the reason leads to, what it means, what staff can do.

    `as_intended`: the policy means it so, or time mends it; otherwise somebody should look at the patron.
    """

    outcome: Outcome
    meaning: str
    remedy: str
    as_intended: bool = False


class Reason(StrEnum):
    """Why a candidate was left as it was. A write that Alma refused has `alma_<code>` instead: `ALMA_ERROR`."""

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
    WITHIN_RETENTION = "within_retention"
    RESTORED = "restored"
    STILL_ACTIVE = "still_active"
    INACTIVE_TOO_SHORT = "inactive_too_short"
    PURGE_DATE_AHEAD = "purge_date_ahead"
    LOANS = "loans"
    FEES = "fees"
    REQUESTS = "requests"
    ALREADY_ACTIVE = "already_active"
    CHANGED_SINCE = "changed_since"
    UNPROVEN = "unproven"
    NOT_IN_RUN = "not_in_run"
    NOT_IN_VAULT = "not_in_vault"
    ID_TAKEN = "id_taken"
    UNVERIFIABLE = "unverifiable"
    ALMA_REFUSED = "alma_refused"
    NOT_ATTEMPTED = "not_attempted"
    UNCONFIRMED = "unconfirmed"

    @property
    def explanation(self) -> Explanation:
        """The row of the table for this reason."""
        return EXPLANATIONS[self]


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.IDENTITY_MISMATCH: Explanation(
        Outcome.SKIPPED,
        "Alma answered with a patron of another primary id: the one asked for is a barcode or another identifier, of "
        "the patron who is meant or of somebody else.",
        "Where a person named the patron, name them by the primary id. Else look both patrons up in Alma, and give one "
        "of them another identifier.",
    ),
    Reason.NOT_FOUND: Explanation(
        Outcome.SKIPPED,
        "Alma knows no such patron, or not any more.",
        "Where somebody named the patron, compare the id; if a purge deleted them, restore. Else nothing: the patron "
        "was deleted meanwhile.",
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
    Reason.WITHIN_RETENTION: Explanation(
        Outcome.SKIPPED,
        "Expired, but for no longer than the policy keeps expired patrons.",
        "Nothing: a later run takes the patron.",
        as_intended=True,
    ),
    Reason.RESTORED: Explanation(
        Outcome.SKIPPED,
        "Brought back by this service less than 180 days ago, or it had set about it, and the expiry date is still the "
        "same.",
        "Set an expiry date ahead in Alma if the patron is to stay.",
        as_intended=True,
    ),
    Reason.STILL_ACTIVE: Explanation(
        Outcome.SKIPPED,
        "Expired for long enough, but never made INACTIVE: the policy deletes only who was.",
        "See why the weekly deactivation left the patron ACTIVE; once INACTIVE, a later run takes the patron.",
    ),
    Reason.INACTIVE_TOO_SHORT: Explanation(
        Outcome.SKIPPED,
        "INACTIVE for fewer days than the policy waits.",
        "Nothing: a later run takes the patron.",
        as_intended=True,
    ),
    Reason.PURGE_DATE_AHEAD: Explanation(
        Outcome.SKIPPED,
        "The record's own purge date is still ahead.",
        "Nothing: a run after that day takes the patron.",
        as_intended=True,
    ),
    Reason.LOANS: Explanation(
        Outcome.BLOCKED,
        "Items are still on loan.",
        "Have the loans returned, or declared lost and settled, in Alma.",
    ),
    Reason.FEES: Explanation(
        Outcome.BLOCKED,
        "Money is owed by the patron, or to the patron, beyond what the policy waives.",
        "Have the fees paid, waived or paid back in Alma.",
    ),
    Reason.REQUESTS: Explanation(
        Outcome.BLOCKED,
        "Requests are still open; Alma would let them vanish with the patron.",
        "Have the requests filled or cancelled in Alma.",
    ),
    Reason.ALREADY_ACTIVE: Explanation(
        Outcome.SKIPPED,
        "Not INACTIVE: there is nothing to bring back.",
        "Nothing. If the expiry date is past, set one ahead in Alma, or the weekly deactivation takes the patron.",
        as_intended=True,
    ),
    Reason.CHANGED_SINCE: Explanation(
        Outcome.SKIPPED,
        "Changed after the run that is undone: INACTIVE since another day, or with another expiry date, than that run "
        "left behind; or another run has brought the patron back, or taken them away, since.",
        "Look at the patron in Alma; if they are to come back, reinstate them by their primary id, or restore them "
        "from the later run.",
    ),
    Reason.UNPROVEN: Explanation(
        Outcome.SKIPPED,
        "The run that is undone couldn't tell whether it had changed this patron.",
        "Look at the patron in Alma. If they are INACTIVE and shouldn't be, reinstate them by their primary id; if "
        "they are gone and shouldn't be, restore them by it.",
    ),
    Reason.NOT_IN_RUN: Explanation(
        Outcome.SKIPPED,
        "The purge that is named didn't delete a patron with this id.",
        "Compare the id with the list of that purge, or ask for the patron's story, which names the run.",
    ),
    Reason.NOT_IN_VAULT: Explanation(
        Outcome.SKIPPED,
        "The vault has no copy of this patron that can be read: its days are over, or the policy kept none.",
        "Create the patron anew in Alma, by hand or through the next SIS load.",
    ),
    Reason.ID_TAKEN: Explanation(
        Outcome.SKIPPED,
        "The primary id, or another identifier, belongs to a patron in Alma now.",
        "Look that patron up: it may be the same person, back already. If not, the copy stays in the vault for its "
        "days, and one of the two needs another identifier.",
    ),
    Reason.UNVERIFIABLE: Explanation(
        Outcome.SKIPPED,
        "A check could not be made: a field is unreadable, or Alma gave no usable answer for this patron.",
        "Look at the patron in Alma; the detail says which field or answer.",
    ),
    Reason.ALMA_REFUSED: Explanation(
        Outcome.BLOCKED,
        "Alma refused to delete the patron (401850): something is still tied to the record, such as an order or an "
        "import profile.",
        "Read Alma's words in the detail, and settle in Alma what they name.",
    ),
    Reason.NOT_ATTEMPTED: Explanation(
        Outcome.SKIPPED,
        "The institution run ended before it came to this patron.",
        "See what ended the institution run; the next one, or the same started again, takes the patron.",
    ),
    Reason.UNCONFIRMED: Explanation(
        Outcome.FAILED,
        "The worker, or a clear answer of Alma's, was lost while this patron was being changed: it may or may not have "
        "been done.",
        "Look the patron up in Alma.",
    ),
}

ALMA_ERROR_PREFIX = "alma_"  # what follows is Alma's error code
ALMA_ERROR = Explanation(
    Outcome.FAILED,
    "Alma refused the change, or gave no usable answer, with this code. The detail has Alma's own words. The patron "
    "was left as before.",
    "Mend the patron's record in Alma as the detail says; the next run, or the same started again, tries once more. If "
    "it comes back, ask Ex Libris with the tracking id.",
)


class Advice(NamedTuple):
    """One row of the table of cautions: what it means, what staff can do."""

    meaning: str
    remedy: str


class Caution(StrEnum):
    """What a person has to know of a patron who was changed, or would be: the detail begins with it and a colon."""

    EXPIRY_PAST = "expiry_past"
    INTERNAL_ACCOUNT = "internal_account"
    DEACTIVATED_AGAIN = "deactivated_again"
    LEFT_OUT = "left_out"
    STORED_DIFFERS = "stored_differs"

    @property
    def advice(self) -> Advice:
        """The row of the table for this caution."""
        return ADVICE[self]

    def about(self, figure: str) -> str:
        """The caution as it stands in a detail."""
        return f"{self}: {figure}"


ADVICE: dict[Caution, Advice] = {
    Caution.EXPIRY_PAST: Advice(
        "ACTIVE again, but the expiry date is still past: the weekly deactivation takes the patron once more.",
        "In a preview: give the real event an `expiry_date`, and leave the date in Alma alone until it has run. After "
        "a real run: set an expiry date ahead in Alma.",
    ),
    Caution.INTERNAL_ACCOUNT: Advice(
        "An INTERNAL account that has external identifiers: it seems to have come from the student information system, "
        "whose next load looks for EXTERNAL accounts alone and will miss it.",
        "If the patron belongs to the load, toggle the account type to External in Alma and save.",
    ),
    Caution.DEACTIVATED_AGAIN: Advice(
        "Made INACTIVE again although this service had brought the patron back within the last 60 days.",
        "If the expiry date is still the same, set one ahead in Alma, or reinstate with an `expiry_date`. If a SIS "
        "load sets the patron ACTIVE or the date back, have it mended in the student information system.",
    ),
    Caution.LEFT_OUT: Advice(
        "Alma didn't take the whole record: the pieces that the detail names are missing.",
        "Add in Alma what is missing and still wanted.",
    ),
    Caution.STORED_DIFFERS: Advice(
        "Alma stored the patron with another status or expiry date than this service had sent.",
        "Set it in Alma.",
    ),
}
_CAUTION_IN_DETAIL = re.compile(rf"(?:^|; )({'|'.join(Caution)}): ")


def cautions_in(detail: str) -> list[Caution]:
    """The cautions in the detail of a patron who was changed, or would be, in its order and each once."""
    return [Caution(code) for code in dict.fromkeys(_CAUTION_IN_DETAIL.findall(detail))]
