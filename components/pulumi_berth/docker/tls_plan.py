"""The proxy that ends TLS on a Docker engine, as plain data: its configuration and its checks.

The proxy is Traefik. Its arguments are fixed while the container runs. A file in a volume has the
route and the certificate, and Traefik applies a change of it to new connections.
"""

import hashlib
import json
import math
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth_protocol.paths import READY

DEFAULT_TLS_PORT = 443
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
"""Directory of Let's Encrypt: https://letsencrypt.org/docs/acme-protocol-updates/."""
PROXY = "proxy"
"""Component of the container that ends TLS."""
TLS_PORT = 8443
"""Port of the proxy inside the stack's network."""
CONFIG_DIRECTORY = "/etc/traefik"
ROUTES_FILE = "routes.yaml"
ROOT_FILE = "acme-roots.pem"
STATE_DIRECTORY = "/var/lib/traefik"
ACME_DIRECTORY = "acme"
GRACE_SECONDS = 30.0
"""Time for requests in flight when the proxy ends, in seconds."""
LIMITS = ("50m", "1", "512Mi")
"""CPU, maximum CPU and memory of the proxy, as quantities."""

_ENTRY_POINT = "web"
_RESOLVER = "acme"
_PING = ("--ping=true", "--entrypoints.traefik.address=127.0.0.1:9000")
# The gateway waits this long for a head, and for the rest of a rejected body
# (`berth_protocol.http_connection`). Its own responses must come before the proxy's limit.
_HEAD_SECONDS = 30
# As the gateway keeps connections of clients (`berth_protocol.http_server`).
_IDLE_SECONDS = 75
_IDLE_CONNECTIONS = 256
# A gateway whose turn ends closes each connection with the next response, for 200 ms
# (`berth_gateway.server`), and then the idle ones. A request at that moment would fail, so the
# proxy does not use a connection that was idle for half of this time.
_REUSE_MILLISECONDS = 100
_DEFAULT_CERTIFICATE = "TRAEFIK DEFAULT CERT"
_CHECK = f"""\
import hashlib, socket, ssl, sys
host, name, expected = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
s = socket.create_connection((host, {TLS_PORT}), 5)
s = context.wrap_socket(s, server_hostname=name or None)
seen = s.getpeercert(True)
if {_DEFAULT_CERTIFICATE.encode()!r} in seen:
    sys.exit("the proxy has no certificate yet")
if expected and hashlib.sha256(seen).hexdigest() != expected:
    sys.exit("the proxy serves another certificate")
request = f"GET {READY} HTTP/1.1\\r\\nHost: {{name or host}}\\r\\nConnection: close\\r\\n\\r\\n"
s.sendall(request.encode())
head = s.recv(4096)
if head[9:12] != b"200":
    sys.exit(f"the proxy responds with {{head[:60]!r}}")
"""

PROXY_CHECK = ["traefik", "healthcheck", *_PING]
"""Succeeds while the proxy runs."""


@dataclass(frozen=True, kw_only=True)
class Acme:
    """An authority that issues the certificate.

    Attributes:
        email: Address of the account.
        directory: URL of the authority's directory.
        has_roots: Whether the volume has a file with the roots of the directory's server.
    """

    email: str
    directory: str
    has_roots: bool


def build_proxy_command(*, timeout_seconds: float, acme: Acme | None) -> list[str]:
    """Return the proxy's program and its arguments, which `docker inspect` shows.

    Args:
        timeout_seconds: The gateway's time limit for a body, in seconds.
    """
    point = f"--entrypoints.{_ENTRY_POINT}"
    read_seconds = math.ceil(timeout_seconds) + 2 * _HEAD_SECONDS
    return [
        "traefik",
        f"{point}.address=:{TLS_PORT}",
        *_PING,
        # To the gateway, a path with repeated slashes or dot segments is unknown.
        f"{point}.http.sanitizepath=false",
        # The proxy limits only what the gateway cannot see, and later than the gateway would.
        f"{point}.transport.respondingtimeouts.readtimeout={read_seconds}s",
        f"{point}.transport.respondingtimeouts.idletimeout={_IDLE_SECONDS}s",
        f"{point}.transport.lifecycle.gracetimeout={GRACE_SECONDS:g}s",
        f"--serverstransport.maxidleconnsperhost={_IDLE_CONNECTIONS}",
        f"--serverstransport.forwardingtimeouts.idleconntimeout={_REUSE_MILLISECONDS}ms",
        f"--providers.file.filename={CONFIG_DIRECTORY}/{ROUTES_FILE}",
        "--log.format=json",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        *([] if acme is None else _build_acme_arguments(acme)),
    ]


def _build_acme_arguments(acme: Acme) -> list[str]:
    option = f"--certificatesresolvers.{_RESOLVER}.acme"
    return [
        f"{option}.email={acme.email}",
        f"{option}.caserver={acme.directory}",
        f"{option}.storage={STATE_DIRECTORY}/{ACME_DIRECTORY}/acme.json",
        f"{option}.keytype=EC256",
        f"{option}.tlschallenge=true",
        *([f"{option}.cacertificates={CONFIG_DIRECTORY}/{ROOT_FILE}"] if acme.has_roots else []),
    ]


def build_routes(
    url: str, hostnames: Sequence[str], certificate: str | None, key: str | None
) -> str:
    """Return the content of the proxy's file. It contains the private key, if there is one.

    Args:
        url: URL of the gateway.
        hostnames: Host names of the certificate.
        certificate: Certificate in PEM. None if the authority issues it.
        key: Its private key in PEM.
    """
    tls: dict[str, Any] = {}
    if certificate is None:
        main, *others = hostnames
        tls = {"certResolver": _RESOLVER, "domains": [{"main": main, "sans": others}]}
    routes: dict[str, Any] = {
        "http": {
            "routers": {
                "gateway": {
                    "rule": "PathPrefix(`/`)",
                    "entryPoints": [_ENTRY_POINT],
                    "service": "gateway",
                    "tls": tls,
                }
            },
            "services": {"gateway": {"loadBalancer": {"servers": [{"url": url}]}}},
        }
    }
    if certificate is not None:
        # Also for clients that send no host name, because they connect to an address.
        default = {"defaultCertificate": {"certFile": certificate, "keyFile": key}}
        routes["tls"] = {"stores": {"default": default}}
    return json.dumps(routes, sort_keys=True)


def compute_fingerprint(certificate: str) -> str:
    """Return the SHA-256 (hex) of the first certificate in a PEM text, as a client receives it.

    Raises:
        ValueError: If there is none.
    """
    end = "-----END CERTIFICATE-----"
    _, begin, rest = certificate.partition("-----BEGIN CERTIFICATE-----")
    body, found, _ = rest.partition(end)
    if not begin or not found:
        raise ValueError("The text contains no certificate in PEM.")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(f"{begin}{body}{end}")).hexdigest()


def build_certificate_check(python: Sequence[str], inputs: Mapping[str, str]) -> list[str]:
    """Return a command that succeeds when the proxy serves its certificate and the gateway.

    Args:
        python: Command that runs Python code.
        inputs: `address` of the proxy, and a `hostname` and the `fingerprint` of its certificate,
            or nothing for any.
    """
    return [*python, _CHECK, inputs["address"], inputs["hostname"], inputs["fingerprint"]]
