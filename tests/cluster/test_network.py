"""Tests of the network policies: which pods can reach a berth."""

from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.stacks import NAMESPACE

pytestmark = pytest.mark.usefixtures("hosted")

_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("connected")
except OSError as error:
    print("blocked:", type(error).__name__)
"""


def _build_client_pod(
    namespace: str, image: str, address: str, port: int, labels: dict[str, str]
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client", "namespace": namespace, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "command": ["/usr/bin/python3", "-c", _CONNECT, address, str(port)],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


@pytest.mark.parametrize(
    ("namespace", "labels", "is_connected"),
    [
        ("elsewhere", {}, False),
        ("elsewhere", {"app.kubernetes.io/name": "gateway"}, False),
        (NAMESPACE, {}, False),
        (NAMESPACE, {"app.kubernetes.io/name": "digits"}, False),
        ("monitoring", {}, True),
    ],
)  # fmt: skip
def test_only_gateway_and_metrics_scraper_reach_a_berth(
    cluster: Cluster, namespace: str, labels: dict[str, str], is_connected: bool
) -> None:
    address, image = _find_berth(cluster)
    output = _try_to_connect(cluster, namespace, image, address, 8080, labels)
    assert output.startswith("connected") is is_connected, output


@pytest.mark.parametrize(
    ("namespace", "labels"),
    [
        ("elsewhere", {"app.kubernetes.io/name": "gateway"}),
        (NAMESPACE, {"app.kubernetes.io/name": "berth"}),
        ("monitoring", {}),
    ],
)  # fmt: skip
def test_only_gateway_reaches_valkey(
    cluster: Cluster, namespace: str, labels: dict[str, str]
) -> None:
    _, image = _find_berth(cluster)
    (pod,) = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=valkey")["items"]
    output = _try_to_connect(cluster, namespace, image, pod["status"]["podIP"], 6379, labels)
    assert output.startswith("blocked"), output


def _find_berth(cluster: Cluster) -> tuple[str, str]:
    """Return the address and the image of a berth."""
    (pod,) = cluster.get("pods", "-n", NAMESPACE, "-l", "berth/model=breast-cancer")["items"]
    return pod["status"]["podIP"], pod["spec"]["containers"][0]["image"]


def _try_to_connect(
    cluster: Cluster, namespace: str, image: str, address: str, port: int, labels: dict[str, str]
) -> str:
    """Return the output of a pod that connects to an address."""
    if namespace != NAMESPACE:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    cluster.apply(_build_client_pod(namespace, image, address, port, labels))
    try:
        cluster.wait_for(
            "-n", namespace, "pod/client", "--for=jsonpath={.status.phase}=Succeeded", seconds=60
        )
        return cluster.kubectl("logs", "-n", namespace, "client")
    finally:
        cluster.kubectl("delete", "pod", "-n", namespace, "client", "--force", "--grace-period=0")
