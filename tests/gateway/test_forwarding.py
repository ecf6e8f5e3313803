"""What passes to a berth and back, and what becomes of a berth that fails."""

import gzip
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest, respond_ok
from tests.gateway.gateway_process import GatewayProcess, build_config, build_model, find_free_ports

INFER = "/v2/models/digits/infer"


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth_1: FakeBerth) -> GatewayProcess:
    """All traffic of digits to version 1; the berths want a token."""
    (gateway.directory / "token").write_text("s3cret\n")
    gateway.environment["GATEWAY_TOKEN_FILE"] = str(gateway.directory / "token")
    gateway.start(
        build_config(
            timeout_seconds=2, models={"digits": build_model({"1": berth_1.url}, {"1": 100})}
        )
    )
    return gateway


def test_weights_are_exact_over_a_hundred(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    routes = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 90, "2": 10})
    gateway.start(build_config(models={"digits": routes}))
    with gateway.client() as http:
        responses = [http.post(INFER, json={}) for _ in range(100)]
    assert Counter(a.headers["x-berth-version"] for a in responses) == {"1": 90, "2": 10}
    assert all(a.json()["model_version"] == a.headers["x-berth-version"] for a in responses)
    assert {request.path for request in berth_2.requests} == {"/v2/models/digits/versions/2/infer"}


def test_an_exposed_version_can_be_asked_by_name(
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


def test_which_headers_a_berth_sees(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    with live_gateway.client() as http:
        http.post(
            INFER,
            content=b"{}",
            headers=httpx.Headers(
                {
                    "accept": "application/json",
                    "accept-encoding": "br",
                    "connection": "keep-alive, x-only-here",
                    "content-type": "application/octet-stream",
                    "inference-header-content-length": "2",
                    "te": "trailers",
                    "upgrade": "h2c",
                    "user-agent": "mine/1",
                    "x-berth-client": "somebody",
                    "x-berth-return-ratelimit-limit": "9",
                    "x-berth-return-x-request-id": "9",
                    "x-berth-shadow": "1",
                    "x-berth-token": "forged",
                    "x-berth-version": "9",
                    "x-note": "grüße",
                    "x-only-here": "1",
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


def test_what_of_the_answer_the_client_sees(
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
            "connection": "keep-alive, x-only-here",
            "x-only-here": "1",
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
    assert not {"keep-alive", "x-only-here", "server"} & set(response.headers)


def test_a_compressed_request_passes_unchanged(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    content = gzip.compress(b"{}")
    with live_gateway.client() as http:
        http.post(INFER, content=content, headers={"content-encoding": "gzip"})
    assert berth_1.requests[0].body == content
    assert berth_1.requests[0].headers["content-encoding"] == "gzip"


UPGRADE = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMA"}


@pytest.mark.parametrize("body", [b"{}", iter([b"{", b"}"])], ids=["length", "chunks"])
def test_a_wish_to_upgrade_costs_no_body(
    live_gateway: GatewayProcess, berth_1: FakeBerth, body: bytes | Iterator[bytes]
) -> None:
    """As Java's HTTP client asks by default."""
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


def test_a_wish_to_upgrade_in_small_pieces(
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


def test_a_long_answer_passes_as_it_comes(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    second_half = threading.Event()
    half = b"x" * (3 << 20)

    def slowly(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(2 * len(half)))
        handler.end_headers()
        handler.wfile.write(half)
        second_half.wait(20)
        handler.wfile.write(half)

    berth_1.respond = slowly
    with live_gateway.client() as http, http.stream("POST", INFER, json={}) as response:
        parts = response.iter_raw()
        got = len(next(parts))
        second_half.set()
        got += sum(map(len, parts))
    assert got == 2 * len(half)


def test_an_answer_in_chunks(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    def chunked(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    berth_1.respond = chunked
    with live_gateway.client() as http:
        assert [http.post(INFER, json={}).content for _ in range(2)] == [b"abcde"] * 2


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 503])
def test_an_error_of_the_berth_is_its_own(
    live_gateway: GatewayProcess, berth_1: FakeBerth, status: int
) -> None:
    body = b'{"error": "as the berth message"}'
    berth_1.respond = lambda handler, _: handler.send(status, body, {"retry-after": "7"})
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
    assert (response.status_code, response.content) == (status, body)
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-berth-version"] == "1"
    assert len(berth_1.requests) == 1


def test_a_berth_that_refuses_the_gateway_is_not_the_clients_fault(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    berth_1.respond = lambda handler, _: handler.send(401, b"{}")
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
    assert response.status_code == 502
    assert "token" in response.json()["error"]


def test_a_berth_that_is_not_there(live_gateway: GatewayProcess) -> None:
    [port] = find_free_ports(1)
    routes = build_model({"1": f"http://127.0.0.1:{port}"}, {"1": 100})
    live_gateway.reload(build_config(models={"digits": routes}))
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
        assert response.status_code == 502
        assert "version '1'" in response.json()["error"]
        assert live_gateway.get_metric("berth_gateway_upstream_retries_total") == 1
        with FakeBerth("1").running(port):
            assert http.post(INFER, json={}).status_code == 200


def test_a_berth_that_is_slow(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    over = threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        over.wait(20)
        handler.disconnect()

    berth_1.respond = stall
    routes = build_model({"1": berth_1.url}, {"1": 100})
    live_gateway.reload(build_config(timeout_seconds=0.3, models={"digits": routes}))
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
        over.set()
        assert response.status_code == 504
        assert "0.3 s" in response.json()["error"]
        assert len(berth_1.requests) == 1
        berth_1.respond = respond_ok
        assert http.post(INFER, json={}).status_code == 200


def test_a_berth_that_stalls_within_its_answer(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    over = threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "10")
        handler.end_headers()
        handler.wfile.write(b"half")
        over.wait(20)
        handler.disconnect()

    berth_1.respond = stall
    routes = build_model({"1": berth_1.url}, {"1": 100})
    live_gateway.reload(build_config(timeout_seconds=0.3, models={"digits": routes}))
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
        over.set()
    assert response.status_code == 504


def test_connections_to_a_berth_are_used_again(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    with live_gateway.client() as http:
        for _ in range(20):
            http.post(INFER, json={})
    assert berth_1.connections == 1


def test_a_berth_that_closes_idle_connections_fails_no_request(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    """Each response promises to keep the connection, and each second request finds it closed."""

    def once(handler: Handler, request: RecordedRequest) -> None:
        if handler.previous_requests:
            handler.disconnect()
        else:
            respond_ok(handler, request)

    berth_1.respond = once
    with live_gateway.client() as http:
        for _ in range(30):
            response = http.post(INFER, json={"n": 1})
            assert (response.status_code, response.json()["model_version"]) == (200, "1")
    assert {request.body for request in berth_1.requests} == {
        json.dumps({"n": 1}).encode().replace(b" ", b"")
    }
    assert live_gateway.get_metric("berth_gateway_upstream_retries_total") > 0


def test_a_request_is_sent_again_once_only(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    berth_1.respond = lambda handler, _: handler.disconnect()
    with live_gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 502
    assert len(berth_1.requests) == 2


def test_a_short_answer_that_breaks_off_is_a_clean_502(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    def break_off(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "10")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.disconnect()

    berth_1.respond = break_off
    with live_gateway.client() as http:
        response = http.post(INFER, json={})
    assert response.status_code == 502
    assert "broke off" in response.json()["error"]
    assert len(berth_1.requests) == 1


def test_a_long_answer_that_breaks_off_is_seen_to(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    def break_off(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(5 << 20))
        handler.end_headers()
        handler.wfile.write(b"x" * (2 << 20))
        handler.disconnect()

    berth_1.respond = break_off
    with live_gateway.client() as http, pytest.raises(httpx.RemoteProtocolError):
        http.post(INFER, json={})
    assert len(berth_1.requests) == 1


def test_a_berth_that_speaks_no_http(live_gateway: GatewayProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail here\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        routes = build_model({"1": f"http://127.0.0.1:{listener.getsockname()[1]}"}, {"1": 100})
        live_gateway.reload(build_config(models={"digits": routes}))
        with live_gateway.client() as http:
            assert http.post(INFER, json={}).status_code == 502
        thread.join()


def test_many_at_once_each_get_their_own_answer(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    berth_1.respond = lambda handler, request: handler.send(200, request.body)

    def ask(n: int) -> bool:
        with live_gateway.client() as http:
            return all(
                http.post(INFER, json={"n": n, "i": i}).json() == {"n": n, "i": i}
                for i in range(10)
            )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(32)))
