"""What is generated from the specification: the JSON schema for editors, and the reference.

`python -m infra.spec.schema` writes both; a test holds them against the types.
"""

import json
from pathlib import Path
from typing import Any

from infra.spec import shape
from infra.spec.document import NAMESPACE, PULUMI_KEYS
from infra.spec.reference import reference_text

_DOCS = Path(__file__).resolve().parents[2] / "docs"

SCHEMA_FILE = _DOCS / "pulumi-stack.schema.json"
REFERENCE_FILE = _DOCS / "specification.md"


def stack_schema() -> dict[str, Any]:
    """The JSON schema of a whole `Pulumi.<stack>.yaml`."""
    # Draft 7, since not every editor's YAML support knows a later one.
    sections = json.loads(json.dumps(shape.schema()).replace("#/$defs/", "#/definitions/"))
    definitions = sections.pop("$defs")
    definitions["ClientSpec"]["properties"]["key"] = {
        "description": definitions["ClientSpec"]["properties"]["key"]["description"],
        "type": "object",
        "properties": {"secure": {"type": "string", "description": "The encrypted key."}},
        "required": ["secure"],
        "additionalProperties": False,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Berth stack configuration",
        "description": "Pulumi.<stack>.yaml; the same in prose: docs/specification.md",
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
            **{key: {"description": "Pulumi's own."} for key in PULUMI_KEYS},
        },
        "required": ["config"],
        "additionalProperties": False,
        "definitions": definitions,
    }


def schema_text() -> str:
    """The JSON schema as it stands in docs/."""
    return json.dumps(stack_schema(), indent=2) + "\n"


def main() -> None:
    """Write both files."""
    SCHEMA_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_FILE.write_text(schema_text())
    REFERENCE_FILE.write_text(reference_text())


if __name__ == "__main__":
    main()
