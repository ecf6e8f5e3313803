"""What is generated from the specification, and the stack files of the repository."""

import dataclasses
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from berth.spec import ParitySpec, ServingSpec, load_file, schema
from berth.spec.hosting import HostingSpec
from berth.spec.reference import reference_text
from berth.spec.schema import schema_text, stack_schema
from pulumi_berth.serving_settings import ServingSettings
from tests.repository import REPOSITORY

STACKS = ("local", "dev", "prod")
SCHEMA_FILE = REPOSITORY / "docs/reference/pulumi-stack.schema.json"
REFERENCE_FILE = REPOSITORY / "docs/reference/specification.md"
AGAIN = "run `python -m tools.generate`"


def read(stack: str) -> Any:
    return YAML(typ="safe", pure=True).load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())


def test_the_json_schema_is_up_to_date() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), AGAIN


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE_FILE.read_text() == reference_text(), AGAIN


def test_the_json_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(stack_schema())


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_of_the_repository_is_valid_for_editors_too(stack: str) -> None:
    jsonschema.validate(read(stack), stack_schema(), jsonschema.Draft7Validator)


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_of_the_repository_names_the_schema_and_its_platform(stack: str) -> None:
    path = REPOSITORY / f"Pulumi.{stack}.yaml"
    first = path.read_text().splitlines()[0]

    assert first == "# yaml-language-server: $schema=docs/reference/pulumi-stack.schema.json"
    assert load_file(path).platform == ("local" if stack == "local" else "aws")


@pytest.mark.parametrize(
    ("config", "valid"),
    [
        ({}, True),
        ({"aws:region": "eu-central-1"}, True),
        ({"berth:gateway": {"clients": {"a": {"key": {"secure": "v1:x"}}}}}, True),
        ({"berth:gateway": {"clients": {"a": {"key": "in clear"}}}}, False),
        ({"berth:gateway": {"clients": {"A B": {}}}}, False),
        ({"berth:gatway": {}}, False),
        ({"berth:local": {"gateway_port": 80}}, False),
        ({"berth:local": {"gateway_port": None}}, True),
        ({"berth:models": {"m": {"versions": {"1": {}}, "shadow": 2}}}, True),
        ({"berth:models": {"m": {"versions": {"1": {}}, "resources": {"cpu": 0.5}}}}, True),
        ({"berth:models": {"m": {"versions": {"1": {}}, "resources": {"memory": 5}}}}, False),
        ({"berth:models": {"m": {"versions": {"1": {}}, "trafic": {}}}}, False),
    ],
)
def test_editors_and_the_program_agree(config: dict[str, Any], valid: bool) -> None:
    document = {
        "config": {
            "berth:platform": "local",
            "berth:models": {"m": {"versions": {"1": {}}}},
            **config,
        }
    }

    assert jsonschema.Draft7Validator(stack_schema()).is_valid(document) is valid


def test_dev_and_prod_have_the_same_keys() -> None:
    def keys(node: Any, path: str = "") -> set[str]:
        if not isinstance(node, dict):
            return {path}
        return {path}.union(*(keys(value, f"{path}.{key}") for key, value in node.items()))

    assert keys(read("dev")) == keys(read("prod"))


def test_every_field_is_described_and_every_number_bounded() -> None:
    def fields(node: Any, path: str) -> list[tuple[str, Any]]:
        found = schema.resolve(node)
        below = [(f"{path}.{key}", value) for key, value in found.get("properties", {}).items()]
        each = schema.entry_schema(found) or found.get("items")
        inner = fields(each, f"{path}.*") if each else []
        return below + inner + [item for where, value in below for item in fields(value, where)]

    every = fields(schema.sections_schema(), "berth")

    assert len(every) > 150
    for path, node in every:
        found = schema.resolve(node)
        assert found.get("description"), path
        if found.get("type") in ("integer", "number") and "enum" not in found:
            assert "maximum" in found, path
            assert "minimum" in found or "exclusiveMinimum" in found, path


def test_what_parity_calls_size_is_in_the_specification() -> None:
    for key in ParitySpec().may_differ:
        assert schema.schema_at(tuple(key.split("."))), key


def test_serving_has_the_fields_of_the_component() -> None:
    component = {field.name for field in dataclasses.fields(ServingSettings)}

    assert set(ServingSpec.model_fields) == component


def test_the_reference_has_every_section() -> None:
    text = REFERENCE_FILE.read_text()

    for name in HostingSpec.model_fields:
        assert f"\n## berth:{name}\n" in text
