"""The specification's JSON schema, and what it allows at a path, in words."""

from functools import cache
from typing import Any

from berth.spec.errors import Path
from berth.spec.hosting import HostingSpec

Schema = dict[str, Any]


@cache
def schema() -> Schema:
    """The JSON schema of the sections."""
    tidied: Schema = _tidied(HostingSpec.model_json_schema())
    return tidied


def at(path: Path) -> Schema:
    """The schema of the value at `path`; empty where the specification has no such place."""
    node = resolved(schema())
    for step in path:
        node = resolved(_below(node, step))
    return node


def keys(path: Path) -> list[str]:
    """The keys that the section at `path` has."""
    return list(at(path).get("properties", {}))


def allowed(node: Schema) -> str:
    """In words, what a value that fits `node` looks like."""
    if "patternErrorMessage" in node:
        return str(node["patternErrorMessage"])
    if "enum" in node:
        return "one of " + ", ".join(_as_in_yaml(value) for value in node["enum"])
    if "const" in node:
        return str(node["const"])
    kind = node.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(node)
    if kind == "array":
        return "a list" + _count(node, "minItems", "maxItems", "entries")
    if kind == "object" and "properties" in node:
        return f"a map with the keys {', '.join(node['properties'])}"
    if kind == "object":
        return "a map" + _count(node, "minProperties", "maxProperties", "entries")
    if kind == "string":
        return "text" + _count(node, "minLength", "maxLength", "characters")
    return "true or false"


def resolved(node: Schema) -> Schema:
    """`node` without references, and without the null that stands for an omitted key."""
    if "$ref" in node:
        node = {**schema()["$defs"][node["$ref"].rpartition("/")[2]], **node}
        del node["$ref"]
    if "anyOf" in node:
        present = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return {**resolved(present[0]), **rest}
    return node


def entry(node: Schema) -> Schema | None:
    """The schema of each value of a map of names; None where `node` is no such map."""
    values = node.get("additionalProperties")
    return values if isinstance(values, dict) else None


def _tidied(node: Any) -> Any:
    """What pydantic made, for readers: no titles, text on one line, names of a map in one place."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    # Under "properties" every key is a name, "title" too.
    result = {
        key: {name: _tidied(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _tidied(value)
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


def _as_in_yaml(value: str | int) -> str:
    looks_like_number = isinstance(value, str) and value[0].isdigit()
    return f'"{value}"' if looks_like_number else str(value)


def _below(node: Schema, step: str | int) -> Schema:
    if isinstance(step, int):
        found: Schema = node.get("items", {})
        return found
    found = node.get("properties", {}).get(step)
    return found if found is not None else entry(node) or {}


def _bounds(node: Schema) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high = node.get("maximum")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    if above is not None and high is not None:
        return f" above {_number(above)}, {_number(high)} at most"
    return f" of {_number(low)} or more" if low is not None else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _count(node: Schema, fewest: str, most: str, of: str) -> str:
    low, high = node.get(fewest, 0), node.get(most)
    return f" of {low} to {high} {of}" if high is not None else ""
