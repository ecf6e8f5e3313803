"""GatewayImage: the gateway's program on its hardened base."""

from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.component_args import parse_args
from pulumi_berth.images.base_image import HardenedBaseImage, HardenedBaseImageArgs, Runtime
from pulumi_berth.images.built_image import BuiltImage, ImageRun, ImageSettings, program_layer


@dataclass(frozen=True, kw_only=True)
class GatewayImageArgs:
    """Arguments for `GatewayImage`.

    Attributes:
        settings: How the stack's images are built.
        base: Image with Python 3.11, `registry/name@sha256:...`. Defaults to Berth's recipe.
    """

    settings: ImageSettings
    base: str | None = None


class GatewayImage(pulumi.ComponentResource):
    """The gateway's program and its libraries.

    Attributes:
        reference: `registry/name@sha256:...`.
        report: Contents of the image for each architecture, and the scanner that passed it.
    """

    reference: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self, name: str, args: GatewayImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:images:GatewayImage", name, None, opts)
        args = parse_args(GatewayImageArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        base = HardenedBaseImage(
            f"base-{name}",
            HardenedBaseImageArgs(runtime=Runtime.GATEWAY, settings=args.settings, base=args.base),
            child_opts,
        )
        labels = {
            "org.opencontainers.image.title": "gateway",
            "org.opencontainers.image.description": "Berth gateway: API keys, rate limits, quotas",
        }
        image = BuiltImage(
            name,
            settings=args.settings,
            repository="gateway",
            base=base.reference,
            layers=[program_layer("berth_gateway")],
            run=ImageRun(entrypoint=["/usr/bin/python3", "-m", "berth_gateway"], labels=labels),
            annotations=labels,
            opts=child_opts,
        )
        self.reference = image.reference
        self.report = image.report
        self.register_outputs({"reference": self.reference, "report": self.report})
