"""Building images: from the layers of an image to its digest in the registry."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pulumi_berth.images.base_reader import BaseImage, ImageCheckError, read_base
from pulumi_berth.images.contents import Contents, LayerError, read_contents
from pulumi_berth.images.report import build_report, find_defects
from pulumi_berth.images.sbom import MEDIA_TYPE, build_sbom
from pulumi_berth.images.scan import Scan, run_scan
from pulumi_berth.oci import documents
from pulumi_berth.oci.documents import Document, RunConfig
from pulumi_berth.oci.layer import Layer
from pulumi_berth.oci.registry import Repository


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

    def uses_plain_http(self) -> bool:
        """Return whether the base image is in the same registry, and that has no TLS."""
        host = (self.base or "").partition("/")[0]
        return self.repository.plain_http and host == self.repository.name.partition("/")[0]


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
        base = read_base(image.base, architecture, plain_http=image.uses_plain_http())
        added = [layer for _, layer in layers]
        config = documents.build_config(base.config, architecture, layers, image.run)
        base_layers = [layer.as_dict() for layer in base.layers]
        manifest = documents.build_manifest(base_layers, config, added, image.annotations)
        manifests[architecture] = manifest
        contents = _read_contents(image, base, added)
        compressed = sum(layer.size for layer in base.layers)
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
        for descriptor, path in zip(base.layers, base.paths, strict=True):
            image.repository.push_file(path, descriptor.digest)
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


def _read_contents(image: Image, base: BaseImage, added: Sequence[Layer]) -> Contents:
    paths = [*base.paths, *(layer.path for layer in added)]
    diff_ids = [*base.config.diff_ids, *(layer.diff_id for layer in added)]
    try:
        return read_contents(paths, diff_ids)
    except LayerError as error:
        raise ImageCheckError(
            f"Image {image.repository.name} failed its checks: {error}. Nothing was pushed. "
            f"Correct the base image {image.base or ''}.".replace(" .", ".")
        ) from error


def _index_or_manifest(manifests: Mapping[str, Document]) -> Document:
    if len(manifests) == 1:
        return next(iter(manifests.values()))
    return documents.build_index(manifests)


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
