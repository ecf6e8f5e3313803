"""HostingNamespace: the namespace of a stack, with all network traffic denied by default."""

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Namespace
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.objects import build_labels, build_metadata

# Above the default for pods without a class, and far below the cluster's own classes.
_EXPOSED, _STANDBY = 100_000, 1_000


@dataclass(frozen=True, kw_only=True)
class HostingNamespaceArgs:
    """Arguments for `HostingNamespace`.

    Attributes:
        namespace: Name of the namespace. No other stack uses it.
        stack: Name of the stack, for the annotation `berth/stack`.
    """

    namespace: str
    stack: str


class HostingNamespace(pulumi.ComponentResource):
    """A namespace that enforces Pod Security `restricted` and denies all traffic by default.

    It has two priority classes, so that exposed berths are scheduled before standby berths.

    Attributes:
        name: Name of the namespace.
        exposed_priority: Name of the priority class of exposed berths.
        standby_priority: Name of the priority class of standby berths.
    """

    name: pulumi.Output[str]
    exposed_priority: pulumi.Output[str]
    standby_priority: pulumi.Output[str]

    def __init__(
        self, name: str, args: HostingNamespaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:HostingNamespace", name, None, opts)
        args = parse_args(HostingNamespaceArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        labels = build_labels("namespace", args.namespace)
        modes = ("enforce", "audit", "warn")
        namespace = Namespace(
            name,
            metadata={
                "name": args.namespace,
                "annotations": {"berth/stack": args.stack},
                "labels": {
                    **labels,
                    **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes},
                    **{f"pod-security.kubernetes.io/{mode}-version": "latest" for mode in modes},
                },
            },
            opts=child_opts,
        )
        self.name = namespace.metadata.name
        NetworkPolicy(
            f"{name}-default-deny",
            metadata=build_metadata(self.name, "default-deny", labels),
            spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
            opts=child_opts,
        )
        self.exposed_priority = _create_priority(
            name, args.namespace, "exposed", _EXPOSED, child_opts
        )
        self.standby_priority = _create_priority(
            name, args.namespace, "standby", _STANDBY, child_opts
        )
        self.register_outputs(
            {
                "name": self.name,
                "exposed_priority": self.exposed_priority,
                "standby_priority": self.standby_priority,
            }
        )


def _create_priority(
    name: str, namespace: str, kind: str, value: int, opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    """Create a priority class. It is cluster-scoped, so that its name contains the namespace."""
    priority = PriorityClass(
        f"{name}-{kind}",
        metadata={
            "name": f"{namespace}-{kind}",
            "labels": build_labels("priority", namespace),
        },
        value=value,
        description=f"Priority of {kind} berths in namespace {namespace}",
        opts=opts,
    )
    return priority.metadata.name
