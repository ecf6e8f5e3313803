"""Tests of the resources that Berth declares for a cluster, with mocks instead of the engine."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from berth.platforms.kubernetes.hosting import (
    build_hosted_models,
    build_hosting_args,
    build_image_settings,
)
from berth.spec import load_file
from pulumi_berth.api_key import create_client_keys
from pulumi_berth.kubernetes.hosting import declare_hosting
from pulumi_berth.kubernetes.hosting_images import HostingImages
from tests.repository import REPOSITORY

_STACK = """\
config:
  berth:platform: kubernetes
  berth:registry: {url: registry.example.com/berth, pull_secret: registry-login}
  berth:models:
    digits:
      versions: {"1": {}, "2": {}}
      traffic: {"1": WEIGHT, "2": REST}
      replicas: {min: 1, max: 3}
    breast-cancer:
      versions: {"1": {}}
      compute: gpu
"""

_VERSIONS = (("digits", "1"), ("digits", "2"), ("breast-cancer", "1"))

Resources = dict[tuple[str, str], dict[str, Any]]


class _Engine(mocks.Mocks):
    """An engine that records the inputs of each resource and returns them as outputs."""

    def __init__(self) -> None:
        self.resources: Resources = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        kind = args.typ.split("/")[-1].split(":")[-1]
        self.resources[kind, args.name] = args.inputs
        outputs = {"ApiKey": {"key": f"key-of-{args.name}"}}
        return f"{args.name}-id", {**args.inputs, **outputs.get(kind, {})}


def _declare(folder: Path, weight: int) -> Resources:
    engine = _Engine()
    mocks.set_mocks(engine)
    path = folder / "Pulumi.x.yaml"
    path.write_text(_STACK.replace("WEIGHT", str(weight)).replace("REST", str(100 - weight)))
    spec = load_file(path)

    @pulumi.runtime.test  # type: ignore[untyped-decorator]  # Pulumi does not type it.
    def declare() -> pulumi.Output[Any]:
        settings = build_image_settings(spec, "registry.example.com/berth")
        args = build_hosting_args(
            spec,
            build_hosted_models(
                spec,
                REPOSITORY,
                registry="registry.example.com/berth",
                mounts={"digits": [], "breast-cancer": []},
            ),
            settings,
            root=REPOSITORY,
            namespace="berth",
            limits_prefix="berth:x",
            has_pod_metrics=False,
        )
        assert args.clients is not None
        hosting = declare_hosting(
            args,
            owner="x",
            images=HostingImages(
                serving=dict.fromkeys(_VERSIONS, "registry/x@sha256:0"),
                gateway="registry/gateway@sha256:0",
                valkey="registry/valkey@sha256:0",
                reports={},
            ),
            keys=create_client_keys(args.clients),
            opts=pulumi.ResourceOptions(),
        )  # fmt: skip
        return pulumi.Output.all(hosting.traefik.gateway)

    declare()
    return engine.resources


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return _declare(tmp_path_factory.mktemp("stack"), 90)


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ServiceAccount", "NetworkPolicy",
                                  "PodDisruptionBudget"])  # fmt: skip
def test_each_berth_has_every_kind_of_resource(declared: Resources, kind: str) -> None:
    names = {name for resource_kind, name in declared if resource_kind == kind}
    assert {"digits-1", "digits-2", "breast-cancer-1"} <= names


def test_only_berths_with_a_replica_range_have_an_autoscaler(declared: Resources) -> None:
    scaled = {name for kind, name in declared if kind == "HorizontalPodAutoscaler"}
    assert scaled == {"digits-1", "digits-2"}
    assert "replicas" not in declared["Deployment", "digits-1"]["spec"]
    assert declared["Deployment", "breast-cancer-1"]["spec"]["replicas"] == 1


def test_all_pods_meet_pod_security_restricted(declared: Resources) -> None:
    pods = [
        inputs["spec"]["template"]["spec"]
        for (kind, _), inputs in declared.items()
        if kind in ("Deployment", "StatefulSet")
    ]
    assert len(pods) == 6
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]


def test_all_service_accounts_have_the_pull_secret(declared: Resources) -> None:
    accounts = [inputs for (kind, _), inputs in declared.items() if kind == "ServiceAccount"]
    assert len(accounts) == 6
    assert all(account["imagePullSecrets"] == [{"name": "registry-login"}] for account in accounts)


def test_deployments_keep_all_old_pods_until_new_pods_are_ready(declared: Resources) -> None:
    for (kind, _), inputs in declared.items():
        if kind == "Deployment":
            assert inputs["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
            pod = inputs["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
            assert pod["terminationGracePeriodSeconds"] > 30


def test_only_the_ingress_controller_has_an_api_token(declared: Resources) -> None:
    with_token = [
        name
        for (kind, name), inputs in declared.items()
        if kind == "Deployment"
        and inputs["spec"]["template"]["spec"]["automountServiceAccountToken"]
    ]
    assert with_token == ["traefik"]


def test_ingress_controller_permissions_are_limited_to_its_namespace(declared: Resources) -> None:
    cluster_rules = declared["ClusterRole", "traefik"]["rules"]
    assert {resource for rule in cluster_rules for resource in rule["resources"]} == {
        "namespaces", "gatewayclasses", "gatewayclasses/status",
    }  # fmt: skip
    for kind in ("Role", "ClusterRole"):
        for rule in declared[kind, "traefik"]["rules"]:
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]


def test_only_gpu_pods_tolerate_the_gpu_taint(declared: Resources) -> None:
    pods = {
        name: inputs["spec"]["template"]["spec"]
        for (kind, name), inputs in declared.items()
        if kind == "Deployment"
    }
    gpu = pods.pop("breast-cancer-1")
    assert gpu["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert not any("tolerations" in pod for pod in pods.values())


def test_network_policies_deny_by_default_and_berths_reach_only_dns(declared: Resources) -> None:
    default = declared["NetworkPolicy", "namespace-default-deny"]["spec"]
    assert (default["podSelector"], default["policyTypes"]) == ({}, ["Ingress", "Egress"])
    berth = declared["NetworkPolicy", "digits-1"]["spec"]
    assert len(berth["egress"]) == 1  # DNS


def test_changed_weights_change_only_the_model_route(declared: Resources, tmp_path: Path) -> None:
    other = _declare(tmp_path, 50)
    changed = [
        name
        for name, inputs in declared.items()
        if json.dumps(inputs, default=str, sort_keys=True)
        != json.dumps(other[name], default=str, sort_keys=True)
    ]
    assert changed == [("HTTPRoute", "digits")]
    assert declared.keys() == other.keys()


def test_gateway_secret_contains_key_hashes_but_no_key(declared: Resources) -> None:
    text = json.dumps(declared["Secret", "gateway"], default=str)
    assert "key-of-default" not in text
    assert "sha256" in text
