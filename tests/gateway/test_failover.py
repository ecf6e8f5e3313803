"""The share of an unhealthy version goes to healthy versions, and comes back."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest, respond_ok
from tests.gateway.gateway_process import (
    GatewayProcess,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)

INFER = "/v2/models/digits/infer"


def respond_with(status: int) -> Any:
    """Return what lets a berth answer every request with a status."""

    def respond(handler: Handler, _: RecordedRequest) -> None:
        handler.send_response(status)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return respond


@contextmanager
def hanging(berth: FakeBerth) -> Iterator[None]:
    """Let the berth accept requests and not respond, also to health checks."""
    finish = threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        finish.wait(30)
        handler.disconnect()

    berth.respond = stall
    try:
        yield
    finally:
        berth.respond = respond_ok
        finish.set()


def answered_by(http: httpx.Client, count: int) -> Counter[tuple[int, str | None]]:
    responses = [http.post(INFER, json={}) for _ in range(count)]
    return Counter((r.status_code, r.headers.get("x-berth-version")) for r in responses)


def start(gateway: GatewayProcess, urls: list[str], weights: list[int], **changes: Any) -> None:
    versions = [str(number) for number in range(1, len(urls) + 1)]
    model = build_model(
        dict(zip(versions, urls, strict=True)), dict(zip(versions, weights, strict=True)), **changes
    )
    gateway.start(build_config(models={"digits": model}))


def count_failovers(gateway: GatewayProcess, version: str, answered: str) -> float:
    return gateway.get_metric(
        "berth_gateway_failovers_total"
        f'{{answered_by="{answered}",model="digits",version="{version}"}}'
    )


def test_refused_version_fails_over_and_gets_its_share_back(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    [port] = find_free_ports(1)
    start(gateway, [berth_1.url, f"http://127.0.0.1:{port}"], [50, 50])
    with gateway.client() as http:
        assert answered_by(http, 20) == {(200, "1"): 20}
        assert count_failovers(gateway, "2", "1") == 10
        unhealthy = 'berth_gateway_unhealthy_berths{model="digits",version="2"}'
        assert gateway.get_metric(unhealthy) == 1
        assert "Berth digits/2 is unhealthy: it did not respond" in gateway.read_log()
        assert gateway.read_access_log()[-1]["version"] == "1"
        with FakeBerth("2").running(port):
            wait_until(lambda: gateway.get_metric(unhealthy) == 0, "version 2 to be healthy")
            assert answered_by(http, 20) == {(200, "1"): 10, (200, "2"): 10}
    assert "Berth digits/2 is healthy again" in gateway.read_log()


def test_share_is_split_by_weights_of_healthy_versions(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    [port] = find_free_ports(1)
    start(gateway, [berth_1.url, berth_2.url, f"http://127.0.0.1:{port}"], [20, 60, 20])
    with gateway.client() as http:
        assert answered_by(http, 100) == {(200, "1"): 25, (200, "2"): 75}


def test_version_without_traffic_receives_no_share(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    first, second = find_free_ports(2)
    urls = [berth_1.url, f"http://127.0.0.1:{first}", f"http://127.0.0.1:{second}"]
    start(gateway, urls, [0, 50, 50])
    with gateway.client() as http:
        assert answered_by(http, 4) == {(502, None): 4}
    assert berth_1.requests == []


def test_request_that_names_version_does_not_fail_over(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    [port] = find_free_ports(1)
    start(gateway, [berth_1.url, f"http://127.0.0.1:{port}"], [50, 50])
    with gateway.client() as http:
        response = http.post("/v2/models/digits/versions/2/infer", json={})
    assert response.status_code == 502
    assert berth_1.requests == []


def test_failover_can_be_turned_off(gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    [port] = find_free_ports(1)
    start(gateway, [berth_1.url, f"http://127.0.0.1:{port}"], [50, 50], failover=False)
    with gateway.client() as http:
        assert answered_by(http, 10) == {(200, "1"): 5, (502, None): 5}


def test_version_that_is_not_ready_fails_over(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    berth_2.respond = respond_with(503)
    start(gateway, [berth_1.url, berth_2.url], [50, 50])
    with gateway.client() as http:
        assert answered_by(http, 10) == {(200, "1"): 10}
    assert count_failovers(gateway, "2", "1") == 5


def test_overloaded_version_keeps_its_share(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    def reject_inference(handler: Handler, request: RecordedRequest) -> None:
        respond = respond_with(503) if request.method == "POST" else respond_ok
        respond(handler, request)

    berth_2.respond = reject_inference
    start(gateway, [berth_1.url, berth_2.url], [50, 50])
    with gateway.client() as http:
        assert answered_by(http, 10) == {(200, "1"): 5, (503, "2"): 5}


@pytest.mark.parametrize("status", [400, 413, 500, 504])
def test_response_of_berth_is_not_repeated(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth, status: int
) -> None:
    berth_2.respond = respond_with(status)
    start(gateway, [berth_1.url, berth_2.url], [50, 50])
    with gateway.client() as http:
        assert answered_by(http, 10) == {(200, "1"): 5, (status, "2"): 5}


def test_hanging_version_loses_its_share_and_its_request_is_not_repeated(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    start(gateway, [berth_1.url, berth_2.url], [50, 50])
    unhealthy = 'berth_gateway_unhealthy_berths{model="digits",version="2"}'
    statuses: list[int] = []
    with hanging(berth_2), gateway.client() as http:

        def send_two() -> None:
            with gateway.client() as other:
                statuses.extend(other.post(INFER, json={}).status_code for _ in range(2))

        thread = threading.Thread(target=send_two)
        thread.start()
        wait_until(lambda: gateway.get_metric(unhealthy) == 1, "version 2 to be unhealthy")
        assert answered_by(http, 10) == {(200, "1"): 10}
        thread.join()
    assert sorted(statuses) == [200, 504]
    assert [request.method for request in berth_2.requests].count("POST") == 1


@pytest.mark.parametrize("path", ["/v2/models/digits", "/v2/models/digits/versions/2"])
def test_readiness_of_hanging_version_is_known_before_its_timeout(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth, path: str
) -> None:
    model = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 50, "2": 50})
    # The test's client gives up after 20 s, long before the time limit of a berth.
    gateway.start(build_config(timeout_seconds=3600, models={"digits": model}))
    with hanging(berth_2), gateway.client() as http:
        response = http.get(f"{path}/ready")
        metadata = http.get("/v2/models/digits")
    assert response.status_code == 503
    assert response.json() == {"name": "digits", "ready": False}
    assert metadata.status_code == 200
