"""Processes of the sandbox that outlive the command that starts them, until they are stopped."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_STOP_SECONDS = 10
_started: dict[int, subprocess.Popen[bytes]] = {}  # by this very process, which therefore must wait for their end


class NotRunning(Exception):
    """There is no such process."""


class AlreadyRunning(Exception):
    """There is one already."""


class Background:
    """A process that runs on by itself; `state` is the file that says how to reach it, and `facts` what is in it.

    The process holds a lock on that file for as long as it lives, so a file that was left behind by a crash,
    whose process id may be another program's by now, is never mistaken for it.
    """

    def __init__(self, state: Path, facts: dict[str, Any]) -> None:
        self.state = state
        self.facts = facts

    @classmethod
    def start(
        cls,
        state: Path,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        facts: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        fresh: bool = False,
        piped: bool = False,
    ) -> "Background":
        """Start `command` in the folder `cwd`, emptied first when it is to be `fresh`.

        Its output goes to `log`; when `piped`, its standard output to `first_line`. Raises `AlreadyRunning`.
        """
        state.parent.mkdir(parents=True, exist_ok=True)
        with state.open("a+") as file:
            if not _lock(file):
                raise AlreadyRunning(str(state))
            if fresh:
                shutil.rmtree(cwd, ignore_errors=True)
                cwd.mkdir()
            with log.open("wb") as errors:
                process = subprocess.Popen(
                    command,
                    env=None if environment is None else dict(environment),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if piped else errors,
                    stderr=errors if piped else subprocess.STDOUT,
                    start_new_session=True,  # its process group is what `stop` ends, children and all
                    pass_fds=(file.fileno(),),
                )
            state.chmod(0o600)
            file.truncate(0)
            json.dump({"pid": process.pid, **facts}, file)
        _started[process.pid] = process
        return cls(state, {"pid": process.pid, **facts})

    @classmethod
    def attach(cls, state: Path) -> "Background":
        """The one that was started with this state file. Raises `NotRunning`."""
        if state.exists():
            with state.open() as file:
                if not _lock(file):
                    return cls(state, json.load(file))
        for process in _started.values():
            process.poll()  # of one that another command has ended nobody has taken note yet
        raise NotRunning(str(state))

    @property
    def ended_with(self) -> int | None:
        """The exit code, once it has ended; None before, and for one that another command started."""
        process = _started.get(self.facts["pid"])
        return process.poll() if process else None

    def first_line(self) -> str:
        """The first line of a `piped` process's output, when it has come; empty when it ends without one."""
        output = _started[self.facts["pid"]].stdout
        if output is None:
            raise ValueError("the process isn't piped")
        with output:
            return output.readline().decode()

    def stop(self, after: Callable[[], None] = lambda: None) -> None:
        """End it and its children at once; `after` cleans up what it leaves. Raises `TimeoutError`."""
        with self.state.open() as file:
            if not _lock(file):
                os.killpg(self.facts["pid"], signal.SIGKILL)
            if process := _started.pop(self.facts["pid"], None):
                process.wait()
            deadline = time.monotonic() + _STOP_SECONDS
            while not _lock(file):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"process group {self.facts['pid']} doesn't end")
                time.sleep(0.02)
            after()
            self.state.unlink()


def _lock(file: IO[str]) -> bool:
    """Take the lock on an open file, unless another process holds it. It is let go as the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
