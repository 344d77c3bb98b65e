"""What keeps a run from changing anybody before a person has looked at it. Pure: figures in, reasons out.

Every reason to hold begins with its name and tells the figures that tripped it, as in
`max_patrons: 612 changes due, 500 allowed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from patron_lifecycle.policy.model import ActionPolicy, Purge, ScheduledPolicy
from patron_lifecycle.runs.model import Baseline, InstitutionRun

_FEW = 50  # fewer changes than that never count as a leap
_LEAP = 3  # times the changes of the last finished run


class GuardExplanation(NamedTuple):
    """One row of the table of guards: what trips it, what to look at before answering, the policy's keys for it."""

    trips: str
    remedy: str
    settings: tuple[str, ...] = ()


class Guard(StrEnum):
    """What can hold a run. Every reason to hold begins with the name of its guard."""

    FIRST_RUN = "first_run"
    EXCLUSION_SET_EMPTY = "exclusion_set_empty"
    EXCLUSION_SET_SHRUNK = "exclusion_set_shrunk"
    MAX_PATRONS = "max_patrons"
    MAX_PERCENT = "max_percent"
    THREE_TIMES_LAST = "three_times_last"

    @property
    def explanation(self) -> GuardExplanation:
        """The row of the table for this guard."""
        return GUARDS[self]


GUARDS: dict[Guard, GuardExplanation] = {
    Guard.FIRST_RUN: GuardExplanation(
        "The first purge of an institution: none that deleted anybody has finished there yet.",
        "Read the whole list as you would before deleting these patrons by hand.",
        ("first_run",),
    ),
    Guard.EXCLUSION_SET_EMPTY: GuardExplanation(
        "A set that the policy excludes has no members, and had some at the last finished run.",
        "See in Alma whether somebody has emptied the set, or whether its query still finds what it should. If it is "
        "broken, reject, mend the set, and start a new run: whom it should protect may be on the list.",
    ),
    Guard.EXCLUSION_SET_SHRUNK: GuardExplanation(
        "A set that the policy excludes has fewer than half of the members that it had at the last finished run.",
        "See in Alma who has left the set, and whether they were meant to. If not, reject, mend the set, and start a "
        "new run.",
    ),
    Guard.MAX_PATRONS: GuardExplanation(
        "More patrons are due than the policy allows at once.",
        "See whether so many are plausible, as after a first selection or an end of term. If it will be so every time, "
        "reject, raise the number in the registry, and start a new run.",
        ("max_patrons",),
    ),
    Guard.MAX_PERCENT: GuardExplanation(
        "More patrons are due than the policy allows of all users of the institution, or Alma doesn't tell how many "
        "users there are.",
        "See whether the selection has grown beyond what it was meant for, or expiry dates were changed by mistake.",
        ("max_percent",),
    ),
    Guard.THREE_TIMES_LAST: GuardExplanation(
        f"{_FEW} patrons or more are due, and more than three times as many as the last finished run changed. Only "
        "asked of deactivate and purge: how many a person brings back has nothing to do with the time before.",
        "See what has changed since: a set's query, a load of patrons, the policy.",
    ),
}


def guard_of(hold_reason: str) -> Guard | None:
    """The guard that a reason to hold is of; None for one of another make."""
    name = hold_reason.partition(":")[0]
    return Guard(name) if name in set(Guard) else None


def share_of(users: int, percent: float) -> int:
    """The greatest number of changes that is no more than `percent` of all users."""
    return int(Decimal(str(percent)) * users / 100)


@dataclass(frozen=True)
class Figures:
    """What is known of an institution run before its first write.

    `candidates` are the selected patrons, `all_users` all users of the institution (None: Alma didn't tell),
    `exclusion_sizes` the members of each exclusion set; `baseline` is that of the last finished run.
    """

    policy: ActionPolicy
    candidates: int
    all_users: int | None
    exclusion_sizes: Mapping[str, int]
    baseline: Baseline | None

    @classmethod
    def of(cls, institution_run: InstitutionRun, baseline: Baseline | None) -> "Figures":
        """The figures of an institution run whose manifest is frozen."""
        one = institution_run
        return cls(one.policy, one.candidates, one.all_users, one.exclusion_sizes, baseline)

    @property
    def has_changed_anybody(self) -> bool:
        """Whether a run of the action has ever changed anybody here."""
        return self.baseline is not None and self.baseline.ever_changed

    @property
    def needs_decisions(self) -> bool:
        """Whether all candidates have to be judged before the first write.

        Caps count changes, so where no more were selected than may be changed nobody needs to be judged for them.
        """
        return bool(self.hold_reasons(self.candidates))

    @property
    def is_first_to_hold(self) -> bool:
        """Whether a first purge is to wait for a person, whoever is on its list."""
        return isinstance(self.policy, Purge) and self.policy.first_run == "hold" and not self.has_changed_anybody

    @property
    def held_from(self) -> int:
        """The least number of changes that would be held."""
        if self.is_first_to_hold:
            return 1
        share = 0 if self.all_users is None else share_of(self.all_users, self.policy.max_percent)
        limits = [self.policy.max_patrons, share]
        if self.baseline is not None and self._recurs:
            limits.append(max(_FEW - 1, _LEAP * self.baseline.changes))
        return min(limits) + 1

    @property
    def _recurs(self) -> bool:
        """Whether one run of the action says something of what the next should be like."""
        return isinstance(self.policy, ScheduledPolicy)

    def hold_reasons(self, due: int) -> list[str]:
        """Why the run is to be held when `due` of its candidates would be changed."""
        return [*self._first_run(due), *self.exclusion_reasons(), *self._caps(due), *self._leap(due)]

    def _first_run(self, due: int) -> list[str]:
        if not due or not self.is_first_to_hold:
            return []
        return [f"{Guard.FIRST_RUN}: the first purge here, of {due:,} among {self.candidates:,} candidates"]

    def exclusion_reasons(self) -> list[str]:
        """Why the sizes of exclusion sets hold the run, whatever the number of changes."""
        before = self.baseline.exclusion_sizes if self.baseline else {}
        reasons = []
        for name, size in self.exclusion_sizes.items():
            had = before.get(name, 0)
            if had and not size:
                reasons.append(
                    f"{Guard.EXCLUSION_SET_EMPTY}: {name} has no members; it had {had:,} at the last finished run"
                )
            elif 2 * size < had:
                reasons.append(
                    f"{Guard.EXCLUSION_SET_SHRUNK}: {name} has {size:,} members, fewer than half of the {had:,} that "
                    "it had at the last finished run"
                )
        return reasons

    def _caps(self, due: int) -> list[str]:
        reasons = []
        if due > self.policy.max_patrons:
            reasons.append(f"{Guard.MAX_PATRONS}: {due:,} changes due, {self.policy.max_patrons:,} allowed")
        percent = self.policy.max_percent
        if due and self.all_users is None:
            reasons.append(f"{Guard.MAX_PERCENT}: {due:,} changes due, but Alma doesn't tell the number of all users")
        elif self.all_users is not None and due > (allowed := share_of(self.all_users, percent)):
            reasons.append(
                f"{Guard.MAX_PERCENT}: {due:,} changes due among {self.all_users:,} users in all; {percent:g} % of "
                f"them allowed, that is {allowed:,}"
            )
        return reasons

    def _leap(self, due: int) -> list[str]:
        if self.baseline is None or not self._recurs or due < _FEW or due <= _LEAP * self.baseline.changes:
            return []
        return [
            f"{Guard.THREE_TIMES_LAST}: {due:,} changes due, more than three times the {self.baseline.changes:,} of "
            f"the last finished run, {self.baseline.run_id}"
        ]
