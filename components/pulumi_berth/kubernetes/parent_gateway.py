"""An existing Gateway of the cluster that a stack's route attaches to, instead of Berth's Traefik.

The Gateway, its controller and its certificate belong to someone else. Berth adds one HTTPRoute in
its own namespace, and its gateway forwards, splits and mirrors the requests itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.kubernetes.objects import select_namespace


@dataclass(frozen=True, kw_only=True)
class ParentGatewayArgs:
    """An existing Gateway of the Gateway API, which receives the clients' requests."""

    name: str
    """Name of the Gateway."""
    namespace: str
    """Namespace of the Gateway."""
    section_name: str | None = None
    """Listener of the Gateway. Defaults to all listeners that admit the route."""
    plain_http: bool | None = None
    """If true, the listener may serve plain HTTP, with which others on the network can read API
    keys. Defaults to false."""
    controller_namespace: str | None = None
    """Namespace of the pods that forward the Gateway's requests. Only they can reach Berth's
    gateway. Defaults to the namespace of the Gateway, or to none with `controller_cidrs`."""
    controller_labels: Mapping[str, str] | None = None
    """Labels of those pods. Defaults to all pods of the namespace."""
    controller_cidrs: Sequence[str] | None = None
    """Addresses that forward the Gateway's requests, if they are not those of pods."""


def build_parent_ref(parent: ParentGatewayArgs) -> dict[str, pulumi.Input[str]]:
    """Return the reference of a route to the Gateway, an item of `spec.parentRefs`."""
    section = {} if parent.section_name is None else {"sectionName": parent.section_name}
    return {"name": parent.name, "namespace": parent.namespace, **section}


def build_callers(parent: ParentGatewayArgs) -> list[dict[str, Any]]:
    """Return the NetworkPolicy peers that forward the Gateway's requests."""
    cidrs = [{"ip_block": {"cidr": cidr}} for cidr in parent.controller_cidrs or ()]
    if cidrs and parent.controller_namespace is None:
        return cidrs
    pods = select_namespace(parent.controller_namespace or parent.namespace)
    if parent.controller_labels:
        pods["pod_selector"] = {"match_labels": dict(parent.controller_labels)}
    return [pods, *cidrs]
