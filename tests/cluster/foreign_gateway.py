"""A Gateway of the cluster with its own controller, as another team operates it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.cluster import Cluster

NAMESPACE = "infra"
NAME = "shared"
NODE_PORT = 31480
LISTENER, PRIVATE_LISTENER = "web", "private"
_PORT = 8000
_GROUP = "gateway.networking.k8s.io"
_API = f"{_GROUP}/v1"
_LABELS = {"app": "controller"}
# The controllers of stacks have the same name. It selects only its own class.
_OWN = {"team": NAMESPACE}


def _metadata(**more: Any) -> dict[str, Any]:
    return {"name": NAME, "namespace": NAMESPACE, **more}


def _allow(group: str, resources: list[str], *verbs: str) -> dict[str, Any]:
    return {
        "apiGroups": [group],
        "resources": resources,
        "verbs": [*(verbs or ("get", "list", "watch"))],
    }


def build_controller(image: str) -> list[dict[str, Any]]:
    """Return the manifests of a controller for all namespaces, and of its Gateway."""
    rbac = "rbac.authorization.k8s.io"
    kinds = ["gateways", "httproutes", "grpcroutes", "gatewayclasses"]
    container = {
        "name": "traefik",
        "image": image,
        "args": [
            f"--entrypoints.web.address=:{_PORT}",
            "--providers.kubernetesgateway=true",
            f"--providers.kubernetesgateway.labelselector=team={NAMESPACE}",
            "--providers.providersthrottleduration=200ms",
        ],
        "ports": [{"name": "web", "containerPort": _PORT}],
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": NAME},
            "rules": [
                _allow("", ["services", "secrets", "configmaps", "namespaces"]),
                _allow("discovery.k8s.io", ["endpointslices"]),
                _allow(_GROUP, [*kinds, "referencegrants", "backendtlspolicies"]),
                _allow(_GROUP, [f"{kind}/status" for kind in kinds], "update", "patch"),
            ],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        },
        {
            "apiVersion": _API,
            "kind": "GatewayClass",
            "metadata": {"name": NAME, "labels": _OWN},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": _API,
            "kind": "Gateway",
            "metadata": _metadata(),
            "spec": {
                "gatewayClassName": NAME,
                "listeners": [
                    {
                        "name": LISTENER,
                        "port": _PORT,
                        "protocol": "HTTP",
                        "allowedRoutes": {"namespaces": {"from": "All"}},
                    },
                    {
                        "name": PRIVATE_LISTENER,
                        "port": _PORT,
                        "protocol": "HTTP",
                        "hostname": "private.example.com",
                        "allowedRoutes": {"namespaces": {"from": "Same"}},
                    },
                ],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(),
            "spec": {
                "selector": {"matchLabels": _LABELS},
                "template": {
                    "metadata": {"labels": _LABELS},
                    "spec": {"serviceAccountName": NAME, "containers": [container]},
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(),
            "spec": {
                "type": "NodePort",
                "selector": _LABELS,
                "ports": [{"port": 80, "targetPort": "web", "nodePort": NODE_PORT}],
            },
        },
    ]


def build_parent_gateway(cluster: Cluster, **changes: Any) -> dict[str, Any]:
    """Return the section `kubernetes.parent_gateway` for this Gateway."""
    return {
        "name": NAME,
        "namespace": NAMESPACE,
        "section_name": LISTENER,
        "url": f"http://{cluster.node}:{NODE_PORT}",
        "plain_http": True,
        "controller_labels": _LABELS,
    } | changes


@pytest.fixture(scope="module")
def foreign_gateway(cluster: Cluster) -> Iterator[str]:
    """The Gateway, ready. Its namespace and cluster-scoped objects are deleted at the end."""
    cluster.apply(*build_controller(cluster.traefik_image))
    cluster.wait_for("-n", NAMESPACE, f"gateway/{NAME}", "--for=condition=Programmed", seconds=120)
    yield NAME
    cluster.kubectl("delete", f"gatewayclass/{NAME}", f"clusterrole/{NAME}", "--wait=false")
    cluster.kubectl("delete", f"clusterrolebinding/{NAME}", "--wait=false")
    cluster.delete_namespaces(NAMESPACE)
