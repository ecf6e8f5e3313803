"""Weights, shadow traffic, rate limits, quotas and data drift work as the specification states."""

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from berth_protocol.model_card import read_card
from tests.engine.drifting_client import (
    CHANGED,
    MODEL,
    UNCHANGED,
    VERSION,
    DriftingClient,
    open_client,
    package_version,
)
from tests.engine.project import Project, wait_for
from tests.prometheus_server import start_prometheus

REQUESTS = 1000


@pytest.fixture(scope="module")
def project(project: Project) -> Project:
    """The project with clients that have different limits, and a version that detects drift."""
    drifting = package_version(project)

    def add_clients(config: Any) -> None:
        config["berth:models"][MODEL] = drifting
        config["berth:gateway"]["clients"] = {
            "default": {"rate_per_second": 100000, "burst": 100000},
            "slow": {"rate_per_second": 20, "burst": 10},
            "counted": {
                "rate_per_second": 1000,
                "burst": 1000,
                "quota": {"requests": 5, "period": "month"},
            },
        }

    project.edit(add_clients)
    return project


def _client(up: Project, name: str = "default") -> httpx.Client:
    return httpx.Client(
        base_url=up.json("status")["endpoint"], headers={"x-api-key": up.key(name)}, timeout=30
    )


def _example(up: Project) -> Any:
    return read_card(up.root / "models" / "digits" / "1").example


def _count_versions(client: httpx.Client, example: Any) -> Counter[str]:
    versions: Counter[str] = Counter()
    for _ in range(REQUESTS):
        response = client.post("/v2/models/digits/infer", json=example)
        assert response.status_code == 200
        assert response.json()["model_version"] == response.headers["x-berth-version"]
        versions[response.headers["x-berth-version"]] += 1
    return versions


def test_canary_receives_its_percentage(up: Project) -> None:
    with _client(up) as client:
        share = _count_versions(client, _example(up))["2"]
    # Five standard deviations of a random 10 % split. The gateway's split is deterministic.
    assert abs(share - 0.1 * REQUESTS) < 5 * math.sqrt(REQUESTS * 0.1 * 0.9)


def test_rate_limit_allows_rate_and_burst(up: Project) -> None:
    example = _example(up)
    with _client(up, "slow") as client:
        started = time.monotonic()
        responses = [client.post("/v2/models/digits/infer", json=example) for _ in range(60)]
        elapsed = time.monotonic() - started
    allowed = sum(r.status_code == 200 for r in responses)
    rejected = [r for r in responses if r.status_code == 429]
    assert allowed + len(rejected) == 60
    assert 10 <= allowed <= 10 + math.ceil(20 * elapsed) + 1
    assert rejected
    for response in rejected:
        assert int(response.headers["retry-after"]) >= 1
        assert "error" in response.json()


def test_quota_limits_only_its_client(up: Project) -> None:
    example = _example(up)
    with _client(up, "counted") as client:
        codes = [client.post("/v2/models/digits/infer", json=example).status_code for _ in range(8)]
    assert codes == [200] * 5 + [429] * 3
    with _client(up) as client:
        assert client.post("/v2/models/digits/infer", json=example).status_code == 200


def _send_all_to_version_2(config: Any) -> None:
    config["berth:models"]["digits"].update(traffic={"1": 0, "2": 100})


def test_changed_weights_update_only_the_gateway(up: Project) -> None:
    before = up.pids()
    up.edit(_send_all_to_version_2)
    steps = up.json("preview")["steps"]
    assert [(s["operation"], s["urn"].split("::")[-1]) for s in steps] == [("update", "gateway")]
    up.berth("up", "--yes")
    assert up.pids() == before
    with _client(up) as client:
        assert _count_versions(client, _example(up)) == {"2": REQUESTS}


def test_version_without_traffic_runs_but_is_not_exposed(running: Project) -> None:
    running.deploy(_send_all_to_version_2)
    with _client(running) as client:
        response = client.post("/v2/models/digits/versions/1/infer", json=_example(running))
    assert response.status_code == 404
    assert running.json("status")["models"]["digits"]["versions"]["1"]["state"] == "ready"


def test_shadow_receives_every_request_and_sends_no_response(running: Project) -> None:
    running.deploy(
        lambda config: config["berth:models"]["digits"].update(
            traffic={"1": 0, "2": 100}, shadow="1"
        )
    )
    shadow_url = running.json("status")["models"]["digits"]["versions"]["1"]["url"]
    before = _count_served(shadow_url)
    with _client(running) as client:
        for _ in range(50):
            response = client.post("/v2/models/digits/infer", json=_example(running))
            assert response.headers["x-berth-version"] == "2"
    wait_for(lambda: _count_served(shadow_url) >= before + 50)
    assert _count_served(shadow_url) == before + 50


def _count_served(url: str) -> int:
    metrics = httpx.get(f"{url}/metrics").text
    return sum(
        int(float(line.rsplit(" ", 1)[1]))
        for line in metrics.splitlines()
        if line.startswith("berth_requests_total{") and 'code="200"' in line
    )


def test_removed_client_is_rejected(up: Project) -> None:
    with _client(up, "slow") as client:
        up.edit(lambda config: config["berth:gateway"]["clients"].pop("slow"))
        up.berth("up", "--yes")
        assert client.get("/v2/models/digits").status_code == 401


@pytest.fixture
def drifting(up: Project) -> Iterator[DriftingClient]:
    """A client of the version that detects data drift."""
    with open_client(up) as client:
        yield client


def test_only_changed_rows_are_detected_as_data_drift(
    up: Project, drifting: DriftingClient
) -> None:
    def watch() -> Any:
        berths = json.loads(up.berth("watch", "--once", "--json").stdout)["berths"]
        return {(each["model"], each["version"]): each["data_drift"] for each in berths}

    drifting.fill_window(UNCHANGED)
    detected = drifting.read("berth_data_drift_detected")
    assert {*detected.values()} == {0.0}
    assert len(detected) == 33  # 30 inputs and 3 outputs.
    assert drifting.read("berth_data_drift_psi").keys() == detected.keys()
    assert watch()[MODEL, VERSION] == {"state": "no change", "compared": 33, "changed": []}
    assert watch()["digits", "1"]["state"] == "not recorded"
    drifting.fill_window(CHANGED)
    changed = {key for key, value in drifting.read("berth_data_drift_detected").items() if value}
    sizes = drifting.read("berth_data_drift_psi")
    assert max(sizes, key=lambda key: sizes[key]) in changed
    assert ("input", "0") in changed
    shown = watch()[MODEL, VERSION]
    assert shown["state"] == "changed"
    assert {(each["tensor"], each["column"]) for each in shown["changed"]} == changed


def test_alert_of_prometheus_fires_only_while_rows_are_changed(
    up: Project, drifting: DriftingClient, tmp_path: Path
) -> None:
    directory = tmp_path / "monitoring"
    up.berth("monitoring", "--into", str(directory))
    targets = [urlsplit(url).netloc for url in (drifting.berth_url, up.json("status")["metrics"])]
    with start_prometheus(tmp_path, targets, directory / "rules.yaml") as prometheus:

        def wait_for_scrape() -> None:
            windows = drifting.count_windows()
            wait_for(
                lambda: prometheus.query(f"sum(berth_data_drift_windows_total) >= {windows}"),
                seconds=120,
            )

        def is_firing() -> bool:
            return bool(prometheus.list_firing("BerthDataDrift"))

        drifting.fill_window(UNCHANGED)
        wait_for_scrape()
        wait_for(lambda: not is_firing(), seconds=120)
        drifting.fill_window(UNCHANGED)
        wait_for_scrape()
        assert not is_firing()
        assert prometheus.query("max(berth_data_drift_detected)")[0]["value"][1] == "0"
        drifting.fill_window(CHANGED)
        detected = sum(drifting.read("berth_data_drift_detected").values())
        summary = f"{detected:g} columns of {MODEL} version {VERSION} differ from its training data"

        def find_alert() -> Any:
            alerts = prometheus.list_firing("BerthDataDrift")
            return next((a for a in alerts if summary in a["annotations"]["summary"]), None)

        alert = wait_for(find_alert, seconds=120)
        assert (alert["labels"]["model"], alert["labels"]["version"]) == (MODEL, VERSION)
        drifting.fill_window(UNCHANGED)
        wait_for(lambda: not is_firing(), seconds=120)
