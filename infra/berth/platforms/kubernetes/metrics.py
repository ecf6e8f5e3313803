"""The metrics and captured requests of the berths and gateways in a cluster."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from berth.errors import OperationError
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth_protocol.paths import CAPTURED
from pulumi_berth.container_commands import build_get_command, build_get_with_token_command
from pulumi_berth.kubernetes.object_names import (
    BERTH_TOKEN_FILE,
    GATEWAY_LABELS,
    METRICS_PORT,
)

_METRICS = "/metrics"
_TIMEOUT_SECONDS = 10.0
_PARALLEL = 8


def read_metrics(access: ClusterAccess, outputs: dict[str, Any]) -> dict[str, str]:
    """Return the metrics of each program that responds, by the UID of its pod.

    A stack's network policies admit only the monitoring system to the port for metrics, so a
    program inside each pod reads them. This needs the permission to create `pods/exec`.

    Raises:
        ApiException: If the cluster rejects a request.
        OperationError: If no pod can be read.
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
    found = {name: text for name, text in texts.items() if text}
    if readable and not found:
        raise OperationError(
            f"None of {len(readable)} pods in namespace {outputs['namespace']} returned metrics. "
            "Reading them needs the permission to create 'pods/exec' there; 'kubectl auth can-i "
            f"create pods --subresource=exec -n {outputs['namespace']}' shows whether you have it."
        )
    return found


def read_captured(
    access: ClusterAccess, outputs: dict[str, Any], model: str, version: str
) -> list[str]:
    """Return the captured requests of each pod of a version that responds.

    Raises:
        ApiException: If the cluster rejects a request.
        HTTPError: If it does not respond.
    """
    from kubernetes.client import CoreV1Api

    command = build_get_with_token_command(METRICS_PORT, CAPTURED, BERTH_TOKEN_FILE)
    pods = (
        CoreV1Api(access.create_client())
        .list_namespaced_pod(
            outputs["namespace"],
            label_selector=f"berth/model={model},berth/version={version}",
            field_selector="status.phase=Running",
            _request_timeout=_TIMEOUT_SECONDS,
        )
        .items
    )
    with ThreadPoolExecutor(_PARALLEL) as pool:
        texts = list(pool.map(lambda pod: _run_in_pod(access, pod, command), pods))
    # A pod without captured requests prints nothing; a program that fails prints no JSON.
    return [text for text in texts if text is not None and text[:1] in ("", "{")]


def _find_port(pod: Any) -> int | None:
    """Return the port on which a pod's program serves metrics, or None for other programs."""
    labels = pod.metadata.labels or {}
    if "berth/model" in labels:
        return METRICS_PORT
    is_gateway = GATEWAY_LABELS.items() <= labels.items()
    return METRICS_PORT if is_gateway else None


def _read_pod(access: ClusterAccess, pod: Any) -> str | None:
    """Return the metrics in a pod, or None if it cannot be read, such as because it ends."""
    port = _find_port(pod)
    assert port is not None
    return _run_in_pod(access, pod, build_get_command(port, _METRICS))


def _run_in_pod(access: ClusterAccess, pod: Any, command: list[str]) -> str | None:
    """Return what a program in a pod prints, or None if it cannot run there."""
    from kubernetes.client import ApiException, CoreV1Api
    from kubernetes.stream import stream
    from urllib3.exceptions import HTTPError

    # `stream` changes the client that it gets, so each pod has its own.
    core = CoreV1Api(access.create_client())
    try:
        text = stream(
            core.connect_get_namespaced_pod_exec,
            pod.metadata.name,
            pod.metadata.namespace,
            container=pod.spec.containers[0].name,
            command=command,
            stdout=True,
            stderr=False,
            stdin=False,
            tty=False,
            _request_timeout=_TIMEOUT_SECONDS,
        )
    except (ApiException, HTTPError, OSError):
        return None
    return str(text)
