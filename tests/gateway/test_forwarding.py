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

from tests.gateway.fake_berth import Asked, FakeBerth, Handler, answer_ok
from tests.gateway.gateway_process import GatewayProcess, free_ports, model, table

INFER = "/v2/models/digits/infer"


@pytest.fixture
def up(gateway: GatewayProcess, one: FakeBerth) -> GatewayProcess:
    """All traffic of digits to version 1; the berths want a token."""
    (gateway.folder / "token").write_text("s3cret\n")
    gateway.environment["GATEWAY_TOKEN_FILE"] = str(gateway.folder / "token")
    gateway.start(table(timeout_seconds=2, models={"digits": model({"1": one.url}, {"1": 100})}))
    return gateway


def test_weights_are_exact_over_a_hundred(
    gateway: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    routes = model({"1": one.url, "2": two.url}, {"1": 90, "2": 10})
    gateway.start(table(models={"digits": routes}))
    with gateway.client() as http:
        answers = [http.post(INFER, json={}) for _ in range(100)]
    assert Counter(a.headers["x-berth-version"] for a in answers) == {"1": 90, "2": 10}
    assert all(a.json()["model_version"] == a.headers["x-berth-version"] for a in answers)
    assert {asked.path for asked in two.asked} == {"/v2/models/digits/versions/2/infer"}


def test_an_exposed_version_can_be_asked_by_name(
    gateway: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    routes = model({"1": one.url, "2": two.url}, {"1": 100, "2": 0})
    gateway.start(table(models={"digits": routes}))
    with gateway.client() as http:
        path = "/v2/models/digits/versions/2"
        assert http.get(path).json()["versions"] == ["2"]
        assert http.head(path).content == b""
        assert http.get(f"{path}/ready").json() == {"ready": True}
        answer = http.post(f"{path}/infer", json={})
    assert answer.headers["x-berth-version"] == "2"
    assert [asked.method for asked in two.asked] == ["GET", "GET", "GET", "POST"]
    assert one.asked == []


def test_which_headers_a_berth_sees(up: GatewayProcess, one: FakeBerth) -> None:
    with up.client() as http:
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
    headers = one.asked[0].headers
    assert headers.pop("x-note").encode("latin-1").decode() == "grüße"
    assert headers.pop("host") == one.url.removeprefix("http://")
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


def test_what_of_the_answer_the_client_sees(up: GatewayProcess, one: FakeBerth) -> None:
    content = gzip.compress(b'{"a": 1}')
    one.behave = lambda handler, _: handler.answer(
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
    with up.client() as http, http.stream("POST", INFER, json={}) as answer:
        raw = b"".join(answer.iter_raw())
    assert raw == content
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["inference-header-content-length"] == "8"
    assert answer.headers["set-cookie"] == "a=b"
    assert answer.headers.get_list("x-berth-version") == ["1"]
    assert len(answer.headers.get_list("date")) == 1
    assert not {"keep-alive", "x-only-here", "server"} & set(answer.headers)


def test_a_compressed_request_passes_unchanged(up: GatewayProcess, one: FakeBerth) -> None:
    content = gzip.compress(b"{}")
    with up.client() as http:
        http.post(INFER, content=content, headers={"content-encoding": "gzip"})
    assert one.asked[0].body == content
    assert one.asked[0].headers["content-encoding"] == "gzip"


UPGRADE = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMA"}


@pytest.mark.parametrize("body", [b"{}", iter([b"{", b"}"])], ids=["length", "chunks"])
def test_a_wish_to_upgrade_costs_no_body(
    up: GatewayProcess, one: FakeBerth, body: bytes | Iterator[bytes]
) -> None:
    """As Java's HTTP client asks by default."""
    with up.client() as http:
        assert http.get("/v2", headers=UPGRADE).status_code == 200
        assert http.post(INFER, content=body, headers=UPGRADE).status_code == 200
        assert http.post(INFER, content=b"[]").status_code == 200
    assert [asked.body for asked in one.asked] == [b"{}", b"[]"]
    assert not {"upgrade", "http2-settings"} & set(one.asked[0].headers)
    assert up.metric('berth_gateway_requests_total{client="",code="401",model="",version=""}') == 0


def test_a_wish_to_upgrade_in_small_pieces(up: GatewayProcess, one: FakeBerth) -> None:
    request = (
        b"POST /v2/models/digits/infer?a=b HTTP/1.1\r\nhost: x\r\nx-api-key: key of default\r\n"
        b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 30\r\n\r\n"
        b"GET /v2/health/live HTTP/1.1\r\n"
        b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", up.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert answer.count(b"HTTP/1.1 401 ") == 1
    assert [asked.body for asked in one.asked] == [b"GET /v2/health/live HTTP/1.1\r\n"]


def test_a_long_answer_passes_as_it_comes(up: GatewayProcess, one: FakeBerth) -> None:
    second_half = threading.Event()
    half = b"x" * (3 << 20)

    def slowly(handler: Handler, _: Asked) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(2 * len(half)))
        handler.end_headers()
        handler.wfile.write(half)
        second_half.wait(20)
        handler.wfile.write(half)

    one.behave = slowly
    with up.client() as http, http.stream("POST", INFER, json={}) as answer:
        parts = answer.iter_raw()
        got = len(next(parts))
        second_half.set()
        got += sum(map(len, parts))
    assert got == 2 * len(half)


def test_an_answer_in_chunks(up: GatewayProcess, one: FakeBerth) -> None:
    def chunked(handler: Handler, _: Asked) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    one.behave = chunked
    with up.client() as http:
        assert [http.post(INFER, json={}).content for _ in range(2)] == [b"abcde"] * 2


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 503])
def test_an_error_of_the_berth_is_its_own(up: GatewayProcess, one: FakeBerth, status: int) -> None:
    body = b'{"error": "as the berth says"}'
    one.behave = lambda handler, _: handler.answer(status, body, {"retry-after": "7"})
    with up.client() as http:
        answer = http.post(INFER, json={})
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-berth-version"] == "1"
    assert len(one.asked) == 1


def test_a_berth_that_refuses_the_gateway_is_not_the_clients_fault(
    up: GatewayProcess, one: FakeBerth
) -> None:
    one.behave = lambda handler, _: handler.answer(401, b"{}")
    with up.client() as http:
        answer = http.post(INFER, json={})
    assert answer.status_code == 502
    assert "token" in answer.json()["error"]


def test_a_berth_that_is_not_there(up: GatewayProcess) -> None:
    [port] = free_ports(1)
    routes = model({"1": f"http://127.0.0.1:{port}"}, {"1": 100})
    up.reload(table(models={"digits": routes}))
    with up.client() as http:
        answer = http.post(INFER, json={})
        assert answer.status_code == 502
        assert "version '1'" in answer.json()["error"]
        assert up.metric("berth_gateway_upstream_retries_total") == 1
        with FakeBerth("1").running(port):
            assert http.post(INFER, json={}).status_code == 200


def test_a_berth_that_is_slow(up: GatewayProcess, one: FakeBerth) -> None:
    over = threading.Event()

    def stall(handler: Handler, _: Asked) -> None:
        over.wait(20)
        handler.hang_up()

    one.behave = stall
    routes = model({"1": one.url}, {"1": 100})
    up.reload(table(timeout_seconds=0.3, models={"digits": routes}))
    with up.client() as http:
        answer = http.post(INFER, json={})
        over.set()
        assert answer.status_code == 504
        assert "0.3 s" in answer.json()["error"]
        assert len(one.asked) == 1
        one.behave = answer_ok
        assert http.post(INFER, json={}).status_code == 200


def test_a_berth_that_stalls_within_its_answer(up: GatewayProcess, one: FakeBerth) -> None:
    over = threading.Event()

    def stall(handler: Handler, _: Asked) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "10")
        handler.end_headers()
        handler.wfile.write(b"half")
        over.wait(20)
        handler.hang_up()

    one.behave = stall
    routes = model({"1": one.url}, {"1": 100})
    up.reload(table(timeout_seconds=0.3, models={"digits": routes}))
    with up.client() as http:
        answer = http.post(INFER, json={})
        over.set()
    assert answer.status_code == 504


def test_connections_to_a_berth_are_used_again(up: GatewayProcess, one: FakeBerth) -> None:
    with up.client() as http:
        for _ in range(20):
            http.post(INFER, json={})
    assert one.connections == 1


def test_a_berth_that_closes_idle_connections_fails_no_request(
    up: GatewayProcess, one: FakeBerth
) -> None:
    """Each answer promises to keep the connection, and each second request finds it closed."""

    def once(handler: Handler, asked: Asked) -> None:
        if handler.asked_before:
            handler.hang_up()
        else:
            answer_ok(handler, asked)

    one.behave = once
    with up.client() as http:
        for _ in range(30):
            answer = http.post(INFER, json={"n": 1})
            assert (answer.status_code, answer.json()["model_version"]) == (200, "1")
    assert {asked.body for asked in one.asked} == {json.dumps({"n": 1}).encode().replace(b" ", b"")}
    assert up.metric("berth_gateway_upstream_retries_total") > 0


def test_a_request_is_sent_again_once_only(up: GatewayProcess, one: FakeBerth) -> None:
    one.behave = lambda handler, _: handler.hang_up()
    with up.client() as http:
        assert http.post(INFER, json={}).status_code == 502
    assert len(one.asked) == 2


def test_a_short_answer_that_breaks_off_is_a_clean_502(up: GatewayProcess, one: FakeBerth) -> None:
    def break_off(handler: Handler, _: Asked) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "10")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.hang_up()

    one.behave = break_off
    with up.client() as http:
        answer = http.post(INFER, json={})
    assert answer.status_code == 502
    assert "broke off" in answer.json()["error"]
    assert len(one.asked) == 1


def test_a_long_answer_that_breaks_off_is_seen_to(up: GatewayProcess, one: FakeBerth) -> None:
    def break_off(handler: Handler, _: Asked) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(5 << 20))
        handler.end_headers()
        handler.wfile.write(b"x" * (2 << 20))
        handler.hang_up()

    one.behave = break_off
    with up.client() as http, pytest.raises(httpx.RemoteProtocolError):
        http.post(INFER, json={})
    assert len(one.asked) == 1


def test_a_berth_that_speaks_no_http(up: GatewayProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail here\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        routes = model({"1": f"http://127.0.0.1:{listener.getsockname()[1]}"}, {"1": 100})
        up.reload(table(models={"digits": routes}))
        with up.client() as http:
            assert http.post(INFER, json={}).status_code == 502
        thread.join()


def test_many_at_once_each_get_their_own_answer(up: GatewayProcess, one: FakeBerth) -> None:
    one.behave = lambda handler, asked: handler.answer(200, asked.body)

    def ask(n: int) -> bool:
        with up.client() as http:
            return all(
                http.post(INFER, json={"n": n, "i": i}).json() == {"n": n, "i": i}
                for i in range(10)
            )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(32)))
