"""`python -m sandbox`: the service on this machine, with a simulated Alma or another one."""

import json
import random
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from patron_lifecycle.registry import RegistryError
from patron_lifecycle.reports.export import UnknownRun
from patron_lifecycle.reports.files import write_results
from patron_lifecycle.runs.model import RunStatus
from sandbox.demo import show
from sandbox.killing import kill_workers
from sandbox.local_aws import LocalAwsError
from sandbox.mail import mails, write
from sandbox.progress import closing_tables, watch
from sandbox.sandbox import FUNCTIONS, Sandbox, SandboxError, stop
from sandbox.stack import ROOT, DeploymentFailed, FunctionError

T = TypeVar("T")

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
console = Console()
EXIT_CODES = {RunStatus.COMPLETED: 0, RunStatus.HELD: 3, RunStatus.PAUSED: 3}
TIMED_OUT = 2

State = Annotated[
    Path,
    typer.Option(
        "--state", envvar="SANDBOX_STATE", help="Where the sandbox keeps its files; one sandbox for each folder."
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed invents the same patrons.")]
DEFAULT_STATE = ROOT / ".sandbox"
DEFAULT_INSTITUTIONS = ROOT / "sandbox" / "institutions.yaml"


@app.command()
def up(
    institutions: Annotated[Path, typer.Option(help="The registry, institutions.yaml.")] = DEFAULT_INSTITUTIONS,
    keys: Annotated[Path | None, typer.Option(help="JSON: {code: api_key}.")] = None,
    alma_url: Annotated[str | None, typer.Option(help="Another Alma than the simulated one.")] = None,
    seed: Seed = 1,
    users: Annotated[int | None, typer.Option(help="Patrons of each simulated institution.", min=0)] = None,
    latency: Annotated[bool, typer.Option(help="Let the simulated Alma be as slow as Alma is.")] = True,
    daily_quota: Annotated[
        int | None, typer.Option(help="Calls a day that each simulated institution has, to see runs pause.", min=1)
    ] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Start local AWS with the project's stack, the dashboard's page and the simulated Alma; returns when ready."""
    text = _read(institutions)
    chosen = _keys(keys) if keys else None
    with console.status("starting local AWS and deploying template.yaml to it"):
        sandbox = _or_exit(
            lambda: Sandbox.up(
                state,
                text,
                keys=chosen,
                alma_url=alma_url,
                seed=seed,
                latency=latency,
                users=users,
                daily_quota=daily_quota,
            )
        )
    addresses = {"dashboard": sandbox.page_url, "aws": sandbox.aws.endpoint, "alma": sandbox.alma_url}
    print(json.dumps(addresses | sandbox.outputs, indent=2))


@app.command()
def invoke(
    function: Annotated[str, typer.Argument(help=f"One of {', '.join(FUNCTIONS)}.")],
    event: Annotated[Path, typer.Argument(help="A file of JSON, such as those in events/.", allow_dash=True)],
    state: State = DEFAULT_STATE,
) -> None:
    """Call a function with an event and print its answer as JSON; exit code 1 when it raised."""
    try:
        parsed = json.loads(sys.stdin.read() if str(event) == "-" else _read(event))
    except ValueError as error:
        _exit(f"{event} is no JSON: {error}")
    sandbox = _or_exit(lambda: Sandbox.attach(state))
    try:
        answer = _or_exit(lambda: sandbox.invoke(function, parsed))
    except FunctionError as error:
        print(json.dumps({"errorType": error.error_type, "errorMessage": error.error_message}, ensure_ascii=False))
        raise typer.Exit(1) from None
    print(json.dumps(answer, indent=2, ensure_ascii=False))


@app.command()
def wait(
    run_id: str,
    timeout: Annotated[float, typer.Option(help="Seconds.", min=0)] = 600,
    state: State = DEFAULT_STATE,
) -> None:
    """Show a run's progress until all of it has ended, or waits for a person or for Alma's daily calls.

    Exit codes: 0 completed, 2 timeout, 3 held or paused, 1 otherwise.
    """
    store = _or_exit(lambda: Sandbox.attach(state)).store
    run = _or_exit(lambda: watch(store, run_id, console, timeout))
    if run is None:
        console.print(f"{run_id} is still running after {timeout:g} s")
        raise typer.Exit(TIMED_OUT)
    console.print(closing_tables(store.institution_runs(run_id)))
    raise typer.Exit(EXIT_CODES.get(run.status, 1))


@app.command()
def export(
    run_id: str,
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    state: State = DEFAULT_STATE,
) -> None:
    """Write a run's run.json, outcomes.csv and report.html."""
    store = _or_exit(lambda: Sandbox.attach(state)).store
    _or_exit(lambda: write_results(store, run_id, out))
    print(out)


@app.command()
def renew_quota(state: State = DEFAULT_STATE) -> None:
    """Let the simulated Alma count the day's calls anew, as Alma does at midnight; prints how many each has left."""
    print(json.dumps(_or_exit(lambda: Sandbox.attach(state).renew_quota()), indent=2))


@app.command()
def kill_worker(
    times: Annotated[int, typer.Option(help="How often.", min=1)] = 1,
    every: Annotated[float, typer.Option(help="Seconds between two times, on average.", min=0)] = 0,
    state: State = DEFAULT_STATE,
) -> None:
    """End the worker's processes as `kill -9` does: now, or as soon as there is one. Nothing is to be lost by it.

    What a killed worker was at goes on when its message comes back, after the queue's visibility timeout of 120 s.
    """
    sandbox = _or_exit(lambda: Sandbox.attach(state))
    try:
        for killed in kill_workers(sandbox, times, every, random.Random()):  # noqa: S311
            console.print(f"killed {killed} of the worker's processes")
    except SandboxError as error:
        _exit(str(error))


@app.command()
def mail(
    out: Annotated[Path | None, typer.Option(help="A folder to write each mail to, whole, as NUMBER.eml.")] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Print the mails that were sent, newest first, as one JSON object a line; with --out write them to files."""
    found = mails(_or_exit(lambda: Sandbox.attach(state)).aws)
    lines = [json.dumps(one.as_json(), ensure_ascii=False) for one in found] if out is None else write(found, out)
    for line in lines:
        print(line)


@app.command()
def environment(state: State = DEFAULT_STATE) -> None:
    """Print the variables by which other programs reach local AWS, for `eval "$(python -m sandbox environment)"`."""
    aws = _or_exit(lambda: Sandbox.attach(state)).aws
    for name, value in aws.environment.items():
        print(f"export {name}={shlex.quote(value)}")


@app.command()
def down(state: State = DEFAULT_STATE) -> None:
    """Stop the sandbox; it forgets all it holds."""
    _or_exit(lambda: stop(state))


@app.command()
def demo(
    seed: Seed = 1,
    browser: Annotated[bool, typer.Option("--browser", help="Wait until you have approved it on the page.")] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Five libraries: a deactivation, a purge with hold and approval, and the ways back, at Alma's real pace."""
    registry = DEFAULT_INSTITUTIONS.read_text(encoding="utf-8")
    _or_exit(lambda: show(console, registry, state / "demo", seed, in_browser=browser))


def _or_exit(do: Callable[[], T]) -> T:
    try:
        return do()
    except (SandboxError, LocalAwsError, RegistryError, DeploymentFailed, UnknownRun, LookupError) as error:
        _exit(str(error))


def _keys(path: Path) -> dict[str, str]:
    try:
        return TypeAdapter(dict[str, str]).validate_json(_read(path))
    except ValidationError:
        _exit(f'{path} should hold the API keys by institution, as {{"01OHIO_AAA": "…"}}')


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        _exit(f"{path} can't be read: {error}")


def _exit(message: str) -> NoReturn:
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
