"""Killing the worker's processes, as a computer that fails does: to see that nothing comes of it but a delay."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from sandbox.sandbox import Sandbox, SandboxError

_LOOK_SECONDS = 0.05
_PROC = Path("/proc")


def worker_processes(sandbox: Sandbox) -> list[int]:
    """The ids of the processes that run the worker's code now, at work or waiting for some. Raises `SandboxError`."""
    if not (_PROC / "self" / "environ").exists():
        raise SandboxError("the worker's processes are found by /proc, which only Linux has")
    named = f"AWS_LAMBDA_FUNCTION_NAME={sandbox.outputs['WorkerFunction']}".encode()
    reached = f"AWS_ENDPOINT_URL={sandbox.aws.endpoint}".encode()
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended, or is somebody else's
            if named in environment and reached in environment:
                found.append(int(folder.name))
    return found


def kill(process: int) -> bool:
    """End a process as `kill -9` does; False when it had ended before."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_workers(sandbox: Sandbox, times: int, every: float, draw: random.Random) -> Iterator[int]:
    """Kill all the worker's processes, `times` times, at random instants; how many there were each time.

    Each time it waits for up to twice `every` seconds, and then until there is a process to kill.
    """
    for _ in range(times):
        time.sleep(draw.uniform(0, 2 * every))
        killed = 0
        while not killed:
            killed = sum(map(kill, worker_processes(sandbox)))
            time.sleep(0 if killed else _LOOK_SECONDS)
        yield killed
