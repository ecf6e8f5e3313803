"""Rules for permissions in a Kubernetes cluster (RBAC)."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.rule import (
    Resource,
    Rule,
    Stack,
    get_list,
    get_mapping,
    kubernetes_objects,
    kubernetes_types,
)

_BINDINGS = kubernetes_types("ClusterRoleBinding", "RoleBinding")
_ROLES = kubernetes_types("ClusterRole", "Role")
# https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles
_ADMIN_ROLES = ("cluster-admin", "admin")
_ADMIN_CLUSTER_ROLES = (*_ADMIN_ROLES, "edit")
# Roles of the cluster's own components, except those that only read general information.
_SYSTEM_ROLE = "system:"
_INFORMATION_ROLES = (
    "system:basic-user",
    "system:discovery",
    "system:public-info-viewer",
    "system:service-account-issuer-discovery",
)
_PUBLIC_ROLES = ("system:public-info-viewer",)
# Members of this group pass every authorization check.
_ADMIN_GROUP = "system:masters"
_ANONYMOUS = ("system:unauthenticated", "system:anonymous")
# Every user with any credential, and every pod of the cluster.
_EVERYONE = ("system:authenticated", "system:serviceaccounts")
_AGGREGATION_LABEL = "rbac.authorization.k8s.io/aggregate-to-"
_READ_VERBS = ("get", "list", "watch", "*")
_WRITE_VERBS = ("create", "update", "patch", "delete", "deletecollection", "*")
# (API group, resource, verbs): permissions with which their holder gets all others.
# https://kubernetes.io/docs/concepts/security/rbac-good-practices/#privilege-escalation-risks
_ESCALATIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("rbac.authorization.k8s.io", "roles", _WRITE_VERBS),
    ("rbac.authorization.k8s.io", "clusterroles", _WRITE_VERBS),
    ("rbac.authorization.k8s.io", "rolebindings", _WRITE_VERBS),
    ("rbac.authorization.k8s.io", "clusterrolebindings", _WRITE_VERBS),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", _WRITE_VERBS),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", _WRITE_VERBS),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", _WRITE_VERBS),
    ("certificates.k8s.io", "certificatesigningrequests/approval", ("update", "patch", "*")),
    ("certificates.k8s.io", "signers", ("approve", "sign", "*")),
    ("", "serviceaccounts/token", ("create", "*")),
    ("", "nodes/proxy", ("get", "create", "*")),
    ("", "nodes/exec", ("get", "create", "*")),
    ("", "pods/exec", ("get", "create", "*")),
    ("", "pods/attach", ("get", "create", "*")),
    ("", "pods/ephemeralcontainers", ("update", "patch", "*")),
    ("", "persistentvolumes", ("create", "update", "patch", "*")),
)
# In every namespace, these too: they reach the credentials of every namespace.
_CLUSTER_ESCALATIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("", "secrets", (*_READ_VERBS, *_WRITE_VERBS)),
    ("", "pods", ("create", "update", "patch", "*")),
    ("", "podtemplates", ("create", "update", "patch", "*")),
    ("", "replicationcontrollers", ("create", "update", "patch", "*")),
    ("apps", "daemonsets", ("create", "update", "patch", "*")),
    ("apps", "deployments", ("create", "update", "patch", "*")),
    ("apps", "replicasets", ("create", "update", "patch", "*")),
    ("apps", "statefulsets", ("create", "update", "patch", "*")),
    ("batch", "jobs", ("create", "update", "patch", "*")),
    ("batch", "cronjobs", ("create", "update", "patch", "*")),
    ("", "namespaces", ("update", "patch", "*")),
)


def _check_admin(binding: Resource, _: Stack) -> Iterator[str]:
    for content in kubernetes_objects(binding):
        role = str(get_mapping(content, "roleRef").get("name"))
        is_cluster_wide = "ClusterRoleBinding" in binding.type
        admins = _ADMIN_CLUSTER_ROLES if is_cluster_wide else _ADMIN_ROLES
        is_system = role.startswith(_SYSTEM_ROLE) and role not in _INFORMATION_ROLES
        if role in admins or is_system:
            yield f"it grants {role}"
        if _ADMIN_GROUP in _subjects(content):
            yield f"it names the group {_ADMIN_GROUP}"


def _check_everyone(binding: Resource, _: Stack) -> Iterator[str]:
    for content in kubernetes_objects(binding):
        role = get_mapping(content, "roleRef").get("name")
        for subject in _subjects(content):
            is_everyone = subject in _EVERYONE or subject.startswith("system:serviceaccounts:")
            if (subject in _ANONYMOUS and role not in _PUBLIC_ROLES) or (
                is_everyone and role not in _INFORMATION_ROLES
            ):
                yield f"it grants {role} to {subject}"


def _subjects(content: Mapping[str, Any]) -> list[str]:
    return [str(one.get("name")) for one in get_list(content, "subjects") if _is_mapping(one)]


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _rules(role: Resource) -> Iterator[Mapping[str, Any]]:
    for content in kubernetes_objects(role):
        yield from (one for one in get_list(content, "rules") if _is_mapping(one))


def _check_wildcards(role: Resource, _: Stack) -> Iterator[str]:
    for rule in _rules(role):
        for key in ("apiGroups", "resources", "verbs", "nonResourceURLs"):
            if found := [str(one) for one in get_list(rule, key) if "*" in str(one)]:
                yield f"{key} contains {', '.join(found)}"


def _check_escalation(role: Resource, _: Stack) -> Iterator[str]:
    is_cluster_wide = "ClusterRole" in role.type
    risks = (*_ESCALATIONS, *(_CLUSTER_ESCALATIONS if is_cluster_wide else ()))
    for rule in _rules(role):
        verbs = {str(one) for one in get_list(rule, "verbs")}
        groups = {str(one) for one in get_list(rule, "apiGroups")}
        names = {str(one) for one in get_list(rule, "resources")}
        for verb in sorted(verbs & {"escalate", "bind", "impersonate"}):
            yield f"it allows {verb} on {', '.join(sorted(names))}"
        for group, name, risky in risks:
            granted = sorted(verbs & set(risky))
            if granted and groups & {group, "*"} and names & {name, "*"}:
                if name == "secrets" and get_list(rule, "resourceNames"):
                    continue
                yield f"it allows {', '.join(granted)} on {name}"


def _check_aggregation(role: Resource, _: Stack) -> Iterator[str]:
    for content in kubernetes_objects(role):
        if content.get("aggregationRule"):
            yield "its rules come from other roles of the cluster (aggregationRule)"
        labels = get_mapping(get_mapping(content, "metadata"), "labels")
        if added := [key for key in labels if str(key).startswith(_AGGREGATION_LABEL)]:
            yield f"its label {added[0]} adds its rules to a role of the cluster"


RULES = (
    Rule(
        id="rbac-no-admin",
        severity="critical",
        types=_BINDINGS,
        description="Nobody is bound to an administrator role or to a role of the cluster's own "
        "components.",
        remedy="Bind a Role with only the required permissions. On EKS, use an access entry "
        "(berth:cluster.access) for people.",
        check=_check_admin,
    ),
    Rule(
        id="rbac-no-anonymous",
        severity="critical",
        types=_BINDINGS,
        description="Unauthenticated users, all users and all service accounts have no permissions "
        "beyond general information.",
        remedy="Name the users, groups or service accounts in subjects.",
        check=_check_everyone,
    ),
    Rule(
        id="rbac-no-wildcard",
        severity="high",
        types=_ROLES,
        description="Roles list API groups, resources and verbs.",
        remedy="Replace * by the required names.",
        check=_check_wildcards,
    ),
    Rule(
        id="rbac-no-escalation",
        severity="critical",
        types=_ROLES,
        description="Roles grant no permission with which their holder gets others: escalate, "
        "bind, impersonate, changes of roles and webhooks, tokens, commands in pods and nodes; "
        "cluster roles also no secrets and no pods.",
        remedy="Remove the permission, or grant it in one namespace with a Role.",
        check=_check_escalation,
    ),
    Rule(
        id="rbac-no-aggregation",
        severity="high",
        types=kubernetes_types("ClusterRole"),
        description="Cluster roles neither take rules from other roles nor add rules to them.",
        remedy="List the rules, and remove aggregationRule and its labels.",
        check=_check_aggregation,
    ),
)
