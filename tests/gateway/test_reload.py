"""Reload: a new configuration applies to new requests, and no request fails."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest, respond_ok
from tests.gateway.gateway_process import GatewayProcess, build_config, build_model, wait_until

INFER = "/v2/models/digits/infer"


def build_digits_config(
    berth_1: FakeBerth, berth_2: FakeBerth, percent_of_two: int
) -> dict[str, Any]:
    traffic = {"1": 100 - percent_of_two, "2": percent_of_two}
    return build_config(
        models={"digits": build_model({"1": berth_1.url, "2": berth_2.url}, traffic)}
    )


@contextmanager
def generate_load(gateway: GatewayProcess, clients: int = 4) -> Iterator[Counter[Any]]:
    """Send requests without a pause until the end of the block, and count their outcomes."""
    finish = threading.Event()
    outcomes: Counter[Any] = Counter()
    lock = threading.Lock()

    def send_requests() -> None:
        with gateway.client() as http:
            while not finish.is_set():
                try:
                    outcome: Any = http.post(INFER, json={}).status_code
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                with lock:
                    outcomes[outcome] += 1

    threads = [threading.Thread(target=send_requests) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        finish.set()
        for thread in threads:
            thread.join()


def test_reloads_under_load_fail_no_request_and_drop_no_connection(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    gateway.start(build_digits_config(berth_1, berth_2, 50))
    with generate_load(gateway) as outcomes:
        for n in range(20):
            before = sum(outcomes.values())
            gateway.reload(build_digits_config(berth_1, berth_2, n))
            wait_until(lambda seen=before: sum(outcomes.values()) > seen + 10, "more responses")  # type: ignore[misc]
    assert set(outcomes) == {200}
    assert gateway.get_metric('berth_gateway_reloads_total{outcome="applied"}') == 20


def test_berth_replaced_under_load_fails_no_request(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    """A platform starts the new berth, replaces the configuration, and stops the old berth."""
    gateway.start(build_digits_config(berth_1, berth_2, 0))
    with generate_load(gateway) as outcomes:
        for _ in range(3):
            with FakeBerth("1").running() as old:
                gateway.reload(build_digits_config(old, berth_2, 0))
                wait_until(lambda berth=old: len(berth.requests) > 20, "traffic at the new berth")  # type: ignore[misc]
                gateway.reload(build_digits_config(berth_1, berth_2, 0))
                after = len(berth_1.requests)
                wait_until(lambda seen=after: len(berth_1.requests) > seen + 20, "traffic back")  # type: ignore[misc]
    assert set(outcomes) == {200}


def test_request_in_flight_ends_at_its_original_version(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    received, resume = threading.Event(), threading.Event()

    def respond_later(handler: Handler, request: RecordedRequest) -> None:
        received.set()
        resume.wait(20)
        respond_ok(handler, request)

    berth_1.respond = respond_later
    gateway.start(build_digits_config(berth_1, berth_2, 0))
    responses: list[httpx.Response] = []

    def send_requests() -> None:
        with gateway.client() as http:
            responses.append(http.post(INFER, json={}))
            responses.append(http.post(INFER, json={}))

    thread = threading.Thread(target=send_requests)
    thread.start()
    assert received.wait(20)
    gateway.reload(build_config(models={"digits": build_model({"2": berth_2.url}, {"2": 100})}))
    resume.set()
    thread.join()
    assert [response.headers["x-berth-version"] for response in responses] == ["1", "2"]
    with gateway.client() as http:
        assert http.post("/v2/models/digits/versions/1/infer", json={}).status_code == 404


def test_unchanged_weights_continue_their_split(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    gateway.start(build_digits_config(berth_1, berth_2, 10))
    versions: Counter[str] = Counter()
    with gateway.client() as http:
        for n in range(100):
            versions[http.post(INFER, json={}).headers["x-berth-version"]] += 1
            if n % 10 == 0:
                gateway.reload(
                    build_digits_config(berth_1, berth_2, 10) | {"timeout_seconds": 10 + n}
                )
    assert versions == {"1": 90, "2": 10}


@pytest.mark.parametrize(
    "content", [b"{", b"[]", json.dumps(build_config(max_body_bytes=0)).encode()]
)
def test_invalid_configuration_keeps_current_one(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth, content: bytes
) -> None:
    gateway.start(build_digits_config(berth_1, berth_2, 0))
    before = gateway.get_admin("/healthz").json()
    gateway.write_config(content)
    os.kill(gateway.pid, signal.SIGHUP)
    wait_until(
        lambda: gateway.get_metric('berth_gateway_reloads_total{outcome="rejected"}') == 1,
        "the rejected reload",
    )
    assert gateway.get_admin("/healthz").json() == before
    assert "keeping the current configuration" in gateway.read_log()
    with gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 200


def test_new_token_is_sent_after_reload(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    token = gateway.directory / "token"
    token.write_text("old")
    gateway.environment["GATEWAY_TOKEN_FILE"] = str(token)
    gateway.start(build_digits_config(berth_1, berth_2, 0))
    with gateway.client() as http:
        http.post(INFER, json={})
        token.write_text("new")
        gateway.reload(build_digits_config(berth_1, berth_2, 1))
        http.post(INFER, json={})
    assert [request.headers["x-berth-token"] for request in berth_1.requests] == ["old", "new"]
