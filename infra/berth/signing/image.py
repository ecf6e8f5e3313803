"""Signing images in a registry in cosign's format."""

from cryptography.hazmat.primitives.asymmetric import ec

from berth.signing.private_key import PrivateKey
from pulumi_berth.oci.registry import RegistryError
from pulumi_berth.signing.image_signature import (
    HASH,
    ImageSignature,
    build_artifact,
    build_payload,
    find_signature_tag,
    find_signer,
    open_image,
    read_layers,
)


def sign_image(reference: str, key: PrivateKey, *, plain_http: bool) -> bool:
    """Sign an image, and keep the signatures that it has.

    Args:
        reference: `registry/name@sha256:...`.

    Returns:
        False if the key had signed the image already. Nothing is pushed then.

    Raises:
        RegistryError: If the registry has no such image, or fails. A registry with immutable tags
            accepts only the first signature of an image.
        SignatureError: If the tag of the signatures is something else.
    """
    repository, digest = open_image(reference, plain_http=plain_http)
    if repository.digest_of(digest) is None:
        raise RegistryError(f"The registry has no {reference}. Nothing was signed.")
    if find_signer(repository, digest, [key.public])[0] is not None:
        return False
    payload = build_payload(repository.name, digest)
    signature = ImageSignature(payload=payload, signature=key.key.sign(payload, ec.ECDSA(HASH)))
    blob, config, manifest = build_artifact(read_layers(repository, digest), signature)
    repository.push_document(blob)
    repository.push_document(config)
    repository.replace_tag(manifest, find_signature_tag(digest))
    return True
