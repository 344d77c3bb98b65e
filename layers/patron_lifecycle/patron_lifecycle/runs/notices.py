"""Telling the world that something has come of a run: events for whoever listens, such as mails to operators.

An event may come twice, since a worker may be lost right after it was sent; it is then the same event. Nothing
personal is in it: run, institution, status, counts, and sentences about sets and figures.
"""

import json
from typing import TYPE_CHECKING, Any, Protocol

from patron_lifecycle.runs.model import InstitutionRun, Run

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


class NoticeFailed(Exception):
    """EventBridge didn't take an event. What it was to tell is true and stored all the same."""


class Notices(Protocol):
    """Where notices go."""

    def institution_run_is(self, institution_run: InstitutionRun) -> None:
        """Tell that an institution run is held, or has ended. Raises `NoticeFailed`."""
        ...

    def run_is_finished(self, run: Run) -> None:
        """Tell that the last institution run of a run has ended. Raises `NoticeFailed`."""
        ...


class EventBridgeNotices:
    """Amazon EventBridge, the default bus. `source` tells the copies of the service in one account apart."""

    def __init__(self, client: "EventBridgeClient", source: str) -> None:
        self._client = client
        self._source = source

    def institution_run_is(self, institution_run: InstitutionRun) -> None:
        """See `Notices`. The detail-type is `Institution run held`, `… failed`, `… completed` and so on."""
        one = institution_run
        self._put(
            f"Institution run {one.status}",
            {
                "run_id": one.run_id,
                "institution": one.code,
                "action": one.action.value,
                "mode": one.mode.value,
                "status": one.status.value,
                "status_reason": one.reason_without_persons,
                "hold_reasons": list(one.hold_reasons),
                "candidates": one.candidates,
                "outcomes": {outcome.value: count for outcome, count in one.shown_outcomes.items()},
                "reasons": one.reasons,
            },
        )

    def run_is_finished(self, run: Run) -> None:
        """See `Notices`. The detail-type is `Run finished`."""
        told = {"run_id": run.run_id, "action": run.action.value, "mode": run.mode.value, "status": run.status.value}
        ended = {status.value: count for status, count in run.ended.items()}
        self._put("Run finished", {**told, "institutions": len(run.institutions), "ended": ended})

    def _put(self, kind: str, detail: dict[str, Any]) -> None:
        told = json.dumps(detail)
        reply = self._client.put_events(Entries=[{"Source": self._source, "DetailType": kind, "Detail": told}])
        if reply.get("FailedEntryCount"):
            raise NoticeFailed(f"EventBridge refused an event: {reply['Entries'][0].get('ErrorCode')}")
