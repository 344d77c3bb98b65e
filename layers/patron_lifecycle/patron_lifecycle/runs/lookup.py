"""Finding what a person has named, or saying that there is no such thing."""

from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.model import Run
from patron_lifecycle.runs.store import Store


def known_run(run_id: str, store: Store) -> Run:
    """The run. Raises `InvalidEvent` when there is none."""
    run = store.run(run_id)
    if run is None:
        raise InvalidEvent(f"run_id: there is no run {run_id}; status without run_id lists the latest")
    return run


def not_in_run(run: Run, code: str) -> InvalidEvent:
    """What is said when an institution has been named that isn't part of a run."""
    return InvalidEvent(f"institution: {code} is not part of {run.run_id}; it has {', '.join(run.institutions)}")
