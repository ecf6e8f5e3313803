"""HostingNamespace: the namespace of a stack, closed until something opens it."""

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Namespace
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from pulumi_berth.kubernetes.kubernetes_object import in_namespace, labels

# Above the default of pods without a class, far below the cluster's own.
_EXPOSED, _STANDBY = 100_000, 1_000


@dataclass(frozen=True, kw_only=True)
class HostingNamespaceArgs:
    """Its name, which the stack `stack` has for itself."""

    namespace: str
    stack: str


class HostingNamespace(pulumi.ComponentResource):
    """A namespace that holds its pods to Pod Security `restricted`, in which no pod reaches or is
    reached by another until a policy says so, and two priorities: what clients reach before what
    stands by.

    Attributes:
        name: of the namespace.
        exposed_priority, standby_priority: names of the priority classes.
    """

    name: pulumi.Output[str]
    exposed_priority: pulumi.Output[str]
    standby_priority: pulumi.Output[str]

    def __init__(
        self, name: str, args: HostingNamespaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:HostingNamespace", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        marks = labels("namespace", args.namespace)
        modes = ("enforce", "audit", "warn")
        namespace = Namespace(
            name,
            metadata={
                "name": args.namespace,
                "annotations": {"berth/stack": args.stack},
                "labels": {
                    **marks,
                    **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes},
                    **{f"pod-security.kubernetes.io/{mode}-version": "latest" for mode in modes},
                },
            },
            opts=inside,
        )
        self.name = namespace.metadata.name
        NetworkPolicy(
            f"{name}-default-deny",
            metadata=in_namespace(self.name, "default-deny", marks),
            spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
            opts=inside,
        )
        self.exposed_priority = _priority(name, args.namespace, "exposed", _EXPOSED, inside)
        self.standby_priority = _priority(name, args.namespace, "standby", _STANDBY, inside)
        self.register_outputs({"name": self.name})


def _priority(
    name: str, namespace: str, what: str, value: int, opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    """Priority classes have no namespace: their names carry the stack's."""
    made = PriorityClass(
        f"{name}-{what}",
        metadata={"name": f"{namespace}-{what}", "labels": labels("priority", namespace)},
        value=value,
        description=f"Berths of {namespace} that are {what}",
        opts=opts,
    )
    return made.metadata.name
