"""What is told to EventBridge of runs: enough to act on, and nothing personal."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.runs.answers import approve, cancel, reject
from patron_lifecycle.runs.model import InstitutionRun, Run, RunStatus, Status
from patron_lifecycle.runs.notices import EventBridgeNotices, NoticeFailed
from tests.samples import NOW, institution_run, run
from tests.unit.runs.test_guards import held_bench
from tests.unit.runs.test_purge import purge
from tests.workbench import Workbench

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SERVICE = "events"
SOURCE = "alma-patron-lifecycle.dev"


class Bus:
    """An EventBridge that takes everything and keeps it."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []

    def put_events(self, *, Entries: list[dict[str, str]]) -> dict[str, int]:  # noqa: N803 - EventBridge's own name
        """See boto3."""
        self.entries += Entries
        return {"FailedEntryCount": 0}


def told(one: InstitutionRun | Run) -> tuple[str, dict[str, Any]]:
    """The detail-type and the detail of what is told of it."""
    bus = Bus()
    notices = EventBridgeNotices(bus, SOURCE)  # type: ignore[arg-type]
    if isinstance(one, Run):
        notices.run_is_finished(one)
    else:
        notices.institution_run_is(one)
    (entry,) = bus.entries
    assert set(entry) == {"Source", "DetailType", "Detail"}
    assert entry["Source"] == SOURCE
    assert entry["Detail"].isascii()
    return entry["DetailType"], json.loads(entry["Detail"])


def expect(stub: Stubber, kind: str, detail: dict[str, Any], **reply: Any) -> None:
    """Let EventBridge expect one event."""
    entry = {"Source": SOURCE, "DetailType": kind, "Detail": json.dumps(detail)}
    stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{}]} | reply, {"Entries": [entry]})


HELD = institution_run(
    status=Status.HELD,
    status_reason="held until somebody approves or rejects it",
    hold_reasons=("max_patrons: 612 changes due, 500 allowed",),
    candidates=700,
    due=612,
    outcomes={Outcome.SKIPPED: 88},
    reasons={"not_expired": 88},
    held_at=NOW,
)
DETAIL = {
    "run_id": HELD.run_id,
    "institution": HELD.code,
    "action": "deactivate",
    "mode": "apply",
    "status": "held",
    "status_reason": "held until somebody approves or rejects it",
    "hold_reasons": ["max_patrons: 612 changes due, 500 allowed"],
    "candidates": 700,
    "outcomes": {"skipped": 88, "would_deactivate": 612},
    "reasons": {"not_expired": 88},
}


def test_a_held_institution_run_is_told_on_the_default_bus(client: "EventBridgeClient", stub: Stubber) -> None:
    """Source, kind and every field are as the template's rule and other readers expect them."""
    expect(stub, "Institution run held", DETAIL)
    EventBridgeNotices(client, SOURCE).institution_run_is(HELD)


@pytest.mark.parametrize("status", [Status.FAILED, Status.COMPLETED, Status.CANCELLED, Status.REJECTED])
def test_an_ended_institution_run_is_told_by_its_status(status: Status) -> None:
    """The kind names the status; reason and counts are those of the end."""
    one = HELD.but(status=status, status_reason="as it is", outcomes={Outcome.DEACTIVATED: 600, Outcome.FAILED: 12})
    kind, detail = told(one)
    assert kind == f"Institution run {status}"
    ended = {"status": status.value, "status_reason": "as it is", "outcomes": {"deactivated": 600, "failed": 12}}
    assert detail == DETAIL | ended


def test_a_finished_run_is_told_with_how_its_institutions_ended(client: "EventBridgeClient", stub: Stubber) -> None:
    """The last institution run to end is followed by one event for the whole run."""
    ended = {Status.COMPLETED: 3, Status.FAILED: 1}
    codes = tuple(f"01OHIO_{number:03}" for number in range(4))
    one = run(
        institutions=codes,
        status=RunStatus.COMPLETED_WITH_FAILURES,
        ended=ended,
        open_count=0,
        finished_at=NOW + timedelta(hours=1),
    )
    detail = {
        "run_id": one.run_id,
        "action": "deactivate",
        "mode": "apply",
        "status": "completed_with_failures",
        "institutions": 4,
        "ended": {"completed": 3, "failed": 1},
    }
    expect(stub, "Run finished", detail)
    EventBridgeNotices(client, SOURCE).run_is_finished(one)


def test_no_patron_is_named_in_any_notice() -> None:
    """A purge that is held, approved, and blocked for some, and one that is rejected: no notice holds a primary id."""
    bench = held_bench()
    held = purge(bench)
    approve(held.run_id, held.code, "ana", "", bench.engine)
    bench.drain()
    bench.run(action="purge", mode="preview")
    again = held_bench()
    reject(purge(again).run_id, held.code, "ana", "", again.engine)
    third = Workbench()
    cancel(third.start().run_id, None, "ana", third.engine)
    texts, kinds = [], set()
    for service in (bench, again, third):
        notices = [told(one) for one in service.notices.institution_runs] + [told(one) for one in service.notices.runs]
        kinds |= {kind for kind, _ in notices}
        texts += [json.dumps(detail) for _, detail in notices]
    assert kinds == {
        *(f"Institution run {status}" for status in ("held", "completed", "rejected", "cancelled")),
        "Run finished",
    }
    for patron in ("fern", "reed", "sage", "loaned"):
        assert not [text for text in texts if patron in text]


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_is_told_as_it_is(text: str) -> None:
    """Quotes, line ends, half a character: the event holds it, as JSON that can be sent."""
    kind, detail = told(HELD.but(status_reason=text, hold_reasons=(text, "second")))
    assert kind.isascii()
    assert detail["status_reason"] == text
    assert detail["hold_reasons"] == [text, "second"]


def test_an_event_that_was_not_taken_is_an_error(client: "EventBridgeClient", stub: Stubber) -> None:
    """EventBridge answers well and takes nothing: that is told by its code."""
    entries = [{"ErrorCode": "InternalFailure", "ErrorMessage": "…"}]
    expect(stub, "Institution run held", DETAIL, FailedEntryCount=1, Entries=entries)
    with pytest.raises(NoticeFailed, match=r"^EventBridge refused an event: InternalFailure$"):
        EventBridgeNotices(client, SOURCE).institution_run_is(HELD)
