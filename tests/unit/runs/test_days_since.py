"""How many days ago an action has finished last: what counts, from when, and what is read for it."""

import json
from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.model import Policy
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.days_since import DaysSince, days_since, is_finished, publish_days_since, since_of
from patron_lifecycle.runs.engine import Engine
from patron_lifecycle.runs.model import InstitutionRun, Mode, Run, Status
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.settings import Settings
from tests.samples import CODE, NOW, deactivate, institution, institution_run, purge, run
from tests.workbench import MemoryNotices, MemoryQueue, MemoryResumption

OTHER = "01OHIO_BBB"
WATCHED = NOW - timedelta(days=100)
OFF = "nothing is counted: "


def done(days_ago: float, **changes: Any) -> InstitutionRun:
    """An institution run to apply that began an hour before it completed."""
    at = NOW - timedelta(days=days_ago)
    usual: dict[str, Any] = {
        "status": Status.COMPLETED,
        "created_at": at - timedelta(hours=1),
        "finished_at": at,
        "touched_at": at,
    }
    return institution_run(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "applies", "counts"),
    [
        ({}, True, True),
        ({}, False, True),
        ({"mode": Mode.PREVIEW}, False, True),
        ({"mode": Mode.PREVIEW}, True, False),
        ({"mode": Mode.PREVIEW, "as_of": date(2026, 12, 1)}, False, False),
        ({"mode": Mode.PREVIEW, "as_of": date(2026, 11, 1)}, False, True),
        ({"status": Status.FAILED}, True, False),
        ({"status": Status.HELD}, True, False),
        ({"status": Status.CANCELLED}, True, False),
        ({"status": Status.PROCESSING}, True, False),
    ],
)
def test_what_counts_as_finished(changes: dict[str, Any], applies: bool, counts: bool) -> None:
    """Completed, for real if the schedule's runs are, and no preview of a day that was ahead."""
    assert is_finished(done(3, **changes), applies=applies) is counts


def test_a_preview_of_the_day_itself_is_judged_by_the_institutions_day() -> None:
    """At eight in the evening in New York it is tomorrow in UTC, and not ahead there."""
    evening = datetime.fromisoformat("2026-11-24T01:00:00+00:00")
    one = done(0, mode=Mode.PREVIEW, as_of=date(2026, 11, 24), created_at=evening)
    assert not is_finished(one, applies=False)
    assert is_finished(one.but(as_of=date(2026, 11, 23)), applies=False)


def test_the_longest_ago_is_told_with_its_institution() -> None:
    """Of several the one that has waited longest, to a tenth of a day."""
    found = {CODE: [done(3)], OTHER: [done(9.26, code=OTHER), done(20, code=OTHER)]}
    assert days_since(found, WATCHED, NOW, applies=True) == DaysSince(9.3, OTHER, "the end of its last finished run")


def test_what_has_never_finished_counts_from_its_first_run() -> None:
    """Failed week after week: the days go on from the first of these runs."""
    failed = [done(days, status=Status.FAILED, created_at=NOW - timedelta(days=days)) for days in (6, 13, 20)]
    assert days_since({CODE: failed, OTHER: [done(2)]}, WATCHED, NOW, applies=True) == DaysSince(
        20.0, CODE, "the start of its first run, since none has finished"
    )


def test_who_is_new_is_not_counted_and_nobody_counts_from_the_first_look() -> None:
    """An institution registered yesterday has missed nothing; where there is none else, this was watched in vain."""
    assert days_since({CODE: [], OTHER: [done(2)]}, WATCHED, NOW, applies=True).days == 2.0
    nobody = days_since({CODE: [], OTHER: []}, WATCHED, NOW, applies=True)
    assert (nobody.days, nobody.institution) == (100.0, "")


def test_what_was_before_the_first_look_is_not_counted() -> None:
    """A schedule that was off for long is watched from the day on which it is on again."""
    found = days_since({CODE: [done(200)], OTHER: [done(2)]}, NOW - timedelta(days=5), NOW, applies=True)
    assert found == DaysSince(5.0, CODE, "the first look since its schedule is on as it is now")


moments = st.floats(0, 90).map(lambda days: NOW - timedelta(days=days))
histories = st.lists(
    st.builds(
        lambda status, mode, at, hours: institution_run(
            status=status,
            mode=mode,
            created_at=at - timedelta(hours=hours),
            finished_at=None if status.is_open else at,
            touched_at=at,
        ),
        st.sampled_from(Status),
        st.sampled_from(Mode),
        moments,
        st.floats(0, 200),
    ),
    max_size=5,
)


@given(found=st.dictionaries(st.sampled_from(("A", "B", "C")), histories), applies=st.booleans(), draw=st.randoms())
def test_the_days_are_the_most_of_all_institutions(
    found: dict[str, list[InstitutionRun]],
    applies: bool,
    draw: Any,
) -> None:
    """Never negative, whatever the order, and those of the one institution that is told."""
    told = days_since(found, WATCHED, NOW, applies=applies)
    assert told.days >= 0
    shuffled = {code: draw.sample(runs, len(runs)) for code, runs in draw.sample([*found.items()], len(found))}
    assert days_since(shuffled, WATCHED, NOW, applies=applies) == told
    each = {code: days_since({code: runs}, WATCHED, NOW, applies=applies).days for code, runs in found.items() if runs}
    assert told.days == max(each.values(), default=100.0)
    assert told.institution == "" if not each else each[told.institution] == told.days


@given(runs=histories, applies=st.booleans(), at=moments)
def test_a_finished_run_more_never_makes_it_longer_and_anything_else_changes_nothing(
    runs: list[InstitutionRun],
    applies: bool,
    at: datetime,
) -> None:
    """Once one has finished, only another that finishes later moves the moment, and forwards."""
    finished = [*runs, done(91)]
    before = since_of(finished, applies=applies)
    assert before is not None
    later = institution_run(status=Status.COMPLETED, created_at=at, finished_at=at, touched_at=at)
    after = since_of([*finished, later], applies=applies)
    assert after is not None
    assert after[0] == max(before[0], at)
    for status in set(Status) - {Status.COMPLETED}:
        assert since_of([*finished, later.but(status=status)], applies=applies) == before


# ── What is read for it ───────────────────────────────────────────────────────────────────────────────────────────────


class Counting(MemoryStore):
    """A store that counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def institution_runs(self, run_id: str) -> list[InstitutionRun]:
        """See `Store`."""
        self.asked["institution runs of a run"] += 1
        return super().institution_runs(run_id)

    def institution_runs_of(self, code: str, limit: int | None = None) -> list[InstitutionRun]:
        """See `Store`."""
        self.asked["institution runs of an institution"] += 1
        return super().institution_runs_of(code, limit)


def service(*codes: str, **policies: Any) -> Counting:
    """A store with these institutions registered, by default to deactivate and to purge, and watched for long."""
    store = Counting()
    for code in codes or (CODE, OTHER):
        policy = Policy(**{"deactivate": deactivate(), "purge": purge(), **policies})
        store.put_institution(institution(code, policy=policy))
    for action in (Action.DEACTIVATE, Action.PURGE):
        store.watched_since(action, applies=True, now=WATCHED)
    return store


def ran(store: MemoryStore, run_id: str, days_ago: float, status: Status = Status.COMPLETED, **changes: Any) -> Run:
    """A run over all institutions that ended so long ago."""
    codes = tuple(one.code for one in store.institutions())
    at = NOW - timedelta(days=days_ago)
    kinds = {key: changes[key] for key in ("action", "mode", "as_of") if key in changes}
    whole = store.create_run(run(run_id, codes, created_at=at, **kinds))
    for code in codes:
        store.create_institution_run(institution_run(run_id, code, created_at=at, touched_at=at, **kinds))
        one = store.institution_run(run_id, code)
        assert one is not None
        store.settle(one.but(status=status, finished_at=at, touched_at=at))
    return whole


def settings(**changes: Any) -> Settings:
    """Both schedules on and for real."""
    usual: dict[str, Any] = {
        "table_name": "runs",
        "queue_url": "queue",
        "secret_prefix": "keys",
        "event_source": "test",
        "retention_days": 400,
        "deactivate_schedule_state": "ENABLED",
        "apply_deactivate": True,
        "purge_schedule_state": "ENABLED",
        "apply_purge": True,
    }
    return Settings(**(usual | changes))


def told(store: MemoryStore, now: datetime = NOW, **changes: Any) -> dict[str, tuple[float, str]]:
    """Days and reason of each action, as the command answers."""
    engine = Engine(store, MemoryQueue(), MemoryNotices(), MemoryResumption(), lambda: now, "test")
    answer = publish_days_since(engine, settings(**changes))
    return {action: (found["days"], found["why"]) for action, found in answer.items()}


def test_the_metric_is_put_for_both_actions(capsys: pytest.CaptureFixture[str]) -> None:
    """By action and stage, whatever the figures are."""
    store = service()
    ran(store, "deactivate-1", 3.5)
    assert told(store)["deactivate"] == (3.5, "the end of its last finished run")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    put = {
        (line["action"], line["service"]): line["DaysSinceFinishedRun"]
        for line in lines
        if "DaysSinceFinishedRun" in line
    }
    assert put == {("deactivate", "test"): [3.5], ("purge", "test"): [100.0]}


def test_the_last_run_over_all_is_all_that_is_read() -> None:
    """Not a query for each institution, nor for each run of another action or mode."""
    store = service(*(f"01OHIO_{number:03}" for number in range(30)))
    for week in range(4):
        ran(store, f"deactivate-{week}", 2 + 7 * week)
        ran(store, f"preview-{week}", 1 + 7 * week, mode=Mode.PREVIEW)
    ran(store, "purge-1", 5, action=Action.PURGE)
    store.asked.clear()
    assert told(store) == {
        "deactivate": (2.0, "the end of its last finished run"),
        "purge": (5.0, "the end of its last finished run"),
    }
    assert store.asked == {"institution runs of a run": 2}


def test_an_institution_whose_runs_fail_is_found_though_the_others_finish() -> None:
    """What fails week after week is older than the rest, and doesn't become younger as old runs go out of sight."""
    store = service()
    for week in range(8):
        whole = ran(store, f"deactivate-{week}", 1 + 7 * week)
        one = store.institution_run(whole.run_id, OTHER)
        assert one is not None
        store.save(one.but(status=Status.FAILED if week < 7 else Status.COMPLETED))
    assert told(store)["deactivate"] == (50.0, "the end of its last finished run")


def test_an_institution_that_has_never_finished_counts_from_its_first_run() -> None:
    """However many runs have failed since, and whatever other actions have done."""
    store = service()
    for month in range(3):
        ran(store, f"purge-{month}", 10 + 30 * month, Status.FAILED, action=Action.PURGE)
    ran(store, "deactivate-1", 1)
    assert told(store)["purge"] == (70.0, "the start of its first run, since none has finished")


def test_previews_count_where_the_schedule_previews() -> None:
    """As deployed at first: both schedules run previews, and that they do is what is watched."""
    store = service()
    ran(store, "preview-1", 4, mode=Mode.PREVIEW)
    ran(store, "purge-1", 6, mode=Mode.PREVIEW, action=Action.PURGE, as_of=(NOW - timedelta(days=6)).date())
    ran(store, "purge-2", 1, mode=Mode.PREVIEW, action=Action.PURGE, as_of=date(2026, 12, 1))
    for action in (Action.DEACTIVATE, Action.PURGE):
        store.watched_since(action, applies=False, now=WATCHED)
    found = told(store, apply_deactivate=False, apply_purge=False)
    assert {action: days for action, (days, _) in found.items()} == {"deactivate": 4.0, "purge": 6.0}


def test_after_months_of_previews_a_real_schedule_has_missed_nothing_yet() -> None:
    """Nor when a real run was started by hand long before; from then on it is expected to finish."""
    store, previews = service(), {"apply_deactivate": False, "apply_purge": False}
    ran(store, "purge-1", 60, action=Action.PURGE)
    for week in range(12):
        ran(store, f"preview-{week}", 2 + 7 * week, mode=Mode.PREVIEW)
        ran(store, f"purge-preview-{week}", 2 + 7 * week, mode=Mode.PREVIEW, action=Action.PURGE)
    told(store, NOW, **previews)
    assert {days for days, _ in told(store).values()} == {0.0}
    later = told(store, NOW + timedelta(days=33))
    assert {days for days, _ in later.values()} == {33.0}


def test_without_any_run_the_days_count_from_the_first_look() -> None:
    """A schedule that never starts anything is noticed; the moment is forgotten when there is nothing to watch."""
    store = service()
    store.forget_watched(Action.DEACTIVATE)
    assert told(store)["deactivate"][0] == 0.0
    assert told(store, NOW + timedelta(days=9))["deactivate"][0] == 9.0
    assert told(store, NOW + timedelta(days=9), deactivate_schedule_state="DISABLED")["deactivate"][0] == 0.0
    assert told(store, NOW + timedelta(days=10))["deactivate"][0] == 0.0


@pytest.mark.parametrize(
    ("store", "changes", "why"),
    [
        (service(), {"purge_schedule_state": "DISABLED"}, "its schedule is off"),
        (service(purge=None), {}, "no institution has it enabled"),
        (service(purge=purge(enabled=False)), {}, "no institution has it enabled"),
        (Counting(), {}, "no institution has it enabled"),
    ],
)
def test_what_is_not_to_run_counts_no_days(store: Counting, changes: dict[str, Any], why: str) -> None:
    """Nothing is missing then, and the answer says why."""
    ran(store, "purge-1", 300, action=Action.PURGE)
    assert told(store, **changes)["purge"] == (0.0, f"{OFF}{why}")


def test_a_disabled_institution_is_not_counted() -> None:
    """It was switched off long ago, and nothing is expected of it."""
    store = service()
    ran(store, "deactivate-0", 60)
    store.put_institution(institution(OTHER, enabled=False))
    ran(store, "deactivate-1", 2)
    assert told(store)["deactivate"][0] == 2.0
