"""Build: from what an image shall have to its digest in the registry."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pulumi_berth.images.contents import read_contents
from pulumi_berth.images.report import report_of, shortcomings
from pulumi_berth.images.sbom import MEDIA_TYPES, Format, sbom
from pulumi_berth.images.scan import Scan, run_scan
from pulumi_berth.oci import oci
from pulumi_berth.oci.layer import Layer
from pulumi_berth.oci.oci import Document, RunConfig
from pulumi_berth.oci.registry import Repository, split_reference

_SBOM_CONFIG = oci.document("application/vnd.oci.empty.v1+json", {})


class GateError(RuntimeError):
    """An image that must not be deployed; the text says what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """What an image shall be.

    Attributes:
        repository: where it is pushed to.
        tag: stands for its content; the image under it is never built again.
        base: the image below, `registry/name@sha256:...`; None for none.
        layers: architecture -> (what it is, layer), lowest first.
        run: how a container starts.
        annotations: of the manifest.
    """

    repository: Repository
    tag: str
    base: str | None
    layers: Mapping[str, Sequence[tuple[str, Layer]]]
    run: RunConfig
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that is in the registry and passed its gate.

    Attributes:
        digest: of the manifest, or of the index for several architectures.
        reference: `registry/name@sha256:...`.
        scanner: the command that passed it, or that none was at hand.
        reports: architecture -> pulumi_berth.images.report.Report, as plain data.
    """

    digest: str
    reference: str
    scanner: str
    reports: dict[str, dict[str, Any]]


def build(image: Image, *, form: Format, scan: Scan) -> Built:
    """Push `image` and its SBOM, hold it against its gate, and only then give it its tag.

    Raises:
        GateError, ScanError: it may not be deployed; it has no tag then.
        RegistryError: the registry failed.
    """
    manifests: dict[str, Document] = {}
    reports: dict[str, dict[str, Any]] = {}
    boms: dict[str, bytes] = {}
    for architecture, layers in image.layers.items():
        below, below_config = _below(image, architecture)
        config = oci.config_on(below_config, architecture, layers, image.run)
        own = [layer for _, layer in layers]
        manifest = oci.manifest_on(below, config, own, image.annotations)
        manifests[architecture] = manifest
        paths = [*(_base_blob(image, entry["digest"]) for entry in below), *(x.path for x in own)]
        contents = read_contents(paths)
        compressed = sum(int(entry["size"]) for entry in below) + sum(x.size for x in own)
        report = report_of(contents, {"config": {"User": image.run.user}}, compressed)
        wrong = list(shortcomings(report))
        if wrong:
            raise GateError(
                f"image for {image.repository.name} ({architecture}) {'; '.join(wrong)}"
            )
        name = f"{image.repository.name}@{manifest.digest}"
        boms[architecture] = sbom(form, name, contents.packages)
        reports[architecture] = asdict(report)
        for layer in own:
            image.repository.push_file(layer.path, layer.digest, layer.size)
        _copy_below(image, below)
        image.repository.push_document(config)
        image.repository.push_manifest(manifest)
        _attach(image.repository, manifest, boms[architecture], MEDIA_TYPES[form])
    whole = next(iter(manifests.values())) if len(manifests) == 1 else oci.index_of(manifests)
    image.repository.push_manifest(whole)
    reference = f"{image.repository.name}@{whole.digest}"
    scanner = run_scan(scan, reference)
    image.repository.push_manifest(whole, image.tag)
    return Built(digest=whole.digest, reference=reference, scanner=scanner, reports=reports)


def _below(image: Image, architecture: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Layer descriptors and configuration of the base for one architecture."""
    if image.base is None:
        return [], {}
    name, digest = split_reference(image.base)
    repository = _base_repository(image, name)
    content = _json(repository.manifest(digest))
    if "manifests" in content:
        there = {entry["platform"]["architecture"]: entry for entry in content["manifests"]}
        if architecture not in there:
            raise GateError(
                f"base image {image.base} is not there for {architecture}; it is for "
                f"{', '.join(there)}"
            )
        content = _json(repository.manifest(there[architecture]["digest"]))
    return content["layers"], repository.json_blob(content["config"]["digest"])


def _json(document: Document) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.data)
    return found


def _base_repository(image: Image, name: str) -> Repository:
    same = name.partition("/")[0] == image.repository.name.partition("/")[0]
    return Repository(name=name, plain_http=same and image.repository.plain_http)


def _base_blob(image: Image, digest: str) -> Any:
    assert image.base is not None
    return _base_repository(image, split_reference(image.base)[0]).blob(digest)


def _copy_below(image: Image, below: Sequence[Mapping[str, Any]]) -> None:
    for entry in below:
        if not image.repository.has_blob(entry["digest"]):
            path = _base_blob(image, entry["digest"])
            image.repository.push_file(path, entry["digest"], path.stat().st_size)


def _attach(repository: Repository, manifest: Document, data: bytes, media_type: str) -> None:
    """Put the SBOM beside the image: as a referrer, under the tag that tools look for too."""
    blob = Document(media_type=media_type, data=data)
    repository.push_document(blob)
    repository.push_document(_SBOM_CONFIG)
    attached = oci.document(
        oci.MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": oci.MANIFEST,
            "artifactType": media_type,
            "config": _SBOM_CONFIG.descriptor,
            "layers": [blob.descriptor],
            "subject": manifest.descriptor,
        },
    )
    repository.push_manifest(attached, f"{manifest.digest.replace(':', '-')}.sbom")
