"""GatewayCrds: the custom resource definitions of the Gateway API and of Traefik."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.yaml.v2 import ConfigGroup

from pulumi_berth.component_args import parse_args


@dataclass(frozen=True, kw_only=True)
class GatewayCrdsArgs:
    """Arguments for `GatewayCrds`.

    Attributes:
        documents: YAML text by a name of your choice: the Gateway API's standard channel, and
            Traefik's definitions (`images.third_party.read_manifest`).
    """

    documents: Mapping[str, str]


class GatewayCrds(pulumi.ComponentResource):
    """Custom resource definitions for a cluster that belongs to the stack.

    Do not use it on a shared cluster: deleting the definitions deletes every route in the cluster.
    """

    def __init__(
        self, name: str, args: GatewayCrdsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:GatewayCrds", name, None, opts)
        args = parse_args(GatewayCrdsArgs, args)
        for source, text in args.documents.items():
            ConfigGroup(f"{name}-{source}", yaml=text, opts=pulumi.ResourceOptions(parent=self))
        self.register_outputs({})
