"""Lint template.yaml: cfn-lint on the template as written and on what SAM makes of it.

The second pass is what catches a misspelt `ReportBatchItemFailures` or a queue's visibility timeout below the timeout
of the function it feeds: cfn-lint doesn't look inside SAM's function events by itself.

    python -m scripts.lint_template [TEMPLATE]
"""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from cfnlint.api import lint  # type: ignore[import-untyped]
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
MAPPINGS_KEY = "WorkerTimeout"  # the parameter that looks values up in the template's mappings
_LOCAL_CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


def transformed(template: dict[str, Any]) -> dict[str, Any]:
    """The CloudFormation template that SAM makes of `template`, a parsed SAM template, which stays as it is.

    Raises samtranslator's `InvalidDocumentException` where SAM refuses the template.
    """
    packaged = copy.deepcopy(template)
    for resource in packaged["Resources"].values():
        if code := _LOCAL_CODE.get(resource["Type"]):
            resource["Properties"][code] = "s3://bucket/key"  # as `sam package` would leave it
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
    made: dict[str, Any] = translator.translate(packaged, parameter_values={})
    translator.metrics.publish()  # to nobody; it would warn at the end that nothing was done with what it counted
    return made


def for_each_timeout(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The transformed template once for each value that WorkerTimeout may have, with all put in that depends on it.

    cfn-lint compares a queue's visibility timeout with its function's timeout only where both are plain numbers.
    """
    rest = {name: part for name, part in made.items() if name not in {"Metadata", "Mappings"}}
    parameters = {name: part for name, part in made["Parameters"].items() if name != MAPPINGS_KEY}
    for value in made["Parameters"][MAPPINGS_KEY]["AllowedValues"]:
        yield _put_in(value, {**rest, "Parameters": parameters}, made["Mappings"])


def _put_in(value: object, part: Any, mappings: dict[str, Any]) -> Any:
    match part:
        case {"Ref": str(name)} if name == MAPPINGS_KEY:
            return value
        case {"Fn::FindInMap": [mapping, {"Ref": str(name)}, entry]} if name == MAPPINGS_KEY:
            return mappings[mapping][str(value)][entry]
        case dict():
            return {name: _put_in(value, inner, mappings) for name, inner in part.items()}
        case list():
            return [_put_in(value, inner, mappings) for inner in part]
        case _:
            return part


def findings(text: str) -> list[str]:
    """What cfn-lint has to say about a SAM template, given as YAML text: a line each, and none if all is well."""
    forms = [("as written", text)]
    try:
        made = transformed(yaml_parse(text))
    except InvalidDocumentException as refusal:
        return [f"SAM: {cause.message}" for cause in refusal.causes]
    forms += [("transformed", json.dumps(form)) for form in for_each_timeout(made)]
    lines = (
        f"{match.rule.id} {form}, {'/'.join(map(str, getattr(match, 'path', [])))}: {match.message}"
        for form, template in forms
        for match in lint(template)
    )
    return list(dict.fromkeys(lines))


def main() -> None:
    """Lint the template named on the command line, or the project's; exit with 1 if there is anything to say."""
    template = Path(sys.argv[1]) if len(sys.argv) > 1 else TEMPLATE
    if found := findings(template.read_text(encoding="utf-8")):
        sys.exit("\n".join([f"{template}:", *found]))


if __name__ == "__main__":
    main()
