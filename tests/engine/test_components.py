"""Components in programs of one's own, in Python and YAML, with the real engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from ruamel.yaml import YAML

from berth_protocol.model_card import read_card
from pulumi_berth.local.stack_processes import RUN_DIR_VARIABLE
from tests.example import LANGUAGES, Example, install_berth, read_config_keys
from tests.repository import REPOSITORY

_MODELS = str(REPOSITORY / "models")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which only Berth is installed."""
    return install_berth(tmp_path_factory.mktemp("berth"))


@pytest.fixture(params=LANGUAGES)
def hosting(
    request: pytest.FixtureRequest, installed: dict[str, str], tmp_path: Path
) -> Iterator[Example]:
    example = Example.create(
        "local-hosting", request.param, tmp_path / "shop", installed, models=_MODELS
    )
    yield example
    example.destroy()


def _infer(outputs: dict[str, Any]) -> httpx.Response:
    example = read_card(REPOSITORY / "models" / "digits" / "1").example
    return httpx.post(
        f"{outputs['endpoint']}/v2/models/digits/infer",
        headers={"x-api-key": outputs["apiKeys"]["app"]},
        json=example,
    )


def _find_processes(directory: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            run_dir = process.environ().get(RUN_DIR_VARIABLE, "")
        except psutil.Error:
            continue
        if Path(run_dir).is_relative_to(directory):
            found.append(process)
    return found


def test_local_hosting_is_deployed_updated_and_destroyed(hosting: Example) -> None:
    outputs = hosting.up()
    assert _infer(outputs).json()["model_name"] == "digits"
    hosting.require_no_changes()
    installed = hosting.environment["PYTHONPATH"]
    assert any(
        installed in " ".join(p.environ().values()) for p in _find_processes(hosting.directory)
    )

    hosting.replace('"1": 90, "2": 10', '"1": 0, "2": 100')
    steps = json.loads(hosting.pulumi("preview", "--json"))["steps"]
    changed = {
        step["urn"].rpartition("$")[2] for step in steps if step["op"] not in ("same", "read")
    }
    assert changed == {"pulumi-python:dynamic/berth:GatewayProcess::hosting-gateway"}
    assert hosting.up() == outputs
    assert _infer(outputs).json()["model_version"] == "2"

    hosting.replace('"1": 0, "2": 100', '"1": 0, "2": 90')
    output = hosting.pulumi("up", "--yes", fails=True)
    assert "models.digits.traffic" in output
    assert "adds up to 90; change the percentages so that they add up to 100" in output
    assert _infer(outputs).json()["model_version"] == "2"

    hosting.destroy()
    assert _find_processes(hosting.directory) == []
    assert list((hosting.directory / ".berth" / "run").iterdir()) == []


def test_schema_of_the_installed_plugin_is_the_committed_one(
    installed: dict[str, str], tmp_path: Path
) -> None:
    example = Example.create("local-hosting", "yaml", tmp_path / "schema", installed)
    plugin = Path(installed["PYTHONPATH"]) / "bin" / "pulumi-resource-berth"
    schema = json.loads(example.pulumi("package", "get-schema", str(plugin)))
    committed = json.loads((REPOSITORY / "components" / "pulumi_berth" / "schema.json").read_text())
    for token, resource in committed["resources"].items():
        for field in ("inputProperties", "properties"):
            assert schema["resources"][token][field].keys() == resource[field].keys()
        assert schema["resources"][token]["requiredInputs"] == resource["requiredInputs"]
        assert schema["resources"][token]["isComponent"]
    assert schema["types"].keys() == committed["types"].keys()


@pytest.mark.parametrize("name", ["serving-image", "docker-hosting", "kubernetes-hosting"])
def test_example_declares_the_same_in_both_languages(
    name: str, installed: dict[str, str], tmp_path: Path
) -> None:
    """Nothing is reachable: a preview of new resources needs neither registry nor cluster."""
    config = {"models": _MODELS, "registry": "registry.invalid/team"}
    python, yaml = (
        Example.create(name, language, tmp_path / language, installed, **config).preview()
        for language in LANGUAGES
    )
    assert python == yaml
    assert len(python) > 3


def test_examples_have_the_same_configuration_in_both_languages() -> None:
    for example in (path.parent for path in (REPOSITORY / "examples").glob("*/yaml")):
        assert read_config_keys(example.name, "yaml") == read_config_keys(example.name, "python")


@pytest.mark.parametrize("language", LANGUAGES)
def test_pulumi_new_creates_a_project_from_an_example(
    language: str, installed: dict[str, str], tmp_path: Path
) -> None:
    source = Example.create("local-hosting", language, tmp_path / "source", installed)
    target = tmp_path / "shop"
    source.pulumi(
        *("new", str(REPOSITORY / "examples" / "local-hosting" / language), "--generate-only"),
        *("--yes", "--name", "shop", "--dir", str(target)),
    )
    project = YAML(typ="safe").load((target / "Pulumi.yaml").read_text())
    assert project["name"] == "shop"
    assert "template" not in project
    assert (target / "__main__.py").exists() == (language == "python")
