"""Requests to a berth, responses to the client, and failures of berths."""

import gzip
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from berth_gateway.upstream import create_socket
from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest, respond_ok
from tests.gateway.gateway_process import (
    GatewayProcess,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)

INFER = "/v2/models/digits/infer"


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth_1: FakeBerth) -> GatewayProcess:
    """Start a gateway that sends all traffic of digits to version 1, with a token."""
    (gateway.directory / "token").write_text("s3cret\n")
    gateway.environment["GATEWAY_TOKEN_FILE"] = str(gateway.directory / "token")
    gateway.start(
        build_config(
            timeout_seconds=2, models={"digits": build_model({"1": berth_1.url}, {"1": 100})}
        )
    )
    return gateway


def test_hundred_requests_match_weights_exactly(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    routes = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 90, "2": 10})
    gateway.start(build_config(models={"digits": routes}))
    with gateway.client() as http:
        responses = [http.post(INFER, json={}) for _ in range(100)]
    assert Counter(a.headers["x-berth-version"] for a in responses) == {"1": 90, "2": 10}
    assert all(a.json()["model_version"] == a.headers["x-berth-version"] for a in responses)
    assert {request.path for request in berth_2.requests} == {"/v2/models/digits/versions/2/infer"}


def test_exposed_version_is_callable_by_name(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    routes = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 100, "2": 0})
    gateway.start(build_config(models={"digits": routes}))
    with gateway.client() as http:
        path = "/v2/models/digits/versions/2"
        assert http.get(path).json()["versions"] == ["2"]
        assert http.head(path).content == b""
        assert http.get(f"{path}/ready").json() == {"ready": True}
        response = http.post(f"{path}/infer", json={})
    assert response.headers["x-berth-version"] == "2"
    assert [request.method for request in berth_2.requests] == ["GET", "GET", "GET", "POST"]
    assert berth_1.requests == []


def test_berth_receives_only_forwardable_headers(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    with live_gateway.client() as http:
        http.post(
            INFER,
            content=b"{}",
            headers=httpx.Headers(
                {
                    "accept": "application/json",
                    "accept-encoding": "br",
                    "connection": "keep-alive, x-hop-by-hop",
                    "content-type": "application/octet-stream",
                    "inference-header-content-length": "2",
                    "te": "trailers",
                    "upgrade": "h2c",
                    "user-agent": "mine/1",
                    "x-berth-client": "forged",
                    "x-berth-return-ratelimit-limit": "9",
                    "x-berth-return-x-request-id": "9",
                    "x-berth-shadow": "1",
                    "x-berth-token": "forged",
                    "x-berth-version": "9",
                    "x-note": "grüße",
                    "x-hop-by-hop": "1",
                },
                encoding="utf-8",
            ),
        )
    headers = berth_1.requests[0].headers
    assert headers.pop("x-note").encode("latin-1").decode() == "grüße"
    assert headers.pop("host") == berth_1.url.removeprefix("http://")
    assert headers.pop("x-request-id")
    assert headers == {
        "accept": "application/json",
        "accept-encoding": "br",
        "content-length": "2",
        "content-type": "application/octet-stream",
        "inference-header-content-length": "2",
        "user-agent": "mine/1",
        "x-berth-token": "s3cret",
    }


def test_client_receives_only_forwardable_headers(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    content = gzip.compress(b'{"a": 1}')
    berth_1.respond = lambda handler, _: handler.send(
        200,
        content,
        {
            "content-encoding": "gzip",
            "content-type": "application/octet-stream",
            "inference-header-content-length": "8",
            "keep-alive": "timeout=9",
            "connection": "keep-alive, x-hop-by-hop",
            "x-hop-by-hop": "1",
            "x-berth-version": "forged",
            "set-cookie": "a=b",
        },
    )
    with live_gateway.client() as http, http.stream("POST", INFER, json={}) as response:
        raw = b"".join(response.iter_raw())
    assert raw == content
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["inference-header-content-length"] == "8"
    assert response.headers["set-cookie"] == "a=b"
    assert response.headers.get_list("x-berth-version") == ["1"]
    assert len(response.headers.get_list("date")) == 1
    assert not {"keep-alive", "x-hop-by-hop", "server"} & set(response.headers)


def test_compressed_request_is_forwarded_unchanged(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    content = gzip.compress(b"{}")
    with live_gateway.client() as http:
        http.post(INFER, content=content, headers={"content-encoding": "gzip"})
    assert berth_1.requests[0].body == content
    assert berth_1.requests[0].headers["content-encoding"] == "gzip"


UPGRADE = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMA"}


@pytest.mark.parametrize("body", [b"{}", iter([b"{", b"}"])], ids=["length", "chunks"])
def test_upgrade_header_keeps_request_body(
    live_gateway: GatewayProcess, berth_1: FakeBerth, body: bytes | Iterator[bytes]
) -> None:
    """Java's HTTP client sends an Upgrade header by default."""
    with live_gateway.client() as http:
        assert http.get("/v2", headers=UPGRADE).status_code == 200
        assert http.post(INFER, content=body, headers=UPGRADE).status_code == 200
        assert http.post(INFER, content=b"[]").status_code == 200
    assert [request.body for request in berth_1.requests] == [b"{}", b"[]"]
    assert not {"upgrade", "http2-settings"} & set(berth_1.requests[0].headers)
    assert (
        live_gateway.get_metric(
            'berth_gateway_requests_total{client="",code="401",model="",version=""}'
        )
        == 0
    )


def test_upgrade_header_in_small_pieces_keeps_request_body(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    request = (
        b"POST /v2/models/digits/infer?a=b HTTP/1.1\r\nhost: x\r\nx-api-key: key of default\r\n"
        b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 30\r\n\r\n"
        b"GET /v2/health/live HTTP/1.1\r\n"
        b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live_gateway.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        response = b""
        while part := connection.recv(65536):
            response += part
    assert response.count(b"HTTP/1.1 200 ") == 1
    assert response.count(b"HTTP/1.1 401 ") == 1
    assert [request.body for request in berth_1.requests] == [b"GET /v2/health/live HTTP/1.1\r\n"]


def test_long_response_is_streamed(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    send_second_half = threading.Event()
    half = b"x" * (3 << 20)

    def send_in_halves(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(2 * len(half)))
        handler.end_headers()
        handler.wfile.write(half)
        send_second_half.wait(20)
        handler.wfile.write(half)

    berth_1.respond = send_in_halves
    with live_gateway.client() as http, http.stream("POST", INFER, json={}) as response:
        parts = response.iter_raw()
        length = len(next(parts))
        send_second_half.set()
        length += sum(map(len, parts))
    assert length == 2 * len(half)


def test_chunked_response_is_forwarded(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    def send_chunks(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    berth_1.respond = send_chunks
    with live_gateway.client() as http:
        assert [http.post(INFER, json={}).content for _ in range(2)] == [b"abcde"] * 2


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 503])
def test_error_of_berth_is_forwarded_unchanged(
    live_gateway: GatewayProcess, berth_1: FakeBerth, status: int
) -> None:
    body = b'{"error": "message of the berth"}'
    berth_1.respond = lambda handler, _: handler.send(status, body, {"retry-after": "7"})
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
    assert (response.status_code, response.content) == (status, body)
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-berth-version"] == "1"
    assert len(berth_1.requests) == 1


def test_own_container_receives_no_token_and_its_401_reaches_the_client(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    (gateway.directory / "token").write_text("s3cret\n")
    gateway.environment["GATEWAY_TOKEN_FILE"] = str(gateway.directory / "token")
    routes = build_model(
        {"1": berth_1.url, "2": berth_2.url}, {"1": 100}, shadow="2", own_containers=["1"]
    )
    gateway.start(build_config(models={"digits": routes}))
    with gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 200
        assert http.get("/v2/models/digits/versions/1").status_code == 200
        berth_1.respond = lambda handler, _: handler.send(401, b"{}")
        assert http.post(INFER, json={}).status_code == 401
    assert not any("x-berth-token" in request.headers for request in berth_1.requests)
    wait_until(lambda: bool(berth_2.requests), "a mirrored request")
    assert berth_2.requests[0].headers["x-berth-token"] == "s3cret"


def test_berth_that_rejects_gateway_token_becomes_502(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    berth_1.respond = lambda handler, _: handler.send(401, b"{}")
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
    assert response.status_code == 502
    assert "token" in response.json()["error"]


def test_unreachable_berth_becomes_502_until_it_starts(live_gateway: GatewayProcess) -> None:
    [port] = find_free_ports(1)
    routes = build_model({"1": f"http://127.0.0.1:{port}"}, {"1": 100})
    live_gateway.reload(build_config(models={"digits": routes}))
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
        assert response.status_code == 502
        assert "Berth digits/1 did not respond" in response.json()["error"]
        assert live_gateway.get_metric("berth_gateway_upstream_retries_total") == 1
        with FakeBerth("1").running(port):
            assert http.post(INFER, json={}).status_code == 200


def test_slow_berth_becomes_504_without_retry(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    finish = threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        finish.wait(20)
        handler.disconnect()

    berth_1.respond = stall
    routes = build_model({"1": berth_1.url}, {"1": 100})
    live_gateway.reload(build_config(timeout_seconds=0.3, models={"digits": routes}))
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
        finish.set()
        assert response.status_code == 504
        assert "0.3 s" in response.json()["error"]
        assert len(berth_1.requests) == 1
        berth_1.respond = respond_ok
        assert http.post(INFER, json={}).status_code == 200


def test_berth_that_stalls_during_response_becomes_504(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    finish = threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "10")
        handler.end_headers()
        handler.wfile.write(b"half")
        finish.wait(20)
        handler.disconnect()

    berth_1.respond = stall
    routes = build_model({"1": berth_1.url}, {"1": 100})
    live_gateway.reload(build_config(timeout_seconds=0.3, models={"digits": routes}))
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
        finish.set()
    assert response.status_code == 504


def test_connections_to_berth_are_reused(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    with live_gateway.client() as http:
        for _ in range(20):
            http.post(INFER, json={})
    assert berth_1.connections == 1


def test_berth_that_closes_idle_connections_fails_no_request(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    """Every response keeps the connection open, and every second request finds it closed."""

    def respond_once(handler: Handler, request: RecordedRequest) -> None:
        if handler.previous_requests:
            handler.disconnect()
        else:
            respond_ok(handler, request)

    berth_1.respond = respond_once
    with live_gateway.client() as http:
        for _ in range(30):
            response = http.post(INFER, json={"n": 1})
            assert (response.status_code, response.json()["model_version"]) == (200, "1")
    assert {request.body for request in berth_1.requests} == {
        json.dumps({"n": 1}).encode().replace(b" ", b"")
    }
    assert live_gateway.get_metric("berth_gateway_upstream_retries_total") > 0


def test_request_is_retried_only_once(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    berth_1.respond = lambda handler, _: handler.disconnect()
    with live_gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 502
    assert len(berth_1.requests) == 2


def test_short_response_that_breaks_off_becomes_502(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    def disconnect_early(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "10")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.disconnect()

    berth_1.respond = disconnect_early
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
    assert response.status_code == 502
    assert "did not complete its response" in response.json()["error"]
    assert len(berth_1.requests) == 1


def test_long_response_that_breaks_off_closes_connection(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    def disconnect_early(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(5 << 20))
        handler.end_headers()
        handler.wfile.write(b"x" * (2 << 20))
        handler.disconnect()

    berth_1.respond = disconnect_early
    with live_gateway.client() as http, pytest.raises(httpx.RemoteProtocolError):
        http.post(INFER, json={})
    assert len(berth_1.requests) == 1


def test_berth_without_http_becomes_502(live_gateway: GatewayProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send_greeting() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail here\r\n\r\n")

        thread = threading.Thread(target=send_greeting)
        thread.start()
        routes = build_model({"1": f"http://127.0.0.1:{listener.getsockname()[1]}"}, {"1": 100})
        live_gateway.reload(build_config(models={"digits": routes}))
        with live_gateway.client() as http:
            assert http.post(INFER, json={}).status_code == 502
        thread.join()


def test_concurrent_requests_get_their_own_responses(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    berth_1.respond = lambda handler, request: handler.send(200, request.body)

    def send_requests(n: int) -> bool:
        with live_gateway.client() as http:
            return all(
                http.post(INFER, json={"n": n, "i": i}).json() == {"n": n, "i": i}
                for i in range(10)
            )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(send_requests, range(32)))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux")
def test_connection_to_a_lost_machine_ends_before_the_request_times_out() -> None:
    """Requests that wait on it are then sent again: tests/docker/test_servers.py."""
    address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))
    with create_socket(address) as created:
        assert not created.getblocking()
        assert created.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        timeout = created.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert 1000 <= timeout <= 10_000
        # The first probe is early enough for that.
        assert created.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) * 1000 < timeout
