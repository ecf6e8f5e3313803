"""Observe a stack in its cluster: the state of its berths, their logs, and failures."""

import queue
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from berth.platforms.kubernetes.cluster import ClusterAccess, require_cluster
from berth.platforms.kubernetes.diagnosis import BerthDiagnosis, diagnose_deployment, diagnose_pod
from berth.platforms.kubernetes.parent_gateway import explain_route, find_route_state
from pulumi_berth.kubernetes.berth_plan import get_berth_name
from pulumi_berth.kubernetes.object_names import GATEWAY, GATEWAY_LABELS, TRAEFIK
from pulumi_berth.kubernetes.objects import PART_OF
from pulumi_berth.kubernetes.parent_gateway import ParentGatewayArgs

_TIMEOUT_SECONDS = 10.0
_DIGEST_ANNOTATION = "berth/digest"
# The pauses before the restarts are 10, 20 and 40 seconds:
# https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restarts
_HOPELESS_RESTARTS = 3
# The node kills a pod at its deletion timestamp. It then takes a moment to report that.
_LOST_AFTER = timedelta(seconds=30)
_INSTANCE_LABEL = "app.kubernetes.io/instance"
_OWN_OBJECTS = f"app.kubernetes.io/part-of={PART_OF}"


def observe(access: ClusterAccess, outputs: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the gateway and of each model version.

    A state is `ready`, `not ready`, `cold` (no replicas, as configured), `missing` (the next
    `berth up` recreates it), or the reason that the newest pod does not run, such as
    `ImagePullBackOff`. The gateway is `replacing` while a pod with the previous configuration ends:
    it still accepts a removed key, and does not know a new one. With an existing Gateway, its state
    can be the reason with which the Gateway's controller rejects the route, such as
    `NotAllowedByListeners`.
    """
    has_parent = "parent_gateway" in outputs
    core, apps = _connect(access)
    namespace = outputs["namespace"]
    deployments = {
        deployment.metadata.name: deployment
        for deployment in apps.list_namespaced_deployment(
            namespace, _request_timeout=_TIMEOUT_SECONDS
        ).items
    }
    pods = core.list_namespaced_pod(namespace, _request_timeout=_TIMEOUT_SECONDS).items
    pods_by_instance: dict[str, list[Any]] = {}
    for pod in pods:
        labels = pod.metadata.labels or {}
        pods_by_instance.setdefault(labels.get(_INSTANCE_LABEL, ""), []).append(pod)

    def get_version_state(model: str, version: str, berth: dict[str, Any]) -> dict[str, Any]:
        name = get_berth_name(model, version)
        deployment, berth_pods = deployments.get(name), pods_by_instance.get(name, [])
        return {
            "state": _get_state(deployment, berth_pods),
            "replicas": _count_replicas(deployment),
            "start_to_ready_seconds": _get_start_to_ready_seconds(berth_pods),
            **{key: berth[key] for key in ("traffic", "exposed")},
            **_get_served(berth, berth_pods),
        }

    gateway_states = [
        _get_state(
            deployments.get(name), [pod for pod in pods if pod.metadata.name.startswith(f"{name}-")]
        )
        for name in ([] if has_parent else [TRAEFIK]) + [GATEWAY]
    ]
    if has_parent:
        gateway_states.append(find_route_state(access.create_client(), outputs))
    gateway_labels = GATEWAY_LABELS.items()
    if any(
        _is_ending(pod) for pod in pods if gateway_labels <= (pod.metadata.labels or {}).items()
    ):
        gateway_states.append("replacing")
    return {
        "gateway": next((state for state in gateway_states if state != "ready"), "ready"),
        "models": {
            model: {
                "versions": {
                    version: get_version_state(model, version, berth)
                    for version, berth in entry["versions"].items()
                },
                "shadow": entry["shadow"],
            }
            for model, entry in _add_unrecorded(outputs["models"], deployments.values()).items()
        },
    }


def _add_unrecorded(
    models: dict[str, Any], deployments: Iterable[Any]
) -> dict[str, dict[str, Any]]:
    """Return the recorded models with the versions that an interrupted update has deployed."""
    found = {
        model: {**entry, "versions": dict(entry["versions"])} for model, entry in models.items()
    }
    for deployment in deployments:
        labels = deployment.spec.selector.match_labels or {}
        model, version = labels.get("berth/model"), labels.get("berth/version")
        if model is None or version is None:
            continue
        template = deployment.spec.template
        annotations = (template.metadata and template.metadata.annotations) or {}
        berth = {
            "traffic": 0,
            "exposed": False,
            "digest": annotations.get(_DIGEST_ANNOTATION, ""),
            "image": template.spec.containers[0].image,
        }
        entry = found.setdefault(model, {"versions": {}, "shadow": None})
        entry["versions"].setdefault(version, berth)
    return found


def _get_served(berth: dict[str, Any], pods: list[Any]) -> dict[str, str]:
    """Return the digest and the image that a version's ready pods serve.

    After a failed update, the pods of the update before it can be the ones that serve. Without a
    ready pod, return what the last update declared.
    """
    declared = {key: str(berth[key]) for key in ("digest", "image")}
    served = [
        {
            "digest": (pod.metadata.annotations or {}).get(_DIGEST_ANNOTATION, declared["digest"]),
            "image": pod.spec.containers[0].image,
        }
        for pod in pods
        if _is_ready(pod)
    ]
    return declared if not served or declared in served else served[0]


def _is_ending(pod: Any) -> bool:
    """Return whether a deleted pod can still respond. One of a lost node stays in the API."""
    kill_time = pod.metadata.deletion_timestamp
    return kill_time is not None and datetime.now(UTC) < kill_time + _LOST_AFTER


def _is_ready(pod: Any) -> bool:
    return pod.metadata.deletion_timestamp is None and any(
        condition.type == "Ready" and condition.status == "True"
        for condition in pod.status.conditions or []
    )


def find_hopeless_pods(access: ClusterAccess, namespace: str, known: set[str]) -> list[str]:
    """Return why new pods of the stack will not become ready, one line each.

    A container that has crashed several times is started again only after pauses that double.

    Args:
        known: UIDs of the pods that existed before the update. They can be what it replaces.
    """
    core, _ = _connect(access)
    own = {"label_selector": _OWN_OBJECTS, "_request_timeout": _TIMEOUT_SECONDS}
    found = []
    for pod in core.list_namespaced_pod(namespace, **own).items:
        statuses = [
            *(pod.status.init_container_statuses or []),
            *(pod.status.container_statuses or []),
        ]
        restarts = max((status.restart_count for status in statuses), default=0)
        if pod.metadata.uid in known or restarts < _HOPELESS_RESTARTS or _is_ready(pod):
            continue
        name = (pod.metadata.labels or {}).get(_INSTANCE_LABEL, pod.metadata.name)
        diagnosis = diagnose_pod(name, _to_json(pod))
        found.append(
            f"{name} crashed {restarts + 1} times" if diagnosis is None else str(diagnosis)
        )
    return sorted(set(found))


def list_pod_uids(access: ClusterAccess, namespace: str) -> set[str]:
    """Return the UIDs of all pods in the namespace."""
    core, _ = _connect(access)
    pods = core.list_namespaced_pod(namespace, _request_timeout=_TIMEOUT_SECONDS).items
    return {pod.metadata.uid for pod in pods}


def read_logs(
    access: ClusterAccess,
    outputs: dict[str, Any],
    *,
    model: str | None,
    version: str | None,
    last: int,
    follow: bool,
) -> Iterator[tuple[str, str]]:
    """Yield (pod name, line) for the last lines of each pod's log.

    Args:
        model: Model whose pods are read. If None, all pods are read.
        version: Version whose pods are read. If None, all versions are read.
        last: Number of lines per pod.
        follow: Whether to continue with new lines of these pods until all of them have ended.
    """
    core, _ = _connect(access)
    namespace = outputs["namespace"]
    labels = {"berth/model": model, "berth/version": version}
    selector = ",".join(f"{key}={value}" for key, value in labels.items() if value is not None)
    pods = [
        pod.metadata.name
        for pod in core.list_namespaced_pod(
            namespace, label_selector=selector, _request_timeout=_TIMEOUT_SECONDS
        ).items
    ]
    for pod in pods:
        # Read the raw response: the client would parse a JSON log line as an object.
        response = core.read_namespaced_pod_log(
            pod,
            namespace,
            tail_lines=last,
            _preload_content=False,
            _request_timeout=_TIMEOUT_SECONDS,
        )
        for line in response.data.decode(errors="replace").splitlines():
            yield pod, line
    if follow and pods:
        yield from _follow(core, namespace, pods)


def explain_failures(
    access: ClusterAccess, namespace: str, parent: ParentGatewayArgs | None = None
) -> list[str]:
    """Return why berths of the stack are not ready and what to do, one line per reason.

    Other programs' objects in the namespace are ignored.

    Args:
        parent: Gateway of someone else that receives the stack's requests.
    """
    core, apps = _connect(access)
    diagnoses: list[BerthDiagnosis | None] = []
    own = {"label_selector": _OWN_OBJECTS, "_request_timeout": _TIMEOUT_SECONDS}
    for deployment in apps.list_namespaced_deployment(namespace, **own).items:
        diagnoses.append(diagnose_deployment(deployment.metadata.name, _to_json(deployment)))
    for pod in core.list_namespaced_pod(namespace, **own).items:
        name = pod.metadata.labels.get(_INSTANCE_LABEL, pod.metadata.name)
        diagnoses.append(diagnose_pod(name, _to_json(pod)))
    lines = sorted({str(diagnosis) for diagnosis in diagnoses if diagnosis is not None})
    if parent is not None and (line := explain_route(access.create_client(), namespace, parent)):
        lines.append(line)
    return lines


def _follow(core: Any, namespace: str, pods: list[str]) -> Iterator[tuple[str, str]]:
    """Yield new lines until the last of the pods has ended."""
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


def _connect(access: ClusterAccess) -> tuple[Any, Any]:
    from kubernetes import client

    require_cluster(access, groups={})
    api_client = access.create_client()
    return client.CoreV1Api(api_client), client.AppsV1Api(api_client)


def _count_replicas(deployment: Any) -> str:
    if deployment is None:
        return "0/0"
    return f"{deployment.status.ready_replicas or 0}/{deployment.spec.replicas}"


def _get_start_to_ready_seconds(pods: list[Any]) -> int | None:
    """Return the seconds from container start to readiness, of the slowest ready pod.

    The cluster stores whole seconds. Return None if no pod is ready.
    """
    durations = []
    for pod in pods:
        start_times = [
            container.state.running.started_at
            for container in pod.status.container_statuses or []
            if container.state.running is not None
        ]
        ready_times = [
            condition.last_transition_time
            for condition in pod.status.conditions or []
            if condition.type == "Ready" and condition.status == "True"
        ]
        if start_times and ready_times:
            durations.append(int((ready_times[0] - max(start_times)).total_seconds()))
    return max(durations, default=None)


def _get_state(deployment: Any, pods: list[Any]) -> str:
    if deployment is None:
        return "missing"
    status = deployment.status
    if deployment.spec.replicas == 0:
        return "cold"
    is_current = (status.observed_generation or 0) >= deployment.metadata.generation
    is_complete = (
        (status.updated_replicas or 0) == (status.replicas or 0) == (status.ready_replicas or 0)
    )
    if is_current and is_complete and status.ready_replicas:
        return "ready"
    newest = max(pods, key=lambda pod: str(pod.metadata.creation_timestamp), default=None)
    diagnosis = diagnose_pod("", _to_json(newest)) if newest is not None else None
    return diagnosis.reason if diagnosis is not None else "not ready"


def _to_json(resource: Any) -> dict[str, Any]:
    """Return a client object in the JSON form of the cluster's API."""
    from kubernetes import client

    content: dict[str, Any] = client.ApiClient().sanitize_for_serialization(resource)
    return content
