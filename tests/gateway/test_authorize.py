"""Authorize: the answers are those of the public port, for a controller that asks first."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import Asked, FakeBerth, Handler, answer_ok
from tests.gateway.gateway_process import (
    KEY,
    GatewayProcess,
    client,
    free_ports,
    model,
    table,
    wait_until,
)

INFER = "/v2/models/digits/infer"
SLOWLY: dict[str, Any] = {"rate_per_second": 0.001, "burst": 3}


@pytest.fixture
def up(gateway: GatewayProcess, one: FakeBerth, two: FakeBerth) -> GatewayProcess:
    """Version 1 has all traffic, 2 is deployed and not exposed."""
    [port] = free_ports(1)
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = str(port)
    gateway.start(digits(one, two))
    return gateway


def digits(one: FakeBerth, two: FakeBerth, **changes: Any) -> dict[str, Any]:
    routes = model({"1": one.url, "2": two.url}, {"1": 100, "2": 0}, exposed=["1"])
    return table(models={"digits": routes}, **changes)


def authorized(
    gateway: GatewayProcess,
    uri: str = INFER,
    *,
    method: str = "POST",
    keys: tuple[str, ...] = (KEY,),
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """What the gateway says to a controller that got such a request."""
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
    )


def of_a_refusal(response: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """All of the answer that says something of the request."""
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
        ("POST", "/v2/models/digits/infer/"),
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
def test_each_refusal_is_that_of_the_public_port(
    up: GatewayProcess, method: str, path: str, keys: tuple[str, ...]
) -> None:
    public = httpx.request(method, up.url + path, headers=[("x-api-key", key) for key in keys])
    assert public.status_code in (401, 404, 405)
    answer = authorized(up, path, method=method, keys=keys)
    assert of_a_refusal(answer) == of_a_refusal(public)
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "uri",
    [
        INFER,
        f"{INFER}?key=value/../x",
        "/v2/models/digits/versions/1/infer",
        "/v2/models/d%69gits/%69nfer",
    ],
)
def test_what_may_pass(up: GatewayProcess, one: FakeBerth, uri: str) -> None:
    answer = authorized(up, uri, headers={"x-request-id": "r-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers.pop("date")
    assert 0 <= int(answer.headers.pop("x-berth-return-ratelimit-reset")) <= 1
    assert dict(answer.headers) == {
        "content-length": "0",
        "x-berth-client": "default",
        "x-berth-return-ratelimit-limit": "100000",
        "x-berth-return-ratelimit-remaining": "99999",
        "x-berth-return-x-request-id": "r-1",
        "x-request-id": "r-1",
    }
    assert one.asked == []


def test_a_strange_request_id_is_replaced(up: GatewayProcess) -> None:
    headers = authorized(up, headers={"x-request-id": "a b" * 100}).headers
    assert len(headers["x-request-id"]) == 32
    assert headers["x-berth-return-x-request-id"] == headers["x-request-id"]


def test_nothing_but_inference_is_let_past_the_gateway(up: GatewayProcess) -> None:
    for uri in ("/v2", "/v2/models/digits", "/v2/models/digits/versions/1/ready"):
        answer = authorized(up, uri, method="GET")
        assert answer.status_code == 404
        assert "only inference" in answer.json()["error"]
    assert authorized(up, "/v2/health/ready", method="GET", keys=()).status_code == 401


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([], "X-Forwarded-Method"),
        ([("x-forwarded-method", "POST")], "X-Forwarded-Uri must be there once"),
        ([("x-forwarded-uri", INFER)], "X-Forwarded-Method must be there once"),
        ([("x-forwarded-method", "POST")] * 2 + [("x-forwarded-uri", INFER)], "Method must be"),
        ([("x-forwarded-method", "POST")] + [("x-forwarded-uri", INFER)] * 2, "Uri must be"),
        ([("x-forwarded-method", "P T"), ("x-forwarded-uri", INFER)], "a method such as POST"),
        ([("x-forwarded-method", ""), ("x-forwarded-uri", INFER)], "a method such as POST"),
        *(
            ([("x-forwarded-method", "POST"), ("x-forwarded-uri", uri)], "a path such as /v2")
            for uri in (b"", b"infer", b"/a b", b"/\xff\xfe", b"http://", b"http://a:b/")
        ),
    ],
)
def test_a_controller_that_does_not_say_what_it_asks_about(
    up: GatewayProcess, headers: list[tuple[str, Any]], says: str
) -> None:
    url = f"http://127.0.0.1:{up.environment['GATEWAY_AUTHORIZE_PORT']}/"
    sent = [(name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in headers]  # fmt: skip
    answer = httpx.get(url, headers=[*sent, (b"x-api-key", KEY.encode())])
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert "ratelimit-limit" not in answer.headers


def test_the_doors_share_one_throttle(up: GatewayProcess, one: FakeBerth, two: FakeBerth) -> None:
    up.reload(digits(one, two, clients=[client(**SLOWLY)]))
    with up.client() as http:
        assert http.post(INFER, json={}).headers["ratelimit-remaining"] == "2"
        assert authorized(up).headers["x-berth-return-ratelimit-remaining"] == "1"
        assert http.get("/v2").headers["ratelimit-remaining"] == "0"
        refused = authorized(up)
        public = http.post(INFER, json={})
    assert refused.status_code == 429
    assert of_a_refusal(refused) == of_a_refusal(public)
    assert refused.headers["ratelimit-remaining"] == "0"
    assert 990 <= int(refused.headers["retry-after"]) <= 1000
    assert not [name for name in refused.headers if name.startswith("x-berth-")]
    assert up.metric('berth_gateway_refused_total{client="default",reason="throttle"}') == 2


def test_the_doors_share_one_quota(up: GatewayProcess, one: FakeBerth, two: FakeBerth) -> None:
    quota = {"requests": 3, "period": "month"}
    up.reload(digits(one, two, clients=[client(quota=quota)]))
    with up.client() as http:
        assert http.post(INFER, json={}).status_code == 200
        assert authorized(up, "/v2/models/none/infer").status_code == 404
        assert [authorized(up).status_code for _ in range(3)] == [200, 200, 429]
        refused = authorized(up)
        public = http.post(INFER, json={})
    assert of_a_refusal(refused) == of_a_refusal(public)
    assert refused.headers["ratelimit-limit"] == "3"
    assert up.metric('berth_gateway_quota_used{client="default"}') == 3
    assert up.metric('berth_gateway_refused_total{client="default",reason="quota"}') == 3


def test_many_at_once_get_no_more_than_the_limit(
    up: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    up.reload(digits(one, two, clients=[client(rate_per_second=0.001, burst=20)]))
    with ThreadPoolExecutor(8) as pool:
        codes = Counter(pool.map(lambda _: authorized(up).status_code, range(50)))
    assert codes == {200: 20, 429: 30}


def test_a_reload_holds_at_once(up: GatewayProcess, one: FakeBerth, two: FakeBerth) -> None:
    assert authorized(up).status_code == 200
    up.reload(digits(one, two, clients=[]))
    assert authorized(up).status_code == 401


def test_what_is_counted_and_logged(up: GatewayProcess) -> None:
    authorized(up)
    authorized(up, "/v2/models/digits/versions/1/infer")
    authorized(up, "/v2/models/made-up-name/infer?secret=1", headers={"x-request-id": "r-1"})
    text = up.admin("/metrics").text
    assert up.metric('berth_gateway_authorized_total{client="default",model="digits"}') == 2
    refused = 'berth_gateway_requests_total{client="default",code="404",model="",version=""}'
    assert up.metric(refused) == 1
    assert 'code="200"' not in text
    assert "made-up-name" not in text
    [line] = up.access_log()
    assert (line["request_id"], line["client"], line["method"]) == ("r-1", "default", "POST")
    assert (line["path"], line["status"]) == ("/v2/models/made-up-name/infer", 404)


def test_a_drain_ends_this_door_too(up: GatewayProcess, one: FakeBerth) -> None:
    """Requests under way at the public port are finished, and idle connections here closed."""
    arrived, go_on = threading.Event(), threading.Event()

    def wait(handler: Handler, asked: Asked) -> None:
        arrived.set()
        go_on.wait(20)
        answer_ok(handler, asked)

    one.behave = wait
    answers: list[int] = []

    def ask() -> None:
        with up.client() as http:
            answers.append(http.post(INFER, json={}).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    assert arrived.wait(20)
    assert authorized(up).status_code == 200
    up.terminate()

    def closed() -> bool:
        try:
            authorized(up)
        except httpx.TransportError:
            return True
        return False

    wait_until(closed, "no new connection taken")
    go_on.set()
    thread.join()
    assert answers == [200]
    assert up.exit_status() == 0


def test_there_is_no_such_door_unless_asked_for(gateway: GatewayProcess) -> None:
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = ""
    gateway.start(table())
    with gateway.client() as http:
        assert http.get("/v2").status_code == 200
    assert gateway.stop() == 0


def test_metrics_can_be_reached_from_elsewhere(gateway: GatewayProcess) -> None:
    """127.0.0.2 stands for the address of a pod."""
    gateway.environment["GATEWAY_ADMIN_HOST"] = "0.0.0.0"
    gateway.start(table())
    assert httpx.get(f"http://127.0.0.2:{gateway.admin_port}/metrics").status_code == 200
