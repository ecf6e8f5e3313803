"""Misspelled resource arguments are reported before anything is created.

Nested arguments of AWS resources are classes from the provider's schema, which mypy --strict checks
(.ci/run). The provider rejects any other mistake. Kubernetes objects are plain data, so these tests
check them with the schema of the real provider.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from berth.operations.offline_program import declare_resources
from tests.aws.program import Program
from tests.repository import REPOSITORY

_PLUGIN = "pulumi-resource-kubernetes"
_MISSPELLED = """
from pulumi_aws import s3

s3.BucketVersioning("b", bucket="b", versioning_configuration={"status": "Enabled", "mfaDelet": 1})
"""


def test_provider_rejects_unknown_argument(
    new_program: Callable[[str], Program],
) -> None:
    program = new_program("misspelled").write(_MISSPELLED)
    refused = program.pulumi("preview", "--stack", "test", code=1)
    assert "mfaDelet" in refused.stdout + refused.stderr


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    plugin = shutil.which(_PLUGIN)
    if plugin is None:
        pytest.skip(f"{_PLUGIN} is not on the PATH; the test reads its schema")
    result = subprocess.run(
        ["pulumi", "package", "get-schema", plugin], capture_output=True, check=True, timeout=60
    )
    schema: dict[str, Any] = json.loads(result.stdout)
    return schema


def _find_unknown(
    value: Any, known: Mapping[str, Any], schema: Mapping[str, Any], path: str
) -> Iterator[str]:
    """Return paths in `value` that its type in the schema does not have."""
    if "$ref" in known:
        kind = schema["types"].get(known["$ref"].removeprefix("#/types/"), {})
        if isinstance(value, Mapping) and "properties" in kind:
            yield from _find_unknown_keys(value, kind["properties"], schema, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _find_unknown(item, known.get("items", {}), schema, f"{path}[{index}]")


def _find_unknown_keys(
    value: Mapping[str, Any], properties: Mapping[str, Any], schema: Mapping[str, Any], path: str
) -> Iterator[str]:
    for key, item in value.items():
        if key not in properties:
            yield f"{path}.{key}"
        else:
            yield from _find_unknown(item, properties[key], schema, f"{path}.{key}")


def _find_all_unknown(resources: list[dict[str, Any]], schema: Mapping[str, Any]) -> list[str]:
    unknown: list[str] = []
    for resource in resources:
        kind = schema["resources"].get(resource["type"])
        if kind is not None:
            name = f"{resource['type']} {resource['name']}"
            unknown += _find_unknown_keys(resource["inputs"], kind["inputProperties"], schema, name)
    return unknown


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_kubernetes_objects_have_only_known_fields(schema: dict[str, Any], stack: str) -> None:
    resources = declare_resources(REPOSITORY / f"Pulumi.{stack}.yaml")
    known = [one for one in resources if one["type"] in schema["resources"]]
    assert len(known) > 30
    assert _find_all_unknown(resources, schema) == []


def test_misspelled_field_is_reported(schema: dict[str, Any]) -> None:
    pod = {"containers": [{"name": "a", "readinesProbe": {}}]}
    deployment = {
        "type": "kubernetes:apps/v1:Deployment",
        "name": "d",
        "inputs": {"spec": {"template": {"spec": pod}}},
    }
    assert _find_all_unknown([deployment], schema) == [
        "kubernetes:apps/v1:Deployment d.spec.template.spec.containers[0].readinesProbe"
    ]
