"""The simulated Alma inside a requests session and on a port."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from sandbox.simulator.adapter import SimulatorAdapter
from sandbox.simulator.alma import Alma, Latency
from sandbox.simulator.institutions import SimulatedInstitution
from sandbox.simulator.messages import Fault
from sandbox.simulator.server import running
from tests.unit.sandbox.simulator_caller import CODE, KEY, TODAY

ROOT = Path(__file__).parents[3]
HOST = "https://alma.example"


@contextlib.contextmanager
def session(alma: Alma | None = None, waits: list[float] | None = None) -> Iterator[requests.Session]:
    """A session with the institution's key; with `alma`, that one is mounted in it, and its waits are noted."""
    with requests.Session() as made:
        made.trust_env = False
        made.headers.update({"Authorization": f"apikey {KEY}", "Accept": "application/json"})
        if alma is not None:
            made.mount("https://", SimulatorAdapter(alma, sleep=(waits if waits is not None else []).append))
        yield made


def test_adapter_carries_calls(alma: Alma) -> None:
    """Path, parameters, headers and body reach Alma; status, headers and body come back."""
    with session(alma) as made:
        url = f"{HOST}/almaws/v1/users/sage%2Foder%231"
        user = made.get(url, params={"expand": "fees"}).json()
        assert user["fees"]["value"] == 0
        reply = made.put(url, json=user | {"status": {"value": "INACTIVE"}})
        assert reply.json()["status"]["value"] == "INACTIVE"
        assert reply.headers["x-exl-api-remaining"] == "998"
        created = made.post(f"{HOST}/almaws/v1/users", json=user | {"primary_id": "Größe#2"})
        assert (created.status_code, created.json()["primary_id"]) == (200, "Größe#2")


def test_adapter_waits(institution: SimulatedInstitution) -> None:
    """The adapter waits for as long as the reply takes."""
    waits: list[float] = []
    with session(Alma([institution], latency=Latency(jitter=0)), waits) as made:
        made.get(f"{HOST}/almaws/v1/conf/general")
    assert waits == [0.15]


def test_adapter_times_out_though_the_work_is_done(institution: SimulatedInstitution) -> None:
    """A reply slower than the read timeout is a ReadTimeout, after that time; the deletion has happened."""
    waits: list[float] = []
    with (
        session(Alma([institution], latency=Latency(jitter=0)), waits) as made,
        pytest.raises(requests.exceptions.ReadTimeout),
    ):
        made.delete(f"{HOST}/almaws/v1/users/fern.arno", timeout=(1, 0.5))
    assert waits == [0.5]
    assert "fern.arno" not in institution.users


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault(lost="reset"), requests.exceptions.ConnectionError),
        (Fault(lost="timeout"), requests.exceptions.ReadTimeout),
    ],
)
def test_adapter_loses_replies(alma: Alma, fault: Fault, raised: type[Exception]) -> None:
    """A lost reply is the exception that requests raises for it."""
    alma.faults.append(lambda _: fault)
    with session(alma) as made, pytest.raises(raised):
        made.get(f"{HOST}/almaws/v1/conf/general", timeout=30)


def test_server_carries_calls(alma: Alma, institution: SimulatedInstitution) -> None:
    """Over a socket the same holds, an encoded slash in an id included."""
    with running(alma) as url, session() as made:
        path = f"{url}/almaws/v1/users/sage%2Foder%231"
        user = made.get(path).json()
        assert user["primary_id"] == "sage/oder#1"
        reply = made.put(path, json=user | {"status": {"value": "INACTIVE"}})
        assert (reply.status_code, reply.headers["X-Exl-Api-Remaining"]) == (200, "998")
        assert made.get(f"{url}/almaws/v1/users", params={"q": "last_name~Oder"}).json()["total_record_count"] == 1
        assert made.delete(f"{url}/almaws/v1/users/fern.arno").status_code == 204
        assert made.get(f"{url}/almaws/v1/nothing").status_code == 404
        created = made.post(f"{url}/almaws/v1/users", json=user | {"primary_id": "Größe#2"})
        assert (created.status_code, created.json()["primary_id"]) == (200, "Größe#2")
    assert [write.method for write in institution.writes] == ["PUT", "DELETE", "POST"]


def test_server_drops_connections(alma: Alma) -> None:
    """A reset fault breaks the connection, and the next call is answered again."""
    with running(alma) as url, session() as made:
        alma.faults.append(lambda _: Fault(lost="reset"))
        with pytest.raises(requests.exceptions.RequestException):
            made.get(f"{url}/almaws/v1/conf/general")
        alma.faults.clear()
        assert made.get(f"{url}/almaws/v1/conf/general").status_code == 200


def test_judges_see_the_state(alma: Alma) -> None:
    """The state tells users by status, calls, writes and 429s, and the users come as they are; no key is asked."""
    with running(alma) as url, session() as made:
        made.delete(f"{url}/almaws/v1/users/fern.arno")
        state = requests.get(f"{url}/_simulator/state", params={"institution": CODE}, timeout=10).json()
        lines = requests.get(f"{url}/_simulator/users", params={"institution": CODE}, timeout=10).text.splitlines()
        assert requests.get(f"{url}/_simulator/state", timeout=10).status_code == 404
    assert state == {
        "institution": CODE,
        "users": {"ACTIVE": 3},
        "calls": {"DELETE /users/{user_id}": 1},
        "writes": {"DELETE": 1},
        "throttled": 0,
        "daily_quota": 1000,
        "remaining": 999,
        "lowest_remaining": 999,
    }
    assert {json.loads(line)["primary_id"] for line in lines} == {"Willow.Elbe", "sage/oder#1", "no primary id (4711)"}


def test_the_quota_is_renewed_by_hand(alma: Alma) -> None:
    """A POST counts the day's calls anew; what was left at least stays known, and a GET renews nothing."""
    with running(alma) as url, session() as made:
        made.get(f"{url}/almaws/v1/conf/general")
        made.get(f"{url}/almaws/v1/conf/general")
        assert requests.get(f"{url}/_simulator/renew", timeout=10).status_code == 405
        assert alma.remaining(CODE) == 998
        assert requests.post(f"{url}/_simulator/renew", timeout=10).json()[CODE] == 1000
        state = requests.get(f"{url}/_simulator/state", params={"institution": CODE}, timeout=10).json()
    assert (state["remaining"], state["lowest_remaining"]) == (1000, 998)


def test_runs_as_a_process(tmp_path: Path) -> None:
    """`python -m sandbox.simulator` prints its URL once it answers, with as many patrons as the file asks for."""
    file = tmp_path / "institutions.json"
    file.write_text(json.dumps([{"code": CODE, "name": "Ashland", "users": 12, "api_key": KEY}]), encoding="utf-8")
    command = [sys.executable, "-m", "sandbox.simulator", "--port", "0", "--institutions", str(file), "--no-latency"]
    command += ["--today", TODAY.isoformat(), "--seed", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process, session() as made:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            assert made.get(f"{url}/almaws/v1/users").json()["total_record_count"] == 12
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        ('[{"code": "A", "name": "A", "users": -1, "api_key": "k"}]', [], "0.users"),
        ("[]", ["--today", "tomorrow"], "--today tomorrow"),
        (None, [], "can't be read"),
        ("[]", ["--port", "taken"], "0 takes a free one"),
    ],
)
def test_process_says_what_is_wrong(tmp_path: Path, content: str | None, arguments: list[str], told: str) -> None:
    """A wrong or missing file, a day that is none, or a port in use ends the process with the reason."""
    file = tmp_path / "institutions.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as other:
        arguments = [str(other.getsockname()[1]) if argument == "taken" else argument for argument in arguments]
        command = [sys.executable, "-m", "sandbox.simulator", "--institutions", str(file), *arguments]
        environment = {"TERMINAL_WIDTH": "400", "NO_COLOR": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 2
    assert told in done.stderr
