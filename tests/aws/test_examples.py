"""The examples of AWS components in Python and YAML."""

import json
from pathlib import Path

import pytest

from tests.aws.emulation import Emulation
from tests.example import LANGUAGES, Example, install_berth


@pytest.fixture(scope="module")
def installed(aws: Emulation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which only Berth is installed, with emulated AWS."""
    return install_berth(tmp_path_factory.mktemp("berth")) | aws.environment()


def _create(
    name: str, language: str, directory: Path, aws: Emulation, installed: dict[str, str]
) -> Example:
    example = Example.create(name, language, directory, installed)
    own = {
        "network": {
            "account": "123456789012",
            "logKey": "arn:aws:kms:us-east-1:123456789012:key/1",
        },
        "model-registry": {"imageKey": "arn:aws:kms:us-east-1:123456789012:key/1"},
    }[name]
    config = aws.config() | {f"{name}:{key}": value for key, value in own.items()}
    (directory / "Pulumi.test.yaml").write_text(json.dumps({"config": config}))
    return example


@pytest.mark.parametrize("name", ["network", "model-registry"])
def test_example_declares_the_same_in_both_languages(
    name: str, aws: Emulation, installed: dict[str, str], tmp_path: Path
) -> None:
    python, yaml = (
        _create(name, language, tmp_path / language, aws, installed).preview()
        for language in LANGUAGES
    )
    assert python == yaml
    assert len(python) > 8


def test_registry_in_a_program_in_yaml_is_deployed_and_destroyed(
    aws: Emulation, installed: dict[str, str], tmp_path: Path
) -> None:
    example = _create("model-registry", "yaml", tmp_path / "shop", aws, installed)
    names = example.up()["names"]
    repositories = aws.client("ecr").describe_repositories()["repositories"]
    assert {each["repositoryName"] for each in repositories} == set(names)
    assert len(names) == 4
    example.destroy()
    assert aws.client("ecr").describe_repositories()["repositories"] == []
