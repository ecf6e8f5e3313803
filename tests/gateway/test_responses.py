"""Every response that the gateway gives by itself, over HTTP."""

import contextlib
import json
import socket

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    GatewayProcess,
    build_client,
    build_config,
    build_model,
    wait_until,
)

INFER = "/v2/models/digits/infer"


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth) -> GatewayProcess:
    """Version 1 has all traffic, 2 is deployed and not exposed; another model is hidden."""
    gateway.start(
        build_config(
            models={
                "digits": build_model(
                    {"1": berth_1.url, "2": berth_2.url}, {"1": 100, "2": 0}, exposed=["1"]
                ),
                "iris": build_model({"7": berth_2.url}, {"7": 100}),
            }
        )
    )
    return gateway


def get_error(response: httpx.Response) -> str:
    """The one field of an error's body."""
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert list(content) == ["error"]
    return str(content["error"])


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_is_open_to_all(live_gateway: GatewayProcess, path: str) -> None:
    with live_gateway.client(key=None) as http:
        assert http.get(path).status_code == 200
        assert http.head(path).status_code == 200
        rejected = http.post(path)
        assert rejected.status_code == 405
        assert rejected.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2"), ("GET", "/v2/models/digits"), ("POST", INFER), ("GET", "/"), ("GET", "/no")],
)
@pytest.mark.parametrize("keys", [[], ["wrong"], [""], ["key of default", "key of default"]])
def test_without_a_known_key_there_is_nothing(
    live_gateway: GatewayProcess, method: str, path: str, keys: list[str]
) -> None:
    response = httpx.request(
        method, live_gateway.url + path, headers=[("x-api-key", key) for key in keys]
    )
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("ApiKey ")
    assert "x-api-key" in get_error(response)
    assert "ratelimit-limit" not in response.headers


def test_each_key_of_a_client_opens(live_gateway: GatewayProcess) -> None:
    both = [build_client(key="old")["key_sha256"][0], build_client(key="new")["key_sha256"][0]]
    live_gateway.reload(build_config(clients=[build_client(key_sha256=both)]))
    for key in ("old", "new"):
        with live_gateway.client(key) as http:
            assert http.get("/v2").status_code == 200


def test_server_metadata(live_gateway: GatewayProcess) -> None:
    with live_gateway.client() as http:
        content = http.get("/v2").json()
    assert content["name"] == "berth"
    assert content["version"]
    assert "binary_tensor_data" in content["extensions"]


def test_model_metadata_is_the_berths_with_the_exposed_versions(
    live_gateway: GatewayProcess,
) -> None:
    with live_gateway.client() as http:
        content = http.get("/v2/models/digits").json()
    assert content == {"name": "digits", "versions": ["1"], "platform": "onnx", "inputs": ["x"]}


def test_model_metadata_is_that_of_the_first_exposed_version_that_answers(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    berth_2.respond = lambda handler, _: handler.send(
        200, b'{"platform": "two", "versions": ["2"]}'
    )
    versions = {"0": "http://127.0.0.1:1", "1": berth_1.url, "2": berth_2.url}
    live_gateway.reload(
        build_config(models={"digits": build_model(versions, {"0": 100, "1": 0, "2": 0})})
    )
    with live_gateway.client() as http:
        for behave, platform in (
            (berth_1.respond, "onnx"),
            (lambda handler, _: handler.send(503, b"{}"), "two"),
            (lambda handler, _: handler.send(200, b"no JSON"), "two"),
        ):
            berth_1.respond = behave
            content = http.get("/v2/models/digits").json()
            assert (content["platform"], content["versions"]) == (platform, ["0", "1", "2"])
    assert "version 1: status 503" in live_gateway.read_log()


def test_model_metadata_without_a_berth_is_what_the_table_knows(gateway: GatewayProcess) -> None:
    gateway.start(build_config(models={"m": build_model({"1": "http://127.0.0.1:1"}, {"1": 100})}))
    with gateway.client() as http:
        response = http.get("/v2/models/m")
    assert (response.status_code, response.json()) == (200, {"name": "m", "versions": ["1"]})


def test_a_model_is_ready_when_each_exposed_version_is(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    """Whether it has traffic or not."""
    path = "/v2/models/digits/ready"
    berth_2.respond = lambda handler, _: handler.send(503, b"{}")
    with live_gateway.client() as http:
        assert http.get(path).json() == {"name": "digits", "ready": True}
        traffic = {"1": 100, "2": 0}
        live_gateway.reload(
            build_config(
                models={"digits": build_model({"1": berth_1.url, "2": berth_2.url}, traffic)}
            ),
        )
        rejected = http.get(path)
    assert (rejected.status_code, rejected.json()) == (503, {"name": "digits", "ready": False})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/", "nothing here"),
        ("/v2/", "nothing here"),
        ("/v2/models", "nothing here"),
        ("/v2/models/", "nothing here"),
        ("/v2/models/digits/", "nothing here"),
        ("/v2/models/digits/versions", "nothing here"),
        ("/v2/models/digits/stats", "nothing here"),
        ("/v2/models/digits/versions/1/infer/more", "nothing here"),
        ("/metrics", "nothing here"),
        ("/healthz", "nothing here"),
        ("/v2/models/none", "there are: digits, iris"),
        ("/v2/models/digits/versions/2", "it has: 1"),
        ("/v2/models/digits/versions/2/ready", "it has: 1"),
        ("/v2/models/digits/versions/..%2F1", "nothing here"),
        ("/v2/models/%00", "there is no model"),
        ("/v2/models/%FF%FE", "there is no model"),
    ],
)
def test_unknown_paths_models_and_versions(
    live_gateway: GatewayProcess, path: str, message: str
) -> None:
    with live_gateway.client() as http:
        response = http.get(path)
    assert response.status_code == 404
    assert message in get_error(response)
    assert "ratelimit-limit" in response.headers


def test_an_unexposed_version_is_not_even_named(
    live_gateway: GatewayProcess, berth_2: FakeBerth
) -> None:
    with live_gateway.client() as http:
        response = http.post("/v2/models/digits/versions/2/infer", json={})
    assert response.status_code == 404
    assert get_error(response).endswith("it has: 1")
    assert berth_2.requests == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", INFER, "POST"),
        ("PUT", INFER, "POST"),
        ("POST", "/v2", "GET, HEAD"),
        ("DELETE", "/v2/models/digits", "GET, HEAD"),
        ("POST", "/v2/models/digits/versions/1/ready", "GET, HEAD"),
        ("OPTIONS", "/v2/models/digits/ready", "GET, HEAD"),
    ],
)
def test_the_wrong_method(live_gateway: GatewayProcess, method: str, path: str, allow: str) -> None:
    with live_gateway.client() as http:
        response = http.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert method in get_error(response)


def test_a_body_of_the_limit_passes_and_one_byte_more_does_not(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    with live_gateway.client() as http:
        assert http.post(INFER, content=b"x" * 100_000).status_code == 200
        rejected = http.post(INFER, content=b"x" * 100_001)
        assert rejected.status_code == 413
        assert "100000" in get_error(rejected)
        # The same connection goes on: what was rejected was read and thrown away.
        assert http.post(INFER, content=b"{}").status_code == 200
    assert [len(request.body) for request in berth_1.requests] == [100_000, 2]


def test_a_body_in_chunks_is_bounded_too(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    with live_gateway.client() as http:
        assert http.post(INFER, content=iter([b"x" * 50_000] * 2)).status_code == 200
        assert http.post(INFER, content=iter([b"x" * 50_000] * 3)).status_code == 413
    assert [len(request.body) for request in berth_1.requests] == [100_000]
    assert berth_1.requests[0].headers["content-length"] == "100000"


def test_a_body_is_needed(live_gateway: GatewayProcess) -> None:
    assert send_raw(
        live_gateway, b"POST /v2/models/digits/infer HTTP/1.1\r\n" + KEY_LINE
    ).startswith(b"411 ")


KEY_LINE = b"host: x\r\nx-api-key: key of default\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400 "),
        (b"CONNECT a:80 HTTP/1.1\r\n" + KEY_LINE, b"400 "),
        (b"GET /v2 HTTP/1.1\r\nbad header\r\n\r\n", b"400 "),
        (b"OPTIONS * HTTP/1.1\r\n" + KEY_LINE, b"404 "),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: -1\r\n" + KEY_LINE, b"400 "),
        (
            b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 2\r\n"
            b"transfer-encoding: chunked\r\n" + KEY_LINE,
            b"400 ",
        ),
        (
            b"POST " + INFER.encode() + b" HTTP/1.1\r\ntransfer-encoding: chunked\r\n"
            + KEY_LINE + b"zz\r\n",
            b"400 ",
        ),
        (
            b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 2\r\nx-strange: \xff\r\n"
            + KEY_LINE + b"{}",
            b"400 ",
        ),
        (b"GET /v2 HTTP/1.1\r\nx-long: " + b"y" * 700_000, b"431 "),
        (b"GET /" + b"y" * 700_000, b"431 "),
    ],
)  # fmt: skip
def test_what_is_no_good_request_is_the_clients_fault(
    live_gateway: GatewayProcess, request_bytes: bytes, status: bytes
) -> None:
    response = send_raw(live_gateway, request_bytes)
    assert response.startswith(status), answer
    assert list(json.loads(response.split(b"\r\n\r\n", 1)[1])) == ["error"]
    with live_gateway.client() as http:
        assert http.get("/v2").status_code == 200


def send_raw(live_gateway: GatewayProcess, request_bytes: bytes) -> bytes:
    """The whole response to `request_bytes`, from its status on."""
    with socket.create_connection(("127.0.0.1", live_gateway.port), timeout=20) as connection:
        response = b""
        # What a server message before it has all of a request may come with a reset.
        with contextlib.suppress(ConnectionError):
            connection.sendall(request_bytes)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                response += part
    assert response.startswith(b"HTTP/1.1 ")
    return response.removeprefix(b"HTTP/1.1 ")


def test_a_body_that_does_not_come_is_given_up(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    live_gateway.reload(
        build_config(
            timeout_seconds=0.2, models={"digits": build_model({"1": berth_1.url}, {"1": 100})}
        )
    )
    head = b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 5\r\n" + KEY_LINE
    assert send_raw(live_gateway, head + b"half").startswith(b"408 ")
    assert berth_1.requests == []


def test_a_client_that_leaves_is_no_fault_of_ours(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    with socket.create_connection(("127.0.0.1", live_gateway.port)) as connection:
        head = b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 5\r\n" + KEY_LINE
        connection.sendall(head + b"half")
    wait_until(
        lambda: [line["status"] for line in live_gateway.read_access_log()] == [499],
        "the leaving in the log",
    )
    assert berth_1.requests == []


def test_the_request_id_is_kept_or_made(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    with live_gateway.client() as http:
        given = http.post(INFER, json={}, headers={"x-request-id": "abc-1"})
        strange = http.post(INFER, json={}, headers={"x-request-id": "a b" * 100})
        made = http.post(INFER, json={})
    assert given.headers["x-request-id"] == berth_1.requests[0].headers["x-request-id"] == "abc-1"
    assert len(strange.headers["x-request-id"]) == len(made.headers["x-request-id"]) == 32
    assert made.headers["x-request-id"] != strange.headers["x-request-id"]
    assert berth_1.requests[2].headers["x-request-id"] == made.headers["x-request-id"]


def test_admin(live_gateway: GatewayProcess) -> None:
    assert live_gateway.get_admin("/metrics").headers["content-type"].startswith("text/plain")
    assert live_gateway.get_admin("/other").status_code == 404
    assert httpx.post(f"http://127.0.0.1:{live_gateway.admin_port}/healthz").status_code == 405
