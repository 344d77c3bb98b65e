"""template.yaml as SAM makes it, with parameters put in, for tests of what is in it."""

import re
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from scripts.lint_template import TEMPLATE, transformed

TEXT = TEMPLATE.read_text(encoding="utf-8")
SOURCE: dict[str, Any] = yaml_parse(TEXT)
MADE = transformed(SOURCE)


class Stack:
    """The transformed template with parameters put in; what depends on a deployed resource stays as it is."""

    def __init__(self, **parameters: object) -> None:
        defaults = {name: parameter["Default"] for name, parameter in MADE["Parameters"].items()}
        self.parameters = defaults | parameters
        self.resources: dict[str, Any] = {
            name: self.resolve(resource)
            for name, resource in MADE["Resources"].items()
            if "Condition" not in resource or self.holds({"Condition": resource["Condition"]})
        }

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of one type, by logical id."""
        return {name: resource["Properties"] for name, resource in self.resources.items() if resource["Type"] == kind}

    def holds(self, condition: Any) -> bool:
        """Whether a condition holds."""
        match condition:
            case {"Condition": name}:
                return self.holds(MADE["Conditions"][name])
            case {"Fn::Not": [inner]}:
                return not self.holds(inner)
            case {"Fn::Equals": [left, right]}:
                return bool(self.resolve(left) == self.resolve(right))
        raise NotImplementedError(condition)

    def resolve(self, part: Any) -> Any:
        """The part with its intrinsic functions worked out."""
        match part:
            case {"Ref": name} if name in self.parameters:
                return self.parameters[name]
            case {"Fn::If": [condition, if_true, if_false]}:
                return self.resolve(if_true if self.holds({"Condition": condition}) else if_false)
            case {"Fn::FindInMap": [mapping, key, entry]}:
                return MADE["Mappings"][mapping][str(self.resolve(key))][entry]
            case {"Fn::Select": _} | {"Fn::Split": _} | {"Fn::Join": _} | {"Fn::Sub": _}:
                return self.text(part)
            case dict():
                return {name: self.resolve(inner) for name, inner in part.items()}
            case list():
                resolved = [self.resolve(inner) for inner in part]
                return [inner for inner in resolved if inner != {"Ref": "AWS::NoValue"}]
        return part

    def text(self, part: Any) -> Any:
        """What a function on texts makes."""
        match part:
            case {"Fn::Select": [place, among]}:
                return self.resolve(among)[place]
            case {"Fn::Split": [delimiter, text]}:
                return self.resolve(text).split(delimiter)
            case {"Fn::Join": [delimiter, texts]}:
                return delimiter.join(self.resolve(texts))
            case {"Fn::Sub": [text, names]}:
                return self.substitute(text, self.resolve(names))
        return self.substitute(part["Fn::Sub"], {})

    def substitute(self, text: str, names: dict[str, Any]) -> str:
        """The text with parameters and `names` put in."""
        known = self.parameters | names
        return re.sub(r"\$\{([^}]+)\}", lambda found: str(known.get(found[1], found[0])), text)


DEFAULT = Stack()
