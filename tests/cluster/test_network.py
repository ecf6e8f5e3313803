"""Who can reach a berth."""

from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.engine.project import Project

_ASK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 8080), 3).close()
    print("reached")
except OSError as error:
    print("not reached:", type(error).__name__)
"""


def _pod(namespace: str, image: str, address: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asker", "namespace": namespace, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "asker",
                    "image": image,
                    "command": ["/usr/bin/python3", "-c", _ASK, address],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


@pytest.mark.parametrize(
    ("namespace", "labels", "reached"),
    [
        ("elsewhere", {}, False),
        ("elsewhere", {"app.kubernetes.io/name": "gateway"}, False),
        ("hosted", {}, False),
        ("hosted", {"app.kubernetes.io/name": "digits"}, False),
        ("monitoring", {}, True),
    ],
)  # fmt: skip
def test_only_the_gateway_and_the_scraper_reach_a_berth(
    hosted: Project, cluster: Cluster, namespace: str, labels: dict[str, str], reached: bool
) -> None:
    (pod,) = cluster.get("pods", "-n", "hosted", "-l", "berth/model=breast-cancer")["items"]
    address, image = pod["status"]["podIP"], pod["spec"]["containers"][0]["image"]
    if namespace != "hosted":
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    cluster.apply(_pod(namespace, image, address, labels))
    try:
        cluster.run(
            "wait", "-n", namespace, "pod/asker", "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=60s",
        )  # fmt: skip
        said = cluster.run("logs", "-n", namespace, "asker")
    finally:
        cluster.run("delete", "pod", "-n", namespace, "asker", "--force", "--grace-period=0")
    assert said.startswith("reached") is reached, said
