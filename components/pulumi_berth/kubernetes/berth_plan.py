"""The plan of a berth: its replicas and the resources of each replica, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pulumi

from pulumi_berth.component_args import ArgumentError
from pulumi_berth.hosted_models import HostedModelArgs, ReplicaArgs, ResourceArgs, find_exposed
from pulumi_berth.values import default_to


@dataclass(frozen=True, kw_only=True)
class GpuPlacement:
    """Rules that place a pod with GPUs on a GPU node."""

    taint: str | None = None
    """Key of the taint that the pod tolerates. Defaults to `nvidia.com/gpu`."""
    node_selector: Mapping[str, str] | None = None
    """Labels that the node must have."""
    runtime_class: str | None = None
    """RuntimeClass of the pod. Defaults to the cluster's default."""
    surge: bool | None = None
    """If true, an update starts a new pod before it terminates an old one, which requires free GPUs
    or nodes that the cluster adds. By default, it terminates one pod first, so that an update also
    works where all GPUs are in use. A single replica is then unavailable until the new pod is
    ready."""


@dataclass(frozen=True, kw_only=True)
class BerthPlan:
    """Replicas of a berth, and the resources of each replica.

    Attributes:
        min_replicas: Replicas without load.
        max_replicas: Replicas under the highest load.
        target_cpu_percent: CPU utilization that the autoscaler maintains.
        target_in_flight: In-flight requests per pod that the autoscaler also maintains. If None,
            the autoscaler ignores them.
        cpu: CPU request, as a Kubernetes quantity.
        cpu_limit: CPU limit, as a Kubernetes quantity.
        memory: Memory request and limit, as a Kubernetes quantity.
        gpus: GPUs of each pod.
        surges: Whether an update starts a new pod before it terminates an old one.
    """

    min_replicas: int
    max_replicas: int
    target_cpu_percent: int
    target_in_flight: int | None
    cpu: pulumi.Input[str]
    cpu_limit: pulumi.Input[str]
    memory: pulumi.Input[str]
    gpus: int
    surges: bool

    @property
    def is_autoscaled(self) -> bool:
        """Whether an autoscaler sets the number of replicas."""
        return self.max_replicas > self.min_replicas


def get_berth_name(model: str, version: str) -> str:
    """Return the name of a version's objects in a cluster. The specification keeps it unique."""
    return f"{model}-{version}".replace(".", "-")


def is_in_use(model: HostedModelArgs, version: str) -> bool:
    """Return whether the version receives client requests or shadow traffic."""
    return version in find_exposed(model) or version == model.shadow


def plan_replicas(
    model: HostedModelArgs, version: str, *, has_pod_metrics: bool = False
) -> ReplicaArgs:
    """Return the replicas of one version.

    A version that receives client requests or shadow traffic has at least one replica. An unused
    version keeps the minimum, or has no replica if it is a cold standby.

    Args:
        has_pod_metrics: Whether the cluster serves metrics of pods. An autoscaler that waits for a
            missing metric never removes replicas.
    """
    replicas = model.replicas or ReplicaArgs()
    lowest = default_to(replicas.min, 1)
    highest = default_to(replicas.max, lowest)
    if is_in_use(model, version):
        lowest, highest = max(lowest, 1), max(highest, 1)
    else:
        lowest = highest = 0 if model.versions[version].cold_standby else lowest
    target_in_flight = replicas.target_in_flight if has_pod_metrics else None
    return replace(replicas, min=lowest, max=highest, target_in_flight=target_in_flight)


def build_berth_plan(
    replicas: ReplicaArgs | None,
    resources: ResourceArgs | None,
    gpu: GpuPlacement | None = None,
) -> BerthPlan:
    """Return the plan that the arguments and their defaults describe.

    Raises:
        ArgumentError: If the minimum number of replicas exceeds the maximum.
    """
    replicas, resources = replicas or ReplicaArgs(), resources or ResourceArgs()
    lowest = default_to(replicas.min, 1)
    highest = default_to(replicas.max, lowest)
    if not 0 <= lowest <= highest:
        problem = f"min is {lowest} and max is {highest}; use 0 <= min <= max"
        raise ArgumentError([("replicas", problem)])
    gpus = default_to(resources.gpus, 0)
    cpu = "1" if resources.cpu is None else resources.cpu
    return BerthPlan(
        min_replicas=lowest,
        max_replicas=highest,
        target_cpu_percent=default_to(replicas.target_cpu_percent, 70),
        target_in_flight=replicas.target_in_flight,
        cpu=cpu,
        cpu_limit=cpu if resources.cpu_limit is None else resources.cpu_limit,
        memory="512Mi" if resources.memory is None else resources.memory,
        gpus=gpus,
        surges=gpus == 0 or bool(gpu is not None and gpu.surge),
    )
