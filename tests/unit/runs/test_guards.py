"""What holds a run before its first write, and that nobody is touched by what is held."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.model import ActionPolicy, Purge, Select
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.runs.guards import Figures
from patron_lifecycle.runs.model import Baseline, RunStatus, Status
from tests.samples import CODE, NOW, deactivate
from tests.unit.runs.test_purge import add_set, gone, left, purge, purging, reasons, registry
from tests.workbench import Workbench

HOLDING = registry(more="")


def purge_policy(**changes: Any) -> Purge:
    """A policy of the purge whose first run isn't held."""
    return Purge(**{"select": Select(sweep=True), "first_run": "apply", **changes})


def baseline(changes: int = 10, sizes: Mapping[str, int] | None = None, action: Action = Action.PURGE) -> Baseline:
    """What the last finished run left behind."""
    return Baseline(
        code=CODE,
        action=action,
        run_id="purge-0",
        finished_at=NOW,
        changes=changes,
        ever_changed=changes > 0,
        exclusion_sizes=dict(sizes or {}),
    )


def figures(policy: ActionPolicy | None = None, **changes: Any) -> Figures:
    """Figures of an institution run of a thousand candidates among ten thousand users, that had one before."""
    usual: dict[str, Any] = {
        "policy": policy or purge_policy(),
        "candidates": 1000,
        "all_users": 10_000,
        "exclusion_sizes": {},
        "baseline": baseline(1000),
    }
    return Figures(**(usual | changes))


# ── The figures ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("known", "due", "reason"),
    [
        (figures(), 500, ""),
        (figures(), 501, "max_patrons: 501 changes due, 500 allowed"),
        (figures(purge_policy(max_patrons=5000)), 1000, ""),
        (
            figures(purge_policy(max_patrons=5000)),
            1001,
            "max_percent: 1,001 changes due among 10,000 users in all; 10 % of them allowed, that is 1,000",
        ),
        (figures(purge_policy(max_percent=0.1), all_users=1000), 1, ""),
        (
            figures(purge_policy(max_percent=0.1), all_users=1000),
            2,
            "max_percent: 2 changes due among 1,000 users in all; 0.1 % of them allowed, that is 1",
        ),
        (figures(all_users=0), 1, "max_percent: 1 changes due among 0 users in all; 10 % of them allowed, that is 0"),
        (figures(all_users=None), 1, "max_percent: 1 changes due, but Alma doesn't tell the number of all users"),
        (figures(all_users=None), 0, ""),
        (figures(baseline=baseline(10)), 49, ""),
        (
            figures(baseline=baseline(10)),
            50,
            "three_times_last: 50 changes due, more than three times the 10 of the last finished run, purge-0",
        ),
        (figures(baseline=baseline(17)), 51, ""),
        (
            figures(baseline=baseline(17)),
            52,
            "three_times_last: 52 changes due, more than three times the 17 of the last finished run, purge-0",
        ),
        (
            figures(baseline=baseline(0)),
            50,
            "three_times_last: 50 changes due, more than three times the 0 of the last finished run, purge-0",
        ),
        (figures(purge_policy(first_run="hold"), baseline=None), 0, ""),
        (
            figures(purge_policy(first_run="hold"), baseline=None),
            1,
            "first_run: the first purge here, of 1 among 1,000 candidates",
        ),
        (
            figures(purge_policy(first_run="hold"), baseline=baseline(0)),
            1,
            "first_run: the first purge here, of 1 among 1,000 candidates",
        ),
        (figures(purge_policy(first_run="hold")), 400, ""),
        (figures(baseline=None), 500, ""),
        (figures(deactivate(), baseline=None), 500, ""),
        (figures(deactivate(), baseline=None), 501, "max_patrons: 501 changes due, 500 allowed"),
        (figures(baseline=baseline(1000, {"set 14": 40}), exclusion_sizes={"set 14": 20}), 5, ""),
        (
            figures(baseline=baseline(1000, {"set 14": 41}), exclusion_sizes={"set 14": 20}),
            5,
            "exclusion_set_shrunk: set 14 has 20 members, fewer than half of the 41 that it had at the last finished "
            "run",
        ),
        (
            figures(baseline=baseline(1000, {"set 14": 1}), exclusion_sizes={"set 14": 0}),
            5,
            "exclusion_set_empty: set 14 has no members; it had 1 at the last finished run",
        ),
        (figures(baseline=baseline(1000, {"set 14": 0}), exclusion_sizes={"set 14": 0}), 5, ""),
        (figures(exclusion_sizes={"set 15": 0}), 5, ""),
    ],
)
def test_each_guard_trips_at_its_figure_and_tells_it(known: Figures, due: int, reason: str) -> None:
    """One change more than allowed, and the reason has the figures; at the limit nothing is held."""
    assert known.hold_reasons(due) == ([reason] if reason else [])


def test_all_that_trips_is_told() -> None:
    """Several guards can trip at once."""
    known = figures(
        purge_policy(max_patrons=10, max_percent=1),
        all_users=100,
        baseline=baseline(5, {"set 14": 9}),
        exclusion_sizes={"set 14": 0},
    )
    named = [reason.partition(":")[0] for reason in known.hold_reasons(60)]
    assert named == ["exclusion_set_empty", "max_patrons", "max_percent", "three_times_last"]


@given(
    candidates=st.integers(0, 3000),
    due=st.integers(0, 3000),
    users=st.none() | st.integers(0, 30_000),
    last=st.none() | st.integers(0, 1000),
    patrons=st.integers(1, 2000),
    percent=st.floats(0.1, 100),
)
def test_where_nobody_needs_to_be_judged_no_number_of_changes_could_be_held(
    candidates: int, due: int, users: int | None, last: int | None, patrons: int, percent: float
) -> None:
    """The shortcut is safe: if all candidates may be changed unseen, then so may any part of them."""
    known = figures(
        purge_policy(max_patrons=patrons, max_percent=percent),
        candidates=candidates,
        all_users=users,
        baseline=None if last is None else baseline(last),
    )
    if not known.needs_decisions:
        assert known.hold_reasons(min(due, candidates)) == []


@given(
    users=st.none() | st.integers(0, 30_000),
    cap=st.integers(1, 2000),
    percent=st.floats(0.01, 100),
    before=st.none() | st.integers(0, 700),
)
def test_held_from_is_the_least_number_that_the_guards_hold(
    users: int | None, cap: int, percent: float, before: int | None
) -> None:
    """What a check tells beforehand is what the guards do: one change fewer isn't held for the number of changes."""
    known = figures(
        purge_policy(max_patrons=cap, max_percent=percent),
        all_users=users,
        baseline=None if before is None else baseline(before),
    )
    assert known.hold_reasons(known.held_from)
    assert not known.hold_reasons(known.held_from - 1)


# ── Held runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def held_bench(*more: dict[str, Any], **options: Any) -> Workbench:
    """An institution whose first purge waits for a person: three who can go, one with a loan."""
    own = [gone("fern"), gone("reed"), gone("sage"), gone("loaned", loans=1)]
    return purging(*own, *more, registered=options.pop("registered", HOLDING), **options)


def test_the_first_purge_is_held_with_its_figures_and_nobody_is_touched() -> None:
    """Held before the first write: all are decided, who would go is counted, nothing is archived or deleted."""
    bench = held_bench()
    run = purge(bench)
    assert run.status is Status.HELD
    assert run.hold_reasons == ("first_run: the first purge here, of 3 among 4 candidates",)
    assert run.shown_outcomes == {Outcome.BLOCKED: 1, Outcome.WOULD_PURGE: 3}
    assert run.reasons == {"loans": 1}
    assert run.held_until == run.held_at + timedelta(days=7)  # type: ignore[operator]
    assert {method for _, method, _ in bench.alma.calls} == {"GET", "POST"}
    assert bench.vault.archives == {}
    whole = bench.store.run(run.run_id)
    assert whole is not None
    assert whole.status is RunStatus.HELD
    assert bench.store.lease_holder(CODE) is None, "other runs of the institution may go on"
    assert [one.status for one in bench.notices.institution_runs] == [Status.HELD]
    assert bench.notices.runs == []


def test_the_first_purge_may_be_applied_at_once_where_the_policy_says_so() -> None:
    """first_run: apply."""
    assert purge(held_bench(registered=registry())).status is Status.COMPLETED


def test_the_second_purge_is_no_first_one() -> None:
    """Once a purge has finished the next one isn't held for being the first."""
    bench = held_bench(registered=registry())
    purge(bench)
    bench.store.put_institution(next(iter(parse(HOLDING))))
    bench.alma.institution(CODE).users["willow"] = gone("willow")
    bench.alma.institution(CODE).sets[0].members += ("willow",)
    second = purge(bench)
    assert second.status is Status.COMPLETED
    assert reasons(bench, second) == {"loaned": "loans", "willow": "purged"}


def parse(text: str) -> Any:
    """The institutions of a registry."""
    from patron_lifecycle.registry import parse_registry  # noqa: PLC0415

    return parse_registry(text)


def test_a_month_without_anybody_to_delete_makes_the_next_purge_no_first_one() -> None:
    """Once somebody was deleted here, a finished purge of nobody changes nothing about that."""
    bench = held_bench(registered=registry())
    purge(bench)
    bench.store.put_institution(next(iter(parse(HOLDING))))
    assert purge(bench).outcomes == {Outcome.BLOCKED: 1}
    bench.alma.institution(CODE).users["loaned"]["loans"] = {"value": 0}
    assert purge(bench).outcomes == {Outcome.PURGED: 1}


def test_a_failed_or_rejected_first_purge_leaves_the_next_one_the_first() -> None:
    """Only a finished purge counts."""
    bench = held_bench(registered=registry(more='first_run: apply, exclude: {set_names: ["No such set"]}'))
    assert purge(bench).status is Status.FAILED
    bench.store.put_institution(next(iter(parse(HOLDING))))
    assert purge(bench).status is Status.HELD


def test_where_no_more_than_the_cap_were_selected_nothing_more_is_read() -> None:
    """As many candidates as may be changed: one read and one delete each, no pass of decisions."""
    caps = "max_patrons: 4, max_percent: 100"
    bench = held_bench(registered=registry(caps=caps))
    run = purge(bench)
    assert run.status is Status.COMPLETED
    assert run.decided_pages == 0
    assert bench.alma.calls[CODE, "GET", "/users/{user_id}"] == 4


def test_caps_count_changes_and_not_candidates() -> None:
    """More were selected than may be changed, but fewer are due: decided first, then done; each read again before."""
    bench = held_bench(registered=registry(caps="max_patrons: 3, max_percent: 100"))
    run = purge(bench)
    assert run.status is Status.COMPLETED
    assert (run.candidates, run.due, run.decided_pages) == (4, 3, 1)
    assert reasons(bench, run) == {"fern": "purged", "reed": "purged", "sage": "purged", "loaned": "loans"}
    assert bench.alma.calls[CODE, "GET", "/users/{user_id}"] == 4 + 3


@pytest.mark.parametrize(
    ("caps", "name"), [("max_patrons: 2, max_percent: 100", "max_patrons"), ("max_percent: 50", "max_percent")]
)
def test_a_tripped_cap_holds_before_the_first_write(caps: str, name: str) -> None:
    """Too many changes by number or by share of all users: held, and nobody is touched."""
    bench = held_bench(registered=registry(caps=caps))
    run = purge(bench)
    assert run.status is Status.HELD
    assert [reason.partition(":")[0] for reason in run.hold_reasons] == [name]
    assert len(left(bench)) == 4


def test_caps_hold_a_deactivation_as_well() -> None:
    """The weekly job has the same guards."""
    text = registry().replace("purge:", "deactivate:").replace(", first_run: apply", "").replace("100", "5")
    bench = purging(*(gone(f"p{n}", status="ACTIVE") for n in range(10)), registered=text)
    run = bench.run()
    assert run.status is Status.HELD
    assert run.hold_reasons == ("max_percent: 10 changes due among 10 users in all; 5 % of them allowed, that is 0",)
    assert run.shown_outcomes == {Outcome.WOULD_DEACTIVATE: 10}
    assert not bench.alma.institution(CODE).writes


def test_a_leap_is_held() -> None:
    """From fifty changes on, more than three times the last finished run's wait for a person."""
    bench = purging(*(gone(f"p{n}") for n in range(10)), registered=registry(caps="max_patrons: 900, max_percent: 100"))
    purge(bench)
    institution = bench.alma.institution(CODE)
    for n in range(10, 65):
        institution.users[f"p{n}"] = gone(f"p{n}")
    institution.sets[0].members = tuple(institution.users)
    run = purge(bench)
    assert run.status is Status.HELD
    assert run.hold_reasons[0].startswith("three_times_last: 55 changes due, more than three times the 10")


@pytest.mark.parametrize(
    ("members", "name"), [((), "exclusion_set_empty"), (("k0", "k1"), "exclusion_set_shrunk"), (("k0", "k1", "k2"), "")]
)
def test_an_exclusion_set_that_lost_its_members_holds(members: tuple[str, ...], name: str) -> None:
    """Emptied, or less than half of what the last finished run saw: somebody looks first."""
    more = 'first_run: apply, exclude: {set_names: ["Keep"]}'
    bench = held_bench(*(gone(f"k{n}") for n in range(5)), registered=registry(more=more))
    keep = add_set(bench, "Keep", "k0", "k1", "k2", "k3", "k4")
    assert purge(bench).status is Status.COMPLETED
    keep.members = members
    run = purge(bench)
    assert [reason.partition(":")[0] for reason in run.hold_reasons] == ([name] if name else [])
    assert run.status is (Status.HELD if name else Status.COMPLETED)
    if name:
        assert "it had" in run.hold_reasons[0]
        assert len(left(bench)) == 6


def test_a_preview_tells_what_would_be_held_and_completes() -> None:
    """A preview never waits for anybody: it says why the real run would."""
    bench = held_bench(registered=registry(more="", caps="max_patrons: 2, max_percent: 100"))
    run = purge(bench, mode="preview")
    assert run.status is Status.COMPLETED
    assert [reason.partition(":")[0] for reason in run.hold_reasons] == ["first_run", "max_patrons"]
    assert run.hold_reasons == purge(bench).hold_reasons


def test_previews_are_not_compared_with() -> None:
    """A preview of a far day, or one with an emptied exclusion set, doesn't become the measure of the next run."""
    more = 'first_run: apply, exclude: {set_names: ["Keep"]}'
    bench = held_bench(gone("k0"), gone("k1"), registered=registry(more=more))
    keep = add_set(bench, "Keep", "k0", "k1")
    purge(bench)
    keep.members = ()
    assert purge(bench, mode="preview").hold_reasons
    assert purge(bench).status is Status.HELD


def test_decisions_before_a_hold_go_on_over_several_slices() -> None:
    """A pass of decisions too long for one slice goes on in the next; each candidate is decided once."""
    bench = purging(
        *(gone(f"p{n}", loans=int(n % 3 == 0)) for n in range(400)),
        registered=registry(more="", caps="max_patrons: 1000, max_percent: 100"),
        seconds=8,
        one_thread=True,
    )
    run = purge(bench)
    assert run.status is Status.HELD
    assert run.slices > 2
    assert run.due == 266
    assert run.outcomes == {Outcome.BLOCKED: 134}
    rows = [row for page in bench.store.pages(run) for row in page.outcomes]
    assert len(rows) == 134
