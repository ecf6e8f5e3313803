"""Why a berth does not become ready, and what to do: from what the cluster says of its pods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_REMEDIES = {
    "ImagePullBackOff": "see that the image is in the registry, and that the nodes may pull it",
    "ErrImagePull": "see that the image is in the registry, and that the nodes may pull it",
    "InvalidImageName": "mend the image's name",
    "CreateContainerConfigError": "see what its pod refers to: a Secret or ConfigMap is missing",
    "RunContainerError": "see `kubectl describe pod`: the node cannot start the container",
    "OOMKilled": "give it more resources.memory: the model does not fit",
    "CrashLoopBackOff": "mend what its last words say; `berth logs` has more of them",
    "Error": "mend what its last words say; `berth logs` has more of them",
    "Unschedulable": "lower resources or replicas, or add nodes that fit",
    "FailedCreate": "mend what the admission says, or its rule: a policy or quota of the cluster",
}


@dataclass(frozen=True, kw_only=True)
class Hindrance:
    """What keeps a berth from being ready.

    Attributes:
        berth: its name in the cluster.
        reason: the cluster's word for it, such as `ImagePullBackOff`.
        message: what the cluster says.
        last_words: the last line that its container wrote before it ended; empty when it did not.
    """

    berth: str
    reason: str
    message: str
    last_words: str = ""

    def __str__(self) -> str:
        remedy = _REMEDIES.get(self.reason, "see `kubectl describe`")
        said = f" It said last: {self.last_words}" if self.last_words else ""
        message = " ".join(self.message.split()).rstrip(".")
        return f"{self.berth}: {self.reason}: {message}.{said} To do: {remedy}."


def of_pod(berth: str, pod: Mapping[str, object]) -> Hindrance | None:
    """What keeps a pod (as the cluster's API gives it) from being ready; None for nothing known."""
    status = _map(pod.get("status"))
    for condition in _maps(status.get("conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _hindrance(berth, condition)
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in _maps(status.get(kind)):
            if found := _of_container(berth, container):
                return found
    return None


def _of_container(berth: str, container: Mapping[str, object]) -> Hindrance | None:
    state = _map(container.get("state"))
    waiting = _map(state.get("waiting"))
    ended = _map(_map(container.get("lastState")).get("terminated")) or _map(
        state.get("terminated")
    )
    if ended.get("reason") == "OOMKilled":
        return Hindrance(berth=berth, reason="OOMKilled", message="it used up its memory")
    if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return _hindrance(berth, waiting, _last_line(ended))
    if ended.get("reason") == "Error":
        text = f"it ended with status {ended.get('exitCode')}"
        return Hindrance(berth=berth, reason="Error", message=text, last_words=_last_line(ended))
    return None


def _last_line(ended: Mapping[str, object]) -> str:
    """What the node kept of the log's end (`components/kubernetes_object.py` asks for it)."""
    lines = str(ended.get("message") or "").strip().splitlines()
    return lines[-1] if lines else ""


def of_deployment(berth: str, deployment: Mapping[str, object]) -> Hindrance | None:
    """What keeps a deployment from making pods at all; None for nothing."""
    for condition in _maps(_map(deployment.get("status")).get("conditions")):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _hindrance(berth, condition)
    return None


def _hindrance(berth: str, said: Mapping[str, object], last_words: str = "") -> Hindrance:
    return Hindrance(
        berth=berth,
        reason=str(said.get("reason")),
        message=str(said.get("message") or "no more is said"),
        last_words=last_words,
    )


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: object) -> Iterator[Mapping[str, object]]:
    yield from (
        (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else ()
    )
