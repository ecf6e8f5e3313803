"""The reference of the public components: their schema, and a page for each of them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pulumi_berth.plugin import COMPONENTS, create_host

ROOT = Path(__file__).resolve().parents[1]
Schema = Mapping[str, Any]

_BUILT_IN = {"pulumi.json#/Any": "any"}


def build_schema() -> Schema:
    """Return the Pulumi schema of the components."""
    schema: Schema = json.loads(create_host(*COMPONENTS).schema or "")
    return schema


def build_files() -> dict[str, str]:
    """Return the content of each file of the reference, by its path in the repository."""
    schema = build_schema()
    files = {"components/pulumi_berth/schema.json": json.dumps(schema, indent=2) + "\n"}
    for token, resource in schema["resources"].items():
        name = token.rpartition(":")[2]
        files[f"docs/components/{_to_words(name, '-')}.md"] = _build_page(name, resource, schema)
    return files


def _build_page(name: str, resource: Schema, schema: Schema) -> str:
    example = f"examples/{_to_words(name, '-')}"
    yaml = (ROOT / example / "yaml" / "Pulumi.yaml").read_text(encoding="utf-8")
    yaml = yaml.partition("template:\n")[0]
    python = (ROOT / example / "python" / "__main__.py").read_text(encoding="utf-8")
    lines = [
        f"# {name}",
        "",
        _join(resource["description"]),
        "",
        "## Example",
        "",
        f"These programs are in [{example}](../../{example}).",
        "",
        "```python",
        python.rstrip(),
        "```",
        "",
        "```yaml",
        yaml.rstrip(),
        "```",
        "",
        "## Arguments",
        "",
        "Names are those of Python. Other languages write `run_dir` as `runDir`.",
        "",
        *_build_table(resource["inputProperties"], resource.get("requiredInputs", ())),
        "",
        "## Outputs",
        "",
        *_build_table(resource["properties"], None),
    ]
    for type_name in sorted(set(_find_types(resource["inputProperties"], schema))):
        content = schema["types"][f"berth:index:{type_name}"]
        lines += ["", f"## {type_name}", "", _join(content["description"]), ""]
        if "enum" in content:
            lines += [
                "Values: " + ", ".join(f"`{value['value']}`" for value in content["enum"]) + "."
            ]
        else:
            lines += _build_table(content["properties"], content.get("required", ()))
    return "\n".join(lines) + "\n"


def _build_table(properties: Schema, required: Any) -> list[str]:
    """Return a table. The column `required` is omitted for outputs."""
    is_input = required is not None
    rows = ["| name | type | required | meaning |" if is_input else "| name | type | meaning |"]
    rows.append("|---|---|---|---|" if is_input else "|---|---|---|")
    for name, value in properties.items():
        cells = [f"`{_to_words(name, '_')}`", _describe_type(value)]
        if is_input:
            cells.append("yes" if name in required else "no")
        rows.append(f"| {' | '.join(cells)} | {_join(value['description'])} |")
    return rows


def _describe_type(value: Schema) -> str:
    if "$ref" in value:
        reference = value["$ref"]
        type_name = reference.rpartition(":")[2]
        return _BUILT_IN.get(reference) or f"[{type_name}](#{type_name.lower()})"
    if value["type"] == "array":
        return f"list of {_describe_type(value['items'])}"
    if value["type"] == "object":
        return f"map of {_describe_type(value['additionalProperties'])}"
    return str(value["type"])


def _find_types(properties: Schema, schema: Schema) -> Iterator[str]:
    """Yield the names of all types that the properties use, directly or not."""
    for value in properties.values():
        element = value
        while "$ref" not in element and element["type"] in ("array", "object"):
            element = element["items" if element["type"] == "array" else "additionalProperties"]
        if element.get("$ref", "").startswith("#/types/"):
            token = element["$ref"].removeprefix("#/types/")
            yield token.rpartition(":")[2]
            yield from _find_types(schema["types"][token].get("properties", {}), schema)


def _join(description: str) -> str:
    return " ".join(description.split())


def _to_words(name: str, separator: str) -> str:
    """Return a name in camel case as lowercase words: KubernetesBerth as kubernetes-berth."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", separator, name).lower()
