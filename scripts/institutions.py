"""The registry by file: what institutions.yaml comes to, and registering it with a deployed stack.

    python -m scripts.institutions check FILE [--stack STACK]
    python -m scripts.institutions push FILE --stack STACK [--yes]
    python -m scripts.institutions event FILE

`make institutions-check FILE=…` and `make institutions-push FILE=… STACK=…` do the first two. Which AWS it is, boto3's
own configuration decides: AWS_PROFILE, AWS_DEFAULT_REGION and so on. Exit code 1: there is something to mend.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from patron_lifecycle.registry import Institution, RegistryError, parse_registry
from scripts.deployed import MAX_EVENT_BYTES, NotAnswered, Operator
from scripts.registry_review import Changes, actions_of, changes, readable, risks, rows_of

_WIDTH = 170  # where the output goes to no terminal
_BYTE_ORDER_MARK = "\ufeff"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)

File = Annotated[Path, typer.Argument(help="The registry, such as institutions.yaml.")]
STACK_HELP = "The name of the deployed stack, such as alma-patron-lifecycle-production."


class Registry(NamedTuple):
    """A file that was read and found right: its text as it is sent, and what it says."""

    text: str
    institutions: list[Institution]

    @property
    def event(self) -> dict[str, str]:
        """The operator's event that registers it."""
        return {"command": "register", "registry": self.text}


class Unusable(Exception):
    """The file can't be used; the text says why, where, and how to mend it."""


@app.command()
def check(
    file: File, stack: Annotated[str | None, typer.Option(help=f"{STACK_HELP} Tells what a push would change.")] = None
) -> None:
    """Find every mistake in a registry file, or show what each institution gets, and what is risky."""
    registry = _read_or_exit(file)
    console = _console()
    _show_institutions(registry.institutions, file, console)
    if stack is not None:
        try:
            found = _changes(registry, Operator.of_stack(stack))
        except NotAnswered as error:
            _exit(str(error))
        _show_changes(found, stack, console)


@app.command()
def push(
    file: File,
    stack: Annotated[str, typer.Option(help=STACK_HELP)],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Show what a registry file would change, ask, register it, and show what the operator then finds."""
    registry = _read_or_exit(file)
    console = _console()
    _show_risks(registry.institutions, console)
    try:
        operator = Operator.of_stack(stack)
        _show_changes(_changes(registry, operator), stack, console)
        _ask(console, yes=yes)
        answer = operator.ask(registry.event)
    except NotAnswered as error:
        doubt = f"Whether it was registered isn't known: check {file} --stack {stack} tells what still differs."
        _exit(f"{error}\n{'Nothing was registered.' if error.nothing_done else doubt}")
    _show_answer(answer, console)


@app.command()
def event(file: File) -> None:
    """Print the operator's event that registers a file, for whoever sends it in another way."""
    print(json.dumps(_read_or_exit(file).event, indent=2, ensure_ascii=False))


def read_registry(file: Path) -> Registry:
    """Read and validate a registry file. Raises `Unusable`.

    A byte order mark, and the line ends of Windows, do no harm and are left out of the text.
    """
    text = _text_of(file).removeprefix(_BYTE_ORDER_MARK).replace("\r\n", "\n")
    if not text.strip():
        raise Unusable(f"{file} is empty: begin with a copy of institutions.example.yaml")
    try:
        registry = Registry(text, parse_registry(text))
    except RegistryError as error:
        told = "\n".join(f"- {readable(problem)}" for problem in error.problems)
        raise Unusable(f"There are mistakes in {file}. Mend:\n{told}") from None
    size = len(json.dumps(registry.event, ensure_ascii=False).encode())
    if size > MAX_EVENT_BYTES:
        raise Unusable(f"{file} makes an event of {size:,} bytes, and AWS takes {MAX_EVENT_BYTES:,}: shorten it")
    return registry


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_EVENT_BYTES + 1)
    except FileNotFoundError:
        raise Unusable(f"{file} isn't there: correct the path") from None
    except IsADirectoryError:
        raise Unusable(f"{file} is a folder: name the file in it") from None
    except OSError as error:
        raise Unusable(f"{file} can't be read: {error.strerror or error}") from None
    if len(content) > MAX_EVENT_BYTES:
        raise Unusable(f"{file} is larger than the {MAX_EVENT_BYTES:,} bytes that AWS takes: is it the right file?")
    if content.startswith(_UTF_16):
        raise Unusable(f'{file} is saved as UTF-16, which Windows calls "Unicode": save it as UTF-8')
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Unusable(f"{file}, line {line}: a character that is no UTF-8: save the file as UTF-8") from None


def _changes(registry: Registry, operator: Operator) -> Changes:
    registered = operator.ask({"command": "status", "registry": True})["registered"]
    return changes(registered, registry.institutions)


def _show_institutions(institutions: Sequence[Institution], file: Path, console: Console) -> None:
    on = sum(one.enabled for one in institutions)
    console.print(_line(f"{file} is right: {_count(len(institutions), 'institution')}, {on} of them on.", "bold green"))
    gets = ("institution", "name", "", "time zone", "contacts", "never touched", "calls to Alma", "of a day's calls")
    console.print(_table(gets, rows_of(institutions)))
    does = ("institution", "action", "on", "chooses from", "leaves out", "held above", "rules")
    console.print(_table(does, actions_of(institutions)))
    _show_risks(institutions, console)


def _show_risks(institutions: Sequence[Institution], console: Console) -> None:
    for risk in risks(institutions):
        console.print(_line(f"look at {risk}", "yellow"))


def _show_changes(found: Changes, stack: str, console: Console) -> None:
    if found.are_none:
        console.print(_line(f"All is registered with {stack} as the file has it: nothing would change.", "bold"))
        return
    console.print(_line(f"Registering it with {stack} would change:", "bold"))
    for code in found.added:
        console.print(_line(f"  new       {code}", "green"))
    for code, differences in found.changed.items():
        console.print(_line(f"  changed   {code}", "cyan"))
        for difference in differences:
            console.print(_line(f"              {difference}"))
    for code, why in found.switched_off.items():
        console.print(_line(f"  SWITCHED OFF  {code}: {why}. Nothing will be done there any more.", "bold red"))
    console.print(_line(f"  as it is  {_count(found.unchanged, 'institution')}"))


def _show_answer(answer: dict[str, Any], console: Console) -> None:
    for what, style in (("added", "green"), ("changed", "cyan"), ("disabled", "bold red")):
        codes = answer[what]
        console.print(_line(f"{what}: {', '.join(codes) or 'none'}", style if codes else ""))
    console.print(_line(f"unchanged: {_count(len(answer['unchanged']), 'institution')}"))
    console.print("\nWhat the operator finds there:", style="bold")
    for line in answer["check"]["table"]:
        console.print(_line(line), soft_wrap=True)


def _ask(console: Console, *, yes: bool) -> None:
    """Ask whether to go on, and end here if not."""
    if yes:
        return
    if not sys.stdin.isatty():
        _exit(
            "There is no terminal to ask in. Look at what would change, then add --yes, or YES=1 to make. Nothing was "
            "registered."
        )
    if not typer.confirm("Register?", default=False):
        console.print("Nothing was registered.")
        raise typer.Exit(1)


def _read_or_exit(file: Path) -> Registry:
    try:
        return read_registry(file)
    except Unusable as error:
        _exit(str(error))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(titles):
        table.add_column(title, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style="bold red" if cell == "OFF" else "") for cell in row))
    return table


def _line(text: str, style: str = "") -> Text:
    return Text(readable(text), style=style)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


def _exit(message: str) -> NoReturn:
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
