"""Diagnose why a berth is not ready, from the status of its Deployment and pods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_CHECK_IMAGE = "Check that the image is in the registry and that the nodes can pull it"
_READ_LOG = "Fix the error in the last log line. For more, run 'berth logs'"
_REMEDIES = {
    "ImagePullBackOff": _CHECK_IMAGE,
    "ErrImagePull": _CHECK_IMAGE,
    "InvalidImageName": "Correct the image name",
    "CreateContainerConfigError": "Create the Secret or ConfigMap that the pod refers to",
    "RunContainerError": "The node cannot start the container. Run 'kubectl describe pod'",
    "OOMKilled": "Increase resources.memory so that the model fits",
    "CrashLoopBackOff": _READ_LOG,
    "Error": _READ_LOG,
    "Unschedulable": "Lower resources or replicas, or add nodes with enough capacity",
    "FailedCreate": "Change the stack so that the cluster's policy or quota admits the pod",
}


@dataclass(frozen=True, kw_only=True)
class BerthDiagnosis:
    """The reason that a berth is not ready.

    Attributes:
        berth: Name of the berth in the cluster.
        reason: Reason that the cluster reports, such as `ImagePullBackOff`.
        message: Message that the cluster reports.
        last_log_line: Last line that the container logged before it ended. Empty if it did not
            end.
    """

    berth: str
    reason: str
    message: str
    last_log_line: str = ""

    def __str__(self) -> str:
        remedy = _REMEDIES.get(self.reason, "Run 'kubectl describe' for details")
        last_log_line = f" Last log line: {self.last_log_line}" if self.last_log_line else ""
        message = " ".join(self.message.split()).rstrip(".")
        return f"{self.berth}: {self.reason}: {message}.{last_log_line} To do: {remedy}."


def diagnose_pod(berth: str, pod: Mapping[str, object]) -> BerthDiagnosis | None:
    """Return why a pod, in the API's JSON form, is not ready, or None if no reason is known."""
    status = _as_mapping(pod.get("status"))
    for condition in _list_mappings(status.get("conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _build_diagnosis(berth, condition)
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in _list_mappings(status.get(kind)):
            if diagnosis := _diagnose_container(berth, container):
                return diagnosis
    return None


def diagnose_deployment(berth: str, deployment: Mapping[str, object]) -> BerthDiagnosis | None:
    """Return why a Deployment cannot create pods, or None if it can."""
    for condition in _list_mappings(_as_mapping(deployment.get("status")).get("conditions")):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _build_diagnosis(berth, condition)
    return None


def _diagnose_container(berth: str, container: Mapping[str, object]) -> BerthDiagnosis | None:
    state = _as_mapping(container.get("state"))
    waiting = _as_mapping(state.get("waiting"))
    last_state = _as_mapping(container.get("lastState"))
    terminated = _as_mapping(last_state.get("terminated")) or _as_mapping(state.get("terminated"))
    if terminated.get("reason") == "OOMKilled":
        message = "the container exceeded its memory limit"
        return BerthDiagnosis(berth=berth, reason="OOMKilled", message=message)
    if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return _build_diagnosis(berth, waiting, _get_last_log_line(terminated))
    if terminated.get("reason") == "Error":
        return BerthDiagnosis(
            berth=berth,
            reason="Error",
            message=f"the container exited with status {terminated.get('exitCode')}",
            last_log_line=_get_last_log_line(terminated),
        )
    return None


def _get_last_log_line(terminated: Mapping[str, object]) -> str:
    """Return the last line of the log's end, which the node keeps for Berth's containers."""
    lines = str(terminated.get("message") or "").strip().splitlines()
    return lines[-1] if lines else ""


def _build_diagnosis(
    berth: str, report: Mapping[str, object], last_log_line: str = ""
) -> BerthDiagnosis:
    return BerthDiagnosis(
        berth=berth,
        reason=str(report.get("reason")),
        message=str(report.get("message") or "the cluster reports no details"),
        last_log_line=last_log_line,
    )


def _as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list_mappings(value: object) -> Iterator[Mapping[str, object]]:
    yield from (
        (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else ()
    )
