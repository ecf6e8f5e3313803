"""Building images: from the layers of an image to its digest in the registry."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pulumi_berth.images.base_reader import BaseImage, ImageCheckError, read_base
from pulumi_berth.images.contents import Contents, LayerError, read_contents
from pulumi_berth.images.image_archive import open_archive
from pulumi_berth.images.report import build_report, find_defects
from pulumi_berth.images.sbom import MEDIA_TYPE, build_sbom
from pulumi_berth.images.scan import NO_SCANNER, Scan, needs_scan, run_scan
from pulumi_berth.oci import documents
from pulumi_berth.oci.descriptor import decode_document, parse_descriptor
from pulumi_berth.oci.documents import Document, RunConfig
from pulumi_berth.oci.image_store import is_stored
from pulumi_berth.oci.layer import Layer
from pulumi_berth.oci.registry import Repository, TagExistsError


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

    Nothing is pushed if the repository has an image with this tag: it has passed its checks.

    Raises:
        ImageCheckError: If the image is not hardened. Nothing is pushed.
        ScanError: If the scanner rejects the image. It gets no tag.
        RegistryError: If the registry fails, or the tag belongs to other content.
    """
    parts = {
        architecture: _plan(image, architecture, layers)
        for architecture, layers in image.layers.items()
    }
    whole = documents.index_or_manifest({name: part.manifest for name, part in parts.items()})
    digest = _find_tagged(image, parts, whole)
    if digest is None:
        push_parts(image.repository, parts.values(), whole)
    reference = f"{image.repository.name}@{digest or whole.digest}"
    scanner = scan_image(scan, reference, image.layers)
    if digest is None:
        image.repository.push_manifest(whole, image.tag)
    return PushedImage(
        digest=digest or whole.digest,
        reference=reference,
        scanner=scanner,
        reports={name: part.report for name, part in parts.items()},
    )


def scan_image(scan: Scan, reference: str, architectures: Iterable[str]) -> str:
    """Scan a pushed image, and return the name of the scanner.

    A scanner gets an image that is in no registry as an archive, one for each architecture.

    Raises:
        ScanError: If the scanner rejects the image or cannot run.
    """
    if not is_stored(reference):
        return run_scan(scan, reference)
    if not needs_scan(scan):
        return NO_SCANNER
    scanner = NO_SCANNER
    for architecture in architectures:
        with open_archive(reference, architecture) as archive:
            scanner = run_scan(scan, str(archive), is_archive=True)
    return scanner


@dataclass(frozen=True, kw_only=True)
class Part:
    """A checked image for one architecture.

    Attributes:
        base: Base image.
        added: Layers on top of the base image.
        config: Configuration.
        manifest: Manifest.
        contents: What the layers contain.
        report: Report about the contents, as plain data.
    """

    base: BaseImage
    added: Sequence[Layer]
    config: Document
    manifest: Document
    contents: Contents
    report: dict[str, Any]


def _plan(image: Image, architecture: str, layers: Sequence[tuple[str, Layer]]) -> Part:
    """Build and check the image for one architecture. Nothing is pushed.

    Raises:
        ImageCheckError: If the image is not hardened.
    """
    base = read_base(image.base, architecture, plain_http=image.uses_plain_http())
    added = [layer for _, layer in layers]
    config = documents.build_config(base.config, architecture, layers, image.run)
    base_layers = [layer.as_dict() for layer in base.layers]
    manifest = documents.build_manifest(base_layers, config, added, image.annotations)
    contents = _read_contents(image, base, added)
    compressed = sum(layer.size for layer in base.layers) + sum(layer.size for layer in added)
    report = build_report(contents, {"config": {"User": image.run.user}}, compressed)
    if defects := list(find_defects(report)):
        raise ImageCheckError(
            f"Image {image.repository.name} ({architecture}) failed its checks: "
            f"{'; '.join(defects)}. Nothing was pushed. Correct the base image."
        )
    return Part(
        base=base,
        added=added,
        config=config,
        manifest=manifest,
        contents=contents,
        report=asdict(report),
    )


def _find_tagged(image: Image, parts: Mapping[str, Part], whole: Document) -> str | None:
    """Return the digest of the image that has the tag of this content, or None if there is none.

    Another machine can compress the same files to other bytes, and a tag can never move. That image
    is used if its configuration, which lists the digests of the uncompressed layers, is the same.

    Raises:
        TagExistsError: If the tagged image has other content.
    """
    existing = image.repository.digest_of(image.tag)
    if existing in (None, whole.digest):
        return existing
    expected = {name: part.config.digest for name, part in parts.items()}
    if _read_configs(image.repository, existing, list(parts)) != expected:
        raise TagExistsError(
            f"{image.repository.name}:{image.tag} exists with different content ({existing}, not "
            f"{whole.digest}). Nothing was pushed. Find out who pushed it, and delete it from the "
            "registry."
        )
    return existing


def _read_configs(
    repository: Repository, digest: str, architectures: Sequence[str]
) -> dict[str, str]:
    """Return the digest of the configuration of a pushed image, by architecture."""
    content = decode_document(repository.manifest(digest).data)
    if "manifests" not in content:
        return {name: parse_descriptor(content.get("config")).digest for name in architectures}
    return {
        str(entry["platform"]["architecture"]): parse_descriptor(
            decode_document(repository.manifest(entry["digest"]).data).get("config")
        ).digest
        for entry in content["manifests"]
    }


def push_parts(repository: Repository, parts: Iterable[Part], whole: Document) -> None:
    """Push the image without its tag, and the SBOM of each architecture."""
    for part in parts:
        for layer in part.added:
            repository.push_file(layer.path, layer.digest)
        for descriptor, path in zip(part.base.layers, part.base.paths, strict=True):
            repository.push_file(path, descriptor.digest)
        repository.push_document(part.config)
        repository.push_manifest(part.manifest)
        name = f"{repository.name}@{part.manifest.digest}"
        _attach_sbom(repository, part.manifest, build_sbom(name, part.contents.packages))
    repository.push_manifest(whole)


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


def _attach_sbom(repository: Repository, manifest: Document, sbom: bytes) -> None:
    """Push the SBOM as a referrer of the image, with the tag that other tools look for.

    An image that has an SBOM keeps it, because its tag can never move.
    """
    tag = f"{manifest.digest.replace(':', '-')}.sbom"
    if repository.digest_of(tag) is not None:
        return
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
    repository.push_manifest(artifact, tag)
