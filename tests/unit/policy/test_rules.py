"""The rules of the deactivation: who is left alone and why, who becomes INACTIVE."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.alma.records import PatronRecord
from patron_lifecycle.policy.model import Deactivate, Exclude, Protect
from patron_lifecycle.policy.reasons import Outcome, Reason
from patron_lifecycle.policy.rules import Case, Decision, decide, is_candidate, rules_for
from sandbox.simulator.patrons import identifier, note, role
from tests.samples import TODAY, deactivate, patron

LAPSED = TODAY - timedelta(days=100)
EXCLUDING = deactivate(
    exclude=Exclude(set_ids=("14",), user_groups=("Community",), note_contains=("Do not expire",)),
)
INACTIVE_ROLE = {**role("32"), "status": {"value": "INACTIVE", "desc": "Inactive"}}


def judged(
    raw: dict[str, Any],
    policy: Deactivate = EXCLUDING,
    *,
    candidate: str = "fern.arno",
    protect: Protect | None = None,
    day: date = TODAY,
    in_set: tuple[str, ...] = (),
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
