"""The private key that signs: a PEM file, encrypted or not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pulumi_berth.signing.errors import SignatureError
from pulumi_berth.signing.keys import PublicKey, build_public_key

PASSPHRASE = "BERTH_SIGNING_PASSPHRASE"  # noqa: S105
"""Environment variable with the passphrase of an encrypted key."""
_MAX_BYTES = 64 << 10


@dataclass(frozen=True)
class PrivateKey:
    """A private key with the public key that verifies its signatures.

    Attributes:
        path: File of the key.
        passphrase: Passphrase of the file. None if the key is not encrypted.
    """

    path: Path
    passphrase: bytes | None
    key: ec.EllipticCurvePrivateKey
    public: PublicKey


def load_private_key(path: Path, ask_passphrase: Callable[[], str | None]) -> PrivateKey:
    """Load the key in a PEM file.

    Args:
        ask_passphrase: Returns the passphrase, or None if there is none. Called only if the key is
            encrypted.

    Raises:
        SignatureError: If the file is not an ECDSA key on a supported curve, or the passphrase is
            missing or wrong.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES)
    except OSError as error:
        raise SignatureError(
            f"{path}: cannot read the private key ({error.strerror}). Correct --key."
        ) from error
    passphrase: bytes | None = None
    if b"ENCRYPTED" in data:
        text = ask_passphrase()
        if not text:
            raise SignatureError(
                f"{path}: the private key is encrypted. Set its passphrase in {PASSPHRASE}, or run "
                "the command in a terminal, which prompts for it."
            )
        passphrase = text.encode()
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SignatureError(
            f"{path}: is not a private key in PEM format, or its passphrase is wrong. Create a key "
            "with 'openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256'."
        ) from error
    try:
        public = build_public_key(key.public_key())
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}.") from error
    assert isinstance(key, ec.EllipticCurvePrivateKey), "build_public_key accepts only these"
    return PrivateKey(path=path, passphrase=passphrase, key=key, public=public)
