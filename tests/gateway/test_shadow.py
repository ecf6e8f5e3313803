"""Shadow: a version gets copies, and no client notices."""

import threading
from collections.abc import Iterator

import pytest

from tests.gateway.fake_berth import Asked, FakeBerth, Handler
from tests.gateway.gateway_process import GatewayProcess, model, table, wait_until

INFER = "/v2/models/digits/infer"


@pytest.fixture
def up(gateway: GatewayProcess, one: FakeBerth, two: FakeBerth) -> Iterator[GatewayProcess]:
    """All traffic to version 1, copies to version 2, which is not exposed."""
    routes = model({"1": one.url, "2": two.url}, {"1": 100, "2": 0}, exposed=["1"], shadow="2")
    gateway.start(table(timeout_seconds=5, models={"digits": routes}))
    yield gateway
    gateway.stop()


def copies(gateway: GatewayProcess, outcome: str) -> float:
    labels = f'model="digits",outcome="{outcome}",version="2"'
    return gateway.metric(f"berth_gateway_shadow_copies_total{{{labels}}}")


def test_each_split_request_is_copied_once(
    up: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    with up.client() as http:
        for n in range(20):
            answer = http.post(INFER, json={"n": n}, headers={"x-request-id": f"r-{n}"})
            assert answer.headers["x-berth-version"] == answer.json()["model_version"] == "1"
    wait_until(lambda: copies(up, "answered") == 20, "20 copies answered")
    assert len(two.asked) == 20
    originals = {asked.headers["x-request-id"]: asked for asked in one.asked}
    for copy in two.asked:
        original = originals.pop(copy.headers["x-request-id"])
        assert copy.body == original.body
        assert copy.path == "/v2/models/digits/versions/2/infer"
        assert copy.headers["x-berth-shadow"] == "1"
        assert "x-berth-shadow" not in original.headers


def test_only_inference_without_a_version_is_copied(up: GatewayProcess, two: FakeBerth) -> None:
    with up.client() as http:
        http.post("/v2/models/digits/versions/1/infer", json={})
        http.get("/v2/models/digits/versions/1")
        http.post("/v2/models/digits/versions/2/infer", json={})
        http.post(INFER, json={})
    wait_until(lambda: copies(up, "answered") == 1, "one copy answered")
    assert len(two.asked) == 1


def test_a_version_gets_no_copy_of_what_it_answered(
    up: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    routes = model({"1": one.url, "2": two.url}, {"1": 50, "2": 50}, shadow="2")
    up.reload(table(models={"digits": routes}))
    with up.client() as http:
        for _ in range(10):
            http.post(INFER, json={})
    wait_until(lambda: copies(up, "answered") == 5, "5 copies answered")
    marked = [asked.headers.get("x-berth-shadow") for asked in two.asked]
    assert sorted(marked, key=str) == ["1"] * 5 + [None] * 5


def test_a_shadow_that_fails_or_is_gone_is_not_noticed(
    up: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    two.behave = lambda handler, _: handler.answer(500, b"{}")
    with up.client() as http:
        assert http.post(INFER, json={}).status_code == 200
        wait_until(lambda: copies(up, "failed") == 1, "a copy that failed")
        routes = model({"1": one.url, "2": "http://127.0.0.1:1"}, {"1": 100, "2": 0}, shadow="2")
        up.reload(table(models={"digits": routes}))
        assert http.post(INFER, json={}).status_code == 200
    wait_until(lambda: copies(up, "failed") == 2, "a copy to nowhere")


def test_a_shadow_that_hangs_holds_up_nobody_and_bounded_memory(
    up: GatewayProcess, two: FakeBerth
) -> None:
    over = threading.Event()

    def stall(handler: Handler, _: Asked) -> None:
        over.wait(20)
        handler.answer(200, b"{}")

    two.behave = stall
    try:
        with up.client() as http:
            for _ in range(80):
                assert http.post(INFER, json={}).status_code == 200
        wait_until(lambda: copies(up, "dropped") == 16, "what is beyond 64 copies dropped")
    finally:
        over.set()
    wait_until(lambda: copies(up, "answered") == 64, "the others answered at last")


def test_copies_are_made_of_requests_that_failed(
    up: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    one.behave = lambda handler, _: handler.hang_up()
    with up.client() as http:
        assert http.post(INFER, json={}).status_code == 502
    wait_until(lambda: copies(up, "answered") == 1, "the copy answered")
