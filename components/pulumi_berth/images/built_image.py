"""BuiltImage: an image that is built, pushed and checked, as one resource."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.program_source import program_digest
from pulumi_berth.providers import BuiltImageProvider
from pulumi_berth.values import default_to


class LayerKind(StrEnum):
    """The content of a layer."""

    BASE = "base"
    VALKEY = "valkey"
    RUNTIME = "runtime"
    PROGRAM = "program"
    MODEL = "model"
    DATASET = "dataset"
    BUCKET_DATASET = "bucket-dataset"


class Severity(StrEnum):
    """Lowest severity of a finding that rejects an image."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How images are built and checked, and where they are pushed."""

    registry: pulumi.Input[str]
    """Registry and path prefix of all repositories, such as `registry.example.com/team`."""
    plain_http: bool | None = None
    """True for a registry without TLS. Defaults to false."""
    architectures: Sequence[str] | None = None
    """CPU architectures, `amd64` or `arm64`. Defaults to `amd64`."""
    scan_command: Sequence[str] | None = None
    """Vulnerability scanner and its arguments, where `{image}` is the image. Defaults to an
    installed scanner, which the report names."""
    fail_on: Severity | None = None
    """Lowest severity of a finding that rejects an image. Defaults to `high`."""
    ignore_unfixed: bool | None = None
    """True to ignore findings without a fix. Defaults to false."""
    require_scanner: bool | None = None
    """True to reject images if no scanner is installed. Defaults to false."""
    debian_mirrors: Sequence[str] | None = None
    """Mirrors of Debian packages. Defaults to Debian's servers. Every package is checked against a
    pinned SHA-256."""
    pull_only: bool | None = None
    """True to use the images that another program has pushed to the registry. Nothing is built or
    pushed. Defaults to false."""


def describe_scan(settings: ImageSettings) -> dict[str, Any]:
    """Return the arguments of `pulumi_berth.images.scan.Scan`."""
    return {
        "command": list(settings.scan_command or ()),
        "fail_on": default_to(settings.fail_on, Severity.HIGH).value,
        "ignore_unfixed": default_to(settings.ignore_unfixed, False),
        # Absent by default, so that images that older versions built stay unchanged.
        **({"required": True} if settings.require_scanner else {}),
    }


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
                "repository": pulumi.Output.concat(settings.registry, "/", repository),
                "plain_http": default_to(settings.plain_http, False),
                "base": base or "",
                "layers": [asdict(layer) for layer in layers],
                "architectures": list(settings.architectures or ["amd64"]),
                "run": asdict(run),
                "annotations": annotations or {},
                "mirrors": list(settings.debian_mirrors or ()),
                "scan": describe_scan(settings),
                **({"pull_only": True} if settings.pull_only else {}),
                "reference": None,
                "digest": None,
                "report": None,
            },
            opts,
        )
