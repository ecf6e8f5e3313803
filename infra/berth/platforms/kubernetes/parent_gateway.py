"""The existing Gateway that a specification names: its check, its URL, and its route's state."""

from collections.abc import Mapping
from typing import Any

from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.spec import HostingSpec, SpecError
from pulumi_berth.kubernetes.accepted_route import build_request, describe_unreadable
from pulumi_berth.kubernetes.object_names import ROUTE
from pulumi_berth.kubernetes.parent_gateway import ParentGatewayArgs
from pulumi_berth.kubernetes.parent_gateway_check import (
    GatewayFacts,
    RouteRequest,
    find_listeners,
    find_parent_problems,
    find_route,
    find_route_problem,
    read_facts,
)

_KEY = "berth:kubernetes.parent_gateway"
_PORTS = {"http": 80, "https": 443}


def build_parent_gateway(spec: HostingSpec) -> ParentGatewayArgs | None:
    """Return the Gateway of a specification, or None if the stack runs its own controller."""
    parent = spec.kubernetes.parent_gateway
    return None if parent is None else ParentGatewayArgs(**parent.model_dump(exclude={"url"}))


def require_parent_gateway(access: ClusterAccess, spec: HostingSpec) -> str | None:
    """Check that the specification's Gateway admits the stack's route. Return the URL of clients.

    Returns:
        None if the specification names no Gateway.

    Raises:
        SpecError: If the Gateway would not forward the stack's requests, or its URL is unknown.
    """
    parent = build_parent_gateway(spec)
    if parent is None:
        return None
    request = build_request(parent, spec.kubernetes.namespace, spec.kubernetes.hostnames)
    client = access.create_client()
    try:
        facts = read_facts(client, parent, request.namespace)
    except Exception as error:
        raise SpecError.of(f"{_KEY}: {describe_unreadable(parent, error)}.") from error
    if problems := list(find_parent_problems(request, facts)):
        raise SpecError([f"{_KEY}: {text}. Nothing was changed." for text in problems])
    assert spec.kubernetes.parent_gateway is not None
    url = spec.kubernetes.parent_gateway.url or find_url(request, facts)
    if url is None:
        raise SpecError.of(
            f"{_KEY}.url: the Gateway reports no address, and no host name is set. Set "
            "kubernetes.hostnames, or the URL at which clients reach the Gateway."
        )
    return url


def find_url(request: RouteRequest, facts: GatewayFacts) -> str | None:
    """Return the URL of the first listener that admits the route, or None if it is unknown."""
    assert facts.gateway is not None
    listener = find_listeners(request, facts)[0]
    addresses = (facts.gateway.get("status") or {}).get("addresses") or ()
    own = str(listener.get("hostname") or "")
    names = [
        *request.hostnames,
        *([own] if own and not own.startswith("*.") else []),
        # Without a host name, every name reaches the route, so also the address.
        *([] if own else [str(address["value"]) for address in addresses]),
    ]
    if not names:
        return None
    scheme = str(listener["protocol"]).lower()
    port = int(listener["port"])
    return f"{scheme}://{names[0]}" + ("" if port == _PORTS[scheme] else f":{port}")


def find_route_state(client: Any, outputs: Mapping[str, Any]) -> str:
    """Return the state of a stack's route at its Gateway: `ready`, or why it gets no requests.

    Args:
        outputs: Outputs of a stack, with `parent_gateway`.
    """
    parent = ParentGatewayArgs(**outputs["parent_gateway"])
    problem = find_route_problem(parent, find_route(client, outputs["namespace"]))
    return "ready" if problem is None else problem[0]


def explain_route(client: Any, namespace: str, parent: ParentGatewayArgs) -> str | None:
    """Return why the Gateway's controller rejects a stack's route, or None if it accepts it."""
    route = find_route(client, namespace)
    problem = None if route is None else find_route_problem(parent, route)
    if problem is None:  # Without a route, the engine reports what failed before it.
        return None
    reason, message = problem
    return (
        f"HTTPRoute {namespace}/{ROUTE}: {reason}: {message.rstrip('.')}. To do: Ask the "
        f"operator of Gateway {parent.namespace}/{parent.name}."
    )
