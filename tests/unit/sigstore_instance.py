"""A Sigstore instance in memory: it issues certificates for identities, and logs signatures.

Everything that a signature file needs is made here as a real instance makes it: a certificate with
a timestamp of the certificate log, and an entry of the transparency log with its inclusion proof.

https://github.com/sigstore/architecture-docs, https://www.rfc-editor.org/rfc/rfc6962
"""

import base64
import datetime
import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.unit.signing_keys import build_statement, create_key, write_signature

_SHA256 = ec.ECDSA(hashes.SHA256())
_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_LOG = "log.example.com"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _der_public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 1 << 16
    short = len(content) < 128
    length = bytes([len(content)]) if short else struct.pack("!BH", 0x82, len(content))
    return bytes([tag]) + length + content


@dataclass(frozen=True)
class Log:
    """A log with its key. Its first entry is its only one."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=create_key)

    @property
    def identifier(self) -> bytes:
        return hashlib.sha256(_der_public(self.key)).digest()

    def describe(self, start: str) -> dict[str, Any]:
        """Return the log as a trust root names it."""
        return {
            "baseUrl": f"https://{_LOG}",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _encode(_der_public(self.key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": start},
            },
            "logId": {"keyId": _encode(self.identifier)},
        }


class SigstoreInstance:
    """A certificate authority with its two logs."""

    def __init__(self) -> None:
        self._now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self._key = create_key()
        self._certificates, self._entries = Log(), Log()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sigstore.example")])
        self._authority = self._build(
            self._name, self._key, days=30, extensions=[
                (x509.BasicConstraints(ca=True, path_length=0), True),
                (_key_usage(signs_certificates=True), True),
            ]
        )  # fmt: skip

    def write_trust_root(self, path: Path) -> Path:
        """Write the file that verifiers need."""
        start = (self._now - datetime.timedelta(days=1)).isoformat().replace("+00:00", "Z")
        certificate = self._authority.public_bytes(serialization.Encoding.DER)
        authority = {
            "subject": {"organization": "example", "commonName": "sigstore.example"},
            "uri": "https://fulcio.example.com",
            "certChain": {"certificates": [{"rawBytes": _encode(certificate)}]},
            "validFor": {"start": start},
        }
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self._entries.describe(start)],
            "certificateAuthorities": [authority],
            "ctlogs": [self._certificates.describe(start)],
            "timestampAuthorities": [],
        }
        path.write_text(json.dumps(document))
        return path

    def sign_version(self, directory: Path, identity: str, issuer: str) -> Path:
        """Sign a version as `berth sign --sigstore` does for somebody with this identity."""
        payload = json.dumps(build_statement(directory)).encode()
        return write_signature(directory, self.build_bundle(payload, identity, issuer))

    def build_bundle(self, payload: bytes, identity: str, issuer: str) -> dict[str, Any]:
        key = create_key()
        certificate = self._issue(key, identity, issuer)
        encoded = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} ".encode() + payload
        signature = key.sign(encoded, _SHA256)
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {
                    "rawBytes": _encode(certificate.public_bytes(serialization.Encoding.DER))
                },
                "tlogEntries": [self._log(payload, signature, certificate)],
            },
            "dsseEnvelope": {
                "payload": _encode(payload),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"sig": _encode(signature)}],
            },
        }

    def _issue(
        self, key: ec.EllipticCurvePrivateKey, identity: str, issuer: str
    ) -> x509.Certificate:
        name = (
            x509.UniformResourceIdentifier(identity)
            if "://" in identity
            else x509.RFC822Name(identity)
        )
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (_key_usage(signs_certificates=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
            (x509.SubjectAlternativeName([name]), True),
            (x509.UnrecognizedExtension(_ISSUER, issuer.encode()), False),
        ]
        number = x509.random_serial_number()
        unlogged = self._build(x509.Name([]), key, number=number, extensions=extensions)
        timestamps = self._log_certificate(unlogged.tbs_certificate_bytes)
        extensions.append((x509.UnrecognizedExtension(_SCT_LIST, timestamps), False))
        return self._build(x509.Name([]), key, number=number, extensions=extensions)

    def _build(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        number: int | None = None,
        days: int = 0,
        extensions: list[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        authority = self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(number or x509.random_serial_number())
            .not_valid_before(self._now - datetime.timedelta(minutes=5, days=days))
            .not_valid_after(self._now + datetime.timedelta(minutes=5, days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), False)
        )
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(self._key, hashes.SHA256())

    def _log_certificate(self, certificate: bytes) -> bytes:
        """Return the extension with the certificate log's timestamp: RFC 6962, section 3.2."""
        milliseconds = int(self._now.timestamp() * 1000)
        issuer = hashlib.sha256(_der_public(self._key)).digest()
        entry = issuer + struct.pack("!I", len(certificate))[1:] + certificate
        signed = struct.pack("!BBQH", 0, 0, milliseconds, 1) + entry + struct.pack("!H", 0)
        signature = self._certificates.key.sign(signed, _SHA256)
        timestamp = (
            struct.pack("!B32sQH", 0, self._certificates.identifier, milliseconds, 0)
            + struct.pack("!BBH", 4, 3, len(signature))
            + signature
        )
        listed = struct.pack("!H", len(timestamp)) + timestamp
        return _der(0x04, struct.pack("!H", len(listed)) + listed)

    def _log(
        self, payload: bytes, signature: bytes, certificate: x509.Certificate
    ) -> dict[str, Any]:
        """Return the entry of the transparency log, which is its first one."""
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        digest = {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()}
        signatures = [{"signature": _encode(signature), "verifier": _encode(pem)}]
        spec = {"envelopeHash": digest, "payloadHash": digest, "signatures": signatures}
        body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}).encode()
        time = int(self._now.timestamp())
        promise = {
            "body": _encode(body),
            "integratedTime": time,
            "logID": self._entries.identifier.hex(),
            "logIndex": 0,
        }
        canonical = json.dumps(promise, sort_keys=True, separators=(",", ":")).encode()
        root = _encode(hashlib.sha256(b"\0" + body).digest())
        note = f"{_LOG}\n1\n{root}\n"
        noted = self._entries.identifier[:4] + self._entries.key.sign(note.encode(), _SHA256)
        return {
            "logIndex": "0",
            "logId": {"keyId": _encode(self._entries.identifier)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {
                "signedEntryTimestamp": _encode(self._entries.key.sign(canonical, _SHA256))
            },
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": root,
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\u2014 {_LOG} {_encode(noted)}\n"},
            },
            "canonicalizedBody": _encode(body),
        }


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
