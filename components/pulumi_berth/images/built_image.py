"""BuiltImage: an image that is built, pushed and checked, as one resource."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.program_source import program_digest
from pulumi_berth.providers import BuiltImageProvider


class LayerKind(StrEnum):
    """The content of a layer."""

    BASE = "base"
    VALKEY = "valkey"
    RUNTIME = "runtime"
    PROGRAM = "program"
    MODEL = "model"
    DATASET = "dataset"
    BUCKET_DATASET = "bucket-dataset"


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How all images of a stack are built.

    Attributes:
        registry: Registry and path prefix of all repositories.
        plain_http: True for a registry without TLS.
        architectures: CPU architectures, `amd64` or `arm64`.
        scan_command: See `pulumi_berth.images.scan.Scan`.
        fail_on: See `pulumi_berth.images.scan.Scan`.
        ignore_unfixed: See `pulumi_berth.images.scan.Scan`.
        debian_mirrors: Mirrors of Debian packages. If empty, Debian's own servers.
    """

    registry: str
    plain_http: bool
    architectures: list[str]
    scan_command: list[str]
    fail_on: str
    ignore_unfixed: bool
    debian_mirrors: list[str]


@dataclass(frozen=True, kw_only=True)
class ImageLayer:
    """One layer, identified by its content.

    Attributes:
        kind: Kind of content.
        digest: Digest of the content.
        name: Name of the runtime or program, repository of a dataset, or `bucket/prefix/version`
            of a dataset in a bucket. Empty for other kinds.
        directory: Directory of a model version. Empty for other kinds.
    """

    kind: LayerKind
    digest: str
    name: str = ""
    directory: str = ""


def program_layer(program: str) -> ImageLayer:
    """Return the layer of one of Berth's programs, such as `berth_serving`."""
    return ImageLayer(kind=LayerKind.PROGRAM, name=program, digest=program_digest(program))


@dataclass(frozen=True, kw_only=True)
class ImageRun:
    """How a container starts. See `pulumi_berth.oci.documents.RunConfig`."""

    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


class BuiltImage(Resource, module="berth", name="BuiltImage"):
    """An image of `layers` on `base` that is in the registry and passed its checks.

    If the registry already has an image of the same content, only the checks run.

    Attributes:
        reference: `registry/name@sha256:...`.
        digest: Digest of the image.
        report: Contents of the image for each architecture, and the scanner that passed it.
    """

    reference: pulumi.Output[str]
    digest: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        name: str,
        *,
        settings: ImageSettings,
        repository: str,
        base: pulumi.Input[str] | None,
        layers: list[ImageLayer],
        run: ImageRun,
        annotations: dict[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            BuiltImageProvider(),
            name,
            {
                "repository": f"{settings.registry}/{repository}",
                "plain_http": settings.plain_http,
                "base": base or "",
                "layers": [asdict(layer) for layer in layers],
                "architectures": settings.architectures,
                "run": asdict(run),
                "annotations": annotations or {},
                "mirrors": settings.debian_mirrors,
                "scan": {
                    "command": settings.scan_command,
                    "fail_on": settings.fail_on,
                    "ignore_unfixed": settings.ignore_unfixed,
                },
                "reference": None,
                "digest": None,
                "report": None,
            },
            opts,
        )
