"""The registry: which institutions there are and what each one's policy is.

`parse_registry` reads the text of `institutions.yaml` and finds all mistakes before anything is stored.
Maps of an institution are merged into the defaults; `select` is replaced whole; lists under `exclude`
and `protect` add to the defaults, so no institution can take a protection away.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from patron_lifecycle.alma.hosts import HOSTS
from patron_lifecycle.policy.model import Policy, PolicyModel, Protect, Text
from patron_lifecycle.policy.quiet_hours import rate_at
from patron_lifecycle.validation import problems_of

if TYPE_CHECKING:
    from patron_lifecycle.runs.store import Store

MAX_REGISTRY_CHARACTERS = 5_000_000
MAX_CONTACTS = 50  # addresses that Amazon SES takes of one mail
_MAILED = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}")
_ALWAYS = {"policy": {"protect": Protect().model_dump(mode="json")}}  # a file adds to this, and can't take it away
_ADDED_TO_DEFAULTS = ("exclude", "protect")
# What a person can do about what the parser of YAML finds, by words of its own.
_YAML_MENDS = {
    "'\\t'": "indent with blanks, not with tabs",
    "duplicate key": "leave one of the two",
    "another document": "leave out the line that begins with ---",
}
_FOR_DEFAULTS = ("region", "time_zone", "pool", "notices", "attach_report", "notice_days", "policy")


def _known_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'"{name}" is no known time zone; give an IANA name, such as America/New_York') from None
    return name


def _known_region(region: str) -> str:
    if region not in HOSTS:
        raise ValueError(f'"{region}" is no known region; give one of {", ".join(HOSTS)}')
    return region


def _institution_code(code: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z_]{3,60}", code):
        raise ValueError(f'"{code}" is no institution code; give the one that Alma shows, such as 01OHIO_AAA')
    return code


def _email_address(address: str) -> str:
    if not re.fullmatch(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]+", address):
        raise ValueError("is no e-mail address; give one such as library@example.edu")  # the text may be logged
    return address


def _far_enough_ahead(days: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(days), reverse=True))


Code = Annotated[str, AfterValidator(_institution_code)]
EmailAddress = Annotated[str, StringConstraints(max_length=254), AfterValidator(_email_address)]
NoticeDays = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=1, le=28)], ...],
    Field(max_length=5),
    AfterValidator(_far_enough_ahead),
]


class Institution(PolicyModel):
    """One library's Alma institution with its whole policy, defaults merged in.

    `code` is the institution code that Alma's `GET /conf/general` answers with; `time_zone` says which day it
    is there; `region` names Alma's host. The API key is not here: it is in Secrets Manager. With `notices`, `contacts`
    are mailed what comes of real runs and, `notice_days` before a purge, whom it will take; with `attach_report` a mail
    carries the report, patron ids included, instead of a link to it. Institutions with the same `pool` share one quota
    of daily calls.
    """

    code: Code
    name: Text
    enabled: bool = True
    contacts: tuple[EmailAddress, ...] = ()
    region: Annotated[str, AfterValidator(_known_region)]
    time_zone: Annotated[str, AfterValidator(_known_time_zone)]
    pool: Text | None = None
    notices: bool = False
    attach_report: bool = False
    notice_days: NoticeDays = (14, 1)
    policy: Policy

    def calls_a_second(self, now: datetime) -> float:
        """How often Alma may be called now, by the pace and its quiet hours."""
        return rate_at(self.policy.pace, self.time_zone, now)

    @model_validator(mode="after")
    def _somebody_to_tell(self) -> Self:
        if self.notices and not self.contacts:
            raise ValueError("notices: is true, and there is nobody to tell; add contacts, or set notices: false")
        if self.notices and len(self.contacts) > MAX_CONTACTS:
            raise ValueError(
                f"contacts: has {len(self.contacts)} addresses, and a mail goes to {MAX_CONTACTS} at most; name a "
                "mailing list"
            )
        for place, contact in enumerate(self.contacts if self.notices else ()):
            if not _MAILED.fullmatch(contact):  # SES would refuse the mail to all of them
                raise ValueError(
                    f"contacts[{place}]: can't be mailed; give the bare address, without a name, in ASCII letters"
                )
        return self


class RegistryError(ValueError):
    """The registry file has mistakes; `problems` names each one. Nothing was stored."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            "The registry was not changed. Mend institutions.yaml:\n" + "\n".join(f"- {p}" for p in problems)
        )


class Registration(NamedTuple):
    """What storing a registry changed: institution codes by what became of them."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    disabled: tuple[str, ...]


def parse_registry(text: str) -> list[Institution]:
    """Read the text of an `institutions.yaml`. Raises `RegistryError` that names every mistake in it."""
    document = _load(text)
    problems: list[str] = []
    defaults = document.get("defaults") or {}
    entries = document.get("institutions")
    unknown = sorted(set(map(str, document)) - {"defaults", "institutions"})
    problems += [f"{key}: unknown key; known keys are defaults, institutions" for key in unknown]
    if not isinstance(defaults, Mapping):
        problems.append("defaults: should be a map")
        defaults = {}
    not_for_defaults = sorted(set(map(str, defaults)) - set(_FOR_DEFAULTS))
    problems += [f"defaults.{key}: unknown key; known keys are {', '.join(_FOR_DEFAULTS)}" for key in not_for_defaults]
    defaults = {key: value for key, value in defaults.items() if key not in not_for_defaults}
    if not isinstance(entries, list) or not entries:
        raise RegistryError([*problems, "institutions: should be a list of at least one institution"])

    shared = _merge(_ALWAYS, defaults)
    institutions: dict[str, Institution] = {}
    first_place: dict[str, int] = {}
    for place, entry in enumerate(entries):
        where = _where(entry, place)
        if not isinstance(entry, Mapping):
            problems.append(f"{where}: should be a map with code, name, policy")
            continue
        code = str(entry.get("code", "")).casefold()
        if code and first_place.setdefault(code, place) != place:
            problems.append(
                f"{where}: code: duplicate of institutions[{first_place[code]}]; an institution may stand here once"
            )
        try:
            merged = json.dumps(_merge(shared, entry))
            institutions[where] = Institution.model_validate_json(merged)
        except ValidationError as error:
            for problem, finding in zip(problems_of(error, Institution), error.errors(), strict=True):
                of_defaults = _stands_in(defaults, finding["loc"]) and not _stands_in(entry, finding["loc"])
                sentence = f"{'defaults' if of_defaults else where}: {problem}"
                if sentence not in problems:
                    problems.append(sentence)
    problems += _pools_with_two_resets(institutions)
    if problems:
        raise RegistryError(problems)
    return list(institutions.values())


def register(store: "Store", text: str) -> Registration:
    """Validate the registry and store it; nothing is stored when anything in it is wrong.

    Idempotent. An institution that isn't in the file any more is disabled, never deleted.
    """
    wanted = {institution.code: institution for institution in parse_registry(text)}
    stored = {institution.code: institution for institution in store.institutions()}
    added = [code for code in wanted if code not in stored]
    changed = [code for code in wanted if code in stored and wanted[code] != stored[code]]
    disabled = [code for code, institution in stored.items() if code not in wanted and institution.enabled]
    for code in (*added, *changed):
        store.put_institution(wanted[code])
    for code in disabled:
        store.put_institution(stored[code].model_copy(update={"enabled": False}))
    unchanged = [code for code in wanted if code not in added and code not in changed]
    return Registration(tuple(added), tuple(changed), tuple(unchanged), tuple(disabled))


def _load(text: str) -> Mapping[str, Any]:
    # Only `register` needs it: other functions start without it.
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    if len(text) > MAX_REGISTRY_CHARACTERS:
        raise RegistryError([f"the file is longer than {MAX_REGISTRY_CHARACTERS:,} characters"])
    try:
        # As JSON has it: keys are text, dates are text, nothing refers to itself.
        document = json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise RegistryError(
            [f"not readable as YAML: {where}{error.problem}; {_yaml_mend(str(error.problem))}"]
        ) from None
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        raise RegistryError([f"not readable as YAML: {error}"]) from None
    if not isinstance(document, Mapping):
        raise RegistryError(["the file should be a map with the keys defaults and institutions"])
    return document


def _yaml_mend(problem: str) -> str:
    usual = "look at indentation, quotes and brackets there and above"
    return next((mend for words, mend in _YAML_MENDS.items() if words in problem), usual)


def _where(entry: object, place: int) -> str:
    code = entry.get("code") if isinstance(entry, Mapping) else None
    return f"institutions[{place}] {code}" if code else f"institutions[{place}]"


def _pools_with_two_resets(institutions: Mapping[str, Institution]) -> Iterator[str]:
    """Institutions, by their places, that share a quota with one before them and say that it is renewed otherwise."""
    first_of: dict[str, tuple[str, str]] = {}
    for where, one in institutions.items():
        if one.pool is None:
            continue
        reset = one.policy.pace.reset
        first, resets_at = first_of.setdefault(one.pool, (where, reset))
        if reset != resets_at:
            yield (
                f'{where}: policy.pace.reset: is "{reset}", and {first}, of the same pool "{one.pool}", has '
                f'"{resets_at}"; a quota is renewed at one time, so give both the same, or another pool'
            )


def _merge(defaults: Any, own: Any, path: tuple[str, ...] = ()) -> Any:
    if not (isinstance(defaults, Mapping) and isinstance(own, Mapping)) or path[-1:] == ("select",):
        adds = any(part in _ADDED_TO_DEFAULTS for part in path)
        if adds and isinstance(defaults, list) and isinstance(own, list):
            return list(dict.fromkeys([*defaults, *own])) if _hashable([*defaults, *own]) else [*defaults, *own]
        return own
    merged = dict(defaults)
    for key, value in own.items():
        merged[key] = _merge(defaults[key], value, (*path, str(key))) if key in defaults else value
    return merged


def _hashable(values: list[Any]) -> bool:
    return all(isinstance(value, str | int | float | bool) for value in values)


def _stands_in(document: Any, path: tuple[int | str, ...]) -> bool:
    for part in path:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(path)
