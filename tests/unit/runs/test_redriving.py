"""Putting back what lies in the dead-letter queue, whatever has become of the institution run meanwhile."""

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.stub import Stubber

from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.runs.dead_letters import DeadLetter, SqsDeadLetters
from patron_lifecycle.runs.events import parse_start
from patron_lifecycle.runs.lifecycle import tidy
from patron_lifecycle.runs.model import BringBack, InstitutionRun, Mode, Status, WorkMessage
from patron_lifecycle.runs.redriving import Redriven, redrive
from patron_lifecycle.runs.store import MemoryStore
from tests.samples import CODE, NOW, institution_run, run
from tests.workbench import STALLED_AFTER, Killed, Workbench, registry_of

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

OTHER = "01OHIO_BBB"
SERVICE = "sqs"
URL = "https://sqs.us-east-2.amazonaws.com/123456789012/dead.fifo"
RUN = "deactivate-1"


def letter(seq: int = 0, code: str = CODE, run_id: str = RUN) -> str:
    """The body of a message that a worker was given in vain."""
    return WorkMessage(run_id=run_id, institution=code, seq=seq).model_dump_json()


def bench_with(*codes: str, **changes: Any) -> Workbench:
    """Institutions of a run that is stored as `changes` say, the queue being empty."""
    bench = Workbench(registry_of(*(codes or (CODE,))))
    bench.store.create_run(run(RUN, codes or (CODE,)))
    for code in codes or (CODE,):
        bench.store.create_institution_run(institution_run(RUN, code, **changes))
    return bench


def redriven(bench: Workbench) -> Redriven:
    """What a redrive does."""
    return redrive(bench.dead_letters, bench.engine)


def dead_bench() -> tuple[Workbench, str]:
    """A run whose worker was killed at each delivery before it could store anything, so that its message lies there."""
    bench = Workbench()
    save = bench.store.save
    bench.store.save = lambda _: (_ for _ in ()).throw(Killed())  # type: ignore[method-assign,assignment]
    run_id = bench.start().run_id
    bench.drain()
    bench.store.save = save  # type: ignore[method-assign]
    assert [one.body for one in bench.dead_letters.letters] == [letter(0, run_id=run_id)]
    return bench, run_id


def test_an_institution_run_is_put_back_and_comes_to_its_end() -> None:
    """Once whatever killed its workers is mended, one command lets it go on from where it was."""
    bench, run_id = dead_bench()
    done = redriven(bench)
    assert done == Redriven(
        put_back=(
            {
                "run_id": run_id,
                "institution": CODE,
                "status": "queued",
                "why": "nothing was noted: look at the worker's log",
                "received": 6,
                "done": "put back: it goes on from where it was stored last",
            },
        ),
        left=(),
        kept=(),
    )
    assert bench.dead_letters.letters == []
    bench.drain()
    assert bench.institution_run(run_id).status is Status.COMPLETED
    assert redriven(bench) == Redriven((), (), ())


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SELECTING, Status.PROCESSING])
def test_what_goes_on_has_all_its_tries_again(status: Status) -> None:
    """Slices without progress and vain wakes are forgotten; that it lay, and why, stays until it gets on."""
    stuck = {"idle_slices": 3, "vain_wakes": 2, "stalled_since": NOW, "trouble": "Alma gave no answer"}
    bench = bench_with(status=status, seq=4, **stuck)
    bench.dead_letters.put(letter(4), received=8)
    (told,) = redriven(bench).put_back
    assert (told["status"], told["why"], told["received"]) == (status, "Alma gave no answer", 8)
    assert bench.queue.sent == [WorkMessage(run_id=RUN, institution=CODE, seq=5)]
    one = bench.institution_run(RUN)
    assert (one.status, one.seq, one.idle_slices, one.vain_wakes) == (status, 5, 0, 0)
    assert (one.stalled_since, one.trouble) == (bench.time.now(), "Alma gave no answer")


def test_a_message_ahead_of_the_stored_one_is_not_sent_a_second_time() -> None:
    """Whoever sent it died before it was stored: the next one has a number that nobody has seen."""
    bench = bench_with(status=Status.PROCESSING, seq=4)
    bench.dead_letters.put(letter(5))
    redriven(bench)
    assert [message.seq for message in bench.queue.sent] == [6]
    assert bench.institution_run(RUN).seq == 6


def test_a_paused_one_is_sent_the_message_that_it_waits_for() -> None:
    """It goes on with the very message that its pause has left unsent, and pauses again if that is too early."""
    bench = bench_with(status=Status.PAUSED, seq=7, paused_in=Status.PROCESSING)
    bench.dead_letters.put(letter(7))
    (told,) = redriven(bench).put_back
    assert told["done"] == "resumed; without calls to spare it pauses again"
    assert bench.queue.sent == [WorkMessage(run_id=RUN, institution=CODE, seq=7)]


ENDED: dict[str, tuple[dict[str, Any], str]] = {
    "held": ({"status": Status.HELD}, "nothing: it is held, and waits for approve or reject"),
    "completed": ({"status": Status.COMPLETED}, "nothing: it has ended."),
    "cancelled": ({"status": Status.CANCELLED}, "nothing: it has ended."),
    "failed": (
        {"status": Status.FAILED},
        "nothing: it has ended. Mend the cause, and start a new run: send the enumerator "
        '{"action": "deactivate", "mode": "apply", "institutions": ["01OHIO_AAA"]}',
    ),
    "failed preview of a day": (
        {"status": Status.FAILED, "mode": Mode.PREVIEW, "as_of": date(2026, 12, 1)},
        "nothing: it has ended. Mend the cause, and start a new run: send the enumerator "
        '{"action": "deactivate", "mode": "preview", "institutions": ["01OHIO_AAA"], "as_of": "2026-12-01"}',
    ),
    "failed reinstate of named patrons": (
        {
            "status": Status.FAILED,
            "action": Action.REINSTATE,
            "bring_back": BringBack(named="0123", expiry_date=date(2027, 6, 30)),
        },
        "nothing: it has ended. Mend the cause, and start a new run: send the enumerator, with the patron_ids of then, "
        '{"action": "reinstate", "mode": "apply", "institutions": ["01OHIO_AAA"], "expiry_date": "2027-06-30"}',
    ),
    "overtaken": (
        {"status": Status.PROCESSING, "seq": 3},
        "nothing: it was sent a newer message since, and goes on with that one",
    ),
}


@pytest.mark.parametrize("case", ENDED)
def test_what_needs_no_message_is_told_and_its_message_deleted(case: str) -> None:
    """Nothing is lost by that: the institution run is what it is, and the answer says what to do."""
    changes, said = ENDED[case]
    bench = bench_with(trouble="the worker met KeyError", **changes)
    before = bench.institution_run(RUN)
    bench.dead_letters.put(letter(2))
    done = redriven(bench)
    assert (done.put_back, done.kept) == ((), ())
    (told,) = done.left
    assert (told["done"], told["why"], told["status"]) == (said, "the worker met KeyError", before.status)
    assert bench.institution_run(RUN) == before
    assert bench.queue.sent == []
    assert bench.dead_letters.letters == []


def test_the_event_to_start_again_is_one() -> None:
    """The enumerator takes what the answer says to send."""
    bench = bench_with(status=Status.FAILED, mode=Mode.PREVIEW, as_of=date(2026, 12, 1))
    bench.dead_letters.put(letter())
    (told,) = redriven(bench).left
    _, _, event = told["done"].partition("send the enumerator ")
    assert parse_start(json.loads(event)).institutions == (CODE,)


def test_an_institution_run_that_is_not_kept_any_longer_is_told() -> None:
    """Its results are gone, or it never was: there is nothing to put back."""
    bench = Workbench()
    bench.dead_letters.put(letter(run_id="deactivate-gone"))
    (told,) = redriven(bench).left
    assert (told["status"], told["why"]) == (None, "")
    assert told["done"] == "nothing: no such institution run is kept (any longer)"
    assert bench.dead_letters.letters == []


def test_several_messages_of_one_institution_run_put_it_back_once() -> None:
    """The tidy has sent it one after the other in vain: it is told once, sent one more, and all of them are deleted."""
    bench = bench_with(status=Status.PROCESSING, seq=3)
    for seq in (1, 2, 3):
        bench.dead_letters.put(letter(seq))
    done = redriven(bench)
    assert [one["institution"] for one in done.put_back] == [CODE]
    assert done.left == ()
    assert [message.seq for message in bench.queue.sent] == [4]
    assert bench.dead_letters.letters == []


def test_what_is_no_message_of_ours_stays() -> None:
    """It is told by its id and never by its content, and doesn't keep the others from being put back."""
    bench = bench_with(CODE, OTHER, status=Status.PROCESSING)
    kept = [bench.dead_letters.put(body) for body in ("jane.smith", '{"run_id": "1", "patron": "jane.smith"}', "")]
    bench.dead_letters.put(letter(code=OTHER))
    done = redriven(bench)
    assert [one["message_id"] for one in done.kept] == [one.message_id for one in kept]
    assert "jane" not in str(done)
    assert [one["institution"] for one in done.put_back] == [OTHER]
    assert bench.dead_letters.letters == kept


def test_a_store_that_fails_for_one_leaves_its_message(caplog: pytest.LogCaptureFixture) -> None:
    """The others are put back; that one is told, and tried again by the next redrive."""

    class Broken(MemoryStore):
        is_broken = True

        def institution_run(self, run_id: str, code: str) -> InstitutionRun | None:
            if code == CODE and self.is_broken:
                raise KeyError("jane.smith")
            return super().institution_run(run_id, code)

    bench = Workbench(registry_of(CODE, OTHER), store=Broken())
    bench.store.create_run(run(RUN, (CODE, OTHER)))
    for code in (CODE, OTHER):
        bench.store.create_institution_run(institution_run(RUN, code))
        bench.dead_letters.put(letter(code=code))
    done = redriven(bench)
    assert [one["institution"] for one in done.put_back] == [OTHER]
    (kept,) = done.kept
    assert kept["why"].startswith(f"{RUN}/{CODE} could not be put back: KeyError")
    assert "jane" not in str(done) + str([vars(record) for record in caplog.records])
    Broken.is_broken = False
    assert [one["institution"] for one in redriven(bench).put_back] == [CODE]
    assert bench.dead_letters.letters == []


def test_an_operator_that_dies_before_it_deletes_does_no_harm() -> None:
    """The message was sent, and lies there still: the next redrive finds that it has gone on, and sends no other."""
    bench, run_id = dead_bench()

    def dies() -> None:
        raise Killed

    bench.dead_letters.before_delete = dies
    with pytest.raises(Killed):
        redriven(bench)
    bench.dead_letters.before_delete = lambda: None
    (told,) = redriven(bench).left
    assert told["done"].startswith("nothing: it was sent a newer message since")
    assert [message.seq for message in bench.queue.sent] == [0, 1]
    bench.drain()
    assert bench.institution_run(run_id).status is Status.COMPLETED


def test_an_operator_that_dies_between_message_and_store_does_no_harm() -> None:
    """The message is on its way before anything is stored: the next redrive sends it again, which is dropped."""
    bench, run_id = dead_bench()
    save = bench.store.save
    bench.store.save = lambda _: (_ for _ in ()).throw(Killed())  # type: ignore[method-assign,assignment]
    with pytest.raises(Killed):
        redriven(bench)
    bench.store.save = save  # type: ignore[method-assign]
    assert bench.institution_run(run_id).seq == 0
    assert len(redriven(bench).put_back) == 1
    bench.drain()
    done = bench.institution_run(run_id)
    assert (done.status, done.slices) == (Status.COMPLETED, 1)


def test_whoever_waits_for_another_run_goes_on_waiting() -> None:
    """Its institution is busy: the message is dropped, and the end of the other run wakes it."""
    bench = bench_with(status=Status.QUEUED)
    assert bench.store.acquire_lease(CODE, "deactivate-0")
    bench.store.create_run(run("deactivate-0"))
    bench.store.create_institution_run(institution_run("deactivate-0", status=Status.PROCESSING))
    bench.dead_letters.put(letter())
    redriven(bench)
    bench.drain()
    assert bench.institution_run(RUN).status is Status.QUEUED
    bench.store.release_lease(CODE, "deactivate-0")
    bench.time.seconds += (STALLED_AFTER + timedelta(minutes=1)).total_seconds()
    tidy(bench.engine, STALLED_AFTER)
    bench.drain()
    assert bench.institution_run(RUN).status is Status.COMPLETED


# ── As it talks to SQS ────────────────────────────────────────────────────────────────────────────────────────────────


def expect(stub: Stubber, *numbers: int) -> None:
    """Let SQS give these messages once."""
    asked = {
        "QueueUrl": URL,
        "MaxNumberOfMessages": 10,
        "VisibilityTimeout": 120,
        "WaitTimeSeconds": 1,
        "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
    }
    messages = [
        {
            "MessageId": f"m{number}",
            "Body": str(number),
            "ReceiptHandle": f"r{number}",
            "Attributes": {"ApproximateReceiveCount": "7"},
        }
        for number in numbers
    ]
    stub.add_response("receive_message", {"Messages": messages} if messages else {}, asked)


def test_the_queue_is_read_to_its_end(client: "SQSClient", stub: Stubber) -> None:
    """Ten at a time, until there is none left."""
    expect(stub, *range(10))
    expect(stub, 10)
    expect(stub)
    letters = list(SqsDeadLetters(client, URL).read())
    assert letters == [DeadLetter(f"m{number}", str(number), 7, f"r{number}") for number in range(11)]


def test_a_message_that_stays_is_given_once(client: "SQSClient", stub: Stubber) -> None:
    """Where reading takes so long that what stays comes up again, the end is reached all the same."""
    expect(stub, 1, 2)
    expect(stub, 1)
    assert [one.message_id for one in SqsDeadLetters(client, URL).read()] == ["m1", "m2"]


def test_a_message_is_deleted_by_its_receipt(client: "SQSClient", stub: Stubber) -> None:
    """The receipt of this very look."""
    stub.add_response("delete_message", {}, {"QueueUrl": URL, "ReceiptHandle": "r1"})
    SqsDeadLetters(client, URL).delete(DeadLetter("m1", "1", 7, "r1"))
