"""The pods of the gateway and of the ingress controller: their number, resources and spread."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.autoscaling.v2 import HorizontalPodAutoscaler

from pulumi_berth.hosted_models import ResourceArgs
from pulumi_berth.kubernetes.objects import FORCE_APPLY, build_topology_spread
from pulumi_berth.values import default_to

DEFAULT_REPLICAS = 2
DEFAULT_TARGET_CPU_PERCENT = 70
_HOSTNAME, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


@dataclass(frozen=True, kw_only=True)
class EntryPodsArgs:
    """Pods that every request needs.

    Attributes:
        replicas: Number of pods, or their minimum if an autoscaler sets it. Defaults to 2.
        max_replicas: Maximum number of pods. An autoscaler changes the number if this exceeds
            `replicas`. Defaults to `replicas`.
        target_cpu_percent: CPU utilization that the autoscaler maintains. Defaults to 70.
        resources: Resources of each pod. Defaults to those of the program.
        require_zones: Whether a pod waits rather than run in a zone that already has more pods than
            another. Defaults to false: pods are spread if possible.
    """

    replicas: int | None = None
    max_replicas: int | None = None
    target_cpu_percent: int | None = None
    resources: ResourceArgs | None = None
    require_zones: bool | None = None

    @property
    def min_replicas(self) -> int:
        """Number of pods without load."""
        return default_to(self.replicas, DEFAULT_REPLICAS)

    @property
    def is_autoscaled(self) -> bool:
        """Whether an autoscaler sets the number of pods."""
        return default_to(self.max_replicas, self.min_replicas) > self.min_replicas

    @property
    def annotations(self) -> dict[str, str]:
        """Annotations of the Deployment. An autoscaler that is removed still manages the count."""
        return {} if self.is_autoscaled else FORCE_APPLY

    @property
    def options(self) -> pulumi.ResourceOptions:
        """Options of the Deployment, whose number of replicas the autoscaler changes."""
        return pulumi.ResourceOptions(
            ignore_changes=["spec.replicas"] if self.is_autoscaled else []
        )

    def build_resources(self, defaults: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """Return the container's resources.

        Args:
            defaults: Requests and limits of the program.
        """
        given = self.resources or ResourceArgs()
        requests: dict[str, pulumi.Input[str]] = dict(defaults["requests"])
        limits: dict[str, pulumi.Input[str]] = dict(defaults["limits"])
        if given.cpu is not None:
            requests["cpu"] = limits["cpu"] = given.cpu
        if given.cpu_limit is not None:
            limits["cpu"] = given.cpu_limit
        if given.memory is not None:
            requests["memory"] = limits["memory"] = given.memory
        return {"requests": requests, "limits": limits}

    def build_spread(self, selector: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the constraints that spread the pods over nodes and zones."""
        required = (_ZONE,) if self.require_zones else ()
        return build_topology_spread(selector, (_HOSTNAME, _ZONE), required=required)


def create_autoscaler(
    name: str,
    args: EntryPodsArgs,
    metadata: Mapping[str, Any],
    deployment: Deployment,
    opts: pulumi.ResourceOptions,
) -> None:
    """Create the autoscaler of a Deployment, if its number of pods is a range."""
    if not args.is_autoscaled:
        return
    target = default_to(args.target_cpu_percent, DEFAULT_TARGET_CPU_PERCENT)
    HorizontalPodAutoscaler(
        name,
        metadata=metadata,
        spec={
            "scale_target_ref": {
                "api_version": "apps/v1",
                "kind": "Deployment",
                "name": metadata["name"],
            },
            "min_replicas": args.min_replicas,
            "max_replicas": args.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "average_utilization": target},
                    },
                }
            ],
            "behavior": {"scale_down": {"stabilization_window_seconds": 300}},
        },
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[deployment])),
    )
