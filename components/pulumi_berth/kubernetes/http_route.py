"""HTTPRoutes of the Gateway API, which every route of a stack is."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from pulumi_berth.kubernetes.api_groups import GATEWAY_API


def create_http_route(
    name: str,
    metadata: Mapping[str, Any],
    parent_ref: Mapping[str, pulumi.Input[str]],
    rules: Sequence[Mapping[str, Any]],
    *,
    hostnames: Sequence[pulumi.Input[str]] = (),
    opts: pulumi.ResourceOptions,
) -> CustomResource:
    """Create an HTTPRoute.

    Args:
        parent_ref: Reference to the `Gateway`, an item of `spec.parentRefs`.
        hostnames: Host names that the route matches. If empty, it matches all.
    """
    return CustomResource(
        name,
        api_version=GATEWAY_API,
        kind="HTTPRoute",
        metadata=metadata,
        spec={
            "parentRefs": [dict(parent_ref)],
            **({"hostnames": list(hostnames)} if hostnames else {}),
            "rules": list(rules),
        },
        opts=opts,
    )
