"""Arguments are those that the providers know: a misspelled one is found before anything is made.

AWS's nested arguments are classes made from the provider's schema, which mypy --strict holds the
program against (.ci/run); the provider itself refuses what gets past that. Kubernetes objects are
written as plain data: here they are held against the schema of the real provider.
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


def test_the_provider_refuses_an_argument_that_it_does_not_know(
    new_program: Callable[[str], Program],
) -> None:
    program = new_program("misspelled").write(_MISSPELLED)
    refused = program.pulumi("preview", "--stack", "test", code=1)
    assert "mfaDelet" in refused.stdout + refused.stderr


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    plugin = shutil.which(_PLUGIN)
    if plugin is None:
        pytest.skip(f"{_PLUGIN} is not on the PATH: its schema is what is asked")
    shown = subprocess.run(
        ["pulumi", "package", "get-schema", plugin], capture_output=True, check=True, timeout=60
    )
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def _unknown(
    value: Any, known: Mapping[str, Any], schema: Mapping[str, Any], path: str
) -> Iterator[str]:
    """Paths in `value` that a type of the schema does not have."""
    if "$ref" in known:
        kind = schema["types"].get(known["$ref"].removeprefix("#/types/"), {})
        if isinstance(value, Mapping) and "properties" in kind:
            yield from _unknown_keys(value, kind["properties"], schema, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, known.get("items", {}), schema, f"{path}[{index}]")


def _unknown_keys(
    value: Mapping[str, Any], properties: Mapping[str, Any], schema: Mapping[str, Any], path: str
) -> Iterator[str]:
    for key, item in value.items():
        if key not in properties:
            yield f"{path}.{key}"
        else:
            yield from _unknown(item, properties[key], schema, f"{path}.{key}")


def _all_unknown(resources: list[dict[str, Any]], schema: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for resource in resources:
        kind = schema["resources"].get(resource["type"])
        if kind is not None:
            name = f"{resource['type']} {resource['name']}"
            found += _unknown_keys(resource["inputs"], kind["inputProperties"], schema, name)
    return found


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_kubernetes_objects_have_fields_that_there_are(schema: dict[str, Any], stack: str) -> None:
    resources = declare_resources(REPOSITORY / f"Pulumi.{stack}.yaml")
    known = [one for one in resources if one["type"] in schema["resources"]]
    assert len(known) > 30
    assert _all_unknown(resources, schema) == []


def test_a_misspelled_field_is_found(schema: dict[str, Any]) -> None:
    pod = {"containers": [{"name": "a", "readinesProbe": {}}]}
    deployment = {
        "type": "kubernetes:apps/v1:Deployment",
        "name": "d",
        "inputs": {"spec": {"template": {"spec": pod}}},
    }
    assert _all_unknown([deployment], schema) == [
        "kubernetes:apps/v1:Deployment d.spec.template.spec.containers[0].readinesProbe"
    ]
