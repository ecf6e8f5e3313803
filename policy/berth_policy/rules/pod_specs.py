"""Pods inside Kubernetes objects of every kind, and their containers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from berth_policy.rule import (
    Check,
    Level,
    Resource,
    Rule,
    Severity,
    Stack,
    get_list,
    get_mapping,
    kubernetes_objects,
    matches_type,
)

Pod = Mapping[str, Any]
Container = Mapping[str, Any]

# Custom resources, such as those of KServe, contain pods too. Their kinds are not known here.
POD_TYPES = ("kubernetes:*",)
CONTAINER_KEYS = ("initContainers", "containers", "ephemeralContainers")
# A schema describes pods, but creates none.
_SCHEMAS = ("kubernetes:*:CustomResourceDefinition*",)
_MAX_DEPTH = 30


def find_pods(resource: Resource) -> Iterator[Pod]:
    """Return the specification of each pod that the object creates, whatever the object's kind.

    A pod's specification contains lists of containers, or is the `spec` of a Pod or of a
    `template`.
    """
    if matches_type(_SCHEMAS, resource.type):
        return
    is_pod = matches_type(("kubernetes:*:Pod", "kubernetes:*:PodPatch", "kubernetes:*:PodList"),
                          resource.type)  # fmt: skip
    for content in kubernetes_objects(resource):
        if is_pod:
            yield get_mapping(content, "spec")
        else:
            yield from _search(content, "", 0)


def _search(value: Any, key: str, depth: int) -> Iterator[Pod]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _search(item, key, depth + 1)
    elif isinstance(value, Mapping):
        if any(_is_container_list(value.get(name)) for name in CONTAINER_KEYS):
            yield value
            return
        template = value.get("spec") if key == "template" else None
        if isinstance(template, Mapping):
            yield from _search_template(template, depth)
            return
        for name, item in value.items():
            yield from _search(item, name, depth + 1)


def _search_template(spec: Mapping[str, Any], depth: int) -> Iterator[Pod]:
    """Return the pods of a `template`: its `spec` is a pod, or an object that contains one."""
    inner = list(_search(spec, "spec", depth + 1))
    yield from inner or [spec]


def _is_container_list(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def find_containers(pod: Pod) -> Iterator[Container]:
    """Return all containers of a pod: those that initialize it and those for debugging too."""
    for key in CONTAINER_KEYS:
        yield from (one for one in get_list(pod, key) if isinstance(one, Mapping))


def each_pod(check_pod: Callable[[Pod], Iterator[str]]) -> Check:
    """Return a check that applies `check_pod` to every pod of an object."""

    def check(resource: Resource, _: Stack) -> Iterator[str]:
        for pod in find_pods(resource):
            yield from check_pod(pod)

    return check


def each_container(check_container: Callable[[Container, Pod], str | None]) -> Check:
    """Return a check that applies `check_container` to every container and its pod."""

    def check_pod(pod: Pod) -> Iterator[str]:
        for container in find_containers(pod):
            if message := check_container(container, pod):
                yield f"container {container.get('name')} {message}"

    return each_pod(check_pod)


def build_pod_rule(
    rule_id: str,
    severity: Severity,
    description: str,
    remedy: str,
    check: Check,
    level: Level = "mandatory",
) -> Rule:
    """Return a rule that applies `check` to Kubernetes objects of every kind."""
    return Rule(
        id=rule_id,
        severity=severity,
        level=level,
        types=POD_TYPES,
        description=description,
        remedy=remedy,
        check=check,
    )
