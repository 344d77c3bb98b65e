"""One sandbox for all end-to-end tests: local AWS with the project's template on it, and the simulated Alma."""

import json
import subprocess
import sys
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A sandbox started by the command line."""
    state = tmp_path_factory.mktemp("sandbox")
    (state / "institutions.yaml").write_text(REGISTRY)
    (state / "keys.json").write_text(json.dumps(KEYS))
    files = ("--institutions", str(state / "institutions.yaml"), "--keys", str(state / "keys.json"))
    started = command("up", *files, "--users", str(PATRONS), "--no-latency", "--state", str(state))
    assert started.code == 0, started.err
    try:
        yield Deployed(state, Sandbox.attach(state))
    finally:
        ended = command("down", "--state", str(state))
    assert ended.code == 0, ended.err
