"""The plan of a berth: how many copies, and what each of them has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """How a pod with graphics processors finds its node.

    Attributes:
        taint: key of the taint that it tolerates.
        node_selector: labels that the node must have.
        runtime_class: the cluster's default when None.
    """

    taint: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    runtime_class: str | None = None


@dataclass(frozen=True, kw_only=True)
class BerthPlan:
    """What one berth has.

    Attributes:
        copies: pods at rest.
        most_copies: pods under the highest load.
        target_cpu_percent: processor use that the autoscaler holds.
        target_in_flight: requests per pod that it holds besides; not considered when None.
        cpu, memory: Kubernetes quantities, requested and limited.
        gpus: graphics processors of each pod.
    """

    copies: int
    most_copies: int
    target_cpu_percent: int
    target_in_flight: int | None
    cpu: str
    memory: str
    gpus: int

    @property
    def autoscaled(self) -> bool:
        """Whether the number of pods is the autoscaler's business."""
        return self.most_copies > self.copies


def berth_name(model: str, version: str) -> str:
    """What a version's objects are called in a cluster; the specification keeps it unique."""
    return f"{model}-{version}".replace(".", "-")


def copies(
    *, fewest: int, most: int, in_use: bool, standby: Literal["warm", "cold"]
) -> tuple[int, int]:
    """Pods at rest and under the highest load.

    A version that clients or a shadow's copies reach has at least one; of one that nothing
    reaches `fewest` stay while it is warm, and none while it is cold.
    """
    if in_use:
        return max(fewest, 1), max(most, 1)
    kept = fewest if standby == "warm" else 0
    return kept, kept
