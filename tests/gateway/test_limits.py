"""Throttle and quota over HTTP, across reload and restart."""

import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    GatewayProcess,
    build_client,
    build_config,
    build_model,
    wait_until,
)

INFER = "/v2/models/digits/infer"
SLOWLY: dict[str, Any] = {"rate_per_second": 0.001, "burst": 3}


@pytest.fixture
def content(berth_1: FakeBerth) -> dict[str, Any]:
    """A table with a model; tests add clients."""
    return build_config(models={"digits": build_model({"1": berth_1.url}, {"1": 100})})


def codes(http: httpx.Client, count: int) -> list[int]:
    return [http.post(INFER, json={}).status_code for _ in range(count)]


def test_every_authenticated_request_counts_and_says_so(
    gateway: GatewayProcess, content: dict[str, Any]
) -> None:
    gateway.start(content | {"clients": [build_client(rate_per_second=0.001, burst=5)]})
    with gateway.client() as http:
        responses = [
            http.get("/v2"),
            http.get("/nothing"),
            http.post("/v2"),
            http.post(INFER, json={}),
            http.get("/v2/models/digits"),
        ]
        rejected = http.post(INFER, json={})
    assert [response.status_code for response in responses] == [200, 404, 405, 200, 200]
    assert [response.headers["ratelimit-remaining"] for response in responses] == list("43210")
    for response in (*responses, rejected):
        assert response.headers["ratelimit-limit"] == "5"
        assert int(response.headers["ratelimit-reset"]) >= 1
    assert all("retry-after" not in response.headers for response in responses)
    assert rejected.status_code == 429
    assert rejected.headers["ratelimit-remaining"] == "0"
    assert 990 <= int(rejected.headers["retry-after"]) <= 1000
    assert "throttle" in rejected.json()["error"]
    assert (
        gateway.get_metric('berth_gateway_rejected_total{client="default",reason="rate_limit"}')
        == 1
    )


def test_rate_and_burst_are_what_passes(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    gateway.start(content | {"clients": [build_client(rate_per_second=50, burst=10)]})
    with gateway.client() as http:
        started = time.monotonic()
        counted = Counter(codes(http, 200))
        elapsed = time.monotonic() - started
    assert set(counted) <= {200, 429}
    assert 10 <= counted[200] <= 10 + math.ceil(50 * elapsed)


def test_clients_do_not_share(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    clients = [build_client("a", "key a", **SLOWLY), build_client("b", "key b", **SLOWLY)]
    gateway.start(content | {"clients": clients})
    with gateway.client("key a") as a, gateway.client("key b") as b:
        assert codes(a, 4) == [200] * 3 + [429]
        assert codes(b, 4) == [200] * 3 + [429]


def test_a_reload_keeps_what_was_used(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    quota = {"requests": 3, "period": "month"}
    counted = build_client("counted", "key c", quota=quota)
    gateway.start(content | {"clients": [build_client(**SLOWLY), counted]})
    with gateway.client() as http, gateway.client("key c") as limited:
        assert codes(http, 4) == [200] * 3 + [429]
        assert codes(limited, 2) == [200] * 2
        gateway.reload(
            content | {"clients": [build_client(**SLOWLY), counted, build_client("n", "key n")]}
        )
        assert codes(http, 1) == [429]
        assert codes(limited, 2) == [200, 429]


def test_a_removed_client_is_locked_out(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    gateway.start(content)
    with gateway.client() as http:
        assert codes(http, 1) == [200]
        gateway.reload(content | {"clients": []})
        assert codes(http, 1) == [401]


def test_quota_counts_inference_that_goes_to_a_berth(
    gateway: GatewayProcess, content: dict[str, Any], berth_1: FakeBerth
) -> None:
    quota = {"requests": 4, "period": "month"}
    gateway.start(content | {"clients": [build_client(quota=quota)]})
    with gateway.client() as http:
        for _ in range(10):
            assert http.get("/v2/models/digits").status_code == 200
        assert http.post("/v2/models/none/infer", json={}).status_code == 404
        assert http.post(INFER, content=b"x" * 100_001).status_code == 413
        assert codes(http, 3) == [200] * 3
        berth_1.respond = lambda handler, _: handler.send(500, b"{}")
        assert codes(http, 2) == [500, 429]
        rejected = http.post("/v2/models/digits/versions/1/infer", json={})
    assert rejected.status_code == 429
    assert rejected.headers["ratelimit-limit"] == "4"
    assert rejected.headers["ratelimit-remaining"] == "0"
    assert rejected.headers["ratelimit-reset"] == rejected.headers["retry-after"]
    assert 1 <= int(rejected.headers["retry-after"]) <= 31 * 86400
    assert "quota" in rejected.json()["error"]
    assert gateway.get_metric('berth_gateway_rejected_total{client="default",reason="quota"}') == 2
    assert gateway.get_metric('berth_gateway_quota_used{client="default"}') == 4


def test_what_the_throttle_refuses_costs_no_quota(
    gateway: GatewayProcess, content: dict[str, Any]
) -> None:
    quota = {"requests": 5, "period": "month"}
    gateway.start(content | {"clients": [build_client(quota=quota, **SLOWLY)]})
    with gateway.client() as http:
        assert codes(http, 6) == [200] * 3 + [429] * 3
    assert gateway.get_metric('berth_gateway_quota_used{client="default"}') == 3


def test_quotas_outlive_the_process(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    quota = {"requests": 5, "period": "month"}
    content |= {"clients": [build_client(quota=quota)]}
    gateway.start(content)
    with gateway.client() as http:
        assert codes(http, 3) == [200] * 3
    assert gateway.stop() == 0
    gateway.start(content)
    with gateway.client() as http:
        assert codes(http, 3) == [200] * 2 + [429]


def test_quotas_outlive_a_kill(
    gateway: GatewayProcess, content: dict[str, Any], tmp_path: Path
) -> None:

    quota = {"requests": 5, "period": "month"}
    content |= {"clients": [build_client(quota=quota)]}
    gateway.start(content)
    with gateway.client() as http:
        assert codes(http, 3) == [200] * 3
    saved = tmp_path / "quotas.json"
    wait_until(lambda: saved.exists() and b'"used":3' in saved.read_bytes(), "counters saved")
    gateway.kill()
    gateway.start(content)
    with gateway.client() as http:
        assert codes(http, 3) == [200] * 2 + [429]


def test_an_unusable_quota_file_is_told_and_does_not_stop_the_gateway(
    gateway: GatewayProcess, content: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "quotas.json").write_text("{")
    gateway.start(content)
    with gateway.client() as http:
        assert codes(http, 1) == [200]
    assert "quotas begin at 0" in gateway.read_log()


def test_counters_that_cannot_be_written_are_written_later(
    gateway: GatewayProcess, content: dict[str, Any], tmp_path: Path
) -> None:
    in_the_way = tmp_path / "quotas.json.new"
    in_the_way.mkdir()
    gateway.start(content | {"clients": [build_client(quota={"requests": 5, "period": "month"})]})
    with gateway.client() as http:
        assert codes(http, 1) == [200]
    wait_until(lambda: "cannot be written" in gateway.read_log(), "the failure told")
    in_the_way.rmdir()
    wait_until((tmp_path / "quotas.json").exists, "counters saved")
