"""Weights, shadow, throttle and keys, as the specification says them."""

import math
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from berth_protocol.model_card import read_card
from tests.engine.project import Project

REQUESTS = 1000


@pytest.fixture(scope="module")
def up(project: Project) -> Project:
    def two_clients(config: Any) -> None:
        config["berth:gateway"]["clients"] = {
            "default": {"rate_per_second": 100000, "burst": 100000},
            "slow": {"rate_per_second": 20, "burst": 10},
            "counted": {
                "rate_per_second": 1000,
                "burst": 1000,
                "quota": {"requests": 5, "period": "month"},
            },
        }

    project.edit(two_clients)
    project.berth("up", "--yes")
    return project


def _client(up: Project, name: str = "default") -> httpx.Client:
    return httpx.Client(
        base_url=up.json("status")["endpoint"], headers={"x-api-key": up.key(name)}, timeout=30
    )


def _example(up: Project) -> Any:
    return read_card(up.root / "models" / "digits" / "1").example


def _split(client: httpx.Client, example: Any) -> Counter[str]:
    versions: Counter[str] = Counter()
    for _ in range(REQUESTS):
        response = client.post("/v2/models/digits/infer", json=example)
        assert response.status_code == 200
        assert response.json()["model_version"] == response.headers["x-berth-version"]
        versions[response.headers["x-berth-version"]] += 1
    return versions


def test_canary_gets_its_percent(up: Project) -> None:
    with _client(up) as client:
        share = _split(client, _example(up))["2"]
    # Five standard deviations of a fair 10 % draw; a deterministic split lies well inside.
    assert abs(share - 0.1 * REQUESTS) < 5 * math.sqrt(REQUESTS * 0.1 * 0.9)


def test_changed_weights_touch_the_gateway_alone(up: Project) -> None:
    before = up.pids()
    up.edit(lambda config: config["berth:models"]["digits"].update(traffic={"1": 0, "2": 100}))
    steps = up.json("preview")["steps"]
    assert [(s["operation"], s["urn"].split("::")[-1]) for s in steps] == [("update", "gateway")]
    up.berth("up", "--yes")
    assert up.pids() == before
    with _client(up) as client:
        assert _split(client, _example(up)) == {"2": REQUESTS}


def test_a_version_without_traffic_is_not_exposed(up: Project) -> None:
    with _client(up) as client:
        response = client.post("/v2/models/digits/versions/1/infer", json=_example(up))
    assert response.status_code == 404
    assert up.json("status")["models"]["digits"]["versions"]["1"]["state"] == "ready"


def test_shadow_gets_copies_and_answers_nobody(up: Project) -> None:
    up.edit(lambda config: config["berth:models"]["digits"].update(shadow="1"))
    up.berth("up", "--yes")
    shadow_url = up.json("status")["models"]["digits"]["versions"]["1"]["url"]
    before = _served(shadow_url)
    with _client(up) as client:
        for _ in range(50):
            response = client.post("/v2/models/digits/infer", json=_example(up))
            assert response.headers["x-berth-version"] == "2"
    deadline = time.monotonic() + 10
    while _served(shadow_url) < before + 50 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _served(shadow_url) == before + 50


def _served(url: str) -> int:
    metrics = httpx.get(f"{url}/metrics").text
    return sum(
        int(float(line.rsplit(" ", 1)[1]))
        for line in metrics.splitlines()
        if line.startswith("berth_requests_total{") and 'code="200"' in line
    )


def test_throttle_lets_through_rate_and_burst(up: Project) -> None:
    example = _example(up)
    with _client(up, "slow") as client:
        started = time.monotonic()
        responses = [client.post("/v2/models/digits/infer", json=example) for _ in range(60)]
        elapsed = time.monotonic() - started
    passed = sum(r.status_code == 200 for r in responses)
    refused = [r for r in responses if r.status_code == 429]
    assert passed + len(refused) == 60
    assert 10 <= passed <= 10 + math.ceil(20 * elapsed) + 1
    assert refused
    for response in refused:
        assert int(response.headers["retry-after"]) >= 1
        assert "error" in response.json()


def test_quota_is_per_client(up: Project) -> None:
    example = _example(up)
    with _client(up, "counted") as client:
        codes = [client.post("/v2/models/digits/infer", json=example).status_code for _ in range(8)]
    assert codes == [200] * 5 + [429] * 3
    with _client(up) as client:
        assert client.post("/v2/models/digits/infer", json=example).status_code == 200


def test_a_removed_client_is_locked_out(up: Project) -> None:
    with _client(up, "slow") as client:
        up.edit(lambda config: config["berth:gateway"]["clients"].pop("slow"))
        up.berth("up", "--yes")
        assert client.get("/v2/models/digits").status_code == 401
    up.berth("destroy", "--yes")
