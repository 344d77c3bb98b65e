"""How all templates are read: escaped unless they make plain text, and strict about what they are not given."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from patron_lifecycle.wording import as_words, counted


def environment_of(folder: Path) -> Environment:
    """The templates of a folder, with the filters that all share. Those that end in .txt.jinja aren't escaped."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(disabled_extensions=("txt.jinja",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = as_words
    environment.filters["number"] = "{:,}".format
    environment.filters["counted"] = counted
    return environment
