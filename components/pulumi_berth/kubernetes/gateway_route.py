"""Front: the route of everything that is no inference request."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from pulumi_berth.kubernetes.kubernetes_object import in_namespace, labels
from pulumi_berth.kubernetes.traffic import GATEWAY_API


@dataclass(frozen=True, kw_only=True)
class FrontArgs:
    """Where such requests go.

    Attributes:
        namespace: of the stack.
        gateway: name of the Gateway.
        hostnames: that it answers to; any when empty.
        service, port: of the gate, which answers them.
    """

    namespace: pulumi.Input[str]
    gateway: pulumi.Input[str]
    hostnames: Sequence[str]
    service: pulumi.Input[str]
    port: int


class Front(pulumi.ComponentResource):
    """Health, metadata, refusals: whatever no model's route takes goes to the gate, so that the
    answers are those of the local gateway."""

    def __init__(
        self, name: str, args: FrontArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Front", name, None, opts)
        CustomResource(
            name,
            api_version=GATEWAY_API,
            kind="HTTPRoute",
            metadata=in_namespace(args.namespace, "front", labels("front", "front")),
            spec={
                "parentRefs": [{"name": args.gateway}],
                **({"hostnames": list(args.hostnames)} if args.hostnames else {}),
                "rules": [
                    {
                        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                        "backendRefs": [{"name": args.service, "port": args.port}],
                    }
                ],
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
