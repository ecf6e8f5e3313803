"""Objects as the stack declares them, whatever somebody changed in the cluster.

The state's outputs cannot tell: a refresh writes changed content into them. Of the inputs, the
Kubernetes provider compares only the fields and the list elements that the program declares:
https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/util.go (`pruneMap`).
An added permission in a Role is therefore no change to it. A replacement of the object by its
declaration, as a dry run, returns what the object should be, with all defaults of the API server.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from berth.platforms.platform import HIDDEN
from pulumi_berth.kubernetes.cluster_access import get_json, replace_object

_MANAGER = "berth"
# The identity and the life cycle of the object, which the declaration does not contain.
_KEPT_METADATA = ("uid", "resourceVersion", "finalizers", "ownerReferences")
# Some clusters add the credentials of a ServiceAccount.
_KEPT_CONTENT = ("status", "secrets", "imagePullSecrets")
# `kubectl rollout restart` sets it: https://github.com/kubernetes/kubectl (polymorphichelpers).
_RESTARTED = "kubectl.kubernetes.io/restartedAt"
_BY_DESIGN = {"f:metadata", "f:status"}
_CONFLICT = 409
_ATTEMPTS = 5


def build_declared(
    inputs: Mapping[str, Any], actual: Mapping[str, Any], *, is_scaled: bool
) -> dict[str, Any]:
    """Return the declared object, with what others write by design: the body of a replacement.

    These are labels and annotations that the declaration does not contain, the status, and the
    replicas that an autoscaler sets. A secret value, which the state hides, is that in the cluster.

    Args:
        actual: The object in the cluster.
        is_scaled: Whether the object is what an autoscaler scales.
    """
    declared: dict[str, Any] = _fill_hidden(
        {key: value for key, value in inputs.items() if not key.startswith("__")}, actual
    )
    before, metadata = actual["metadata"], {**declared["metadata"]}
    metadata |= {key: before[key] for key in _KEPT_METADATA if key in before}
    for key in ("labels", "annotations"):
        if merged := {**(before.get(key) or {}), **(metadata.get(key) or {})}:
            metadata[key] = merged
    declared["metadata"] = metadata
    declared |= {key: actual[key] for key in _KEPT_CONTENT if key in actual}
    if is_scaled and "replicas" in (actual.get("spec") or {}):
        declared["spec"] = {**declared["spec"], "replicas": actual["spec"]["replicas"]}
    if restarted := _read_pod_annotations(actual).get(_RESTARTED):
        declared = copy.deepcopy(declared)
        template = declared["spec"]["template"].setdefault("metadata", {})
        template["annotations"] = {**(template.get("annotations") or {}), _RESTARTED: restarted}
    return declared


def replace_by_declared(
    client: Any,
    path: str,
    inputs: Mapping[str, Any],
    actual: Mapping[str, Any],
    *,
    is_scaled: bool,
    is_dry_run: bool,
) -> dict[str, Any]:
    """Replace an object by its declaration, and return it as the API server stores it.

    If another program, such as a controller, writes the object at the same time, it starts over
    with what that wrote.

    Raises:
        ApiException: If the API server rejects the object, or the user may not replace it.
    """
    from kubernetes.client import ApiException

    for attempt in range(_ATTEMPTS):
        body = build_declared(inputs, actual, is_scaled=is_scaled)
        try:
            return replace_object(client, path, body, manager=_MANAGER, is_dry_run=is_dry_run)
        except ApiException as error:
            if error.status != _CONFLICT or attempt == _ATTEMPTS - 1:
                raise
        actual = get_json(client, path)
    raise AssertionError  # The last attempt returns or raises.


def has_other_writers(outputs: Mapping[str, Any]) -> bool:
    """Return whether the state's outputs of an object contain what the stack did not write.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management describes
    the managed fields. Writers of a subresource, such as controllers, set the status or replicas.
    """
    own = outputs.get("__fieldManager")
    return any(
        "subresource" not in entry
        and (entry.get("manager"), entry.get("operation")) != (own, "Apply")
        and not set(entry.get("fieldsV1") or {}) <= _BY_DESIGN
        for entry in outputs["metadata"].get("managedFields") or ()
    )


def find_unmet(declared: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of declared values that the object does not have. Others may be defaults."""
    if declared == HIDDEN:
        return
    if isinstance(declared, dict) and isinstance(actual, dict):
        for key in sorted(declared):
            if not key.startswith("__"):
                inner = f"{path}.{key}" if path else key
                yield from find_unmet(declared[key], actual.get(key), inner)
    elif isinstance(declared, list) and isinstance(actual, list) and len(declared) == len(actual):
        for index, (one, other) in enumerate(zip(declared, actual, strict=True)):
            yield from find_unmet(one, other, f"{path}[{index}]")
    elif declared != actual and (declared or actual):
        yield path


def _read_pod_annotations(actual: Mapping[str, Any]) -> Mapping[str, str]:
    match actual.get("spec"):
        case {"template": {"metadata": {"annotations": dict(annotations)}}}:
            return annotations
    return {}


def _fill_hidden(declared: Any, actual: Any) -> Any:
    """Return `declared` with each value that the state hides taken from `actual`."""
    if declared == HIDDEN:
        return actual
    if isinstance(declared, dict):
        known = actual if isinstance(actual, dict) else {}
        return {key: _fill_hidden(value, known.get(key)) for key, value in declared.items()}
    if isinstance(declared, list):
        items = actual if isinstance(actual, list) else []
        padded = [*items, *[None] * len(declared)]
        return [_fill_hidden(one, other) for one, other in zip(declared, padded, strict=False)]
    return declared
