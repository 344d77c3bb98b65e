"""Whether institutions are ready for a run: key, rights, sets, and what the next run would do. Changes nothing.

Whatever goes wrong with one thing is told as a problem, and hides neither the other things nor the other institutions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.errors import AlmaError, DailyThreshold, Refused, Unauthorized
from patron_lifecycle.alma.gateway import AlmaWriter, SelectionError
from patron_lifecycle.alma.pace import TooLate
from patron_lifecycle.api_keys import SecretProblem, Secrets
from patron_lifecycle.notices.account import MailAccount
from patron_lifecycle.observability import logger
from patron_lifecycle.policy.model import ActionPolicy, Purge, Select
from patron_lifecycle.policy.reasons import SCHEDULED, Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.budget import budget_name, kept_for_others, seen
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.guards import Figures
from patron_lifecycle.runs.model import Baseline
from patron_lifecycle.runs.parallel import in_parallel
from patron_lifecycle.runs.selection import set_detail
from patron_lifecycle.runs.store import Store
from patron_lifecycle.schedules import Schedule, why_not

T = TypeVar("T")

CHECK_SECONDS = 30.0  # for one institution at most, until its last call starts
_LAST_CALL_SECONDS = 7.0  # that call's own time near a deadline: to connect, and to read
_AT_ONCE = 16
_NOT_KNOWN = "not known"
_NOT_TOLD = "Alma doesn't tell"
_UNUSABLE = "can't be used"
_VALID = "valid"


@dataclass
class FoundSet:
    """A set that the policy names. `members` is None when it has no known number; `told` says it in words.

    `name` is Alma's, empty unless the set was found. `candidates_of` are the actions that choose from it,
    `excluded_from` those that leave its members out.
    """

    set: str
    name: str = ""
    members: int | None = None
    told: str = _NOT_KNOWN
    candidates_of: list[str] = field(default_factory=list)
    excluded_from: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The set as the policy names it, and Alma's name for one that is named by its id."""
        return self.set if not self.name or self.set.endswith('"') else f'{self.set} "{self.name}"'

    @property
    def used_for(self) -> str:
        """What for, in words."""
        uses = {"candidates of": self.candidates_of, "protected from": self.excluded_from}
        return ", ".join(f"{use} {' and '.join(actions)}" for use, actions in uses.items() if actions)


@dataclass
class NextRun:
    """What an action would do the next time: `run` tells what starts and when, `candidates` whom it would look at.

    `held_from` is the number of changes that holds it for a person; None: not known, or no run.
    """

    run: str
    candidates: str = ""
    held_from: int | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """What was found of one institution. `problems` keep real runs from working; `warnings` are worth a look.

    `users_told` says in words how many users there are. `calls_left` are the calls that Alma still takes today, from
    everybody, and `calls_for_others` those of them at which a run would pause; None: not known.
    """

    institution: str
    enabled: bool = True
    key: str = _NOT_KNOWN
    environment: str = _NOT_KNOWN
    rights: str = _NOT_KNOWN
    users: int | None = None
    users_told: str = _NOT_KNOWN
    calls_left: int | None = None
    calls_for_others: int | None = None
    sets: list[FoundSet] = field(default_factory=list)
    next_runs: dict[str, NextRun] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether a real run would work."""
        return self.enabled and not self.problems

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"institution": self.institution, "ready": self.ready, **asdict(self)}


class Reply(NamedTuple, Generic[T]):
    """What came of a question to Alma: an answer, a refusal, or neither."""

    is_given: bool = False
    value: T | None = None
    refusal: AlmaError | None = None


Baselines = Mapping[tuple[str, Action], Baseline | None]


@dataclass(frozen=True)
class Checker:
    """All that a check works with. `connect` opens the way to an institution's Alma, by its registration and key.

    `mail` is asked where an institution wants notices; `now` tells the time in UTC.
    """

    store: Store
    secrets: Secrets
    connect: Callable[[Institution, str], AlmaClient]
    clock: Callable[[], float]
    schedules: Mapping[Action, Schedule]
    mail: MailAccount
    now: Callable[[], datetime]

    def check(self, codes: Sequence[str] | None, seconds: float) -> dict[str, Any]:
        """Check these institutions, or all, side by side, in at most `seconds`. Raises `InvalidEvent`.

        The answer has `table`, lines for a person, and `institutions`, the same for a program.
        """
        stop_at = self.clock() + seconds - CHECK_SECONDS - _LAST_CALL_SECONDS
        registered = {one.code: one for one in self.store.institutions()}
        unknown = [code for code in codes or () if code not in registered]
        if unknown:
            raise InvalidEvent(f"institutions: {', '.join(unknown)} not registered; correct the code, or register it")
        chosen = [registered[code] for code in dict.fromkeys(codes or registered)]
        baselines = {
            (one.code, action): self.store.baseline(one.code, action) for one in chosen for action in SCHEDULED
        }
        looked = in_parallel(self._look, chosen, _AT_ONCE, lambda: self.clock() <= stop_at)
        findings = []
        for institution, found in zip(chosen, looked, strict=True):
            one = found or _not_reached(institution)
            self._foresee(institution, one, baselines)
            self._look_at_budget(institution, registered.values(), one)
            findings.append(one)
        self._look_at_mail(chosen, findings)
        return {"table": table(findings), "institutions": [one.document() for one in findings]}

    def _look(self, institution: Institution) -> Findings:
        """What Alma tells of one institution."""
        found = Findings(institution.code, enabled=institution.enabled)
        try:
            client = self.connect(institution, self.secrets.api_key(institution.code))
            client.deadline = self.clock() + CHECK_SECONDS
            try:
                _Look(client, institution, found).at_everything()
            finally:
                found.calls_left = client.remaining
                client.close()
        except SecretProblem as problem:
            found.key = "no usable secret"
            found.problems.append(str(problem))
        except Exception as error:  # noqa: BLE001 - one institution's trouble, of whatever kind, must not hide the others
            kind = type(error).__name__
            logger.error("could not be checked", institution=institution.code, error=kind)
            found.problems.append(f"the check itself failed ({kind}): check again, and look at the operator's log")
        return found

    def _look_at_budget(self, institution: Institution, registered: Iterable[Institution], found: Findings) -> None:
        """How many of today's calls are kept for others, by what was left in the last 24 hours."""
        if found.calls_left is None:
            return
        budget = seen(self.store.budget(budget_name(institution)), found.calls_left, self.now())
        found.calls_for_others = kept_for_others(institution, registered, budget)
        if found.calls_left <= found.calls_for_others:
            found.warnings.append(
                f"{found.calls_left:,} of Alma's calls are left today, and {found.calls_for_others:,} are kept for "
                "others: a run would pause at once, and go on when Alma has renewed them"
            )

    def _look_at_mail(self, chosen: Sequence[Institution], findings: Sequence[Findings]) -> None:
        wanted = [found for one, found in zip(chosen, findings, strict=True) if one.enabled and one.notices]
        if wanted and (trouble := self.mail.trouble()):
            for found in wanted:
                found.warnings.append(f"notices to its contacts would not arrive: {trouble}")

    def _foresee(self, institution: Institution, found: Findings, baselines: Baselines) -> None:
        """What the next run of each action would do, by what was found."""
        for action in SCHEDULED:
            why, policy = why_not(institution, action), institution.policy.of(action)
            if why or policy is None:
                found.next_runs[action] = NextRun(f"none: {why}")
            else:
                schedule = self.schedules.get(action, Schedule())
                baseline = baselines[institution.code, action]
                found.next_runs[action] = _next_run(action, policy, schedule, baseline, found)


class _Look:
    """One institution's Alma, asked one thing after the other. What isn't answered is gathered by cause."""

    def __init__(self, client: AlmaClient, institution: Institution, found: Findings) -> None:
        self._alma = AlmaWriter(client)
        self._institution = institution
        self._found = found
        self._unanswered: dict[str, list[str]] = {}

    def at_everything(self) -> None:
        """Look at the key, at its rights, and at every set that an enabled action names."""
        try:
            if self._key_is_right():
                self._look_at_rights()
                for select, found in self._named_sets().items():
                    self._found.sets.append(found)
                    self._look_at_set(select, found)
        finally:
            self._found.problems += [
                f"{why}. Not known: {', '.join(what)}. Check again later" for why, what in self._unanswered.items()
            ]

    def _ask(self, what: str, question: Callable[[], T]) -> Reply[T]:
        try:
            return Reply(is_given=True, value=question())
        except (Unauthorized, Refused) as error:
            return Reply(refusal=error)
        except TooLate:
            why = f"Alma answered too slowly for a check of {CHECK_SECONDS:.0f} seconds"
        except DailyThreshold:
            why = "Alma's daily quota of API calls is spent"
        except AlmaError as error:
            why = f"Alma gave no usable answer ({error})"
        self._unanswered.setdefault(why, []).append(what)
        return Reply()

    def _key_is_right(self) -> bool:
        found, code = self._found, self._institution.code
        general = self._ask("whose key it is, and everything else", self._alma.general)
        if general.refusal:
            found.key = "refused"
            found.problems.append(
                f"Alma refuses the API key ({general.refusal}): in the Ex Libris developer network, give it read/write "
                "rights on Users and read rights on Configuration, and store it in Secrets Manager"
            )
        if general.value is None:
            return False
        found.environment = general.value.environment_type or _NOT_TOLD
        owner = general.value.institution_code
        if owner.casefold() != code.casefold():
            found.key = f"of {owner}"
            found.problems.append(f"the API key belongs to {owner}: store the key of {code} in its secret")
            return False
        found.key = _VALID
        return True

    def _look_at_rights(self) -> None:
        found = self._found
        reading = self._ask("the number of users", self._alma.number_of_users)
        if reading.refusal:
            found.rights = "none on users"
            found.problems.append(
                f"the API key may not read users ({reading.refusal}): in the Ex Libris developer network, give it "
                "read/write rights on Users"
            )
            return
        if reading.is_given:
            found.users, found.users_told = reading.value, _number(reading.value)
            found.rights = "read, write not known"
        writing = self._ask("whether the key may write users", self._alma.check_write)
        if writing.refusal:
            found.rights = "read only"
            found.problems.append(
                f"the API key may not write users ({writing.refusal}): previews work, real runs don't; in the Ex "
                "Libris developer network, give it read/write rights on Users"
            )
        elif writing.is_given:
            found.rights = "read and write" if reading.is_given else "write, read not known"

    def _named_sets(self) -> dict[Select, FoundSet]:
        """Every set that an enabled action names, once, with what it is used for."""
        named: dict[Select, FoundSet] = {}
        for action in SCHEDULED:
            policy = self._institution.policy.of(action)
            if policy is None or not policy.enabled:
                continue
            self._found.warnings += [
                f"{select} is both what {action} chooses from and what it excludes: none of its members is ever changed"
                for select in _sets_chosen_from(policy)
                if select in policy.exclude.each
            ]
            for select in _sets_chosen_from(policy):
                named.setdefault(select, FoundSet(str(select))).candidates_of.append(action.value)
            for select in dict.fromkeys(policy.exclude.each):
                named.setdefault(select, FoundSet(str(select))).excluded_from.append(action.value)
        return named

    def _look_at_set(self, select: Select, found: FoundSet) -> None:
        problems, warnings = self._found.problems, self._found.warnings
        try:
            detail = self._ask(found.set, lambda: set_detail(self._alma, select))
        except SelectionError as problem:
            found.told = _UNUSABLE
            problems.append(f"a set ({found.used_for}) can't be used: {problem}")
            return
        if detail.refusal:
            found.told = _UNUSABLE
            problems.append(
                f"Alma refuses to show {found.set} ({detail.refusal}): in the Ex Libris developer network, give the "
                "API key read rights on Configuration"
            )
        if detail.value is None:
            return
        found.name, found.members = detail.value.name, detail.value.number_of_members
        found.told = _number(found.members)
        if found.members == 0:
            warnings += [f"{found.set} has no members: {action} finds nobody in it" for action in found.candidates_of]
            warnings += [f"{found.set} has no members: it protects nobody from {each}" for each in found.excluded_from]


def _sets_chosen_from(policy: ActionPolicy) -> list[Select]:
    """The sets among an action's selections, each once."""
    return [select for select in dict.fromkeys(policy.selections) if not select.sweep]


def _next_run(
    action: Action, policy: ActionPolicy, schedule: Schedule, baseline: Baseline | None, found: Findings
) -> NextRun:
    """The next run of an enabled action; adds to the warnings when the sizes of exclusion sets would hold it."""
    mode = "apply" if schedule.applies else "preview"
    run = NextRun(f"{mode}, {schedule.when}" if schedule.is_on else "started by hand only")
    chosen = [one for one in found.sets if action in one.candidates_of]
    protecting = [one for one in found.sets if action in one.excluded_from]
    run.candidates = _candidates(policy, chosen, found)
    sizes = {one.set: one.members for one in protecting if one.members is not None}
    figures = Figures(policy, 0, found.users, sizes, baseline)
    if found.users_told != _NOT_KNOWN:
        run.held_from = figures.held_from
    found.warnings += [f"a real {action} would be held: {reason}" for reason in figures.exclusion_reasons()]
    if found.users_told == _NOT_TOLD:
        found.warnings.append(
            f"a real {action} would be held if it had anybody to change: Alma doesn't tell the number of users"
        )
    if found.key not in (_VALID, _NOT_KNOWN):
        run.notes.append("fails without a valid key")
    elif found.rights == "none on users" or (schedule.applies and found.rights == "read only"):
        run.notes.append("fails without the rights")
    elif any(one.told == _UNUSABLE for one in (*chosen, *protecting)):
        run.notes.append("fails without its sets")
    if isinstance(policy, Purge):
        if not figures.has_changed_anybody:
            waits = policy.first_run == "hold"
            run.notes.append(f"the first purge {'is held until somebody approves it' if waits else 'is not held'}")
        run.notes.append(f"records are kept {policy.vault_days} days" if policy.vault_days else "no records kept")
    return run


def _candidates(policy: ActionPolicy, chosen: Sequence[FoundSet], found: Findings) -> str:
    told = []
    if any(select.sweep for select in policy.selections):
        told.append("all users" if found.users is None else f"all {found.users_told} users")
    if count := len(_sets_chosen_from(policy)):
        known = [one.members for one in chosen if one.members is not None]
        sets = f"{count} set{'s' if count > 1 else ''}"
        told.append(f"{sum(known):,} members of {sets}" if len(known) == count else f"members of {sets}, {_NOT_KNOWN}")
    return " and ".join(told)


def _number(count: int | None) -> str:
    return _NOT_TOLD if count is None else f"{count:,}"


def _not_reached(institution: Institution) -> Findings:
    found = Findings(institution.code, enabled=institution.enabled)
    found.problems.append("the time was up before its turn came: check it by itself, with institutions")
    return found


def table(findings: Iterable[Findings]) -> list[str]:
    """Lines for a person: institutions, what each would do next, their sets, what to mend and what to look at."""
    found = list(findings)
    titles = ("institution", "ready", "key", "environment", "rights", "users", "calls left today")
    institutions = [
        (one.institution, _ready(one), one.key, one.environment, one.rights, one.users_told, _calls(one))
        for one in found
    ]
    next_runs = [
        (one.institution, action, run.run, run.candidates, _held_from(run), "; ".join(run.notes))
        for one in found
        for action, run in one.next_runs.items()
    ]
    sets = [(one.institution, each.label, each.told, each.used_for) for one in found for each in one.sets]
    return [
        *_aligned(titles, institutions),
        *_aligned(("institution", "action", "next run", "candidates", "a real run is held from", "besides"), next_runs),
        *_aligned(("institution", "set", "members", "used for"), sets),
        *(_one_line(f"mend {one.institution}: {problem}") for one in found for problem in one.problems),
        *(_one_line(f"look at {one.institution}: {warning}") for one in found for warning in one.warnings),
    ]


def _ready(found: Findings) -> str:
    if not found.enabled:
        return "disabled"
    return "yes" if found.ready else "no"


def _calls(found: Findings) -> str:
    if found.calls_left is None or found.calls_for_others is None:
        return _NOT_KNOWN
    return f"{found.calls_left:,}, {found.calls_for_others:,} for others"


def _held_from(run: NextRun) -> str:
    if run.held_from is None:
        return _NOT_KNOWN if run.candidates else ""
    return f"{run.held_from:,} change{'' if run.held_from == 1 else 's'} on"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _aligned(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows below their titles, and a blank line; nothing where there are no rows."""
    if not rows:
        return []
    cells = [[_one_line(cell) for cell in row] for row in (titles, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [*lines, ""]
