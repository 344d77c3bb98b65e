"""One sandbox for all end-to-end tests: local AWS with the project's template on it, and the simulated Alma."""

import csv
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sandbox.sandbox import Sandbox
from sandbox.stack import ROOT, logs

REGISTRY = """
defaults:
  region: na
  time_zone: America/New_York
  policy:
    deactivate: {select: {sweep: true}, max_percent: 100}
    purge: {select: {set_name: "OHIONET purge"}, exclude: {set_names: ["Community patrons"]}, max_percent: 100}
institutions:
  - {code: 01OHIO_AAA, name: Alder College}
  - code: 01OHIO_BBB
    name: Birch University
    policy: {deactivate: {select: {set_name: "Expired and active"}, exclude: {set_names: ["Community patrons"]}}}
  - {code: 01OHIO_CCC, name: Cedar College}
  - {code: 01OHIO_DDD, name: Dogwood State}
  - {code: 01OHIO_EEE, name: Elm Institute}
  - code: 01OHIO_FFF
    name: Fir Academy
    policy: {deactivate: {select: {set_name: "No such set"}}, purge: {exclude: {set_names: ["No such set either"]}}}
  - {code: 01OHIO_OFF, name: Oak School, enabled: false}
"""
KEYS = {code: f"key-of-{code}-never-shown" for code in ("01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC", "01OHIO_FFF")}
KEYS |= {"01OHIO_DDD": KEYS["01OHIO_AAA"], "01OHIO_EEE": ""}  # another institution's key, and none
PATRONS = 1200


class Answer(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, parsed."""
        return json.loads(self.out)


class Deployed(NamedTuple):
    """The running sandbox, and its command line."""

    state: Path
    sandbox: Sandbox

    def command(self, *arguments: str) -> Answer:
        """Run `python -m sandbox` for this sandbox."""
        return command(*arguments, "--state", str(self.state))

    def invoke(self, function: str, event: object) -> Answer:
        """Invoke a function by the command line, with an event from a file."""
        file = self.state / "event.json"
        file.write_text(json.dumps(event))
        return self.command("invoke", function, str(file))

    def start(self, action: str, **event: object) -> str:
        """Start a run and give its run_id."""
        answer = self.invoke("enumerator", {"action": action, **event})
        assert answer.code == 0, answer.out + answer.err
        run_id: str = answer.json["run_id"]
        return run_id

    def wait(self, run_id: str, seconds: int = 180) -> int:
        """The exit code of `wait`."""
        return self.command("wait", run_id, "--timeout", str(seconds)).code

    def export(self, run_id: str, folder: Path) -> tuple[Any, list[dict[str, str]]]:
        """The exported run.json, and the rows of outcomes.csv."""
        assert self.command("export", run_id, "--out", str(folder)).code == 0
        with (folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return json.loads((folder / "run.json").read_text()), rows

    def simulated(self, what: str, code: str) -> bytes:
        """What the simulated Alma shows to judges: `state` or `users` of an institution."""
        with urllib.request.urlopen(f"{self.sandbox.alma_url}/_simulator/{what}?institution={code}") as reply:
            body: bytes = reply.read()
        return body

    def log_lines(self) -> list[str]:
        """Everything that the functions have logged."""
        functions = [name for output, name in self.sandbox.outputs.items() if output.endswith("Function")]
        return [line for function in functions for line in logs(self.sandbox.aws, function)]


def command(*arguments: str) -> Answer:
    """Run `python -m sandbox` as a person does."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@contextmanager
def sandbox_with(state: Path, registry: str, *options: str) -> Iterator[Deployed]:
    """A sandbox started by the command line, with the institutions of `registry`."""
    (state / "institutions.yaml").write_text(registry)
    file = str(state / "institutions.yaml")
    started = command("up", "--institutions", file, "--no-latency", "--state", str(state), *options)
    assert started.code == 0, started.err
    try:
        yield Deployed(state, Sandbox.attach(state))
    finally:
        ended = command("down", "--state", str(state))
    assert ended.code == 0, ended.err


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The sandbox that most tests share."""
    state = tmp_path_factory.mktemp("sandbox")
    (state / "keys.json").write_text(json.dumps(KEYS))
    with sandbox_with(state, REGISTRY, "--keys", str(state / "keys.json"), "--users", str(PATRONS)) as shared:
        yield shared
