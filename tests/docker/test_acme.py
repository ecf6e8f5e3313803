"""TLS at the gateway of a docker stack, with a certificate of an ACME authority: Pebble.

https://github.com/letsencrypt/pebble
"""

import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography import x509

from tests.certificates import Authority
from tests.cluster.cluster import poll
from tests.docker.hosting import DockerProject
from tests.docker.traefik_image import load_traefik

pytestmark = pytest.mark.slow
_NAME = "models.example.com"
_PORT = 8443
_DIRECTORY_PORT, _MANAGEMENT_PORT, _DNS_PORT = 14000, 15000, 8053
_PROGRAMS = ("pebble", "pebble-challtestsrv")


@dataclass(frozen=True)
class Pebble:
    """An authority on the machine of the tests.

    Attributes:
        directory: URL of its directory.
        roots: Root certificate of its web server, in PEM.
        log: File with its log.
    """

    directory: str
    roots: str
    log: Path


@pytest.fixture(scope="module")
def pebble(
    docker_project: DockerProject, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pebble]:
    """Pebble, for which `_NAME` is a name of the engine's machine."""
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        pytest.skip(
            f"not on the PATH: {', '.join(missing)}; `go install "
            "github.com/letsencrypt/pebble/v2/cmd/PROGRAM@v2.10.3` builds them"
        )
    engine, directory = docker_project.engine, tmp_path_factory.mktemp("pebble")
    address, authority = engine.network.address, Authority()
    certificate, key = authority.issue([address])
    (directory / "server.pem").write_text(certificate)
    (directory / "key.pem").write_text(key)
    settings = {
        "listenAddress": f"{address}:{_DIRECTORY_PORT}",
        "managementListenAddress": f"{address}:{_MANAGEMENT_PORT}",
        "certificate": str(directory / "server.pem"),
        "privateKey": str(directory / "key.pem"),
        "httpPort": 80,
        # Where a real authority uses port 443.
        "tlsPort": _PORT,
    }
    (directory / "config.json").write_text(json.dumps({"pebble": settings}))
    dns = f"{address}:{_DNS_PORT}"
    commands = (
        ["pebble-challtestsrv", "-defaultIPv4", engine.address, "-defaultIPv6", "",
         "-dnsserver", dns, "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
         "-management", f"{address}:8055"],
        ["pebble", "-config", str(directory / "config.json"), "-dnsserver", dns],
    )  # fmt: skip
    with ExitStack() as stack:
        for command in commands:
            log = stack.enter_context((directory / f"{command[0]}.log").open("wb"))
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"PEBBLE_VA_NOSLEEP": "1"}
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        poll(lambda: _listens(address, _DIRECTORY_PORT), seconds=30)
        yield Pebble(
            f"https://{address}:{_DIRECTORY_PORT}/dir", authority.root, directory / "pebble.log"
        )


def _listens(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=5):
        return True
    return False


def _read_certificate(project: DockerProject) -> x509.Certificate:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((project.engine.address, _PORT), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=_NAME) as client,
    ):
        return x509.load_der_x509_certificate(client.getpeercert(binary_form=True) or b"")


def _count_certificates(pebble: Pebble) -> int:
    return pebble.log.read_text().count("Issued certificate serial")


def test_authority_issues_a_certificate_that_updates_keep(
    docker_project: DockerProject, pebble: Pebble, tmp_path: Path
) -> None:
    project = docker_project
    image = load_traefik(project.engine)
    project.ensure_deployed()
    (project.root / "roots.pem").write_text(pebble.roots)

    def use_authority(config: Any) -> None:
        config["berth:docker"]["tls"] = {
            "hostnames": [_NAME],
            "port": _PORT,
            "image": image,
            "acme": {
                "email": "ops@example.com",
                "directory": pebble.directory,
                "root_file": "roots.pem",
            },
        }

    def change_proxy(config: Any) -> None:
        config["berth:gateway"]["timeout_seconds"] = 45

    project.edit(use_authority)
    # No name server of this machine knows the host name, so the request after the update fails.
    output = project.berth("up", "--yes", code=1)
    assert f"No response from https://{_NAME}:{_PORT}" in output.stderr
    certificate = _read_certificate(project)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [_NAME]
    assert "Pebble Intermediate" in certificate.issuer.rfc4514_string()
    assert _count_certificates(pebble) == 1
    address = project.engine.address
    url = f"https://{project.engine.network.address}:{_MANAGEMENT_PORT}/roots/0"
    with urllib3.PoolManager(retries=False, cert_reqs="CERT_NONE") as client:
        root = client.request("GET", url)
    (tmp_path / "root.pem").write_bytes(root.data)
    process = subprocess.run(
        ["curl", "-s", "--cacert", tmp_path / "root.pem", "--resolve", f"{_NAME}:{_PORT}:{address}",
         f"https://{_NAME}:{_PORT}/v2/health/ready"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(process.stdout) == {"ready": True}

    proxy = project.container("proxy").id
    project.edit(change_proxy)
    project.berth("up", "--yes", code=1)
    assert project.container("proxy").id != proxy
    assert _fingerprint(_read_certificate(project)) == _fingerprint(certificate)
    assert _count_certificates(pebble) == 1


def _fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.tbs_certificate_bytes).hexdigest()
