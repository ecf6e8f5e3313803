"""Pods, and the namespaces that they are in."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from berth_policy.rule import UNKNOWN, Check, Level, Resource, Rule, Severity, Stack

_TEMPLATES = {
    "kubernetes:core/v1:Pod": "spec",
    "kubernetes:apps/v1:Deployment": "spec.template.spec",
    "kubernetes:apps/v1:StatefulSet": "spec.template.spec",
    "kubernetes:apps/v1:DaemonSet": "spec.template.spec",
    "kubernetes:batch/v1:Job": "spec.template.spec",
    "kubernetes:batch/v1:CronJob": "spec.jobTemplate.spec.template.spec",
}
_PODS = tuple(_TEMPLATES)
_NAMESPACE = "kubernetes:core/v1:Namespace"
_NETWORK_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_LEVEL = "pod-security.kubernetes.io/enforce"
# These talk to the cluster's API: it is what they are for.
_MAY_HAVE_TOKEN = ("traefik", "autoscaler")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_FULL_TAG = re.compile(r":[^/:@]*\d+\.\d+\.\d+[^/:@]*$")
_SECRET_NAME = re.compile(r"(password|passwd|secret|token|api_?key|credential)", re.IGNORECASE)

Container = Mapping[str, Any]


def _pod(resource: Resource) -> Mapping[str, Any]:
    found = resource.at(_TEMPLATES[resource.type], {})
    return found if isinstance(found, Mapping) else {}


def _containers(resource: Resource) -> Iterator[Container]:
    pod = _pod(resource)
    for key in ("initContainers", "containers"):
        found = pod.get(key) or ()
        if isinstance(found, list):
            yield from (one for one in found if isinstance(one, Mapping))


def _security(container: Container) -> Mapping[str, Any]:
    found = container.get("securityContext") or {}
    return found if isinstance(found, Mapping) else {}


def _each(wrong: Callable[[Container, Mapping[str, Any]], str | None]) -> Check:
    """A check of every container: `wrong` is given it and its pod, and says what is wrong."""

    def check(resource: Resource, _: Stack) -> Iterator[str]:
        pod = _pod(resource)
        for container in _containers(resource):
            if said := wrong(container, pod):
                yield f"container {container.get('name')} {said}"

    return check


def _root(container: Container, pod: Mapping[str, Any]) -> str | None:
    own, shared = _security(container), pod.get("securityContext") or {}
    if shared is UNKNOWN or own.get("runAsNonRoot", shared.get("runAsNonRoot")) is True:
        return None
    return "may run as root"


def _writes(container: Container, _: Mapping[str, Any]) -> str | None:
    if _security(container).get("readOnlyRootFilesystem") is True:
        return None
    return "writes to its root"


def _escalates(container: Container, _: Mapping[str, Any]) -> str | None:
    security = _security(container)
    if security.get("allowPrivilegeEscalation") is False and not security.get("privileged"):
        return None
    return "may get more rights than it starts with"


def _capable(container: Container, _: Mapping[str, Any]) -> str | None:
    capabilities = _security(container).get("capabilities") or {}
    if "ALL" in (capabilities.get("drop") or ()) and not capabilities.get("add"):
        return None
    return "keeps capabilities of the kernel"


def _unconfined(container: Container, pod: Mapping[str, Any]) -> str | None:
    shared = (pod.get("securityContext") or {}).get("seccompProfile") or {}
    profile = _security(container).get("seccompProfile") or shared
    if profile.get("type") in ("RuntimeDefault", "Localhost"):
        return None
    return "makes any system call"


def _unlimited(container: Container, _: Mapping[str, Any]) -> str | None:
    limits = (container.get("resources") or {}).get("limits") or {}
    missing = [] if limits is UNKNOWN else [key for key in ("cpu", "memory") if not limits.get(key)]
    return f"has no limit of {' and '.join(missing)}" if missing else None


def _floating(container: Container, _: Mapping[str, Any]) -> str | None:
    image = container.get("image")
    if not isinstance(image, str) or _DIGEST.search(image) or _FULL_TAG.search(image):
        return None
    return f"runs {image}, which may be another image tomorrow"


def _tagged(container: Container, _: Mapping[str, Any]) -> str | None:
    image = container.get("image")
    if not isinstance(image, str) or _DIGEST.search(image):
        return None
    return f"runs {image}"


def _told_secret(container: Container, _: Mapping[str, Any]) -> str | None:
    env = container.get("env") or ()
    named = [
        str(entry["name"])
        for entry in (env if isinstance(env, list) else ())
        if isinstance(entry, Mapping)
        and _SECRET_NAME.search(str(entry.get("name")))
        and entry.get("value")
        and not str(entry.get("value")).startswith("/")  # where a secret is, not what it is
    ]
    return f"has {', '.join(named)} in its environment" if named else None


def _host(resource: Resource, _: Stack) -> Iterator[str]:
    pod = _pod(resource)
    shared = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key) is True]
    volumes = pod.get("volumes")
    if isinstance(volumes, list):
        shared += [
            f"hostPath {one['hostPath'].get('path')}"
            for one in volumes
            if isinstance(one, Mapping) and isinstance(one.get("hostPath"), Mapping)
        ]
    if shared:
        yield f"its node shares {', '.join(shared)} with it"


def _token(resource: Resource, _: Stack) -> Iterator[str]:
    found = _pod(resource).get("automountServiceAccountToken")
    if found in (False, UNKNOWN) or resource.name.endswith(_MAY_HAVE_TOKEN):
        return
    yield "it gets a token for the cluster's API"


def _restricted(namespace: Resource, _: Stack) -> Iterator[str]:
    labels = namespace.at("metadata.labels", {})
    if labels is not UNKNOWN and labels.get(_LEVEL) not in ("restricted", UNKNOWN):
        yield f"its label {_LEVEL} is {labels.get(_LEVEL)!r}"


def _closed(namespace: Resource, stack: Stack) -> Iterator[str]:
    name = namespace.at("metadata.name")
    for policy in stack.of(_NETWORK_POLICY):
        # No selector: every pod; and nothing that is let through.
        if (
            policy.at("metadata.namespace") in (name, UNKNOWN)
            and not policy.at("spec.podSelector", {})
            and {"Ingress", "Egress"} <= set(policy.at("spec.policyTypes", ()))
            and not policy.at("spec.ingress")
            and not policy.at("spec.egress")
        ):
            return
    yield "no NetworkPolicy closes it: every pod reaches every other"


def _rule(
    name: str,
    severity: Severity,
    says: str,
    remedy: str,
    check: Check,
    level: Level = "mandatory",
) -> Rule:
    return Rule(
        id=name, severity=severity, level=level, types=_PODS, says=says, remedy=remedy, check=check
    )


RULES = (
    _rule(
        "pod-not-root",
        "high",
        "A container does not run as root.",
        "Set runAsNonRoot in securityContext.",
        _each(_root),
    ),
    _rule(
        "pod-read-only-root",
        "medium",
        "A container does not write to its root.",
        "Set readOnlyRootFilesystem, and mount an emptyDir where it writes.",
        _each(_writes),
    ),
    _rule(
        "pod-no-escalation",
        "high",
        "A container keeps the rights that it starts with.",
        "Set allowPrivilegeEscalation to false, and take privileged away.",
        _each(_escalates),
    ),
    _rule(
        "pod-no-capabilities",
        "high",
        "A container has no capabilities of the kernel.",
        'Set capabilities.drop to ["ALL"], and add none.',
        _each(_capable),
    ),
    _rule(
        "pod-seccomp",
        "medium",
        "A container makes the system calls that the runtime allows by default.",
        "Set seccompProfile.type to RuntimeDefault.",
        _each(_unconfined),
    ),
    _rule(
        "pod-limits",
        "medium",
        "A container has limits of processor and memory.",
        "Set resources.limits.",
        _each(_unlimited),
    ),
    _rule(
        "pod-image-fixed",
        "high",
        "A container's image has a digest, or the tag of a full version.",
        "Name it by its digest.",
        _each(_floating),
    ),
    _rule(
        "pod-image-by-digest",
        "low",
        "A container's image is named by its digest.",
        "Name it by its digest (berth:kubernetes.controller_image, "
        "berth:cluster.autoscaler_image): a tag is only as good as who may push it.",
        _each(_tagged),
        level="advisory",
    ),
    _rule(
        "pod-no-secret-in-environment",
        "critical",
        "No secret stands in a container's environment, where whoever sees the pod sees it.",
        "Take it from a Secret: valueFrom.secretKeyRef, or a file.",
        _each(_told_secret),
    ),
    _rule(
        "pod-apart-from-node",
        "high",
        "A pod shares no network, processes or folders with its node.",
        "Take hostNetwork, hostPID, hostIPC and hostPath volumes away.",
        _host,
    ),
    _rule(
        "pod-no-token",
        "medium",
        "A pod has no token for the cluster's API, but for the gateway controller and the "
        "autoscaler.",
        "Set automountServiceAccountToken to false.",
        _token,
    ),
    Rule(
        id="namespace-restricted",
        severity="high",
        types=(_NAMESPACE,),
        says="A namespace holds its pods to Pod Security `restricted`.",
        remedy=f"Set its label {_LEVEL}: restricted.",
        check=_restricted,
    ),
    Rule(
        id="namespace-closed",
        severity="high",
        types=(_NAMESPACE,),
        whole=True,
        says="In a namespace nothing is reached until a policy says so.",
        remedy="Declare a NetworkPolicy with an empty podSelector, for Ingress and Egress, without "
        "rules.",
        check=_closed,
    ),
)
