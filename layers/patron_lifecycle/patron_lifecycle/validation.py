"""Turns pydantic's findings into sentences that say what is wrong, where, and how to mend it."""

import difflib
import json
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
    field = path_text(path)
    match finding["type"]:
        case "extra_forbidden":
            known = _fields_at(model, path[:-1])
            guess = difflib.get_close_matches(str(path[-1]), known, n=1)
            mend = f"did you mean {guess[0]}?" if guess else f"known keys are {', '.join(known)}"
            return Problem(field, f"unknown key; {mend}")
        case "missing":
            return Problem(field, "is missing; add it")
        case "value_error":
            return Problem(field, str(finding["ctx"]["error"]))
        case "string_type" if isinstance(finding["input"], int | float):
            return Problem(field, f"is {_shown(finding['input'])}, should be text; put it in quotes")
        case "string_type":
            return Problem(field, f"is {_shown(finding['input'])}, should be text")
        case "string_too_short":  # all texts have a lower limit of one
            return Problem(field, "is empty")
        case "bool_type":
            return Problem(field, f"is {_shown(finding['input'])}, should be true or false")
        case _:
            message = finding["msg"]
            return Problem(field, f"is {_shown(finding['input'])}; {message[0].lower()}{message[1:]}")


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
