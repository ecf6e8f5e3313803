"""ModelRoute: the HTTPRoute of one model's inference requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.http_route import create_http_route
from pulumi_berth.kubernetes.objects import build_labels, build_metadata, get_name_after_create
from pulumi_berth.kubernetes.route_plan import RoutePlan, build_route_rules


@dataclass(frozen=True, kw_only=True)
class ModelRouteArgs:
    """Arguments for `ModelRoute`.

    Attributes:
        namespace: Namespace of the stack.
        plan: Traffic split and backends of the model.
        parent_gateway: Name of the Gateway API `Gateway`.
        hostnames: Host names that the route matches. If empty, it matches all.
        filters: Filters of the ingress controller for every inference request, such as external
            authorization.
        body_filters: Filters of requests of unknown length, which the gateway receives.
    """

    namespace: pulumi.Input[str]
    plan: RoutePlan
    parent_gateway: pulumi.Input[str]
    hostnames: Sequence[pulumi.Input[str]]
    filters: Sequence[Mapping[str, Any]]
    body_filters: Sequence[Mapping[str, Any]]


class ModelRoute(pulumi.ComponentResource):
    """One model's route. Only this resource contains weights, so that new weights change only it.

    Attributes:
        route: Name of the HTTPRoute.
    """

    route: pulumi.Output[str]

    def __init__(
        self, name: str, args: ModelRouteArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:ModelRoute", name, None, opts)
        args = parse_args(ModelRouteArgs, args)
        model = args.plan.model
        route = create_http_route(
            name,
            build_metadata(args.namespace, model, build_labels("model-route", model, model=model)),
            {"name": args.parent_gateway},
            build_route_rules(args.plan, args.filters, args.body_filters),
            hostnames=args.hostnames,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.route = get_name_after_create(route, model)
        self.register_outputs({"route": self.route})
