"""What a run is made of: run → institution run → page → outcome. All frozen; a change is a copy.

Each model names its parent by id and never reaches back up. Times are UTC; `version` counts the writes of
an item, so that two writers of the same one can't overwrite each other.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from patron_lifecycle.policy.model import ActionPolicy
from patron_lifecycle.policy.reasons import Action, Outcome, Reason
from patron_lifecycle.registry import Institution

PAGE_SIZE = 100  # candidates a page at most


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
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Whether something is still to happen."""
        return self in (Status.QUEUED, Status.SELECTING, Status.PROCESSING)


class RunStatus(StrEnum):
    """The status of a run over all its institutions."""

    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"

    @classmethod
    def of(cls, ended: Mapping[Status, int], open_count: int) -> "RunStatus":
        """The run's status from its institution runs: how many ended in which status, how many are open."""
        if open_count:
            return cls.RUNNING
        return cls.COMPLETED_WITH_FAILURES if ended.get(Status.FAILED) else cls.COMPLETED


class PageState(StrEnum):
    """`frozen`: no write was made. `in_progress`: its eligible may have been written. `done`: all have an outcome."""

    FROZEN = "frozen"
    IN_PROGRESS = "in_progress"
    DONE = "done"


class Record(BaseModel):
    """Base of all that is stored: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def but(self, **changes: object) -> Self:
        """A validated copy with these fields changed."""
        return type(self).model_validate({**dict(self), **changes})


class Skipped(Record):
    """An institution that a run leaves out, and why."""

    institution: str
    reason: str


class Run(Record):
    """One action over institutions. `request_id` makes it idempotent; `fingerprint` is that of its event.

    `launched` tells that all its institution runs are stored and queued. `ended` counts institution runs by
    their last status, `open_count` those that are still to end.
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
    status: RunStatus
    launched: bool
    open_count: int
    ended: dict[Status, int] = {}
    created_at: datetime
    finished_at: datetime | None = None
    version: int = 0


class Reading(Record):
    """How far the reading of candidates has come, so that a later slice can go on.

    `offset` is the next row to ask for and `stride` the rows that Alma gives a call; `totals` are the counts
    that Alma has announced (None: a count that wasn't one); `chunks` counts the stored drafts of this attempt.
    """

    attempt: int = 1
    offset: int = 0
    stride: int = PAGE_SIZE
    first_total: int | None = None
    last_total: int | None = None
    members_before: int | None = None
    chunks: int = 0
    at_end: bool = False


class InstitutionRun(Record):
    """A run in one institution. `institution` and `day` are frozen: the whole of it follows one policy.

    `seq` is the number of the queue message that may go on with it; `idle_slices` counts the slices in a row
    that made no progress, `trouble` says what the last of them met, and `vain_wakes` counts the messages that a
    tidy has sent since. `seen` counts all users or members read.
    """

    run_id: str
    code: str
    institution: Institution
    action: Action
    mode: Mode
    as_of: date | None
    status: Status = Status.QUEUED
    status_reason: str = ""
    seq: int = 0
    slices: int = 0
    idle_slices: int = 0
    vain_wakes: int = 0
    trouble: str = ""
    write_checked: bool = False
    day: date | None = None
    set_id: str | None = None
    reading: Reading | None = None
    seen: int = 0
    candidates: int = 0
    pages: int = 0
    next_page: int = 0
    outcomes: dict[Outcome, int] = {}
    reasons: dict[str, int] = {}
    calls: int = 0
    throttled: int = 0
    remaining_calls: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    touched_at: datetime
    finished_at: datetime | None = None
    version: int = 0

    @property
    def policy(self) -> ActionPolicy:
        """The institution's policy for this run's action."""
        policy = self.institution.policy.deactivate
        if policy is None:
            raise ValueError(f"{self.code} has no policy for {self.action}")
        return policy

    def counting(self, outcomes: Mapping[Outcome, int], reasons: Mapping[str, int]) -> Self:
        """A copy with these counts added."""
        return self.but(
            outcomes=dict(Counter(self.outcomes) + Counter(outcomes)),
            reasons=dict(Counter(self.reasons) + Counter(reasons)),
        )


class PatronOutcome(Record):
    """What happened to one candidate. `detail` may hold Alma's words and is personal, as `primary_id` is."""

    primary_id: str
    outcome: Outcome
    reason: str = ""
    detail: str = ""
    at: datetime

    @classmethod
    def because(cls, primary_id: str, reason: Reason, at: datetime, detail: str = "") -> "PatronOutcome":
        """The outcome that `reason` leads to."""
        return cls(primary_id=primary_id, outcome=reason.explanation.outcome, reason=reason, detail=detail, at=at)


class Page(Record):
    """At most a hundred candidates of the manifest, in the order of their selection.

    `eligible` are the ids that were decided eligible before the page's first write: after a crash only these
    can have been written by this run.
    """

    run_id: str
    code: str
    number: int
    ids: tuple[str, ...] = Field(max_length=PAGE_SIZE)
    state: PageState = PageState.FROZEN
    eligible: tuple[str, ...] = ()
    outcomes: tuple[PatronOutcome, ...] = ()
    version: int = 0

    @property
    def open_ids(self) -> list[str]:
        """The ids without an outcome, in order."""
        done = {outcome.primary_id for outcome in self.outcomes}
        return [primary_id for primary_id in self.ids if primary_id not in done]

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
