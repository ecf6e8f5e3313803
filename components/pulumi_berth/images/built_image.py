"""BuiltImage: an image that is made, pushed and passed by its gate, as one resource."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

# What of the inputs decides what the image has. `folder`s are left out: the same model lies
# elsewhere on another machine, and its digest says what it is.
_CONTENT = ("repository", "base", "layers", "architectures", "run", "annotations")
_GATE = ("scan", "sbom")
_TAG_DIGITS = 16
# What a stack was ever to run; pulumi_berth.aws.model_registry keeps a registry from deleting it.
_RELEASE = "release-"


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How all images of a stack are made.

    Attributes:
        registry: registry and path that images are pushed below.
        plain_http: for a registry without TLS.
        architectures: `amd64`, `arm64`.
        sbom: `spdx` or `cyclonedx`.
        scan_command, fail_on, ignore_unfixed: see pulumi_berth.images.scan.Scan.
        debian_mirrors: where Debian packages are had from; Debian's own when empty.
    """

    registry: str
    plain_http: bool
    architectures: list[str]
    sbom: str
    scan_command: list[str]
    fail_on: str
    ignore_unfixed: bool
    debian_mirrors: list[str]


@dataclass(frozen=True, kw_only=True)
class ImageLayer:
    """One layer by what it is made of.

    Attributes:
        kind: `base`, `runtime`, `program`, `model`, `data` or `bucket`.
        name: the runtime's or program's, the repository of data, or `bucket/prefix/version` of
            data in a bucket; empty for others.
        digest: of what goes in.
        folder: of a model version.
    """

    kind: str
    digest: str
    name: str = ""
    folder: str = ""


def program(package: str) -> ImageLayer:
    """The layer of one of Berth's programs."""
    from pulumi_berth.program_source import program_digest

    return ImageLayer(kind="program", name=package, digest=program_digest(package))


@dataclass(frozen=True, kw_only=True)
class ImageRun:
    """How a container starts: see pulumi_berth.oci.oci.RunConfig."""

    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


def content_tag(props: dict[str, Any]) -> str:
    """A tag that stands for the content: the same inputs give the same one everywhere."""
    told = {key: _bare(props.get(key)) for key in _CONTENT}
    text = json.dumps(told, sort_keys=True)
    return _RELEASE + hashlib.sha256(text.encode()).hexdigest()[:_TAG_DIGITS]


def _bare(value: Any) -> Any:
    """`value` without folders, and with whole numbers as such: Pulumi keeps them as floats."""
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items() if key != "folder"}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _BuiltImageProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        built = _build(props)
        return CreateResult(built["reference"], {**props, **built})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        content = [key for key in _CONTENT if _bare(olds.get(key)) != _bare(news.get(key))]
        gate = any(_bare(olds.get(key)) != _bare(news.get(key)) for key in _GATE)
        return DiffResult(
            changes=bool(content) or gate, replaces=content, delete_before_replace=False
        )

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult({**news, **_build(news)})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from pulumi_berth.oci.registry import Repository, split_reference

        name, digest = split_reference(id_)
        there = Repository(name=name, plain_http=props["plain_http"]).digest_of(digest)
        return ReadResult(id_ if there else "", props)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """The image stays: what the stack ran before may be wanted again by a rollback."""


def _build(props: dict[str, Any]) -> dict[str, Any]:
    from pulumi_berth.datasets.bucket_dataset import BucketSet
    from pulumi_berth.images import layers
    from pulumi_berth.images.scan import Scan
    from pulumi_berth.oci.build import Image, build
    from pulumi_berth.oci.layer import Layer
    from pulumi_berth.oci.oci import RunConfig
    from pulumi_berth.oci.registry import Repository

    def layer(entry: dict[str, Any], architecture: str) -> tuple[str, Layer]:
        name = f"{entry['kind']} {entry['name']}".strip()
        match entry["kind"]:
            case "base":
                return name, layers.base_layer(architecture, props["mirrors"])
            case "runtime":
                return name, layers.runtime_layer(entry["name"], architecture)
            case "program":
                return name, layers.program_layer(entry["name"])
            case "data":
                there = Repository(name=entry["name"], plain_http=props["plain_http"])
                return name, layers.data_layer(there, entry["digest"])
            case "bucket":
                place = BucketSet.of(entry["name"])
                return name, layers.bucket_layer(place, entry["digest"])
            case _:
                return name, layers.model_layer(Path(entry["folder"]), entry["digest"])

    run = props["run"]
    built = build(
        Image(
            repository=Repository(name=props["repository"], plain_http=props["plain_http"]),
            tag=content_tag(props),
            base=props["base"] or None,
            layers={
                architecture: [layer(entry, architecture) for entry in props["layers"]]
                for architecture in props["architectures"]
            },
            run=RunConfig(
                user=layers.USER_AND_GROUP,
                environment=run["environment"],
                entrypoint=run["entrypoint"],
                labels=run["labels"],
            ),
            annotations=props["annotations"],
        ),
        form=props["sbom"],
        scan=Scan(**props["scan"]),
    )
    return {
        "digest": built.digest,
        "reference": built.reference,
        "report": {"scanner": built.scanner, **built.reports},
    }


class BuiltImage(Resource, module="image", name="BuiltImage"):
    """An image of `layers` on `base`, in the registry and passed by its gate.

    It is built when nothing of that content is in the registry, else only held against its gate.

    `reference` is `registry/name@sha256:...`; `digest` the last part of it; `report` says per
    architecture what is inside, and which scanner passed it.
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
            _BuiltImageProvider(),
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
                "sbom": settings.sbom,
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
