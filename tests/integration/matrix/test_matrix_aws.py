"""AWS in the failure matrix: its services refuse, throttle, repeat, or fall silent."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

from patron_lifecycle.runs.model import Status
from patron_lifecycle.runs.queue import SendFailed
from tests.integration.matrix.cloud import MAX_RECEIVES, Answer, AwsFault, Call, lost, refused, reply
from tests.integration.matrix.service import (
    CODE,
    UNDISTURBED,
    Action,
    Make,
    Service,
    registry,
)

pytestmark = pytest.mark.untraced

ALWAYS = 10**6
TRANSACTION = "dynamodb.TransactWriteItems"
BBB, CCC = "01OHIO_BBB", "01OHIO_CCC"
MORE = [f"more.{number}" for number in range(10)]
PACED = registry(CODE, per_second=1)  # with a Lambda of 30 s and those: pages of two patrons, and more than one slice
ACTIONS = ("deactivate", "purge")


def gone_wrong(service: Service, name: str, answer: Answer, **more: Any) -> AwsFault:
    """Let calls of an operation go wrong."""
    fault = AwsFault(name, answer, **more)
    service.cloud.faults.append(fault)
    return fault


def played(service: Service, action: Action = "deactivate") -> str:
    """A run from its start to its end, which is as if nothing had gone wrong."""
    run_id = service.start(action)
    service.finish(run_id)
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]
    return run_id


# ── DynamoDB ──────────────────────────────────────────────────────────────────────────────────────────────────────────

THROTTLED = ("ThrottlingException", "ProvisionedThroughputExceededException")


@pytest.mark.parametrize("code", THROTTLED)
def test_throttling_by_dynamodb_for_a_while_is_waited_for(make: Make, code: str) -> None:
    """Nine refusals in a row are less than the SDK's patience: nobody sees it."""
    service = make()
    run_id = service.start()
    fault = gone_wrong(service, "dynamodb.", refused(code), times=9, spared=12)
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED["deactivate"]
    assert (fault.met, service.failures) == (9, [])


@pytest.mark.parametrize("action", ACTIONS)
def test_throttling_by_dynamodb_beyond_all_patience_is_outlasted(make: Make, action: Action) -> None:
    """In the midst of the run each call is refused until SQS has given the message up: the tidy lets the run go on."""
    service = make()
    run_id = service.start(action)
    fault = gone_wrong(service, "dynamodb.", refused("ThrottlingException"), times=ALWAYS, spared=25)
    service.pump()
    assert len(service.dead_letters()) == 1
    service.cloud.faults.remove(fault)
    service.finish(run_id)
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]


@pytest.mark.parametrize("reason", ["TransactionConflict", "ThrottlingError"])
def test_a_cancelled_transaction_is_made_again(make: Make, reason: str) -> None:
    """Each transaction of the run in turn is cancelled, a page's or that of the end: the slice or the next makes it."""
    service = make()
    cancelled = refused(
        "TransactionCanceledException", CancellationReasons=[{"Code": "None"}, {"Code": reason, "Message": "no"}]
    )
    for spared in count():
        service.fill()
        fault = gone_wrong(service, TRANSACTION, cancelled, spared=spared)
        played(service)
        if not fault.met:
            break
        service.cloud.faults.remove(fault)
    assert spared == 3


@pytest.mark.parametrize("action", ACTIONS)
def test_whoever_else_changes_the_institution_run_is_not_overwritten(make: Make, action: Action) -> None:
    """A write of the institution run comes upon another version of it: the slice is given up, and the next goes on."""
    service = make()
    run_id = service.start(action)

    def meanwhile(call: Call, carry_out: Callable[[], AWSResponse]) -> AWSResponse:
        service.store.save(service.one(run_id).but(vain_wakes=1))
        return carry_out()

    fault = gone_wrong(service, TRANSACTION, meanwhile, spared=1)
    service.finish(run_id)
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]
    assert fault.met == len(service.failures) == 1


@pytest.mark.parametrize("then", ["answered", "unreachable"])
def test_an_answer_of_dynamodb_that_is_lost_does_no_harm(make: Make, then: str) -> None:
    """Each write in turn is carried out and not answered; then it is when the SDK repeats it, or never."""
    service = make()
    others = ("dynamodb.PutItem", "dynamodb.BatchWriteItem") if then == "answered" else ()
    for operation in (TRANSACTION, *others):
        for spared in count():
            service.fill()
            run_id = service.start()
            fault = gone_wrong(service, operation, lost(ConnectionClosedError(endpoint_url="")), spared=spared)
            if then == "unreachable":
                silence = gone_wrong(service, operation, _silent, times=9, spared=spared)
            service.finish(run_id)
            service.judge(run_id)
            assert service.told(run_id) == UNDISTURBED["deactivate"]
            service.cloud.faults.clear()
            if not fault.met:
                break
            assert then == "answered" or silence.met == 9
        assert spared


def _silent(call: Call, carry_out: Callable[[], AWSResponse]) -> AWSResponse:
    raise EndpointConnectionError(endpoint_url="")


# ── SQS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def held_back(service: Service) -> dict[str, Any]:
    """The one message that the queue has to give; SQS keeps it until it is deleted."""
    (message,) = service.receive()
    return message


@pytest.mark.parametrize("action", ACTIONS)
def test_a_message_that_comes_twice_is_worked_on_once(make: Make, action: Action) -> None:
    """SQS gives each message of a run out once more, when its slice is over: dropped, without a call to Alma."""
    service = make(PACED, seconds=30)
    more = service.add_due(action, MORE)
    run_id = service.start(action)
    slices = 0
    while messages := service.receive():
        service.slice(messages[0])
        calls = service.alma.calls.total()
        service.deliver(messages[0])
        assert service.alma.calls.total() == calls
        slices += 1
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action] | more
    assert slices == service.one(run_id).slices > 1


@pytest.mark.parametrize("path", ["/conf/general", "/users/"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_message_that_two_workers_have_at_once_is_worked_on_by_the_second(
    make: Make, action: Action, path: str
) -> None:
    """The first, taken for lost, finds that the other has taken over, and stores nothing any more."""
    service = make()
    run_id = service.start(action)
    message = held_back(service)
    service.meanwhile("GET", path, lambda: service.slice(message))
    service.deliver(message)
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]
    assert len(service.failures) == 1


def test_a_message_from_long_ago_is_dropped(make: Make) -> None:
    """Its seq is that of a slice long past, its run has ended: nothing is done for it."""
    service = make()
    run_id = service.start()
    message = held_back(service)
    service.deliver(message)
    again = service.start()
    service.pump()
    calls = service.alma.calls.total()
    assert service.slice(message)
    assert service.alma.calls.total() == calls
    for one in (run_id, again):
        service.judge(one)
    assert service.told(run_id) == UNDISTURBED["deactivate"]


def test_the_order_between_institutions_is_of_no_account(make: Make) -> None:
    """Slices of three institutions in whatever order: each institution's own run is the same."""
    service = make(registry(CODE, BBB, CCC, per_second=1), seconds=30)
    more = [service.add_due("deactivate", MORE, code) for code in (BBB, CCC)]
    run_id = service.start()
    while messages := service.receive(most=10):
        for message in reversed(messages):
            service.deliver(message)
    service.judge(run_id)
    told = [service.told(run_id, code) for code in (CODE, BBB, CCC)]
    assert told == [UNDISTURBED["deactivate"] | names for names in ({}, *more)]


def test_a_continuation_that_cannot_be_sent_is_sent_by_the_next_delivery(make: Make) -> None:
    """SQS refuses a worker's message: its slice is given back, and whoever gets it goes on from what is stored."""
    service = make(PACED, seconds=30)
    more = service.add_due("deactivate", MORE)
    run_id = service.start()
    fault = gone_wrong(service, "sqs.SendMessageBatch", refused("AccessDeniedException", 403))
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED["deactivate"] | more
    assert fault.met == len(service.failures) == 1


def test_a_message_that_is_none_ends_in_the_dead_letter_queue(make: Make) -> None:
    """Who put it into the queue is no worker's business: given up after six receives, and no other run is kept back.

    What Lambda logs of it, which is the text of the error, has nothing of what was in it.
    """
    service = make()
    body = json.dumps({"patron": "jane-smith"})
    service.cloud.sqs.send_message(
        QueueUrl=service.cloud.queue_url, MessageBody=body, MessageGroupId=CODE, MessageDeduplicationId="1"
    )
    played(service)
    assert [message["Body"] for message in service.dead_letters()] == [body]
    assert len(service.failures) == 6
    assert all("SliceFailed: ValidationError" in text for text in service.logged)
    assert "jane-smith" not in "".join(service.logged)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_run_in_the_dead_letter_queue_is_put_back_by_redrive(make: Make, action: Action) -> None:
    """It goes on from where it was stored last, says why it got there, and redriving once more does nothing."""
    service = make()
    run_id = service.start(action)
    fault = gone_wrong(service, TRANSACTION, refused("ThrottlingException"), times=ALWAYS, spared=1)
    while messages := service.receive():
        service.deliver(messages[0])
        service.store.save(service.one(run_id).but(idle_slices=0))  # as if it had got on a little each time
    service.cloud.faults.remove(fault)
    answer = service.command("redrive")
    (put_back,) = answer["put_back"]
    assert (put_back["run_id"], put_back["institution"]) == (run_id, CODE)
    assert put_back["received"] >= MAX_RECEIVES
    assert "TransactWriteItems: ThrottlingException" in put_back["why"]
    assert service.dead_letters() == []
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]
    assert service.command("redrive") == {"put_back": (), "left": (), "kept": ()}


# ── Secrets Manager ───────────────────────────────────────────────────────────────────────────────────────────────────

SECRET = "secrets-manager.GetSecretValue"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("AccessDeniedException", "can't be read"),
        ("DecryptionFailure", "can't be read"),
        ("ResourceNotFoundException", "is missing"),
        ("InvalidRequestException", "is marked for deletion"),
    ],
)
def test_a_secret_that_may_not_be_read_ends_the_run(make: Make, code: str, told: str) -> None:
    """The institution run is failed and says what to mend; Alma was never called."""
    service = make()
    gone_wrong(service, SECRET, refused(code))
    run_id = service.start()
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert told in service.one(run_id).status_reason
    assert service.alma.calls.total() == 0


def test_a_secret_that_is_denied_midway_leaves_the_rest_over(make: Make) -> None:
    """The right is withdrawn between two slices: failed, what was done stays told, the others are left over."""
    service = make(PACED, seconds=30)
    service.add_due("deactivate", MORE)
    gone_wrong(service, SECRET, refused("AccessDeniedException"), spared=1)
    run_id = service.start()
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert "can't be read" in service.one(run_id).status_reason
    assert service.one(run_id).slices == 2


def test_secrets_manager_that_is_throttled_is_tried_again(make: Make) -> None:
    """Beyond the SDK's patience the slice is given back to SQS: the next one goes on."""
    service = make()
    fault = gone_wrong(service, SECRET, refused("ThrottlingException"), times=7)
    played(service)
    assert (fault.met, len(service.failures)) == (7, 1)


# ── The vault ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "KMS.DisabledException"])
def test_a_vault_that_is_denied_ends_the_purge(make: Make, code: str) -> None:
    """Nobody is deleted without a copy: failed, says what to mend, and all who were due are left over."""
    service = make()
    gone_wrong(service, "s3.PutObject", refused(code, 400 if code.startswith("KMS") else 403), times=ALWAYS)
    run_id = service.start("purge")
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert "nobody was deleted without a copy" in service.one(run_id).status_reason
    assert service.alma.institution(CODE).writes == []


@pytest.mark.parametrize("times", [3, 8])
def test_a_vault_that_is_throttled_is_waited_for(make: Make, times: int) -> None:
    """SlowDown, for as long as the SDK waits or longer: nobody is deleted before there is a copy, then all are."""
    service = make()
    fault = gone_wrong(service, "s3.PutObject", refused("SlowDown", 503), times=times)
    played(service, "purge")
    assert fault.met == times


def test_a_vault_that_is_throttled_for_ever_ends_the_purge(make: Make) -> None:
    """After three slices in vain: failed, with what S3 said, and nobody was deleted."""
    service = make()
    gone_wrong(service, "s3.PutObject", refused("SlowDown", 503), times=ALWAYS)
    run_id = service.start("purge")
    service.pump()
    service.judge(run_id, Status.FAILED)
    assert "S3 answered SlowDown" in service.one(run_id).status_reason
    assert service.alma.institution(CODE).writes == []


def test_an_answer_of_the_vault_that_is_lost_does_no_harm(make: Make) -> None:
    """The copy is there, S3 doesn't say so: it is put once more, and the patrons are deleted."""
    service = make()
    fault = gone_wrong(service, "s3.PutObject", lost(ConnectionClosedError(endpoint_url="")))
    played(service, "purge")
    assert fault.met == 1


# ── EventBridge ───────────────────────────────────────────────────────────────────────────────────────────────────────

EVENTS = "eventbridge.PutEvents"
NOT_TAKEN = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "no"}]}


@pytest.mark.parametrize(
    "answer",
    [refused("AccessDeniedException"), lambda call, carry_out: reply(200, NOT_TAKEN)],
    ids=["denied", "not taken"],
)
@pytest.mark.parametrize("times", [1, 2])
def test_an_event_that_is_not_taken_is_sent_again(make: Make, answer: Answer, times: int) -> None:
    """The run has ended and is stored; whoever gets its message again tells of it."""
    service = make()
    gone_wrong(service, EVENTS, answer, times=times)
    played(service)
    assert len(service.failures) == times


def test_events_that_are_never_taken_change_nothing_in_the_run(make: Make) -> None:
    """The run has ended as it should and gives the institution free; the message is in the dead-letter queue."""
    service = make()
    gone_wrong(service, EVENTS, refused("AccessDeniedException"), times=ALWAYS)
    run_id = service.start()
    service.pump()
    service.judge(run_id, unannounced=True)
    assert service.told(run_id) == UNDISTURBED["deactivate"]
    assert len(service.dead_letters()) == 1


# ── The enumerator's messages ─────────────────────────────────────────────────────────────────────────────────────────


def test_messages_of_which_sqs_takes_some_are_all_sent_when_the_start_is_repeated(make: Make) -> None:
    """Lambda repeats the start by itself: no institution is forgotten, and none has two messages."""
    service = make(registry(CODE, BBB, CCC))

    def takes_one(call: Call, carry_out: Callable[[], AWSResponse]) -> AWSResponse:
        first, *rest = json.loads(call.body)["Entries"]
        sent = service.cloud.sqs.send_message_batch(QueueUrl=service.cloud.queue_url, Entries=[first])
        failed = [{"Id": one["Id"], "Code": "InternalError", "SenderFault": False} for one in rest]
        return reply(200, {"Successful": sent["Successful"], "Failed": failed})

    gone_wrong(service, "sqs.SendMessageBatch", takes_one)
    event = {"action": "deactivate", "mode": "apply"}
    with pytest.raises(SendFailed):
        service.enumerate(event, "request-1")
    run_id = service.watch(service.enumerate(event, "request-1")["run_id"])
    service.pump()
    service.judge(run_id)
    assert [service.one(run_id, code).slices for code in (CODE, BBB, CCC)] == [1, 1, 1]
