"""Every answer that the gateway gives by itself, over HTTP."""

import contextlib
import json
import socket

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import GatewayProcess, client, model, table, wait_until

INFER = "/v2/models/digits/infer"


@pytest.fixture
def up(gateway: GatewayProcess, one: FakeBerth, two: FakeBerth) -> GatewayProcess:
    """Version 1 has all traffic, 2 is deployed and not exposed; another model is hidden."""
    gateway.start(
        table(
            models={
                "digits": model({"1": one.url, "2": two.url}, {"1": 100, "2": 0}, exposed=["1"]),
                "iris": model({"7": two.url}, {"7": 100}),
            }
        )
    )
    return gateway


def error(response: httpx.Response) -> str:
    """The one field of an error's body."""
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert list(content) == ["error"]
    return str(content["error"])


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_is_open_to_all(up: GatewayProcess, path: str) -> None:
    with up.client(key=None) as http:
        assert http.get(path).status_code == 200
        assert http.head(path).status_code == 200
        refused = http.post(path)
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2"), ("GET", "/v2/models/digits"), ("POST", INFER), ("GET", "/"), ("GET", "/no")],
)
@pytest.mark.parametrize("keys", [[], ["wrong"], [""], ["key of default", "key of default"]])
def test_without_a_known_key_there_is_nothing(
    up: GatewayProcess, method: str, path: str, keys: list[str]
) -> None:
    response = httpx.request(method, up.url + path, headers=[("x-api-key", key) for key in keys])
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("ApiKey ")
    assert "x-api-key" in error(response)
    assert "ratelimit-limit" not in response.headers


def test_each_key_of_a_client_opens(up: GatewayProcess) -> None:
    both = [client(key="old")["key_sha256"][0], client(key="new")["key_sha256"][0]]
    up.reload(table(clients=[client(key_sha256=both)]))
    for key in ("old", "new"):
        with up.client(key) as http:
            assert http.get("/v2").status_code == 200


def test_server_metadata(up: GatewayProcess) -> None:
    with up.client() as http:
        content = http.get("/v2").json()
    assert content["name"] == "berth"
    assert content["version"]
    assert "binary_tensor_data" in content["extensions"]


def test_model_metadata_is_the_berths_with_the_exposed_versions(up: GatewayProcess) -> None:
    with up.client() as http:
        content = http.get("/v2/models/digits").json()
    assert content == {"name": "digits", "versions": ["1"], "platform": "onnx", "inputs": ["x"]}


def test_model_metadata_is_that_of_the_first_exposed_version_that_answers(
    up: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    two.behave = lambda handler, _: handler.answer(200, b'{"platform": "two", "versions": ["2"]}')
    versions = {"0": "http://127.0.0.1:1", "1": one.url, "2": two.url}
    up.reload(table(models={"digits": model(versions, {"0": 100, "1": 0, "2": 0})}))
    with up.client() as http:
        for behave, platform in (
            (one.behave, "onnx"),
            (lambda handler, _: handler.answer(503, b"{}"), "two"),
            (lambda handler, _: handler.answer(200, b"no JSON"), "two"),
        ):
            one.behave = behave
            content = http.get("/v2/models/digits").json()
            assert (content["platform"], content["versions"]) == (platform, ["0", "1", "2"])
    assert "version 1: status 503" in up.messages()


def test_model_metadata_without_a_berth_is_what_the_table_knows(gateway: GatewayProcess) -> None:
    gateway.start(table(models={"m": model({"1": "http://127.0.0.1:1"}, {"1": 100})}))
    with gateway.client() as http:
        response = http.get("/v2/models/m")
    assert (response.status_code, response.json()) == (200, {"name": "m", "versions": ["1"]})


def test_a_model_is_ready_when_each_exposed_version_is(
    up: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    """Whether it has traffic or not."""
    path = "/v2/models/digits/ready"
    two.behave = lambda handler, _: handler.answer(503, b"{}")
    with up.client() as http:
        assert http.get(path).json() == {"name": "digits", "ready": True}
        traffic = {"1": 100, "2": 0}
        up.reload(
            table(models={"digits": model({"1": one.url, "2": two.url}, traffic)}),
        )
        refused = http.get(path)
    assert (refused.status_code, refused.json()) == (503, {"name": "digits", "ready": False})


@pytest.mark.parametrize(
    ("path", "says"),
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
def test_unknown_paths_models_and_versions(up: GatewayProcess, path: str, says: str) -> None:
    with up.client() as http:
        response = http.get(path)
    assert response.status_code == 404
    assert says in error(response)
    assert "ratelimit-limit" in response.headers


def test_an_unexposed_version_is_not_even_named(up: GatewayProcess, two: FakeBerth) -> None:
    with up.client() as http:
        response = http.post("/v2/models/digits/versions/2/infer", json={})
    assert response.status_code == 404
    assert error(response).endswith("it has: 1")
    assert two.asked == []


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
def test_the_wrong_method(up: GatewayProcess, method: str, path: str, allow: str) -> None:
    with up.client() as http:
        response = http.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert method in error(response)


def test_a_body_of_the_limit_passes_and_one_byte_more_does_not(
    up: GatewayProcess, one: FakeBerth
) -> None:
    with up.client() as http:
        assert http.post(INFER, content=b"x" * 100_000).status_code == 200
        refused = http.post(INFER, content=b"x" * 100_001)
        assert refused.status_code == 413
        assert "100000" in error(refused)
        # The same connection goes on: what was refused was read and thrown away.
        assert http.post(INFER, content=b"{}").status_code == 200
    assert [len(asked.body) for asked in one.asked] == [100_000, 2]


def test_a_body_in_chunks_is_bounded_too(up: GatewayProcess, one: FakeBerth) -> None:
    with up.client() as http:
        assert http.post(INFER, content=iter([b"x" * 50_000] * 2)).status_code == 200
        assert http.post(INFER, content=iter([b"x" * 50_000] * 3)).status_code == 413
    assert [len(asked.body) for asked in one.asked] == [100_000]
    assert one.asked[0].headers["content-length"] == "100000"


def test_a_body_is_needed(up: GatewayProcess) -> None:
    assert said(up, b"POST /v2/models/digits/infer HTTP/1.1\r\n" + KEY_LINE).startswith(b"411 ")


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
    up: GatewayProcess, request_bytes: bytes, status: bytes
) -> None:
    answer = said(up, request_bytes)
    assert answer.startswith(status), answer
    assert list(json.loads(answer.split(b"\r\n\r\n", 1)[1])) == ["error"]
    with up.client() as http:
        assert http.get("/v2").status_code == 200


def said(up: GatewayProcess, request_bytes: bytes) -> bytes:
    """The whole answer to `request_bytes`, from its status on."""
    with socket.create_connection(("127.0.0.1", up.port), timeout=20) as connection:
        answer = b""
        # What a server says before it has all of a request may come with a reset.
        with contextlib.suppress(ConnectionError):
            connection.sendall(request_bytes)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    assert answer.startswith(b"HTTP/1.1 ")
    return answer.removeprefix(b"HTTP/1.1 ")


def test_a_body_that_does_not_come_is_given_up(up: GatewayProcess, one: FakeBerth) -> None:
    up.reload(table(timeout_seconds=0.2, models={"digits": model({"1": one.url}, {"1": 100})}))
    head = b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 5\r\n" + KEY_LINE
    assert said(up, head + b"half").startswith(b"408 ")
    assert one.asked == []


def test_a_client_that_leaves_is_no_fault_of_ours(up: GatewayProcess, one: FakeBerth) -> None:
    with socket.create_connection(("127.0.0.1", up.port)) as connection:
        head = b"POST " + INFER.encode() + b" HTTP/1.1\r\ncontent-length: 5\r\n" + KEY_LINE
        connection.sendall(head + b"half")
    wait_until(
        lambda: [line["status"] for line in up.access_log()] == [499], "the leaving in the log"
    )
    assert one.asked == []


def test_the_request_id_is_kept_or_made(up: GatewayProcess, one: FakeBerth) -> None:
    with up.client() as http:
        given = http.post(INFER, json={}, headers={"x-request-id": "abc-1"})
        strange = http.post(INFER, json={}, headers={"x-request-id": "a b" * 100})
        made = http.post(INFER, json={})
    assert given.headers["x-request-id"] == one.asked[0].headers["x-request-id"] == "abc-1"
    assert len(strange.headers["x-request-id"]) == len(made.headers["x-request-id"]) == 32
    assert made.headers["x-request-id"] != strange.headers["x-request-id"]
    assert one.asked[2].headers["x-request-id"] == made.headers["x-request-id"]


def test_admin(up: GatewayProcess) -> None:
    assert up.admin("/metrics").headers["content-type"].startswith("text/plain")
    assert up.admin("/other").status_code == 404
    assert httpx.post(f"http://127.0.0.1:{up.admin_port}/healthz").status_code == 405
