"""GatewayDefinitions: the kinds of resources that routes and their controller are made of."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.yaml.v2 import ConfigFile


@dataclass(frozen=True, kw_only=True)
class GatewayDefinitionsArgs:
    """Where the definitions are had from.

    Attributes:
        sources: a name of one's choice -> path or URL of the YAML; the Gateway API's standard
            channel, and Traefik's own.
    """

    sources: Mapping[str, str]


class GatewayDefinitions(pulumi.ComponentResource):
    """Custom resource definitions of a cluster that is the stack's own. On another's cluster they
    are whoever's who runs it: deleting them deletes every route there is."""

    def __init__(
        self,
        name: str,
        args: GatewayDefinitionsArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("berth:kubernetes:GatewayDefinitions", name, None, opts)
        for source, where in args.sources.items():
            ConfigFile(f"{name}-{source}", file=where, opts=pulumi.ResourceOptions(parent=self))
        self.register_outputs({})
