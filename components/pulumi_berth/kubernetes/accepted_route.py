"""AcceptedRoute: the wait until an existing Gateway of the cluster has accepted a stack's route."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.cluster_access import (
    UNREACHABLE,
    ClusterAccess,
    ClusterAccessError,
)
from pulumi_berth.kubernetes.object_names import ROUTE
from pulumi_berth.kubernetes.objects import build_labels
from pulumi_berth.kubernetes.parent_gateway import ParentGatewayArgs
from pulumi_berth.kubernetes.parent_gateway_check import (
    RouteRequest,
    find_parent_problems,
    find_route,
    find_route_problem,
    read_facts,
)
from pulumi_berth.providers import AcceptedRouteProvider

COMPARED = ("parent", "namespace", "hostnames")
"""Inputs whose change is an update. The kubeconfig's path may differ between machines."""
# A controller can reject a route until it has seen the objects that the route refers to.
_REJECTED_SECONDS, _PENDING_SECONDS = 20.0, 60.0
_POLL_SECONDS = 0.5


class AcceptedRoute(Resource, module="berth", name="AcceptedRoute"):
    """The acceptance of a stack's HTTPRoute by a Gateway that belongs to someone else.

    In every preview and update, before the engine changes anything, it checks that the Gateway
    admits the route. An update that changes the route then waits for the Gateway's controller.
    """

    def __init__(
        self,
        name: str,
        *,
        parent: ParentGatewayArgs,
        namespace: str,
        hostnames: Sequence[pulumi.Input[str]],
        access: ClusterAccess,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs: dict[str, Any] = {
            "parent": {key: value for key, value in vars(parent).items() if value is not None},
            "namespace": namespace,
            "hostnames": list(hostnames),
            "kubeconfig": access.kubeconfig,
            "context": access.context,
        }
        super().__init__(AcceptedRouteProvider(), name, inputs, opts)


def build_request(
    parent: ParentGatewayArgs, namespace: str, hostnames: Sequence[str]
) -> RouteRequest:
    """Return the request to attach a stack's route to a Gateway."""
    return RouteRequest(
        parent=parent,
        namespace=namespace,
        labels=build_labels("namespace", namespace),
        hostnames=hostnames,
    )


def find_problems(inputs: Mapping[str, Any]) -> list[str]:
    """Return why the Gateway does not admit the route. An unreachable cluster is not a problem:
    the Kubernetes provider reports it.

    Args:
        inputs: Inputs of an `AcceptedRoute`. In a preview, some values can be unknown.
    """
    parent = parse_args(ParentGatewayArgs, inputs["parent"])
    hostnames = inputs["hostnames"]
    if not isinstance(hostnames, list) or not all(isinstance(each, str) for each in hostnames):
        return []
    request = build_request(parent, inputs["namespace"], hostnames)
    try:
        client = _get_access(inputs).create_client()
        return list(find_parent_problems(request, read_facts(client, parent, request.namespace)))
    except (ClusterAccessError, *UNREACHABLE):
        return []
    except Exception as error:
        return [describe_unreadable(parent, error)]


def describe_unreadable(parent: ParentGatewayArgs, error: Exception) -> str:
    """Return why the Gateway could not be checked. Unknown is not admitted."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"could not read Gateway {parent.namespace}/{parent.name}: {reason}; try again"


def wait_until_accepted(
    inputs: Mapping[str, Any], *, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Wait until the Gateway's controller accepts the route. Return an ID of the acceptance.

    Raises:
        TimeoutError: If it rejects the route for 20 s, or reports nothing for 60 s.
    """
    parent = parse_args(ParentGatewayArgs, inputs["parent"])
    namespace = inputs["namespace"]
    client = _get_access(inputs).create_client()
    started = time.monotonic()
    while True:
        problem = find_route_problem(parent, find_route(client, namespace))
        if problem is None:
            return f"{parent.namespace}/{parent.name}"
        reason, message = problem
        limit = _PENDING_SECONDS if reason in ("Pending", "missing") else _REJECTED_SECONDS
        if time.monotonic() - started > limit:
            raise TimeoutError(
                f"Gateway {parent.namespace}/{parent.name} did not accept HTTPRoute "
                f"{namespace}/{ROUTE} within {limit:g} s: {reason}: {message.rstrip('.')}. Ask "
                "the operator of the Gateway, or choose another Gateway."
            )
        sleep(_POLL_SECONDS)


def _get_access(inputs: Mapping[str, Any]) -> ClusterAccess:
    return ClusterAccess(kubeconfig=inputs.get("kubeconfig"), context=inputs.get("context"))
