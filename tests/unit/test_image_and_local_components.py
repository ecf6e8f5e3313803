"""The image components and local components with a component host, which passes dictionaries."""

from typing import Any

import pulumi
import pytest
from pulumi.provider.experimental.analyzer import Analyzer

from pulumi_berth.images.base_image import HardenedBaseImage
from pulumi_berth.images.dataset_image import DatasetImage
from pulumi_berth.images.gateway_image import GatewayImage
from pulumi_berth.images.serving_image import ServingImage
from pulumi_berth.images.valkey_image import ValkeyImage
from pulumi_berth.local.berth import LocalBerth
from pulumi_berth.local.gateway import LocalGateway
from tests.repository import REPOSITORY
from tests.unit.component_host import Resources, construct

_DIGITS = REPOSITORY / "models" / "digits" / "1"
_SETTINGS = {"registry": "registry.example.com/berth", "failOn": "never"}
_SERVING = {
    "workers": 1.0, "threads": 1.0, "intraOpThreads": 1.0, "maxBatch": 8.0, "queue": 16.0,
    "deadlineSeconds": 10.0, "batchSize": 1.0, "maxBodyBytes": 1000.0, "graceSeconds": 30.0,
}  # fmt: skip
_REFERENCE = f"registry.example.com/berth/base@sha256:{'0' * 64}"
# The inputs of each component, as a program in YAML writes them.
_INPUTS: dict[type[pulumi.ComponentResource], dict[str, Any]] = {
    HardenedBaseImage: {"runtime": "serving-cuda", "settings": _SETTINGS},
    GatewayImage: {"settings": _SETTINGS},
    ValkeyImage: {"settings": _SETTINGS},
    ServingImage: {
        "model": "digits", "version": "1", "modelDir": str(_DIGITS), "settings": _SETTINGS,
    },
    DatasetImage: {
        "settings": _SETTINGS,
        "dataset": {
            "name": "prices", "version": "1", "digest": "sha256:0",
            "repository": "registry.example.com/prices",
        },
    },
    LocalBerth: {
        "runDir": "/project/.berth/run/local", "model": "digits", "version": "1",
        "modelDir": "/models/digits/1", "digest": "sha256:0", "serving": _SERVING,
    },
    LocalGateway: {
        "runDir": "/project/.berth/run/local", "berths": ["digits-1-abc"], "gatewayPort": 8080.0,
        "config": {"max_body_bytes": 1000.0, "timeout_seconds": 30.0, "clients": [], "models": {}},
    },
}  # fmt: skip


_OUTPUTS = {"reference": _REFERENCE, "admin_listener_port": 2.0}


def _construct(component: type[pulumi.ComponentResource]) -> Resources:
    return construct(component, _INPUTS[component], _OUTPUTS)


@pytest.mark.parametrize("component", _INPUTS, ids=lambda component: component.__name__)
def test_component_analyzer_accepts_component(component: type[pulumi.ComponentResource]) -> None:
    Analyzer("berth").analyze([component])


@pytest.mark.parametrize("component", _INPUTS, ids=lambda component: component.__name__)
def test_component_host_constructs_component(component: type[pulumi.ComponentResource]) -> None:
    assert len(_construct(component)) > 1


def test_runtime_from_text_sets_cuda_libraries_and_repository() -> None:
    inputs = _construct(HardenedBaseImage)["BuiltImage", "x"]
    assert inputs["repository"] == "registry.example.com/berth/base-serving-cuda"
    assert "LD_LIBRARY_PATH" in inputs["run"]["environment"]
    assert [layer["kind"] for layer in inputs["layers"]] == ["base", "runtime"]


def test_serving_settings_from_dictionary_become_environment() -> None:
    inputs = _construct(LocalBerth)["BerthProcess", "x"]
    assert inputs["environment"]["BERTH_MAX_BATCH"] == "8"
    assert inputs["environment"]["BERTH_GRACE_SECONDS"] == "30"
