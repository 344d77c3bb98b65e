"""AWS on this machine: ministack in a process of its own, on loopback alone, with IAM enforced."""

import os
import secrets
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any, Self

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.background import AlreadyRunning, Background, NotRunning

HOST = "127.0.0.1"
REGION = "us-east-1"
_ACCESS_KEY = "test"
_START_SECONDS = 60

# The emulator hands its own environment on to every Lambda, so it is given no more than this: no AWS_ variable of the
# person's own, no PYTHONPATH, no setting meant for another emulator. The proxies and certificates are for --alma-url.
_PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)


class LocalAwsError(Exception):
    """The local AWS doesn't start, or isn't there; says where to look."""


class LocalAws:
    """A running local AWS. Its process outlives the one that started it, until `stop`."""

    def __init__(self, state_dir: Path, process: Background) -> None:
        self.state_dir = state_dir
        self.endpoint = f"http://{HOST}:{process.facts['port']}"
        self._process = process
        # The person's own profile, configuration files and endpoints stay out of it.
        core = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        self._session = boto3.Session(
            _ACCESS_KEY, process.facts["secret_key"], region_name=REGION, botocore_session=core
        )
        # An invocation may take as long as a Lambda may; repeating one would run it twice.
        self._config = Config(proxies={}, read_timeout=930, retries={"total_max_attempts": 1})

    @classmethod
    def start(cls, state_dir: Path) -> Self:
        """Start one on a free port, with its files below `state_dir`. Raises `LocalAwsError`."""
        state_dir = state_dir.resolve()  # the emulator's working folder is another
        temporary = state_dir / "tmp"
        log = state_dir / "aws.log"
        port, secret_key = _free_port(), secrets.token_hex(16)
        try:
            process = Background.start(
                state_dir / "aws.json",
                [sys.executable, "-P", str(Path(__file__).with_name("emulator.py")), str(temporary / "mails")],
                log=log,
                cwd=temporary,
                fresh=True,
                environment=_environment(temporary, port, secret_key),
                facts={"port": port, "secret_key": secret_key},
            )
        except AlreadyRunning:
            raise LocalAwsError(
                f"a local AWS runs in {state_dir} already: stop it first (.venv/bin/python -m sandbox down)"
            ) from None
        aws = cls(state_dir, process)
        try:
            aws._await_ready(log)
        except BaseException:
            aws.stop()
            raise
        return aws

    @classmethod
    def attach(cls, state_dir: Path) -> Self:
        """The one that was started with the same `state_dir`. Raises `LocalAwsError` where none is running."""
        try:
            return cls(state_dir, Background.attach(state_dir / "aws.json"))
        except NotRunning:
            raise LocalAwsError(
                f"no local AWS runs in {state_dir}: start one (.venv/bin/python -m sandbox up)"
            ) from None

    def stop(self) -> None:
        """End it and its Lambdas, at once, and remove its files but for its log. It forgets all it holds."""
        self._process.stop(lambda: shutil.rmtree(self.state_dir / "tmp", ignore_errors=True))

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which any program that uses AWS reaches this one, as root."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self._process.facts["secret_key"],
        }

    @property
    def mails(self) -> Path:
        """The folder in which `sandbox.emulator` keeps the mails that SES was asked to send."""
        return self.state_dir.resolve() / "tmp" / "mails"

    def client(self, service: str) -> Any:
        """A boto3 client with root's credentials, for any service."""
        return self._session.client(service, endpoint_url=self.endpoint, config=self._config)  # type: ignore[call-overload]

    def resource(self, service: str) -> Any:
        """A boto3 resource with root's credentials, such as the `dynamodb` one that the store is built on."""
        return self._session.resource(service, endpoint_url=self.endpoint, config=self._config)  # type: ignore[call-overload]

    def _await_ready(self, log: Path) -> None:
        impatient = self._config.merge(Config(connect_timeout=1, read_timeout=1))
        probe = self._session.client("sts", endpoint_url=self.endpoint, config=impatient)
        deadline = time.monotonic() + _START_SECONDS
        while self._process.ended_with is None and time.monotonic() < deadline:
            try:
                probe.get_caller_identity()
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
            else:
                return
        code = self._process.ended_with
        how = "doesn't answer" if code is None else f"ended with {code}"
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
