"""Public keys for signatures: ECDSA on the curves P-256, P-384 and P-521."""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pulumi_berth.signing.errors import SignatureError

PEM_BEGIN = "-----BEGIN PUBLIC KEY-----"
_SHOWN_DIGITS = 12
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies signatures.

    Attributes:
        key: The key itself.
        fingerprint: SHA-256 of the key as PEM, in hexadecimal. The model-signing format calls it
            the hint.
    """

    key: ec.EllipticCurvePublicKey
    fingerprint: str

    @property
    def name(self) -> str:
        """The beginning of the fingerprint, for messages."""
        return self.fingerprint[:_SHOWN_DIGITS]

    def is_signed(
        self, data: bytes, signature: bytes, algorithm: hashes.HashAlgorithm | None = None
    ) -> bool:
        """Return whether this key signed `data`.

        Args:
            algorithm: Hash of the signature. Defaults to the one that belongs to the curve.
        """
        try:
            self.key.verify(signature, data, ec.ECDSA(algorithm or find_hash(self.key.curve)))
        except InvalidSignature:
            return False
        return True


def parse_public_key(pem: str) -> PublicKey:
    """Return the key in a PEM text.

    Raises:
        SignatureError: If it is not the PEM text of an ECDSA key on a supported curve.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(
            f"is not a public key in PEM format, which starts with {PEM_BEGIN}; create it with "
            "'openssl pkey -in signing.key -pubout'"
        ) from error
    return build_public_key(key)


def build_public_key(key: object) -> PublicKey:
    """Return a key with its fingerprint.

    Raises:
        SignatureError: If it is not an ECDSA key on a supported curve.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise SignatureError(
            "is not an ECDSA key on the curve P-256, P-384 or P-521; create one with 'openssl "
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256'"
        )
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(key=key, fingerprint=hashlib.sha256(pem).hexdigest())


def find_hash(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    """Return the hash that belongs to a supported curve."""
    return _HASHES[curve.name]
