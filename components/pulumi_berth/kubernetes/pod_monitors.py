"""PodMonitors: how the Prometheus operator finds the metrics of a stack."""

from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from berth_protocol.paths import METRICS
from pulumi_berth.kubernetes.api_groups import MONITORS
from pulumi_berth.kubernetes.objects import PART_OF, build_labels, build_metadata

_CONTROLLER = "traefik"
# Name of the pods' label `app.kubernetes.io/name` -> name of the port that serves metrics.
_PORTS = {"berth": "metrics", "gateway": "metrics", _CONTROLLER: "admin"}


def create_pod_monitors(
    namespace: pulumi.Input[str],
    labels: Mapping[str, str],
    *,
    has_controller: bool,
    opts: pulumi.ResourceOptions,
    prefix: str = "",
) -> None:
    """Create one PodMonitor for the berths, one for the gateway, and one for Traefik.

    Args:
        labels: Additional labels, by which the operator's Prometheus selects PodMonitors.
        has_controller: Whether the stack runs Traefik.
        prefix: Prefix of the logical resource names.
    """
    for pods, port in _PORTS.items():
        if pods == _CONTROLLER and not has_controller:
            continue
        selector = {"app.kubernetes.io/name": pods, "app.kubernetes.io/part-of": PART_OF}
        CustomResource(
            f"{prefix}{pods}-monitor",
            api_version=f"{MONITORS}/v1",
            kind="PodMonitor",
            metadata=build_metadata(namespace, pods, {**build_labels("monitor", pods), **labels}),
            spec={
                "selector": {"matchLabels": selector},
                "podMetricsEndpoints": [{"port": port, "path": METRICS}],
            },
            opts=opts,
        )
