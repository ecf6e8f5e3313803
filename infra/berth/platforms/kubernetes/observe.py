"""What of a stack runs in its cluster right now, and what it wrote."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

from berth.platforms.kubernetes import diagnosis as diagnosis
from berth.platforms.kubernetes.cluster import ClusterAccess, require_cluster
from pulumi_berth.kubernetes.berth_plan import berth_name

_SECONDS = 10.0


def observe(access: ClusterAccess, outputs: dict[str, Any]) -> dict[str, Any]:
    """The stack's models with the state of each version, and the gateway's.

    A state is `ready`, `not ready`, `cold` (no copies, as configured), `missing` (the next `up
    --refresh` mends it), or what keeps its newest pod from running, such as `ImagePullBackOff`.
    """
    core, apps = _apis(access)
    namespace = outputs["namespace"]
    found = apps.list_namespaced_deployment(namespace, _request_timeout=_SECONDS).items
    deployments = {deployment.metadata.name: deployment for deployment in found}
    pods = core.list_namespaced_pod(namespace, _request_timeout=_SECONDS).items
    pods_of: dict[str, list[Any]] = {}
    for pod in pods:
        pods_of.setdefault(pod.metadata.labels.get("app.kubernetes.io/instance"), []).append(pod)

    def version_state(model: str, version: str, berth: dict[str, Any]) -> dict[str, Any]:
        name = berth_name(model, version)
        deployment, own = deployments.get(name), pods_of.get(name, [])
        return {
            "state": _state(deployment, own),
            "copies": _copies(deployment),
            "start_to_ready_seconds": _start_to_ready(own),
            **{key: berth[key] for key in ("traffic", "exposed", "digest", "image")},
        }

    gateway = [
        _state(deployments.get(name), [p for p in pods if p.metadata.name.startswith(f"{name}-")])
        for name in ("traefik", "gate")
    ]
    return {
        "gateway": next((state for state in gateway if state != "ready"), "ready"),
        "models": {
            model: {
                "versions": {
                    version: version_state(model, version, berth)
                    for version, berth in entry["versions"].items()
                },
                "shadow": entry["shadow"],
            }
            for model, entry in outputs["models"].items()
        },
    }


def log_lines(
    access: ClusterAccess,
    outputs: dict[str, Any],
    *,
    model: str | None,
    version: str | None,
    last: int,
    follow: bool,
) -> Iterator[tuple[str, str]]:
    """The pod and a line of its log, for the last lines of each and, to `follow`, all that are
    written from now on by the pods that there are."""
    core, _ = _apis(access)
    namespace = outputs["namespace"]
    wanted = [("model", model), ("version", version)]
    selector = ",".join(f"berth/{key}={value}" for key, value in wanted if value is not None)
    pods = [
        pod.metadata.name
        for pod in core.list_namespaced_pod(
            namespace, label_selector=selector, _request_timeout=_SECONDS
        ).items
    ]
    for pod in pods:
        # Not through the client's own decoding, which takes a line of JSON for a document.
        answer = core.read_namespaced_pod_log(
            pod, namespace, tail_lines=last, _preload_content=False, _request_timeout=_SECONDS
        )
        for line in answer.data.decode(errors="replace").splitlines():
            yield pod, line
    if follow and pods:
        yield from _written(core, namespace, pods)


def explain(access: ClusterAccess, namespace: str) -> list[str]:
    """What keeps berths of the stack from being ready, and what to do, a line each."""
    core, apps = _apis(access)
    found: list[diagnosis.Hindrance] = []
    for deployment in apps.list_namespaced_deployment(namespace, _request_timeout=_SECONDS).items:
        name = deployment.metadata.name
        hindered = diagnosis.of_deployment(name, _plain(deployment))
        if hindered is not None:
            found.append(hindered)
    for pod in core.list_namespaced_pod(namespace, _request_timeout=_SECONDS).items:
        name = pod.metadata.labels.get("app.kubernetes.io/instance", pod.metadata.name)
        hindered = diagnosis.of_pod(name, _plain(pod))
        if hindered is not None:
            found.append(hindered)
    return sorted({str(hindered) for hindered in found})


def _written(core: Any, namespace: str, pods: list[str]) -> Iterator[tuple[str, str]]:
    """Lines as they are written, until the last of the pods has ended."""
    lines: queue.Queue[tuple[str, str] | None] = queue.Queue()

    def read(pod: str) -> None:
        try:
            stream = core.read_namespaced_pod_log(
                pod, namespace, follow=True, tail_lines=0, _preload_content=False
            )
            for line in stream:
                lines.put((pod, line.decode(errors="replace").rstrip("\n")))
        finally:
            lines.put(None)

    for pod in pods:
        threading.Thread(target=read, args=(pod,), daemon=True).start()
    ended = 0
    while ended < len(pods):
        line = lines.get()
        if line is None:
            ended += 1
        else:
            yield line


def _apis(access: ClusterAccess) -> tuple[Any, Any]:
    from kubernetes import client

    require_cluster(access)
    connection = access.client()
    return client.CoreV1Api(connection), client.AppsV1Api(connection)


def _copies(deployment: Any) -> str:
    if deployment is None:
        return "0/0"
    return f"{deployment.status.ready_replicas or 0}/{deployment.spec.replicas}"


def _start_to_ready(pods: list[Any]) -> int | None:
    """From the start of a pod's container to the pod being ready, of the slowest; whole seconds,
    which is all that the cluster keeps. None when no pod is ready."""
    found = []
    for pod in pods:
        started = [
            container.state.running.started_at
            for container in pod.status.container_statuses or []
            if container.state.running is not None
        ]
        ready = [
            condition.last_transition_time
            for condition in pod.status.conditions or []
            if condition.type == "Ready" and condition.status == "True"
        ]
        if started and ready:
            found.append(int((ready[0] - max(started)).total_seconds()))
    return max(found, default=None)


def _state(deployment: Any, pods: list[Any]) -> str:
    if deployment is None:
        return "missing"
    status = deployment.status
    if deployment.spec.replicas == 0:
        return "cold"
    current = (status.observed_generation or 0) >= deployment.metadata.generation
    whole = (status.updated_replicas or 0) == (status.replicas or 0) == (status.ready_replicas or 0)
    if current and whole and status.ready_replicas:
        return "ready"
    newest = max(pods, key=lambda pod: str(pod.metadata.creation_timestamp), default=None)
    found = diagnosis.of_pod("", _plain(newest)) if newest is not None else None
    return found.reason if found is not None else "not ready"


def _plain(thing: Any) -> dict[str, Any]:
    """An object of the client as the cluster's API gives it."""
    from kubernetes import client

    found: dict[str, Any] = client.ApiClient().sanitize_for_serialization(thing)
    return found
