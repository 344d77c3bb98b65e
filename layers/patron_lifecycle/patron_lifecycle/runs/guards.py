"""What keeps a run from changing anybody before a person has looked at it. Pure: figures in, reasons out.

Every reason to hold begins with its name and tells the figures that tripped it, as in
`max_patrons: 612 changes due, 500 allowed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from patron_lifecycle.policy.model import ActionPolicy, Purge
from patron_lifecycle.runs.model import Baseline, InstitutionRun

_FEW = 50  # fewer changes than that never count as a leap
_LEAP = 3  # times the changes of the last finished run


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
    def needs_decisions(self) -> bool:
        """Whether all candidates have to be judged before the first write.

        Caps count changes, so where no more were selected than may be changed nobody needs to be judged for them.
        """
        return bool(self.hold_reasons(self.candidates))

    def hold_reasons(self, due: int) -> list[str]:
        """Why the run is to be held when `due` of its candidates would be changed."""
        return [*self._first_run(due), *self._exclusion_sets(), *self._caps(due), *self._leap(due)]

    def _first_run(self, due: int) -> list[str]:
        if not isinstance(self.policy, Purge) or self.policy.first_run == "apply" or self.baseline is not None:
            return []
        return [
            "first_run: the first purge of this institution waits for a person; "
            f"{due:,} of {self.candidates:,} candidates would be purged"
        ]

    def _exclusion_sets(self) -> list[str]:
        before = self.baseline.exclusion_sizes if self.baseline else {}
        reasons = []
        for name, size in self.exclusion_sizes.items():
            had = before.get(name, 0)
            if had and not size:
                reasons.append(f"exclusion_set_empty: {name} has no members; it had {had:,} at the last finished run")
            elif 2 * size < had:
                reasons.append(
                    f"exclusion_set_shrunk: {name} has {size:,} members, fewer than half of the {had:,} that it had "
                    "at the last finished run"
                )
        return reasons

    def _caps(self, due: int) -> list[str]:
        reasons = []
        if due > self.policy.max_patrons:
            reasons.append(f"max_patrons: {due:,} changes due, {self.policy.max_patrons:,} allowed")
        percent = self.policy.max_percent
        if due and self.all_users is None:
            reasons.append(f"max_percent: {due:,} changes due, but Alma doesn't tell the number of all users")
        elif self.all_users is not None and due > (allowed := share_of(self.all_users, percent)):
            reasons.append(
                f"max_percent: {due:,} changes due among {self.all_users:,} users in all; {percent:g} % of them "
                f"allowed, that is {allowed:,}"
            )
        return reasons

    def _leap(self, due: int) -> list[str]:
        if self.baseline is None or due < _FEW or due <= _LEAP * self.baseline.changes:
            return []
        return [
            f"three_times_last: {due:,} changes due, more than three times the {self.baseline.changes:,} of the last "
            f"finished run, {self.baseline.run_id}"
        ]
