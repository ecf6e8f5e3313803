"""ClusterAutoscaler: adds nodes for pending pods and removes nodes that are not needed."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.rbac.v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.objects import (
    DNS_EGRESS,
    build_labels,
    build_metadata,
    build_restricted_pod,
    build_rolling_update,
    limit_ready_time,
)

SERVICE_ACCOUNT = "cluster-autoscaler"
_READY_SECONDS = 120
_METRICS_PORT = 8085
_READ = ["get", "list", "watch"]


@dataclass(frozen=True, kw_only=True)
class ClusterAutoscalerArgs:
    """Arguments for `ClusterAutoscaler`.

    Attributes:
        namespace: Namespace that the autoscaler runs in.
        cluster_name: Name of the EKS cluster. The autoscaler finds the node groups by it.
        region: AWS Region of the cluster.
        image: Autoscaler image for the cluster's minor version:
            https://github.com/kubernetes/autoscaler/tree/master/cluster-autoscaler#releases
    """

    namespace: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    region: str
    image: pulumi.Input[str]


class ClusterAutoscaler(pulumi.ComponentResource):
    """The Kubernetes project's cluster autoscaler, for managed node groups of EKS.

    Its AWS permissions come from the IAM role of its service account (`PodRole`). Create that role
    first and pass it in `depends_on`.

    Attributes:
        deployment: Name of the Deployment.
    """

    deployment: pulumi.Output[str]

    def __init__(
        self, name: str, args: ClusterAutoscalerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:ClusterAutoscaler", name, None, opts)
        args = parse_args(ClusterAutoscalerArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        labels = build_labels("cluster-autoscaler", name)
        selector = {"app.kubernetes.io/name": "cluster-autoscaler"}
        metadata = build_metadata(args.namespace, SERVICE_ACCOUNT, labels)
        account = ServiceAccount(
            name, metadata=metadata, automount_service_account_token=False, opts=child_opts
        )
        subject = {
            "kind": "ServiceAccount",
            "name": account.metadata.name,
            "namespace": args.namespace,
        }
        cluster_role_name = pulumi.Output.concat("berth-", args.namespace, "-autoscaler")
        cluster_role = ClusterRole(
            name,
            metadata={"name": cluster_role_name, "labels": labels},
            rules=_CLUSTER_RULES,
            opts=child_opts,
        )
        bindings: list[pulumi.Resource] = [
            ClusterRoleBinding(
                name,
                metadata={"name": cluster_role_name, "labels": labels},
                role_ref={
                    "api_group": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": cluster_role.metadata.name,
                },
                subjects=[subject],
                opts=child_opts,
            )
        ]
        role = Role(name, metadata=metadata, rules=_NAMESPACE_RULES, opts=child_opts)
        bindings.append(
            RoleBinding(
                name,
                metadata=metadata,
                role_ref={
                    "api_group": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": role.metadata.name,
                },
                subjects=[subject],
                opts=child_opts,
            )
        )
        NetworkPolicy(name, metadata=metadata, spec=_build_policy(selector), opts=child_opts)
        deployment = Deployment(
            name,
            metadata=metadata,
            spec={
                "replicas": 1,
                "selector": {"match_labels": selector},
                **build_rolling_update(_READY_SECONDS),
                "template": {
                    "metadata": {"labels": labels},
                    "spec": build_restricted_pod(
                        [_build_container(args)],
                        service_account=account.metadata.name,
                        mount_token=True,
                        priority_class_name="system-cluster-critical",
                    ),
                },
            },
            opts=limit_ready_time(_READY_SECONDS, after=bindings, opts=child_opts),
        )
        self.deployment = deployment.metadata.name
        self.register_outputs({"deployment": self.deployment})


def _build_container(args: ClusterAutoscalerArgs) -> dict[str, Any]:
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
            # Choose the node group that leaves the least capacity unused, so that a pod without
            # GPUs does not start a GPU node.
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


def _build_policy(selector: dict[str, str]) -> dict[str, Any]:
    """Allow no ingress. Allow requests to the cluster's API, AWS, the identity agent, and DNS."""
    return {
        "pod_selector": {"match_labels": selector},
        "policy_types": ["Ingress", "Egress"],
        "egress": [
            {"ports": [{"port": port, "protocol": "TCP"} for port in (443, 6443, 80)]},
            DNS_EGRESS,
        ],
    }


def _build_rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"api_groups": [group], "resources": resources, "verbs": verbs}


# Objects that it needs to simulate the scheduler, and changes to nodes that it removes.
_CLUSTER_RULES = [
    _build_rule("", ["nodes"], [*_READ, "update", "patch", "delete"]),
    _build_rule(
        "",
        [
            "pods",
            "services",
            "namespaces",
            "replicationcontrollers",
            "persistentvolumeclaims",
            "persistentvolumes",
        ],
        _READ,
    ),
    _build_rule("", ["pods/eviction"], ["create"]),
    _build_rule("", ["pods/status"], ["update"]),
    _build_rule("", ["events"], ["create", "patch"]),
    _build_rule("apps", ["daemonsets", "replicasets", "statefulsets"], _READ),
    _build_rule("batch", ["jobs", "cronjobs"], _READ),
    _build_rule("policy", ["poddisruptionbudgets"], _READ),
    _build_rule(
        "storage.k8s.io",
        [
            "csidrivers",
            "csinodes",
            "csistoragecapacities",
            "storageclasses",
            "volumeattachments",
        ],
        _READ,
    ),
    _build_rule("resource.k8s.io", ["deviceclasses", "resourceclaims", "resourceslices"], _READ),
]
# Leader election, and its status.
_NAMESPACE_RULES = [
    _build_rule("coordination.k8s.io", ["leases"], ["create", "get", "list", "update"]),
    _build_rule("", ["configmaps"], ["create", "get", "list", "watch", "update", "delete"]),
]
