"""ServingImage: the serving program and one model version on the hardened base."""

from dataclasses import dataclass
from typing import Any

import pulumi

from berth_protocol.model_card import digest as compute_digest
from pulumi_berth.component_args import ArgumentError, parse_args
from pulumi_berth.hosted_models import find_model_dir, find_model_dir_problem
from pulumi_berth.images import layers
from pulumi_berth.images.base_image import HardenedBaseImage, HardenedBaseImageArgs, Runtime
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
    """Arguments for `ServingImage`."""

    model: str
    """Model name, as in the model card. It is also the name of the repository."""
    version: str
    """Model version, as in the model card."""
    model_dir: str
    """Directory of the packaged version, with `model.yaml` and the files that it lists. A relative
    path starts at the working directory of the program."""
    settings: ImageSettings
    """Registry that the image is pushed to, and how it is built."""
    base: pulumi.Input[str] | None = None
    """Hardened base image, `registry/name@sha256:...`. By default, the component builds Berth's
    base for CPUs."""


class ServingImage(pulumi.ComponentResource):
    """A container image with the serving program and exactly one model version.

    A new version adds only its own layer. All versions share the layers of the base, the libraries
    and the program. The container refuses to start if a file of the model differs from its card.
    """

    reference: pulumi.Output[str]
    """`registry/name@sha256:...`."""
    digest: pulumi.Output[str]
    """Digest of the image, `sha256:...`."""
    report: pulumi.Output[dict[str, Any]]
    """Contents of the image for each architecture, and the scanner that passed it."""

    def __init__(
        self, name: str, args: ServingImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:images:ServingImage", name, None, opts)
        args = parse_args(ServingImageArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        if problem := find_model_dir_problem(args.model_dir):
            raise ArgumentError([("model_dir", problem)])
        model_dir = find_model_dir(args.model_dir)
        digest = compute_digest(model_dir)
        base = args.base
        if base is None:
            base = HardenedBaseImage(
                f"{name}-base",
                HardenedBaseImageArgs(runtime=Runtime.SERVING_CPU, settings=args.settings),
                child_opts,
            ).reference
        labels = {
            "org.opencontainers.image.title": args.model,
            "org.opencontainers.image.version": args.version,
            "org.opencontainers.image.description": f"Berth of {args.model} {args.version}",
            "berth.model": args.model,
            "berth.version": args.version,
            "berth.digest": digest,
        }
        image = BuiltImage(
            name,
            settings=args.settings,
            repository=args.model,
            base=base,
            layers=[
                program_layer("berth_serving"),
                ImageLayer(kind=LayerKind.MODEL, digest=digest, directory=str(model_dir)),
            ],
            run=ImageRun(
                environment={"BERTH_MODEL_DIR": MODEL_DIR, "BERTH_HOST": "0.0.0.0"},  # noqa: S104
                entrypoint=["/usr/bin/python3", "-m", "berth_serving"],
                labels=labels,
            ),
            annotations=labels,
            opts=child_opts,
        )
        self.reference = image.reference
        self.digest = image.digest
        self.report = image.report
        self.register_outputs(
            {"reference": self.reference, "digest": self.digest, "report": self.report}
        )
