"""ServingImage: the serving app and exactly one model version, on the hardened base."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from pulumi_berth.images import layers
from pulumi_berth.images.built_image import BuiltImage, ImageLayer, ImageRun, ImageSettings, program

MODEL_DIR = f"/{layers.MODEL}"


@dataclass(frozen=True, kw_only=True)
class ServingImageArgs:
    """What is served.

    Attributes:
        model, version: as in the model card.
        model_dir: folder with `model.yaml` and the files that it names.
        digest: `sha256:<hex>` of the model card.
        base: the hardened base, `registry/name@sha256:...`.
        settings: how the stack's images are made.
    """

    model: str
    version: str
    model_dir: Path
    digest: str
    base: pulumi.Input[str]
    settings: ImageSettings


class ServingImage(pulumi.ComponentResource):
    """One model version in an image of its own. A new version adds only its own layer: the base,
    the libraries and the app are layers that all versions share.

    Attributes:
        reference: `registry/name@sha256:...`.
        digest: `sha256:...` of the image.
        report: what is inside, and which scanner passed it.
    """

    reference: pulumi.Output[str]
    digest: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self, name: str, args: ServingImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:image:ServingImage", name, None, opts)
        said = {
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
                program("berth_serving"),
                ImageLayer(kind="model", digest=args.digest, folder=str(args.model_dir)),
            ],
            run=ImageRun(
                environment={"BERTH_MODEL_DIR": MODEL_DIR, "BERTH_HOST": "0.0.0.0"},  # noqa: S104
                entrypoint=["/usr/bin/python3", "-m", "berth_serving"],
                labels=said,
            ),
            annotations=said,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.reference = image.reference
        self.digest = image.digest
        self.report = image.report
        self.register_outputs({"reference": self.reference, "report": self.report})
