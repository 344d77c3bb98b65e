"""AWS on this machine: ministack in a process of its own, on loopback alone, with IAM enforced."""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, Self

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

HOST = "127.0.0.1"
REGION = "us-east-1"
_ACCESS_KEY = "test"
_START_SECONDS = 60
_STOP_SECONDS = 10

# The emulator hands its own environment on to every Lambda, so it is given no more than this: no AWS_ variable of the
# person's own, no PYTHONPATH, no setting meant for another emulator. The proxies and certificates are for --alma-url.
_PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)

_started: dict[int, subprocess.Popen[bytes]] = {}  # by this very process, which therefore must wait for their end


class LocalAwsError(Exception):
    """The local AWS doesn't start, or isn't there; says where to look."""


class LocalAws:
    """A running local AWS. Its process outlives the one that started it, until `stop`.

    `state_dir/aws.json` says how to reach it. The emulator holds a lock on that file for as long as it lives, so a file
    that was left behind by a crash, whose process id may be another program's by now, is never mistaken for it.
    """

    def __init__(self, state_dir: Path, pid: int, port: int, secret_key: str) -> None:
        self.state_dir = state_dir
        self.endpoint = f"http://{HOST}:{port}"
        self._pid = pid
        # The person's own profile, configuration files and endpoints stay out of it.
        core = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        self._session = boto3.Session(_ACCESS_KEY, secret_key, region_name=REGION, botocore_session=core)
        # An invocation may take as long as a Lambda may; repeating one would run it twice.
        self._config = Config(proxies={}, read_timeout=930, retries={"total_max_attempts": 1})

    @classmethod
    def start(cls, state_dir: Path) -> Self:
        """Start one on a free port, with its files below `state_dir`. Raises `LocalAwsError`."""
        state_dir = state_dir.resolve()  # the emulator's working folder is another
        state_dir.mkdir(parents=True, exist_ok=True)
        temporary = state_dir / "tmp"
        log = state_dir / "aws.log"
        with (state_dir / "aws.json").open("a+") as state:
            if not _lock(state):
                raise LocalAwsError(f"a local AWS runs in {state_dir} already: stop it first (python -m sandbox down)")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            port, secret_key = _free_port(), secrets.token_hex(16)
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "ministack"],
                    env=_environment(temporary, port, secret_key),
                    cwd=temporary,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # its process group, which the Lambdas join, is what `stop` ends
                    pass_fds=(state.fileno(),),
                )
            (state_dir / "aws.json").chmod(0o600)
            state.truncate(0)
            json.dump({"pid": process.pid, "port": port, "secret_key": secret_key}, state)
        _started[process.pid] = process
        aws = cls(state_dir, process.pid, port, secret_key)
        try:
            aws._await_ready(process, log)
        except BaseException:
            aws.stop()
            raise
        return aws

    @classmethod
    def attach(cls, state_dir: Path) -> Self:
        """The one that was started with the same `state_dir`. Raises `LocalAwsError` where none is running."""
        path = state_dir / "aws.json"
        if path.exists():
            with path.open() as state:
                if not _lock(state):
                    return cls(state_dir, **json.load(state))
        raise LocalAwsError(f"no local AWS runs in {state_dir}: start one (python -m sandbox up)")

    def stop(self) -> None:
        """End it and its Lambdas, at once, and remove its files but for its log. It forgets all it holds."""
        with (self.state_dir / "aws.json").open() as state:
            if not _lock(state):
                os.killpg(self._pid, signal.SIGKILL)
            if process := _started.pop(self._pid, None):
                process.wait()
            deadline = time.monotonic() + _STOP_SECONDS
            while not _lock(state):
                if time.monotonic() > deadline:
                    raise LocalAwsError(f"the local AWS in {self.state_dir} doesn't end: process group {self._pid}")
                time.sleep(0.02)
            shutil.rmtree(self.state_dir / "tmp", ignore_errors=True)
            (self.state_dir / "aws.json").unlink()

    def client(self, service: str) -> Any:
        """A boto3 client with root's credentials, for any service."""
        return self._session.client(service, endpoint_url=self.endpoint, config=self._config)  # type: ignore[call-overload]

    def resource(self, service: str) -> Any:
        """A boto3 resource with root's credentials, such as the `dynamodb` one that the store is built on."""
        return self._session.resource(service, endpoint_url=self.endpoint, config=self._config)  # type: ignore[call-overload]

    def _await_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        impatient = self._config.merge(Config(connect_timeout=1, read_timeout=1))
        probe = self._session.client("sts", endpoint_url=self.endpoint, config=impatient)
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                probe.get_caller_identity()
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
            else:
                return
        how = f"ended with {process.returncode}" if process.returncode is not None else "doesn't answer"
        last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise LocalAwsError(f"the local AWS {how}; see {log}, which ends with:\n{last or '(nothing)'}")


def _environment(temporary: Path, port: int, secret_key: str) -> dict[str, str]:
    not_by_proxy = ",".join(
        [*filter(None, [os.environ.get("no_proxy", os.environ.get("NO_PROXY"))]), HOST, "localhost"]
    )
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {
        "TMPDIR": str(temporary),
        "TZ": "UTC",
        "NO_PROXY": not_by_proxy,
        "no_proxy": not_by_proxy,
        "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",  # for the Lambdas
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "AUTH": "true",
        "STATE_DIR": str(temporary / "state"),
        "S3_DATA_DIR": str(temporary / "s3"),
        "DOCKER_HOST": f"unix://{temporary}/no-docker",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
    }


def _lock(file: IO[str]) -> bool:
    """Take the lock on an open file, unless another process holds it. It is let go as the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
