"""Pods that try to connect to an address, to see what the network policies admit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.cluster import Cluster

# A connection that a policy blocks ends with the time limit.
_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close()
    print("connected")
except OSError as error:
    print("blocked:", type(error).__name__)
"""


@dataclass(frozen=True)
class Client:
    """A pod, and the address that it connects to."""

    namespace: str
    address: str
    port: int
    labels: Mapping[str, str] = field(default_factory=dict)


def _build_client_pod(name: str, client: Client, image: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": client.namespace,
            "labels": dict(client.labels),
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "command": [
                        "/usr/bin/python3",
                        "-c",
                        _CONNECT,
                        client.address,
                        str(client.port),
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def try_to_connect(cluster: Cluster, image: str, clients: Sequence[Client]) -> list[str]:
    """Return the output of a pod for each client: `connected` or `blocked: …`.

    The pods run at the same time, because a blocked one only waits.
    """
    pods = {f"client-{number}": client for number, client in enumerate(clients)}
    namespaces: dict[str, list[str]] = {}
    for name, client in pods.items():
        namespaces.setdefault(client.namespace, []).append(f"pod/{name}")
    missing = namespaces.keys() - set(cluster.list_names("namespaces"))
    cluster.apply(
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            for name in sorted(missing)
        ),
        *(_build_client_pod(name, client, image) for name, client in pods.items()),
    )
    try:
        for namespace, names in namespaces.items():
            condition = "--for=jsonpath={.status.phase}=Succeeded"
            cluster.wait_for("-n", namespace, *names, condition, seconds=120)
        return [
            cluster.kubectl("logs", "-n", client.namespace, name) for name, client in pods.items()
        ]
    finally:
        for namespace, names in namespaces.items():
            cluster.kubectl("delete", "-n", namespace, *names, "--force", "--grace-period=0")
