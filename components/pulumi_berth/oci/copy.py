"""Copies of images between registries. Digests stay, because the bytes do."""

from pulumi_berth.oci.descriptor import (
    MAX_DOCUMENT_BYTES,
    decode_document,
    parse_descriptor,
    parse_descriptors,
)
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.registry import Repository

# What belongs to an image and has its digest as tag: the SBOM, and cosign's signatures and
# attestations (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md).
_ATTACHMENTS = ("sbom", "sig", "att")


def copy_by_digest(origin: Repository, target: Repository, digest: str, tag: str) -> bool:
    """Copy an image for all its architectures, with its SBOM and signatures.

    The tag is pushed last, so an interrupted copy is continued by the next one.

    Args:
        tag: Tag in the target, so that a registry that removes untagged images keeps it.

    Returns:
        False if the target had the image already. Only signatures and attestations that it lacks
        are pushed then: an image can be signed after it was copied.

    Raises:
        RegistryContentError: If the origin has something else than an image.
        RegistryError: If a registry fails, or a part differs from its digest.
        TagExistsError: If the tag belongs to another image.
    """
    if target.digest_of(tag) == digest:
        _copy_attachments(digest, origin, target)
        return False
    whole = origin.manifest(digest)
    content = decode_document(whole.data)
    manifests = [whole]
    if "manifests" in content:
        parse_descriptors(content, "manifests")
        entries = [parse_descriptor(e, most=MAX_DOCUMENT_BYTES) for e in content["manifests"]]
        manifests = [origin.manifest(entry.digest, entry.size) for entry in entries]
    for document in manifests:
        copy_manifest(document, origin, target)
    target.push_manifest(whole)
    for copied in dict.fromkeys(document.digest for document in (*manifests, whole)):
        _copy_attachments(copied, origin, target)
    target.push_manifest(whole, tag)
    return True


def copy_manifest(document: Document, origin: Repository, target: Repository) -> None:
    """Copy the blobs of an image for one architecture, and its manifest."""
    content = decode_document(document.data)
    parts = [parse_descriptor(content.get("config")), *parse_descriptors(content, "layers")]
    for part in parts:
        if not target.has_blob(part.digest):
            target.push_file(origin.blob(part.digest, part.size), part.digest)
    target.push_manifest(document)


def _copy_attachments(digest: str, origin: Repository, target: Repository) -> None:
    for kind in _ATTACHMENTS:
        tag = f"{digest.replace(':', '-')}.{kind}"
        present, existing = origin.digest_of(tag), target.digest_of(tag)
        if present is None or present == existing:
            continue
        document = origin.manifest(tag)
        if existing is None:
            copy_manifest(document, origin, target)
            target.push_manifest(document, tag)
        elif _extends(document, target.manifest(tag)):
            # The image was signed again after it was copied.
            copy_manifest(document, origin, target)
            target.replace_tag(document, tag)


def _extends(document: Document, existing: Document) -> bool:
    """Return whether a manifest has all layers of another one."""
    layers, others = (
        decode_document(each.data).get("layers") or [] for each in (document, existing)
    )
    return all(layer in layers for layer in others)
