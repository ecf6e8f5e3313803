"""Responses through the proxy that ends TLS on platform docker equal those of the gateway."""

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from pulumi_berth.docker.tls_plan import (
    CONFIG_DIRECTORY,
    ROUTES_FILE,
    TLS_PORT,
    build_proxy_command,
    build_routes,
)
from tests.certificates import Authority
from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    KEY,
    GatewayProcess,
    build_client,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)

pytestmark = pytest.mark.skipif(shutil.which("traefik") is None, reason="traefik is not installed")

_INFER = "/v2/models/m/infer"
_HEADERS = {"x-api-key": KEY, "x-request-id": "r-1"}
_BLOCKING = {
    "rejections": 1000,
    "invalid_keys": 5,
    "window_seconds": 60,
    "first_seconds": 600,
    "max_seconds": 600,
}
_BODY_SECONDS = 2


@dataclass(frozen=True)
class Site:
    """A gateway behind its proxy.

    Attributes:
        port: Port of the proxy on 127.0.0.1.
        context: Accepts only the proxy's certificate.
    """

    gateway: GatewayProcess
    berth: FakeBerth
    port: int
    context: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.context, timeout=30)

    def connect(self) -> ssl.SSLSocket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.context.wrap_socket(connection, server_hostname="127.0.0.1")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory, authority = tmp_path_factory.mktemp("tls"), Authority()
    certificate, key = authority.issue(["127.0.0.1"])
    gateway = GatewayProcess(directory)
    gateway.environment["GATEWAY_TRUST_FORWARDED_FOR"] = "1"
    with contextlib.ExitStack() as stack:
        berth = stack.enter_context(FakeBerth("1").running())
        stack.callback(gateway.kill)
        model = build_model({"1": berth.url}, {"1": 100})
        config = build_config(
            clients=[build_client(), build_client("limited", "key of limited", burst=1)],
            models={"m": model},
            blocking=_BLOCKING,
            timeout_seconds=_BODY_SECONDS,
        )
        config["clients"][1]["rate_per_second"] = 0.001
        gateway.start(config)
        port, ping = find_free_ports(2)
        (directory / ROUTES_FILE).write_text(build_routes(gateway.url, [], certificate, key))
        command = [
            argument.replace(f":{TLS_PORT}", f"127.0.0.1:{port}")
            .replace("127.0.0.1:9000", f"127.0.0.1:{ping}")
            .replace(CONFIG_DIRECTORY, str(directory))
            for argument in build_proxy_command(timeout_seconds=_BODY_SECONDS, acme=None)
        ]
        log = stack.enter_context((directory / "traefik.log").open("wb"))
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.kill)
        site = Site(gateway, berth, port, ssl.create_default_context(cadata=authority.root))
        wait_until(lambda: _is_ready(site), f"the proxy's route: {directory / 'traefik.log'}")
        yield site


def _is_ready(site: Site) -> bool:
    try:
        with site.client() as client:
            return client.get("/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _summarize(response: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("date", "connection", "ratelimit-reset", "server")
    }
    return response.status_code, response.content, headers


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", _INFER, _HEADERS),
        ("POST", f"{_INFER}?a=b;c", _HEADERS),
        ("POST", "/v2/models/m/versions/1/infer", _HEADERS),
        ("POST", "/v2/models/%6D/infer", _HEADERS),
        ("POST", "/v2/models/m%2Finfer", _HEADERS),
        ("POST", "/v2//models/m/infer", _HEADERS),
        ("POST", "/v2/models/x/%2e%2e/m/infer", _HEADERS),
        ("POST", _INFER, {"x-request-id": "r-1"}),
        ("POST", _INFER, {**_HEADERS, "connection": "upgrade", "upgrade": "h2c"}),
        ("POST", _INFER, {**_HEADERS, "x-berth-token": "forged"}),
        ("GET", _INFER, _HEADERS),
        ("GET", "/v2", _HEADERS),
        ("GET", "/nothing", {**_HEADERS, "x-large": "x" * 60_000}),
        ("GET", "/nothing", {**_HEADERS, "x-large": "x" * 70_000}),
    ],
)
def test_responses_through_the_proxy_equal_direct_responses(
    site: Site, method: str, path: str, headers: dict[str, str]
) -> None:
    content = b'{"inputs": []}' if method == "POST" else None
    direct = httpx.request(method, site.gateway.url + path, headers=headers, content=content)
    with site.client() as client:
        behind = client.request(method, path, headers=headers, content=content)
    assert _summarize(behind) == _summarize(direct)


def test_request_in_plain_http_reaches_no_berth(site: Site) -> None:
    before = len(site.berth.requests)
    response = httpx.post(f"http://127.0.0.1:{site.port}{_INFER}", headers=_HEADERS, json={})
    assert response.status_code == 404
    assert len(site.berth.requests) == before


def test_limits_apply_behind_the_proxy(site: Site) -> None:
    with site.client() as client:
        headers = {"x-api-key": "key of limited"}
        responses = [client.post(_INFER, headers=headers, json={}) for _ in range(2)]
    assert [response.status_code for response in responses] == [200, 429]
    assert "Client 'limited' exceeded its rate limit" in responses[1].json()["error"]


def test_slow_body_gets_the_response_of_the_gateway(site: Site) -> None:
    """The gateway reports it after its own time limit, and then waits for the rest."""
    with site.connect() as connection:
        head = (
            f"POST {_INFER} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: 10\r\n\r\n"
        )
        connection.sendall(head.encode() + b"12345")
        wait_until(lambda: _has_timed_out(site), "the gateway's time limit")
        connection.sendall(b"67890")
        response = connection.recv(65536)
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":' in response


def _has_timed_out(site: Site) -> bool:
    return any(entry["status"] == 408 for entry in site.gateway.read_access_log())


@pytest.mark.parametrize("key", [KEY, "wrong-on-purpose"])
def test_error_reaches_a_client_that_sends_its_whole_body(site: Site, key: str) -> None:
    """Go's server would close the connection, and the client would get a reset."""
    with site.client() as client:
        client.post(_INFER, headers=_HEADERS, json={})  # The address is known from now on.
        response = client.post(_INFER, headers={"x-api-key": key}, content=b"0" * 3_000_000)
    assert response.status_code == (413 if key == KEY else 401)
    assert list(response.json()) == ["error"]


@pytest.mark.runs_last
def test_address_that_a_client_states_is_not_trusted(site: Site) -> None:
    """Otherwise, a client that guesses keys would change its address with each guess."""
    names = ("x-forwarded-for", "x-real-ip", "x_forwarded_for", "X-FORWARDED-FOR", "forwarded")
    with site.client() as client:
        client.post(_INFER, headers=_HEADERS, json={})
        statuses = [
            client.post(
                _INFER,
                headers={
                    **dict.fromkeys(names, f"198.51.100.{number}"),
                    "connection": "x-forwarded-for",
                    "x-api-key": f"guess {number}",
                },
                json={},
            ).status_code
            for number in range(8)
        ]
    assert statuses[-1] == 429
    log = site.gateway.read_log()
    assert "Address 127.0.0.1 is blocked" in log
    assert "198.51.100" not in log


def test_address_of_a_client_reaches_the_gateway(site: Site) -> None:
    """The address of the proxy is that of the client here, so the gateway is called directly."""
    key = {"x-api-key": "no key", "x-forwarded-for": "203.0.113.9"}
    statuses = [
        httpx.post(site.gateway.url + _INFER, headers=key, json={}).status_code for _ in range(6)
    ]
    assert statuses == [401] * 5 + [429]
    assert "Address 203.0.113.9 is blocked" in site.gateway.read_log()
