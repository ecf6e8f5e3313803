"""The permissions of Traefik: read its namespace, and the GatewayClasses of the cluster."""

from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.rbac.v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

from pulumi_berth.kubernetes.api_groups import GATEWAY_GROUP
from pulumi_berth.kubernetes.objects import build_metadata

_READ = ["get", "list", "watch"]
_RBAC = "rbac.authorization.k8s.io"


def grant_permissions(
    name: str,
    namespace: pulumi.Input[str],
    cluster_name: pulumi.Input[str],
    account: pulumi.Input[str],
    labels: Mapping[str, str],
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """Give the ServiceAccount `account` the permissions of the controller; return the bindings.

    Args:
        cluster_name: Name of the cluster-scoped objects, which no other stack uses.
    """
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    metadata = build_metadata(namespace, "traefik", labels)
    # Classes and namespaces are cluster-scoped: a Role cannot grant access to them.
    cluster_metadata = {"name": cluster_name, "labels": dict(labels)}
    role = Role(
        name,
        metadata=metadata,
        rules=[
            _build_rule("", ["services", "secrets", "configmaps"], _READ),
            _build_rule("discovery.k8s.io", ["endpointslices"], _READ),
            _build_rule(
                GATEWAY_GROUP,
                [
                    "gateways",
                    "httproutes",
                    "grpcroutes",
                    "tlsroutes",
                    "referencegrants",
                    "backendtlspolicies",
                ],
                _READ,
            ),
            _build_rule(
                GATEWAY_GROUP,
                [
                    "gateways/status",
                    "httproutes/status",
                    "grpcroutes/status",
                    "tlsroutes/status",
                    "backendtlspolicies/status",
                ],
                ["update", "patch"],
            ),
            _build_rule(
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
        metadata=cluster_metadata,
        rules=[
            _build_rule("", ["namespaces"], ["list", "watch"]),
            _build_rule(GATEWAY_GROUP, ["gatewayclasses"], _READ),
            _build_rule(GATEWAY_GROUP, ["gatewayclasses/status"], ["update", "patch"]),
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
            metadata=cluster_metadata,
            role_ref={
                "api_group": _RBAC,
                "kind": "ClusterRole",
                "name": cluster_role.metadata.name,
            },
            subjects=[subject],
            opts=opts,
        ),
    ]


def _build_rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, list[str]]:
    return {"api_groups": [group], "resources": resources, "verbs": verbs}
