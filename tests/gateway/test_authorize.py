"""The authorize port responds like the public port, for an ingress controller."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest, respond_ok
from tests.gateway.gateway_process import (
    GENERATED_ID,
    KEY,
    NO_TLS,
    GatewayProcess,
    build_client,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)

INFER = "/v2/models/digits/infer"
SLOW: dict[str, Any] = {"rate_per_second": 0.001, "burst": 3}


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth) -> GatewayProcess:
    """Start a gateway: version 1 has all traffic, version 2 is not exposed."""
    [port] = find_free_ports(1)
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = str(port)
    gateway.start(build_digits_config(berth_1, berth_2))
    return gateway


def build_digits_config(berth_1: FakeBerth, berth_2: FakeBerth, **changes: Any) -> dict[str, Any]:
    routes = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 100, "2": 0}, exposed=["1"])
    return build_config(models={"digits": routes}, **changes)


def authorize(
    gateway: GatewayProcess,
    uri: str = INFER,
    *,
    method: str = "POST",
    keys: tuple[str, ...] = (KEY,),
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """Send the request of an ingress controller that received such a request."""
    return httpx.get(
        f"http://127.0.0.1:{gateway.environment['GATEWAY_AUTHORIZE_PORT']}/",
        headers=[
            ("x-forwarded-method", method),
            ("x-forwarded-uri", uri),
            ("x-forwarded-for", "192.0.2.7"),
            *(headers or {}).items(),
            *(("x-api-key", key) for key in keys),
        ],
        timeout=20,
        verify=NO_TLS,
    )


def summarize(response: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """Return the status, the body and the headers, except those that always differ."""
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("date", "x-request-id")
    }
    return response.status_code, response.content, headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("POST", "/v2/models/digits/infer//"),
        ("POST", "//v2/models/digits/infer"),
        ("POST", "/v2/models/digits%2Finfer"),
        ("POST", "/v2/models/digits/infer%2F"),
        ("POST", "/v2/models/digits%2fversions%2f1/infer"),
        ("POST", "/v2/models/x/%2e%2e/digits/infer"),
        ("POST", "/v2/models/digits/infer%3Fa"),
        ("POST", "/v2/models/digits;a/infer"),
        ("POST", "/v2/models//infer"),
        ("POST", "/v2/models/digits/versions/1/infer/more"),
        ("POST", "/v2/models/digits%2Finfer/infer"),
        ("POST", "/v2/models/none/infer"),
        ("POST", "/v2/models/none/infer?a=/v2/models/digits/infer"),
        ("POST", "/v2/models/%00/infer"),
        ("POST", "/v2/models/%FF%FE/infer"),
        ("POST", "/v2/models/gr%C3%BC%C3%9Fe/infer"),
        ("POST", "/v2/models/%zz/infer"),
        ("POST", "/v2/models/digits/versions/2/infer"),
        ("POST", "/v2/models/digits/versions/..%2F1/infer"),
        ("POST", "/v2/models/digits"),
        ("POST", "/v2"),
        ("GET", INFER),
        ("PUT", INFER),
        ("OPTIONS", "/v2/models/digits/versions/1/infer"),
        ("GET", "/v2/models/none"),
    ],
)
@pytest.mark.parametrize("keys", [(KEY,), (), ("wrong",), (KEY, KEY)])
def test_rejections_equal_those_of_public_port(
    shared_gateway: GatewayProcess, method: str, path: str, keys: tuple[str, ...]
) -> None:
    public = httpx.request(
        method,
        shared_gateway.url + path,
        headers=[("x-api-key", key) for key in keys],
        verify=NO_TLS,
    )
    assert public.status_code in (401, 404, 405)
    response = authorize(shared_gateway, path, method=method, keys=keys)
    assert summarize(response) == summarize(public)
    assert GENERATED_ID.fullmatch(response.headers["x-request-id"])


@pytest.mark.parametrize(
    "uri",
    [
        INFER,
        f"{INFER}?key=value/../x",
        "/v2/models/digits/versions/1/infer",
        "/v2/models/d%69gits/%69nfer",
        f"{INFER}/",
        f"{INFER}/?a=b%2Fc",
    ],
)
def test_allowed_inference_request_gets_200_with_headers(
    live_gateway: GatewayProcess, berth_1: FakeBerth, uri: str
) -> None:
    response = authorize(live_gateway, uri, headers={"x-request-id": "r-1"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers.pop("date")
    assert 0 <= int(response.headers.pop("x-berth-return-ratelimit-reset")) <= 1
    assert dict(response.headers) == {
        "content-length": "0",
        "x-berth-client": "default",
        "x-berth-return-ratelimit-limit": "100000",
        "x-berth-return-ratelimit-remaining": "99999",
        "x-berth-return-x-request-id": "r-1",
        "x-request-id": "r-1",
    }
    assert berth_1.requests == []


def test_invalid_request_id_is_replaced(shared_gateway: GatewayProcess) -> None:
    headers = authorize(shared_gateway, headers={"x-request-id": "a b" * 100}).headers
    assert GENERATED_ID.fullmatch(headers["x-request-id"])
    assert headers["x-berth-return-x-request-id"] == headers["x-request-id"]


def test_only_inference_requests_are_authorize(shared_gateway: GatewayProcess) -> None:
    for uri in ("/v2", "/v2/models/digits", "/v2/models/digits/versions/1/ready"):
        response = authorize(shared_gateway, uri, method="GET")
        assert response.status_code == 404
        assert "Only inference requests" in response.json()["error"]
    assert authorize(shared_gateway, "/v2/health/ready", method="GET", keys=()).status_code == 401


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], "X-Forwarded-Method"),
        ([("x-forwarded-method", "POST")], "X-Forwarded-Uri occurs 0 times"),
        ([("x-forwarded-uri", INFER)], "X-Forwarded-Method occurs 0 times"),
        (
            [("x-forwarded-method", "POST")] * 2 + [("x-forwarded-uri", INFER)],
            "X-Forwarded-Method occurs 2 times",
        ),
        (
            [("x-forwarded-method", "POST")] + [("x-forwarded-uri", INFER)] * 2,
            "X-Forwarded-Uri occurs 2 times",
        ),
        (
            [("x-forwarded-method", "P T"), ("x-forwarded-uri", INFER)],
            "X-Forwarded-Method is invalid",
        ),
        ([("x-forwarded-method", ""), ("x-forwarded-uri", INFER)], "X-Forwarded-Method is invalid"),
        *(
            (
                [("x-forwarded-method", "POST"), ("x-forwarded-uri", uri)],
                "X-Forwarded-Uri is invalid",
            )
            for uri in (
                b"",
                b"infer",
                b"/a b",
                f"{INFER}#a".encode(),
                b"/\xff\xfe",
                b"http://",
                b"http://a:b/",
            )
        ),
    ],
)
def test_missing_or_invalid_forwarded_headers_get_400(
    shared_gateway: GatewayProcess, headers: list[tuple[str, Any]], message: str
) -> None:
    url = f"http://127.0.0.1:{shared_gateway.environment['GATEWAY_AUTHORIZE_PORT']}/"
    sent = [(name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in headers]  # fmt: skip
    response = httpx.get(url, headers=[*sent, (b"x-api-key", KEY.encode())], verify=NO_TLS)
    assert response.status_code == 400
    assert message in response.json()["error"]
    assert "ratelimit-limit" not in response.headers


def test_public_and_authorize_ports_share_rate_limit(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    live_gateway.reload(build_digits_config(berth_1, berth_2, clients=[build_client(**SLOW)]))
    with live_gateway.client() as http:
        assert http.post(INFER, json={}).headers["ratelimit-remaining"] == "2"
        assert authorize(live_gateway).headers["x-berth-return-ratelimit-remaining"] == "1"
        assert http.get("/v2").headers["ratelimit-remaining"] == "0"
        rejected = authorize(live_gateway)
        public = http.post(INFER, json={})
    assert rejected.status_code == 429
    assert summarize(rejected) == summarize(public)
    assert rejected.headers["ratelimit-remaining"] == "0"
    assert 990 <= int(rejected.headers["retry-after"]) <= 1000
    assert not [name for name in rejected.headers if name.startswith("x-berth-")]
    assert (
        live_gateway.get_metric(
            'berth_gateway_rejected_total{client="default",reason="rate_limit"}'
        )
        == 2
    )


def test_public_and_authorize_ports_share_quota(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    quota = {"requests": 3, "period": "month"}
    live_gateway.reload(build_digits_config(berth_1, berth_2, clients=[build_client(quota=quota)]))
    with live_gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 200
        assert authorize(live_gateway, "/v2/models/none/infer").status_code == 404
        assert [authorize(live_gateway).status_code for _ in range(3)] == [200, 200, 429]
        rejected = authorize(live_gateway)
        public = http.post(INFER, json={})
    assert summarize(rejected) == summarize(public)
    assert rejected.headers["ratelimit-limit"] == "3"
    assert live_gateway.get_metric('berth_gateway_quota_used{client="default"}') == 3
    assert (
        live_gateway.get_metric('berth_gateway_rejected_total{client="default",reason="quota"}')
        == 3
    )


def test_concurrent_requests_do_not_exceed_limit(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    live_gateway.reload(
        build_digits_config(
            berth_1, berth_2, clients=[build_client(rate_per_second=0.001, burst=20)]
        )
    )
    with ThreadPoolExecutor(8) as pool:
        codes = Counter(pool.map(lambda _: authorize(live_gateway).status_code, range(50)))
    assert codes == {200: 20, 429: 30}


def test_reload_applies_immediately(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    assert authorize(live_gateway).status_code == 200
    live_gateway.reload(build_digits_config(berth_1, berth_2, clients=[]))
    assert authorize(live_gateway).status_code == 401


def test_only_rejections_are_logged_and_authorizations_are_counted(
    live_gateway: GatewayProcess,
) -> None:
    authorize(live_gateway)
    authorize(live_gateway, "/v2/models/digits/versions/1/infer")
    authorize(
        live_gateway, "/v2/models/unknown-model/infer?secret=1", headers={"x-request-id": "r-1"}
    )
    text = live_gateway.get_admin("/metrics").text
    assert (
        live_gateway.get_metric('berth_gateway_authorized_total{client="default",model="digits"}')
        == 2
    )
    rejected = 'berth_gateway_requests_total{client="default",code="404",model="",version=""}'
    assert live_gateway.get_metric(rejected) == 1
    assert 'code="200"' not in text
    assert "unknown-model" not in text
    [line] = live_gateway.read_access_log()
    assert (line["request_id"], line["client"], line["method"]) == ("r-1", "default", "POST")
    assert (line["path"], line["status"]) == ("/v2/models/unknown-model/infer", 404)


def test_drain_closes_authorize_port(live_gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    """Requests in flight at the public port finish; idle connections are closed."""
    received, resume = threading.Event(), threading.Event()

    def respond_later(handler: Handler, request: RecordedRequest) -> None:
        received.set()
        resume.wait(20)
        respond_ok(handler, request)

    berth_1.respond = respond_later
    responses: list[int] = []

    def send_request() -> None:
        with live_gateway.client() as http:
            responses.append(http.post(INFER, json={}).status_code)

    thread = threading.Thread(target=send_request)
    thread.start()
    assert received.wait(20)
    assert authorize(live_gateway).status_code == 200
    live_gateway.terminate()

    def is_port_closed() -> bool:
        try:
            authorize(live_gateway)
        except httpx.TransportError:
            return True
        return False

    wait_until(is_port_closed, "no new connection accepted")
    resume.set()
    thread.join()
    assert responses == [200]
    assert live_gateway.wait_for_exit() == 0


def test_gateway_without_authorize_port_serves_public_port(gateway: GatewayProcess) -> None:
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = ""
    gateway.start(build_config())
    with gateway.client() as http:
        assert http.get("/v2").status_code == 200
    assert gateway.stop() == 0


def test_admin_host_makes_metrics_reachable_from_other_addresses(gateway: GatewayProcess) -> None:
    """127.0.0.2 represents the address of a Pod."""
    gateway.environment["GATEWAY_ADMIN_HOST"] = "0.0.0.0"
    gateway.start(build_config())
    assert httpx.get(f"http://127.0.0.2:{gateway.admin_port}/metrics").status_code == 200


def test_allowed_request_gets_the_token_of_the_berths(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    assert "x-berth-token" not in authorize(live_gateway).headers
    token = live_gateway.directory / "token"
    token.write_text("s3cret\n")
    live_gateway.stop()
    live_gateway.environment["GATEWAY_TOKEN_FILE"] = str(token)
    live_gateway.start(build_digits_config(berth_1, berth_2))
    forged = {"x-berth-token": "forged"}
    assert authorize(live_gateway, headers=forged).headers["x-berth-token"] == "s3cret"
    assert "x-berth-token" not in authorize(live_gateway, keys=("wrong",)).headers
    assert "x-berth-token" not in authorize(live_gateway, "/v2", method="GET").headers
