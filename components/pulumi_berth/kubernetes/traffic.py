"""Traffic: one model's HTTPRoute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from pulumi_berth.kubernetes.kubernetes_object import in_namespace, labels, made
from pulumi_berth.kubernetes.traffic_plan import ModelTraffic, route_rules

GATEWAY_API = "gateway.networking.k8s.io/v1"


@dataclass(frozen=True, kw_only=True)
class TrafficArgs:
    """One model's traffic.

    Attributes:
        namespace: of the stack.
        plan: which version gets what.
        gateway: name of the Gateway.
        hostnames: that it answers to; any when empty.
        filters: of the controller, which every inference request passes: keys, limits.
    """

    namespace: pulumi.Input[str]
    plan: ModelTraffic
    gateway: pulumi.Input[str]
    hostnames: Sequence[str]
    filters: Sequence[Mapping[str, Any]]


class Traffic(pulumi.ComponentResource):
    """The one place where weights stand: changing them changes this route and nothing else.

    Attributes:
        route: name of the HTTPRoute.
    """

    route: pulumi.Output[str]

    def __init__(
        self, name: str, args: TrafficArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Traffic", name, None, opts)
        route = CustomResource(
            name,
            api_version=GATEWAY_API,
            kind="HTTPRoute",
            metadata=in_namespace(
                args.namespace,
                args.plan.model,
                labels("traffic", args.plan.model, model=args.plan.model),
            ),
            spec={
                "parentRefs": [{"name": args.gateway}],
                **({"hostnames": list(args.hostnames)} if args.hostnames else {}),
                "rules": route_rules(args.plan, args.filters),
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.route = made(route, args.plan.model)
        self.register_outputs({"route": self.route})
