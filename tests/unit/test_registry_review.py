"""What a registry file comes to: its rows, what is risky in it, and what registering it would change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.model import Deactivate, Exclude, Pace, Policy, Protect, Purge, QuietHours, Select
from patron_lifecycle.registry import Institution
from scripts.registry_review import actions_of, changes, readable, risks, rows_of
from tests.samples import deactivate, institution, purge

AAA, BBB, CCC = "01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC"
SET = Select(set_name="OHIONET purge")


def careful(code: str = AAA, **changes: Any) -> Institution:
    """An institution in which nothing is risky."""
    policy = Policy(deactivate=deactivate(), purge=purge(select=SET))
    return institution(code, **({"contacts": ("library@example.edu",), "policy": policy} | changes))


def with_policy(**changes: Any) -> Institution:
    """A careful institution with another policy."""
    return careful(policy=Policy(**({"deactivate": deactivate(), "purge": purge(select=SET)} | changes)))


def test_a_row_tells_all_that_holds_in_an_institution() -> None:
    """Name, state, zone, contacts with what they are mailed, who is never touched, and how fast Alma is called."""
    one = careful(
        enabled=False,
        notices=True,
        attach_report=True,
        policy=Policy(
            deactivate=deactivate(),
            protect=Protect(record_types=("STAFF", "CONTACT", "VENDOR")),
            pace=Pace(requests_per_second=5),
        ),
    )
    (row,) = rows_of([one])
    assert row.state == "OFF"
    assert row.contacts == "1, mailed, 14 and 1 days ahead of a purge, with the report"
    assert row.protected == "STAFF, CONTACT, VENDOR"
    assert row.pace == "5 a second"
    assert row.daily_calls == "10,000 for others, new at 00:00 UTC"
    (quiet,) = rows_of([careful(contacts=())])
    assert (quiet.state, quiet.contacts) == ("on", "0, no mails")
    night, noon = (
        QuietHours(start=start, end=end, requests_per_second=rate)
        for start, end, rate in (("22:00", "06:00", 2.5), ("12:00", "13:00", 1))
    )
    pace = Pace(quiet_hours=(night, noon), reserve_daily_calls="12.5%", reset="00:00 America/Chicago")
    (shared,) = rows_of([careful(pool="Ohio\x1b", policy=Policy(deactivate=deactivate(), pace=pace))])
    assert shared.pace == "20 a second, 2.5 from 22:00 to 06:00, 1 from 12:00 to 13:00"
    assert shared.daily_calls == "12.5% for others, pool Ohio\N{REPLACEMENT CHARACTER}, new at 00:00 America/Chicago"
    (greedy,) = rows_of([with_policy(pace=Pace(reserve_daily_calls="0%"))])
    assert greedy.daily_calls == "none for others, new at 00:00 UTC"
    (unwarned,) = rows_of([careful(notices=True, notice_days=())])
    assert unwarned.contacts == "1, mailed"


def test_a_row_for_each_action_tells_whom_it_takes() -> None:
    """Where candidates come from, who stays out, the caps, and by which rules; an action without a policy is off."""
    exclude = Exclude(set_ids=("12",), set_names=("Donors",), user_groups=("EMERITUS",), note_contains=("keep",))
    one = with_policy(
        deactivate=None,
        purge=purge(select=SET, exclude=exclude, max_patrons=1200, max_percent=2.5, vault_days=0, waive_fees_up_to=1.5),
    )
    off, on = actions_of([one])
    assert (off.action, off.is_on, off.chooses_from) == ("deactivate", "no", "")
    assert (on.action, on.is_on, on.chooses_from) == ("purge", "yes", 'set "OHIONET purge"')
    assert on.leaves_out == 'set 12, set "Donors", group EMERITUS, notes with "keep"'
    assert on.held_above == "1,200 patrons or 2.5 %"
    assert on.rules == "expired 3 years, INACTIVE 14 days, waives 1.5, no copies, first held"
    careful_once = with_policy(
        deactivate=deactivate(max_patrons=1), purge=purge(select=SET, require_inactive=False, first_run="apply")
    )
    weekly, monthly = actions_of([careful_once])
    assert weekly.held_above == "1 patron or 10 %"
    assert (weekly.chooses_from, weekly.leaves_out, weekly.rules) == ("sweep", "nobody", "expired 7 days")
    assert monthly.rules == "expired 3 years, ACTIVE too, copies 30 days, first not held"


def test_nothing_is_said_of_a_careful_institution() -> None:
    """No contact missing, no guard off: nothing to look at."""
    assert risks([careful(AAA), careful(BBB)]) == []


@pytest.mark.parametrize(
    ("risky", "told"),
    [
        (careful(enabled=False), "enabled: false"),
        (careful(contacts=()), "no contacts"),
        (careful(notices=True, attach_report=True), "attach_report: true: patron ids are mailed"),
        (careful(attach_report=True), "attach_report: true does nothing"),
        (careful(notices=True, notice_days=()), "notice_days: []"),
        (
            with_policy(deactivate=Deactivate(enabled=False), purge=None),
            "neither action is enabled",
        ),
        (with_policy(pace=Pace(requests_per_second=25)), "requests_per_second: 25"),
        (with_policy(pace=Pace(reserve_daily_calls=0)), "reserve_daily_calls: 0"),
        (with_policy(pace=Pace(reserve_daily_calls="0.00%")), "reserve_daily_calls: 0"),
        (with_policy(pace=Pace(reserve_daily_calls="20.01%")), "reserve_daily_calls of more than 20%"),
        (careful(pool="Ohio"), "nobody else is in pool Ohio"),
        (with_policy(deactivate=deactivate(max_percent=50)), "deactivate: max_percent of 50 or more"),
        (with_policy(deactivate=deactivate(grace_days=0)), "deactivate: grace_days: 0"),
        (
            with_policy(purge=purge(select=SET, exclude=Exclude(set_names=("OHIONET purge",)))),
            "purge: a set is chosen from and excluded",
        ),
        (with_policy(purge=purge()), "purge: looks at every user and excludes nobody"),
        (with_policy(purge=purge(select=SET, first_run="apply")), "purge: first_run: apply"),
        (with_policy(purge=purge(select=SET, vault_days=0)), "purge: vault_days: 0"),
        (with_policy(purge=purge(select=SET, require_inactive=False)), "purge: require_inactive: false"),
        (with_policy(purge=purge(select=SET, min_inactive_days=0)), "purge: min_inactive_days: 0"),
        (with_policy(purge=purge(select=SET, retention_years=2)), "purge: retention_years of less than 3"),
        (with_policy(purge=purge(select=SET, respect_purge_date=False)), "purge: respect_purge_date: false"),
        (with_policy(purge=purge(select=SET, waive_fees_up_to=5)), "purge: waive_fees_up_to"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_legal_and_risky_is_told(risky: Institution, told: str) -> None:
    """Exactly the one risk is told, with the institution it is at."""
    (sentence,) = risks([risky])
    assert sentence.startswith(f"{AAA}: {told}")


def test_a_purge_that_is_off_is_no_risk() -> None:
    """What an action that isn't enabled would do is not told."""
    assert risks([with_policy(purge=Purge(enabled=False, vault_days=0, first_run="apply"))]) == []


def test_a_sweeping_purge_that_leaves_somebody_out_is_no_risk() -> None:
    """One exclusion is enough, of whatever kind."""
    assert risks([with_policy(purge=purge(exclude=Exclude(user_groups=("EMERITUS",))))]) == []


def test_an_id_of_a_set_that_stands_at_several_institutions_is_told() -> None:
    """An entry that was copied with its set_id is found, in whatever place the id stands."""
    by_id = Policy(purge=purge(select=Select(set_id="42")))
    excluded = Policy(purge=purge(select=SET, exclude=Exclude(set_ids=("42",))))
    (sentence,) = risks([careful(AAA, policy=by_id), careful(BBB), careful(CCC, policy=excluded)])
    assert sentence.startswith(f"{AAA}, {CCC}: all name set 42")


def test_a_pool_of_two_and_a_reserve_of_a_fifth_are_no_risk() -> None:
    """Nothing is said of a pool that is one, nor of the largest share that is kept."""
    pace = Pace(reserve_daily_calls="20%")
    policy = Policy(deactivate=deactivate(), pace=pace)
    assert risks([careful(code, pool="Ohio", policy=policy) for code in (AAA, BBB)]) == []


def registered(*institutions: Institution) -> list[dict[str, Any]]:
    """The institutions as the operator's status gives them."""
    return [one.model_dump(mode="json") for one in institutions]


def test_changes_name_keys_and_values_old_and_new() -> None:
    """A new one, a changed one with each key that differs, and the number of those that stay."""
    after = careful(
        AAA,
        name="Ashgrove",
        contacts=("library@example.edu", "desk@example.edu"),
        policy=Policy(deactivate=deactivate(max_percent=12.5), purge=purge(select=Select(set_id="42"), vault_days=90)),
    )
    found = changes(registered(careful(AAA), careful(BBB)), [after, careful(BBB), careful(CCC)])
    assert found.added == (CCC,)
    assert found.changed == {
        AAA: (
            "name: Library 01OHIO_AAA -> Ashgrove",
            "contacts: [library@example.edu] -> [library@example.edu, desk@example.edu]",
            "policy.deactivate.max_percent: 10 -> 12.5",
            "policy.purge.select: set_name: OHIONET purge -> set_id: 42",
            "policy.purge.vault_days: 30 -> 90",
        )
    }
    assert (found.switched_off, found.unchanged, found.are_none) == ({}, 1, False)


def test_who_isnt_in_the_file_is_switched_off_and_so_is_who_is_disabled_in_it() -> None:
    """Each with why; who was off before isn't told again."""
    before = registered(careful(AAA), careful(BBB), careful(CCC, enabled=False))
    found = changes(before, [careful(AAA, enabled=False)])
    assert found.switched_off == {AAA: "enabled: false", BBB: "isn't in the file"}
    assert found.changed == {AAA: ("enabled: true -> false",)}
    assert changes(registered(careful(AAA, enabled=False)), [careful(AAA, enabled=False)]).are_none


def test_what_another_version_knows_of_an_institution_is_told_as_a_difference() -> None:
    """A key that only one side has, as while the deployed version is an older one, is a difference and no crash."""
    (old,) = registered(careful(AAA))
    del old["notice_days"]
    old["policy"]["purge"]["select"]["query"] = "later"
    assert changes([old], [careful(AAA)]).changed[AAA] == (
        "policy.purge.select: set_name: OHIONET purge, query: later -> set_name: OHIONET purge",
        "notice_days: nothing -> [14, 1]",
    )


@given(st.text())
def test_nothing_that_a_terminal_would_obey_is_shown(text: str) -> None:
    """Control characters, of whatever kind, are replaced one by one; the rest stays as it is."""
    shown = readable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert all(after == before for before, after in zip(text, shown, strict=True) if before.isprintable())
