"""Tests of the AWS components with a component host, which passes nested dictionaries."""

import importlib
import inspect
import pkgutil
from typing import Any

import pulumi
import pytest
from pulumi.errors import InputPropertyError
from pulumi.provider.experimental.analyzer import Analyzer

import pulumi_berth.aws
from pulumi_berth.aws.api_gateway import ApiGateway
from pulumi_berth.aws.data_layer import DataLayer
from pulumi_berth.aws.logs import ApiGatewayLogs
from pulumi_berth.aws.model_registry import ModelRegistry
from pulumi_berth.aws.network import Network
from pulumi_berth.aws.node_pool import NodePool
from tests.unit.component_host import Resources, construct

_LOGS = {"pathPrefix": "/berth/dev", "days": 14.0, "key": "arn:key"}
_QUOTA = {"requests": 1000.0, "period": "day"}
# The inputs of each component, as a program in YAML writes them.
_INPUTS: dict[type[pulumi.ComponentResource], dict[str, Any]] = {
    Network: {
        "stackName": "dev", "region": "eu-central-1", "account": "123456789012",
        "cidr": "10.20.0.0/16", "zones": ["eu-central-1a", "eu-central-1b"], "nat": "single",
        "interfaceEndpoints": ["ecr.api"], "flowLog": _LOGS,
    },
    ModelRegistry: {
        "namePrefix": "berth-dev", "repositories": ["digits"], "key": "arn:key",
        "keepImages": 5.0, "keepUntaggedDays": 14.0, "readers": [{"account": "210987654321"}],
    },
    DataLayer: {
        "namePrefix": "berth-dev", "account": "123456789012", "region": "eu-central-1",
        "key": "arn:key", "noncurrentVersionDays": 90.0, "logDays": 30.0,
        "replica": {"region": "eu-west-1", "key": "arn:replica"},
    },
    NodePool: {
        "stackName": "dev", "clusterName": "berth-dev", "version": "1.35", "roleArn": "arn:role",
        "subnetIds": ["subnet-1"], "compute": "gpu", "architecture": "amd64",
        "instanceTypes": ["g5.xlarge"], "minNodes": 0.0, "maxNodes": 3.0, "initialNodes": 0.0,
        "spot": False, "diskGib": 100.0, "diskKey": "arn:key", "taints": [{"key": "dedicated"}],
    },
    ApiGatewayLogs: {"region": "eu-central-1", "tags": {"owner": "us"}},
    ApiGateway: {
        "stackName": "dev", "loadBalancerArn": "arn:nlb", "loadBalancerHost": "nlb.example.com",
        "timeoutSeconds": 29.0, "ratePerSecond": 100.0, "burst": 200.0, "webAclArn": "arn:acl",
        "logs": _LOGS,
        "clients": {"default": {
            "keys": {"default": "k" * 24, "next": "n" * 24}, "ratePerSecond": 5.0, "burst": 7.0,
            "quota": _QUOTA}},
    },
}  # fmt: skip


_OUTPUTS = {
    "invokeUrl": "https://api.example.com/v2", "latestVersion": 1,
    "resources": [{"autoscalingGroups": [{"name": "group"}]}],
}  # fmt: skip


def _construct(component: type[pulumi.ComponentResource]) -> Resources:
    return construct(component, _INPUTS[component], _OUTPUTS)


def _components() -> list[type[pulumi.ComponentResource]]:
    modules = [
        importlib.import_module(f"pulumi_berth.aws.{module.name}")
        for module in pkgutil.iter_modules(pulumi_berth.aws.__path__)
    ]
    return [
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, pulumi.ComponentResource) and member.__module__ == module.__name__
    ]


@pytest.mark.parametrize("component", _components(), ids=lambda component: component.__name__)
def test_component_analyzer_accepts_every_component(
    component: type[pulumi.ComponentResource],
) -> None:
    Analyzer("berth").analyze([component])


@pytest.mark.parametrize("component", _INPUTS, ids=lambda component: component.__name__)
def test_component_host_constructs_component(component: type[pulumi.ComponentResource]) -> None:
    assert len(_construct(component)) > 1


def test_enums_and_numbers_from_dictionaries_reach_the_resources() -> None:
    resources = _construct(NodePool)
    group = resources["NodeGroup", "x"]
    assert group["amiType"] == "BOTTLEROCKET_x86_64_NVIDIA"
    assert group["scalingConfig"] == {"minSize": 0, "maxSize": 3, "desiredSize": 0}
    assert [taint["effect"] for taint in group["taints"]] == ["NO_SCHEDULE", "NO_SCHEDULE"]


def test_value_outside_an_enum_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_INPUTS, Network, {**_INPUTS[Network], "nat": "double"})
    with pytest.raises(InputPropertyError, match=r"Invalid value double .* for enum 'NatMode'"):
        _construct(Network)
