"""What a run is made of: run → institution run → page → outcome. All frozen; a change is a copy.

Each model names its parent by id and never reaches back up. Times are UTC; `version` counts the writes of
an item, so that two writers of the same one can't overwrite each other.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from patron_lifecycle.policy.model import ActionPolicy, Select
from patron_lifecycle.policy.population import Population
from patron_lifecycle.policy.reasons import EXPLANATIONS, Action, Outcome, Reason
from patron_lifecycle.registry import Institution

PAGE_SIZE = 100  # candidates a page at most
HOLD_DAYS = 7  # an unanswered hold is rejected after so long


class Mode(StrEnum):
    """Whether a run shows what it would do, or does it."""

    PREVIEW = "preview"
    APPLY = "apply"


class Trigger(StrEnum):
    """What started a run."""

    SCHEDULE = "schedule"
    MANUAL = "manual"


class Status(StrEnum):
    """The status of an institution run."""

    QUEUED = "queued"
    SELECTING = "selecting"
    HELD = "held"
    PROCESSING = "processing"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def goes_on(self) -> bool:
        """Whether a worker may go on with it."""
        return self in (Status.QUEUED, Status.SELECTING, Status.PROCESSING)

    @property
    def keeps_lease(self) -> bool:
        """Whether other runs of the institution have to wait for it: it goes on, or will by itself."""
        return self.goes_on or self is Status.PAUSED

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet: it goes on, or waits, for a person or for Alma's quota."""
        return self.keeps_lease or self is Status.HELD


def needs_a_look(reason: str, status: str) -> bool:
    """Whether somebody should look at a patron who was left for this reason, by an institution run of this status."""
    if reason == Reason.NOT_ATTEMPTED and status in (Status.CANCELLED, Status.REJECTED):
        return False  # somebody wanted it so
    return reason not in EXPLANATIONS or not EXPLANATIONS[Reason(reason)].as_intended  # what Alma refused, always


class RunStatus(StrEnum):
    """The status of a run over all its institutions."""

    RUNNING = "running"
    HELD = "held"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"

    @classmethod
    def of(
        cls, ended: Mapping[Status, int], open_count: int, held_count: int = 0, paused_count: int = 0
    ) -> "RunStatus":
        """The run's status from its institution runs: how many ended in which status, are open, held and paused."""
        if open_count > held_count + paused_count:
            return cls.RUNNING
        if open_count:
            return cls.HELD if held_count else cls.PAUSED
        how = {status for status, count in ended.items() if count}
        if how and how <= {Status.CANCELLED, Status.REJECTED}:
            return cls.CANCELLED
        return cls.COMPLETED if how <= {Status.COMPLETED} else cls.COMPLETED_WITH_FAILURES


class PageState(StrEnum):
    """`frozen`: no write was made. `in_progress`: its eligible may have been written. `done`: all have an outcome."""

    FROZEN = "frozen"
    IN_PROGRESS = "in_progress"
    DONE = "done"


class Record(BaseModel):
    """Base of all that is stored: frozen, no unknown fields. An error tells nothing of what was in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def but(self, **changes: object) -> Self:
        """A validated copy with these fields changed."""
        return type(self).model_validate({**dict(self), **changes})


class Skipped(Record):
    """An institution that a run leaves out, and why."""

    institution: str
    reason: str


class BringBack(Record):
    """Whom a reinstate or a restore is to bring back: named patrons, a set of Alma's, or whom a run has changed.

    The ids of named patrons are personal and stored beside (`Store.put_named`), under the digest `named`. Together with
    `source_run_id` they narrow it.
    """

    named: str = ""
    set_id: str | None = None
    source_run_id: str | None = None
    expiry_date: date | None = None

    def is_for_the_same_as(self, other: "BringBack | None") -> bool:
        """Whether both are to bring back the same patrons, with whatever expiry date."""
        return other is not None and self.but(expiry_date=None) == other.but(expiry_date=None)


class Run(Record):
    """One action over institutions. `request_id` makes it idempotent; `fingerprint` is that of its event.

    `launched` tells that all its institution runs are stored and queued. `ended` counts institution runs by
    their last status, `open_count` those that are still to end, `held_count` those of them that wait for a person and
    `paused_count` those that wait for Alma's quota of calls to be renewed.
    `outcomes` and `to_look_at` count the patrons of those that have ended: by outcome, and whom they left though not as
    intended. `touched` counts the patrons whom it has changed, or may have; `vault_until` is when the first of the
    copies that a purge has kept may be gone; `without_copies` counts the institutions in which it has kept none.
    """

    run_id: str
    action: Action
    mode: Mode
    as_of: date | None
    trigger: Trigger
    request_id: str
    fingerprint: str
    institutions: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    bring_back: BringBack | None = None
    status: RunStatus
    launched: bool
    open_count: int
    held_count: int = 0
    paused_count: int = 0
    ended: dict[Status, int] = {}
    outcomes: dict[Outcome, int] = {}
    to_look_at: int = 0
    touched: int = 0
    vault_until: datetime | None = None
    without_copies: int = 0
    created_at: datetime
    finished_at: datetime | None = None
    version: int = 0

    @property
    def changes(self) -> int:
        """How many patrons it has changed so far, or, in a preview, would change."""
        return self.outcomes.get(self.action.done if self.mode is Mode.APPLY else self.action.would, 0)


class Reading(Record):
    """How far the reading of one source of candidates has come, so that a later slice can go on.

    `offset` is the next row to ask for and `stride` the rows that Alma gives a call; the totals are the counts
    that Alma has announced (None: a count that wasn't one); `chunks` counts the stored drafts of this attempt;
    `population` is who has been read in a sweep so far, until that is stored by itself; `seen`, once it has been read
    whole, the different ids in it.
    """

    source: int = 0
    attempt: int = 1
    offset: int = 0
    stride: int = PAGE_SIZE
    first_total: int | None = None
    last_total: int | None = None
    members_before: int | None = None
    chunks: int = 0
    at_end: bool = False
    population: Population | None = None
    seen: int = 0


class Answer(StrEnum):
    """What a person said to a run."""

    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class Verdict(Record):
    """What was said to an institution run, by whom (as they call themselves), when, and why if they told."""

    answer: Answer
    by: str
    at: datetime
    note: str = ""

    def __str__(self) -> str:
        why = f": {self.note}" if self.note else ""
        return f"{self.answer} by {self.by} on {self.at:%Y-%m-%d at %H:%M} UTC{why}"


class Baseline(Record):
    """What the last finished run of an action changed in an institution: what guards compare the next one with.

    `exclusion_sizes` holds the members of each exclusion set, by the set as the policy names it; `ever_changed` tells
    whether this run, or any finished one before it, changed anybody.
    """

    code: str
    action: Action
    run_id: str
    finished_at: datetime
    changes: int
    ever_changed: bool
    exclusion_sizes: dict[str, int]


class Budget(Record):
    """How many of Alma's daily calls were left, at most, in each of the latest hours, by the replies of that hour.

    `name` is the institution's, or the pool's whose quota several institutions share. `most` has the hours, in UTC, as
    `2026-11-23T05`.
    """

    name: str
    most: dict[str, int] = {}
    version: int = 0


class Returned(Record):
    """A patron whom a run brings back at this time, the institution's day `on`, with the expiry date of then.

    It is stored before the patron is changed, and once more, `confirmed`, when they were: what a lost worker or a
    refusal leaves unconfirmed protects all the same. `active` tells whether they come back ACTIVE.
    """

    code: str
    primary_id: str
    run_id: str
    on: date
    at: datetime
    expiry_date: date | None
    active: bool
    confirmed: bool = False


class NoticeKind(StrEnum):
    """What a notice tells: the first four a library's contacts, all but the first the operators."""

    COMING_PURGE = "coming_purge"
    DONE = "done"
    HELD = "held"
    NOT_TAKEN = "could_not_be_taken"
    FAILED = "failed"
    ALL_CLEAR = "all_clear"


class NoticeState(StrEnum):
    """How far a notice has come. One that stays `claimed` may have gone out or not, and is not sent again."""

    CLAIMED = "claimed"
    SENT = "sent"


class Notice(Record):
    """That somebody is told something, once: `key` stands for the thing, such as `RUN_ID#done`.

    `code` is the institution, or empty for the operators. `to` counts the addresses.
    """

    code: str
    key: str
    kind: NoticeKind
    run_id: str
    to: int
    state: NoticeState = NoticeState.CLAIMED
    at: datetime


class ReportLink(Record):
    """A link to a report that somebody was sent. `digest` is of its token, which is stored nowhere.

    `code` is the institution whose report it is, or empty for the one of the whole run. `revoked_by` is who has
    revoked it, as they call themselves.
    """

    run_id: str
    code: str
    digest: str
    created_at: datetime
    until: datetime
    revoked_by: str = ""


class Hashes(StrEnum):
    """Whose ids a row of hashes stands for, beside an institution run."""

    EXCLUSIONS = "exclusions"
    MANIFEST = "manifest"


class InstitutionRun(Record):
    """A run in one institution. `institution` and `day` are frozen: the whole of it follows one policy.

    `seq` is the number of the queue message that may go on with it; `idle_slices` counts the slices in a row
    that made no progress, `trouble` says what the last of them met, and `vain_wakes` counts the messages that a
    tidy has sent since without any worker beginning a slice; `stalled_since` is when something was recorded of it last,
    before the first of these. `sources` are the selections with every set's id, and `readings` those of them that have
    been read; `seen` counts all users or members read. `frozen` tells that the manifest's pages are stored,
    `decided_pages` how many of them a pass of decisions before the first write has been through, `due` how many
    patrons it found eligible. A page of the manifest has `page_size` candidates, the last one maybe fewer. `all_users`
    is the number of all users of the institution, if a guard needed it. `pauses` counts the days on which it had to
    pause, `idle_pauses` the latest of them on end before which it made no progress; `paused_in` is the status in which
    it did last, `paused_until` when it goes on, and `paused_reserve` how many calls were kept for others then.
    `slowed_to` is how many calls a second 429s had left it at the time of `slowed_at`: the next slice goes on from
    there.
    """

    run_id: str
    code: str
    institution: Institution
    action: Action
    mode: Mode
    as_of: date | None
    bring_back: BringBack | None = None
    status: Status = Status.QUEUED
    status_reason: str = ""
    seq: int = 0
    slices: int = 0
    idle_slices: int = 0
    vain_wakes: int = 0
    stalled_since: datetime | None = None
    trouble: str = ""
    write_checked: bool = False
    day: date | None = None
    sources: tuple[Select, ...] = ()
    readings: tuple[Reading, ...] = ()
    reading: Reading | None = None
    exclusion_sizes: dict[str, int] = {}
    seen: int = 0
    all_users: int | None = None
    candidates: int = 0
    pages: int = 0
    page_size: int = PAGE_SIZE
    frozen: bool = False
    decided_pages: int = 0
    due: int = 0
    hold_reasons: tuple[str, ...] = ()
    held_at: datetime | None = None
    verdicts: tuple[Verdict, ...] = ()
    next_page: int = 0
    outcomes: dict[Outcome, int] = {}
    reasons: dict[str, int] = {}
    calls: int = 0
    throttled: int = 0
    slowed_to: float | None = None
    slowed_at: datetime | None = None
    remaining_calls: int | None = None
    pauses: int = 0
    idle_pauses: int = 0
    paused_in: Status | None = None
    paused_until: datetime | None = None
    paused_reserve: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    touched_at: datetime
    finished_at: datetime | None = None
    version: int = 0

    @property
    def policy(self) -> ActionPolicy:
        """The institution's policy for this run's action."""
        policy = self.institution.policy.of(self.action)
        if policy is None:
            raise ValueError(f"{self.code} has no policy for {self.action}")
        return policy

    @property
    def is_approved(self) -> bool:
        """Whether a person has approved what was held."""
        return any(verdict.answer is Answer.APPROVED for verdict in self.verdicts)

    @property
    def touched(self) -> int:
        """How many patrons a real run has changed, or may have."""
        return 0 if self.mode is Mode.PREVIEW else self.changes + self.reasons.get(Reason.UNCONFIRMED, 0)

    def may_have_changed(self, outcome: "PatronOutcome") -> bool:
        """Whether this outcome of its says that it has changed the patron, or doesn't know."""
        return outcome.outcome is self.action.done or outcome.reason == Reason.UNCONFIRMED

    @property
    def vault_until(self) -> datetime | None:
        """When the first of the copies that a purge has kept may be gone; None when it has kept none."""
        policy = self.institution.policy.purge if self.action is Action.PURGE else None
        if policy is None or not policy.vault_days or not self.touched:
            return None
        approved = [verdict.at for verdict in self.verdicts if verdict.answer is Answer.APPROVED]
        return max(approved, default=self.started_at or self.created_at) + timedelta(days=policy.vault_days)

    @property
    def has_kept_no_copies(self) -> bool:
        """Whether it is a purge that has ended, has deleted patrons, and has kept nothing of them."""
        return self.action is Action.PURGE and not self.status.is_open and self.touched > 0 and self.vault_until is None

    @property
    def has_taken_back(self) -> str | None:
        """The run that it has taken back, for some of its patrons at least, now that it has ended."""
        if self.bring_back is None or self.status.is_open or not self.touched:
            return None
        return self.bring_back.source_run_id

    @property
    def reason_without_persons(self) -> str:
        """Why it is as it is, without who said so and in what words: notices may go anywhere."""
        reason = self.status_reason
        for verdict in self.verdicts:
            reason = reason.replace(str(verdict), f"{verdict.answer} by a person")
        return reason

    @property
    def new_expiry_date(self) -> date | None:
        """The expiry date with which patrons are to come back, if one was asked for."""
        return self.bring_back.expiry_date if self.bring_back else None

    @property
    def held_until(self) -> datetime | None:
        """When a hold that nobody answers is rejected."""
        return None if self.held_at is None else self.held_at + timedelta(days=HOLD_DAYS)

    @property
    def changes(self) -> int:
        """How many patrons it has changed, or, in a preview, would change."""
        return self.outcomes.get(self.action.done if self.mode is Mode.APPLY else self.action.would, 0)

    @property
    def to_look_at(self) -> int:
        """How many patrons it has left as they were, though not as intended."""
        return sum(count for reason, count in self.reasons.items() if needs_a_look(reason, self.status))

    @property
    def shown_outcomes(self) -> dict[Outcome, int]:
        """The outcomes so far; while it is held, with those whom it waits to change."""
        waiting = {self.action.would: self.due} if self.status is Status.HELD and self.due else {}
        return {**self.outcomes, **waiting}

    def counting(self, outcomes: Mapping[Outcome, int], reasons: Mapping[str, int]) -> Self:
        """A copy with these counts added."""
        return self.but(
            outcomes=dict(Counter(self.outcomes) + Counter(outcomes)),
            reasons=dict(Counter(self.reasons) + Counter(reasons)),
        )


class PatronOutcome(Record):
    """What happened to one candidate. `detail` may hold Alma's words and is personal, as `primary_id` is.

    Of a patron who was changed and is there, the dates are those of the record afterwards: an undo goes by them.
    """

    primary_id: str
    outcome: Outcome
    reason: str = ""
    detail: str = ""
    at: datetime
    status_date: date | None = None
    expiry_date: date | None = None

    @classmethod
    def because(cls, primary_id: str, reason: Reason, at: datetime, detail: str = "") -> "PatronOutcome":
        """The outcome that `reason` leads to."""
        return cls(primary_id=primary_id, outcome=reason.explanation.outcome, reason=reason, detail=detail, at=at)


class Origin(Record):
    """What the run that is undone says of a candidate: the page of its manifest, and how it left the patron.

    `at` is when it changed the patron; without `proven` it couldn't tell whether it had. Whom a person has `named` is
    meant, whatever has come of them since.
    """

    page: int
    at: datetime
    proven: bool = True
    named: bool = False
    status_date: date | None = None
    expiry_date: date | None = None


class Page(Record):
    """At most a hundred candidates of the manifest, in the order of their selection.

    `origins` holds what the run that is undone says of those candidates whom it has changed.

    `due` are the ids that a pass of decisions before the first write found eligible, with what a person should know of
    each: they are judged again before they are changed, the others have their outcome. `eligible` are the ids that
    were decided eligible right before the page's first write: after a crash only these can have been written by this
    run. `unclear` are those of them to whom a write was sent of which it isn't known what became of it.
    """

    run_id: str
    code: str
    number: int
    ids: tuple[str, ...] = Field(max_length=PAGE_SIZE)
    state: PageState = PageState.FROZEN
    origins: dict[str, Origin] = {}
    due: dict[str, str] = {}
    eligible: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    outcomes: tuple[PatronOutcome, ...] = ()
    version: int = 0

    @property
    def open_ids(self) -> list[str]:
        """The ids without an outcome, in order."""
        done = {outcome.primary_id for outcome in self.outcomes}
        return [primary_id for primary_id in self.ids if primary_id not in done]

    @property
    def undecided_ids(self) -> list[str]:
        """The ids that have neither an outcome nor been found eligible, in order."""
        return [primary_id for primary_id in self.open_ids if primary_id not in self.due]

    def closed(self, at: datetime) -> list[PatronOutcome]:
        """One outcome for every id, when the institution run has ended and goes on no more.

        Ids that may have been written when the worker was lost are `unconfirmed`, the rest `not_attempted`.
        """
        missing = [
            PatronOutcome.because(
                primary_id, Reason.UNCONFIRMED if primary_id in self.eligible else Reason.NOT_ATTEMPTED, at
            )
            for primary_id in self.open_ids
        ]
        given = {outcome.primary_id: outcome for outcome in (*self.outcomes, *missing)}
        return [given[primary_id] for primary_id in self.ids]


def outcomes_of(one: InstitutionRun, page: Page) -> list[PatronOutcome]:
    """The outcomes of a page of this institution run, in the page's order.

    When it has ended every id has one; while it is held, whom it waits to change is told so.
    """
    if not one.status.is_open:
        return page.closed(one.finished_at or one.touched_at)
    found = list(page.outcomes)
    if one.status is Status.HELD:
        at = one.held_at or one.touched_at
        done = {outcome.primary_id for outcome in found}  # it may have been approved, and begun, since it was read
        found += [
            PatronOutcome(primary_id=due, outcome=one.action.would, detail=facts, at=at)
            for due, facts in page.due.items()
            if due not in done
        ]
    place = {primary_id: number for number, primary_id in enumerate(page.ids)}
    return sorted(found, key=lambda outcome: place[outcome.primary_id])


class Draft(Record):
    """A piece of a reading in progress: the candidates found, and a hash of every id seen (see `selection`)."""

    candidates: tuple[str, ...]
    seen: bytes


class WorkMessage(Record):
    """The body of a queue message: which institution run may go on, and its seq. Holds nothing personal."""

    run_id: str
    institution: str
    seq: int = Field(ge=0)


def utc_now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(UTC)
