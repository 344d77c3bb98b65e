"""The registry file: what is wrong in it is told in sentences; what is right is merged and stored."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.model import Pace, QuietHours
from patron_lifecycle.registry import Institution, RegistryError, parse_registry, register
from patron_lifecycle.runs.store import MemoryStore

ROOT = Path(__file__).parents[2]
DEFAULTS = """
defaults:
  region: na
  time_zone: America/New_York
  policy:
    deactivate: {select: {sweep: true}}
"""


def registry(*entries: str, defaults: str = DEFAULTS) -> str:
    """A registry file with these entries, each in YAML's flow style."""
    return defaults + "institutions:\n" + "".join(f"  - {entry}\n" for entry in entries)


def named(code: str = "01OHIO_AAA", more: str = "") -> str:
    """An entry that is right, with `more` keys."""
    return f"{{code: {code}, name: Ashgrove College{', ' if more else ''}{more}}}"


def pace(more: str) -> str:
    """The key of an entry for a pace with these keys."""
    return f"policy: {{pace: {{{more}}}}}"


def only(text: str) -> Institution:
    """The one institution of a registry file."""
    (institution,) = parse_registry(text)
    return institution


def problems(text: str) -> list[str]:
    """The mistakes that a registry file is refused for."""
    with pytest.raises(RegistryError) as raised:
        parse_registry(text)
    assert str(raised.value).startswith("The registry was not changed. Mend institutions.yaml:\n- ")
    return raised.value.problems


MISTAKES: dict[str, tuple[str, list[str]]] = {
    "duplicate code": (
        registry(named(), named("01OHIO_BBB"), named("01ohio_aaa")),
        ["institutions[2] 01ohio_aaa: code: duplicate of institutions[0]; an institution may stand here once"],
    ),
    "unknown region": (
        registry(named(more="region: us")),
        ['institutions[0] 01OHIO_AAA: region: "us" is no known region; give one of na, eu, ap, aps, ca, cn'],
    ),
    "unknown time zone": (
        registry(named(more="time_zone: Ohio")),
        [
            'institutions[0] 01OHIO_AAA: time_zone: "Ohio" is no known time zone; '
            "give an IANA name, such as America/New_York"
        ],
    ),
    "time zone that is a path": (
        registry(named(more="time_zone: ../etc")),
        [
            'institutions[0] 01OHIO_AAA: time_zone: "../etc" is no known time zone; '
            "give an IANA name, such as America/New_York"
        ],
    ),
    "negative days": (
        registry(named(more="policy: {deactivate: {grace_days: -7}}")),
        ["institutions[0] 01OHIO_AAA: policy.deactivate.grace_days: is -7, should be at least 0"],
    ),
    "no selection for an action": (
        registry(named(more="policy: {purge: {retention_years: 3}}")),
        [
            "institutions[0] 01OHIO_AAA: policy.purge: no selection: "
            "add select with one of sweep: true, set_id, set_name, or enabled: false"
        ],
    ),
    "no action": (
        registry(named(), defaults="defaults: {region: na, time_zone: UTC}\n"),
        ["institutions[0] 01OHIO_AAA: policy: no selection for any action: add deactivate or purge with select"],
    ),
    "two selections": (
        registry(named(more='policy: {deactivate: {select: {sweep: true, set_id: "1"}}}')),
        ["institutions[0] 01OHIO_AAA: policy.deactivate.select: give exactly one of sweep: true, set_id, set_name"],
    ),
    "a selection of nothing": (
        registry(named(more="policy: {deactivate: {select: {}}}")),
        ["institutions[0] 01OHIO_AAA: policy.deactivate.select: give exactly one of sweep: true, set_id, set_name"],
    ),
    "misspelt key": (
        registry(named(more="policy: {deactivate: {grace_day: 7}}")),
        ["institutions[0] 01OHIO_AAA: policy.deactivate.grace_day: unknown key; did you mean grace_days?"],
    ),
    "key like no other": (
        registry(named(more="policy: {protect: {zzz: 1}}")),
        ["institutions[0] 01OHIO_AAA: policy.protect.zzz: unknown key; known keys are record_types"],
    ),
    "unquoted set id": (
        registry(named(more="policy: {deactivate: {select: {set_id: 9876543210002345}}}")),
        [
            "institutions[0] 01OHIO_AAA: policy.deactivate.select.set_id: is 9876543210002345, should be text; "
            "put it in quotes"
        ],
    ),
    "unquoted set id in a list": (
        registry(named(more='policy: {deactivate: {exclude: {set_ids: ["1", 2]}}}')),
        ["institutions[0] 01OHIO_AAA: policy.deactivate.exclude.set_ids[1]: is 2, should be text; put it in quotes"],
    ),
    "unquoted code": (
        registry("{code: 1234, name: Ashgrove}"),
        ["institutions[0] 1234: code: is 1234, should be text; put it in quotes"],
    ),
    "no code and no name": (
        registry("{enabled: true}"),
        ["institutions[0]: code: is missing; add it", "institutions[0]: name: is missing; add it"],
    ),
    "code with a blank": (
        registry("{code: 01 OHIO, name: Ashgrove}"),
        [
            'institutions[0] 01 OHIO: code: "01 OHIO" is no institution code; '
            "give the one that Alma shows, such as 01OHIO_AAA"
        ],
    ),
    "name left empty": (
        registry("{code: 01OHIO_AAA, name: }"),
        ["institutions[0] 01OHIO_AAA: name: is null, should be text"],
    ),
    "yes instead of true": (
        registry(named(more="enabled: yes")),
        ['institutions[0] 01OHIO_AAA: enabled: is "yes", should be true or false'],
    ),
    "contact that is no address": (
        registry(named(more="contacts: [Front desk]")),
        ["institutions[0] 01OHIO_AAA: contacts[0]: is no e-mail address; give one such as library@example.edu"],
    ),
    "policy left empty": (
        registry(named(more="policy: ")),
        ["institutions[0] 01OHIO_AAA: policy: is null, should be a map with keys such as deactivate, purge, protect"],
    ),
    "entry that is a code": (registry("01OHIO_AAA"), ["institutions[0]: should be a map with code, name, policy"]),
    "institutions as a map": (
        DEFAULTS + "institutions: {01OHIO_AAA: {name: Ashgrove}}",
        ["institutions: should be a list of at least one institution"],
    ),
    "no institutions": (DEFAULTS, ["institutions: should be a list of at least one institution"]),
    "an empty list of institutions": (
        DEFAULTS + "institutions: []",
        ["institutions: should be a list of at least one institution"],
    ),
    "unknown key beside the institutions": (
        registry(named()) + "institution: []",
        ["institution: unknown key; known keys are defaults, institutions"],
    ),
    "defaults that are a list": (
        "defaults: [1]\ninstitutions: [{code: 01OHIO_AAA, name: A, region: na, time_zone: UTC,"
        " policy: {deactivate: {select: {sweep: true}}}}]",
        ["defaults: should be a map"],
    ),
    "defaults that name an institution": (
        registry(named(), defaults=DEFAULTS + "  name: Ashgrove\n"),
        [
            "defaults.name: unknown key; known keys are region, time_zone, pool, notices, attach_report, notice_days, "
            "policy"
        ],
    ),
    "notices without anybody to tell": (
        registry(named(more="notices: true")),
        [
            "institutions[0] 01OHIO_AAA: notices: is true, and there is nobody to tell; add contacts, or set "
            "notices: false"
        ],
    ),
    "more contacts than a mail goes to": (
        registry(named(more=f"notices: true, contacts: [{', '.join(f'a{n}@x.edu' for n in range(51))}]")),
        ["institutions[0] 01OHIO_AAA: contacts: has 51 addresses, and a mail goes to 50 at most; name a mailing list"],
    ),
    "a contact because of whom SES would mail to none": (
        registry(named(more='notices: true, contacts: [a@x.edu, "Desk<b@x.edu>"]')),
        [
            "institutions[0] 01OHIO_AAA: contacts[1]: can't be mailed; give the bare address, without a name, in ASCII "
            "letters"
        ],
    ),
    "notice days that are none": (
        registry(named(more="notice_days: [0, 29, 1.5]")),
        [
            "institutions[0] 01OHIO_AAA: notice_days[0]: is 0, should be at least 1",
            "institutions[0] 01OHIO_AAA: notice_days[1]: is 29, should be at most 28",
            "institutions[0] 01OHIO_AAA: notice_days[2]: is 1.5; input should be a valid integer",
        ],
    ),
    "notice days that are no list": (
        registry(named(more="notice_days: 14")),
        ["institutions[0] 01OHIO_AAA: notice_days: is 14, should be a list such as [14]"],
    ),
    "quiet hours that are no time": (
        registry(named(more=pace("quiet_hours: [{start: '24:00', end: 6:00, requests_per_second: 5}]"))),
        [
            'institutions[0] 01OHIO_AAA: policy.pace.quiet_hours[0].start: "24:00" is no time of day; '
            'give one from "00:00" to "23:59", in quotes',
            'institutions[0] 01OHIO_AAA: policy.pace.quiet_hours[0].end: "6:00" is no time of day; '
            'give one from "00:00" to "23:59", in quotes',
        ],
    ),
    "quiet hours without a rate": (
        registry(named(more=pace("quiet_hours: [{start: '22:00', end: '06:00'}]"))),
        ["institutions[0] 01OHIO_AAA: policy.pace.quiet_hours[0].requests_per_second: is missing; add it"],
    ),
    "quiet hours that don't end": (
        registry(named(more=pace("quiet_hours: [{start: '06:00', end: '06:00', requests_per_second: 5}]"))),
        [
            'institutions[0] 01OHIO_AAA: policy.pace.quiet_hours[0]: start and end are both "06:00"; give hours that '
            "end, or lower requests_per_second of the pace if it is to hold all day"
        ],
    ),
    "quiet hours that aren't quiet": (
        registry(
            named(
                more=pace(
                    "requests_per_second: 10, quiet_hours: ["
                    "{start: '22:00', end: '06:00', requests_per_second: 10}, "
                    "{start: '12:00', end: '13:00', requests_per_second: 12.5}]"
                )
            )
        ),
        [
            "institutions[0] 01OHIO_AAA: policy.pace: quiet_hours[1].requests_per_second: is 12.5, above the 10 of all "
            "other hours; give 10 or less, or raise requests_per_second"
        ],
    ),
    "quiet hours of the defaults that are quicker than an institution": (
        registry(
            named(),
            named("01OHIO_BBB", pace("requests_per_second: 3")),
            defaults=DEFAULTS + "    pace: {quiet_hours: [{start: '22:00', end: '06:00', requests_per_second: 5}]}\n",
        ),
        [
            "institutions[1] 01OHIO_BBB: policy.pace: quiet_hours[0].requests_per_second: is 5, above the 3 of all "
            "other hours; give 3 or less, or raise requests_per_second"
        ],
    ),
    "quiet hours that are no list": (
        registry(named(more=pace("quiet_hours: {start: '22:00', end: '06:00', requests_per_second: 5}"))),
        [
            'institutions[0] 01OHIO_AAA: policy.pace.quiet_hours: is {"start": "22:00", "end": "06:00", '
            '"requests_per_second": 5}, should be a list such as ["…"]'
        ],
    ),
    "rates that Alma doesn't allow": (
        registry(
            named(
                more=pace(
                    "requests_per_second: 26, quiet_hours: [{start: '22:00', end: '06:00', requests_per_second: 0}]"
                )
            )
        ),
        [
            "institutions[0] 01OHIO_AAA: policy.pace.requests_per_second: is 26, should be at most 25",
            "institutions[0] 01OHIO_AAA: policy.pace.quiet_hours[0].requests_per_second: is 0, should be at least 1",
        ],
    ),
    "a reserve of less than nothing": (
        registry(named(more=pace("reserve_daily_calls: -1"))),
        [
            "institutions[0] 01OHIO_AAA: policy.pace.reserve_daily_calls: is -1, should be a number of calls from 0 to "
            '100000000, or a share such as "15%"'
        ],
    ),
    "a reserve of half a call": (
        registry(named(more=pace("reserve_daily_calls: 0.5"))),
        [
            "institutions[0] 01OHIO_AAA: policy.pace.reserve_daily_calls: is 0.5, should be a number of calls from 0 "
            'to 100000000, or a share such as "15%"'
        ],
    ),
    "a reserve of more than all": (
        registry(named(more=pace("reserve_daily_calls: 101%"))),
        [
            'institutions[0] 01OHIO_AAA: policy.pace.reserve_daily_calls: "101%" is no share; give calls, such as '
            '10000, without quotes, or a share from "0%" to "100%"'
        ],
    ),
    "a reserve in quotes": (
        registry(named(more=pace("reserve_daily_calls: '10000'"))),
        [
            'institutions[0] 01OHIO_AAA: policy.pace.reserve_daily_calls: "10000" is no share; give calls, such as '
            '10000, without quotes, or a share from "0%" to "100%"'
        ],
    ),
    "a reserve left empty": (
        registry(named(more=pace("reserve_daily_calls: "))),
        [
            "institutions[0] 01OHIO_AAA: policy.pace.reserve_daily_calls: is null, should be a number of calls from 0 "
            'to 100000000, or a share such as "15%"'
        ],
    ),
    "a reset that is no time": (
        registry(named(more=pace("reset: midnight"))),
        [
            'institutions[0] 01OHIO_AAA: policy.pace.reset: "midnight" is no time of day; '
            'give one from "00:00" to "23:59", in quotes'
        ],
    ),
    "a reset of an unknown time zone": (
        registry(named(more=pace("reset: '00:00 Ohio'"))),
        [
            'institutions[0] 01OHIO_AAA: policy.pace.reset: "Ohio" is no known time zone; write "00:00" for UTC, or '
            '"00:00 America/Chicago"'
        ],
    ),
    "a pool without a name": (
        registry(named(more="pool: '  '")),
        ["institutions[0] 01OHIO_AAA: pool: is empty"],
    ),
    "a pool that is a number": (
        registry(named(more="pool: 7")),
        ["institutions[0] 01OHIO_AAA: pool: is 7, should be text; put it in quotes"],
    ),
    "a pool with three resets": (
        registry(
            named(more="region: us"),
            named("01OHIO_BBB", f"pool: Ohio, {pace('reset: 06:00')}"),
            named("01OHIO_CCC", "pool: ' Ohio '"),
            named("01OHIO_DDD", f"pool: Ohio, {pace('reset: 06:00 UTC')}"),
            named("01OHIO_EEE", f"pool: Ohio, enabled: false, {pace('reset: 06:00 America/Chicago')}"),
            named("01OHIO_FFF"),
        ),
        [
            'institutions[0] 01OHIO_AAA: region: "us" is no known region; give one of na, eu, ap, aps, ca, cn',
            'institutions[2] 01OHIO_CCC: policy.pace.reset: is "00:00", and institutions[1] 01OHIO_BBB, of the same '
            'pool "Ohio", has "06:00"; a quota is renewed at one time, so give both the same, or another pool',
            'institutions[4] 01OHIO_EEE: policy.pace.reset: is "06:00 America/Chicago", and institutions[1] '
            '01OHIO_BBB, of the same pool "Ohio", has "06:00"; a quota is renewed at one time, so give both the same, '
            "or another pool",
        ],
    ),
    "an empty file": ("", ["the file should be a map with the keys defaults and institutions"]),
    "only comments": ("# later\n", ["the file should be a map with the keys defaults and institutions"]),
    "a list": ("- 01OHIO_AAA\n", ["the file should be a map with the keys defaults and institutions"]),
    "YAML syntax": (
        "defaults: {region: na\ninstitutions: []\n",
        [
            "not readable as YAML: line 2, column 13: expected ',' or '}', but got ':'; look at indentation, quotes "
            "and brackets there and above"
        ],
    ),
    "a tab": (
        "defaults:\n\tregion: na\n",
        [
            "not readable as YAML: line 2, column 1: found character '\\t' that cannot start any token; indent with "
            "blanks, not with tabs"
        ],
    ),
    "a key twice": (
        registry("{code: 01OHIO_AAA, name: Ashgrove, name: Birchwater}"),
        [
            'not readable as YAML: line 8, column 40: found duplicate key "name" with value "Birchwater" '
            '(original value: "Ashgrove"); leave one of the two'
        ],
    ),
    "two documents": (
        registry(named()) + "---\ninstitutions: []\n",
        ["not readable as YAML: line 9, column 1: but found another document; leave out the line that begins with ---"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_told_with_its_place_and_mend(mistake: str) -> None:
    """A mistake is told in one sentence: which institution, which field, what to write instead; once."""
    text, sentences = MISTAKES[mistake]
    assert problems(text) == sentences


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-30",
        "!!int many",
        "!!python/object:os.system x",
        "{? [a, b] : c}",
        "&a [*a]",
        "&a {b: *a}",
        "[" * 3000 + "]" * 3000,
        "9" * 5000,
        '"\\ud800"',
        "\0",
        "*nowhere",
    ],
)
def test_no_text_makes_the_registry_fail_otherwise(value: str) -> None:
    """Dates that don't exist, foreign tags, loops and the like are mistakes of the file, not of the service."""
    assert len(problems(registry(f"{{code: 01OHIO_AAA, name: {value}}}"))) == 1


def test_a_file_beyond_all_measure_is_not_read() -> None:
    """A text of more than five million characters is refused at once."""
    assert problems("#" * 5_000_001) == ["the file is longer than 5,000,000 characters"]


def test_all_mistakes_are_told_at_once() -> None:
    """Who mends a file sees everything that is wrong in it, not only the first."""
    text = registry(named(more="region: us"), named("01OHIO_BBB", "enabled: 1"), named("01OHIO_BBB"))
    found = problems(text)
    assert [sentence.split(":")[0] for sentence in found] == [
        "institutions[0] 01OHIO_AAA",
        "institutions[1] 01OHIO_BBB",
        "institutions[2] 01OHIO_BBB",
    ]


def test_a_mistake_in_the_defaults_is_told_once() -> None:
    """What is wrong in the defaults isn't repeated for every library, but a library's own mistake is its own."""
    defaults = DEFAULTS.replace("sweep: true}", "sweep: true}, grace_days: -1").replace("na", "mars")
    own = named("01OHIO_CCC", "policy: {deactivate: {grace_days: -2}}")
    assert problems(registry(named(), named("01OHIO_BBB"), own, defaults=defaults)) == [
        'defaults: region: "mars" is no known region; give one of na, eu, ap, aps, ca, cn',
        "defaults: policy.deactivate.grace_days: is -1, should be at least 0",
        "institutions[2] 01OHIO_CCC: policy.deactivate.grace_days: is -2, should be at least 0",
    ]


def test_what_an_institution_says_goes_before_the_defaults() -> None:
    """Maps are merged deep down: a library changes one figure and keeps all others."""
    defaults = """
defaults:
  region: na
  time_zone: America/New_York
  policy:
    deactivate: {select: {set_name: Expired}, grace_days: 10, max_patrons: 50}
    pace: {requests_per_second: 10, reserve_daily_calls: 5}
"""
    own = (
        "{code: 01OHIO_AAA, name: Ashgrove, time_zone: America/Chicago, "
        "policy: {deactivate: {grace_days: 8}, pace: {requests_per_second: 3}}}"
    )
    institution = only(registry(own, defaults=defaults))
    assert (institution.region, institution.time_zone) == ("na", "America/Chicago")
    deactivate = institution.policy.deactivate
    assert deactivate is not None
    assert deactivate.select is not None
    assert (deactivate.grace_days, deactivate.max_patrons, deactivate.select.set_name) == (8, 50, "Expired")
    assert institution.policy.pace == Pace(requests_per_second=3, reserve_daily_calls=5)


def test_a_pool_and_a_pace_are_taken_as_they_are_meant() -> None:
    """A pool stands in the defaults or at an institution, which may be in another or in none; so do quiet hours."""
    defaults = DEFAULTS.replace("region: na", "region: na\n  pool: Ohio") + (
        "    pace:\n"
        "      quiet_hours: [{start: 22:00, end: 06:00, requests_per_second: 5}]\n"
        "      reserve_daily_calls: 15%\n"
        "      reset: 00:00 America/Chicago\n"
    )
    by_default, alone, other = parse_registry(
        registry(
            named(),
            named("01OHIO_BBB", f"pool: null, {pace('quiet_hours: [], reserve_daily_calls: 0, reset: 05:30 UTC')}"),
            named("01OHIO_CCC", f"pool: ' Main ', {pace('requests_per_second: 5')}"),
            defaults=defaults,
        )
    )
    night = QuietHours(start="22:00", end="06:00", requests_per_second=5)
    usual = Pace(quiet_hours=(night,), reserve_daily_calls="15%", reset="00:00 America/Chicago")
    assert (by_default.pool, by_default.policy.pace) == ("Ohio", usual)
    assert (alone.pool, alone.policy.pace) == (None, Pace(reserve_daily_calls=0, reset="05:30"))
    assert (other.pool, other.policy.pace) == ("Main", usual.model_copy(update={"requests_per_second": 5}))


def test_a_selection_is_replaced_whole() -> None:
    """A library that selects by a set's id doesn't sweep as well."""
    institution = only(registry(named(more='policy: {deactivate: {select: {set_id: "123"}}}')))
    assert institution.policy.deactivate is not None
    assert str(institution.policy.deactivate.select) == "set 123"


def test_exclusions_and_protections_are_added_to_the_defaults() -> None:
    """What the consortium excludes or protects, a library adds to; each name stands there once."""
    defaults = """
defaults:
  region: na
  time_zone: America/New_York
  policy:
    deactivate: {select: {sweep: true}, exclude: {set_names: [Emeriti], user_groups: [VIP]}}
    protect: {record_types: [ORGANIZATION]}
"""
    own = (
        "{code: 01OHIO_AAA, name: Ashgrove, policy: {protect: {record_types: [STAFF, VENDOR]}, "
        "deactivate: {exclude: {set_names: [Emeriti, Community patrons], note_contains: [keep]}}}}"
    )
    institution = only(registry(own, defaults=defaults))
    assert institution.policy.deactivate is not None
    exclude = institution.policy.deactivate.exclude
    assert exclude.set_names == ("Emeriti", "Community patrons")
    assert exclude.user_groups == ("VIP",)
    assert exclude.note_contains == ("keep",)
    assert institution.policy.protect.record_types == ("STAFF", "CONTACT", "ORGANIZATION", "VENDOR")


@pytest.mark.parametrize(
    "own",
    [
        "policy: {protect: {}}",
        "policy: {protect: {record_types: []}}",
        "policy: {protect: {record_types: [VENDOR]}}",
        "policy: {}",
    ],
)
def test_nobody_can_take_away_the_protection_of_staff_and_contacts(own: str) -> None:
    """STAFF and CONTACT stay protected whatever a file says."""
    for text in (registry(named(more=own)), registry(named(), defaults=DEFAULTS + "    protect: {record_types: []}\n")):
        assert {"STAFF", "CONTACT"} <= set(only(text).policy.protect.record_types)


@pytest.mark.parametrize("own", ["protect: null", "protect: {record_types: null}", "deactivate: {exclude: null}"])
def test_a_protection_is_not_emptied_by_an_empty_value(own: str) -> None:
    """An empty value where names should stand is a mistake, never a way to protect nobody."""
    assert len(problems(registry(named(more=f"policy: {{{own}}}")))) == 1


names = st.lists(st.sampled_from(("a", "B", "c d", "14", "true")), max_size=3)
exclusions = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("set_ids", "set_names", "user_groups", "note_contains"), names)
)
own_policies = st.fixed_dictionaries(
    {},
    optional={
        "protect": st.fixed_dictionaries({}, optional={"record_types": names}),
        "deactivate": st.fixed_dictionaries({}, optional={"exclude": exclusions, "grace_days": st.integers(0, 9)}),
        "purge": st.fixed_dictionaries({"select": st.just({"set_id": "1"})}, optional={"exclude": exclusions}),
    },
)


@given(
    consortium=own_policies.map(lambda policy: {"deactivate": {}, **policy}),
    own=own_policies,
)
def test_merging_never_removes_a_protection(consortium: dict[str, Any], own: dict[str, Any]) -> None:
    """Whatever both say, everybody whom either excludes or protects is excluded and protected in the end."""
    consortium["deactivate"]["select"] = {"sweep": True}
    entry = {"code": "01OHIO_AAA", "name": "Ashgrove", "policy": own}
    defaults = {"region": "na", "time_zone": "UTC", "policy": consortium}
    merged = only(json.dumps({"defaults": defaults, "institutions": [entry]})).policy.model_dump()
    assert {"STAFF", "CONTACT"} <= set(merged["protect"]["record_types"])
    for said in (consortium, own):
        assert set(said.get("protect", {}).get("record_types", ())) <= set(merged["protect"]["record_types"])
        for action in ("deactivate", "purge"):
            for key, wanted in said.get(action, {}).get("exclude", {}).items():
                assert set(wanted) <= set(merged[action]["exclude"][key])


def test_registering_tells_what_it_changed() -> None:
    """A first registration adds; a second one tells what changed, what didn't, and what is gone from the file."""
    store = MemoryStore()
    first = register(store, registry(named(), named("01OHIO_BBB"), named("01OHIO_CCC")))
    assert first.added == ("01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC")
    assert first[1:] == ((), (), ())
    second = register(
        store, registry(named(), named("01OHIO_BBB", "policy: {deactivate: {grace_days: 9}}"), named("01OHIO_DDD"))
    )
    assert second._asdict() == {
        "added": ("01OHIO_DDD",),
        "changed": ("01OHIO_BBB",),
        "unchanged": ("01OHIO_AAA",),
        "disabled": ("01OHIO_CCC",),
    }
    stored = {institution.code: institution for institution in store.institutions()}
    assert [code for code, institution in stored.items() if not institution.enabled] == ["01OHIO_CCC"]
    assert stored["01OHIO_CCC"].name == "Ashgrove College", "nothing of it is deleted"


def test_registering_again_changes_nothing() -> None:
    """The same file registered twice leaves all unchanged; who was disabled before isn't told again."""
    store = MemoryStore()
    register(store, registry(named(), named("01OHIO_BBB")))
    register(store, registry(named()))
    before = store.institutions()
    assert register(store, registry(named()))._asdict() == {
        "added": (),
        "changed": (),
        "unchanged": ("01OHIO_AAA",),
        "disabled": (),
    }
    assert store.institutions() == before


def test_an_institution_that_returns_is_enabled_again() -> None:
    """A library that was taken out of the file and is put back counts as changed, and is enabled."""
    store = MemoryStore()
    register(store, registry(named(), named("01OHIO_BBB")))
    register(store, registry(named()))
    assert register(store, registry(named(), named("01OHIO_BBB"))).changed == ("01OHIO_BBB",)
    assert all(institution.enabled for institution in store.institutions())


def test_a_file_with_a_mistake_stores_nothing() -> None:
    """One wrong entry keeps all others from being stored as well."""
    store = MemoryStore()
    register(store, registry(named()))
    before = store.institutions()
    with pytest.raises(RegistryError):
        register(store, registry(named(more="region: eu"), named("01OHIO_BBB", "region: us")))
    assert store.institutions() == before


def test_the_example_is_valid() -> None:
    """institutions.example.yaml registers as it stands: five libraries, one with its own policy, one disabled."""
    institutions = parse_registry((ROOT / "institutions.example.yaml").read_text("utf-8"))
    assert [institution.code for institution in institutions] == [f"01OHIO_{letter * 3}" for letter in "ABCDE"]
    assert [institution.enabled for institution in institutions] == [True, True, True, True, False]
    by_default, own = institutions[0].policy, institutions[1].policy
    assert by_default.deactivate is not None
    assert own.deactivate is not None
    assert own.purge is not None
    assert (by_default.deactivate.grace_days, own.deactivate.grace_days) == (7, 14)
    assert own.deactivate.exclude.set_names == ("Community patrons",)
    assert str(own.purge.select) == "set 9876543210002345"
