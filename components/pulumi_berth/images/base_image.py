"""HardenedBaseImage: the base of every image of a stack."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pulumi

from pulumi_berth.component_args import parse_args
from pulumi_berth.images import layers
from pulumi_berth.images.base_environment import BASE_ENVIRONMENT, CUDA_ENVIRONMENT
from pulumi_berth.images.built_image import (
    BuiltImage,
    ImageLayer,
    ImageRun,
    ImageSettings,
    LayerKind,
)


class Runtime(StrEnum):
    """A set of libraries, as locked in wheels.lock.json."""

    SERVING_CPU = "serving-cpu"
    SERVING_CUDA = "serving-cuda"
    GATEWAY = "gateway"


@dataclass(frozen=True, kw_only=True)
class HardenedBaseImageArgs:
    """Arguments for `HardenedBaseImage`.

    Attributes:
        runtime: Libraries in the image.
        settings: How the stack's images are built.
        base: Image with Python 3.11 at /usr/bin/python3, `registry/name@sha256:...`. Defaults to
            Berth's recipe, which needs Debian packages and no image.
    """

    runtime: Runtime
    settings: ImageSettings
    base: str | None = None


class HardenedBaseImage(pulumi.ComponentResource):
    """Python and the libraries of one runtime.

    The image contains no shell, package manager, compiler or set-uid file. A user other than root
    runs it.

    Attributes:
        reference: `registry/name@sha256:...`.
        report: Architecture -> contents, see `pulumi_berth.images.report.Report`.
    """

    reference: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self, name: str, args: HardenedBaseImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:images:HardenedBaseImage", name, None, opts)
        args = parse_args(HardenedBaseImageArgs, args)
        debian = ImageLayer(kind=LayerKind.BASE, digest=layers.base_digest())
        libraries = ImageLayer(
            kind=LayerKind.RUNTIME, name=args.runtime, digest=layers.runtime_digest(args.runtime)
        )
        image = BuiltImage(
            name,
            settings=args.settings,
            repository=f"base-{args.runtime}",
            base=args.base,
            layers=[libraries] if args.base else [debian, libraries],
            run=ImageRun(environment=_environment(args.runtime), entrypoint=["/usr/bin/python3"]),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.reference = image.reference
        self.report = image.report
        self.register_outputs({"reference": self.reference, "report": self.report})


def _environment(runtime: Runtime) -> dict[str, str]:
    return dict(CUDA_ENVIRONMENT if runtime is Runtime.SERVING_CUDA else BASE_ENVIRONMENT)
