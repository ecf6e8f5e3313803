"""The JSON schema of a stack's configuration file, for editors."""

import json
from typing import Any

from berth.spec import shape
from berth.spec.document import NAMESPACE, PULUMI_KEYS


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
        "description": "Pulumi.<stack>.yaml; the same in prose: docs/reference/specification.md",
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
