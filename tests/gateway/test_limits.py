"""Rate limits and quotas over HTTP, across reloads and restarts."""

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
SLOW: dict[str, Any] = {"rate_per_second": 0.001, "burst": 3}


@pytest.fixture
def content(berth_1: FakeBerth) -> dict[str, Any]:
    """Return a configuration with a model; tests add clients."""
    return build_config(models={"digits": build_model({"1": berth_1.url}, {"1": 100})})


def infer(http: httpx.Client, count: int) -> list[int]:
    return [http.post(INFER, json={}).status_code for _ in range(count)]


def test_every_authenticated_request_counts_and_reports_limit(
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
    assert "exceeded its rate limit" in rejected.json()["error"]
    assert (
        gateway.get_metric('berth_gateway_rejected_total{client="default",reason="rate_limit"}')
        == 1
    )


def test_rate_and_burst_limit_allowed_requests(
    gateway: GatewayProcess, content: dict[str, Any]
) -> None:
    gateway.start(content | {"clients": [build_client(rate_per_second=50, burst=10)]})
    with gateway.client() as http:
        started = time.monotonic()
        counted = Counter(infer(http, 200))
        elapsed = time.monotonic() - started
    assert set(counted) <= {200, 429}
    assert 10 <= counted[200] <= 10 + math.ceil(50 * elapsed)


def test_each_client_has_its_own_limits(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    clients = [build_client("a", "key a", **SLOW), build_client("b", "key b", **SLOW)]
    gateway.start(content | {"clients": clients})
    with gateway.client("key a") as a, gateway.client("key b") as b:
        assert infer(a, 4) == [200] * 3 + [429]
        assert infer(b, 4) == [200] * 3 + [429]


def test_reload_keeps_used_limits(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    quota = {"requests": 3, "period": "month"}
    counted = build_client("counted", "key c", quota=quota)
    gateway.start(content | {"clients": [build_client(**SLOW), counted]})
    with gateway.client() as http, gateway.client("key c") as limited:
        assert infer(http, 4) == [200] * 3 + [429]
        assert infer(limited, 2) == [200] * 2
        gateway.reload(
            content | {"clients": [build_client(**SLOW), counted, build_client("n", "key n")]}
        )
        assert infer(http, 1) == [429]
        assert infer(limited, 2) == [200, 429]


def test_removed_client_gets_401(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    gateway.start(content)
    with gateway.client() as http:
        assert infer(http, 1) == [200]
        gateway.reload(content | {"clients": []})
        assert infer(http, 1) == [401]


def test_quota_counts_only_forwarded_inference_requests(
    gateway: GatewayProcess, content: dict[str, Any], berth_1: FakeBerth
) -> None:
    quota = {"requests": 4, "period": "month"}
    gateway.start(content | {"clients": [build_client(quota=quota)]})
    with gateway.client() as http:
        for _ in range(10):
            assert http.get("/v2/models/digits").status_code == 200
        assert http.post("/v2/models/none/infer", json={}).status_code == 404
        assert http.post(INFER, content=b"x" * 100_001).status_code == 413
        assert infer(http, 3) == [200] * 3
        berth_1.respond = lambda handler, _: handler.send(500, b"{}")
        assert infer(http, 2) == [500, 429]
        rejected = http.post("/v2/models/digits/versions/1/infer", json={})
    assert rejected.status_code == 429
    assert rejected.headers["ratelimit-limit"] == "4"
    assert rejected.headers["ratelimit-remaining"] == "0"
    assert rejected.headers["ratelimit-reset"] == rejected.headers["retry-after"]
    assert 1 <= int(rejected.headers["retry-after"]) <= 31 * 86400
    assert "used its monthly quota of 4 requests" in rejected.json()["error"]
    assert gateway.get_metric('berth_gateway_rejected_total{client="default",reason="quota"}') == 2
    assert gateway.get_metric('berth_gateway_quota_used{client="default"}') == 4


def test_rate_limited_requests_consume_no_quota(
    gateway: GatewayProcess, content: dict[str, Any]
) -> None:
    quota = {"requests": 5, "period": "month"}
    gateway.start(content | {"clients": [build_client(quota=quota, **SLOW)]})
    with gateway.client() as http:
        assert infer(http, 6) == [200] * 3 + [429] * 3
    assert gateway.get_metric('berth_gateway_quota_used{client="default"}') == 3


def test_quotas_survive_restart(gateway: GatewayProcess, content: dict[str, Any]) -> None:
    quota = {"requests": 5, "period": "month"}
    content |= {"clients": [build_client(quota=quota)]}
    gateway.start(content)
    with gateway.client() as http:
        assert infer(http, 3) == [200] * 3
    assert gateway.stop() == 0
    gateway.start(content)
    with gateway.client() as http:
        assert infer(http, 3) == [200] * 2 + [429]


def test_quotas_survive_kill(
    gateway: GatewayProcess, content: dict[str, Any], tmp_path: Path
) -> None:

    quota = {"requests": 5, "period": "month"}
    content |= {"clients": [build_client(quota=quota)]}
    gateway.start(content)
    with gateway.client() as http:
        assert infer(http, 3) == [200] * 3
    saved = tmp_path / "quotas.json"
    wait_until(lambda: saved.exists() and b'"used":3' in saved.read_bytes(), "counters saved")
    gateway.kill()
    gateway.start(content)
    with gateway.client() as http:
        assert infer(http, 3) == [200] * 2 + [429]


def test_invalid_quota_file_is_logged_and_gateway_starts(
    gateway: GatewayProcess, content: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "quotas.json").write_text("{")
    gateway.start(content)
    with gateway.client() as http:
        assert infer(http, 1) == [200]
    assert "Cannot read quota counters; starting at zero" in gateway.read_log()


@pytest.mark.slow
def test_failed_save_of_counters_is_retried(
    gateway: GatewayProcess, content: dict[str, Any], tmp_path: Path
) -> None:
    obstacle = tmp_path / "quotas.json.new"
    obstacle.mkdir()
    gateway.start(content | {"clients": [build_client(quota={"requests": 5, "period": "month"})]})
    with gateway.client() as http:
        assert infer(http, 1) == [200]
    wait_until(
        lambda: "Cannot write quota counters; retrying" in gateway.read_log(),
        "the failure in the log",
    )
    obstacle.rmdir()
    wait_until((tmp_path / "quotas.json").exists, "counters saved")
