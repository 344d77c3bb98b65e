"""Turns pydantic's findings into sentences that say what is wrong, where, and how to mend it."""

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError


class Problem(NamedTuple):
    """One thing wrong in an input: the path of the field, and a sentence with the mend."""

    field: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.field}: {self.sentence}" if self.field else self.sentence


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """All findings of a failed validation of `model`, in pydantic's order."""
    return [_problem(finding, model) for finding in error.errors(include_url=False)]


def path_text(path: tuple[int | str, ...]) -> str:
    """`policy.deactivate.exclude.set_ids[0]` for a pydantic location."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _problem(finding: Mapping[str, Any], model: type[BaseModel]) -> Problem:
    path = tuple(finding["loc"])
    match finding["type"]:
        case "extra_forbidden":
            known = _fields_at(model, path[:-1])
            guess = difflib.get_close_matches(str(path[-1]), known, n=1)
            mend = f"did you mean {guess[0]}?" if guess else f"known keys are {', '.join(known)}"
            sentence = f"unknown key; {mend}"
        case "missing":
            sentence = "is missing; add it"
        case "value_error":
            sentence = str(finding["ctx"]["error"])
        case "json_invalid":  # what was given is the whole of it, with whatever personal there is: not to be shown
            sentence = f"can't be read as JSON: {finding['ctx']['error']}; look for half a character, such as \\ud800"
        case "too_long":  # of a list; what is in it may be personal
            sentence = (
                f"has {finding['ctx']['actual_length']} entries, should have at most {finding['ctx']['max_length']}"
            )
        case "string_too_short":  # all texts have a lower limit of one
            sentence = "is empty"
        case _:
            sentence = f"is {_shown(finding['input'])}{_what_it_should_be(finding, _fields_at(model, path))}"
    return Problem(path_text(path), sentence)


def _what_it_should_be(finding: Mapping[str, Any], known: list[str]) -> str:
    """What comes after the value that was given; `known` are the keys that a map would have in its place."""
    given, context = finding["input"], finding.get("ctx", {})
    match finding["type"]:
        case "string_type":
            return ", should be text" + ("; put it in quotes" if isinstance(given, int | float) else "")
        case "bool_type":
            return ", should be true or false"
        case "tuple_type":
            example = json.dumps(given) if isinstance(given, int | float) else '"…"'
            return f", should be a list such as [{example}]"
        case "model_type":
            return f", should be a map with keys such as {', '.join(known[:3])}"
        case "literal_error" | "enum":
            return _one_of(context["expected"], given)
        case "less_than_equal":
            return f", should be at most {_plain(context['le'])}"
        case "greater_than_equal":
            return f", should be at least {_plain(context['ge'])}"
        case _:
            message = finding["msg"]
            return f"; {message[0].lower()}{message[1:]}"


def _one_of(expected: str, given: object) -> str:
    """What a value should be that is none of a few, `expected` being pydantic's list of them."""
    allowed = re.findall(r"\b(?!or\b)\w+", expected)
    if isinstance(given, str) and given.isdecimal() and given in allowed:
        return f", which is text; write it without quotes: {given}"
    guesses = difflib.get_close_matches(str(given).lower(), allowed, n=1)
    return f", should be {' or '.join(allowed)}" + (f"; did you mean {guesses[0]}?" if guesses else "")


def _plain(number: float) -> str:
    return str(int(number) if number == int(number) else number)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that `model` knows at `path`; models are found in the annotations, through unions and tuples."""
    for part in path:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        nested = _model_in(annotation)
        if nested is None:
            return []
        model = nested
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
