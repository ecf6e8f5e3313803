"""HostingNamespace: the namespace of a stack, with all network traffic denied by default."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Namespace, NamespacePatch
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from pulumi_berth.component_args import ArgumentError, parse_args
from pulumi_berth.kubernetes.cluster_access import ClusterAccess
from pulumi_berth.kubernetes.namespace_claim import NamespaceClaim, NamespaceGuard
from pulumi_berth.kubernetes.objects import PART_OF, build_labels, build_metadata
from pulumi_berth.kubernetes.ownership import OWNER, find_reserved_name, mark_objects

DEFAULT_DENY = "default-deny"
# All are above the default for pods without a class, 0, and below the cluster's own classes, which
# start at 2,000,000,000. Every request needs the entry point, so its pods rank highest.
_ENTRY, _EXPOSED, _STANDBY = 1_000_000, 100_000, 1_000


@dataclass(frozen=True, kw_only=True)
class HostingNamespaceArgs:
    """Arguments for `HostingNamespace`.

    Attributes:
        namespace: Name of the namespace. No other stack uses it.
        adopt: Whether the namespace exists already. It is kept when the stack is destroyed, with
            everything in it that the stack did not create. Defaults to false: the namespace is
            created, and kept only if it contains something that the stack did not create.
        names: Names of the objects that the stack creates in the namespace. An object of someone
            else with such a name is an error. Defaults to none.
        access: Access to the cluster, to check who owns the namespace and what is in it. Without
            it, only the API server protects the objects of other stacks, and `destroy` deletes a
            namespace that the stack created with everything in it. It is not a secret: only the
            path of the kubeconfig is stored.
    """

    namespace: str
    adopt: bool | None = None
    names: Sequence[str] | None = None
    access: ClusterAccess | None = None


class HostingNamespace(pulumi.ComponentResource):
    """A namespace that enforces Pod Security `restricted` and denies all traffic by default.

    In an adopted namespace, it denies only the traffic of Berth's pods and enforces nothing, so
    that the pods of others keep working.

    It has three priority classes, so that the entry point is scheduled before exposed berths, and
    these before standby berths. A standby berth never preempts another pod. The names of all
    cluster-scoped objects contain the owner's ID, so that stacks never share one.

    Attributes:
        name: Name of the namespace.
        owner_id: ID of the owner, for names and labels of cluster-scoped objects.
        owner: Annotation of all objects of the owner.
        entry_priority: Name of the priority class of the pods that every request needs.
        exposed_priority: Name of the priority class of exposed berths.
        standby_priority: Name of the priority class of standby berths.
        mark_object: Transformation that adds the owner to the objects of the stack.
    """

    name: pulumi.Output[str]
    owner_id: pulumi.Output[str]
    owner: pulumi.Output[str]
    entry_priority: pulumi.Output[str]
    exposed_priority: pulumi.Output[str]
    standby_priority: pulumi.Output[str]

    def __init__(
        self, name: str, args: HostingNamespaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:HostingNamespace", name, None, opts)
        args = parse_args(HostingNamespaceArgs, args)
        if problem := find_reserved_name(args.namespace):
            raise ArgumentError([("namespace", problem)])
        adopt = bool(args.adopt)
        self._args, self._objects = args, list[pulumi.Resource]()
        self._names = sorted({DEFAULT_DENY, *(args.names or ())})
        claim = NamespaceClaim(
            f"{name}-claim",
            namespace=args.namespace,
            adopt=adopt,
            names=self._names,
            access=args.access,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.owner_id, self.owner = claim.owner_id, claim.owner
        self.mark_object = mark_objects(self.owner, restores=args.access is not None)
        child_opts = pulumi.ResourceOptions(
            parent=self,
            depends_on=[claim],
            transformations=[self.mark_object, self.collect_object],
        )
        labels = build_labels("namespace", args.namespace)
        self.name = (
            _adopt_namespace(name, args.namespace, child_opts)
            if adopt
            else _create_namespace(
                name, args.namespace, labels, child_opts, keep=args.access is not None
            )
        )
        selector = {"match_labels": {"app.kubernetes.io/part-of": PART_OF}} if adopt else {}
        NetworkPolicy(
            f"{name}-{DEFAULT_DENY}",
            metadata=build_metadata(self.name, DEFAULT_DENY, labels),
            spec={"pod_selector": selector, "policy_types": ["Ingress", "Egress"]},
            opts=child_opts,
        )
        self._cluster_name = pulumi.Output.concat("berth-", args.namespace, "-", self.owner_id)
        self._labels = {**build_labels("priority", args.namespace), OWNER: self.owner_id}
        self.entry_priority = self._create_priority(name, "entry", _ENTRY, child_opts)
        self.exposed_priority = self._create_priority(name, "exposed", _EXPOSED, child_opts)
        self.standby_priority = self._create_priority(
            name, "standby", _STANDBY, child_opts, preempts=False
        )
        self.register_outputs(
            {
                "name": self.name,
                "owner_id": self.owner_id,
                "owner": self.owner,
                "entry_priority": self.entry_priority,
                "exposed_priority": self.exposed_priority,
                "standby_priority": self.standby_priority,
            }
        )

    def name_in_cluster(self, suffix: str) -> pulumi.Output[str]:
        """Return the name of a cluster-scoped object, which no other stack uses."""
        return pulumi.Output.concat(self._cluster_name, "-", suffix)

    def collect_object(self, args: pulumi.ResourceTransformationArgs) -> None:
        """Transformation that collects the objects for `guard_removal`."""
        if args.type_.startswith("kubernetes:"):
            self._objects.append(args.resource)

    def guard_removal(self, name: str, opts: pulumi.ResourceOptions) -> None:
        """Declare the check that runs before the collected objects are deleted."""
        NamespaceGuard(
            name,
            namespace=self._args.namespace,
            adopt=bool(self._args.adopt),
            names=self._names,
            owner_id=self.owner_id,
            access=self._args.access,
            guarded=self._objects,
            opts=opts,
        )

    def _create_priority(
        self,
        name: str,
        kind: str,
        value: int,
        opts: pulumi.ResourceOptions,
        *,
        preempts: bool = True,
    ) -> pulumi.Output[str]:
        priority = PriorityClass(
            f"{name}-{kind}",
            metadata={"name": self.name_in_cluster(kind), "labels": self._labels},
            value=value,
            preemption_policy="PreemptLowerPriority" if preempts else "Never",
            description=pulumi.Output.concat(f"Priority of {kind} pods in namespace ", self.name),
            opts=opts,
        )
        return priority.metadata.name


def _create_namespace(
    name: str,
    namespace: str,
    labels: dict[str, str],
    opts: pulumi.ResourceOptions,
    *,
    keep: bool,
) -> pulumi.Output[str]:
    """Create the namespace.

    Args:
        keep: Whether the engine keeps it when it is removed from the stack. The claim then deletes
            it, unless something of someone else is in it.
    """
    modes = ("enforce", "audit", "warn")
    created = Namespace(
        name,
        metadata={
            "name": namespace,
            "labels": {
                **labels,
                **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes},
                **{f"pod-security.kubernetes.io/{mode}-version": "latest" for mode in modes},
            },
        },
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=keep)),
    )
    return created.metadata.name


def _adopt_namespace(name: str, namespace: str, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """Add the owner's annotation to a namespace that exists. `destroy` removes only this field."""
    adopted = NamespacePatch(name, metadata={"name": namespace}, opts=opts)
    return adopted.metadata.apply(lambda _: namespace)
