"""The metrics of the berths and gateways in a cluster."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from berth.platforms.kubernetes.cluster import ClusterAccess
from pulumi_berth.container_commands import build_get_command
from pulumi_berth.kubernetes.object_names import GATEWAY_LABELS, METRICS_PORT

_METRICS = "/metrics"
_TIMEOUT_SECONDS = 10.0
_PARALLEL = 8


def read_metrics(access: ClusterAccess, outputs: dict[str, Any]) -> dict[str, str]:
    """Return the metrics of each program that responds, by the UID of its pod.

    A stack's network policies admit only the monitoring system to the port for metrics, so a
    program inside each pod reads them. This needs the permission to create `pods/exec`.

    Raises:
        ApiException: If the cluster rejects a request.
        HTTPError: If it does not respond.
    """
    from kubernetes.client import CoreV1Api

    core = CoreV1Api(access.create_client())
    pods = core.list_namespaced_pod(
        outputs["namespace"],
        field_selector="status.phase=Running",
        _request_timeout=_TIMEOUT_SECONDS,
    ).items
    readable = [pod for pod in pods if _find_port(pod) is not None]

    def read(pod: Any) -> tuple[str, str | None]:
        return pod.metadata.uid, _read_pod(access, pod)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        texts = dict(pool.map(read, readable))
    return {name: text for name, text in texts.items() if text}


def _find_port(pod: Any) -> int | None:
    """Return the port on which a pod's program serves metrics, or None for other programs."""
    labels = pod.metadata.labels or {}
    if "berth/model" in labels:
        return METRICS_PORT
    is_gateway = GATEWAY_LABELS.items() <= labels.items()
    return METRICS_PORT if is_gateway else None


def _read_pod(access: ClusterAccess, pod: Any) -> str | None:
    """Return the metrics in a pod, or None if it cannot be read, such as because it ends."""
    from kubernetes.client import ApiException, CoreV1Api
    from kubernetes.stream import stream
    from urllib3.exceptions import HTTPError

    port = _find_port(pod)
    assert port is not None
    # `stream` changes the client that it gets, so each pod has its own.
    core = CoreV1Api(access.create_client())
    try:
        text = stream(
            core.connect_get_namespaced_pod_exec,
            pod.metadata.name,
            pod.metadata.namespace,
            container=pod.spec.containers[0].name,
            command=build_get_command(port, _METRICS),
            stdout=True,
            stderr=False,
            stdin=False,
            tty=False,
            _request_timeout=_TIMEOUT_SECONDS,
        )
    except (ApiException, HTTPError, OSError):
        return None
    return str(text)
