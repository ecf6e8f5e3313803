"""TLS at the gateway of a docker stack, with a supplied certificate."""

import hashlib
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from pulumi_berth.docker.tls_plan import compute_fingerprint
from tests.certificates import Authority
from tests.docker.hosting import INFER, DockerProject
from tests.docker.traefik_image import load_traefik
from tests.engine.project import Load

pytestmark = pytest.mark.slow
_PORT = 8443


@dataclass(frozen=True)
class Site:
    """A stack with TLS.

    Attributes:
        authority: Issues its certificates.
        ca_file: Root certificate of the authority.
    """

    project: DockerProject
    authority: Authority
    ca_file: Path

    @property
    def endpoint(self) -> str:
        return f"https://{self.project.engine.address}:{_PORT}"

    def write_certificate(self) -> str:
        """Replace the files of the certificate and return its fingerprint."""
        certificate, key = self.authority.issue([self.project.engine.address])
        (self.project.root / "server.pem").write_text(certificate)
        (self.project.root / "server-key.pem").write_text(key)
        return compute_fingerprint(certificate)

    def connect(self) -> ssl.SSLSocket:
        """Return a connection, after the client has checked the certificate."""
        context = ssl.create_default_context(cafile=self.ca_file)
        address = self.project.engine.address
        connection = socket.create_connection((address, _PORT), timeout=20)
        return context.wrap_socket(connection, server_hostname=address)

    def read_fingerprint(self) -> str:
        with self.connect() as connection:
            return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()

    def create_load(self) -> Load:
        load = self.project.create_load()
        load.endpoint, load.ca_file = self.endpoint, str(self.ca_file)
        return load

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        headers = {"x-api-key": self.project.key()} if headers is None else headers
        with urllib3.PoolManager(retries=False, timeout=60, ca_certs=str(self.ca_file)) as client:
            return client.request("POST", self.endpoint + INFER, body=body, headers=headers)


@pytest.fixture(scope="module")
def site(docker_project: DockerProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The shared stack with TLS. Other modules deploy their own configuration again."""
    image = load_traefik(docker_project.engine)
    docker_project.ensure_deployed()
    site = Site(docker_project, Authority(), tmp_path_factory.mktemp("authority") / "root.pem")
    site.ca_file.write_text(site.authority.root)
    site.write_certificate()

    def add_tls(config: Any) -> None:
        config["berth:docker"]["tls"] = {
            "certificate_file": "server.pem",
            "key_file": str(docker_project.root / "server-key.pem"),
            "port": _PORT,
            "image": image,
        }

    docker_project.environment["SSL_CERT_FILE"] = str(site.ca_file)
    docker_project.deploy(add_tls)
    yield site
    del docker_project.environment["SSL_CERT_FILE"]


def test_commands_and_printed_request_use_https(site: Site) -> None:
    up = site.project.berth("up", "--yes").stdout
    assert f"Serving at {site.endpoint}" in up
    request = next(line for line in up.splitlines() if line.startswith("curl "))
    assert f"{site.endpoint}/v2/models/" in request
    assert site.project.json("status")["gateway"] == "ready"
    assert "outputs" in site.project.berth("invoke", "digits").stdout
    process = subprocess.run(
        ["curl", "-s", "--cacert", site.ca_file, f"{site.endpoint}/v2/health/ready"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(process.stdout) == {"ready": True}


def test_only_the_proxy_is_published_and_it_refuses_plain_http(site: Site) -> None:
    address = site.project.engine.address
    lines = site.project.engine.docker("ps", "--format", "{{.Names}} {{.Ports}}").splitlines()
    (published,) = (line for line in lines if "->" in line)
    assert "-proxy-" in published
    assert f"{address}:{_PORT}->" in published
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, 8080), timeout=5)
    response = urllib3.request(
        "POST", f"http://{address}:{_PORT}{INFER}", body=b"{}", retries=False, timeout=20,
        headers={"x-api-key": site.project.key()},
    )  # fmt: skip
    assert response.status == 404


def test_renewed_certificate_fails_no_request_and_restarts_nothing(site: Site) -> None:
    project = site.project
    before = {str(each.id) for name in ("proxy", "gateway", "entry") for each in project.find(name)}
    with site.create_load().running() as load:
        for _ in range(3):
            fingerprint = site.write_certificate()
            project.berth("up", "--yes")
            # `up` returns when clients receive the new certificate.
            assert site.read_fingerprint() == fingerprint
    load.assert_no_failures()
    assert load.total > 50
    containers = [each for name in ("proxy", "gateway", "entry") for each in project.find(name)]
    assert {str(each.id) for each in containers} == before
    assert {each.attrs["RestartCount"] for each in containers} == {0}


def test_replaced_gateway_and_berth_behind_the_proxy_fail_no_request(site: Site) -> None:
    def change(config: Any) -> None:
        config["berth:gateway"]["resources"] = {"memory": "300Mi"}
        config["berth:gateway"]["jwt"] = {
            "issuer": "x", "audience": "x", "jwks_url": "https://issuer.invalid/keys",
        }  # fmt: skip
        config["berth:models"]["digits"]["serving"] = {"max_batch": 128}

    gateways = {str(each.id) for each in site.project.find("gateway")}
    with site.create_load().running() as load:
        site.project.deploy(change)
    load.assert_no_failures()
    assert load.total > 50
    assert gateways.isdisjoint(str(each.id) for each in site.project.find("gateway"))


def test_private_key_is_in_no_setting_of_a_container_and_not_in_the_state(site: Site) -> None:
    key = (site.project.root / "server-key.pem").read_text().splitlines()[1]
    engine = site.project.engine
    assert key not in engine.docker("inspect", *engine.docker("ps", "-aq").split())
    state = site.project.pulumi("stack", "export").stdout
    assert "berth-docker-proxy" in state
    assert key not in state


def test_forged_address_of_a_client_is_not_trusted(site: Site) -> None:
    """An address that guesses keys is blocked, whatever its requests say."""
    forged = [
        {"x-forwarded-for": f"198.51.100.{number}", "x-real-ip": f"198.51.100.{number}",
         "forwarded": f"for=198.51.100.{number}", "x_forwarded_for": f"198.51.100.{number}",
         "x-api-key": f"guess-{number}-of-a-key-which-is-wrong"}
        for number in range(30)
    ]  # fmt: skip
    # A client that used an address before is served there in spite of a block.
    assert site.post(b"{}").status == 400
    statuses = [site.post(b"{}", headers).status for headers in forged]
    assert statuses[:20] == [401] * 20
    assert 429 in statuses
    log = b"".join(each.logs() for each in site.project.find("gateway")).decode()
    assert f"Address {site.project.engine.network.address} is blocked" in log
    assert "198.51.100" not in log


def test_body_limit_is_that_of_the_gateway(site: Site) -> None:
    assert site.post(b" " * ((10 << 20) - 1) + b"{").status == 400
    response = site.post(b" " * (11 << 20))
    assert response.status == 413
    assert list(response.json()) == ["error"]


def test_certificate_that_does_not_fit_is_refused_before_anything_changes(site: Site) -> None:
    before = site.read_fingerprint()
    other, _ = site.authority.issue(["models.example.com"])
    (site.project.root / "server.pem").write_text(other)
    try:
        result = site.project.berth("up", "--yes", code=2)
    finally:
        site.write_certificate()
    assert "docker.tls.key_file: " in result.stderr
    assert "is not the key of the certificate" in result.stderr
    assert site.read_fingerprint() == before


def test_stopped_proxy_is_reported_and_started_again(site: Site) -> None:
    fingerprint = site.write_certificate()
    site.project.container("proxy").stop()
    assert site.project.json("status")["gateway"] == "stopped"
    site.project.berth("up", "--yes")
    assert site.read_fingerprint() == fingerprint
