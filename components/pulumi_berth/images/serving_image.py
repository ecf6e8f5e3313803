"""ServingImage: the serving program and one model version on the hardened base."""

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
    program_layer,
)

MODEL_DIR = f"/{layers.MODEL}"
"""Directory of the model version in the image."""


@dataclass(frozen=True, kw_only=True)
class ServingImageArgs:
    """Arguments for `ServingImage`.

    Attributes:
        model: Model name, as in the model card.
        version: Model version, as in the model card.
        model_dir: Directory with `model.yaml` and the files that it lists.
        digest: Digest of the model version, `sha256:<hex>`.
        base: Hardened base image, `registry/name@sha256:...`.
        settings: How the stack's images are built.
    """

    model: str
    version: str
    model_dir: str
    digest: str
    base: pulumi.Input[str]
    settings: ImageSettings


class ServingImage(pulumi.ComponentResource):
    """An image with exactly one model version.

    A new version adds only its own layer. All versions share the layers of the base, the libraries
    and the program.

    Attributes:
        reference: `registry/name@sha256:...`.
        digest: Digest of the image, `sha256:...`.
        report: Contents of the image for each architecture, and the scanner that passed it.
    """

    reference: pulumi.Output[str]
    digest: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self, name: str, args: ServingImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:images:ServingImage", name, None, opts)
        args = parse_args(ServingImageArgs, args)
        labels = {
            "org.opencontainers.image.title": args.model,
            "org.opencontainers.image.version": args.version,
            "org.opencontainers.image.description": f"Berth of {args.model} {args.version}",
            "berth.model": args.model,
            "berth.version": args.version,
            "berth.digest": args.digest,
        }
        image = BuiltImage(
            name,
            settings=args.settings,
            repository=args.model,
            base=args.base,
            layers=[
                program_layer("berth_serving"),
                ImageLayer(kind=LayerKind.MODEL, digest=args.digest, directory=args.model_dir),
            ],
            run=ImageRun(
                environment={"BERTH_MODEL_DIR": MODEL_DIR, "BERTH_HOST": "0.0.0.0"},  # noqa: S104
                entrypoint=["/usr/bin/python3", "-m", "berth_serving"],
                labels=labels,
            ),
            annotations=labels,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.reference = image.reference
        self.digest = image.digest
        self.report = image.report
        self.register_outputs(
            {"reference": self.reference, "digest": self.digest, "report": self.report}
        )
