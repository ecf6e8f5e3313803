"""Shadow traffic: a version receives duplicates of requests, without an effect on clients."""

import threading
from collections.abc import Iterator

import pytest

from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest
from tests.gateway.gateway_process import GatewayProcess, build_config, build_model, wait_until

INFER = "/v2/models/digits/infer"


@pytest.fixture
def live_gateway(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> Iterator[GatewayProcess]:
    """Start a gateway: version 1 has all traffic, version 2 is the shadow and is not exposed."""
    routes = build_model(
        {"1": berth_1.url, "2": berth_2.url}, {"1": 100, "2": 0}, exposed=["1"], shadow="2"
    )
    gateway.start(build_config(timeout_seconds=5, models={"digits": routes}))
    yield gateway
    gateway.stop()


def count_shadow_requests(gateway: GatewayProcess, outcome: str) -> float:
    labels = f'model="digits",outcome="{outcome}",version="2"'
    return gateway.get_metric(f"berth_gateway_shadow_requests_total{{{labels}}}")


def test_each_request_without_version_is_mirrored_once(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    with live_gateway.client() as http:
        for n in range(20):
            response = http.post(INFER, json={"n": n}, headers={"x-request-id": f"r-{n}"})
            assert response.headers["x-berth-version"] == response.json()["model_version"] == "1"
    wait_until(lambda: count_shadow_requests(live_gateway, "succeeded") == 20, "20 shadow requests")
    assert len(berth_2.requests) == 20
    originals = {request.headers["x-request-id"]: request for request in berth_1.requests}
    for duplicate in berth_2.requests:
        original = originals.pop(duplicate.headers["x-request-id"])
        assert duplicate.body == original.body
        assert duplicate.path == "/v2/models/digits/versions/2/infer"
        assert duplicate.headers["x-berth-shadow"] == "1"
        assert "x-berth-shadow" not in original.headers


def test_only_inference_without_version_is_mirrored(
    live_gateway: GatewayProcess, berth_2: FakeBerth
) -> None:
    with live_gateway.client() as http:
        http.post("/v2/models/digits/versions/1/infer", json={})
        http.get("/v2/models/digits/versions/1")
        http.post("/v2/models/digits/versions/2/infer", json={})
        http.post(INFER, json={})
    wait_until(lambda: count_shadow_requests(live_gateway, "succeeded") == 1, "one shadow request")
    assert len(berth_2.requests) == 1


def test_version_receives_no_duplicate_of_its_own_request(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    routes = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 50, "2": 50}, shadow="2")
    live_gateway.reload(build_config(models={"digits": routes}))
    with live_gateway.client() as http:
        for _ in range(10):
            http.post(INFER, json={})
    wait_until(lambda: count_shadow_requests(live_gateway, "succeeded") == 5, "5 shadow requests")
    shadow_headers = [request.headers.get("x-berth-shadow") for request in berth_2.requests]
    assert sorted(shadow_headers, key=str) == ["1"] * 5 + [None] * 5


def test_failing_or_unreachable_shadow_does_not_affect_clients(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    berth_2.respond = lambda handler, _: handler.send(500, b"{}")
    with live_gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 200
        wait_until(
            lambda: count_shadow_requests(live_gateway, "failed") == 1, "a failed shadow request"
        )
        routes = build_model(
            {"1": berth_1.url, "2": "http://127.0.0.1:1"}, {"1": 100, "2": 0}, shadow="2"
        )
        live_gateway.reload(build_config(models={"digits": routes}))
        assert http.post(INFER, json={}).status_code == 200
    wait_until(
        lambda: count_shadow_requests(live_gateway, "failed") == 2,
        "a shadow request without a berth",
    )


def test_hanging_shadow_delays_no_client_and_excess_is_dropped(
    live_gateway: GatewayProcess, berth_2: FakeBerth
) -> None:
    finish = threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        finish.wait(20)
        handler.send(200, b"{}")

    berth_2.respond = stall
    try:
        with live_gateway.client() as http:
            for _ in range(80):
                assert http.post(INFER, json={}).status_code == 200
        wait_until(
            lambda: count_shadow_requests(live_gateway, "dropped") == 16,
            "16 dropped shadow requests",
        )
    finally:
        finish.set()
    wait_until(
        lambda: count_shadow_requests(live_gateway, "succeeded") == 64, "the other shadow requests"
    )


def test_failed_requests_are_mirrored(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    berth_1.respond = lambda handler, _: handler.disconnect()
    with live_gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 502
    wait_until(lambda: count_shadow_requests(live_gateway, "succeeded") == 1, "the shadow request")
