"""The rules: who is left alone and why, who becomes INACTIVE, who is deleted."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.alma.records import PatronRecord
from patron_lifecycle.policy.model import ActionPolicy, Deactivate, Exclude, Protect, Purge
from patron_lifecycle.policy.reasons import Outcome, Reason
from patron_lifecycle.policy.rules import BroughtBack, Case, Decision, anniversary, decide, is_candidate, rules_for
from sandbox.simulator.patrons import identifier, note, role
from tests.samples import TODAY, deactivate, long_gone, patron, purge

LAPSED = TODAY - timedelta(days=100)
EXCLUDING = deactivate(
    exclude=Exclude(set_ids=("14",), user_groups=("Community",), note_contains=("Do not expire",)),
)
INACTIVE_ROLE = {**role("32"), "status": {"value": "INACTIVE", "desc": "Inactive"}}


def judged(
    raw: dict[str, Any],
    policy: ActionPolicy = EXCLUDING,
    *,
    candidate: str = "fern.arno",
    protect: Protect | None = None,
    day: date = TODAY,
    in_set: tuple[str, ...] = (),
    brought_back: BroughtBack | None = None,
) -> Decision:
    """The decision on a record, where `in_set` are the ids of the exclusion set."""
    members = {member.casefold() for member in in_set}
    return decide(
        Case(
            candidate,
            PatronRecord(raw),
            policy,
            protect or Protect(),
            day,
            lambda ids: any(one.casefold() in members for one in ids),
            () if brought_back is None else (brought_back,),
        )
    )


ONE_PATRON_FOR_EACH_REASON: list[tuple[Reason, dict[str, Any]]] = [
    (Reason.IDENTITY_MISMATCH, {"primary_id": "reed.elbe"}),
    (Reason.STAFF, {"record_type": "STAFF"}),
    (Reason.STAFF, {"record_type": "CONTACT"}),
    (Reason.STAFF, {"record_type": "staff"}),
    (Reason.STAFF, {"user_role": [role("200"), role("32")]}),
    (Reason.LINKED_ACCOUNT, {"source_institution_code": "01OHIO_BBB"}),
    (Reason.LINKED_ACCOUNT, {"source_link_id": "4711"}),
    (Reason.EXCLUDED_SET, {"user_identifier": [identifier("BARCODE", "Member")]}),
    (Reason.EXCLUDED_GROUP, {"user_group": "COMMUNITY"}),
    (Reason.EXCLUDED_NOTE, {"user_note": [note("PLEASE do not EXPIRE: emeritus", TODAY)]}),
    (Reason.NO_EXPIRY_DATE, {"expiry_date": None}),
    (Reason.NO_EXPIRY_DATE, {"expiry_date": ""}),
    (Reason.NOT_EXPIRED, {"expiry_date": TODAY}),
    (Reason.NOT_EXPIRED, {"expiry_date": TODAY + timedelta(days=1)}),
    (Reason.WITHIN_GRACE, {"expiry_date": TODAY - timedelta(days=1)}),
    (Reason.WITHIN_GRACE, {"expiry_date": TODAY - timedelta(days=6)}),
    (Reason.ALREADY_INACTIVE, {"status": "INACTIVE"}),
]


@pytest.mark.parametrize(("reason", "changes"), ONE_PATRON_FOR_EACH_REASON)
def test_every_reason_leaves_its_patron_alone(reason: Reason, changes: dict[str, Any]) -> None:
    """A patron with one thing against it is left alone for just that reason."""
    assert judged(patron(**changes), in_set=("MEMBER",)) == Decision(reason)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"expiry_date": TODAY - timedelta(days=7)},
        {"expiry_date": date(1, 1, 1)},
        {"expiry_date": "2026-06-30"},
        {"primary_id": "FERN.Arno"},
        {"user_role": []},
        {"user_role": [role("200"), INACTIVE_ROLE]},
        {"source_institution_code": "", "source_link_id": None},
        {"user_group": "UGRD", "user_note": [note("expires soon", TODAY)]},
        {"user_note": [{**note("", TODAY), "note_text": None}]},
        {"account_type": "EXTERNAL", "external_id": "SIS"},
        {"account_type": "INTEXTAUTH"},
        {"purge_date": None},
    ],
)
def test_who_has_nothing_against_it_is_eligible(changes: dict[str, Any]) -> None:
    """An ACTIVE patron expired for seven days or more is eligible, whatever else the record says."""
    decision = judged(patron(**changes))
    assert decision.eligible
    assert decision == Decision(None, "")


@pytest.mark.parametrize(
    ("unreadable", "field"),
    [
        ({"primary_id": None}, "primary_id"),
        ({"primary_id": 17}, "primary_id"),
        ({"record_type": None}, "record_type"),
        ({"record_type": {"value": ""}}, "record_type"),
        ({"user_role": None}, "user_role"),
        ({"user_role": [{"status": {"value": "ACTIVE"}}]}, "user_role.role_type"),
        ({"user_role": ["200"]}, "user_role"),
        ({"user_identifier": None}, "user_identifier"),
        ({"user_identifier": [{"value": None}]}, "user_identifier.value"),
        ({"user_group": {"value": None}}, "user_group"),
        ({"user_note": {"user_note": []}}, "user_note"),
        ({"user_note": [{"note_text": 5}]}, "user_note.note_text"),
        ({"expiry_date": "30.06.2026"}, "expiry_date"),
        ({"expiry_date": "2026-02-30Z"}, "expiry_date"),
        ({"expiry_date": "0000-01-01Z"}, "expiry_date"),
        ({"expiry_date": "2026-06-30T00:00:00Z"}, "expiry_date"),
        ({"expiry_date": 1782777600000}, "expiry_date"),
        ({"status": None}, "status"),
        ({"status": "DELETED"}, "status"),
    ],
)
def test_what_a_rule_cannot_read_leaves_the_patron_alone(unreadable: dict[str, Any], field: str) -> None:
    """A field of another shape than Alma documents makes the patron unverifiable; the detail names the field only."""
    decision = judged(patron(**unreadable))
    assert decision.reason is Reason.UNVERIFIABLE
    assert decision.detail == f"{field} can't be read"


def test_fields_that_no_rule_of_the_policy_needs_may_be_unreadable() -> None:
    """Without exclusions nobody is left alone for odd identifiers, groups or notes."""
    raw = patron(user_identifier=None, user_group=None, user_note=None)
    assert judged(raw, deactivate()).eligible
    assert judged(raw).reason is Reason.UNVERIFIABLE


def test_the_rules_are_tried_in_the_order_of_the_design() -> None:
    """The order of the deactivation's rules is the documented one; not_found comes before there is a record."""
    assert [rule.reason for rule in rules_for(deactivate())] == [
        Reason.IDENTITY_MISMATCH,
        Reason.STAFF,
        Reason.LINKED_ACCOUNT,
        Reason.EXCLUDED_SET,
        Reason.EXCLUDED_GROUP,
        Reason.EXCLUDED_NOTE,
        Reason.NO_EXPIRY_DATE,
        Reason.NOT_EXPIRED,
        Reason.WITHIN_GRACE,
        Reason.ALREADY_INACTIVE,
    ]


def test_the_first_rule_that_holds_gives_the_reason() -> None:
    """Of a patron with everything against it, mended thing by thing, each reason shows in its turn."""
    everything: dict[str, Any] = {
        "primary_id": "reed.elbe",
        "record_type": "STAFF",
        "source_link_id": "4711",
        "user_identifier": [identifier("BARCODE", "member")],
        "user_group": "COMMUNITY",
        "user_note": [note("do not expire", TODAY)],
        "expiry_date": TODAY - timedelta(days=3),
        "status": "INACTIVE",
    }
    seen = []
    for mended in everything:
        seen.append(judged(patron(**everything), in_set=("member",)).reason)
        everything[mended] = patron().get(mended)
    assert seen == [
        Reason.IDENTITY_MISMATCH,
        Reason.STAFF,
        Reason.LINKED_ACCOUNT,
        Reason.EXCLUDED_SET,
        Reason.EXCLUDED_GROUP,
        Reason.EXCLUDED_NOTE,
        Reason.WITHIN_GRACE,
        Reason.ALREADY_INACTIVE,
    ]
    assert judged(patron(**everything), in_set=("member",)).eligible


@pytest.mark.parametrize(
    ("expiry_date", "day", "reason"),
    [
        (date(2024, 2, 22), date(2024, 2, 29), None),
        (date(2024, 2, 23), date(2024, 2, 29), Reason.WITHIN_GRACE),
        (date(2024, 2, 29), date(2024, 3, 6), Reason.WITHIN_GRACE),
        (date(2024, 2, 29), date(2024, 3, 7), None),
        (date(2023, 2, 28), date(2023, 3, 7), None),
        (date(2025, 12, 31), date(2026, 1, 6), Reason.WITHIN_GRACE),
        (date(2025, 12, 31), date(2026, 1, 7), None),
        (date(2025, 12, 31), date(2025, 12, 31), Reason.NOT_EXPIRED),
        (date(2025, 12, 31), date(2026, 1, 1), Reason.WITHIN_GRACE),
    ],
)
def test_seven_days_are_calendar_days(expiry_date: date, day: date, reason: Reason | None) -> None:
    """The grace runs over leap days and year ends like over any others."""
    assert judged(patron(expiry_date=expiry_date), day=day).reason is reason


@pytest.mark.parametrize("expiry_date", [date.min, LAPSED, date.max])
@pytest.mark.parametrize("day", [date.min, TODAY, date.max])
@pytest.mark.parametrize("grace_days", [0, 7, 3650])
def test_no_day_is_too_far_away(expiry_date: date, day: date, grace_days: int) -> None:
    """From the first to the last day that there is, a patron is eligible once grace_days have passed."""
    due = (day - expiry_date).days >= max(grace_days, 1)
    assert judged(patron(expiry_date=expiry_date), deactivate(grace_days=grace_days), day=day).eligible is due


def test_without_grace_the_day_after_expiry_is_late_enough() -> None:
    """grace_days: 0 takes a patron on the day after expiry, not on the day itself."""
    policy = deactivate(grace_days=0)
    assert judged(patron(expiry_date=TODAY), policy).reason is Reason.NOT_EXPIRED
    assert judged(patron(expiry_date=TODAY - timedelta(days=1)), policy).eligible


def test_every_identifier_can_put_a_patron_into_the_exclusion_set() -> None:
    """The set is matched by the fresh record's primary id and by each further identifier."""
    raw = patron(user_identifier=[identifier("BARCODE", "22"), identifier("NETID", "fa1")])
    for member in ("fern.arno", "22", "FA1"):
        assert judged(raw, in_set=(member,)).reason is Reason.EXCLUDED_SET
    assert judged(raw, in_set=("23",)).eligible


def test_the_exclusion_set_is_asked_only_where_the_policy_names_one() -> None:
    """Without set_ids and set_names nobody is in an excluded set."""
    assert judged(patron(), deactivate(), in_set=("fern.arno",)).eligible
    by_name = deactivate(exclude=Exclude(set_names=("Community patrons",)))
    assert judged(patron(), by_name, in_set=("fern.arno",)).reason is Reason.EXCLUDED_SET


def test_a_library_may_protect_further_record_types() -> None:
    """Record types that the policy protects are matched whatever their case."""
    assert judged(patron(record_type="VENDOR"), protect=Protect(record_types=("vendor",))).reason is Reason.STAFF


def test_a_role_without_a_readable_status_counts_as_active() -> None:
    """A staff role is staff unless it is plainly INACTIVE."""
    for status in (None, {}, {"value": None}, "INACTIVE", {"value": "inactive"}):
        assert judged(patron(user_role=[{**role("32"), "status": status}])).reason is Reason.STAFF


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason) -> None:
    """Each reason has an outcome that changes nobody, a meaning and a remedy."""
    outcome, meaning, remedy, _ = reason.explanation
    assert outcome in (Outcome.SKIPPED, Outcome.BLOCKED, Outcome.FAILED)
    assert meaning.endswith(".")
    assert remedy.endswith(".")


def test_a_sweep_takes_a_brief_row_as_candidate() -> None:
    """A row without a record type tells nothing about dates, so the patron is read before anything is said."""
    brief = {"primary_id": "fern.arno", "status": {"value": "INACTIVE"}, "link": ""}
    assert is_candidate(brief, deactivate(), TODAY)


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"record_type": "STAFF"}, True),
        ({"source_link_id": "1"}, True),
        ({"expiry_date": "soon"}, True),
        ({"status": "DELETED"}, True),
        ({"expiry_date": None}, False),
        ({"expiry_date": TODAY}, False),
        ({"expiry_date": TODAY - timedelta(days=6)}, False),
        ({"expiry_date": TODAY - timedelta(days=7)}, True),
        ({"status": "INACTIVE"}, False),
    ],
)
def test_a_sweep_takes_who_passes_date_and_status_or_cannot_be_judged(changes: dict[str, Any], *, taken: bool) -> None:
    """Date and status alone decide who is a candidate; what can't be read makes one too."""
    assert is_candidate(patron(**changes), deactivate(), TODAY) is taken


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
codes = st.builds(lambda value: {"value": value}, st.sampled_from(("ACTIVE", "INACTIVE", "PUBLIC", "STAFF", "", "200")))
dates = st.dates().map(lambda day: f"{day.isoformat()}Z")
plausible = {
    "primary_id": st.sampled_from(("fern.arno", "FERN.ARNO", "reed.elbe", "")),
    "record_type": codes,
    "status": codes,
    "user_group": codes,
    "expiry_date": dates,
    "source_institution_code": st.sampled_from(("", "01OHIO_BBB")),
    "source_link_id": st.text(max_size=3),
    "user_role": st.lists(st.builds(lambda kind, status: {"role_type": kind, "status": status}, codes, codes)),
    "user_note": st.lists(st.builds(lambda text: {"note_text": text}, st.text(max_size=20))),
    "user_identifier": st.lists(st.builds(lambda value: {"value": value}, st.text(max_size=5))),
}
# A good record of which a few fields are anything, so that all outcomes are met.
records = (
    st.sets(st.sampled_from(sorted(plausible)), max_size=3)
    .flatmap(lambda fields: st.fixed_dictionaries({field: plausible[field] | json_values for field in fields}))
    .map(lambda changes: patron() | changes)
)
policies = st.builds(
    lambda grace_days, groups, notes, set_ids: deactivate(
        grace_days=grace_days, exclude=Exclude(set_ids=set_ids, user_groups=groups, note_contains=notes)
    ),
    st.integers(0, 3650),
    st.lists(st.sampled_from(("UGRD", "200", "GRAD")), max_size=2).map(tuple),
    st.lists(st.sampled_from(("keep", "a")), max_size=1).map(tuple),
    st.lists(st.just("14"), max_size=1).map(tuple),
)


@given(raw=records, policy=policies, day=st.dates(), in_set=st.booleans())
def test_whoever_is_eligible_has_nothing_against_it(
    raw: dict[str, Any], policy: Deactivate, day: date, *, in_set: bool
) -> None:
    """No record makes the rules fail; who is eligible is ACTIVE, long expired, no staff, no copy, the one asked for."""
    decision = judged(raw, policy, day=day, in_set=("fern.arno",) if in_set else ())
    assert decision.reason is None or isinstance(decision.reason, Reason)
    assert is_candidate(raw, policy, day) in (True, False)
    if decision.eligible:
        expired = date.fromisoformat(raw["expiry_date"].rstrip("Z"))
        assert (day - expired).days >= max(1, policy.grace_days)
        assert raw["status"]["value"] == "ACTIVE"
        assert raw["primary_id"].lower() == "fern.arno"
        assert raw["record_type"]["value"] not in ("STAFF", "CONTACT")
        assert not raw.get("source_institution_code")
        assert not raw.get("source_link_id")
        for one in raw["user_role"]:
            assert one["role_type"]["value"] == "200" or one["status"]["value"] == "INACTIVE"
        assert is_candidate(raw, policy, day), "a sweep drops nobody who is eligible"


@given(raw=st.dictionaries(st.text(max_size=5) | st.sampled_from(sorted(plausible)), json_values), day=st.dates())
def test_anything_at_all_can_be_judged(raw: dict[str, Any], day: date) -> None:
    """Whatever JSON object Alma gives, both ways of judging it give an answer."""
    assert judged(raw, day=day).reason is not None
    assert is_candidate(raw, EXCLUDING, day) in (True, False)


# ── The purge ─────────────────────────────────────────────────────────────────────────────────────────────────────────

GONE = date(2020, 6, 30)  # the expiry date of `long_gone`
PURGING = purge(
    exclude=Exclude(set_ids=("14",), user_groups=("Community",), note_contains=("Do not expire",)),
)
RETURNED = BroughtBack(TODAY - timedelta(days=10), GONE)
ONE_PATRON_FOR_EACH_REASON_NOT_TO_PURGE: list[tuple[Reason, dict[str, Any], str]] = [
    (Reason.IDENTITY_MISMATCH, {"primary_id": "reed.elbe"}, ""),
    (Reason.STAFF, {"record_type": "STAFF"}, ""),
    (Reason.STAFF, {"record_type": "CONTACT"}, ""),
    (Reason.STAFF, {"user_role": [role("200"), role("32")]}, ""),
    (Reason.LINKED_ACCOUNT, {"source_institution_code": "01OHIO_BBB"}, ""),
    (Reason.LINKED_ACCOUNT, {"source_link_id": "4711"}, ""),
    (Reason.EXCLUDED_SET, {"user_identifier": [identifier("BARCODE", "Member")]}, ""),
    (Reason.EXCLUDED_GROUP, {"user_group": "COMMUNITY"}, ""),
    (Reason.EXCLUDED_NOTE, {"user_note": [note("PLEASE do not EXPIRE: emeritus", TODAY)]}, ""),
    (Reason.NO_EXPIRY_DATE, {"expiry_date": None}, ""),
    (Reason.NO_EXPIRY_DATE, {"expiry_date": ""}, ""),
    (Reason.NOT_EXPIRED, {"expiry_date": TODAY}, ""),
    (Reason.NOT_EXPIRED, {"expiry_date": TODAY + timedelta(days=1)}, ""),
    (Reason.WITHIN_RETENTION, {"expiry_date": TODAY - timedelta(days=1)}, ""),
    (Reason.WITHIN_RETENTION, {"expiry_date": date(2023, 11, 23)}, ""),
    (Reason.STILL_ACTIVE, {"status": "ACTIVE"}, ""),
    (Reason.INACTIVE_TOO_SHORT, {"status_date": TODAY}, ""),
    (Reason.INACTIVE_TOO_SHORT, {"status_date": TODAY - timedelta(days=13)}, ""),
    (Reason.PURGE_DATE_AHEAD, {"purge_date": TODAY + timedelta(days=1)}, ""),
    (Reason.PURGE_DATE_AHEAD, {"purge_date": date.max}, ""),
    (Reason.LOANS, {"loans": 2}, "2 on loan"),
    (Reason.FEES, {"fees": 0.01}, "owes 0.01"),
    (Reason.FEES, {"fees": -12.5}, "in credit by 12.50"),
    (Reason.REQUESTS, {"requests": 1}, "1 open"),
]


@pytest.mark.parametrize(("reason", "changes", "detail"), ONE_PATRON_FOR_EACH_REASON_NOT_TO_PURGE)
def test_every_reason_keeps_its_patron(reason: Reason, changes: dict[str, Any], detail: str) -> None:
    """A patron with one thing against a purge is kept for just that reason, and figures are told with it."""
    assert judged(long_gone(**changes), PURGING, in_set=("MEMBER",)) == Decision(reason, detail)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"expiry_date": date(2023, 11, 22)},
        {"expiry_date": date(1, 1, 1)},
        {"expiry_date": "2020-06-30"},
        {"primary_id": "FERN.Arno"},
        {"user_role": []},
        {"user_role": [role("200"), INACTIVE_ROLE]},
        {"source_institution_code": "", "source_link_id": None},
        {"status_date": TODAY - timedelta(days=14)},
        {"purge_date": None},
        {"purge_date": TODAY},
        {"purge_date": date(2019, 1, 1)},  # before the expiry date: nothing against it
        {"loans": {"value": "0"}, "requests": {"value": 0.0}, "fees": {"value": "0.00"}},
        {"fees": {"value": -0.0}},
        {"account_type": "EXTERNAL", "external_id": "SIS"},
        {"account_type": "INTEXTAUTH"},
    ],
)
def test_who_has_nothing_against_a_purge_is_eligible(changes: dict[str, Any]) -> None:
    """An INACTIVE patron expired for more than three years, who owes and has nothing, is eligible."""
    assert judged(long_gone(**changes), PURGING) == Decision(None, "")


@pytest.mark.parametrize("field", ["loans", "requests", "fees"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        0,
        "0",
        {"link": "https://alma.example.edu"},
        {"value": None},
        {"value": ""},
        {"value": " 0"},
        {"value": "none"},
        {"value": "0,00"},
        {"value": float("nan")},
        {"value": "NaN"},
        {"value": float("inf")},
        {"value": "-Infinity"},
        {"value": False},
        {"value": True},
        {"value": [0]},
        {"value": {"value": 0}},
        {"value": "\N{ARABIC-INDIC DIGIT ZERO}"},
        {"value": "0\n"},
        {"value": 10**5000},
    ],
)
def test_what_is_no_number_is_never_zero(field: str, value: object) -> None:
    """A count or balance that Alma didn't give as a number makes the patron unverifiable."""
    raw = {**long_gone(), field: value}
    assert judged(raw, PURGING) == Decision(Reason.UNVERIFIABLE, f"{field} can't be read")
    del raw[field]
    assert judged(raw, PURGING) == Decision(Reason.UNVERIFIABLE, f"{field} can't be read")


@pytest.mark.parametrize("field", ["loans", "requests"])
@pytest.mark.parametrize("value", [-1, 0.5, "-2", "1.5", 1e-7])
def test_a_count_is_whole_and_not_negative(field: str, value: object) -> None:
    """Half a loan or fewer than none is no count, so nobody is judged by it."""
    raw = {**long_gone(), field: {"value": value}}
    assert judged(raw, PURGING) == Decision(Reason.UNVERIFIABLE, f"{field} can't be read")


@pytest.mark.parametrize(
    ("unreadable", "field"),
    [
        ({"primary_id": ""}, "primary_id"),
        ({"record_type": {"value": ""}}, "record_type"),
        ({"user_role": None}, "user_role"),
        ({"user_identifier": [{"value": None}]}, "user_identifier.value"),
        ({"user_group": {"value": None}}, "user_group"),
        ({"user_note": [{"note_text": 5}]}, "user_note.note_text"),
        ({"expiry_date": "30.06.2020"}, "expiry_date"),
        ({"expiry_date": "2020-02-30Z"}, "expiry_date"),
        ({"status": None}, "status"),
        ({"status": "DELETED"}, "status"),
        ({"status_date": None}, "status_date"),
        ({"status_date": "a while ago"}, "status_date"),
        ({"purge_date": "never"}, "purge_date"),
    ],
)
def test_what_a_rule_of_the_purge_cannot_read_keeps_the_patron(unreadable: dict[str, Any], field: str) -> None:
    """A field of another shape than Alma documents makes the patron unverifiable; the detail names the field only."""
    assert judged(long_gone(**unreadable), PURGING) == Decision(Reason.UNVERIFIABLE, f"{field} can't be read")


def test_fields_that_no_rule_of_the_purge_needs_may_be_unreadable() -> None:
    """What the policy doesn't ask about isn't looked at, and a reason found before isn't lost for a field after it."""
    raw = long_gone(status="DELETED", status_date=None, purge_date="never", user_identifier=None, user_group=None)
    lax = purge(require_inactive=False, respect_purge_date=False)
    assert judged(raw, lax).eligible
    assert judged(raw | {"loans": {"value": 1}, "fees": None}, lax).reason is Reason.LOANS


def test_the_rules_of_the_purge_are_tried_in_the_order_of_the_design() -> None:
    """The order of the purge's rules is the documented one; not_found comes before there is a record."""
    order = [
        Reason.IDENTITY_MISMATCH,
        Reason.STAFF,
        Reason.LINKED_ACCOUNT,
        Reason.EXCLUDED_SET,
        Reason.EXCLUDED_GROUP,
        Reason.EXCLUDED_NOTE,
        Reason.NO_EXPIRY_DATE,
        Reason.NOT_EXPIRED,
        Reason.WITHIN_RETENTION,
        Reason.RESTORED,
        Reason.STILL_ACTIVE,
        Reason.INACTIVE_TOO_SHORT,
        Reason.PURGE_DATE_AHEAD,
        Reason.LOANS,
        Reason.FEES,
        Reason.REQUESTS,
    ]
    assert [rule.reason for rule in rules_for(purge())] == order
    lax = purge(require_inactive=False, respect_purge_date=False)
    assert [rule.reason for rule in rules_for(lax)] == order[:10] + order[13:]


def test_the_first_rule_that_holds_keeps_the_patron() -> None:
    """Of a patron with everything against a purge, mended thing by thing, each reason shows in its turn."""
    everything: dict[str, Any] = {
        "primary_id": "reed.elbe",
        "record_type": "STAFF",
        "source_link_id": "4711",
        "user_identifier": [identifier("BARCODE", "member")],
        "user_group": "COMMUNITY",
        "user_note": [note("do not expire", TODAY)],
        "expiry_date": TODAY - timedelta(days=800),
        "status": "ACTIVE",
        "status_date": TODAY,
        "purge_date": date.max,
        "loans": 1,
        "fees": 3,
        "requests": 1,
    }
    seen = []

    def see(brought_back: BroughtBack | None = None) -> None:
        found = judged(long_gone(**everything), PURGING, in_set=("member",), brought_back=brought_back)
        seen.append(found.reason)

    for mended in list(everything):
        see(RETURNED)
        everything[mended] = long_gone().get(mended)
        if mended == "expiry_date":
            see(RETURNED)
            break
    for mended in list(everything)[list(everything).index("status") :]:
        see()
        everything[mended] = long_gone().get(mended)
    see()
    assert seen == [
        Reason.IDENTITY_MISMATCH,
        Reason.STAFF,
        Reason.LINKED_ACCOUNT,
        Reason.EXCLUDED_SET,
        Reason.EXCLUDED_GROUP,
        Reason.EXCLUDED_NOTE,
        Reason.WITHIN_RETENTION,
        Reason.RESTORED,
        Reason.STILL_ACTIVE,
        Reason.INACTIVE_TOO_SHORT,
        Reason.PURGE_DATE_AHEAD,
        Reason.LOANS,
        Reason.FEES,
        Reason.REQUESTS,
        None,
    ]


@pytest.mark.parametrize(
    ("expiry_date", "first_day"),
    [
        (date(2020, 6, 30), date(2023, 7, 1)),
        (date(2020, 2, 29), date(2023, 3, 2)),  # counts to 1 March
        (date(2020, 2, 28), date(2023, 3, 1)),
        (date(2020, 3, 1), date(2023, 3, 2)),
        (date(2021, 2, 28), date(2024, 2, 29)),
        (date(2021, 3, 1), date(2024, 3, 2)),
        (date(2022, 12, 31), date(2026, 1, 1)),
    ],
)
def test_a_patron_goes_on_the_day_after_the_third_anniversary(expiry_date: date, first_day: date) -> None:
    """The anniversary itself still keeps the patron, whatever leap days lie between."""
    raw = long_gone(expiry_date=expiry_date, status_date=expiry_date, purge_date=None)
    assert judged(raw, purge(), day=first_day - timedelta(days=1)).reason is Reason.WITHIN_RETENTION
    assert judged(raw, purge(), day=first_day).eligible


@pytest.mark.parametrize(
    ("years", "told"),
    [(1, date(2021, 3, 1)), (3, date(2023, 3, 1)), (4, date(2024, 2, 29)), (80, date(2100, 3, 1))],
)
def test_29_february_has_an_anniversary_every_year(years: int, told: date) -> None:
    """It is 29 February where there is one, 1 March elsewhere, 2100 included."""
    assert anniversary(date(2020, 2, 29), years) == told


@given(expiry_date=st.dates(), day=st.dates(), years=st.integers(1, 100))
def test_retention_counts_whole_years(expiry_date: date, day: date, years: int) -> None:
    """A patron is within retention until so many years are full: said once more with plain numbers, for any day."""
    raw = long_gone(expiry_date=expiry_date, purge_date=None)
    reason = judged(raw, purge(retention_years=years, require_inactive=False), day=day).reason
    if day <= expiry_date:
        assert reason is Reason.NOT_EXPIRED
        return
    as_number = (expiry_date.year + years) * 10_000 + expiry_date.month * 100 + expiry_date.day
    over = day.year * 10_000 + day.month * 100 + day.day > as_number
    if (expiry_date.month, expiry_date.day, day.month, day.day) == (2, 29, 3, 1) and day.year % 4:
        over = day.year > expiry_date.year + years
    assert reason is (None if over else Reason.WITHIN_RETENTION)


@pytest.mark.parametrize("expiry_date", [date.min, GONE, date.max])
@pytest.mark.parametrize("day", [date.min, TODAY, date.max])
@pytest.mark.parametrize("years", [1, 3, 100])
def test_no_day_is_too_far_away_for_a_purge(expiry_date: date, day: date, years: int) -> None:
    """From the first to the last day that there is, the rules give an answer."""
    raw = long_gone(expiry_date=expiry_date, status_date=date.min, purge_date=None)
    over = day.year - expiry_date.year >= years and expiry_date != date.max
    assert judged(raw, purge(retention_years=years), day=day).eligible is over


@pytest.mark.parametrize(
    ("min_inactive_days", "since", "reason"),
    [
        (14, 13, Reason.INACTIVE_TOO_SHORT),
        (14, 14, None),
        (14, -1, Reason.INACTIVE_TOO_SHORT),  # a day ahead, as when the run judges by a past day
        (1, 0, Reason.INACTIVE_TOO_SHORT),
        (1, 1, None),
        (0, 0, None),
        (0, -1, None),
    ],
)
def test_a_patron_has_been_inactive_for_long_enough(min_inactive_days: int, since: int, reason: Reason | None) -> None:
    """The days since status_date are counted; min_inactive_days: 0 asks for none."""
    raw = long_gone(status_date=TODAY - timedelta(days=since))
    assert judged(raw, purge(min_inactive_days=min_inactive_days)).reason is reason


def test_without_min_inactive_days_no_status_date_is_needed() -> None:
    """min_inactive_days: 0 judges a record without a readable status_date; the status itself still counts."""
    assert judged(long_gone(status_date=None), purge(min_inactive_days=0)).eligible
    assert judged(long_gone(status_date=None, status="ACTIVE"), purge(min_inactive_days=0)).reason is (
        Reason.STILL_ACTIVE
    )


def test_a_library_may_purge_who_was_never_made_inactive() -> None:
    """With require_inactive: false neither the status nor its day counts."""
    lax = purge(require_inactive=False)
    assert judged(long_gone(status="ACTIVE"), lax).eligible
    assert judged(long_gone(status_date=TODAY), lax).eligible


def test_a_library_may_disregard_the_purge_date() -> None:
    """With respect_purge_date: false a purge date ahead, or an unreadable one, keeps nobody."""
    lax = purge(respect_purge_date=False)
    assert judged(long_gone(purge_date=date.max), lax).eligible
    assert judged(long_gone(purge_date="never"), lax).eligible
    assert judged(long_gone(purge_date=date.max), purge()).reason is Reason.PURGE_DATE_AHEAD


@pytest.mark.parametrize(
    ("waived", "balance", "eligible"),
    [
        (0, 0, True),
        (0, 0.01, False),
        (0, -0.01, False),
        (0, "0.00", True),
        (0, "1E-2", False),
        (0.3, 0.3, True),
        (0.3, 0.1 + 0.2, False),  # 0.30000000000000004 is more than 0.3, and is read as the number that it is
        (0.1 + 0.2, 0.3, True),
        (0.1, 0.1, True),
        (0.1, -0.1, True),
        (5, 5, True),
        (5, "5.00", True),
        (5, 5.01, False),
        (5, -5, True),
        (5, -5.01, False),
        (4.99, 5, False),
        (1_000_000, "999999999999999", False),
    ],
)
def test_what_is_owed_either_way_is_held_against_what_is_waived(
    waived: float, balance: float | str, *, eligible: bool
) -> None:
    """A balance is compared exactly, in decimals, and a credit counts as much as a debt."""
    decision = judged(long_gone(fees={"value": balance}), purge(waive_fees_up_to=waived))
    assert decision.reason is (None if eligible else Reason.FEES)
    amount = abs(Decimal(str(balance)))
    told = f"{amount:.2f}" if amount == round(amount, 2) else f"{amount:f}"
    owed = Decimal(str(balance)) > 0
    assert decision.detail == ("" if eligible else f"{'owes' if owed else 'in credit by'} {told}")


@pytest.mark.parametrize(
    ("days_ago", "expiry_then", "reason"),
    [
        (0, GONE, Reason.RESTORED),
        (179, GONE, Reason.RESTORED),
        (180, GONE, None),
        (-5, GONE, Reason.RESTORED),  # brought back after the day that the run judges by
        (0, date(2019, 6, 30), None),  # the expiry date was changed since
        (0, None, None),
    ],
)
def test_whom_this_service_brought_back_stays_for_180_days(
    days_ago: int, expiry_then: date | None, reason: Reason | None
) -> None:
    """As long as the expiry date is the same as it was then; a new one is judged by itself."""
    back = BroughtBack(TODAY - timedelta(days=days_ago), expiry_then)
    assert judged(long_gone(), purge(), brought_back=back).reason is reason


def test_a_deactivation_takes_whom_this_service_brought_back() -> None:
    """The protection of who was brought back is the purge's alone."""
    assert judged(patron(), brought_back=BroughtBack(TODAY, date(2026, 6, 30))).eligible


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"record_type": "STAFF"}, True),
        ({"source_link_id": "1"}, True),
        ({"loans": 3}, True),
        ({"expiry_date": "long ago"}, True),
        ({"status": "DELETED"}, True),
        ({"status_date": None}, True),
        ({"purge_date": "never"}, True),
        ({"expiry_date": None}, False),
        ({"expiry_date": TODAY}, False),
        ({"expiry_date": date(2023, 11, 23)}, False),
        ({"expiry_date": date(2023, 11, 22)}, True),
        ({"status": "ACTIVE"}, False),
        ({"status_date": TODAY - timedelta(days=13)}, False),
        ({"status_date": TODAY - timedelta(days=14)}, True),
        ({"purge_date": TODAY + timedelta(days=1)}, False),
        ({"purge_date": TODAY}, True),
    ],
)
def test_a_sweep_takes_who_passes_a_purges_dates_or_cannot_be_judged(changes: dict[str, Any], *, taken: bool) -> None:
    """Dates and status alone decide who is a purge's candidate; loans, fees and requests aren't in a list's rows."""
    row = (
        long_gone(**changes)
        | {"loans": None, "requests": None, "fees": None}
        | ({"loans": changes["loans"]} if "loans" in changes else {})
    )
    assert is_candidate(row, purge(), TODAY) is taken


def test_a_sweep_takes_more_where_the_policy_asks_less() -> None:
    """Without require_inactive and respect_purge_date, ACTIVE patrons and purge dates ahead are candidates too."""
    lax = purge(require_inactive=False, respect_purge_date=False)
    assert is_candidate(long_gone(status="ACTIVE", purge_date=date.max), lax, TODAY)
    assert is_candidate({"primary_id": "fern.arno", "link": ""}, purge(), TODAY), "a brief row tells no dates"


numbers = st.builds(lambda value: {"value": value}, st.integers(-2, 3) | st.floats(-3, 3) | st.sampled_from(("0", "1")))
plausible_for_purge = plausible | {
    "status_date": dates,
    "purge_date": dates,
    "loans": numbers,
    "requests": numbers,
    "fees": numbers,
}
long_gone_records = (
    st.sets(st.sampled_from(sorted(plausible_for_purge)), max_size=3)
    .flatmap(
        lambda fields: st.fixed_dictionaries({field: plausible_for_purge[field] | json_values for field in fields})
    )
    .map(lambda changes: long_gone() | changes)
)
purges = st.builds(
    purge,
    retention_years=st.integers(1, 100),
    require_inactive=st.booleans(),
    min_inactive_days=st.integers(0, 3650),
    respect_purge_date=st.booleans(),
    waive_fees_up_to=st.floats(0, 3),
    exclude=st.builds(Exclude, set_ids=st.sampled_from(((), ("14",))), user_groups=st.sampled_from(((), ("200",)))),
)


def against_a_purge(raw: dict[str, Any], policy: Purge, day: date, back: BroughtBack | None) -> list[str]:
    """All that is against deleting a readable record, said without the rules."""

    def day_of(field: str) -> date:
        return date.fromisoformat(raw[field].rstrip("Z"))

    def amount(field: str) -> float:
        return float(raw[field]["value"])

    expired = day_of("expiry_date")
    years, since_birthday = day.year - expired.year, (day.month, day.day) > (expired.month, expired.day)
    roles = [one["role_type"]["value"] for one in raw["user_role"] if one["status"]["value"] != "INACTIVE"]
    must_be_inactive, respects = policy.require_inactive, policy.respect_purge_date
    said = {
        "within retention": years < policy.retention_years or (years == policy.retention_years and not since_birthday),
        "staff": raw["record_type"]["value"].upper() in ("STAFF", "CONTACT"),
        "a staff role": any(one != "200" for one in roles),
        "somebody else": raw["primary_id"].lower() != "fern.arno",
        "a copy": bool(raw.get("source_institution_code") or raw.get("source_link_id")),
        "an excluded group": bool(policy.exclude.user_groups)
        and raw["user_group"]["value"] in policy.exclude.user_groups,
        "not inactive": must_be_inactive and raw["status"]["value"] != "INACTIVE",
        "not inactive for long": must_be_inactive
        and policy.min_inactive_days > 0
        and day_of("status_date").toordinal() + policy.min_inactive_days > day.toordinal(),
        "a purge date ahead": respects and bool(raw.get("purge_date")) and day_of("purge_date") > day,
        "loans or requests": amount("loans") != 0 or amount("requests") != 0,
        "money": abs(amount("fees")) > policy.waive_fees_up_to,
        "brought back": back is not None and back.expiry_date == expired and (day - back.on).days < 180,
    }
    return [what for what, is_so in said.items() if is_so]


@given(
    raw=long_gone_records,
    policy=purges,
    day=st.dates(date(2015, 1, 1), date(2135, 1, 1)),
    in_set=st.booleans(),
    back=st.none()
    | st.builds(BroughtBack, st.dates(date(2026, 1, 1), date(2030, 1, 1)), st.sampled_from((GONE, None))),
)
def test_whoever_may_be_purged_has_nothing_against_it(
    raw: dict[str, Any], policy: Purge, day: date, back: BroughtBack | None, *, in_set: bool
) -> None:
    """No record makes the rules fail; against who is eligible there is nothing, and no sweep would drop them."""
    decision = judged(raw, policy, day=day, in_set=("fern.arno",) if in_set else (), brought_back=back)
    assert is_candidate(raw, policy, day) in (True, False)
    if decision.eligible:
        assert against_a_purge(raw, policy, day, back) == []
        assert not (in_set and policy.exclude.set_ids)
        assert is_candidate(raw, policy, day), "a sweep drops nobody who is eligible"


@given(
    raw=st.dictionaries(st.text(max_size=5) | st.sampled_from(sorted(plausible_for_purge)), json_values),
    policy=purges,
    day=st.dates(),
)
def test_anything_at_all_can_be_judged_for_a_purge(raw: dict[str, Any], policy: Purge, day: date) -> None:
    """Whatever JSON object Alma gives, it gets an answer, and an answer to an odd one is never to delete."""
    assert judged(raw, policy, day=day).reason is not None
    assert judged(long_gone() | raw, policy, day=day).reason in {None, *Reason}
    assert is_candidate(raw, policy, day) in (True, False)
