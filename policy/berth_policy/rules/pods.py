"""Rules for pods and their namespaces."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from berth_policy.rule import UNKNOWN, Check, Level, Resource, Rule, Severity, Stack

_POD_SPECS = {
    "kubernetes:core/v1:Pod": "spec",
    "kubernetes:apps/v1:Deployment": "spec.template.spec",
    "kubernetes:apps/v1:StatefulSet": "spec.template.spec",
    "kubernetes:apps/v1:DaemonSet": "spec.template.spec",
    "kubernetes:batch/v1:Job": "spec.template.spec",
    "kubernetes:batch/v1:CronJob": "spec.jobTemplate.spec.template.spec",
}
_POD_TYPES = tuple(_POD_SPECS)
_NAMESPACE = "kubernetes:core/v1:Namespace"
_NETWORK_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_ENFORCE_LABEL = "pod-security.kubernetes.io/enforce"
# The ingress controller and the autoscaler call the cluster's API.
_NEED_TOKEN = ("traefik", "autoscaler")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_FULL_TAG = re.compile(r":[^/:@]*\d+\.\d+\.\d+[^/:@]*$")
_SECRET_NAME = re.compile(r"(password|passwd|secret|token|api_?key|credential)", re.IGNORECASE)

Container = Mapping[str, Any]


def _pod_spec(resource: Resource) -> Mapping[str, Any]:
    spec = resource.get(_POD_SPECS[resource.type], {})
    return spec if isinstance(spec, Mapping) else {}


def _containers(resource: Resource) -> Iterator[Container]:
    pod = _pod_spec(resource)
    for key in ("initContainers", "containers"):
        containers = pod.get(key) or ()
        if isinstance(containers, list):
            yield from (one for one in containers if isinstance(one, Mapping))


def _security_context(container: Container) -> Mapping[str, Any]:
    context = container.get("securityContext") or {}
    return context if isinstance(context, Mapping) else {}


def _each_container(
    check_container: Callable[[Container, Mapping[str, Any]], str | None],
) -> Check:
    """Return a check that applies `check_container` to every container and its pod."""

    def check(resource: Resource, _: Stack) -> Iterator[str]:
        pod = _pod_spec(resource)
        for container in _containers(resource):
            if message := check_container(container, pod):
                yield f"container {container.get('name')} {message}"

    return check


def _check_root(container: Container, pod: Mapping[str, Any]) -> str | None:
    own, shared = _security_context(container), pod.get("securityContext") or {}
    if shared is UNKNOWN or own.get("runAsNonRoot", shared.get("runAsNonRoot")) is True:
        return None
    return "can run as root"


def _check_root_filesystem(container: Container, _: Mapping[str, Any]) -> str | None:
    if _security_context(container).get("readOnlyRootFilesystem") is True:
        return None
    return "can write to its root file system"


def _check_escalation(container: Container, _: Mapping[str, Any]) -> str | None:
    context = _security_context(container)
    if context.get("allowPrivilegeEscalation") is False and not context.get("privileged"):
        return None
    return "can gain privileges"


def _check_capabilities(container: Container, _: Mapping[str, Any]) -> str | None:
    capabilities = _security_context(container).get("capabilities") or {}
    if "ALL" in (capabilities.get("drop") or ()) and not capabilities.get("add"):
        return None
    return "has Linux capabilities"


def _check_seccomp(container: Container, pod: Mapping[str, Any]) -> str | None:
    shared = (pod.get("securityContext") or {}).get("seccompProfile") or {}
    profile = _security_context(container).get("seccompProfile") or shared
    if profile.get("type") in ("RuntimeDefault", "Localhost"):
        return None
    return "can make any system call"


def _check_limits(container: Container, _: Mapping[str, Any]) -> str | None:
    limits = (container.get("resources") or {}).get("limits") or {}
    missing = [] if limits is UNKNOWN else [key for key in ("cpu", "memory") if not limits.get(key)]
    return f"has no limit for {' and '.join(missing)}" if missing else None


def _check_image_pinned(container: Container, _: Mapping[str, Any]) -> str | None:
    image = container.get("image")
    if not isinstance(image, str) or _DIGEST.search(image) or _FULL_TAG.search(image):
        return None
    return f"runs {image}, a tag that can move to another image"


def _check_image_digest(container: Container, _: Mapping[str, Any]) -> str | None:
    image = container.get("image")
    if not isinstance(image, str) or _DIGEST.search(image):
        return None
    return f"runs {image}, which has no digest"


def _check_environment(container: Container, _: Mapping[str, Any]) -> str | None:
    env = container.get("env") or ()
    secrets = [
        str(entry["name"])
        for entry in (env if isinstance(env, list) else ())
        if isinstance(entry, Mapping)
        and _SECRET_NAME.search(str(entry.get("name")))
        and entry.get("value")
        and not str(entry.get("value")).startswith("/")  # a path to a secret, not the secret
    ]
    return f"has {', '.join(secrets)} in plaintext" if secrets else None


def _check_host_access(resource: Resource, _: Stack) -> Iterator[str]:
    pod = _pod_spec(resource)
    shared = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key) is True]
    volumes = pod.get("volumes")
    if isinstance(volumes, list):
        shared += [
            f"hostPath {one['hostPath'].get('path')}"
            for one in volumes
            if isinstance(one, Mapping) and isinstance(one.get("hostPath"), Mapping)
        ]
    if shared:
        yield f"it uses {', '.join(shared)}"


def _check_token(resource: Resource, _: Stack) -> Iterator[str]:
    automount = _pod_spec(resource).get("automountServiceAccountToken")
    if automount in (False, UNKNOWN) or resource.name.endswith(_NEED_TOKEN):
        return
    yield "it receives a token for the cluster's API"


def _check_pod_security(namespace: Resource, _: Stack) -> Iterator[str]:
    labels = namespace.get("metadata.labels", {})
    if labels is not UNKNOWN and labels.get(_ENFORCE_LABEL) not in ("restricted", UNKNOWN):
        yield f"its label {_ENFORCE_LABEL} is {labels.get(_ENFORCE_LABEL)!r}"


def _check_default_deny(namespace: Resource, stack: Stack) -> Iterator[str]:
    name = namespace.get("metadata.name")
    for policy in stack.of_type(_NETWORK_POLICY):
        # An empty selector covers every pod, and no rules means that nothing is allowed.
        if (
            policy.get("metadata.namespace") in (name, UNKNOWN)
            and not policy.get("spec.podSelector", {})
            and {"Ingress", "Egress"} <= set(policy.get("spec.policyTypes", ()))
            and not policy.get("spec.ingress")
            and not policy.get("spec.egress")
        ):
            return
    yield "it has no NetworkPolicy that denies traffic by default"


def _rule(
    rule_id: str,
    severity: Severity,
    description: str,
    remedy: str,
    check: Check,
    level: Level = "mandatory",
) -> Rule:
    return Rule(
        id=rule_id,
        severity=severity,
        level=level,
        types=_POD_TYPES,
        description=description,
        remedy=remedy,
        check=check,
    )


RULES = (
    _rule(
        "pod-not-root",
        "high",
        "Containers do not run as root.",
        "Set runAsNonRoot in securityContext.",
        _each_container(_check_root),
    ),
    _rule(
        "pod-read-only-root",
        "medium",
        "Containers have a read-only root file system.",
        "Set readOnlyRootFilesystem, and mount an emptyDir for files that it writes.",
        _each_container(_check_root_filesystem),
    ),
    _rule(
        "pod-no-escalation",
        "high",
        "Containers cannot gain privileges.",
        "Set allowPrivilegeEscalation to false, and remove privileged.",
        _each_container(_check_escalation),
    ),
    _rule(
        "pod-no-capabilities",
        "high",
        "Containers have no Linux capabilities.",
        'Set capabilities.drop to ["ALL"], and add none.',
        _each_container(_check_capabilities),
    ),
    _rule(
        "pod-seccomp",
        "medium",
        "Containers make only system calls that the runtime allows by default.",
        "Set seccompProfile.type to RuntimeDefault.",
        _each_container(_check_seccomp),
    ),
    _rule(
        "pod-limits",
        "medium",
        "Containers have CPU and memory limits.",
        "Set resources.limits.",
        _each_container(_check_limits),
    ),
    _rule(
        "pod-image-pinned",
        "high",
        "A container's image has a digest, or a tag with a full version.",
        "Specify the image by digest.",
        _each_container(_check_image_pinned),
    ),
    _rule(
        "pod-image-digest",
        "low",
        "A container's image has a digest.",
        "Specify the image by digest (berth:kubernetes.controller_image, "
        "berth:cluster.autoscaler_image): everyone who can push to the repository can move a tag.",
        _each_container(_check_image_digest),
        level="advisory",
    ),
    _rule(
        "pod-no-secret-in-environment",
        "critical",
        "A container has no plaintext secret in its environment variables.",
        "Use a Secret: valueFrom.secretKeyRef, or a file.",
        _each_container(_check_environment),
    ),
    _rule(
        "pod-no-host-access",
        "high",
        "Pods do not use the network, processes or directories of their node.",
        "Remove hostNetwork, hostPID, hostIPC and hostPath volumes.",
        _check_host_access,
    ),
    _rule(
        "pod-no-token",
        "medium",
        "Only pods of the ingress controller and the autoscaler receive a token for the cluster's "
        "API.",
        "Set automountServiceAccountToken to false.",
        _check_token,
    ),
    Rule(
        id="namespace-restricted",
        severity="high",
        types=(_NAMESPACE,),
        description="Namespaces enforce the Pod Security Standard `restricted`.",
        remedy=f"Set the label {_ENFORCE_LABEL}: restricted.",
        check=_check_pod_security,
    ),
    Rule(
        id="namespace-default-deny",
        severity="high",
        types=(_NAMESPACE,),
        needs_stack=True,
        description="Namespaces deny all traffic that no NetworkPolicy allows.",
        remedy="Declare a NetworkPolicy with an empty podSelector, for Ingress and Egress, without "
        "rules.",
        check=_check_default_deny,
    ),
)
