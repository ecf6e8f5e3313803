"""Responses through a real Traefik with forwardAuth equal those of the gateway."""

import contextlib
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from pulumi_berth.kubernetes.route_plan import RoutePlan, build_gateway_rules, build_route_rules
from pulumi_berth.kubernetes.traefik_config import (
    PATH_ARGUMENT,
    build_body_errors,
    build_middlewares,
)
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
from tests.serving.berth import run_berth, write_identity_model

pytestmark = pytest.mark.skipif(shutil.which("traefik") is None, reason="traefik is not installed")

INFER = "/v2/models/m/infer"
REQUEST: dict[str, Any] = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}]
}
HEADERS = {"x-api-key": KEY, "x-request-id": "r-1"}


_PATHS = {"Exact": "Path", "PathPrefix": "PathPrefix"}


def translate_matches(*rules: dict[str, Any]) -> str:
    """Return the matches of an HTTPRoute as Traefik translates them."""
    return " || ".join(
        " && ".join(
            [
                f"{_PATHS[match['path']['type']]}(`{match['path']['value']}`)",
                *([f"Method(`{match['method']}`)"] if "method" in match else []),
                *(
                    f"HeaderRegexp(`{header['name']}`, `{header['value']}`)"
                    for header in match.get("headers", ())
                ),
            ]
        )
        for rule in rules
        for match in rule["matches"]
    )


def build_traefik_config(
    gateway: GatewayProcess, berth_port: int, *, refusing: int, hanging: int
) -> dict[str, Any]:
    """Route authorized inference requests to the berth, and other requests to the gateway."""
    authorize = f"http://127.0.0.1:{gateway.environment['GATEWAY_AUTHORIZE_PORT']}/"
    plan = RoutePlan(
        model="m",
        split_backends={"1": {}},
        traffic={"1": 100},
        version_backends={"1": {}},
        gateway={"name": "gateway"},
    )
    direct, long, unknown, *versions = build_route_rules(plan, [], [{}])
    known_length, unknown_length = build_gateway_rules("gateway", 80, [{}])
    middlewares = build_middlewares(authorize, "gateway")
    body_errors = build_body_errors("gateway")["errors"]

    def service(url: str) -> dict[str, Any]:
        return {"loadBalancer": {"servers": [{"url": url}]}}

    def set_headers(rule: dict[str, Any]) -> dict[str, Any]:
        headers = rule["filters"][-1]["requestHeaderModifier"]["set"]
        values = {header["name"]: header["value"] for header in headers}
        return {"headers": {"customRequestHeaders": values}}

    return {
        "http": {
            "routers": {
                "infer": {
                    "rule": translate_matches(direct, *versions), "service": "berth",
                    "middlewares": ["errors", "checked"], "priority": 9,
                },
                "long": {
                    "rule": translate_matches(long), "service": "gateway",
                    "middlewares": ["long"], "priority": 8,
                },
                "unknown": {
                    "rule": translate_matches(unknown), "service": "gateway",
                    "middlewares": ["body-errors", "unknown"], "priority": 7,
                },
                "hanging": {
                    "rule": "Path(`/hanging`)", "service": "hanging", "middlewares": ["errors"],
                },
                "refusing": {
                    "rule": "Path(`/refusing`)", "service": "refusing", "middlewares": ["errors"],
                },
                "gateway": {
                    "rule": translate_matches(known_length), "service": "gateway", "priority": 2,
                },
                "other": {
                    "rule": translate_matches(unknown_length), "service": "gateway",
                    "middlewares": ["body-errors", "other"], "priority": 1,
                },
            },
            "middlewares": {
                "long": set_headers(long),
                "unknown": set_headers(unknown),
                "other": set_headers(unknown_length),
                "body-errors": {"errors": body_errors | {"service": "authorize"}},
                "errors": {"errors": middlewares["errors"]["errors"] | {"service": "authorize"}},
                "checked": middlewares["authorize"],
            },
            "services": {
                "berth": service(f"http://127.0.0.1:{berth_port}"),
                "gateway": service(gateway.url),
                "authorize": service(authorize.removesuffix("/")),
                "refusing": service(f"http://127.0.0.1:{refusing}"),
                "hanging": service(f"http://127.0.0.1:{hanging}"),
            },
        }
    }  # fmt: skip


def build_gateway_config(
    berth_port: int, client: str = "default", **changes: Any
) -> dict[str, Any]:
    """Return a configuration. Tests that change limits use their own client, and so own buckets."""
    routes = build_model({"1": f"http://127.0.0.1:{berth_port}"}, {"1": 100})
    return build_config(clients=[build_client(client, **changes)], models={"m": routes})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, GatewayProcess, int]]:
    """Provide Traefik's URL, the gateway, and the port of the berth."""
    tmp_path = tmp_path_factory.mktemp("traefik")
    gateway = GatewayProcess(tmp_path)
    authorize, port = find_free_ports(2)
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = str(authorize)
    directory = write_identity_model(tmp_path / "m", "FP32", [1], [1.5])
    with contextlib.ExitStack() as cleanup:
        token = tmp_path / "token"
        token.write_text("s3cret")
        gateway.environment["GATEWAY_TOKEN_FILE"] = str(token)
        berth = cleanup.enter_context(
            run_berth(directory, tmp_path / "berth.log", token_file=str(token))
        )
        cleanup.callback(gateway.kill)
        gateway.start(build_gateway_config(berth.port))
        dynamic = tmp_path / "dynamic.json"
        # It accepts connections in its backlog, and never responds.
        silent = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
        [refusing] = find_free_ports(1)
        content = build_traefik_config(
            gateway, berth.port, refusing=refusing, hanging=silent.getsockname()[1]
        )
        dynamic.write_text(json.dumps(content))
        log = cleanup.enter_context((tmp_path / "traefik.log").open("wb"))
        process = subprocess.Popen(
            [
                "traefik",
                f"--entrypoints.web.address=127.0.0.1:{port}",
                PATH_ARGUMENT,
                f"--providers.file.filename={dynamic}",
                "--serverstransport.forwardingtimeouts.responseheadertimeout=2s",
                "--global.checknewversion=false",
                "--global.sendanonymoususage=false",
            ],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
        cleanup.callback(process.wait)
        cleanup.callback(process.kill)
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _has_routes(url), "Traefik's routes")
        yield url, gateway, berth.port


def _has_routes(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def summarize(response: httpx.Response) -> tuple[int, bytes, dict[str, list[str]]]:
    """Return the status, the body and the headers, except those that always differ."""
    headers = {
        name: response.headers.get_list(name)
        for name in response.headers
        if name not in ("date", "ratelimit-reset", "connection")
    }
    return response.status_code, response.content, headers


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", INFER, HEADERS),
        ("POST", f"{INFER}?a=b", HEADERS),
        ("POST", "/v2/models/m/versions/1/infer", HEADERS),
        ("POST", f"{INFER}/", HEADERS),
        ("POST", "/v2/models/m/versions/1/infer/", HEADERS),
        ("POST", "/v2/models/m%2Finfer", HEADERS),
        ("POST", "/v2/models/m%2finfer", HEADERS),
        ("POST", "/v2/models/m/infer%2F", HEADERS),
        ("POST", "/v2/models/m%2Fversions%2F1%2Finfer", HEADERS),
        ("POST", "/v2/models/m/infer%3Fa", HEADERS),
        ("POST", "/v2/models/m%252Finfer", HEADERS),
        ("POST", "/v2//models/m/infer", HEADERS),
        ("POST", "/v2/models/m/infer//", HEADERS),
        ("POST", "/v2/models/m/infer;a", HEADERS),
        ("POST", INFER, {"x-request-id": "r-1"}),
        ("POST", INFER, {"x-request-id": "r-1", "x-api-key": "wrong"}),
        ("POST", INFER, HEADERS | {"x-berth-return-ratelimit-limit": "9", "x-berth-client": "me"}),
        ("POST", INFER, HEADERS | {"x-berth-token": "forged"}),
        ("POST", INFER, HEADERS | {"x-forwarded-uri": "/v2", "x-forwarded-method": "GET"}),
        ("POST", INFER, HEADERS | {"connection": "upgrade", "upgrade": "h2c"}),
        ("GET", INFER, HEADERS),
        ("POST", "/v2/models/none/infer", HEADERS),
        ("POST", "/v2/models/m/versions/2/infer", HEADERS),
        ("GET", "/v2/models/m", HEADERS),
        ("GET", "/v2/models/m/versions/1/ready", HEADERS),
        ("GET", "/v2", HEADERS),
        ("GET", "/nothing", HEADERS),
        ("GET", "/v2/health/live", {"x-request-id": "r-1"}),
    ],
)
def test_responses_through_traefik_equal_direct_responses(
    stack: tuple[str, GatewayProcess, int], method: str, path: str, headers: dict[str, str]
) -> None:
    url, gateway, berth_port = stack
    gateway.reload(build_gateway_config(berth_port))
    body = json.dumps(REQUEST).encode() if method == "POST" else None
    direct = httpx.request(method, gateway.url + path, headers=headers, content=body)
    behind = httpx.request(method, url + path, headers=headers, content=body)
    assert summarize(behind) == summarize(direct)


@pytest.mark.parametrize(
    ("target", "is_found"),
    [
        (INFER, True),
        (f"{INFER}/", True),
        (f"{INFER}?a=%2F", True),
        ("/v2/models/%6D/%69nfer", True),
        ("/%762/models/%6d/infer", True),
        (f"http://other{INFER}", True),
        (f"/{INFER}", False),
        (f"{INFER}/.", False),
        ("/v2/./models/m/infer", False),
        ("/v2/models/x/../m/infer", False),
        ("/v2/models/x/%2e%2e/m/infer", False),
        ("/v2/models/x/%2E./m/infer", False),
        ("/v2/models/m/%2e/infer", False),
        ("/v2/models/x%2F..%2Fm/infer", False),
        ("/v2/models/m%2Finfer", False),
    ],
)
def test_every_inference_request_passes_authorization(
    stack: tuple[str, GatewayProcess, int], target: str, is_found: bool
) -> None:
    """A request that the gateway forwarded itself would pass by the weights of the route."""
    url, gateway, berth_port = stack
    gateway.reload(build_gateway_config(berth_port))
    authorized = 'berth_gateway_authorized_total{client="default",model="m"}'
    forwarded = 'berth_gateway_requests_total{client="default",code="200",model="m",version="1"}'
    before = gateway.get_metric(authorized), gateway.get_metric(forwarded)
    body = json.dumps(REQUEST).encode()
    head = f"POST {target} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nconnection: close\r\n"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 20) as connection:
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        response = b""
        while part := connection.recv(65536):
            response += part
    assert response.startswith(b"HTTP/1.1 200 " if is_found else b"HTTP/1.1 404 ")
    after = gateway.get_metric(authorized), gateway.get_metric(forwarded)
    assert after == (before[0] + is_found, before[1])


def test_gateway_behind_controller_does_not_forward_encoded_inference_request(
    stack: tuple[str, GatewayProcess, int],
) -> None:
    """A controller that does not decode letters would pass by the weights of its route."""
    _, gateway, berth_port = stack
    gateway.reload(build_gateway_config(berth_port))
    path = "/v2/models/%6D/infer"
    response = httpx.post(gateway.url + path, headers=HEADERS, json=REQUEST)
    assert response.status_code == 404


@pytest.mark.parametrize(("path", "status"), [("/refusing", 502), ("/hanging", 504)])
def test_errors_of_traefik_have_the_format_of_all_errors(
    stack: tuple[str, GatewayProcess, int], path: str, status: int
) -> None:
    url, _, _ = stack
    response = httpx.get(url + path, headers={"x-berth-return-x-request-id": "r-1"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == "r-1"
    assert list(response.json()) == ["error"]


@pytest.mark.parametrize("target", [f"POST {INFER}", f"POST {INFER}?a", "GET /v2", "PUT /nothing"])
@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}oops", b"2\r\n{}\r\n0\r\nx: " + b"y" * 5000 + b"\r\n\r\n"],
)
def test_body_that_traefik_cannot_read_is_the_mistake_of_the_client(
    stack: tuple[str, GatewayProcess, int], target: str, chunks: bytes
) -> None:
    url, gateway, berth_port = stack
    gateway.reload(build_gateway_config(berth_port))
    head = f"{target} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 20) as connection:
        connection.sendall(head.encode() + chunks)
        response = b""
        while b"}" not in response and (part := connection.recv(65536)):
            response += part
    head_lines, _, body = response.partition(b"\r\n\r\n")
    assert head_lines.startswith(b"HTTP/1.1 400 ")
    assert b"\r\ncontent-type: application/json" in head_lines.lower()
    assert list(json.loads(body)) == ["error"]


def test_own_failure_keeps_its_body_if_traefik_replaces_500(
    stack: tuple[str, GatewayProcess, int],
) -> None:
    url, gateway, _ = stack
    message = {"error": "The model failed on this input."}
    failure = json.dumps(message).encode()
    with FakeBerth("1", respond=lambda handler, _: handler.send(500, failure)).running() as berth:
        models = {"m": build_model({"1": berth.url}, {"1": 100})}
        gateway.reload(
            build_config(clients=[build_client()], models=models, max_body_bytes=500_000)
        )
        body = json.dumps(REQUEST).encode()
        statuses = {}
        for name, content in (("chunks", iter([body])), ("long", body + b" " * 300_000)):
            response = httpx.post(url + INFER, headers=HEADERS, content=content)
            statuses[name] = response.status_code
            assert response.json() == message
    assert statuses == {"chunks": 502, "long": 500}


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(
    ("key", "size", "status"),
    [("", 3_000_000, 401), ("", 15_000_000, 401), (KEY, 15_000_000, 413)],
)
def test_error_through_traefik_reaches_client_that_sends_whole_body(
    stack: tuple[str, GatewayProcess, int], key: str, size: int, status: int, is_chunked: bool
) -> None:
    """Traefik's server would close the connection, and the client would get a reset."""
    url, gateway, berth_port = stack
    gateway.reload(build_gateway_config(berth_port))
    parts = iter([b"0" * 100_000] * (size // 100_000))
    body: Any = parts if is_chunked else b"".join(parts)
    request = urllib.request.Request(url + INFER, body, {"x-api-key": key}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == status
    assert list(json.loads(caught.value.read())) == ["error"]


def test_long_body_reaches_the_version_with_traffic(
    stack: tuple[str, GatewayProcess, int],
) -> None:
    """The gateway's configuration does not contain the weights of the route."""
    url, gateway, berth_port = stack
    address = f"http://127.0.0.1:{berth_port}"
    model = build_model({"0": address, "1": address}, {"0": 100}, shares=["0", "1"])
    gateway.reload(
        build_config(clients=[build_client()], models={"m": model}, max_body_bytes=500_000)
    )
    body = json.dumps(REQUEST).encode() + b" " * 300_000
    response = httpx.post(url + INFER, headers=HEADERS, content=body)
    assert (response.status_code, response.headers["x-berth-version"]) == (200, "1")
    assert gateway.get_metric(
        'berth_gateway_requests_total{client="default",code="200",model="m",version="1"}'
    )


def test_rate_limit_applies_through_traefik(stack: tuple[str, GatewayProcess, int]) -> None:
    url, gateway, berth_port = stack
    gateway.reload(build_gateway_config(berth_port, "limited", rate_per_second=0.001, burst=5))
    responses = [httpx.post(url + INFER, headers=HEADERS, json=REQUEST) for _ in range(6)]
    assert [response.status_code for response in responses] == [200] * 5 + [429]
    assert [response.headers["ratelimit-remaining"] for response in responses] == list("432100")
    assert 900 <= int(responses[5].headers["retry-after"]) <= 1000
    direct = httpx.post(gateway.url + INFER, headers=HEADERS, json=REQUEST)
    assert responses[5].json() == direct.json()


def test_concurrent_requests_through_traefik_do_not_exceed_quota(
    stack: tuple[str, GatewayProcess, int],
) -> None:
    url, gateway, berth_port = stack
    quota = {"requests": 100, "period": "month"}
    gateway.reload(build_gateway_config(berth_port, "counted", quota=quota))
    with (
        httpx.Client(base_url=url, headers=HEADERS, timeout=20) as http,
        ThreadPoolExecutor(8) as pool,
    ):
        codes = Counter(pool.map(lambda _: http.post(INFER, json=REQUEST).status_code, range(150)))
    assert codes == {200: 100, 429: 50}
    assert gateway.get_metric('berth_gateway_quota_used{client="counted"}') == 100
