"""What Traefik may do in a cluster: read its own namespace, and the classes of gateways."""

from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.rbac.v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

from pulumi_berth.kubernetes.kubernetes_object import in_namespace

_READ = ["get", "list", "watch"]
_GATEWAY_GROUP = "gateway.networking.k8s.io"
_RBAC = "rbac.authorization.k8s.io"


def grant(
    name: str,
    namespace: pulumi.Input[str],
    namespace_name: str,
    account: pulumi.Input[str],
    marks: Mapping[str, str],
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """Give the ServiceAccount `account` of `namespace` what the controller needs."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    metadata = in_namespace(namespace, "traefik", marks)
    # Classes and namespaces are the cluster's: a Role cannot name them.
    outside = {"name": f"berth-{namespace_name}-traefik", "labels": dict(marks)}
    role = Role(
        name,
        metadata=metadata,
        rules=[
            _rule("", ["services", "secrets", "configmaps"], _READ),
            _rule("discovery.k8s.io", ["endpointslices"], _READ),
            _rule(
                _GATEWAY_GROUP,
                ["gateways", "httproutes", "grpcroutes", "referencegrants", "backendtlspolicies"],
                _READ,
            ),
            _rule(
                _GATEWAY_GROUP,
                [
                    "gateways/status",
                    "httproutes/status",
                    "grpcroutes/status",
                    "backendtlspolicies/status",
                ],
                ["update", "patch"],
            ),
            _rule(
                "traefik.io",
                [
                    "middlewares",
                    "middlewaretcps",
                    "ingressroutes",
                    "ingressroutetcps",
                    "ingressrouteudps",
                    "tlsoptions",
                    "tlsstores",
                    "serverstransports",
                    "serverstransporttcps",
                    "traefikservices",
                ],
                _READ,
            ),
        ],
        opts=opts,
    )
    cluster_role = ClusterRole(
        name,
        metadata=outside,
        rules=[
            _rule("", ["namespaces"], ["list", "watch"]),
            _rule(_GATEWAY_GROUP, ["gatewayclasses"], _READ),
            _rule(_GATEWAY_GROUP, ["gatewayclasses/status"], ["update", "patch"]),
        ],
        opts=opts,
    )
    return [
        RoleBinding(
            name,
            metadata=metadata,
            role_ref={"api_group": _RBAC, "kind": "Role", "name": role.metadata.name},
            subjects=[subject],
            opts=opts,
        ),
        ClusterRoleBinding(
            name,
            metadata=outside,
            role_ref={
                "api_group": _RBAC,
                "kind": "ClusterRole",
                "name": cluster_role.metadata.name,
            },
            subjects=[subject],
            opts=opts,
        ),
    ]


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, list[str]]:
    return {"api_groups": [group], "resources": resources, "verbs": verbs}
