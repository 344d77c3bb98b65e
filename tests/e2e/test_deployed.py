"""The deployed template on local AWS, driven as a person drives it: by the sandbox's command line and events."""

import csv
import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sandbox.local_aws import LocalAws, LocalAwsError
from sandbox.stack import ROOT, put_secret
from tests.e2e.conftest import KEYS, PATRONS, Deployed, command

AAA, BBB = "01OHIO_AAA", "01OHIO_BBB"


def simulated(deployed: Deployed, what: str, code: str) -> bytes:
    """What the simulated Alma shows to judges."""
    with urllib.request.urlopen(f"{deployed.sandbox.alma_url}/_simulator/{what}?institution={code}") as reply:
        body: bytes = reply.read()
    return body


def start(deployed: Deployed, **event: Any) -> str:
    """Start a deactivation and give its run_id."""
    answer = deployed.invoke("enumerator", {"action": "deactivate", **event})
    assert answer.code == 0, answer.out + answer.err
    run_id: str = answer.json["run_id"]
    return run_id


def results(deployed: Deployed, run_id: str, folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The exported run.json's institutions by code, and the rows of outcomes.csv."""
    exported = deployed.command("export", run_id, "--out", str(folder))
    assert exported.code == 0, exported.err
    document = json.loads((folder / "run.json").read_text())
    with (folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    return {one["institution"]: one for one in document["institutions"]} | {"run": document}, rows


def test_preview_then_apply_then_nothing_left(deployed: Deployed, tmp_path: Path) -> None:
    """Sweep and set, over several slices: a preview, the same for real, and the same again; one outcome for each."""
    two = [AAA, BBB]
    before = {code: json.loads(simulated(deployed, "state", code))["users"] for code in two}
    preview = start(deployed, institutions=two)
    assert deployed.command("wait", preview, "--timeout", "120").code == 0
    assert {code: json.loads(simulated(deployed, "state", code))["users"] for code in two} == before
    seen, rows = results(deployed, preview, tmp_path / "preview")
    assert seen["run"]["mode"] == "preview"
    would = {(row["institution"], row["primary_id"]) for row in rows if row["outcome"] == "would_deactivate"}

    real = start(deployed, institutions=two, mode="apply")
    assert deployed.command("wait", real, "--timeout", "180").code == 0
    done, rows = results(deployed, real, tmp_path / "apply")
    assert len({(row["institution"], row["primary_id"]) for row in rows}) == len(rows)
    tried = {(row["institution"], row["primary_id"]) for row in rows if row["outcome"] in ("deactivated", "failed")}
    assert tried == would
    for code in two:
        mine = Counter(row["outcome"] for row in rows if row["institution"] == code)
        assert mine == done[code]["outcomes"]
        assert mine.total() == done[code]["candidates"] > 100
        after = json.loads(simulated(deployed, "state", code))
        assert after["writes"] == {"PUT": mine["deactivated"]}
        assert after["users"]["INACTIVE"] == before[code]["INACTIVE"] + mine["deactivated"]
        assert after["throttled"] * 50 < sum(after["calls"].values())  # some calls of a busy machine come in a bunch
    assert done[AAA]["seen"] == PATRONS
    assert done[BBB]["reasons"]["excluded_set"] > 0
    slices = deployed.sandbox.store.institution_run(real, AAA)
    assert slices is not None
    assert slices.slices >= 1

    again = start(deployed, institutions=two, mode="apply")
    assert deployed.command("wait", again, "--timeout", "120").code == 0
    left, _ = results(deployed, again, tmp_path / "again")
    assert all("deactivated" not in left[code]["outcomes"] for code in two)


def test_troubles_stay_with_their_institution_and_say_what_to_mend(deployed: Deployed, tmp_path: Path) -> None:
    """Every institution's own trouble is in its institution run; the others complete; wait ends with 1."""
    aws, prefix = deployed.sandbox.aws, deployed.sandbox.outputs["SecretPrefix"]
    put_secret(aws, prefix, "01OHIO_CCC", "not json")
    try:
        run_id = start(deployed, mode="apply")
        waited = deployed.command("wait", run_id, "--timeout", "120")
    finally:
        put_secret(aws, prefix, "01OHIO_CCC", json.dumps({"api_key": KEYS["01OHIO_CCC"]}))  # others need it
    assert waited.code == 1
    found, _ = results(deployed, run_id, tmp_path)
    status = {code: (found[code]["status"], found[code]["status_reason"]) for code in found if code != "run"}
    assert found["run"]["status"] == "completed_with_failures"
    assert status[AAA] == status[BBB] == ("completed", "")
    for code, told in {
        "01OHIO_CCC": "secret alma-patron-lifecycle/sandbox/01OHIO_CCC is no JSON",
        "01OHIO_DDD": "belongs to institution 01OHIO_AAA, not to 01OHIO_DDD",
        "01OHIO_EEE": "secret alma-patron-lifecycle/sandbox/01OHIO_EEE has no usable api_key",
        "01OHIO_FFF": 'no set of users is named "No such set"',
    }.items():
        assert status[code][0] == "failed"
        assert told in status[code][1]
    assert "01OHIO_OFF" not in status


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"action": "delete everybody"}, "action"),
        ({"action": "deactivate", "institution": AAA}, "did you mean institutions?"),
        ({"action": "deactivate", "mode": "apply", "as_of": "2999-01-01"}, "ahead of today"),
        ({"action": "deactivate", "as_of": "yesterday"}, "as_of"),
        ({"action": "deactivate", "institutions": []}, "institutions"),
    ],
)
def test_bad_event_is_refused_and_starts_nothing(deployed: Deployed, event: dict[str, Any], told: str) -> None:
    """A mistake in an event is named, the exit code is 1, and no run was started."""
    before = deployed.invoke("operator", {"command": "status"}).json
    answer = deployed.invoke("enumerator", event)
    assert answer.code == 1
    assert answer.json["errorType"] == "InvalidEvent"
    assert told in answer.json["errorMessage"]
    assert deployed.invoke("operator", {"command": "status"}).json == before


def test_institutions_that_cannot_run_are_named(deployed: Deployed) -> None:
    """One that isn't registered and one that is disabled are skipped, each with why; nothing is queued."""
    answer = deployed.invoke("enumerator", {"action": "deactivate", "institutions": ["01OHIO_ZZZ", "01OHIO_OFF"]}).json
    assert answer["queued"] == []
    reasons = {skip["institution"]: skip["reason"] for skip in answer["skipped"]}
    assert reasons["01OHIO_ZZZ"].startswith("not registered")
    assert reasons["01OHIO_OFF"].startswith("disabled")


def test_malformed_registry_is_refused_whole(deployed: Deployed) -> None:
    """Mistakes in a registry are all named, and the stored one stays."""
    text = "institutions:\n  - {code: 01OHIO_AAA, name: A, region: mars, time_zone: America/New_York}\n"
    answer = deployed.invoke("operator", {"command": "register", "registry": text})
    assert answer.code == 1
    assert answer.json["errorType"] == "RegistryError"
    assert '"mars" is no known region' in answer.json["errorMessage"]
    assert deployed.invoke("enumerator", {"action": "deactivate", "institutions": [AAA]}).json["queued"] == [AAA]


EVENTS = sorted((ROOT / "events").glob("*.json"))


@pytest.mark.parametrize("file", [file for file in EVENTS if "register" not in file.name], ids=lambda file: file.stem)
def test_every_event_does_what_its_name_says(deployed: Deployed, file: Path) -> None:
    """Each file in events/ is accepted by the function that it is for; a run that it names is one to put in."""
    function = "operator" if file.name.startswith("operator") else "enumerator"
    asked = json.loads(file.read_text())
    answer = deployed.command("invoke", function, str(file))
    if "source_run_id" in asked:
        assert answer.json["errorMessage"].startswith(f"source_run_id: {asked['source_run_id']}: there is no such run")
        return
    if "run_id" in asked:
        assert answer.json["errorMessage"].startswith(f"run_id: there is no run {asked['run_id']}")
        return
    assert answer.code == 0, answer.out + answer.err
    if function == "enumerator":
        run = deployed.invoke("operator", {"command": "status", "run_id": answer.json["run_id"]}).json
        assert run["action"] == asked["action"]
        assert run["mode"] == asked.get("mode", "preview")
        assert set(answer.json["queued"]) <= {*KEYS, *asked.get("institutions", [])}
        assert deployed.command("wait", answer.json["run_id"], "--timeout", "120").code in (0, 1, 3)


def test_the_register_event_registers_the_example(deployed: Deployed) -> None:
    """events/operator-register.json holds institutions.example.yaml as it is, and registers it; twice is once."""
    file = ROOT / "events" / "operator-register.json"
    assert json.loads(file.read_text())["registry"] == (ROOT / "institutions.example.yaml").read_text()
    first = deployed.command("invoke", "operator", str(file)).json
    assert "01OHIO_AAA" in first["changed"]
    assert "01OHIO_FFF" in first["disabled"]
    second = deployed.command("invoke", "operator", str(file)).json
    assert second["added"] == second["changed"] == second["disabled"] == []
    deployed.invoke("operator", {"command": "register", "registry": (deployed.state / "institutions.yaml").read_text()})


def test_nothing_secret_or_personal_is_logged(deployed: Deployed) -> None:
    """After all that, no log line of any function holds an API key or a patron's id, name or e-mail."""
    lines = "\n".join(deployed.log_lines())
    assert "institution run settled" in lines
    for key in KEYS.values():
        assert not key or key not in lines
    for record in simulated(deployed, "users", AAA).decode().splitlines():
        patron = json.loads(record)
        assert patron["primary_id"] not in lines
        assert patron["full_name"] not in lines
    assert "@" not in lines


def test_commands_without_a_sandbox_say_what_to_do(tmp_path: Path) -> None:
    """A command for a sandbox that isn't there says how to start one."""
    answer = command("wait", "some-run", "--state", str(tmp_path))
    assert answer.code == 1
    assert "python -m sandbox up" in answer.err


def test_unknown_run_function_and_file_are_named(deployed: Deployed, tmp_path: Path) -> None:
    """Mistyped arguments end with 1 and a sentence, not with a traceback."""
    for answer, told in [
        (deployed.command("wait", "no-such-run"), "there is no run no-such-run"),
        (deployed.command("export", "no-such-run", "--out", str(tmp_path)), "There is no run no-such-run"),
        (deployed.command("invoke", "cleaner", str(EVENTS[0])), "there is no function cleaner"),
        (deployed.command("invoke", "operator", str(tmp_path / "none.json")), "can't be read"),
    ]:
        assert answer.code == 1
        assert told in answer.err
        assert "Traceback" not in answer.err


def test_up_refuses_a_bad_registry_and_another_alma_without_keys(tmp_path: Path) -> None:
    """`up` starts nothing when it can't end well."""
    (tmp_path / "bad.yaml").write_text("institutions: []")
    bad = command("up", "--institutions", str(tmp_path / "bad.yaml"), "--state", str(tmp_path / "state"))
    assert bad.code == 1
    assert "at least one institution" in bad.err
    keyless = command("up", "--alma-url", "https://alma.example.edu", "--state", str(tmp_path / "state"))
    assert keyless.code == 1
    assert "--keys" in keyless.err
    (tmp_path / "keys.json").write_text(json.dumps({AAA: "key"}))
    files = ("--keys", str(tmp_path / "keys.json"), "--state", str(tmp_path / "state"))
    for url, told in [("http://127.0.0.1:9", "nothing answers there"), ("alma", "is no address")]:
        dead = command("up", "--alma-url", url, *files)
        assert dead.code == 1
        assert told in dead.err
    assert not (tmp_path / "state").exists()


def test_a_sandbox_whose_start_was_killed_can_be_stopped(tmp_path: Path) -> None:
    """Killed before it was ready, `up` leaves processes; the next command says so, and `down` ends them."""
    aws = LocalAws.start(tmp_path)  # as far as `up` had come
    asked = command("wait", "some-run", "--state", str(tmp_path))
    assert asked.code == 1
    assert "python -m sandbox down" in asked.err
    assert command("down", "--state", str(tmp_path)).code == 0
    with pytest.raises(LocalAwsError):
        LocalAws.attach(aws.state_dir)
    again = command("down", "--state", str(tmp_path))
    assert again.code == 1
    assert "no local AWS runs" in again.err
