"""Tests of the network policies: which pods can reach a berth."""

from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.stacks import NAMESPACE
from tests.engine.project import Project

_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 8080), 3).close()
    print("connected")
except OSError as error:
    print("blocked:", type(error).__name__)
"""


def _build_client_pod(
    namespace: str, image: str, address: str, labels: dict[str, str]
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
                    "command": ["/usr/bin/python3", "-c", _CONNECT, address],
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
    hosted: Project, cluster: Cluster, namespace: str, labels: dict[str, str], is_connected: bool
) -> None:
    (pod,) = cluster.get("pods", "-n", NAMESPACE, "-l", "berth/model=breast-cancer")["items"]
    address, image = pod["status"]["podIP"], pod["spec"]["containers"][0]["image"]
    if namespace != NAMESPACE:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    cluster.apply(_build_client_pod(namespace, image, address, labels))
    try:
        cluster.wait_for(
            "-n", namespace, "pod/client", "--for=jsonpath={.status.phase}=Succeeded", seconds=60
        )
        output = cluster.kubectl("logs", "-n", namespace, "client")
    finally:
        cluster.kubectl("delete", "pod", "-n", namespace, "client", "--force", "--grace-period=0")
    assert output.startswith("connected") is is_connected, output
