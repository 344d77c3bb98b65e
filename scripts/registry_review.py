"""What a registry file comes to: what each institution gets, what is risky in it, and what it would change. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from patron_lifecycle.policy.model import ActionPolicy, Deactivate, Exclude, Pace, Purge
from patron_lifecycle.policy.reasons import SCHEDULED
from patron_lifecycle.registry import Institution

T = TypeVar("T")
Risks = tuple[tuple[Callable[[T], bool], str], ...]

_HARDLY_A_CAP = 50  # percent
_ALL_OF_ALMAS_PACE = 25
_USUAL_YEARS = 3
_MOST_RESERVED = 20  # percent


def _reserve_of(one: Institution) -> float:
    """The reserve of daily calls: their number, or the percent of them where it is a share."""
    reserve = one.policy.pace.reserve_daily_calls
    return float(reserve.removesuffix("%")) if isinstance(reserve, str) else reserve


# What is legal, and still worth a second look: a condition, and a sentence about the institution.
_OF_INSTITUTION: Risks[Institution] = (
    (lambda one: not one.enabled, "enabled: false: nothing happens there"),
    (lambda one: not one.contacts, "no contacts: nobody there is told of anything"),
    (
        lambda one: not any(policy and policy.enabled for policy in map(one.policy.of, SCHEDULED)),
        "neither action is enabled: nothing is done there",
    ),
    (
        lambda one: one.notices and one.attach_report,
        "attach_report: true: patron ids are mailed to all its contacts",
    ),
    (lambda one: one.attach_report and not one.notices, "attach_report: true does nothing without notices: true"),
    (
        lambda one: one.notices and not one.notice_days,
        "notice_days: []: its contacts don't hear of a purge before it comes",
    ),
    (
        lambda one: one.policy.pace.requests_per_second >= _ALL_OF_ALMAS_PACE,
        "requests_per_second: 25 is all that Alma allows: others are turned away meanwhile",
    ),
    (
        lambda one: not _reserve_of(one),
        "reserve_daily_calls: 0: a run may use up the calls of the day, and others are turned away until the next",
    ),
    (
        lambda one: isinstance(one.policy.pace.reserve_daily_calls, str) and _reserve_of(one) > _MOST_RESERVED,
        "reserve_daily_calls of more than 20%: a fifth of the day's calls is all that is kept for others",
    ),
)
_OF_ACTION: Risks[ActionPolicy] = (
    (lambda policy: policy.max_percent >= _HARDLY_A_CAP, "max_percent of 50 or more hardly ever holds a run"),
    (
        lambda policy: any(select in policy.exclude.each for select in policy.selections),
        "a set is chosen from and excluded: none of its members is ever changed",
    ),
)
_OF_DEACTIVATE: Risks[Deactivate] = (
    (lambda policy: not policy.grace_days, "grace_days: 0: patrons lose access the day after they expire"),
)
_OF_PURGE: Risks[Purge] = (
    (
        lambda policy: any(select.sweep for select in policy.selections) and policy.exclude == Exclude(),
        "looks at every user and excludes nobody: name sets, groups or notes of those who have to stay",
    ),
    (lambda policy: policy.first_run == "apply", "first_run: apply: nobody looks at the list before the first deletes"),
    (lambda policy: not policy.vault_days, "vault_days: 0: no copies are kept, and nobody can be restored"),
    (lambda policy: not policy.require_inactive, "require_inactive: false: ACTIVE patrons are deleted too"),
    (
        lambda policy: policy.require_inactive and not policy.min_inactive_days,
        "min_inactive_days: 0: patrons may be deleted the day they become INACTIVE",
    ),
    (lambda policy: policy.retention_years < _USUAL_YEARS, "retention_years of less than 3"),
    (lambda policy: not policy.respect_purge_date, "respect_purge_date: false: a purge date ahead protects nobody"),
    (
        lambda policy: policy.waive_fees_up_to > 0,
        "waive_fees_up_to: patrons are deleted with what they owe, up to that",
    ),
)


class Gets(NamedTuple):
    """One institution as a row: all that holds for it whatever is done."""

    code: str
    name: str
    state: str
    time_zone: str
    contacts: str
    protected: str
    pace: str
    daily_calls: str


class Does(NamedTuple):
    """One action in one institution as a row."""

    code: str
    action: str
    is_on: str
    chooses_from: str
    leaves_out: str
    held_above: str
    rules: str


class Changes(NamedTuple):
    """What registering a file would change.

    `changed` has the differences by institution code. `switched_off` says why an institution that is enabled now would
    be disabled; one that the file disables by name is among `changed` as well.
    """

    added: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    switched_off: Mapping[str, str]
    unchanged: int

    @property
    def are_none(self) -> bool:
        """Whether all would stay as it is."""
        return not (self.added or self.changed or self.switched_off)


def rows_of(institutions: Iterable[Institution]) -> Iterator[Gets]:
    """What each institution gets."""
    for one in institutions:
        yield Gets(
            one.code,
            readable(one.name),
            "on" if one.enabled else "OFF",
            one.time_zone,
            _mails(one),
            ", ".join(one.policy.protect.record_types),
            _pace(one.policy.pace),
            _daily_calls(one),
        )


def actions_of(institutions: Iterable[Institution]) -> Iterator[Does]:
    """What is done there, a row for each scheduled action."""
    for one in institutions:
        for action in SCHEDULED:
            policy = one.policy.of(action)
            if policy is None:
                yield Does(one.code, action.value, "no", "", "", "", "")
                continue
            yield Does(
                one.code,
                action.value,
                "yes" if policy.enabled else "no",
                ", ".join(readable(str(select)) for select in policy.selections),
                _left_out(policy.exclude),
                f"{policy.max_patrons:,} patron{'' if policy.max_patrons == 1 else 's'} or {policy.max_percent:g} %",
                _rules(policy),
            )


def risks(institutions: Sequence[Institution]) -> list[str]:
    """Sentences about what is legal in a file, and risky; each begins with where it is so."""
    found = [f"{one.code}: {risk}" for one in institutions for risk in _risks_of(one)]
    return [*found, *_shared_set_ids(institutions), *_lonely_pools(institutions)]


def changes(registered: Iterable[Mapping[str, Any]], wanted: Sequence[Institution]) -> Changes:
    """What registering `wanted` would change; `registered` are the institutions as the operator gives them."""
    before = {str(one["code"]): one for one in registered}
    after = {one.code: one.model_dump(mode="json") for one in wanted}
    differing = {code: tuple(_differences(before[code], after[code])) for code in after if code in before}
    changed = {code: found for code, found in differing.items() if found}
    enabled = [code for code, one in before.items() if one["enabled"]]
    switched_off = {code: "isn't in the file" for code in enabled if code not in after}
    switched_off |= {code: "enabled: false" for code in enabled if code in after and not after[code]["enabled"]}
    added = tuple(code for code in after if code not in before)
    return Changes(added, changed, switched_off, len(differing) - len(changed))


def readable(text: str) -> str:
    """The text without what can't be seen, which a terminal might obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _mails(one: Institution) -> str:
    count = len(one.contacts)
    if not one.notices:
        return f"{count}, no mails"
    days = " and ".join(map(str, one.notice_days))
    ahead = f", {days} days ahead of a purge" if days else ""
    return f"{count}, mailed{ahead}{', with the report' if one.attach_report else ''}"


def _pace(pace: Pace) -> str:
    quiet = [f"{each.requests_per_second:g} from {each.start} to {each.end}" for each in pace.quiet_hours]
    return ", ".join([f"{pace.requests_per_second:g} a second", *quiet])


def _daily_calls(one: Institution) -> str:
    """What is left for others, who else has the same calls, and when there are new ones."""
    pace = one.policy.pace
    reserve = pace.reserve_daily_calls
    kept = f"{reserve:,}" if isinstance(reserve, int) else reserve
    told = [f"{kept} for others" if _reserve_of(one) else "none for others"]
    told += [f"pool {readable(one.pool)}"] if one.pool else []
    told.append(f"new at {pace.reset if ' ' in pace.reset else f'{pace.reset} UTC'}")
    return ", ".join(told)


def _left_out(exclude: Exclude) -> str:
    told = [str(select) for select in exclude.each]
    told += [f"group {group}" for group in exclude.user_groups]
    told += [f'notes with "{text}"' for text in exclude.note_contains]
    return ", ".join(map(readable, told)) or "nobody"


def _rules(policy: ActionPolicy) -> str:
    match policy:
        case Deactivate():
            return f"expired {policy.grace_days} days"
        case Purge():
            told = [f"expired {policy.retention_years} years"]
            told.append(f"INACTIVE {policy.min_inactive_days} days" if policy.require_inactive else "ACTIVE too")
            told += [f"waives {policy.waive_fees_up_to:g}"] if policy.waive_fees_up_to else []
            told.append(f"copies {policy.vault_days} days" if policy.vault_days else "no copies")
            told.append("first held" if policy.first_run == "hold" else "first not held")
            return ", ".join(told)
        case _:
            return ""


def _risks_of(one: Institution) -> Iterator[str]:
    yield from _met(_OF_INSTITUTION, one)
    for action in SCHEDULED:
        policy = one.policy.of(action)
        if policy is None or not policy.enabled:
            continue
        found = [*_met(_OF_ACTION, policy)]
        match policy:
            case Deactivate():
                found += _met(_OF_DEACTIVATE, policy)
            case Purge():
                found += _met(_OF_PURGE, policy)
        yield from (f"{action}: {risk}" for risk in found)


def _met(known: Risks[T], subject: T) -> Iterator[str]:
    return (sentence for condition, sentence in known if condition(subject))


def _shared_set_ids(institutions: Iterable[Institution]) -> Iterator[str]:
    """Ids of sets that stand at several institutions, as an entry that was copied, or the defaults, would have it."""
    standing: dict[str, list[str]] = defaultdict(list)
    for one in institutions:
        policies = [policy for policy in map(one.policy.of, SCHEDULED) if policy is not None]
        named = {select.set_id for policy in policies for select in (*policy.selections, *policy.exclude.each)}
        for set_id in sorted(filter(None, named)):
            standing[set_id].append(one.code)
    for set_id, codes in standing.items():
        if len(codes) > 1:
            yield f"{', '.join(codes)}: all name set {readable(set_id)}, and an id is of one institution's set alone"


def _lonely_pools(institutions: Iterable[Institution]) -> Iterator[str]:
    """Pools of one institution, as a name that is written in two ways makes them."""
    sharing: dict[str, list[str]] = defaultdict(list)
    for one in institutions:
        if one.pool:
            sharing[one.pool].append(one.code)
    for pool, codes in sharing.items():
        if len(codes) == 1:
            yield f"{codes[0]}: nobody else is in pool {readable(pool)}: is it written as at the others?"


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            yield f"{key}: {_shown(old.get(key))} -> {_shown(new.get(key))}"


def _leaves(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with the path of its key, a selection and a list being one value."""
    if isinstance(part, Mapping) and path.rpartition(".")[2] != "select":
        for key, value in part.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, part


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case float():
            return f"{int(value) if value.is_integer() else value}"
        case Mapping():
            return readable(", ".join(f"{key}: {one}" for key, one in value.items() if one is not None))
        case list():
            return f"[{', '.join(readable(str(one)) for one in value)}]"
        case _:
            return readable(str(value))
