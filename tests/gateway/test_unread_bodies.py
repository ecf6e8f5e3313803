"""Errors before the end of a request: clients receive them, and memory stays bounded."""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import requests

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    KEY,
    NO_TLS,
    GatewayProcess,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)

INFER = "/v2/models/digits/infer"
_MAX_BODY_BYTES = 1 << 20
_HEAD = f"POST {INFER} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n".encode()
_MEBIBYTE = 1 << 20
_UPLOAD_BYTES = 10 * _MEBIBYTE


@pytest.fixture(scope="module")
def small_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Provide a gateway with a small body limit."""
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"))
    process.environment["GATEWAY_BODY_MEMORY_BYTES"] = str(8 * _MEBIBYTE)
    with FakeBerth("1").running() as berth:
        process.start(
            build_config(
                max_body_bytes=_MAX_BODY_BYTES,
                models={"digits": build_model({"1": berth.url}, {"1": 100})},
            )
        )
        try:
            yield process
        finally:
            process.kill()


Send = Callable[[str, str, Path], tuple[int, bytes]]


def _send_with_urllib(url: str, key: str, body: Path) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body.read_bytes(), {"x-api-key": key})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    return caught.value.code, caught.value.read()


def _send_with_http_client(url: str, key: str, body: Path) -> tuple[int, bytes]:
    """Send chunks on a persistent connection."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    with body.open("rb") as file:
        connection.request("POST", parts.path, file, {"x-api-key": key}, encode_chunked=True)
    response = connection.getresponse()
    result = response.status, response.read()
    connection.close()
    return result


def _send_with_requests(url: str, key: str, body: Path) -> tuple[int, bytes]:
    response = requests.post(url, body.read_bytes(), headers={"x-api-key": key}, timeout=20)
    return response.status_code, response.content


def _send_with_httpx(url: str, key: str, body: Path) -> tuple[int, bytes]:
    headers = {"x-api-key": key, "connection": "close"}
    response = httpx.post(url, content=body.read_bytes(), headers=headers, verify=NO_TLS)
    return response.status_code, response.content


def _run_curl(url: str, key: str, body: Path, *options: str) -> tuple[int, bytes]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", "-m", "20", "-w", "\n%{http_code}", "-H", f"x-api-key: {key}"]
    output = subprocess.run(
        [*command, "--data-binary", f"@{body}", *options, url], capture_output=True, check=True
    ).stdout
    content, _, status = output.rpartition(b"\n")
    return int(status), content


def _send_with_curl(url: str, key: str, body: Path) -> tuple[int, bytes]:
    """curl sends `Expect: 100-continue` with a long body."""
    return _run_curl(url, key, body)


def _send_with_curl_at_once(url: str, key: str, body: Path) -> tuple[int, bytes]:
    return _run_curl(url, key, body, "-H", "Expect:", "-H", "Connection: close")


@pytest.mark.parametrize(
    "send",
    [
        _send_with_urllib,
        _send_with_http_client,
        _send_with_requests,
        _send_with_httpx,
        _send_with_curl,
        _send_with_curl_at_once,
    ],
)
@pytest.mark.parametrize(
    ("key", "path", "size", "status"),
    [
        (KEY, INFER, _MAX_BODY_BYTES + 1, 413),
        (KEY, INFER, 20 * _MEBIBYTE, 413),
        ("wrong", INFER, 20 * _MEBIBYTE, 401),
        (KEY, "/v2/models/none/infer", 20 * _MEBIBYTE, 404),
    ],
)
def test_client_receives_error_before_its_body_is_read(
    small_gateway: GatewayProcess,
    tmp_path: Path,
    send: Send,
    key: str,
    path: str,
    size: int,
    status: int,
) -> None:
    body = tmp_path / "body"
    body.write_bytes(b" " * size)
    for _ in range(3):
        code, content = send(small_gateway.url + path, key, body)
        assert code == status
        assert list(json.loads(content)) == ["error"]


def test_trailer_neither_authenticates_nor_reaches_berth(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    gateway.start(build_config(models={"digits": build_model({"1": berth_1.url}, {"1": 100})}))
    key = f"x-api-key: {KEY}\r\n".encode()
    responses = b""
    for head, trailer in ((b"", key), (key, b"x-own: 2\r\nx-api-key: wrong\r\n")):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
            start = f"POST {INFER} HTTP/1.1\r\nhost: x\r\nx-own: 1\r\n".encode() + head
            chunks = b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\n{}\r\n0\r\n"
            connection.sendall(start + chunks + trailer + b"\r\n")
            responses += connection.recv(65536)
    assert responses.startswith(b"HTTP/1.1 401 ")
    assert b"HTTP/1.1 200 " in responses
    [request] = berth_1.requests
    assert request.headers["x-own"] == "1"
    assert gateway.get_metric("berth_gateway_dropped_trailers_total") == 3


def test_endless_trailer_does_not_delay_other_clients_nor_take_memory(
    small_gateway: GatewayProcess,
) -> None:
    before = small_gateway.read_memory()
    with socket.create_connection(("127.0.0.1", small_gateway.port), timeout=20) as connection:
        connection.sendall(_HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ")
        with small_gateway.client() as other:
            for _ in range(30):
                connection.sendall(b"x" * _MEBIBYTE)
                assert other.get("/v2").status_code == 200
        assert connection.recv(65536).startswith(b"HTTP/1.1 431 ")
    if before is not None:
        after = small_gateway.read_memory()
        assert after is not None
        assert after["VmHWM"] - before["VmHWM"] < 8 * _MEBIBYTE


def test_unfinished_uploads_take_bounded_memory_and_return_it(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    before, connections = _begin_uploads(gateway, berth_1)
    sent = [_send_what_is_taken(connection, _UPLOAD_BYTES - 1) for connection in connections]
    # The others wait: their connections are not read.
    assert 0 < sum(size == _UPLOAD_BYTES - 1 for size in sent) < 10
    with gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 200
    during = gateway.read_memory()
    for connection in connections:
        connection.close()
    with gateway.client() as http:
        assert http.post(INFER, content=b" " * _UPLOAD_BYTES).status_code == 200
    if before is None or during is None:
        pytest.skip("memory is read from /proc, which only Linux has")
    # Half of what is allowed comes on top: buffers grow in steps, and every connection has one.
    assert during["VmHWM"] - before["VmRSS"] < 64 * _MEBIBYTE
    wait_until(
        lambda: (gateway.read_memory() or before)["VmRSS"] - before["VmRSS"] < 8 * _MEBIBYTE,
        "the memory is returned",
    )


@pytest.mark.parametrize("has_controller", [False, True])
def test_uploads_beyond_the_memory_wait_and_succeed(
    gateway: GatewayProcess, berth_1: FakeBerth, *, has_controller: bool
) -> None:
    if has_controller:
        gateway.environment["GATEWAY_AUTHORIZE_PORT"] = str(find_free_ports(1)[0])
    before, connections = _begin_uploads(gateway, berth_1)
    for connection in connections[20:]:
        connection.close()

    def finish(connection: socket.socket) -> bytes:
        connection.sendall(b"x" * _UPLOAD_BYTES)
        with connection:
            return connection.recv(12)

    with ThreadPoolExecutor(20) as pool:
        statuses = [*pool.map(finish, connections[:20])]
    during = gateway.read_memory()
    assert statuses == [b"HTTP/1.1 200"] * 20
    assert {len(request.body) for request in berth_1.requests[1:]} == {_UPLOAD_BYTES}
    if before is None or during is None:
        pytest.skip("memory is read from /proc, which only Linux has")
    assert during["VmHWM"] - before["VmRSS"] < 64 * _MEBIBYTE


def _send_what_is_taken(connection: socket.socket, size: int) -> int:
    """Send up to `size` bytes, as long as the other side takes them, and return their number."""
    sent, part = 0, b"x" * 65536
    connection.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        while sent < size:
            sent += connection.send(part[: size - sent])
    connection.settimeout(60)
    return sent


def test_upload_that_waits_too_long_gets_503(gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    models = {"digits": build_model({"1": berth_1.url}, {"1": 100})}
    gateway.environment["GATEWAY_BODY_MEMORY_BYTES"] = str(100_000)
    gateway.start(build_config(models=models, timeout_seconds=60))
    head = _HEAD + b"content-length: 90000\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as first,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as second,
    ):
        first.sendall(head)
        wait_until(lambda: gateway.get_metric("berth_gateway_in_flight") == 1, "the first request")
        gateway.reload(build_config(models=models, timeout_seconds=1))
        second.sendall(head)
        response = second.recv(65536)
        assert response.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in response


def test_reload_changes_memory_of_bodies(gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    models = {"digits": build_model({"1": berth_1.url}, {"1": 100})}
    gateway.start(build_config(models=models))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as first:
        first.sendall(_HEAD + b"content-length: 90000\r\n\r\n" + b"x" * 80_000)
        with gateway.client() as http:
            assert http.post(INFER, content=b"x" * 60_000).status_code == 200
            gateway.reload(build_config(models=models, body_memory_bytes=100_000))
            rejected = http.post(INFER, content=b"x" * 60_000)
            assert rejected.status_code == 503
            assert rejected.headers["retry-after"] == "1"
            assert http.post(INFER, content=b"x").status_code == 200
        first.sendall(b"x" * 10_000)
        assert first.recv(100).startswith(b"HTTP/1.1 200 ")


def _begin_uploads(
    gateway: GatewayProcess, berth: FakeBerth
) -> tuple[dict[str, int] | None, list[socket.socket]]:
    """Announce forty uploads of 10 MiB to a gateway with 32 MiB of memory for bodies.

    Returns:
        The gateway's memory before, see `read_memory`, and the connections, which sent only heads.
    """
    gateway.environment["GATEWAY_BODY_MEMORY_BYTES"] = str(32 * _MEBIBYTE)
    models = {"digits": build_model({"1": berth.url}, {"1": 100})}
    gateway.start(build_config(max_body_bytes=_UPLOAD_BYTES, timeout_seconds=60, models=models))
    with gateway.client() as http:
        http.post(INFER, json={})
    before = gateway.read_memory()
    connections = [
        socket.create_connection(("127.0.0.1", gateway.port), timeout=60) for _ in range(40)
    ]
    for connection in connections:
        connection.sendall(_HEAD + b"content-length: %d\r\n\r\n" % _UPLOAD_BYTES)
    return before, connections
