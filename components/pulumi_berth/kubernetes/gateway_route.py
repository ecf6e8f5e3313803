"""GatewayRoute: the HTTPRoute of all requests that no model's own route takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from berth_gateway.config import CONTROLLER_ERRORS
from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.http_route import create_http_route
from pulumi_berth.kubernetes.object_names import OTHER_HOSTS, ROUTE
from pulumi_berth.kubernetes.objects import build_labels, build_metadata, get_name_after_create
from pulumi_berth.kubernetes.route_plan import build_gateway_rules


@dataclass(frozen=True, kw_only=True)
class GatewayRouteArgs:
    """Arguments for `GatewayRoute`.

    Attributes:
        namespace: Namespace of the stack.
        parent_ref: Reference to the Gateway API `Gateway`, an item of `spec.parentRefs`.
        hostnames: Host names that the route matches. If empty, it matches all.
        service: Name of Berth's gateway Service.
        port: Port of that Service.
        errors_port: Port of that Service that states errors of the ingress controller. None leaves
            other host names to the owner of the Gateway.
        body_filters: Filters of requests of unknown length. None if the ingress controller is not
            the stack's own.
    """

    namespace: pulumi.Input[str]
    parent_ref: Mapping[str, pulumi.Input[str]]
    hostnames: Sequence[pulumi.Input[str]]
    service: pulumi.Input[str]
    port: int
    errors_port: int | None = None
    body_filters: Sequence[Mapping[str, Any]] | None = None


class GatewayRoute(pulumi.ComponentResource):
    """The route of health checks, metadata and errors, and of everything if models have no routes.

    Requests that match no model's route reach Berth's gateway, so that every platform sends the
    same responses. Requests for another host name get 404 from it.

    Attributes:
        route: Name of the HTTPRoute.
    """

    route: pulumi.Output[str]

    def __init__(
        self, name: str, args: GatewayRouteArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:GatewayRoute", name, None, opts)
        args = parse_args(GatewayRouteArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        route = create_http_route(
            name,
            build_metadata(args.namespace, ROUTE, build_labels("gateway-route", "gateway-route")),
            args.parent_ref,
            build_gateway_rules(args.service, args.port, args.body_filters or ()),
            hostnames=args.hostnames,
            opts=child_opts,
        )
        if args.hostnames and args.errors_port is not None:
            [rule] = build_gateway_rules(args.service, args.errors_port, ())
            not_found = {"filters": [_replace_path(f"{CONTROLLER_ERRORS}404")]}
            create_http_route(
                f"{name}-other-hosts",
                build_metadata(
                    args.namespace, OTHER_HOSTS, build_labels("gateway-route", "other-hosts")
                ),
                args.parent_ref,
                [rule | not_found],
                opts=child_opts,
            )
        self.route = get_name_after_create(route, ROUTE)
        self.register_outputs({"route": self.route})


def _replace_path(path: str) -> dict[str, Any]:
    rewrite = {"path": {"type": "ReplaceFullPath", "replaceFullPath": path}}
    return {"type": "URLRewrite", "urlRewrite": rewrite}
