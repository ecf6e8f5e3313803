"""ValkeyImage: the server in which several gateways keep the clients' limits."""

from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.component_args import parse_args
from pulumi_berth.images import layers
from pulumi_berth.images.built_image import (
    BuiltImage,
    ImageLayer,
    ImageRun,
    ImageSettings,
    LayerKind,
)


@dataclass(frozen=True, kw_only=True)
class ValkeyImageArgs:
    """Arguments for `ValkeyImage`.

    Attributes:
        settings: How the stack's images are built.
    """

    settings: ImageSettings


class ValkeyImage(pulumi.ComponentResource):
    """Debian's Valkey server on the packages of the hardened base.

    Attributes:
        reference: `registry/name@sha256:...`.
        report: Contents of the image for each architecture, and the scanner that passed it.
    """

    reference: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self, name: str, args: ValkeyImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:images:ValkeyImage", name, None, opts)
        args = parse_args(ValkeyImageArgs, args)
        labels = {
            "org.opencontainers.image.title": "valkey",
            "org.opencontainers.image.description": "Valkey server for the limits of gateways",
        }
        image = BuiltImage(
            name,
            settings=args.settings,
            repository="valkey",
            base=None,
            layers=[
                ImageLayer(kind=LayerKind.BASE, digest=layers.base_digest()),
                ImageLayer(kind=LayerKind.VALKEY, digest=layers.valkey_digest()),
            ],
            run=ImageRun(entrypoint=["/usr/bin/valkey-server"], labels=labels),
            annotations=labels,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.reference = image.reference
        self.report = image.report
        self.register_outputs({"reference": self.reference, "report": self.report})
