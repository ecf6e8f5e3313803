"""Reload: a new table takes over between two requests, and none of them is lost."""

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


def digits(berth_1: FakeBerth, berth_2: FakeBerth, percent_of_two: int) -> dict[str, Any]:
    traffic = {"1": 100 - percent_of_two, "2": percent_of_two}
    return build_config(
        models={"digits": build_model({"1": berth_1.url, "2": berth_2.url}, traffic)}
    )


@contextmanager
def load(gateway: GatewayProcess, clients: int = 4) -> Iterator[Counter[Any]]:
    """Requests without a pause until the end of the block; what became of them, counted."""
    over = threading.Event()
    outcomes: Counter[Any] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        with gateway.client() as http:
            while not over.is_set():
                try:
                    outcome: Any = http.post(INFER, json={}).status_code
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                with lock:
                    outcomes[outcome] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_reloads_under_load_fail_no_request_and_drop_no_connection(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    gateway.start(digits(berth_1, berth_2, 50))
    with load(gateway) as outcomes:
        for n in range(20):
            before = sum(outcomes.values())
            gateway.reload(digits(berth_1, berth_2, n))
            wait_until(lambda seen=before: sum(outcomes.values()) > seen + 10, "more answers")  # type: ignore[misc]
    assert set(outcomes) == {200}
    assert gateway.get_metric('berth_gateway_reloads_total{outcome="applied"}') == 20


def test_a_berth_replaced_under_load_fails_no_request(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    """As the platform does it: the new berth runs, the table changes, the old one ends."""
    gateway.start(digits(berth_1, berth_2, 0))
    with load(gateway) as outcomes:
        for _ in range(3):
            with FakeBerth("1").running() as old:
                gateway.reload(digits(old, berth_2, 0))
                wait_until(lambda berth=old: len(berth.requests) > 20, "traffic at the new berth")  # type: ignore[misc]
                gateway.reload(digits(berth_1, berth_2, 0))
                after = len(berth_1.requests)
                wait_until(lambda seen=after: len(berth_1.requests) > seen + 20, "traffic back")  # type: ignore[misc]
    assert set(outcomes) == {200}


def test_a_request_under_way_ends_at_the_version_it_began_with(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    arrived, resume = threading.Event(), threading.Event()

    def wait(handler: Handler, request: RecordedRequest) -> None:
        arrived.set()
        resume.wait(20)
        respond_ok(handler, request)

    berth_1.respond = wait
    gateway.start(digits(berth_1, berth_2, 0))
    responses: list[httpx.Response] = []

    def ask() -> None:
        with gateway.client() as http:
            responses.append(http.post(INFER, json={}))
            responses.append(http.post(INFER, json={}))

    thread = threading.Thread(target=ask)
    thread.start()
    assert arrived.wait(20)
    gateway.reload(build_config(models={"digits": build_model({"2": berth_2.url}, {"2": 100})}))
    resume.set()
    thread.join()
    assert [response.headers["x-berth-version"] for response in responses] == ["1", "2"]
    with gateway.client() as http:
        assert http.post("/v2/models/digits/versions/1/infer", json={}).status_code == 404


def test_unchanged_weights_go_on_where_they_were(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    gateway.start(digits(berth_1, berth_2, 10))
    versions: Counter[str] = Counter()
    with gateway.client() as http:
        for n in range(100):
            versions[http.post(INFER, json={}).headers["x-berth-version"]] += 1
            if n % 10 == 0:
                gateway.reload(digits(berth_1, berth_2, 10) | {"timeout_seconds": 10 + n})
    assert versions == {"1": 90, "2": 10}


@pytest.mark.parametrize(
    "content", [b"{", b"[]", json.dumps(build_config(max_body_bytes=0)).encode()]
)
def test_a_bad_table_changes_nothing(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth, content: bytes
) -> None:
    gateway.start(digits(berth_1, berth_2, 0))
    before = gateway.get_admin("/healthz").json()
    gateway.write_config(content)
    os.kill(gateway.pid, signal.SIGHUP)
    wait_until(
        lambda: gateway.get_metric('berth_gateway_reloads_total{outcome="rejected"}') == 1,
        "the refusal",
    )
    assert gateway.get_admin("/healthz").json() == before
    assert "the table in force stays" in gateway.read_log()
    with gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 200


def test_a_new_token_is_sent_after_a_reload(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    token = gateway.directory / "token"
    token.write_text("old")
    gateway.environment["GATEWAY_TOKEN_FILE"] = str(token)
    gateway.start(digits(berth_1, berth_2, 0))
    with gateway.client() as http:
        http.post(INFER, json={})
        token.write_text("new")
        gateway.reload(digits(berth_1, berth_2, 1))
        http.post(INFER, json={})
    assert [request.headers["x-berth-token"] for request in berth_1.requests] == ["old", "new"]
