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

from tests.gateway.fake_berth import Asked, FakeBerth, Handler, answer_ok
from tests.gateway.gateway_process import GatewayProcess, model, table, wait_until

INFER = "/v2/models/digits/infer"


def digits(one: FakeBerth, two: FakeBerth, percent_of_two: int) -> dict[str, Any]:
    traffic = {"1": 100 - percent_of_two, "2": percent_of_two}
    return table(models={"digits": model({"1": one.url, "2": two.url}, traffic)})


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
    gateway: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    gateway.start(digits(one, two, 50))
    with load(gateway) as outcomes:
        for n in range(20):
            before = sum(outcomes.values())
            gateway.reload(digits(one, two, n))
            wait_until(lambda seen=before: sum(outcomes.values()) > seen + 10, "more answers")  # type: ignore[misc]
    assert set(outcomes) == {200}
    assert gateway.metric('berth_gateway_reloads_total{outcome="taken"}') == 20


def test_a_berth_replaced_under_load_fails_no_request(
    gateway: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    """As the platform does it: the new berth runs, the table changes, the old one ends."""
    gateway.start(digits(one, two, 0))
    with load(gateway) as outcomes:
        for _ in range(3):
            with FakeBerth("1").running() as old:
                gateway.reload(digits(old, two, 0))
                wait_until(lambda berth=old: len(berth.asked) > 20, "traffic at the new berth")  # type: ignore[misc]
                gateway.reload(digits(one, two, 0))
                after = len(one.asked)
                wait_until(lambda seen=after: len(one.asked) > seen + 20, "traffic back")  # type: ignore[misc]
    assert set(outcomes) == {200}


def test_a_request_under_way_ends_at_the_version_it_began_with(
    gateway: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def wait(handler: Handler, asked: Asked) -> None:
        arrived.set()
        go_on.wait(20)
        answer_ok(handler, asked)

    one.behave = wait
    gateway.start(digits(one, two, 0))
    answers: list[httpx.Response] = []

    def ask() -> None:
        with gateway.client() as http:
            answers.append(http.post(INFER, json={}))
            answers.append(http.post(INFER, json={}))

    thread = threading.Thread(target=ask)
    thread.start()
    assert arrived.wait(20)
    gateway.reload(table(models={"digits": model({"2": two.url}, {"2": 100})}))
    go_on.set()
    thread.join()
    assert [answer.headers["x-berth-version"] for answer in answers] == ["1", "2"]
    with gateway.client() as http:
        assert http.post("/v2/models/digits/versions/1/infer", json={}).status_code == 404


def test_unchanged_weights_go_on_where_they_were(
    gateway: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    gateway.start(digits(one, two, 10))
    versions: Counter[str] = Counter()
    with gateway.client() as http:
        for n in range(100):
            versions[http.post(INFER, json={}).headers["x-berth-version"]] += 1
            if n % 10 == 0:
                gateway.reload(digits(one, two, 10) | {"timeout_seconds": 10 + n})
    assert versions == {"1": 90, "2": 10}


@pytest.mark.parametrize("content", [b"{", b"[]", json.dumps(table(max_body_bytes=0)).encode()])
def test_a_bad_table_changes_nothing(
    gateway: GatewayProcess, one: FakeBerth, two: FakeBerth, content: bytes
) -> None:
    gateway.start(digits(one, two, 0))
    before = gateway.admin("/healthz").json()
    gateway.write_table(content)
    os.kill(gateway.pid, signal.SIGHUP)
    wait_until(
        lambda: gateway.metric('berth_gateway_reloads_total{outcome="refused"}') == 1,
        "the refusal",
    )
    assert gateway.admin("/healthz").json() == before
    assert "the table in force stays" in gateway.messages()
    with gateway.client() as http:
        assert http.post(INFER, json={}).status_code == 200


def test_a_new_token_is_sent_after_a_reload(
    gateway: GatewayProcess, one: FakeBerth, two: FakeBerth
) -> None:
    token = gateway.folder / "token"
    token.write_text("old")
    gateway.environment["GATEWAY_TOKEN_FILE"] = str(token)
    gateway.start(digits(one, two, 0))
    with gateway.client() as http:
        http.post(INFER, json={})
        token.write_text("new")
        gateway.reload(digits(one, two, 1))
        http.post(INFER, json={})
    assert [asked.headers["x-berth-token"] for asked in one.asked] == ["old", "new"]
