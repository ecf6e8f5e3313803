"""The resources of a stack in the form of other tools: a Terraform plan, Kubernetes manifests.

Scanners such as Checkov read neither Pulumi's programs nor its previews. The AWS provider of Pulumi
is generated from Terraform's, so a resource has the same properties under other names:
https://www.pulumi.com/docs/iac/using-pulumi/extending-pulumi/pulumi-terraform-bridge/
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pulumi_berth.values import restore_integers

# Module of Pulumi -> its name in Terraform's types.
_MODULES = {"ec2": "", "apigateway": "api_gateway_"}
_TYPES = {"aws:lb/loadBalancer:LoadBalancer": "aws_lb"}
# Objects with keys of the user's choice. All other objects are blocks, which a plan lists.
_MAPS = {"tags", "labels", "variables", "dimensions"}
# Pulumi names a list in the plural. Terraform repeats the block under its singular.
_PLURALS = {
    "api_stages": "api_stages",
    "ingresses": "ingress",
    "egresses": "egress",
}
_REFERENCE = re.compile(r"(id|arn|name) of (aws:\S+) (\S+)")


def build_plan(resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a Terraform plan that creates the AWS resources of `read_declarations`.

    Args:
        resources: `type`, `name` and `inputs` of each declared resource. A reference to another
            resource reads like `arn of aws:kms/key:Key data-key`.

    Returns:
        The document that `terraform show -json` prints, without what scanners do not read:
        https://developer.hashicorp.com/terraform/internals/json-format
    """
    declared = [one for one in resources if one["type"].startswith("aws:")]
    # Buckets have known names, so they are referred to by name.
    buckets = {
        str(one["inputs"]["bucket"]): _find_address(one["type"], one["name"])
        for one in declared
        if one["type"] == "aws:s3/bucket:Bucket"
    }
    planned, configuration, changes = [], [], []
    for one in declared:
        values = {
            key: json.dumps(value) if key.endswith("policy") and isinstance(value, dict) else value
            for key, value in _convert_block(one["inputs"]).items()
        }
        identity = {
            "address": _find_address(one["type"], one["name"]),
            "mode": "managed",
            "type": find_type(one["type"]),
            "name": _find_name(one["name"]),
        }
        known_names = {} if one["type"] == "aws:s3/bucket:Bucket" else buckets
        expressions = {key: _find_references(value, known_names) for key, value in values.items()}
        planned.append({**identity, "values": values})
        configuration.append({**identity, "expressions": expressions})
        change = {"actions": ["create"], "before": None, "after": values, "after_unknown": {}}
        changes.append({**identity, "change": change})
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": planned}},
        "resource_changes": changes,
        "configuration": {"root_module": {"resources": configuration}},
    }


def build_manifests(resources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the Kubernetes objects of `read_declarations`."""
    return [
        restore_integers(one["inputs"])
        for one in resources
        if one["type"].startswith("kubernetes:") and "metadata" in one["inputs"]
    ]


def find_type(token: str) -> str:
    """Return Terraform's type of a resource, for example `aws_s3_bucket`."""
    if token in _TYPES:
        return _TYPES[token]
    module, name = token.split(":")[1].split("/")
    return f"aws_{_MODULES.get(module, f'{module}_')}{_to_snake_case(name)}"


def _find_address(token: str, name: str) -> str:
    return f"{find_type(token)}.{_find_name(name)}"


def _find_name(name: str) -> str:
    return re.sub(r"\W", "-", name)


def _convert_block(block: Mapping[str, Any]) -> dict[str, Any]:
    converted = {}
    for key, value in block.items():
        if value is None:
            continue
        name = _to_snake_case(key)
        if isinstance(value, dict):
            converted[name] = value if key in _MAPS else [_convert_block(value)]
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            converted[_PLURALS.get(name, name.removesuffix("s"))] = [
                _convert_block(one) for one in value
            ]
        else:
            converted[name] = restore_integers(value)
    return converted


def _to_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _find_references(value: Any, buckets: Mapping[str, str]) -> Any:
    """Return the expression of a value: the resources that it refers to, or the value itself."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return [
            {key: _find_references(part, buckets) for key, part in one.items()} for one in value
        ]
    found = list(_list_references(value, buckets))
    return {"references": found} if found else {"constant_value": value}


def _list_references(value: Any, buckets: Mapping[str, str]) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, str):
            continue
        if match := _REFERENCE.fullmatch(one):
            attribute, token, name = match.groups()
            address = _find_address(token, name)
            yield from (f"{address}.{attribute}", address)
        elif one in buckets:
            yield from (f"{buckets[one]}.id", buckets[one])
