"""What made a slice fail: kept as the institution run's trouble, logged, and never with the text of the error."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from patron_lifecycle.observability import logger
from patron_lifecycle.runs.model import InstitutionRun, Status, WorkMessage
from patron_lifecycle.runs.store import Conflict, MemoryStore
from patron_lifecycle.runs.trouble import note_failure, told
from tests.samples import CODE, institution_run
from tests.workbench import Workbench

PERSONAL = "fern.arno has an item of 400,001 bytes"


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """Log lines come in, however quiet the tests before these have made the log."""
    caplog.set_level("INFO", logger=logger.name)


def denied() -> ClientError:
    """What DynamoDB raises."""
    return ClientError({"Error": {"Code": "AccessDeniedException", "Message": PERSONAL}}, "UpdateItem")


class BrokenStore(MemoryStore):
    """A store in which `advance`, which a slice needs for every page, does what it is told."""

    def __init__(self, broken: Callable[[], Exception]) -> None:
        super().__init__()
        self.broken: Callable[[], Exception] | None = broken

    def advance(self, *arguments: Any) -> Any:
        """See `Store`."""
        if self.broken is not None:
            raise self.broken()
        return super().advance(*arguments)


def failures_logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The log lines of slices that failed."""
    return [vars(record) for record in caplog.records if record.message == "slice failed"]


@pytest.mark.parametrize(
    ("broken", "begins"),
    [
        (denied, "ClientError (UpdateItem: AccessDeniedException) in runs/slice.py, line "),
        (lambda: KeyError(PERSONAL), "KeyError in runs/slice.py, line "),
        (lambda: MemoryError(PERSONAL), "MemoryError in runs/slice.py, line "),
    ],
)
def test_what_made_a_slice_fail_is_kept_and_logged(
    broken: Callable[[], Exception], begins: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Type and place, with run and institution; SQS gets the message back, since the error itself is raised."""
    bench = Workbench(store=BrokenStore(broken))
    run_id = bench.start().run_id
    message = bench.queue.messages[0]
    with pytest.raises(type(broken())):
        bench.slice(message)
    trouble = bench.institution_run(run_id).trouble
    assert trouble.startswith(f"the worker met {begins}")
    (line,) = failures_logged(caplog)
    assert (line["levelname"], line["run_id"], line["institution"]) == ("ERROR", run_id, CODE)
    assert trouble == f"the worker met {line['error']}"
    assert PERSONAL not in str([*map(vars, caplog.records)]) + trouble


def test_an_institution_run_that_goes_on_failing_tells_why() -> None:
    """Three slices in vain, and the reason of the fourth delivery is what they met."""
    bench = Workbench(store=BrokenStore(denied))
    run = bench.run()
    assert run.status is Status.FAILED
    assert run.status_reason.startswith(
        "no progress in 3 slices: the worker met ClientError (UpdateItem: AccessDeniedException) in runs/slice.py"
    )
    assert {type(failure) for failure in bench.failures} == {ClientError}


def test_a_trouble_that_is_over_is_forgotten() -> None:
    """The next slice gets on: what the one before it met isn't told any more."""
    store = BrokenStore(denied)
    bench = Workbench(store=store)
    run_id = bench.start().run_id
    with pytest.raises(ClientError):
        bench.slice(bench.queue.messages[0])
    store.broken = None
    bench.drain()
    run = bench.institution_run(run_id)
    assert (run.status, run.trouble) == (Status.COMPLETED, "")


def test_what_alma_said_is_kept_in_its_words_and_once() -> None:
    """An error of Alma's is noted by the slice itself; it isn't noted again as a type and a place."""
    writes: list[str] = []

    class Counting(MemoryStore):
        def save(self, institution_run: InstitutionRun) -> InstitutionRun:
            writes.append(institution_run.trouble)
            return super().save(institution_run)

    bench = Workbench(store=Counting())
    bench.before_call = lambda: (_ for _ in ()).throw(ConnectionError("no route to host"))
    run_id = bench.start().run_id
    with pytest.raises(Exception, match="no answer"):
        bench.slice(bench.queue.messages[0])
    trouble = bench.institution_run(run_id).trouble
    assert trouble
    assert "the worker met" not in trouble
    assert writes == ["", trouble], "begun, and noted"


def test_the_first_error_is_the_one_that_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    """The store takes nothing at all: the trouble can't be kept, which is logged, and hides nothing."""

    class Dead(MemoryStore):
        def save(self, institution_run: InstitutionRun) -> InstitutionRun:
            raise denied()

    bench = Workbench(store=Dead())
    bench.start()
    with pytest.raises(ClientError):
        bench.slice(bench.queue.messages[0])
    assert [record.message for record in caplog.records] == ["slice failed", "trouble not noted"]
    assert PERSONAL not in str([*map(vars, caplog.records)])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"seq": 5}, ValueError("an older message")),
        ({"status": Status.COMPLETED}, ValueError("it has ended")),
        ({"status": Status.HELD}, ValueError("it waits for a person")),
        ({}, Conflict("institution run")),
    ],
)
def test_what_others_are_at_is_left_alone(changes: dict[str, Any], error: Exception) -> None:
    """A message that has been overtaken, or a worker that has, changes nothing of what is stored."""
    store = MemoryStore()
    store.create_institution_run(institution_run(**changes))
    before = store.institution_run("deactivate-1", CODE)
    note_failure(WorkMessage(run_id="deactivate-1", institution=CODE, seq=4), error, store)
    assert store.institution_run("deactivate-1", CODE) == before


def test_noting_is_no_sign_of_life() -> None:
    """When it was touched last stays as it was: whoever fails at each delivery stalls all the same."""
    store = MemoryStore()
    one = institution_run()
    store.create_institution_run(one)
    note_failure(WorkMessage(run_id="deactivate-1", institution=CODE, seq=0), ValueError(PERSONAL), store)
    noted = store.institution_run("deactivate-1", CODE)
    assert noted == one.but(trouble="the worker met ValueError", version=1)


def test_an_error_of_no_line_of_ours_is_told_by_its_type() -> None:
    """What was raised elsewhere, or nowhere, has no place."""
    assert told(ValueError(PERSONAL)) == "ValueError"
