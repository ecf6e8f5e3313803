"""Responses that the gateway creates itself, over HTTP."""

import json
import socket
import struct

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    GENERATED_ID,
    NO_TLS,
    GatewayProcess,
    build_client,
    build_config,
    build_key,
    build_model,
    wait_until,
)

INFER = "/v2/models/digits/infer"


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth) -> GatewayProcess:
    """Start a gateway: version 1 of digits has all traffic, version 2 is not exposed."""
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
    """Return the message of an error response."""
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert list(content) == ["error"]
    return str(content["error"])


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_checks_need_no_api_key(shared_gateway: GatewayProcess, path: str) -> None:
    with shared_gateway.client(key=None) as http:
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
def test_request_without_one_valid_key_gets_401(
    shared_gateway: GatewayProcess, method: str, path: str, keys: list[str]
) -> None:
    response = httpx.request(
        method,
        shared_gateway.url + path,
        headers=[("x-api-key", key) for key in keys],
        verify=NO_TLS,
    )
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("ApiKey ")
    assert "x-api-key" in get_error(response)
    assert "ratelimit-limit" not in response.headers


def test_every_key_of_client_is_accepted(live_gateway: GatewayProcess) -> None:
    keys = [build_key("old", "old"), build_key("new", "new")]
    live_gateway.reload(build_config(clients=[build_client(keys=keys)]))
    for key in ("old", "new"):
        with live_gateway.client(key) as http:
            assert http.get("/v2").status_code == 200


def test_server_metadata_lists_name_version_and_extensions(shared_gateway: GatewayProcess) -> None:
    with shared_gateway.client() as http:
        content = http.get("/v2").json()
        assert http.get("/v2/").json() == content
    assert content["name"] == "berth"
    assert content["version"]
    assert "binary_tensor_data" in content["extensions"]


def test_model_metadata_combines_berth_metadata_and_exposed_versions(
    live_gateway: GatewayProcess,
) -> None:
    with live_gateway.client() as http:
        content = http.get("/v2/models/digits").json()
    assert content == {"name": "digits", "versions": ["1"], "platform": "onnx", "inputs": ["x"]}


def test_model_metadata_comes_from_first_exposed_version_that_responds(
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
        for respond, platform in (
            (berth_1.respond, "onnx"),
            (lambda handler, _: handler.send(503, b"{}"), "two"),
            (lambda handler, _: handler.send(200, b"no JSON"), "two"),
        ):
            berth_1.respond = respond
            content = http.get("/v2/models/digits").json()
            assert (content["platform"], content["versions"]) == (platform, ["0", "1", "2"])
    assert "berth digits/1: responded with status 503" in live_gateway.read_log()


def test_model_metadata_without_reachable_berth_comes_from_configuration(
    gateway: GatewayProcess,
) -> None:
    gateway.start(build_config(models={"m": build_model({"1": "http://127.0.0.1:1"}, {"1": 100})}))
    with gateway.client() as http:
        response = http.get("/v2/models/m")
    assert (response.status_code, response.json()) == (200, {"name": "m", "versions": ["1"]})


def test_model_is_ready_if_every_exposed_version_is_ready(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    """Versions without traffic count too."""
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
        ("/", "Path not found."),
        ("//v2", "Path not found."),
        ("/v2/models//", "Path not found."),
        ("/v2/models/digits//", "Path not found."),
        ("/v2/models/digits%2F", "Path not found."),
        ("/v2/models/digits%2Fready", "Path not found."),
        ("/v2/models/digits/versions", "Path not found."),
        ("/v2/models/digits/other", "Path not found."),
        ("/v2/models/digits/versions/1/infer/more", "Path not found."),
        ("/metrics", "Path not found."),
        ("/healthz", "Path not found."),
        ("/v2/models/none", "Exposed models: digits, iris."),
        ("/v2/models/digits/versions/2", "Exposed versions: 1."),
        ("/v2/models/digits/versions/2/ready", "Exposed versions: 1."),
        ("/v2/models/digits/versions/..%2F1", "Path not found."),
        ("/v2/models/%00", "Path not found."),
        ("/v2/models/%FF%FE", "Path not found."),
    ],
)
def test_unknown_path_model_or_version_gets_404(
    shared_gateway: GatewayProcess, path: str, message: str
) -> None:
    with shared_gateway.client() as http:
        response = http.get(path)
    assert response.status_code == 404
    assert message in get_error(response)
    assert "ratelimit-limit" in response.headers


def test_unexposed_version_gets_404_and_is_not_listed(
    live_gateway: GatewayProcess, berth_2: FakeBerth
) -> None:
    with live_gateway.client() as http:
        response = http.post("/v2/models/digits/versions/2/infer", json={})
    assert response.status_code == 404
    assert "Exposed versions: 1. " in get_error(response)
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
def test_unsupported_method_gets_405_with_allow_header(
    shared_gateway: GatewayProcess, method: str, path: str, allow: str
) -> None:
    with shared_gateway.client() as http:
        response = http.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert method in get_error(response)


def test_body_at_size_limit_is_accepted_and_larger_body_gets_413(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    with live_gateway.client() as http:
        assert http.post(INFER, content=b"x" * 100_000).status_code == 200
        rejected = http.post(INFER, content=b"x" * 100_001)
        assert rejected.status_code == 413
        assert "100000" in get_error(rejected)
        # The connection stays usable: the gateway reads and discards the rejected body.
        assert http.post(INFER, content=b"{}").status_code == 200
    assert [len(request.body) for request in berth_1.requests] == [100_000, 2]


def test_chunked_body_has_same_size_limit(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    with live_gateway.client() as http:
        assert http.post(INFER, content=iter([b"x" * 50_000] * 2)).status_code == 200
        assert http.post(INFER, content=iter([b"x" * 50_000] * 3)).status_code == 413
    assert [len(request.body) for request in berth_1.requests] == [100_000]
    assert berth_1.requests[0].headers["content-length"] == "100000"


def test_inference_request_without_body_gets_411(shared_gateway: GatewayProcess) -> None:
    assert send_raw(
        shared_gateway, b"POST /v2/models/digits/infer HTTP/1.1\r\n" + HEADERS
    ).startswith(b"411 ")


HEADERS = b"host: x\r\nx-api-key: key of default\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400 "),
        (b"CONNECT a:80 HTTP/1.1\r\n" + HEADERS, b"400 "),
        (b"GET /v2 HTTP/1.1\r\nbad header\r\n\r\n", b"400 "),
        (b"OPTIONS * HTTP/1.1\r\n" + HEADERS, b"404 "),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: -1\r\n" + HEADERS, b"400 "),
        (
            b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 2\r\n"
            b"transfer-encoding: chunked\r\n" + HEADERS,
            b"400 ",
        ),
        (
            b"POST " + INFER.encode() + b" HTTP/1.1\r\ntransfer-encoding: chunked\r\n"
            + HEADERS + b"zz\r\n",
            b"400 ",
        ),
        (
            b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 2\r\nx-invalid: \xff\r\n"
            + HEADERS + b"{}",
            b"400 ",
        ),
        (b"GET /v2 HTTP/1.1\r\nx-long: " + b"y" * 700_000, b"431 "),
        (b"GET /" + b"y" * 700_000, b"431 "),
    ],
)  # fmt: skip
def test_malformed_request_gets_4xx_and_gateway_continues(
    shared_gateway: GatewayProcess, request_bytes: bytes, status: bytes
) -> None:
    response = send_raw(shared_gateway, request_bytes)
    assert response.startswith(status), response
    assert list(json.loads(response.split(b"\r\n\r\n", 1)[1])) == ["error"]
    with shared_gateway.client() as http:
        assert http.get("/v2").status_code == 200


def send_raw(live_gateway: GatewayProcess, request_bytes: bytes) -> bytes:
    """Send raw bytes, and return the response from its status on."""
    with socket.create_connection(("127.0.0.1", live_gateway.port), timeout=20) as connection:
        response = b""
        connection.sendall(request_bytes)
        while part := connection.recv(65536):
            response += part
    assert response.startswith(b"HTTP/1.1 ")
    return response.removeprefix(b"HTTP/1.1 ")


def test_slow_body_gets_408(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    live_gateway.reload(
        build_config(
            timeout_seconds=0.2, models={"digits": build_model({"1": berth_1.url}, {"1": 100})}
        )
    )
    head = b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 5\r\n" + HEADERS
    assert send_raw(live_gateway, head + b"half").startswith(b"408 ")
    assert berth_1.requests == []


@pytest.mark.parametrize(("is_reset", "status"), [(True, 499), (False, 408)])
def test_client_that_disconnects_is_logged(
    live_gateway: GatewayProcess, berth_1: FakeBerth, is_reset: bool, status: int
) -> None:
    """The gateway cannot tell a closed connection from one that the client only finished."""
    with socket.create_connection(("127.0.0.1", live_gateway.port)) as connection:
        head = b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 5\r\n" + HEADERS
        connection.sendall(head + b"half")
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wait_until(
        lambda: [line["status"] for line in live_gateway.read_access_log()] == [status],
        "the disconnect in the access log",
    )
    assert berth_1.requests == []


def test_valid_request_id_is_kept_and_invalid_one_is_replaced(
    live_gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    with live_gateway.client() as http:
        kept = http.post(INFER, json={}, headers={"x-request-id": "abc-1"})
        invalid = http.post(INFER, json={}, headers={"x-request-id": "a b" * 100})
        generated = http.post(INFER, json={})
    assert kept.headers["x-request-id"] == berth_1.requests[0].headers["x-request-id"] == "abc-1"
    assert GENERATED_ID.fullmatch(invalid.headers["x-request-id"])
    assert GENERATED_ID.fullmatch(generated.headers["x-request-id"])
    assert generated.headers["x-request-id"] != invalid.headers["x-request-id"]
    assert berth_1.requests[2].headers["x-request-id"] == generated.headers["x-request-id"]


def test_admin_port_serves_metrics_and_rejects_other_requests(live_gateway: GatewayProcess) -> None:
    assert live_gateway.get_admin("/metrics").headers["content-type"].startswith("text/plain")
    assert live_gateway.get_admin("/other").status_code == 404
    assert httpx.post(f"http://127.0.0.1:{live_gateway.admin_port}/healthz").status_code == 405
