"""The pods that a stack in a cluster declares, and to whom its objects belong."""

from typing import Any

import pytest

from pulumi_berth.kubernetes.object_names import list_object_names
from tests.unit.declared_hosting import OWN_DIGEST, Resources, declare


@pytest.fixture(scope="module")
def declared() -> Resources:
    return declare()


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ServiceAccount", "NetworkPolicy",
                                  "PodDisruptionBudget"])  # fmt: skip
def test_each_berth_has_every_kind_of_resource(declared: Resources, kind: str) -> None:
    names = {name for resource_kind, name in declared if resource_kind == kind}
    assert {"digits-1", "digits-2", "breast-cancer-1", "own-1"} <= names


def test_only_berths_with_a_replica_range_have_an_autoscaler(declared: Resources) -> None:
    scaled = {name for kind, name in declared if kind == "HorizontalPodAutoscaler"}
    assert scaled == {"digits-1", "digits-2", "own-1"}
    # The autoscaler takes over this count; without one, it would start from a single replica.
    assert declared["Deployment", "digits-1"]["spec"]["replicas"] == 1
    assert declared["Deployment", "breast-cancer-1"]["spec"]["replicas"] == 1


def test_own_container_is_asked_for_its_model_before_it_gets_traffic(declared: Resources) -> None:
    template = declared["Deployment", "own-1"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 9001}]
    assert {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    } == {
        "startupProbe": "/v2/models/own/versions/1",
        "readinessProbe": "/v2/health/ready",
        "livenessProbe": "/v2/health/live",
    }
    assert template["metadata"]["annotations"]["berth/digest"] == f"sha256:{OWN_DIGEST}"


def test_own_container_gets_no_secret_no_setting_and_no_port_for_metrics(
    declared: Resources,
) -> None:
    template = declared["Deployment", "own-1"]["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert "env" not in container
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    assert "prometheus.io/scrape" not in template["metadata"]["annotations"]
    (port,) = declared["Service", "own-1"]["spec"]["ports"]
    assert port["name"] == "http"
    policy = declared["NetworkPolicy", "own-1"]["spec"]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == ["http"]
    reference = declared["Deployment", "digits-1"]["spec"]["template"]["spec"]
    assert container["resources"] == reference["containers"][0]["resources"]
    same = "securityContext", "terminationGracePeriodSeconds", "automountServiceAccountToken"
    assert {key: pod[key] for key in same} == {key: reference[key] for key in same}


def test_all_pods_meet_pod_security_restricted(declared: Resources) -> None:
    pods = [
        inputs["spec"]["template"]["spec"]
        for (kind, _), inputs in declared.items()
        if kind in ("Deployment", "StatefulSet")
    ]
    assert len(pods) == 7
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
    assert len(accounts) == 7
    assert all(account["imagePullSecrets"] == [{"name": "registry-login"}] for account in accounts)


def test_deployments_without_gpus_keep_all_old_pods_until_new_pods_are_ready(
    declared: Resources,
) -> None:
    for (kind, name), inputs in declared.items():
        if kind == "Deployment":
            steps = inputs["spec"]["strategy"]["rollingUpdate"]
            # A berth with GPUs gives its GPUs to its successor: there may be no others.
            is_gpu = name == "breast-cancer-1"
            assert (steps["maxUnavailable"], steps["maxSurge"]) == (
                (1, 0) if is_gpu else (0, "25%")
            )
            pod = inputs["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
            assert pod["terminationGracePeriodSeconds"] > 30


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


def test_owner_of_every_object_with_a_fixed_name_is_checked(declared: Resources) -> None:
    """With server-side apply, the cluster adopts an object that has the name."""
    versions = {"digits": ["1", "2"], "breast-cancer": ["1"], "own": ["1"]}
    checked = list_object_names(versions)
    names = {
        inputs["metadata"]["name"]
        for (kind, _), inputs in declared.items()
        if kind not in ("Namespace", "PodMonitor")  # A stack does not check other monitors.
        and "namespace" in inputs.get("metadata", {})
        and "name" in inputs["metadata"]
    }
    assert {"digits-1", "digits-1-direct", "body-errors", "digits", "traefik"} <= names
    assert names <= {*checked, "default-deny"}


_CLUSTER_SCOPED = ("ClusterRole", "ClusterRoleBinding", "PriorityClass", "GatewayClass")


def _list_objects(declared: Resources) -> list[tuple[str, dict[str, Any]]]:
    return [
        (kind, inputs["metadata"]) for (kind, _), inputs in declared.items() if "metadata" in inputs
    ]


def test_every_object_names_its_owner(declared: Resources) -> None:
    objects = _list_objects(declared)
    assert {"Namespace", "Deployment", "HTTPRoute", *_CLUSTER_SCOPED} <= {
        kind for kind, _ in objects
    }
    owners = {(metadata.get("annotations") or {}).get("berth/owner") for _, metadata in objects}
    assert owners == {"p/x/0123456789ab"}


def test_objects_whose_owner_is_not_checked_are_not_taken_over(declared: Resources) -> None:
    """Without access to the cluster, a conflict of the API server is the only protection."""
    for kind in ("Service", "Secret", "NetworkPolicy"):
        annotations = declared[kind, "gateway"]["metadata"]["annotations"]
        assert "pulumi.com/patchForce" not in annotations, kind


def test_names_of_cluster_scoped_objects_contain_namespace_and_owner(declared: Resources) -> None:
    named = [metadata for kind, metadata in _list_objects(declared) if kind in _CLUSTER_SCOPED]
    assert len(named) == 6
    assert all(entry["name"].startswith("berth-berth-0123456789ab-") for entry in named)


def test_pods_that_every_request_needs_rank_highest(declared: Resources) -> None:
    classes = {
        inputs["metadata"]["name"]: inputs
        for (kind, _), inputs in declared.items()
        if kind == "PriorityClass"
    }
    ranks = {
        name: classes[inputs["spec"]["template"]["spec"]["priorityClassName"]]["value"]
        for (kind, name), inputs in declared.items()
        if kind in ("Deployment", "StatefulSet")
    }
    entry = {ranks.pop(name) for name in ("gateway", "traefik", "valkey")}
    assert min(entry) > max(ranks.values())
    policies = {entry["value"]: entry["preemptionPolicy"] for entry in classes.values()}
    assert policies.pop(min(policies)) == "Never"
    assert set(policies.values()) == {"PreemptLowerPriority"}
