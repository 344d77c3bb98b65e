"""The gateway of the simulated Alma: keys, limits, latency, faults, and its record of calls."""

import json
from datetime import date, timedelta
from statistics import fmean
from threading import Thread

import pytest

from sandbox.simulator.alma import Alma, Latency
from sandbox.simulator.institutions import SimulatedInstitution
from sandbox.simulator.messages import Fault, Request, general_error, not_found
from tests.unit.sandbox.simulator_caller import CODE, KEY, TODAY, Caller

GENERAL = "/almaws/v1/conf/general"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "apikey wrong"}, {"Authorization": f"Bearer {KEY}"}])
def test_unknown_key(alma: Alma, headers: dict[str, str]) -> None:
    """Without a known key the answer is UNAUTHORIZED, in XML though JSON was asked, and nothing is counted."""
    reply = alma.handle("GET", GENERAL, {}, headers | {"Accept": "application/json"})
    assert reply.status == 400
    assert b"<errorCode>UNAUTHORIZED</errorCode>" in reply.body
    assert not alma.calls


def test_key_as_a_parameter(alma: Alma) -> None:
    """The key may come as a parameter."""
    assert alma.handle("GET", GENERAL, {"apikey": KEY}, {"Accept": "application/json"}).status == 200


def test_read_only_key(alma: Alma) -> None:
    """A key that may only read gets UNAUTHORIZED for every write, and for the test of writing."""
    call = Caller(alma, "key-that-reads")
    assert call("GET", "/users/operation/test").status == 200
    user = call.get("/users/fern.arno")
    for method, path in (
        ("POST", "/users/operation/test"),
        ("POST", "/users"),
        ("PUT", "/users/fern.arno"),
        ("DELETE", "/users/fern.arno"),
    ):
        reply = call(method, path, user)
        assert (reply.status, b"UNAUTHORIZED" in reply.body) == (400, True)
    assert call.get("/users/fern.arno") == user
    assert call.get("/users")["total_record_count"] == 4


def test_unknown_path(call: Caller) -> None:
    """A path that the gateway doesn't know is HTTP 404, its error wrapped and no list."""
    reply = call("GET", "/nothing/here")
    assert reply.status == 404
    assert json.loads(reply.body)["web_service_result"]["errorList"]["error"]["errorCode"] == "NOT_FOUND"
    assert call.alma.handle("GET", "/elsewhere", {}, {"Authorization": f"apikey {KEY}"}).status == 404


def test_json_must_be_asked_for(alma: Alma) -> None:
    """Without a wish for JSON an error is XML, and a resource, which Alma would give as XML, says what to send."""
    headers = {"Authorization": f"apikey {KEY}", "Accept": "*/*"}
    assert b"<errorCode>401861</errorCode>" in alma.handle("GET", "/almaws/v1/users/nobody", {}, headers).body
    reply = alma.handle("GET", GENERAL, {}, headers)
    assert (reply.status, b"Accept: application/json" in reply.body) == (406, True)
    assert alma.handle("GET", GENERAL, {"format": "json"}, headers).status == 200


def test_trailing_slash(call: Caller) -> None:
    """A slash at the end changes nothing: a client that forgets the id gets the list."""
    assert call.get("/users/")["total_record_count"] == 4


def test_per_second_limit(institution: SimulatedInstitution) -> None:
    """The 26th call within a second is refused, as JSON and every second time as XML; a second later all is well."""
    now = [100.0]
    call = Caller(Alma([institution], clock=lambda: now[0], today=lambda: TODAY))
    for tick in range(25):
        now[0] = 100 + tick / 100
        assert call("GET", "/conf/general").status == 200
    now[0] = 100.999
    first, second = call("GET", "/conf/general"), call("GET", "/users/fern.arno")
    assert (first.status, second.status) == (429, 429)
    assert json.loads(first.body)["errorList"]["error"][0]["errorCode"] == "PER_SECOND_THRESHOLD"
    assert b"<errorCode>PER_SECOND_THRESHOLD</errorCode>" in second.body
    now[0] = 101.0
    assert call("GET", "/conf/general").status == 200
    assert call("GET", "/conf/general").status == 429
    assert call.alma.throttled == {CODE: 3}


def test_remaining_calls(call: Caller, institution: SimulatedInstitution) -> None:
    """Every reply tells the calls left today, refusals too; at none the daily threshold stops all until tomorrow."""
    institution.daily_quota = 3
    replies = [call("GET", path) for path in ("/conf/general", "/users/nobody", "/nothing", "/conf/general")]
    assert [reply.headers["X-Exl-Api-Remaining"] for reply in replies] == ["2", "1", "0", "0"]
    assert replies[-1].status == 429
    assert b"<errorCode>DAILY_THRESHOLD</errorCode>" in replies[-1].body


def test_quota_begins_anew_each_day(institution: SimulatedInstitution) -> None:
    """A new day brings a new quota."""
    day = [date(2026, 11, 23)]
    institution.daily_quota = 1
    call = Caller(Alma([institution], today=lambda: day[0]))
    assert [call("GET", "/conf/general").status for _ in range(2)] == [200, 429]
    day[0] += timedelta(days=1)
    assert call("GET", "/conf/general").status == 200


def test_latency(institution: SimulatedInstitution) -> None:
    """Calls take as long as Alma's do on average, lists of full records longer, the gateway's refusals hardly."""
    institution.daily_quota = 100_000
    call = Caller(Alma([institution], latency=Latency(seed=5), per_second=None))

    def mean(method: str, path: str, **query: str) -> float:
        return fmean(call(method, path, **query).latency for _ in range(300))

    assert mean("GET", "/users/fern.arno") == pytest.approx(0.15, rel=0.05)
    assert mean("PUT", "/users/nobody") == pytest.approx(0.3, rel=0.05)
    assert mean("POST", "/users") == pytest.approx(0.3, rel=0.05)
    assert mean("DELETE", "/users/nobody") == pytest.approx(0.6, rel=0.05)
    assert mean("GET", "/users", expand="full") == pytest.approx(0.15 + 4 * 0.004, rel=0.05)
    assert mean("GET", "/nothing") < 0.03


def test_latency_follows_the_seed(institution: SimulatedInstitution) -> None:
    """The same seed gives the same latencies, another one others."""

    def latencies(seed: int) -> list[float]:
        call = Caller(Alma([institution], latency=Latency(seed=seed)))
        return [call("GET", "/conf/general").latency for _ in range(5)]

    assert latencies(1) == latencies(1) != latencies(2)


def test_no_latency_unless_wanted(call: Caller) -> None:
    """Without latency replies take no time."""
    assert call("GET", "/conf/general").latency == 0


def test_calls_are_counted_by_route(call: Caller) -> None:
    """Calls are counted by institution, method and route, never by patron."""
    call("GET", "/users/fern.arno")
    call("GET", "/users/nobody")
    call("GET", "/nothing")
    assert call.alma.calls == {(CODE, "GET", "/users/{user_id}"): 2, (CODE, "GET", ""): 1}


def test_fault_instead(call: Caller, institution: SimulatedInstitution) -> None:
    """A fault's reply is given instead of Alma's, and nothing is done."""
    call.alma.faults.append(lambda request: Fault(reply=general_error()) if request.method == "DELETE" else None)
    assert call("DELETE", "/users/fern.arno").status == 503
    assert call("GET", "/users/fern.arno").status == 200
    assert institution.writes == []


def test_fault_after_doing(call: Caller, institution: SimulatedInstitution) -> None:
    """A fault may replace or lose the reply though Alma has done the work."""
    call.alma.faults.append(lambda _: Fault(reply=not_found(), carried_out=True))
    assert call("DELETE", "/users/fern.arno").status == 404
    call.alma.faults[:] = [lambda _: Fault(lost="reset", carried_out=True)]
    institution.users["willow.elbe"]["loans"] = None
    assert call("DELETE", "/users/willow.elbe").lost == "reset"
    assert [write.primary_id for write in institution.writes] == ["fern.arno", "Willow.Elbe"]


def test_fault_before_doing(call: Caller, institution: SimulatedInstitution) -> None:
    """A connection lost before Alma got the call changes nothing."""
    call.alma.faults.append(lambda _: Fault(lost="timeout"))
    assert call("DELETE", "/users/fern.arno").lost == "timeout"
    assert institution.writes == []


def test_faults_see_the_request(call: Caller) -> None:
    """A fault is asked with route, decoded arguments, parameters and body; the first that answers counts."""
    seen: list[Request] = []
    call.alma.faults += [seen.append, lambda _: Fault(reply=general_error())]
    assert call("PUT", "/users/sage%2Foder%231", {"a": 1}, override="x").status == 503
    (request,) = seen
    assert (request.institution, request.route) == (CODE, "/users/{user_id}")
    assert request.arguments == {"user_id": "sage/oder#1"}
    assert request.query == {"override": "x"}
    assert json.loads(request.body) == {"a": 1}


def test_threads_lose_nothing(alma: Alma, institution: SimulatedInstitution) -> None:
    """Calls from several threads are all carried out and counted."""
    institution.daily_quota = 10_000
    call = Caller(alma)
    body = call.get("/users/fern.arno")
    threads = [Thread(target=lambda: [call.put("/users/fern.arno", body) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(institution.writes) == 200
    assert alma.calls[CODE, "PUT", "/users/{user_id}"] == 200
