"""Keys and signatures for the tests of signing."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from berth_protocol.model_card import CARD_FILE, digest, read_card
from pulumi_berth.signing import bundle
from pulumi_berth.signing.keys import PublicKey, build_public_key, find_hash


def create_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def public_key(key: ec.EllipticCurvePrivateKey) -> PublicKey:
    return build_public_key(key.public_key())


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def write_key(path: Path, key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> Path:
    """Write a private key as `openssl genpkey` does."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase)
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return path


def build_statement(directory: Path, **changes: Any) -> dict[str, Any]:
    """Return the statement about a version, as the format's specification describes it."""
    card = read_card(directory)
    files = {CARD_FILE: digest(directory), **card.files}
    hexes = {name: value.removeprefix("sha256:") for name, value in sorted(files.items())}
    root = hashlib.sha256(b"".join(bytes.fromhex(each) for each in hexes.values()))
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": directory.name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": each}
                for name, each in hexes.items()
            ],
        },
        **changes,
    }


def build_bundle(
    key: ec.EllipticCurvePrivateKey, statement: dict[str, Any], **envelope: Any
) -> dict[str, Any]:
    """Return a signed bundle."""
    payload = json.dumps(statement).encode()
    kind = "application/vnd.in-toto+json"
    encoded = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    signature = key.sign(encoded, ec.ECDSA(find_hash(key.curve)))
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": public_key(key).fingerprint},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            **envelope,
        },
    }


def write_signature(directory: Path, document: dict[str, Any]) -> Path:
    path = bundle.find_signature_file(directory)
    path.write_text(json.dumps(document))
    return path


def sign_directory(directory: Path, key: ec.EllipticCurvePrivateKey, **changes: Any) -> Path:
    """Sign a version without the package `model-signing`, which takes seconds to import."""
    return write_signature(directory, build_bundle(key, build_statement(directory, **changes)))
