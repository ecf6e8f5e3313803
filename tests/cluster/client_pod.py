"""A pod that tries to connect to an address, to see what the network policies admit."""

from typing import Any

from tests.cluster.cluster import Cluster

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


def try_to_connect(
    cluster: Cluster, namespace: str, image: str, address: str, port: int, labels: dict[str, str]
) -> str:
    """Return the output of a pod that connects to an address: `connected` or `blocked: …`."""
    if namespace not in cluster.list_names("namespaces"):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    cluster.apply(_build_client_pod(namespace, image, address, port, labels))
    try:
        cluster.wait_for(
            "-n", namespace, "pod/client", "--for=jsonpath={.status.phase}=Succeeded", seconds=60
        )
        return cluster.kubectl("logs", "-n", namespace, "client")
    finally:
        cluster.kubectl("delete", "pod", "-n", namespace, "client", "--force", "--grace-period=0")
