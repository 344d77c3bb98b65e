"""A whole sandbox: local AWS with the project's stack, and the Alma that its workers call."""

import json
import secrets
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from patron_lifecycle.registry import parse_registry
from patron_lifecycle.runs.dynamo import DynamoStore
from sandbox.background import Background, NotRunning
from sandbox.local_aws import LocalAws
from sandbox.stack import ROOT, deploy, invoke, put_secret

PATRONS = (150, 300, 600, 1000, 1500)  # of the simulated institutions, in turn
FUNCTIONS = ("enumerator", "worker", "operator", "reporter", "link", "dashboard")
_SIMULATOR, _PAGE = "alma.json", "page.json"  # what says how to reach them, in the sandbox's folder
_RETENTION_DAYS = 400  # as template.yaml has it; nothing here lives that long


class SandboxError(Exception):
    """The sandbox can't be started or used; the text says why and what to do."""


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox. `outputs` are the stack's.

    `alma_url` is the Alma that its workers call, `page_url` the page with the dashboards and the mail box.
    """

    folder: Path
    aws: LocalAws
    outputs: dict[str, str]
    alma_url: str
    page_url: str

    @classmethod
    def up(
        cls,
        folder: Path,
        registry: str,
        *,
        keys: dict[str, str] | None = None,
        alma_url: str | None = None,
        seed: int = 1,
        latency: bool = True,
        users: int | None = None,
        daily_quota: int | None = None,
    ) -> "Sandbox":
        """Start one with the institutions of `registry`, the text of an institutions.yaml.

        Without `alma_url` the simulated Alma is started, for the same institutions with `users` patrons each
        (None: `PATRONS`) and `daily_quota` calls a day (None: a million); without `keys` it gets keys of its own.
        Raises `SandboxError`, `RegistryError`, `LocalAwsError`, `DeploymentFailed`.
        """
        institutions = parse_registry(registry)
        if alma_url is not None and keys is None:
            raise SandboxError("--alma-url needs --keys FILE.json, the API keys by institution: {code: api_key}")
        if alma_url is not None:
            _check_reachable(alma_url)
        if keys is None:
            keys = {institution.code: secrets.token_urlsafe(24) for institution in institutions}
        aws = LocalAws.start(folder)
        (folder / "sandbox.json").unlink(missing_ok=True)  # of one that a crash has ended
        try:
            if alma_url is None:
                wanted = [
                    {
                        "code": one.code,
                        "name": one.name,
                        "users": PATRONS[place % len(PATRONS)] if users is None else users,
                        "api_key": keys.get(one.code) or secrets.token_urlsafe(24),
                        "daily_quota": daily_quota,
                        "pool": one.pool,
                    }
                    for place, one in enumerate(institutions)
                ]
                alma_url = _start_simulator(folder, wanted, seed=seed, latency=latency)
            page_url = _start_page(folder)
            links = f"{page_url.rstrip('/')}/reports"
            outputs = deploy(aws, parameters={"AlmaBaseUrl": alma_url.rstrip("/"), "ReportLinkUrl": links})
            for code, key in keys.items():
                put_secret(aws, outputs["SecretPrefix"], code, json.dumps({"api_key": key}))
            sandbox = cls(folder, aws, outputs, alma_url, page_url)
            sandbox.invoke("operator", {"command": "register", "registry": registry})
            facts = {"outputs": outputs, "alma_url": alma_url, "page_url": page_url}
            (folder / "sandbox.json").write_text(json.dumps(facts))
        except BaseException:
            stop(folder)
            raise
        return sandbox

    @classmethod
    def attach(cls, folder: Path) -> "Sandbox":
        """The sandbox that runs in `folder`. Raises `LocalAwsError` for none, `SandboxError` for half a one."""
        aws = LocalAws.attach(folder)
        try:
            facts = json.loads((folder / "sandbox.json").read_text())
        except FileNotFoundError:
            raise SandboxError(
                f"the sandbox in {folder} is still starting, or was interrupted: wait, or stop it by "
                ".venv/bin/python -m sandbox down"
            ) from None
        return cls(folder, aws, **facts)

    def down(self) -> None:
        """Stop it; it forgets all it holds."""
        stop(self.folder)

    @property
    def store(self) -> DynamoStore:
        """The runs, read as root."""
        return DynamoStore(self.aws.resource("dynamodb").Table(self.outputs["TableName"]), _RETENTION_DAYS)

    def invoke(self, function: str, event: object) -> Any:
        """Call one of `FUNCTIONS` and give its answer. Raises `FunctionError`, `SandboxError`."""
        if function not in FUNCTIONS:
            raise SandboxError(f"there is no function {function}: it is one of {', '.join(FUNCTIONS)}")
        return invoke(self.aws, self.outputs[f"{function.capitalize()}Function"], event)

    def renew_quota(self) -> dict[str, int]:
        """Let the simulated Alma count the day's calls anew, as Alma does at midnight; how many each has left.

        Raises `SandboxError`.
        """
        try:
            Background.attach(self.folder / _SIMULATOR)
        except NotRunning:
            raise SandboxError(
                f"{self.alma_url} isn't the simulated Alma: only that one's quota can be renewed"
            ) from None
        reply = requests.post(f"{self.alma_url}/_simulator/renew", timeout=30)
        reply.raise_for_status()
        left: dict[str, int] = reply.json()
        return left


def _check_reachable(url: str) -> None:
    """Make sure that something listens there; no call is made, since a call may count. Raises `SandboxError`."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if not parts.hostname or port is None:
        raise SandboxError(f"--alma-url {url} is no address: give one such as https://api-na.hosted.exlibrisgroup.com")
    try:
        socket.create_connection((parts.hostname, port), timeout=10).close()
    except OSError as error:
        raise SandboxError(f"--alma-url {url}: nothing answers there ({error}); start it first") from None


def _start_simulator(folder: Path, institutions: list[dict[str, Any]], *, seed: int, latency: bool) -> str:
    """The address of a simulated Alma that has been started. Raises `SandboxError`."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(institutions, file)
        file.flush()
        options = ["--institutions", file.name, "--seed", str(seed), "--latency" if latency else "--no-latency"]
        return _start(folder / _SIMULATOR, "sandbox.simulator", options, "the simulated Alma")


def _start_page(folder: Path) -> str:
    """The address of the page, which shows the sandbox of that folder once there is one. Raises `SandboxError`."""
    return _start(folder / _PAGE, "sandbox.web", ["--state", str(folder.resolve())], "the dashboard's page")


def _start(state: Path, module: str, options: list[str], what: str) -> str:
    """Start a server that prints {"url"} once it answers; the URL. Its log lies beside `state`."""
    log = state.with_suffix(".log")
    command = [sys.executable, "-m", module, *options]
    line = Background.start(state, command, log=log, cwd=ROOT, facts={}, piped=True).first_line()
    if not line:
        raise SandboxError(f"{what} doesn't start; see {log}")
    url: str = json.loads(line)["url"]
    return url


def stop(folder: Path) -> None:
    """Stop whatever of a sandbox runs in `folder`, half-started ones too. Raises `LocalAwsError` where nothing does."""
    for name in (_SIMULATOR, _PAGE):
        try:
            Background.attach(folder / name).stop()
        except NotRunning:
            (folder / name).unlink(missing_ok=True)
    (folder / "sandbox.json").unlink(missing_ok=True)
    LocalAws.attach(folder).stop()
