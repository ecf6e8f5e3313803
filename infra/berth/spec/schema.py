"""The JSON schema of the specification, descriptions of valid values, and the editors' schema."""

import ast
import inspect
import json
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from berth.spec.document import NAMESPACE, PULUMI_KEYS
from berth.spec.errors import Path
from berth.spec.fields import Section
from berth.spec.hosting import HostingSpec

Schema = dict[str, Any]


@cache
def sections_schema() -> Schema:
    """Return the JSON schema of the sections."""
    simplified: Schema = _simplify(HostingSpec.model_json_schema())
    _add_descriptions(simplified, HostingSpec.__name__)
    for name, definition in simplified["$defs"].items():
        _add_descriptions(definition, name)
    return simplified


def schema_at(path: Path) -> Schema:
    """Return the schema of the value at `path`, or an empty schema if the path does not exist."""
    node = resolve(sections_schema())
    for step in path:
        node = resolve(_child(node, step))
    return node


def keys_at(path: Path) -> list[str]:
    """Return the keys of the section at `path`."""
    return list(schema_at(path).get("properties", {}))


def describe(node: Schema) -> str:
    """Describe the values that match `node`."""
    if "patternErrorMessage" in node:
        return str(node["patternErrorMessage"])
    if "enum" in node:
        return "one of " + ", ".join(_quote_like_yaml(value) for value in node["enum"])
    if "const" in node:
        return str(node["const"])
    kind = node.get("type")
    if kind in ("integer", "number"):
        return ("an integer" if kind == "integer" else "a number") + _describe_bounds(node)
    if kind == "array":
        return "a list" + _describe_length(node, "minItems", "maxItems", "entries")
    if kind == "object" and "properties" in node:
        return f"a map with the keys {', '.join(node['properties'])}"
    if kind == "object":
        return "a map" + _describe_length(node, "minProperties", "maxProperties", "entries")
    if kind == "string":
        return "text" + _describe_length(node, "minLength", "maxLength", "characters")
    return "true or false"


def resolve(node: Schema) -> Schema:
    """Return `node` without references and without the null of an optional key."""
    if "$ref" in node:
        node = {**sections_schema()["$defs"][node["$ref"].rpartition("/")[2]], **node}
        del node["$ref"]
    if "anyOf" in node:
        present = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return {**resolve(present[0]), **rest}
    return node


def entry_schema(node: Schema) -> Schema | None:
    """Return the schema of each value in a map of names, or None for any other schema."""
    values = node.get("additionalProperties")
    return values if isinstance(values, dict) else None


def stack_schema() -> dict[str, Any]:
    """Return the JSON schema of a complete `Pulumi.<stack>.yaml`, for editors."""
    # Use draft 7, because some YAML editors do not support a later draft.
    sections = json.loads(json.dumps(sections_schema()).replace("#/$defs/", "#/definitions/"))
    definitions = sections.pop("$defs")
    for name in ("ClientSpec", "KeySpec"):
        properties = definitions[name]["properties"]
        properties["key"] = {
            "description": properties["key"]["description"],
            "type": "object",
            "properties": {"secure": {"type": "string", "description": "The encrypted key."}},
            "required": ["secure"],
            "additionalProperties": False,
        }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Berth stack configuration",
        "description": "Pulumi.<stack>.yaml. Reference: docs/reference/specification.md of Berth.",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "description": sections["description"],
                "properties": {
                    f"{NAMESPACE}:{name}": node for name, node in sections["properties"].items()
                },
                "required": [f"{NAMESPACE}:{name}" for name in sections["required"]],
                "patternProperties": {f"^(?!{NAMESPACE}:)": {}},
                "additionalProperties": False,
            },
            **{key: {"description": "Managed by Pulumi."} for key in PULUMI_KEYS},
        },
        "required": ["config"],
        "additionalProperties": False,
        "definitions": definitions,
    }


def schema_text() -> str:
    """Return the content of pulumi-stack.schema.json."""
    return json.dumps(stack_schema(), indent=2) + "\n"


def _simplify(node: Any) -> Any:
    """Simplify pydantic's schema: no titles, one-line text, one place for the names of a map."""
    if isinstance(node, list):
        return [_simplify(item) for item in node]
    if not isinstance(node, dict):
        return node
    # Every key under "properties" is a name, even "title".
    result = {
        key: {name: _simplify(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _simplify(value)
        for key, value in node.items()
        if key != "title"
    }
    if isinstance(description := result.get("description"), str):
        result["description"] = " ".join(description.split())
    if patterns := result.pop("patternProperties", None):
        ((pattern, values),) = patterns.items()
        rest = {k: v for k, v in result.get("propertyNames", {}).items() if k != "type"}
        result["propertyNames"] = {**rest, "pattern": pattern}
        result["additionalProperties"] = values
    return result


def _add_descriptions(node: Schema, class_name: str) -> None:
    """Add the docstrings of a section's attributes as the descriptions of its properties."""
    docstrings = _attribute_docstrings()[class_name]
    for name, child in node["properties"].items():
        child["description"] = docstrings[name]


@cache
def _attribute_docstrings() -> dict[str, dict[str, str]]:
    """Return the attribute docstrings of each section by class name.

    Pydantic can collect them too, but does so on import, which makes every command slower.
    """
    modules = {inspect.getmodule(section) for section in _subclasses(Section)}
    return {
        node.name: {
            attribute.target.id: " ".join(text.value.value.split())
            for attribute, text in pairwise(node.body)
            if isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for module in modules
        if module is not None
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef)
    }


def _subclasses(section: type[Section]) -> Iterator[type[Section]]:
    for subclass in section.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _quote_like_yaml(value: str | int) -> str:
    looks_like_number = isinstance(value, str) and value[0].isdigit()
    return f'"{value}"' if looks_like_number else str(value)


def _child(node: Schema, step: str | int) -> Schema:
    if isinstance(step, int):
        items: Schema = node.get("items", {})
        return items
    child = node.get("properties", {}).get(step)
    return child if child is not None else entry_schema(node) or {}


def _describe_bounds(node: Schema) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high = node.get("maximum")
    if low is not None and high is not None:
        return f" from {_format_number(low)} to {_format_number(high)}"
    if above is not None and high is not None:
        return f" greater than {_format_number(above)} and at most {_format_number(high)}"
    return f" of {_format_number(low)} or more" if low is not None else ""


def _format_number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _describe_length(node: Schema, minimum: str, maximum: str, unit: str) -> str:
    low, high = node.get(minimum, 0), node.get(maximum)
    return f" of {low} to {high} {unit}" if high is not None else ""
