"""Signatures of images in cosign's format, as tags next to the image.

The signature of `sha256:<hex>` is the image `sha256-<hex>.sig` in the same repository. Each of its
layers is a signed statement about the digest, with the signature in an annotation. Cosign 2.5.0
verifies it with `cosign verify --key`: see tests/unit/test_image_signatures.py.

https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes

from pulumi_berth.oci import documents
from pulumi_berth.oci.descriptor import (
    RegistryContentError,
    check_digest,
    decode_document,
    parse_descriptor,
    parse_descriptors,
)
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.registry import Repository, get_registry_host, split_reference
from pulumi_berth.signing.errors import SignatureError
from pulumi_berth.signing.keys import PublicKey

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_ANNOTATION = "dev.cosignproject.cosign/signature"
_STATEMENT = "cosign container image signature"
_MAX_PAYLOAD_BYTES = 64 << 10
_MAX_SIGNATURES = 100
HASH = hashes.SHA256()
"""Hash of each signature. Cosign uses it for keys on all curves."""


@dataclass(frozen=True, kw_only=True)
class ImageSignature:
    """One signature of an image.

    Attributes:
        payload: The signed statement.
        signature: The signature itself.
    """

    payload: bytes
    signature: bytes


def find_signature_tag(digest: str) -> str:
    """Return the tag of the signatures of an image."""
    return f"{check_digest(digest).replace(':', '-')}.sig"


def build_payload(repository: str, digest: str) -> bytes:
    """Return the statement that is signed: that an image has this digest."""
    return json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": digest},
                "type": _STATEMENT,
            },
            "optional": None,
        },
        separators=(",", ":"),
    ).encode()


def build_artifact(
    existing: Sequence[Mapping[str, Any]], added: ImageSignature
) -> tuple[Document, Document, Document]:
    """Return the payload, configuration and manifest of signatures with one added.

    Args:
        existing: Layers of the signatures that the image has.
    """
    payload = Document(media_type=PAYLOAD_TYPE, data=added.payload)
    layer = {
        **payload.descriptor,
        "annotations": {_ANNOTATION: base64.b64encode(added.signature).decode()},
    }
    layers = [*map(dict, existing), layer]
    config = documents.encode_document(
        documents.CONFIG,
        {
            "architecture": "",
            "os": "",
            "created": documents.CREATED,
            "config": {},
            "history": [{"created": documents.CREATED} for _ in layers],
            "rootfs": {"type": "layers", "diff_ids": [each["digest"] for each in layers]},
        },
    )
    manifest = documents.encode_document(
        documents.MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "config": config.descriptor,
            "layers": layers,
        },
    )
    return payload, config, manifest


def read_layers(repository: Repository, digest: str) -> list[dict[str, Any]]:
    """Return the layers of the signatures of an image. Empty if it has none.

    Raises:
        RegistryError: If the registry fails or returns something else.
        SignatureError: If the tag of the signatures is something else.
    """
    tag = find_signature_tag(digest)
    if repository.digest_of(tag) is None:
        return []
    try:
        content = decode_document(repository.manifest(tag).data)
        parse_descriptors(content, "layers")
    except RegistryContentError as error:
        raise SignatureError(f"{repository.name}:{tag} is not a signature: {error}") from error
    layers: list[dict[str, Any]] = content["layers"]
    if len(layers) > _MAX_SIGNATURES:
        raise SignatureError(
            f"{repository.name}:{tag} has {len(layers)} signatures, more than {_MAX_SIGNATURES}"
        )
    return layers


def read_signatures(repository: Repository, digest: str) -> Iterator[ImageSignature]:
    """Yield the signatures of an image that have the expected form.

    Raises:
        RegistryError: If the registry fails or returns something else.
        SignatureError: If the tag of the signatures is something else.
    """
    for layer in read_layers(repository, digest):
        descriptor = parse_descriptor(layer)
        annotations = layer.get("annotations")
        if descriptor.media_type != PAYLOAD_TYPE or descriptor.size > _MAX_PAYLOAD_BYTES:
            continue
        text = annotations.get(_ANNOTATION) if isinstance(annotations, dict) else None
        try:
            signature = base64.b64decode(str(text), validate=True)
        except (binascii.Error, ValueError):
            continue
        payload = repository.blob(descriptor.digest, descriptor.size).read_bytes()
        yield ImageSignature(payload=payload, signature=signature)


def find_signer(
    repository: Repository, digest: str, keys: Sequence[PublicKey]
) -> tuple[PublicKey | None, int]:
    """Return the key that signed an image, or None, and the number of its signatures.

    The name of the repository in a statement is not compared, so that copies stay signed.

    Raises:
        RegistryError: If the registry fails or returns something else.
        SignatureError: If the tag of the signatures is something else.
    """
    count = 0
    for entry in read_signatures(repository, digest):
        count += 1
        for key in keys:
            if key.is_signed(entry.payload, entry.signature, HASH) and _is_about(entry, digest):
                return key, count
    return None, count


def check_image_signature(
    reference: str, keys: Sequence[PublicKey], *, plain_http: bool
) -> PublicKey:
    """Check that one of `keys` signed an image, and return that key.

    Args:
        reference: `registry/name@sha256:...`.

    Raises:
        RegistryError: If the registry fails or returns something else.
        SignatureError: If no trusted key signed the image.
    """
    if not keys:
        raise SignatureError(
            f"{reference} needs a signature by a key, and only identities are trusted. Add the key "
            "to require_signature, and sign the image with 'berth sign-images --key KEY'"
        )
    repository, digest = open_image(reference, plain_http=plain_http)
    key, count = find_signer(repository, digest, keys)
    if key is not None:
        return key
    trusted = ", ".join(each.name for each in keys)
    problem = (
        f"{count} signatures, none of them by a trusted key ({trusted})"
        if count
        else f"no signature: the repository has no tag {find_signature_tag(digest)}"
    )
    raise SignatureError(
        f"{reference} has {problem}. Sign it with 'berth sign-images --key KEY' or 'cosign sign "
        "--key KEY', or use a signed image"
    )


def open_image(reference: str, *, plain_http: bool) -> tuple[Repository, str]:
    """Return the repository and the digest of `registry/name@sha256:...`."""
    name, digest = split_reference(reference)
    host, _, path = name.partition("/")
    repository = Repository(name=f"{get_registry_host(host)}/{path}", plain_http=plain_http)
    return repository, digest


def _is_about(entry: ImageSignature, digest: str) -> bool:
    try:
        critical = decode_document(entry.payload)["critical"]
        return bool(
            critical["image"]["docker-manifest-digest"] == digest and critical["type"] == _STATEMENT
        )
    except (RegistryContentError, LookupError, TypeError):
        return False
