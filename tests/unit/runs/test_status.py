"""What a person is told about runs."""

from datetime import date, timedelta
from typing import Any

import pytest

from patron_lifecycle.policy.model import Policy
from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.runs.events import InvalidEvent, ShowStatus, parse_operator
from patron_lifecycle.runs.model import Answer, Mode, RunStatus, Status, Verdict
from patron_lifecycle.runs.status import run_document, show_status
from patron_lifecycle.runs.store import MemoryStore
from tests.samples import CODE, NOW, deactivate, institution, institution_run, run

OTHER = "01OHIO_BBB"


NEVER: dict[str, Any] = {"possible": False, "until": None, "note": "", "event": None, "undone_by": []}


def show(store: MemoryStore, **asked: Any) -> dict[str, Any]:
    """The answer to a status event, where runs are kept for 400 days."""
    return show_status(parse_status(asked), store, timedelta(days=400), NOW)


def parse_status(asked: dict[str, Any]) -> ShowStatus:
    """The event as it comes in."""
    event = parse_operator({"command": "status", **asked})
    assert isinstance(event, ShowStatus)
    return event


@pytest.fixture
def store() -> MemoryStore:
    """Twelve runs of two institutions, the first of which is nearly through."""
    store = MemoryStore()
    for number in range(12):
        created_at = NOW + timedelta(minutes=number)
        store.create_run(run(f"deactivate-{number}", (CODE, OTHER), created_at=created_at))
        for code in (CODE, OTHER):
            store.create_institution_run(institution_run(f"deactivate-{number}", code, created_at=created_at))
    first = store.institution_run("deactivate-0", CODE)
    assert first is not None
    store.settle(
        first.but(
            status=Status.COMPLETED,
            day=date(2026, 11, 23),
            seen=60,
            candidates=3,
            outcomes={Outcome.SKIPPED: 1, Outcome.DEACTIVATED: 2},
            reasons={"staff": 1},
            finished_at=NOW,
        )
    )
    return store


def test_one_run_is_told_with_all_its_institutions(store: MemoryStore) -> None:
    """The document has the shape of run.json: counts of each institution, by outcome and by reason."""
    assert show(store, run_id="deactivate-0") == {
        "run_id": "deactivate-0",
        "action": "deactivate",
        "mode": "apply",
        "status": "running",
        "as_of": "2026-11-23",
        "bring_back": None,
        "undo": {
            "possible": True,
            "until": "2027-12-28T17:00:00+00:00",
            "why_not": "",
            "note": "only where it has ended",
            "event": {"action": "reinstate", "mode": "preview", "source_run_id": "deactivate-0"},
            "undone_by": [],
        },
        "institutions": [
            {
                "institution": CODE,
                "status": "completed",
                "status_reason": "",
                "hold_reasons": [],
                "seen": 60,
                "candidates": 3,
                "outcomes": {"deactivated": 2, "skipped": 1},
                "reasons": {"staff": 1},
                "answers": [],
                "held_until": None,
                "pause": None,
                "trouble": "",
                "undo": {
                    "possible": True,
                    "until": "2027-12-28T17:00:00+00:00",
                    "why_not": "",
                    "event": {
                        "action": "reinstate",
                        "mode": "preview",
                        "source_run_id": "deactivate-0",
                        "institutions": [CODE],
                    },
                    "note": "",
                    "undone_by": [],
                },
            },
            {
                "institution": OTHER,
                "status": "queued",
                "status_reason": "",
                "hold_reasons": [],
                "seen": 0,
                "candidates": 0,
                "outcomes": {},
                "reasons": {},
                "answers": [],
                "held_until": None,
                "pause": None,
                "trouble": "",
                "undo": {**NEVER, "why_not": "it has not ended"},
            },
        ],
    }


def test_one_run_in_one_institution(store: MemoryStore) -> None:
    """Who asks for a run and an institution sees that one alone."""
    told = show(store, run_id="deactivate-0", institution=OTHER)
    assert [one["institution"] for one in told["institutions"]] == [OTHER]


def test_the_latest_runs_of_an_institution(store: MemoryStore) -> None:
    """Newest first, with what each came to."""
    told = show(store, institution=CODE)
    assert told["institution"] == CODE
    assert [one["run_id"] for one in told["latest"]] == [f"deactivate-{number}" for number in range(11, -1, -1)]
    assert told["latest"][0] == {
        "run_id": "deactivate-11",
        "created_at": "2026-11-23T17:11:00+00:00",
        "mode": "apply",
        "action": "deactivate",
        "institution": CODE,
        "status": "queued",
        "status_reason": "",
        "hold_reasons": [],
        "seen": 0,
        "candidates": 0,
        "outcomes": {},
        "reasons": {},
        "answers": [],
        "held_until": None,
        "pause": None,
        "trouble": "",
        "undo": {**NEVER, "why_not": "it has not ended"},
    }


def test_the_latest_runs(store: MemoryStore) -> None:
    """Without anything said, the latest runs are told, newest first."""
    told = show(store)
    assert [one["run_id"] for one in told["runs"]] == [f"deactivate-{number}" for number in range(11, -1, -1)]
    assert told["runs"][0] == {
        "bring_back": None,
        "run_id": "deactivate-11",
        "action": "deactivate",
        "mode": "apply",
        "status": "running",
        "trigger": "manual",
        "created_at": "2026-11-23T17:11:00+00:00",
        "institutions": 2,
        "open": 2,
        "held": 0,
        "paused": 0,
        "undo": {**NEVER, "why_not": "it has not ended"},
    }
    assert told["held"] == []


def test_what_waits_for_a_person_is_shown_first(store: MemoryStore) -> None:
    """Held institution runs are listed with their figures and until when; whom they would change is counted."""
    one = store.institution_run("deactivate-3", CODE)
    assert one is not None
    reasons = ("max_patrons: 600 changes due, 500 allowed",)
    changes = {"status": Status.HELD, "held_at": NOW, "hold_reasons": reasons, "due": 600}
    held, _ = store.settle(one.but(**changes, outcomes={Outcome.SKIPPED: 5}, candidates=605))
    (waiting,) = show(store)["held"]
    assert waiting["run_id"] == "deactivate-3"
    assert waiting["institution"] == CODE
    assert waiting["hold_reasons"] == [*reasons]
    assert waiting["held_until"] == "2026-11-30T17:00:00+00:00"
    assert waiting["outcomes"] == {"skipped": 5, "would_deactivate": 600}
    approved = Verdict(answer=Answer.APPROVED, by="ana", at=NOW, note="looked at it")
    store.settle(held.but(status=Status.QUEUED, verdicts=(approved,)))
    told = show(store, run_id="deactivate-3", institution=CODE)
    assert told["institutions"][0]["answers"] == [
        {"answer": "approved", "by": "ana", "at": "2026-11-23T17:00:00Z", "note": "looked at it"}
    ]
    assert told["institutions"][0]["held_until"] is None
    assert show(store)["held"] == []


def test_a_run_that_there_is_not(store: MemoryStore) -> None:
    """An unknown run_id, or institution, is told with the way to the right one."""
    with pytest.raises(InvalidEvent, match="run_id: there is no run deactivate-99; status without run_id lists"):
        show(store, run_id="deactivate-99")
    with pytest.raises(InvalidEvent, match="institution: 01OHIO_ZZZ is not registered; correct the code"):
        show(store, institution="01OHIO_ZZZ")


def test_an_institution_is_shown_with_its_policy_and_caps(store: MemoryStore) -> None:
    """What is registered is told whole, so that everybody can see which policy holds; none where it never was."""
    assert show(store, institution=CODE)["registered"] is None
    store.put_institution(institution(policy=Policy(deactivate=deactivate(max_patrons=70, max_percent=4.5))))
    told = show(store, institution=CODE)["registered"]["policy"]["deactivate"]
    assert (told["max_patrons"], told["max_percent"], told["grace_days"]) == (70, 4.5, 7)


def test_the_registry_is_shown_whole(store: MemoryStore) -> None:
    """Every institution as it is registered, disabled ones too, and no runs; nobody registered is no error."""
    assert show(store, registry=True) == {"registered": []}
    both = [institution(CODE), institution(OTHER, enabled=False)]
    for one in both:
        store.put_institution(one)
    assert show(store, registry=True) == {"registered": [one.model_dump(mode="json") for one in both]}


def test_the_day_of_a_run() -> None:
    """as_of is what was asked for, else the earliest day at an institution, else not known yet."""
    at_work = [institution_run(day=date(2026, 11, 24)), institution_run(code=OTHER, day=date(2026, 11, 23))]
    assert run_document(run(as_of=date(2026, 11, 1)), at_work)["as_of"] == "2026-11-01"
    assert run_document(run(), at_work)["as_of"] == "2026-11-23"
    assert run_document(run(), [institution_run()])["as_of"] is None


@pytest.mark.parametrize(
    ("ended", "open_count", "status"),
    [
        ({}, 1, RunStatus.RUNNING),
        ({Status.FAILED: 1}, 1, RunStatus.RUNNING),
        ({}, 0, RunStatus.COMPLETED),
        ({Status.COMPLETED: 2}, 0, RunStatus.COMPLETED),
        ({Status.COMPLETED: 2, Status.FAILED: 1}, 0, RunStatus.COMPLETED_WITH_FAILURES),
    ],
)
def test_the_status_of_a_run_follows_from_its_institutions(
    ended: dict[Status, int], open_count: int, status: RunStatus
) -> None:
    """Running while any is open, completed if all are completed, else completed with failures."""
    assert RunStatus.of(ended, open_count) is status


def test_a_preview_says_so() -> None:
    """The document tells the mode, so that nobody takes a preview for the real thing."""
    assert run_document(run(mode=Mode.PREVIEW), [])["mode"] == "preview"


def test_what_undid_a_run_is_asked_for_once() -> None:
    """Not once more for each of its institutions, of which there may be thousands."""
    asked = []

    class Counting(MemoryStore):
        def undone_by(self, run_id: str) -> list[tuple[str, str]]:
            asked.append(run_id)
            return super().undone_by(run_id)

    store = Counting()
    store.create_run(run("deactivate-1", (CODE, OTHER)))
    for code in (CODE, OTHER):
        store.create_institution_run(institution_run("deactivate-1", code))
    assert len(show(store, run_id="deactivate-1")["institutions"]) == 2
    assert asked == ["deactivate-1"]


def test_what_is_paused_is_told_with_since_until_and_the_calls() -> None:
    """Beside what is held: on how many days, and the calls left and kept; the run's line counts it; then no more."""
    store = MemoryStore()
    store.create_run(run())
    store.create_institution_run(institution_run(status=Status.PROCESSING))
    one = store.institution_run("deactivate-1", CODE)
    assert one is not None
    until = NOW + timedelta(hours=7)
    waiting = {"paused_until": until, "pauses": 3, "remaining_calls": 16, "paused_reserve": 18}
    one, _ = store.settle(one.but(status=Status.PAUSED, **waiting))
    told = show(store)
    assert told["held"] == []
    assert [each["run_id"] for each in told["paused"]] == ["deactivate-1"]
    assert (told["runs"][0]["status"], told["runs"][0]["paused"], told["runs"][0]["open"]) == ("paused", 1, 1)
    pause = {"since": NOW.isoformat(), "until": until.isoformat(), "days": 3, "calls_left": 16, "calls_kept": 18}
    assert told["paused"][0]["pause"] == pause
    assert show(store, run_id="deactivate-1")["institutions"][0]["pause"] == pause
    assert show(store, institution=CODE)["latest"][0]["pause"] == pause
    store.settle(one.but(status=Status.PROCESSING))
    assert show(store)["paused"] == []
    assert show(store, run_id="deactivate-1")["institutions"][0]["pause"] is None
