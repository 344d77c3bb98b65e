"""Whether institutions are ready for a run: key, rights, sets, and what the next run would do. Changes nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.errors import AlmaError, Refused, Unauthorized
from patron_lifecycle.alma.gateway import AlmaReader, AlmaWriter, SelectionError
from patron_lifecycle.alma.pace import TooLate
from patron_lifecycle.api_keys import SecretProblem, Secrets
from patron_lifecycle.policy.model import ActionPolicy, Purge, Select
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.guards import share_of
from patron_lifecycle.runs.parallel import in_parallel
from patron_lifecycle.runs.selection import set_source
from patron_lifecycle.runs.store import Store
from patron_lifecycle.settings import Settings

CHECK_SECONDS = 30.0  # for one institution at most
_AT_ONCE = 16


class Schedule(NamedTuple):
    """An action's schedule as deployed: its expression with the time zone, whether it is on, and what it runs."""

    when: str
    is_on: bool
    applies: bool


@dataclass
class Findings:
    """What was found of one institution. `problems` keep runs from working; `warnings` are worth a look."""

    institution: str
    key: str = "not looked at"
    environment: str = ""
    rights: str = ""
    sets: list[dict[str, Any]] = field(default_factory=list)
    next_runs: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"institution": self.institution, "ready": not self.problems, **vars(self)}


@dataclass(frozen=True)
class Checker:
    """All that a check works with. `connect` opens the way to an institution's Alma, by its registration and key."""

    store: Store
    secrets: Secrets
    connect: Callable[[Institution, str], AlmaClient]
    clock: Callable[[], float]
    schedules: Mapping[Action, Schedule]

    def check(self, codes: Sequence[str] | None, seconds: float) -> dict[str, Any]:
        """Check these institutions, or all, side by side, in at most `seconds`. Raises `InvalidEvent`.

        The answer has `table`, lines for a person, and `institutions`, the same for a program.
        """
        registered = {one.code: one for one in self.store.institutions()}
        unknown = [code for code in codes or () if code not in registered]
        if unknown:
            raise InvalidEvent(f"institutions: {', '.join(unknown)} not registered; correct the code, or register it")
        chosen = [registered[code] for code in dict.fromkeys(codes or registered)]
        first = {one.code: self.store.baseline(one.code, Action.PURGE) is None for one in chosen}
        stop_at = self.clock() + seconds - CHECK_SECONDS
        found = in_parallel(
            lambda one: self._check(one, is_first_purge=first[one.code]),
            chosen,
            _AT_ONCE,
            lambda: self.clock() <= stop_at,
        )
        findings = [one or _not_reached(institution) for one, institution in zip(found, chosen, strict=True)]
        return {"table": table(findings), "institutions": [one.document() for one in findings]}

    def _check(self, institution: Institution, *, is_first_purge: bool) -> Findings:
        found = Findings(institution.code)
        try:
            client = self.connect(institution, self.secrets.api_key(institution.code))
        except SecretProblem as problem:
            found.key = "no usable secret"
            found.problems.append(str(problem))
        else:
            client.deadline = self.clock() + CHECK_SECONDS
            try:
                self._look(institution, client, found, is_first_purge=is_first_purge)
            except (AlmaError, TooLate) as error:
                found.problems.append(f"Alma gave no usable answer ({error}): check again later")
            finally:
                client.close()
        for action in Action:
            found.next_runs.setdefault(action.value, "not known" if found.problems else _off(institution, action))
        return found

    def _look(self, institution: Institution, client: AlmaClient, found: Findings, *, is_first_purge: bool) -> None:
        reader = AlmaReader(client)
        try:
            general = reader.general()
        except (Unauthorized, Refused) as error:
            found.key = "refused"
            found.problems.append(
                f"Alma refuses the API key ({error}): give it read/write rights on Users and read rights on "
                "Configuration, and store it in Secrets Manager"
            )
            return
        found.environment = general.environment_type or "not told"
        if general.institution_code.casefold() != institution.code.casefold():
            found.key = f"of {general.institution_code}"
            found.problems.append(
                f"the API key belongs to {general.institution_code}: store the key of {institution.code} in its secret"
            )
            return
        found.key = "valid"
        users = self._look_at_rights(reader, client, found)
        for action in Action:
            policy = institution.policy.of(action)
            if policy is not None and policy.enabled:
                sizes = _look_at_sets(reader, action, policy, found)
                found.next_runs[action.value] = self._next_run(
                    institution, action, policy, users, sizes, is_first_purge=is_first_purge
                )

    def _look_at_rights(self, reader: AlmaReader, client: AlmaClient, found: Findings) -> int | None:
        """The number of all users, which tells that users may be read."""
        users = None
        try:
            users = reader.number_of_users()
            found.rights = "read"
            AlmaWriter(client).check_write()
            found.rights = "read and write"
        except (Unauthorized, Refused) as error:
            found.rights = found.rights or "none on users"
            found.problems.append(f"the API key may not read and write users ({error}): give it these rights on Users")
        return users

    def _next_run(
        self,
        institution: Institution,
        action: Action,
        policy: ActionPolicy,
        users: int | None,
        sizes: Sequence[int | None],
        *,
        is_first_purge: bool,
    ) -> str:
        if not institution.enabled:
            return _off(institution, action)
        schedule = self.schedules.get(action, Schedule("", is_on=False, applies=False))
        mode = "apply" if schedule.applies else "preview"
        told = [f"{mode}, {schedule.when}" if schedule.is_on else "schedule off, by hand only"]
        known = [size for size in sizes if size is not None]
        who = (
            [f"{users:,} users swept" if users is not None else "all users swept"]
            if policy.select is not None and (policy.select.sweep)
            else []
        )
        who += [f"{sum(known):,} in its sets"] if sizes else []
        told.append(" and ".join(who))
        told.append(f"held from {_cap(policy, users) + 1:,} changes on")
        if isinstance(policy, Purge):
            if is_first_purge and policy.first_run == "hold":
                told.append("the first purge is held for approval")
            told.append(f"records kept {policy.vault_days} days" if policy.vault_days else "no records kept")
        return "; ".join(told)


def schedules_of(settings: Settings) -> dict[Action, Schedule]:
    """The schedules that the template tells the operator of."""
    zone = settings.schedule_time_zone
    return {
        Action.DEACTIVATE: Schedule(
            f"{settings.deactivate_schedule} {zone}".strip(),
            is_on=settings.deactivate_schedule_state == "ENABLED",
            applies=settings.apply_deactivate,
        ),
        Action.PURGE: Schedule(
            f"{settings.purge_schedule} {zone}".strip(),
            is_on=settings.purge_schedule_state == "ENABLED",
            applies=settings.apply_purge,
        ),
    }


def table(findings: Iterable[Findings]) -> list[str]:
    """Lines for a person: a table, and below it what to mend and what to look at."""
    found = list(findings)
    rows = [("institution", "ready", "key", "environment", "rights", "sets", *(action.value for action in Action))]
    rows += [
        (
            one.institution,
            "no" if one.problems else "yes",
            one.key,
            one.environment,
            one.rights,
            ", ".join(f"{each['set']}: {each['told']}" for each in one.sets),
            *(one.next_runs[action.value] for action in Action),
        )
        for one in found
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"mend {one.institution}: {problem}" for one in found for problem in one.problems]
    return lines + [f"look at {one.institution}: {warning}" for one in found for warning in one.warnings]


def _look_at_sets(reader: AlmaReader, action: Action, policy: ActionPolicy, found: Findings) -> list[int | None]:
    """Find the action's sets; the sizes of those that it selects by."""
    selected = [select for select in policy.selections if not select.sweep]
    sizes = [_look_at_set(reader, action, select, "selects", found) for select in selected]
    for select in policy.exclude.each:
        if _look_at_set(reader, action, select, "excludes", found) == 0:
            found.warnings.append(f"{select}, which {action} excludes, is empty: nobody is protected by it")
    return sizes


def _look_at_set(reader: AlmaReader, action: Action, select: Select, use: str, found: Findings) -> int | None:
    size, told = None, ""
    try:
        size = set_source(reader, select).announced
    except SelectionError as problem:
        found.problems.append(f"{action} {use} a set that can't be used: {problem}")
        told = "can't be used"
    else:
        told = "size not told" if size is None else f"{size:,}"
    row = {"set": str(select), "action": action.value, "use": use, "members": size, "told": told}
    found.sets.append(row)
    return size


def _cap(policy: ActionPolicy, users: int | None) -> int:
    by_percent = policy.max_patrons if users is None else share_of(users, policy.max_percent)
    return min(policy.max_patrons, by_percent)


def _off(institution: Institution, action: Action) -> str:
    if not institution.enabled:
        return "none: the institution is disabled"
    policy = institution.policy.of(action)
    return f"none: policy.{action} is not enabled" if policy is None or not policy.enabled else "not known"


def _not_reached(institution: Institution) -> Findings:
    found = Findings(institution.code, next_runs={action.value: "not known" for action in Action})
    found.problems.append("the time was up before its turn came: check it by itself, with institutions")
    return found
