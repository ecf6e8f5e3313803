"""What of a stack runs in its cluster right now, and what it wrote."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

from components.berth_plan import berth_name
from infra.platforms.cluster import access_of, require_cluster
from infra.platforms.place import Place

_SECONDS = 10.0


def observe(place: Place, outputs: dict[str, Any]) -> dict[str, Any]:
    """The stack's models with the state of each version, and the gateway's.

    A state is `ready`, `not ready`, `cold` (no copies, as configured), `missing` (the next `up
    --refresh` mends it), or what keeps its newest pod from running, such as `ImagePullBackOff`.
    """
    core, apps = _apis(place)
    namespace = outputs["namespace"]
    found = apps.list_namespaced_deployment(namespace, _request_timeout=_SECONDS).items
    deployments = {deployment.metadata.name: deployment for deployment in found}
    pods = core.list_namespaced_pod(namespace, _request_timeout=_SECONDS).items

    def version_state(model: str, version: str, berth: dict[str, Any]) -> dict[str, Any]:
        name = berth_name(model, version)
        own = [pod for pod in pods if pod.metadata.labels.get("app.kubernetes.io/instance") == name]
        deployment = deployments.get(name)
        return {
            "state": _state(deployment, own),
            "copies": _copies(deployment),
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
    place: Place,
    outputs: dict[str, Any],
    *,
    model: str | None,
    version: str | None,
    last: int,
    follow: bool,
) -> Iterator[tuple[str, str]]:
    """The pod and a line of its log, for the last lines of each and, to `follow`, all that are
    written from now on by the pods that there are."""
    core, _ = _apis(place)
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


def _apis(place: Place) -> tuple[Any, Any]:
    from kubernetes import client

    kubernetes = place.spec.kubernetes
    access = access_of(kubernetes.kubeconfig, kubernetes.context, place.root)
    require_cluster(access)
    connection = access.client()
    return client.CoreV1Api(connection), client.AppsV1Api(connection)


def _copies(deployment: Any) -> str:
    if deployment is None:
        return "0/0"
    return f"{deployment.status.ready_replicas or 0}/{deployment.spec.replicas}"


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
    return _hindrance(pods) or "not ready"


def _hindrance(pods: list[Any]) -> str | None:
    """What keeps the newest pod from running."""
    for pod in sorted(pods, key=lambda pod: str(pod.metadata.creation_timestamp), reverse=True):
        for container in pod.status.container_statuses or []:
            waiting = container.state.waiting
            if waiting is not None and waiting.reason not in (None, "ContainerCreating"):
                return str(waiting.reason)
        for condition in pod.status.conditions or []:
            if condition.type == "PodScheduled" and condition.status == "False":
                return str(condition.reason)
    return None
