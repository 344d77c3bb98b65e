"""`make institutions-check` and `make institutions-push` against a deployed stack, on local AWS."""

import itertools
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from patron_lifecycle.registry import register
from sandbox.sandbox import Sandbox
from sandbox.stack import ROOT, STACK

REGISTRY = """
defaults:
  region: na
  time_zone: America/New_York
  policy:
    deactivate: {select: {sweep: true}}
    purge: {select: {set_name: "OHIONET purge"}, exclude: {set_names: ["Community patrons"]}}
institutions:
  - {code: 01OHIO_AAA, name: Alder College, contacts: [library@alder.example.edu]}
  - {code: 01OHIO_BBB, name: Birch University, contacts: [library@birch.example.edu]}
  - {code: 01OHIO_CCC, name: Cedar College, contacts: [library@cedar.example.edu]}
"""
NUMBERS = itertools.count(1)


class Done(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The project's own stack, with three small institutions registered."""
    running = Sandbox.up(tmp_path_factory.mktemp("institutions"), REGISTRY, users=20, latency=False)
    yield running
    running.down()


@pytest.fixture
def new() -> str:
    """The code of an institution that was never registered."""
    return f"01OHIO_NEW_{next(NUMBERS)}"


def changed(new: str) -> str:
    """The registry with one entry changed, a new one, and the last one gone."""
    text = REGISTRY.replace("Birch University", "Birch College, policy: {purge: {vault_days: 90}}")
    return text.replace("01OHIO_CCC, name: Cedar", f"{new}, name: Newt")


@pytest.fixture
def file(tmp_path: Path, sandbox: Sandbox) -> Iterator[Path]:
    """The file that is registered, to be changed; afterwards it is registered as it was."""
    path = tmp_path / "institutions of ours.yaml"
    path.write_text(REGISTRY)
    yield path
    register(sandbox.store, REGISTRY)


def run(sandbox: Sandbox, *command: str, stdin: Any = subprocess.DEVNULL) -> Done:
    """Run a command as a person does whose environment leads to the local AWS."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | sandbox.aws.environment,
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def script(sandbox: Sandbox, *arguments: str, stdin: Any = subprocess.DEVNULL) -> Done:
    """Run `python -m scripts.institutions`."""
    return run(sandbox, sys.executable, "-m", "scripts.institutions", *arguments, stdin=stdin)


def registered(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """What is registered, by code."""
    answer = sandbox.invoke("operator", {"command": "status", "registry": True})
    return {one["code"]: one for one in answer["registered"]}


def test_check_tells_that_a_registered_file_would_change_nothing(sandbox: Sandbox, file: Path) -> None:
    """The same file, compared with what is registered: all is as it is."""
    done = script(sandbox, "check", str(file), "--stack", STACK)
    assert (done.code, done.err) == (0, "")
    assert f"All is registered with {STACK} as the file has it: nothing would change." in done.out


def test_check_tells_what_a_push_would_change_and_changes_nothing(sandbox: Sandbox, file: Path, new: str) -> None:
    """A new institution, the keys of a changed one, and, loudly, who is switched off since the file lacks them."""
    file.write_text(changed(new))
    before = registered(sandbox)
    done = script(sandbox, "check", str(file), "--stack", STACK)
    assert done.code == 0
    lines = [line.strip() for line in done.out.splitlines()]
    assert f"new       {new}" in lines
    assert lines[lines.index("changed   01OHIO_BBB") + 1 :][:2] == [
        "name: Birch University -> Birch College",
        "policy.purge.vault_days: 30 -> 90",
    ]
    assert "SWITCHED OFF  01OHIO_CCC: isn't in the file. Nothing will be done there any more." in lines
    assert "as it is  1 institution" in lines
    assert registered(sandbox) == before


def test_push_registers_and_shows_what_the_operator_finds(sandbox: Sandbox, file: Path, new: str) -> None:
    """With --yes nothing is asked; what was added, changed and disabled is told, and each institution is checked."""
    file.write_text(changed(new))
    done = script(sandbox, "push", str(file), "--stack", STACK, "--yes")
    assert (done.code, done.err) == (0, "")
    assert "Register?" not in done.out
    for line in (f"added: {new}", "changed: 01OHIO_BBB", "disabled: 01OHIO_CCC", "unchanged: 1 institution"):
        assert line in done.out.splitlines()
    assert f"mend {new}: secret alma-patron-lifecycle/sandbox/{new} is missing" in done.out
    now = registered(sandbox)
    assert (now["01OHIO_BBB"]["name"], now["01OHIO_CCC"]["enabled"]) == ("Birch College", False)


def test_push_without_a_terminal_needs_yes(sandbox: Sandbox, file: Path, new: str) -> None:
    """What would change is shown, nothing is registered, and the way on is told."""
    file.write_text(changed(new))
    done = script(sandbox, "push", str(file), "--stack", STACK)
    assert done.code == 1
    assert f"new       {new}" in done.out
    assert "There is no terminal to ask in. Look at what would change, then add --yes, or YES=1 to make." in done.err
    assert new not in registered(sandbox)


@pytest.mark.parametrize(("answer", "code", "said"), [("y", 0, "added: "), ("", 1, "Nothing was registered.")])
def test_push_asks_before_it_registers(
    sandbox: Sandbox, file: Path, new: str, answer: str, code: int, said: str
) -> None:
    """A yes registers; just Enter means no."""
    file.write_text(changed(new))
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, f"{answer}\n".encode())
        done = script(sandbox, "push", str(file), "--stack", STACK, stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert (done.code, done.err) == (code, "")
    assert "Register? [y/N]" in done.out
    assert said in done.out
    assert (new in registered(sandbox)) is (answer == "y")


def test_make_checks_and_pushes(sandbox: Sandbox, file: Path, new: str) -> None:
    """The targets hand file, stack and consent on, a path with blanks too; without a file they say what to give."""
    # In whatever environment this runs; what other tests stand on mustn't be made anew beneath them.
    make = ("make", "--silent", "STAMP=ready", "--assume-old=ready", f"BIN={Path(sys.executable).parent}")
    asked = (*make, f"FILE={file}", f"STACK={STACK}")
    checked = run(sandbox, *asked, "institutions-check")
    assert checked.code == 0, checked.err
    assert "nothing would change" in checked.out
    file.write_text(changed(new))
    pushed = run(sandbox, *asked, "YES=1", "institutions-push")
    assert pushed.code == 0, pushed.err
    assert f"added: {new}" in pushed.out
    for target in ("institutions-check", "institutions-push"):
        refused = run(sandbox, *make, target)
        assert refused.code != 0
        assert f"make {target} FILE=institutions.yaml" in refused.err


@pytest.mark.parametrize("command", ["check", "push"])
def test_a_stack_that_there_isnt_is_told(sandbox: Sandbox, file: Path, command: str) -> None:
    """Its name, and what decides where it is looked for."""
    done = script(sandbox, command, str(file), "--stack", "no-such-stack")
    assert done.code == 1
    assert "there is no stack no-such-stack in this account and region" in done.err


def stack_with(sandbox: Sandbox, name: str, outputs: dict[str, str]) -> None:
    """Deploy a stack of nothing but a topic, with these outputs."""
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {output: {"Value": value} for output, value in outputs.items()},
    }
    cloudformation = sandbox.aws.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def test_a_stack_of_something_else_is_told(sandbox: Sandbox, file: Path) -> None:
    """A stack without the operator's name among its outputs is none of this project."""
    stack_with(sandbox, "something-else", {"Name": "x"})
    done = script(sandbox, "push", str(file), "--stack", "something-else", "--yes")
    assert done.code == 1
    assert "the stack something-else has no output OperatorFunction" in done.err
    assert "Nothing was registered." in done.err


def test_an_operator_that_isnt_there_any_more_is_told(sandbox: Sandbox, file: Path) -> None:
    """A function that was deleted by hand is named."""
    stack_with(sandbox, "half-deleted", {"OperatorFunction": "half-deleted-Operator"})
    done = script(sandbox, "push", str(file), "--stack", "half-deleted", "--yes")
    assert done.code == 1
    assert "the function half-deleted-Operator, which the stack names, isn't there: deploy the stack anew" in done.err


def test_what_the_operator_raises_is_told(sandbox: Sandbox, file: Path) -> None:
    """A refusal, as by another function than the operator, is told in its own words."""
    stack_with(sandbox, "mixed-up", {"OperatorFunction": sandbox.outputs["EnumeratorFunction"]})
    done = script(sandbox, "push", str(file), "--stack", "mixed-up", "--yes")
    assert done.code == 1
    assert "the operator raised InvalidEvent: command: this event is one for the operator." in done.err
    assert "Nothing was registered." in done.err


def test_credentials_that_may_not_are_told(sandbox: Sandbox, file: Path) -> None:
    """Somebody without rights learns which ones it takes."""
    iam = sandbox.aws.client("iam")
    iam.create_user(UserName="reader")
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    environment = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.institutions", "check", str(file), "--stack", STACK],
        cwd=ROOT,
        env=os.environ | sandbox.aws.environment | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "these credentials may not do it (AccessDenied" in done.stderr
    assert "they need cloudformation:DescribeStacks" in done.stderr
