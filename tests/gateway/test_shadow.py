"""Shadow: a version gets copies, and no client notices."""

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
    """All traffic to version 1, copies to version 2, which is not exposed."""
    routes = build_model(
        {"1": berth_1.url, "2": berth_2.url}, {"1": 100, "2": 0}, exposed=["1"], shadow="2"
    )
    gateway.start(build_config(timeout_seconds=5, models={"digits": routes}))
    yield gateway
    gateway.stop()


def copies(gateway: GatewayProcess, outcome: str) -> float:
    labels = f'model="digits",outcome="{outcome}",version="2"'
    return gateway.get_metric(f"berth_gateway_shadow_requests_total{{{labels}}}")


def test_each_split_request_is_copied_once(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    with live_gateway.client() as http:
        for n in range(20):
            response = http.post(INFER, json={"n": n}, headers={"x-request-id": f"r-{n}"})
            assert response.headers["x-berth-version"] == response.json()["model_version"] == "1"
    wait_until(lambda: copies(live_gateway, "answered") == 20, "20 copies answered")
    assert len(berth_2.requests) == 20
    originals = {request.headers["x-request-id"]: request for request in berth_1.requests}
    for copy in berth_2.requests:
        original = originals.pop(copy.headers["x-request-id"])
        assert copy.body == original.body
        assert copy.path == "/v2/models/digits/versions/2/infer"
        assert copy.headers["x-berth-shadow"] == "1"
        assert "x-berth-shadow" not in original.headers


def test_only_inference_without_a_version_is_copied(
    live_gateway: GatewayProcess, berth_2: FakeBerth
) -> None:
    with live_gateway.client() as http:
        http.post("/v2/models/digits/versions/1/infer", json={})
        http.get("/v2/models/digits/versions/1")
        http.post("/v2/models/digits/versions/2/infer", json={})
        http.post(INFER, json={})
    wait_until(lambda: copies(live_gateway, "answered") == 1, "one copy answered")
    assert len(berth_2.requests) == 1


def test_a_version_gets_no_copy_of_what_it_answered(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    routes = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 50, "2": 50}, shadow="2")
    live_gateway.reload(build_config(models={"digits": routes}))
    with live_gateway.client() as http:
        for _ in range(10):
            http.post(INFER, json={})
    wait_until(lambda: copies(live_gateway, "answered") == 5, "5 copies answered")
    marked = [request.headers.get("x-berth-shadow") for request in berth_2.requests]
    assert sorted(marked, key=str) == ["1"] * 5 + [None] * 5


def test_a_shadow_that_fails_or_is_gone_is_not_noticed(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    berth_2.respond = lambda handler, _: handler.send(500, b"{}")
    with live_gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 200
        wait_until(lambda: copies(live_gateway, "failed") == 1, "a copy that failed")
        routes = build_model(
            {"1": berth_1.url, "2": "http://127.0.0.1:1"}, {"1": 100, "2": 0}, shadow="2"
        )
        live_gateway.reload(build_config(models={"digits": routes}))
        assert http.post(INFER, json={}).status_code == 200
    wait_until(lambda: copies(live_gateway, "failed") == 2, "a copy to nowhere")


def test_a_shadow_that_hangs_holds_up_nobody_and_bounded_memory(
    live_gateway: GatewayProcess, berth_2: FakeBerth
) -> None:
    over = threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        over.wait(20)
        handler.send(200, b"{}")

    berth_2.respond = stall
    try:
        with live_gateway.client() as http:
            for _ in range(80):
                assert http.post(INFER, json={}).status_code == 200
        wait_until(
            lambda: copies(live_gateway, "dropped") == 16, "what is beyond 64 copies dropped"
        )
    finally:
        over.set()
    wait_until(lambda: copies(live_gateway, "answered") == 64, "the others answered at last")


def test_copies_are_made_of_requests_that_failed(
    live_gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    berth_1.respond = lambda handler, _: handler.disconnect()
    with live_gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 502
    wait_until(lambda: copies(live_gateway, "answered") == 1, "the copy answered")
