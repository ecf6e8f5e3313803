"""Building images: from the layers of an image to its digest in the registry."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pulumi_berth.images.contents import read_contents
from pulumi_berth.images.report import build_report, find_defects
from pulumi_berth.images.sbom import MEDIA_TYPE, build_sbom
from pulumi_berth.images.scan import Scan, run_scan
from pulumi_berth.oci import documents
from pulumi_berth.oci.documents import Document, RunConfig
from pulumi_berth.oci.layer import Layer
from pulumi_berth.oci.registry import Repository, split_reference


class ImageCheckError(RuntimeError):
    """An image failed a check and must not be deployed."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """The definition of an image.

    Attributes:
        repository: Repository that receives the image.
        tag: Tag of the content. An image that has it already is not uploaded again.
        base: Base image, `registry/name@sha256:...`. None for an image without a base.
        layers: Architecture -> description and layer, lowest first.
        run: How a container starts.
        annotations: Annotations of the manifest.
    """

    repository: Repository
    tag: str
    base: str | None
    layers: Mapping[str, Sequence[tuple[str, Layer]]]
    run: RunConfig
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PushedImage:
    """An image that is in the registry and passed its checks.

    Attributes:
        digest: Digest of the manifest. For several architectures, digest of the index.
        reference: `registry/name@sha256:...`.
        scanner: Scanner that passed the image, or a note that none is installed.
        reports: Architecture -> `pulumi_berth.images.report.Report` as plain data.
    """

    digest: str
    reference: str
    scanner: str
    reports: dict[str, dict[str, Any]]


def build(image: Image, *, scan: Scan) -> PushedImage:
    """Push `image` and its SBOM, check the image, and then tag it.

    Raises:
        ImageCheckError: If the image is not hardened. Nothing is pushed.
        ScanError: If the scanner rejects the image. It gets no tag.
        RegistryError: If the registry fails.
    """
    manifests: dict[str, Document] = {}
    reports: dict[str, dict[str, Any]] = {}
    for architecture, layers in image.layers.items():
        base_layers, base_config = _read_base(image, architecture)
        added = [layer for _, layer in layers]
        config = documents.build_config(base_config, architecture, layers, image.run)
        manifest = documents.build_manifest(base_layers, config, added, image.annotations)
        manifests[architecture] = manifest
        paths = [*(_base_blob(image, entry["digest"]) for entry in base_layers)]
        contents = read_contents([*paths, *(layer.path for layer in added)])
        compressed = sum(int(entry["size"]) for entry in base_layers)
        compressed += sum(layer.size for layer in added)
        report = build_report(contents, {"config": {"User": image.run.user}}, compressed)
        reports[architecture] = asdict(report)
        if defects := list(find_defects(report)):
            raise ImageCheckError(
                f"Image {image.repository.name} ({architecture}) failed its checks: "
                f"{'; '.join(defects)}. Nothing was pushed. Correct the base image."
            )
        for layer in added:
            image.repository.push_file(layer.path, layer.digest)
        for entry, path in zip(base_layers, paths, strict=True):
            image.repository.push_file(path, entry["digest"])
        image.repository.push_document(config)
        image.repository.push_manifest(manifest)
        name = f"{image.repository.name}@{manifest.digest}"
        _attach_sbom(image.repository, manifest, build_sbom(name, contents.packages))
    whole = _index_or_manifest(manifests)
    image.repository.push_manifest(whole)
    reference = f"{image.repository.name}@{whole.digest}"
    scanner = run_scan(scan, reference)
    image.repository.push_manifest(whole, image.tag)
    return PushedImage(digest=whole.digest, reference=reference, scanner=scanner, reports=reports)


def _index_or_manifest(manifests: Mapping[str, Document]) -> Document:
    if len(manifests) == 1:
        return next(iter(manifests.values()))
    return documents.build_index(manifests)


def _read_base(image: Image, architecture: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the layer descriptors and the configuration of the base for one architecture."""
    if image.base is None:
        return [], {}
    name, digest = split_reference(image.base)
    repository = _base_repository(image, name)
    content = _decode(repository.manifest(digest))
    if "manifests" in content:
        digests = {
            entry["platform"]["architecture"]: entry["digest"] for entry in content["manifests"]
        }
        if architecture not in digests:
            raise ImageCheckError(
                f"Base image {image.base} does not support {architecture}; it supports "
                f"{', '.join(digests)}. Use another base image or change images.architectures."
            )
        content = _decode(repository.manifest(digests[architecture]))
    return content["layers"], repository.json_blob(content["config"]["digest"])


def _decode(document: Document) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(document.data)
    return content


def _base_repository(image: Image, name: str) -> Repository:
    is_same_registry = name.partition("/")[0] == image.repository.name.partition("/")[0]
    return Repository(name=name, plain_http=is_same_registry and image.repository.plain_http)


def _base_blob(image: Image, digest: str) -> Path:
    assert image.base is not None
    return _base_repository(image, split_reference(image.base)[0]).blob(digest)


def _attach_sbom(repository: Repository, manifest: Document, sbom: bytes) -> None:
    """Push the SBOM as a referrer of the image, with the tag that other tools look for."""
    blob = Document(media_type=MEDIA_TYPE, data=sbom)
    repository.push_document(blob)
    repository.push_document(documents.EMPTY_CONFIG)
    artifact = documents.encode_document(
        documents.MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "artifactType": MEDIA_TYPE,
            "config": documents.EMPTY_CONFIG.descriptor,
            "layers": [blob.descriptor],
            "subject": manifest.descriptor,
        },
    )
    repository.push_manifest(artifact, f"{manifest.digest.replace(':', '-')}.sbom")
