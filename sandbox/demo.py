"""The demo: what a systems librarian sees when the service does its jobs for the first time, and takes them back."""

import contextlib
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.alma.errors import NotFound
from patron_lifecycle.alma.gateway import AlmaReader
from patron_lifecycle.alma.pace import Pace
from patron_lifecycle.alma.records import PatronRecord
from patron_lifecycle.policy.reasons import cautions_in
from patron_lifecycle.registry import parse_registry
from patron_lifecycle.reports.export import rows
from patron_lifecycle.reports.files import write_results
from patron_lifecycle.runs.model import Notice, NoticeKind, NoticeState, RunStatus, Status
from patron_lifecycle.runs.store import Store
from patron_lifecycle.vault import unpacked
from sandbox.compare import difference, users_of
from sandbox.mail import mails
from sandbox.progress import closing_tables, watch
from sandbox.sandbox import Sandbox, SandboxError

_PATIENCE_SECONDS = 900  # whoever kills a worker waits for its message, two minutes each time
_LOOK_SECONDS = 0.5


class Step(NamedTuple):
    """A run of the demo: where its results go, what it shows, its event, and the status that it comes to."""

    name: str
    title: str
    shows: str
    event: dict[str, Any]
    comes_to: RunStatus = RunStatus.COMPLETED


class Kept(NamedTuple):
    """One object of the vault, opened: its lines are those of `patron_lifecycle.vault.unpacked`."""

    key: str
    vault_days: str
    encryption: str
    lines: list[dict[str, Any]]

    @property
    def code(self) -> str:
        """The institution that its patrons were of."""
        return self.key.partition("/")[0]


STEPS = (
    Step(
        "deactivate-preview",
        "The weekly deactivation, previewed",
        "Who would become INACTIVE? A preview changes nothing in Alma.",
        {"action": "deactivate"},
    ),
    Step(
        "deactivate",
        "The real deactivation",
        "Expired patrons become INACTIVE.",
        {"action": "deactivate", "mode": "apply"},
    ),
    Step(
        "purge-preview",
        "The monthly purge, previewed",
        "Who would be deleted, who would stay and why, and what would a real run wait for?",
        {"action": "purge"},
    ),
    Step(
        "purge-held",
        "The real purge is held",
        "The first one of each library waits for a person, before its first delete.",
        {"action": "purge", "mode": "apply"},
        RunStatus.HELD,
    ),
)


def show(console: Console, registry: str, folder: Path, seed: int, *, in_browser: bool = False) -> None:
    """Run the demo; its reports stay in `folder`. Raises `SandboxError` when it doesn't come out as it should.

    With `in_browser` the held purge waits for whoever decides on the dashboard.
    """
    shutil.rmtree(folder / "results", ignore_errors=True)
    console.print(Panel("Alma Patron Lifecycle: deactivation, purge and the ways back, with a simulated Alma"))
    started = time.monotonic()
    keys = {one.code: secrets.token_urlsafe(24) for one in parse_registry(registry)}
    with console.status("starting local AWS, deploying template.yaml, inventing patrons"):
        sandbox = Sandbox.up(folder, registry, keys=keys, seed=seed)
    try:
        console.print(f"[dim]ready in {time.monotonic() - started:.0f} s: AWS at {sandbox.aws.endpoint}[/dim]")
        console.print(f"The dashboard and the mail box, as long as this goes on: [bold]{sandbox.page_url}[/bold]")
        demo = Demo(console, sandbox, folder, keys)
        runs = {step.name: demo.start(step) for step in STEPS}
        demo.approve(runs["purge-held"], in_browser=in_browser)
        demo.show_mails(runs["purge-held"])
        demo.show_vault()
        demo.undo(runs["deactivate"])
        restored = demo.restore_one(runs["purge-held"])
        demo.show_difference(restored)
    finally:
        sandbox.down()
    console.print(
        f"done in {time.monotonic() - started:.0f} s. Open the reports: who was to be approved, who went, who is back."
    )
    for name in ("purge-held", "purge", "undo"):
        console.print(str(folder / "results" / name / "report.html"), style="bold", soft_wrap=True, highlight=False)


class Demo:
    """The steps of the demo on a running sandbox. `keys` are the API keys by institution."""

    def __init__(self, console: Console, sandbox: Sandbox, folder: Path, keys: dict[str, str]) -> None:
        self.console = console
        self.sandbox = sandbox
        self.folder = folder
        self.keys = keys
        self.before = users_of(sandbox.alma_url, keys)

    def start(self, step: Step) -> str:
        """Start a run and show what it comes to; its run_id."""
        self._say(step.title, step.shows)
        run_id: str = self.sandbox.invoke("enumerator", step.event)["run_id"]
        self.follow(run_id, step.name, step.comes_to)
        return run_id

    def follow(self, run_id: str, name: str, comes_to: RunStatus) -> None:
        """Watch a run until nothing goes on by itself; its results go to the folder of that name."""
        run = watch(self.sandbox.store, run_id, self.console, _PATIENCE_SECONDS)
        self.console.print(closing_tables(self.sandbox.store.institution_runs(run_id)))
        results = self.folder / "results" / name
        write_results(self.sandbox.store, run_id, results)
        if run is None or run.status is not comes_to:
            raise SandboxError(f"the run did not come to be {comes_to}; see {results} and {self.folder / 'aws.log'}")

    def approve(self, run_id: str, *, in_browser: bool) -> None:
        """Let every library's part of the held run be approved, and follow it to its end."""
        held = [one.code for one in self.sandbox.store.institution_runs(run_id) if one.status is Status.HELD]
        if in_browser:
            self._say("Your turn", f"Open {self.sandbox.page_url}: give your name, and press Approve for each library.")
            with self.console.status("waiting for you"):
                await_decision(self.sandbox.store, run_id)
        else:
            self._say("Approved", "A person has looked at the lists. Each patron is read once more, then deleted.")
            for code in held:
                answer = {"run_id": run_id, "institution": code, "by": "Ana Systems", "note": "looked at the list"}
                self.sandbox.invoke("operator", {"command": "approve", **answer})
        self.follow(run_id, "purge", RunStatus.COMPLETED)

    def show_mails(self, run_id: str) -> None:
        """Who was told of what. Raises `SandboxError` when a library that wants to know of its end wasn't told."""
        self._say("Who was told", "Libraries that want mails get them: figures, and the report or a link to it.")
        store, key = self.sandbox.store, f"{run_id}#{NoticeKind.DONE}"
        waiting = {one.code for one in store.institutions() if one.notices}
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while waiting := {code for code in waiting if not _is_sent(store.notices(code, key))}:
            if time.monotonic() > deadline:
                raise SandboxError(f"{', '.join(waiting)} was not mailed; see {self.folder / 'aws.log'}")
            time.sleep(_LOOK_SECONDS)
        found = list(reversed(mails(self.sandbox.aws)))
        table = Table(box=box.SIMPLE_HEAD)
        for heading in ("to", "subject", "with"):
            table.add_column(heading)
        for mail in found:
            table.add_row(", ".join(mail.to), mail.subject, "the report" if mail.attachments else "a link")
        self.console.print(table)

    def show_vault(self) -> None:
        """What is left of those who were deleted, for a while."""
        self._say(
            "The vault", "The full records of those who went, until their days are over. On AWS they are encrypted."
        )
        objects = list(vault_objects(self.sandbox))
        table = Table(box=box.SIMPLE_HEAD)
        for heading in ("institution", "kept for", "encryption"):
            table.add_column(heading, no_wrap=True)
        for heading in ("objects", "records"):
            table.add_column(heading, justify="right")
        for code in dict.fromkeys(kept.code for kept in objects):
            own = [kept for kept in objects if kept.code == code]
            days, how = own[0].vault_days, own[0].encryption
            table.add_row(code, f"{days} days", how, f"{len(own):,}", f"{sum(len(kept.lines) for kept in own):,}")
        self.console.print(table, f"  such as {objects[0].key}\n  with {_words_of(objects[0].lines[0]['record'])}")

    def undo(self, run_id: str) -> None:
        """Take the deactivation back, as a whole, and count of whom the report warns."""
        undo = self.start(
            Step(
                "undo",
                "The deactivation is taken back",
                "Had it been a mistake, one event undoes it. Whoever has changed since is left alone.",
                {"action": "reinstate", "mode": "apply", "source_run_id": run_id},
            )
        )
        cautions = Counter(caution for row in rows(self.sandbox.store, undo) for caution in cautions_in(row.detail))
        for caution, count in cautions.items():
            self.console.print(f"  {caution}: {count:,} patrons. {caution.advice.meaning}")

    def restore_one(self, run_id: str) -> Kept:
        """Bring one of the purged patrons back from the vault, and tell their story; the object that had them."""
        kept, patron_id = self._one_to_restore(run_id)
        event = {"action": "restore", "mode": "apply", "source_run_id": run_id}
        self.start(
            Step(
                "restore",
                "A purged patron is restored",
                f"One of {kept.code} is wanted back: made anew in Alma from the vault, INACTIVE.",
                {**event, "institutions": [kept.code], "patron_ids": [patron_id]},
            )
        )
        asked = {"command": "status", "institution": kept.code, "patron_id": patron_id}
        table = Table(box=box.SIMPLE_HEAD, title=f"the story of {patron_id}", title_justify="left")
        for heading in ("at (UTC)", "action", "mode", "outcome", "meaning"):
            table.add_column(heading)
        for told in reversed(self.sandbox.invoke("operator", asked)["story"]):
            at = f"{datetime.fromisoformat(told['at']):%H:%M:%S}"
            table.add_row(at, told["action"], told["mode"], told["outcome"], told["meaning"])
        self.console.print(table)
        return kept._replace(lines=[line for line in kept.lines if line["record"]["primary_id"] == patron_id])

    def _one_to_restore(self, run_id: str) -> tuple[Kept, str]:
        """A purged patron with an external account, whose id is nobody's now."""
        for kept in vault_objects(self.sandbox):
            client = AlmaClient(base_url=self.sandbox.alma_url, api_key=self.keys[kept.code], pace=Pace(5))
            try:
                for line in kept.lines:
                    record = PatronRecord(line["record"])
                    if line["run_id"] == run_id and record.account_type == "EXTERNAL":
                        with contextlib.suppress(NotFound):
                            AlmaReader(client).user(record.primary_id)
                            continue
                        return kept, record.primary_id
            finally:
                client.close()
        raise SandboxError("nobody was purged who could be restored")

    def show_difference(self, restored: Kept) -> None:
        """Compare Alma with how it was at the start. Raises `SandboxError` if more has changed than should have."""
        self._say(
            "Before and after",
            "All records compared with those before the first step: equal again, but for the day of the last change of "
            "status, which Alma sets by itself, and but for whom the purge deleted.",
        )
        after = users_of(self.sandbox.alma_url, self.keys)
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("institution", no_wrap=True)
        for heading in ("patrons", "equal", "but for status_date", "otherwise changed", "deleted"):
            table.add_column(heading, justify="right")
        purged = Counter(kept.code for kept in vault_objects(self.sandbox) for _ in kept.lines)
        purged[restored.code] -= len(restored.lines)
        for code, users in self.before.items():
            found = difference(users, after[code])
            counts = (found.equal, found.status_date_alone, len(found.otherwise), len(found.gone))
            table.add_row(code, f"{len(users):,}", *(f"{count:,}" for count in counts))
            if found.otherwise or len(found.gone) != purged[code]:
                raise SandboxError(f"{code} is not as it should be: {found}")
        self.console.print(table)

    def _say(self, title: str, shows: str) -> None:
        self.console.rule(f"[bold]{title}", align="left")
        self.console.print(shows)


def _is_sent(notices: list[Notice]) -> bool:
    return any(notice.state is NoticeState.SENT for notice in notices)


def await_decision(store: Store, run_id: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until no institution run of a run is held any more."""
    while any(one.status is Status.HELD for one in store.institution_runs(run_id)):
        sleep(_LOOK_SECONDS)


def vault_objects(sandbox: Sandbox) -> Iterator[Kept]:
    """All objects of the vault, read as root."""
    s3, bucket = sandbox.aws.client("s3"), sandbox.outputs["VaultBucket"]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for listed in page.get("Contents", []):
            found = s3.get_object(Bucket=bucket, Key=listed["Key"])
            tags = s3.get_object_tagging(Bucket=bucket, Key=listed["Key"])["TagSet"]
            days = next(tag["Value"] for tag in tags if tag["Key"] == "vault_days")
            lines = list(unpacked(found["Body"].read()))
            yield Kept(listed["Key"], days, found.get("ServerSideEncryption", "none"), lines)


def _words_of(record: dict[str, Any]) -> str:
    expiry = record["expiry_date"].removesuffix("Z")
    return f"{record['full_name']}, {record['user_group']['desc']}, expired on {expiry}, with all {len(record)} fields"
