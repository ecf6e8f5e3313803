"""The schema and reference generated from the specification, and the repository's stack files."""

import dataclasses
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from berth.spec import ParitySpec, ServingSpec, load_file, schema
from berth.spec.hosting import HostingSpec
from berth.spec.models import CaptureSpec
from berth.spec.reference import reference_text
from berth.spec.schema import schema_text, stack_schema
from pulumi_berth.serving_settings import ServingSettings
from tests.repository import REPOSITORY

STACKS = ("local", "dev", "prod")
SCHEMA_FILES = (
    "docs/reference/pulumi-stack.schema.json",
    "infra/berth/project_template/pulumi-stack.schema.json",
)
REFERENCE_FILE = REPOSITORY / "docs/reference/specification.md"
REGENERATE = "run `python -m tools.generate`"


def read(stack: str) -> Any:
    return YAML(typ="safe", pure=True).load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())


@pytest.mark.parametrize("path", SCHEMA_FILES)
def test_json_schema_is_up_to_date(path: str) -> None:
    assert (REPOSITORY / path).read_text() == schema_text(), REGENERATE


def test_reference_is_up_to_date() -> None:
    assert REFERENCE_FILE.read_text() == reference_text(), REGENERATE


def test_json_schema_is_valid_draft_7() -> None:
    jsonschema.Draft7Validator.check_schema(stack_schema())


@pytest.mark.parametrize("stack", STACKS)
def test_repository_stack_matches_json_schema(stack: str) -> None:
    jsonschema.validate(read(stack), stack_schema(), jsonschema.Draft7Validator)


@pytest.mark.parametrize("stack", STACKS)
def test_repository_stack_refers_to_schema_and_loads(stack: str) -> None:
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
        ({"berth:gateway": {"clients": {"a": {"key": "in plaintext"}}}}, False),
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
def test_json_schema_accepts_only_valid_configuration(config: dict[str, Any], valid: bool) -> None:
    document = {
        "config": {
            "berth:platform": "local",
            "berth:models": {"m": {"versions": {"1": {}}}},
            **config,
        }
    }

    assert jsonschema.Draft7Validator(stack_schema()).is_valid(document) is valid


def test_dev_and_prod_stacks_have_same_keys() -> None:
    def keys(node: Any, path: str = "") -> set[str]:
        if not isinstance(node, dict):
            return {path}
        return {path}.union(*(keys(value, f"{path}.{key}") for key, value in node.items()))

    assert keys(read("dev")) == keys(read("prod"))


def test_every_field_has_description_and_every_number_has_bounds() -> None:
    def fields(node: Any, path: str) -> list[tuple[str, Any]]:
        resolved = schema.resolve(node)
        children = [
            (f"{path}.{key}", value) for key, value in resolved.get("properties", {}).items()
        ]
        entry = schema.entry_schema(resolved) or resolved.get("items")
        entries = fields(entry, f"{path}.*") if entry else []
        nested = [item for child, value in children for item in fields(value, child)]
        return children + entries + nested

    every = fields(schema.sections_schema(), "berth")

    assert len(every) > 150
    for path, node in every:
        resolved = schema.resolve(node)
        assert resolved.get("description"), path
        if resolved.get("type") in ("integer", "number") and "enum" not in resolved:
            assert "maximum" in resolved, path
            assert "minimum" in resolved or "exclusiveMinimum" in resolved, path


def test_default_may_differ_keys_exist_in_specification() -> None:
    for key in ParitySpec().may_differ:
        assert schema.schema_at(tuple(key.split("."))), key


def test_serving_section_matches_component_settings() -> None:
    component = {field.name for field in dataclasses.fields(ServingSettings)}
    capture = {f"capture_{name}" for name in CaptureSpec.model_fields}

    assert set(ServingSpec.model_fields) | capture == component


def test_reference_contains_every_section() -> None:
    text = REFERENCE_FILE.read_text()

    for name in HostingSpec.model_fields:
        assert f"\n## berth:{name}\n" in text
