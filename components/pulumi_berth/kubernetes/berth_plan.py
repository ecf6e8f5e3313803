"""The plan of a berth: its replicas and the resources of each replica, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GpuPlacement:
    """Rules that place a pod with GPUs on a GPU node.

    Attributes:
        taint: Key of the taint that the pod tolerates.
        node_selector: Labels that the node must have.
        runtime_class: RuntimeClass of the pod. Defaults to the cluster's default.
    """

    taint: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    runtime_class: str | None = None


@dataclass(frozen=True, kw_only=True)
class BerthPlan:
    """Replicas of a berth, and the resources of each replica.

    Attributes:
        min_replicas: Replicas without load.
        max_replicas: Replicas under the highest load.
        target_cpu_percent: CPU utilization that the autoscaler maintains.
        target_in_flight: In-flight requests per pod that the autoscaler also maintains. If None,
            the autoscaler ignores them.
        cpu: CPU request and limit, as a Kubernetes quantity.
        memory: Memory request and limit, as a Kubernetes quantity.
        gpus: GPUs of each pod.
    """

    min_replicas: int
    max_replicas: int
    target_cpu_percent: int
    target_in_flight: int | None
    cpu: str
    memory: str
    gpus: int

    @property
    def is_autoscaled(self) -> bool:
        """Whether an autoscaler sets the number of replicas."""
        return self.max_replicas > self.min_replicas


def get_berth_name(model: str, version: str) -> str:
    """Return the name of a version's objects in a cluster. The specification keeps it unique."""
    return f"{model}-{version}".replace(".", "-")


def plan_replicas(
    *, min_replicas: int, max_replicas: int, is_in_use: bool, standby: Literal["warm", "cold"]
) -> tuple[int, int]:
    """Return the number of replicas without load and under the highest load.

    A version that receives client requests or shadow traffic has at least one replica. An unused
    version keeps `min_replicas` if it is warm, and none if it is cold.
    """
    if is_in_use:
        return max(min_replicas, 1), max(max_replicas, 1)
    standby_replicas = min_replicas if standby == "warm" else 0
    return standby_replicas, standby_replicas
