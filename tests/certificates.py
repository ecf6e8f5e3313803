"""An authority for tests, which issues certificates."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _create_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _encode_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _encode(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True)
class Authority:
    """A certificate authority with a new key."""

    _key: ec.EllipticCurvePrivateKey = field(default_factory=_create_key)

    @property
    def root(self) -> str:
        """The root certificate in PEM."""
        name = _build_name("Authority for tests")
        builder = self._build(name, self._key, datetime.now(UTC), timedelta(days=3650))
        return _encode(
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    def issue(
        self,
        names: Sequence[str],
        *,
        start: datetime | None = None,
        lifetime: timedelta = timedelta(days=90),
    ) -> tuple[str, str]:
        """Return a certificate for host names and addresses, and its private key, in PEM.

        Args:
            start: Start of the certificate's validity. Defaults to an hour ago.
        """
        key = _create_key()
        begin = datetime.now(UTC) - timedelta(hours=1) if start is None else start
        builder = self._build(_build_name("server"), key, begin, lifetime)
        if names:
            alternatives = x509.SubjectAlternativeName([_build_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = builder.add_extension(identifier, critical=False)
        return _encode(certificate.sign(self._key, hashes.SHA256())), _encode_key(key)

    @staticmethod
    def _build(
        subject: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_build_name("Authority for tests"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - timedelta(hours=1))
            .not_valid_after(start + lifetime)
        )


def _build_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _build_alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
