"""Signatures of model versions in the OpenSSF model-signing format, version 1.0.

A signature is a Sigstore bundle: a DSSE envelope whose payload is an in-toto statement that lists
the SHA-256 of every file of the version. `berth sign` writes it with the package `model-signing`.
Verifying it with a key needs only ECDSA, so this module does that without the package, which takes
seconds to import. `identity` verifies signatures of Sigstore's identities.

The verification is stricter than that of `model-signing`: the statement must list exactly the files
of the version, so it cannot ignore any.

https://github.com/sigstore/model-transparency, https://github.com/secure-systems-lab/dsse
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from berth_protocol.model_card import CARD_FILE, CardError, ModelCard, digest, read_card
from berth_protocol.model_card import verify_files as verify_card_files
from pulumi_berth.signing.errors import SignatureError
from pulumi_berth.signing.identity import verify_identity
from pulumi_berth.signing.keys import PublicKey
from pulumi_berth.signing.signers import Signer, select_identities, select_keys

SUFFIX = ".sig"
"""Suffix of a signature file, which is next to the directory of the version."""
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BYTES = 16 << 20
"""Largest signature file that is read: about 100,000 files in a version."""

_SHA256 = "sha256:"


class _PublicKeyHint(msgspec.Struct):
    hint: str = ""


class _Material(msgspec.Struct, rename="camel"):
    public_key: _PublicKeyHint | None = None
    certificate: dict[str, Any] | None = None


class _SignatureEntry(msgspec.Struct):
    sig: str


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_SignatureEntry]


class _Bundle(msgspec.Struct, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Resource(msgspec.Struct):
    name: str
    algorithm: str
    digest: str


class _Predicate(msgspec.Struct):
    serialization: dict[str, Any]
    resources: list[_Resource]


class _Statement(msgspec.Struct, rename={"kind": "_type", "predicate_type": "predicateType"}):
    kind: str
    subject: list[_Subject]
    predicate_type: str
    predicate: msgspec.Raw


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A signature that was read and not verified.

    Attributes:
        payload: What is signed.
        signature: The signature itself.
        fingerprint: Fingerprint of the key that the file names. Empty if it names none.
        is_keyless: Whether it was made with a certificate of Sigstore instead of a key.
        bundle: The complete file.
    """

    payload: bytes
    signature: bytes
    fingerprint: str
    is_keyless: bool
    bundle: bytes


def find_signature_file(directory: Path) -> Path:
    """Return where the signature of a version is: next to its directory.

    The directory contains only files that its card lists. A signature in it would change what the
    digest and the image of the version contain, so that signing would replace running berths.
    """
    return directory.with_name(f"{directory.name}{SUFFIX}")


def read_signature(path: Path) -> Signature:
    """Read a signature file.

    Raises:
        SignatureError: If the file cannot be read or is not a bundle with one signature.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SignatureError(f"{path}: cannot read the signature ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise SignatureError(f"{path}: is larger than {MAX_BYTES} bytes")
    try:
        return _parse_bundle(data)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise SignatureError(f"{path}: is not a signature of a model: {error}") from error


def _parse_bundle(data: bytes) -> Signature:
    bundle = msgspec.json.decode(data, type=_Bundle)
    envelope = bundle.dsse_envelope
    if bundle.media_type != BUNDLE_TYPE:
        raise SignatureError(f"mediaType is {bundle.media_type!r}, expected {BUNDLE_TYPE!r}")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureError(f"payloadType is {envelope.payload_type!r}, expected {PAYLOAD_TYPE!r}")
    if len(envelope.signatures) != 1:
        raise SignatureError(f"it has {len(envelope.signatures)} signatures, expected 1")
    key = bundle.verification_material.public_key
    return Signature(
        payload=base64.b64decode(envelope.payload, validate=True),
        signature=base64.b64decode(envelope.signatures[0].sig, validate=True),
        fingerprint="" if key is None else key.hint,
        is_keyless=bundle.verification_material.certificate is not None,
        bundle=data,
    )


def encode_for_signature(payload: bytes) -> bytes:
    """Return the bytes that are signed: the pre-authentication encoding of DSSE."""
    return b"DSSEv1 %d %b %d %b" % (
        len(PAYLOAD_TYPE),
        PAYLOAD_TYPE.encode(),
        len(payload),
        payload,
    )


def find_signer(signature: Signature, keys: Sequence[PublicKey]) -> PublicKey | None:
    """Return the key that made the signature, or None if none of the keys did.

    The fingerprint in the file is not signed, so it is not used.
    """
    signed = encode_for_signature(signature.payload)
    return next((key for key in keys if key.is_signed(signed, signature.signature)), None)


def read_statement(payload: bytes) -> dict[str, str]:
    """Return the files that a statement lists, by relative path, with `sha256:<hex>`.

    Raises:
        SignatureError: If it is another statement, uses another serialization, or is inconsistent.
    """
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
        if statement.kind != STATEMENT_TYPE:
            raise SignatureError(f"_type is {statement.kind!r}, expected {STATEMENT_TYPE!r}")
        if statement.predicate_type != PREDICATE_TYPE:
            raise SignatureError(
                f"predicateType is {statement.predicate_type!r}, expected {PREDICATE_TYPE!r}"
            )
        predicate = msgspec.json.decode(statement.predicate, type=_Predicate)
        method = predicate.serialization.get("method"), predicate.serialization.get("hash_type")
        if method != ("files", "sha256"):
            raise SignatureError(
                f"serialization is {predicate.serialization}; sign whole files with SHA-256"
            )
        files: dict[str, str] = {}
        root = hashlib.sha256()
        for resource in predicate.resources:
            if resource.algorithm != "sha256" or resource.name in files:
                raise SignatureError(
                    f"resource {resource.name!r} is listed twice or not with SHA-256"
                )
            content = bytes.fromhex(resource.digest)
            files[resource.name] = f"{_SHA256}{content.hex()}"
            root.update(content)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SignatureError(f"the signed statement is not valid: {error}") from error
    subjects = [subject.digest.get("sha256") for subject in statement.subject]
    if subjects != [root.hexdigest()]:
        raise SignatureError("the signed statement is not valid: subject differs from the files")
    return files


def check_signature(directory: Path, card: ModelCard, signers: Sequence[Signer]) -> Signer:
    """Check that one of `signers` signed the files that the card lists, and return it.

    The function does not read these files: `verify_files` compares them with the card.

    Raises:
        SignatureError: If the version is not signed, is signed by somebody else, or if the signed
            files differ.
    """
    path = find_signature_file(directory)
    if not path.exists():
        raise SignatureError(
            f"{directory} is not signed: {path.name} does not exist next to it. Sign it with "
            f"'berth sign {card.name} {card.version} --key KEY', or restore the file"
        )
    return check_signature_file(path, directory, card, signers)


def check_signature_file(
    path: Path, directory: Path, card: ModelCard, signers: Sequence[Signer]
) -> Signer:
    """Check the signature of a version in the file `path`, as `check_signature` does."""
    signature = read_signature(path)
    try:
        signer, payload = _identify(signature, signers)
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from error
    try:
        signed = read_statement(payload)
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}. Sign the version again") from error
    if problems := _compare(signed, {CARD_FILE: digest(directory), **card.files}):
        raise SignatureError(
            f"{directory} differs from what was signed: {'; '.join(problems)}. Restore the signed "
            "files, or package and sign another version"
        )
    return signer


def verify_version(directory: Path, signers: Sequence[Signer]) -> Signer:
    """Check every file of a version and its signature, and return who signed it.

    Raises:
        SignatureError: As `check_signature`, or if a file differs from the card.
    """
    try:
        card = read_card(directory)
        verify_card_files(directory, card)
    except CardError as error:
        raise SignatureError(str(error)) from error
    return check_signature(directory, card, signers)


def _identify(signature: Signature, signers: Sequence[Signer]) -> tuple[Signer, bytes]:
    """Return who signed, and the payload that is signed.

    Raises:
        SignatureError: If none of the signers did.
    """
    keys, identities = select_keys(signers), select_identities(signers)
    if signature.is_keyless:
        if not identities:
            raise SignatureError(
                "it was signed with an identity of Sigstore, and only keys are trusted; sign it "
                "with --key, or add the identity to trusted_identities"
            )
        return verify_identity(signature.bundle, identities)
    if not keys:
        names = ", ".join(each.name for each in identities)
        trusted = f"only identities are trusted: {names}" if names else "no key is trusted"
        raise SignatureError(
            f"it was signed with a key, and {trusted}. Add the key to require_signature, or sign "
            "it with a trusted identity"
        )
    key = find_signer(signature, keys)
    if key is None:
        raise SignatureError(_describe_other_key(signature, keys))
    return key, signature.payload


def _describe_other_key(signature: Signature, keys: Sequence[PublicKey]) -> str:
    trusted = ", ".join(key.name for key in keys)
    fingerprints = {key.fingerprint for key in keys}
    if signature.fingerprint in fingerprints:
        return "the signature is not valid: the file was changed after signing; sign it again"
    signer = signature.fingerprint[: len(keys[0].name)] if signature.fingerprint else "unknown"
    return (
        f"it was signed by another key ({signer}); trusted keys: {trusted}. Sign it with a trusted "
        "key, or trust this key"
    )


def _compare(signed: Mapping[str, str], actual: Mapping[str, str]) -> list[str]:
    return [
        *(f"{name} is not signed" for name in actual if name not in signed),
        *(f"{name} is signed and missing" for name in signed if name not in actual),
        *(
            f"{name} is {actual[name]}, signed was {signed[name]}"
            for name in actual
            if name in signed and signed[name] != actual[name]
        ),
    ]
