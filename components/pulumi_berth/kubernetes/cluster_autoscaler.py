"""ClusterAutoscaler: what adds nodes where pods wait for one, and takes away those it can spare."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.rbac.v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

from pulumi_berth.kubernetes.berth import NAME_SERVICE
from pulumi_berth.kubernetes.kubernetes_object import (
    in_namespace,
    labels,
    ready_within,
    restricted_pod,
    rolling,
)

SERVICE_ACCOUNT = "cluster-autoscaler"
_READY_SECONDS = 120
_METRICS_PORT = 8085
_LOOK = ["get", "list", "watch"]


@dataclass(frozen=True, kw_only=True)
class ClusterAutoscalerArgs:
    """Which cluster's nodes, and with what.

    Attributes:
        namespace: that it runs in, as plain text.
        cluster_name: EKS's name of the cluster, by which it finds the groups of nodes.
        region: of the cluster.
        image: of the cluster's own minor version:
            https://github.com/kubernetes/autoscaler/tree/master/cluster-autoscaler#releases
    """

    namespace: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    region: str
    image: str


class ClusterAutoscaler(pulumi.ComponentResource):
    """The Kubernetes project's cluster autoscaler, for managed node groups of EKS.

    What it may do in AWS comes from its service account's identity (PodRole), which is to be there
    before it.
    """

    def __init__(
        self, name: str, args: ClusterAutoscalerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:ClusterAutoscaler", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        marks = labels("cluster-autoscaler", name)
        chosen = {"app.kubernetes.io/name": "cluster-autoscaler"}

        def metadata() -> dict[str, Any]:
            return in_namespace(args.namespace, SERVICE_ACCOUNT, marks)

        account = ServiceAccount(
            name, metadata=metadata(), automount_service_account_token=False, opts=inside
        )
        subject = {
            "kind": "ServiceAccount",
            "name": account.metadata.name,
            "namespace": args.namespace,
        }
        full = pulumi.Output.concat("berth-", args.namespace, "-autoscaler")
        whole = ClusterRole(
            name, metadata={"name": full, "labels": marks}, rules=_CLUSTER_RULES, opts=inside
        )
        rights: list[pulumi.Resource] = [
            ClusterRoleBinding(
                name,
                metadata={"name": full, "labels": marks},
                role_ref={
                    "api_group": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": whole.metadata.name,
                },
                subjects=[subject],
                opts=inside,
            )
        ]
        own = Role(name, metadata=metadata(), rules=_OWN_RULES, opts=inside)
        rights.append(
            RoleBinding(
                name,
                metadata=metadata(),
                role_ref={
                    "api_group": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": own.metadata.name,
                },
                subjects=[subject],
                opts=inside,
            )
        )
        NetworkPolicy(name, metadata=metadata(), spec=_policy(chosen), opts=inside)
        Deployment(
            name,
            metadata=metadata(),
            spec={
                "replicas": 1,
                "selector": {"match_labels": chosen},
                **rolling(_READY_SECONDS),
                "template": {
                    "metadata": {"labels": marks},
                    "spec": restricted_pod(
                        [_container(args)],
                        service_account=account.metadata.name,
                        token=True,
                        priority_class_name="system-cluster-critical",
                    ),
                },
            },
            opts=ready_within(_READY_SECONDS, after=rights, opts=inside),
        )
        self.register_outputs({})


def _container(args: ClusterAutoscalerArgs) -> dict[str, Any]:
    amounts = {"cpu": "100m", "memory": "600Mi"}
    return {
        "name": "cluster-autoscaler",
        "image": args.image,
        "command": ["./cluster-autoscaler"],
        "args": [
            "--cloud-provider=aws",
            pulumi.Output.concat(
                "--node-group-auto-discovery=asg:tag=k8s.io/cluster-autoscaler/enabled,"
                "k8s.io/cluster-autoscaler/",
                args.cluster_name,
            ),
            # Of the groups that fit, the one with the least left over: no graphics processors for
            # a pod that wants none.
            "--expander=least-waste",
            "--balance-similar-node-groups",
            "--skip-nodes-with-system-pods=false",
            pulumi.Output.concat("--namespace=", args.namespace),
            "--logging-format=json",
        ],
        "env": [{"name": "AWS_REGION", "value": args.region}],
        "ports": [{"name": "metrics", "container_port": _METRICS_PORT}],
        "resources": {"requests": amounts, "limits": amounts},
        "liveness_probe": {
            "http_get": {"path": "/health-check", "port": "metrics"},
            "initial_delay_seconds": 30,
            "period_seconds": 30,
            "timeout_seconds": 5,
        },
    }


def _policy(chosen: dict[str, str]) -> dict[str, Any]:
    """In: nobody. Out: the cluster's API, AWS's, the identity agent on the node, names."""
    return {
        "pod_selector": {"match_labels": chosen},
        "policy_types": ["Ingress", "Egress"],
        "egress": [
            {"ports": [{"port": port, "protocol": "TCP"} for port in (443, 6443, 80)]},
            NAME_SERVICE,
        ],
    }


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"api_groups": [group], "resources": resources, "verbs": verbs}


# What it simulates the scheduler with, and what it does to nodes that it empties.
_CLUSTER_RULES = [
    _rule("", ["nodes"], [*_LOOK, "update", "patch", "delete"]),
    _rule(
        "",
        [
            "pods",
            "services",
            "namespaces",
            "replicationcontrollers",
            "persistentvolumeclaims",
            "persistentvolumes",
        ],
        _LOOK,
    ),
    _rule("", ["pods/eviction"], ["create"]),
    _rule("", ["pods/status"], ["update"]),
    _rule("", ["events"], ["create", "patch"]),
    _rule("apps", ["daemonsets", "replicasets", "statefulsets"], _LOOK),
    _rule("batch", ["jobs", "cronjobs"], _LOOK),
    _rule("policy", ["poddisruptionbudgets"], _LOOK),
    _rule(
        "storage.k8s.io",
        [
            "csidrivers",
            "csinodes",
            "csistoragecapacities",
            "storageclasses",
            "volumeattachments",
        ],
        _LOOK,
    ),
    _rule("resource.k8s.io", ["deviceclasses", "resourceclaims", "resourceslices"], _LOOK),
]
# Which of its copies is at work, and what it is doing.
_OWN_RULES = [
    _rule("coordination.k8s.io", ["leases"], ["create", "get", "list", "update"]),
    _rule("", ["configmaps"], ["create", "get", "list", "watch", "update", "delete"]),
]
