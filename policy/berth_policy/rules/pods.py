"""Rules for the containers of pods."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.rule import (
    UNKNOWN,
    Resource,
    Rule,
    Stack,
    get_list,
    get_mapping,
    kubernetes_objects,
    kubernetes_types,
)
from berth_policy.rules.pod_specs import (
    Container,
    Pod,
    build_pod_rule,
    each_container,
    find_pods,
)

# The ingress controller and the autoscaler call the cluster's API. The URN of a resource contains
# the types of the components that declare it, so the name does not decide who gets a token.
_NEED_TOKEN = ("berth:kubernetes:Traefik$", "berth:kubernetes:ClusterAutoscaler$")
_TOKEN_SECRET = "kubernetes.io/service-account-token"  # noqa: S105 - a type, not a secret
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_FULL_TAG = re.compile(r":[^/:@]*\d+\.\d+\.\d+[^/:@]*$")


def _security_context(container: Container) -> Mapping[str, Any]:
    return get_mapping(container, "securityContext")


def _check_root(container: Container, pod: Pod) -> str | None:
    own, shared = _security_context(container), pod.get("securityContext") or {}
    if shared is UNKNOWN:
        return None
    if own.get("runAsUser", shared.get("runAsUser")) == 0:
        return "runs as root"
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) in (True, UNKNOWN):
        return None
    return "can run as root"


def _check_root_filesystem(container: Container, _: Pod) -> str | None:
    if _security_context(container).get("readOnlyRootFilesystem") in (True, UNKNOWN):
        return None
    return "can write to its root file system"


def _check_escalation(container: Container, _: Pod) -> str | None:
    context = _security_context(container)
    if context.get("privileged") not in (None, False, UNKNOWN):
        return "is privileged"
    return None if context.get("allowPrivilegeEscalation") in (False, UNKNOWN) else (
        "can gain privileges"
    )  # fmt: skip


def _check_capabilities(container: Container, _: Pod) -> str | None:
    capabilities = get_mapping(_security_context(container), "capabilities")
    if "ALL" in get_list(capabilities, "drop") and not capabilities.get("add"):
        return None
    return "has Linux capabilities"


def _check_seccomp(container: Container, pod: Pod) -> str | None:
    shared = get_mapping(get_mapping(pod, "securityContext"), "seccompProfile")
    profile = get_mapping(_security_context(container), "seccompProfile") or shared
    if profile.get("type") in ("RuntimeDefault", "Localhost", UNKNOWN):
        return None
    return "can make any system call"


def _check_limits(container: Container, _: Pod) -> str | None:
    limits = get_mapping(container, "resources").get("limits") or {}
    missing = [] if limits is UNKNOWN else [key for key in ("cpu", "memory") if not limits.get(key)]
    return f"has no limit for {' and '.join(missing)}" if missing else None


def _check_image_pinned(container: Container, _: Pod) -> str | None:
    image = container.get("image")
    if not isinstance(image, str) or _DIGEST.search(image) or _FULL_TAG.search(image):
        return None
    return f"runs {image}, a tag that can move to another image"


def _check_image_digest(container: Container, _: Pod) -> str | None:
    image = container.get("image")
    if not isinstance(image, str) or _DIGEST.search(image):
        return None
    return f"runs {image}, which has no digest"


def _check_token(resource: Resource, _: Stack) -> Iterator[str]:
    if any(component in resource.urn for component in _NEED_TOKEN):
        return
    for pod in find_pods(resource):
        if pod.get("automountServiceAccountToken") not in (False, UNKNOWN):
            yield "it receives a token for the cluster's API"
        for volume in get_list(pod, "volumes"):
            sources = get_list(get_mapping(volume, "projected"), "sources")
            if any(isinstance(one, Mapping) and "serviceAccountToken" in one for one in sources):
                yield f"its volume {volume.get('name')} contains a token of its service account"


def _check_token_secret(resource: Resource, _: Stack) -> Iterator[str]:
    if any(content.get("type") == _TOKEN_SECRET for content in kubernetes_objects(resource)):
        yield "it contains a token of a service account that does not expire"


RULES = (
    build_pod_rule(
        "pod-not-root",
        "high",
        "Containers do not run as root.",
        "Set runAsNonRoot in securityContext.",
        each_container(_check_root),
    ),
    build_pod_rule(
        "pod-read-only-root",
        "medium",
        "Containers have a read-only root file system.",
        "Set readOnlyRootFilesystem, and mount an emptyDir for files that it writes.",
        each_container(_check_root_filesystem),
    ),
    build_pod_rule(
        "pod-no-escalation",
        "high",
        "Containers are not privileged and cannot gain privileges.",
        "Set allowPrivilegeEscalation to false, and remove privileged.",
        each_container(_check_escalation),
    ),
    build_pod_rule(
        "pod-no-capabilities",
        "high",
        "Containers have no Linux capabilities.",
        'Set capabilities.drop to ["ALL"], and add none.',
        each_container(_check_capabilities),
    ),
    build_pod_rule(
        "pod-seccomp",
        "medium",
        "Containers make only system calls that the runtime allows by default.",
        "Set seccompProfile.type to RuntimeDefault.",
        each_container(_check_seccomp),
    ),
    build_pod_rule(
        "pod-limits",
        "medium",
        "Containers have CPU and memory limits.",
        "Set resources.limits.",
        each_container(_check_limits),
    ),
    build_pod_rule(
        "pod-image-pinned",
        "high",
        "A container's image has a digest, or a tag with a full version.",
        "Specify the image by digest.",
        each_container(_check_image_pinned),
    ),
    build_pod_rule(
        "pod-image-digest",
        "low",
        "A container's image has a digest.",
        "Specify the image by digest (berth:kubernetes.controller_image, "
        "berth:cluster.autoscaler_image): everyone who can push to the repository can move a tag.",
        each_container(_check_image_digest),
        level="advisory",
    ),
    build_pod_rule(
        "pod-no-token",
        "medium",
        "Only pods that Berth's components Traefik and ClusterAutoscaler declare receive a token "
        "for the cluster's API.",
        "Set automountServiceAccountToken to false, and remove projected tokens.",
        _check_token,
    ),
    Rule(
        id="no-token-secret",
        severity="high",
        types=kubernetes_types("Secret"),
        description="Tokens of service accounts expire: no Secret contains one.",
        remedy="Use the TokenRequest API, or EKS Pod Identity for AWS.",
        check=_check_token_secret,
    ),
)
