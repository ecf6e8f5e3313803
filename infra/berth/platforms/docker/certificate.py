"""The certificate of a docker stack: read from its files, and checked before anything changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec, SpecError
from berth.spec.docker_tls import DockerTlsSpec

if TYPE_CHECKING:
    from cryptography import x509

    from pulumi_berth.docker.tls_proxy import DockerTlsArgs

_CHECK = "certificate"
_MAX_BYTES = 64 << 10
_LOOPBACK = "127.0.0.1"
# Let's Encrypt renews certificates of 90 days when 30 days remain.
_WARN_DAYS = 14


def build_tls(spec: HostingSpec, root: Path) -> "DockerTlsArgs | None":
    """Return TLS of a specification, with the content of its files.

    Raises:
        SpecError: If a file cannot be read.
    """
    # The CLI checks a certificate without loading pulumi.
    from pulumi_berth.docker.tls_proxy import AcmeArgs, DockerTlsArgs

    tls = spec.docker.tls
    if tls is None:
        return None
    certificate, key = _read_pair(tls, root)
    acme = tls.acme
    return DockerTlsArgs(
        hostnames=tls.hostnames,
        certificate=certificate,
        key=key,
        acme=None
        if acme is None
        else AcmeArgs(
            email=acme.email,
            directory=acme.directory,
            roots=None if acme.root_file is None else _read(root, "acme.root_file", acme.root_file),
        ),
        port=tls.port,
        image=tls.image,
    )


def check_certificate(context: StackContext) -> Finding:
    """Check that the certificate matches its key and host names, and that it is valid today.

    Raises:
        SpecError: If not. It lists all problems.
    """
    tls = context.spec.docker.tls
    if tls is None:
        detail = "docker.tls is not set: clients send requests in plain HTTP."
        return Finding(check=_CHECK, status=Status.OPTIONAL, detail=detail)
    certificate, key = _read_pair(tls, context.root)
    if certificate is None or key is None:
        detail = f"The proxy obtains a certificate for {', '.join(tls.hostnames)}."
        if _list_addresses(context.spec) <= {_LOOPBACK}:
            detail += f" The authority cannot reach it at {_LOOPBACK}."
            fix = "Set docker.address, unless another program forwards port 443 to it."
            return Finding(check=_CHECK, status=Status.WARNING, detail=detail, fix=fix)
        return Finding(check=_CHECK, status=Status.PASSED, detail=detail)
    now = datetime.now(UTC)
    facts = inspect_certificate(certificate, key, tls.hostnames, now)
    if facts.problems:
        raise SpecError(
            [
                f"docker.tls.{problem_key}: {getattr(tls, problem_key)} {problem}"
                for problem_key, problem in facts.problems
            ]
        )
    assert facts.expires is not None  # There is no problem.
    detail = f"{tls.certificate_file} is valid until {facts.expires:%Y-%m-%d}."
    if facts.expires - now < timedelta(days=_WARN_DAYS):
        fix = "Renew it, replace docker.tls.certificate_file and key_file, and run 'berth up'."
        return Finding(check=_CHECK, status=Status.WARNING, detail=detail, fix=fix)
    return Finding(check=_CHECK, status=Status.PASSED, detail=detail)


@dataclass(frozen=True, kw_only=True)
class CertificateFacts:
    """What a certificate and its key are.

    Attributes:
        expires: Time from which clients reject it. None if it cannot be read.
        problems: Key of `docker.tls`, and what is wrong with its file and what to do.
    """

    expires: datetime | None
    problems: Sequence[tuple[str, str]]


def inspect_certificate(
    certificate: str, key: str, hostnames: Sequence[str], now: datetime
) -> CertificateFacts:
    """Return what clients would reject a certificate for, without showing the key.

    Args:
        certificate: Certificate and its intermediate certificates, in PEM.
        key: Private key in PEM.
        hostnames: Names by which clients call the gateway.
        now: Time of the check.
    """
    # Loaded only with TLS: the library takes 12 MiB of memory.
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    problems: list[tuple[str, str]] = []
    try:
        leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
    except ValueError:
        problem = "contains no certificate in PEM. Start it with '-----BEGIN CERTIFICATE-----'."
        return CertificateFacts(expires=None, problems=[("certificate_file", problem)])
    if now >= leaf.not_valid_after_utc:
        problem = f"expired at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}. Renew it."
        problems.append(("certificate_file", problem))
    elif now < leaf.not_valid_before_utc:
        problem = (
            f"is valid only from {leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}. Correct this "
            "machine's clock, or wait."
        )
        problems.append(("certificate_file", problem))
    names = _list_names(leaf)
    missing = [name for name in hostnames if not _covers(names, name)]
    if missing:
        problem = (
            f"is for {', '.join(names) or 'no host name'}, not for {', '.join(missing)}. Request "
            "a certificate with that name, or correct docker.tls.hostnames."
        )
        problems.append(("certificate_file", problem))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        own = serialization.load_pem_private_key(key.encode(), password=None).public_key()
    except TypeError:
        problem = "is encrypted with a password. Decrypt it with 'openssl pkey'."
        problems.append(("key_file", problem))
    except Exception:  # The library's errors differ by key, and could show a part of it.
        problem = (
            "contains no private key in PEM that can be used. Start it with '-----BEGIN PRIVATE "
            "KEY-----'."
        )
        problems.append(("key_file", problem))
    else:
        encoding = serialization.Encoding.DER
        given = leaf.public_key()
        if own.public_bytes(encoding, public) != given.public_bytes(encoding, public):
            problem = "is not the key of the certificate. Use the key of the request for it."
            problems.append(("key_file", problem))
    return CertificateFacts(expires=leaf.not_valid_after_utc, problems=problems)


def _list_names(leaf: "x509.Certificate") -> list[str]:
    from cryptography import x509

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def _covers(names: Sequence[str], hostname: str) -> bool:
    """Return whether one of a certificate's names covers a host name.

    A wildcard covers one label: https://www.rfc-editor.org/rfc/rfc9525#section-6.3.
    """
    return hostname in names or f"*.{hostname.partition('.')[2]}" in names


def _list_addresses(spec: HostingSpec) -> set[str]:
    """Return the addresses at which the port for clients is published."""
    default = spec.docker.address
    hosts = spec.docker.hosts.values()
    return {host.listen_address or default for host in hosts} or {default}


def _read_pair(tls: DockerTlsSpec, root: Path) -> tuple[str | None, str | None]:
    if tls.certificate_file is None or tls.key_file is None:
        return None, None
    return (
        _read(root, "certificate_file", tls.certificate_file),
        _read(root, "key_file", tls.key_file),
    )


def _read(root: Path, key: str, name: str) -> str:
    path = root / Path(name).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("ascii")
    except OSError as error:
        raise SpecError.of(
            f"docker.tls.{key}: Cannot read {path}: {error.strerror}. Correct the path."
        ) from None
    except UnicodeDecodeError:
        raise SpecError.of(f"docker.tls.{key}: {path} is not PEM. Convert it.") from None
    if len(content) > _MAX_BYTES:
        raise SpecError.of(
            f"docker.tls.{key}: {path} is longer than {_MAX_BYTES >> 10} KiB. Keep only the "
            "certificates or the key in it."
        )
    return text
