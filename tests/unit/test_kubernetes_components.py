"""Tests of the Kubernetes components with a component host, which passes nested dictionaries."""

from typing import Any

import pulumi
import pytest

from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.berth import KubernetesBerth, KubernetesBerthArgs
from pulumi_berth.kubernetes.cluster_autoscaler import ClusterAutoscaler
from pulumi_berth.kubernetes.gateway import Gateway
from pulumi_berth.kubernetes.gateway_route import GatewayRoute
from pulumi_berth.kubernetes.hosting_namespace import HostingNamespace
from pulumi_berth.kubernetes.model_route import ModelRoute
from pulumi_berth.kubernetes.traefik import Traefik
from pulumi_berth.kubernetes.valkey import Valkey
from tests.unit.component_host import Resources, construct

_SERVING = {
    "workers": 1.0, "threads": 1.0, "intraOpThreads": 1.0, "maxBatch": 8.0, "queue": 16.0,
    "deadlineSeconds": 10.0, "batchSize": 1.0, "maxBodyBytes": 1000.0, "graceSeconds": 30.0,
}  # fmt: skip
# The inputs of each component, as a program in YAML writes them.
_INPUTS: dict[type[pulumi.ComponentResource], dict[str, Any]] = {
    KubernetesBerth: {
        "namespace": "hosting", "model": "digits", "version": "1", "digest": "sha256:0",
        "image": "registry.example.com/digits@sha256:0", "serving": _SERVING,
        "replicas": {"min": 1.0, "max": 3.0}, "resources": {"memory": "1Gi", "gpus": 1.0},
        "priority": "exposed", "callers": [{"app": "gateway"}], "metricsNamespace": "monitoring",
        "readySeconds": 60.0,
        "gpu": {"taint": "gpu", "nodeSelector": {"pool": "gpu"}},
        "datasets": [{"name": "prices", "image": "registry.example.com/prices", "subPath": ""}],
    },
    Gateway: {
        "namespace": "hosting", "image": "registry.example.com/gateway@sha256:0", "replicas": 2.0,
        "callers": [{"podSelector": {"matchLabels": {"app": "traefik"}}}],
        "metricsNamespace": "monitoring", "token": "token",
        "limits": {"valkeyUrl": "valkey://:password@valkey.example.com:6380", "prefix": "berth"},
        "config": {"max_body_bytes": 1000.0, "timeout_seconds": 30.0, "clients": [], "models": {}},
    },
    GatewayRoute: {
        "namespace": "hosting", "parentRef": {"name": "gateway"}, "hostnames": [],
        "service": "gateway", "port": 8080.0, "errorsPort": 8081.0,
    },
    ModelRoute: {
        "namespace": "hosting", "parentGateway": "gateway", "hostnames": ["a.example.com"],
        "filters": [], "bodyFilters": [],
        "plan": {"model": "digits", "splitBackends": {"1": {"name": "digits-1", "port": 8080.0}},
                 "traffic": {"1": 100.0}, "versionBackends": {},
                 "gateway": {"name": "gateway", "port": 8080.0}},
    },
    Valkey: {
        "namespace": "hosting", "image": "registry.example.com/valkey@sha256:0",
        "callers": [{"app": "gateway"}], "storageClass": "fast", "storageGib": 2.0,
    },
    HostingNamespace: {"namespace": "hosting"},
    Traefik: {
        "namespace": "hosting", "namespaceName": "hosting", "ownerId": "0",
        "clusterName": "berth-hosting-0-traefik", "image": "traefik:v3.6.0",
        "serviceType": "NodePort", "nodePort": 31080.0, "timeoutSeconds": 30.0,
        "metricsNamespace": "monitoring",
    },
    ClusterAutoscaler: {
        "namespace": "kube-system", "clusterName": "berth", "region": "eu-central-1",
        "image": "autoscaler:1",
    },
}  # fmt: skip


_OUTPUTS = {"key": "password", "owner_id": "0123456789ab", "owner": "p/s/0123456789ab"}


def _construct(component: type[pulumi.ComponentResource]) -> Resources:
    return construct(component, _INPUTS[component], _OUTPUTS)


@pytest.mark.parametrize("component", _INPUTS, ids=lambda component: component.__name__)
def test_component_host_constructs_component(component: type[pulumi.ComponentResource]) -> None:
    assert len(_construct(component)) > 1


def test_berth_from_dictionaries_has_whole_numbers_and_nested_arguments() -> None:
    resources = _construct(KubernetesBerth)
    pod = resources["Deployment", "x"]["spec"]["template"]["spec"]
    assert resources["Deployment", "x"]["spec"]["progressDeadlineSeconds"] == 60
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert [container["name"] for container in pod["initContainers"]] == ["data-prices"]
    assert resources["HorizontalPodAutoscaler", "x"]["spec"]["maxReplicas"] == 3


def test_arguments_of_another_type_are_rejected() -> None:
    with pytest.raises(TypeError, match="Expected KubernetesBerthArgs or a dictionary, got str"):
        parse_args(KubernetesBerthArgs, "digits")
