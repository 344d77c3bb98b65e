"""Prints the operator event that registers a registry file: `python -m scripts.register_event institutions.yaml`.

The file is validated first; its mistakes are printed instead, and the exit code is 1.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from patron_lifecycle.registry import RegistryError, parse_registry


def main(file: Annotated[Path, typer.Argument(help="The registry, such as institutions.yaml.")]) -> None:
    """Print the event that registers a registry file, or the mistakes in the file."""
    try:
        text = file.read_text(encoding="utf-8")
        parse_registry(text)
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"{file} can't be read: {error}", err=True)
        raise typer.Exit(1) from None
    except RegistryError as error:
        told = "\n".join(f"- {problem}" for problem in error.problems)
        typer.echo(f"There are mistakes in {file}, and no event was made. Mend:\n{told}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps({"command": "register", "registry": text}, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    typer.run(main)
