"""Pictures for the README: `python -m scripts.screenshots --state DIR --out docs/images`.

They are taken of a sandbox of its own, in which there is something to see: the deactivation has been done, and the
first purge is held.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from playwright.sync_api import expect
from rich.console import Console

from patron_lifecycle.reports.files import write_results
from patron_lifecycle.runs.model import RunStatus
from sandbox.local_aws import LocalAwsError
from sandbox.progress import watch
from sandbox.sandbox import Sandbox, SandboxError
from sandbox.stack import ROOT, DeploymentFailed
from scripts.browser import NoChromium, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

REGISTRY = ROOT / "sandbox" / "institutions.yaml"
WIDTH = 1400  # pixels
MOST_BYTES = 300_000
_TALLEST = 1800  # pixels
_LESS_TALL = 150
_PATIENCE_SECONDS = 300
_STILL_LOADING = ".widget:not([aria-busy=false])"


def main(
    state: Annotated[Path, typer.Option(help="Where the sandbox keeps its files.")] = ROOT / ".sandbox" / "screenshots",
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = ROOT / "docs" / "images",
    users: Annotated[int, typer.Option(help="Patrons of each simulated institution.", min=50)] = 300,
) -> None:
    """Start a sandbox, run a deactivation and a purge that is held, and take pictures of the page and the report."""
    console = Console(stderr=True)
    try:
        with chromium() as browser, _sandbox(console, state, users) as (sandbox, held):
            write_results(sandbox.store, held, state / "results")
            page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
            page.goto(sandbox.page_url)
            expect(page.locator(_STILL_LOADING)).to_have_count(0, timeout=1000 * _PATIENCE_SECONDS)
            _shoot(page, out / "dashboard.png")
            page.goto((state / "results" / "report.html").resolve().as_uri())
            _shoot(page, out / "report.png")
    except (NoChromium, SandboxError, LocalAwsError, DeploymentFailed) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _sandbox(console: Console, state: Path, users: int) -> Iterator[tuple[Sandbox, str]]:
    """A sandbox with something to see, and the run in it that is held. Raises as `Sandbox.up` does."""
    with console.status("starting local AWS and deploying template.yaml to it"):
        sandbox = Sandbox.up(state, REGISTRY.read_text("utf-8"), users=users, latency=False)
    try:
        _run(console, sandbox, "deactivate", RunStatus.COMPLETED)
        yield sandbox, _run(console, sandbox, "purge", RunStatus.HELD)
    finally:
        sandbox.down()


def _run(console: Console, sandbox: Sandbox, action: str, comes_to: RunStatus) -> str:
    run_id: str = sandbox.invoke("enumerator", {"action": action, "mode": "apply"})["run_id"]
    run = watch(sandbox.store, run_id, console, _PATIENCE_SECONDS)
    if run is None or run.status is not comes_to:
        raise SandboxError(f"the {action} did not come to be {comes_to}; see the logs in {sandbox.folder}")
    return run_id


def _shoot(page: "Page", file: Path) -> None:
    """Take a picture of a page from its top, as far down as fits into `MOST_BYTES`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    height = min(_TALLEST, page.evaluate("document.documentElement.scrollHeight"))
    while True:
        picture = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        if len(picture) <= MOST_BYTES:
            break
        height -= _LESS_TALL
    file.write_bytes(picture)
    typer.echo(f"{file}: {WIDTH} by {height} pixels, {len(picture):,} bytes")


if __name__ == "__main__":
    typer.run(main)
