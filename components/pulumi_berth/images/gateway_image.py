"""GatewayImage: the gateway's program on its own hardened base."""

from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.images.base_image import HardenedBaseImage, HardenedBaseImageArgs
from pulumi_berth.images.built_image import BuiltImage, ImageRun, ImageSettings, program


@dataclass(frozen=True, kw_only=True)
class GatewayImageArgs:
    """How the stack's images are made, and the base to use instead of the project's own."""

    settings: ImageSettings
    base: str | None = None


class GatewayImage(pulumi.ComponentResource):
    """`gateway_app` and its libraries.

    Attributes:
        reference: `registry/name@sha256:...`.
        report: what is inside, and which scanner passed it.
    """

    reference: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self, name: str, args: GatewayImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:image:GatewayImage", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        base = HardenedBaseImage(
            f"base-{name}",
            HardenedBaseImageArgs(runtime="gateway", settings=args.settings, base=args.base),
            inside,
        )
        said = {
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.description": "Berth's gateway: keys, throttle, quota",
        }
        image = BuiltImage(
            name,
            settings=args.settings,
            repository=name,
            base=base.reference,
            layers=[program("berth_gateway")],
            run=ImageRun(entrypoint=["/usr/bin/python3", "-m", "berth_gateway"], labels=said),
            annotations=said,
            opts=inside,
        )
        self.reference = image.reference
        self.report = image.report
        self.register_outputs({"reference": self.reference, "report": self.report})
