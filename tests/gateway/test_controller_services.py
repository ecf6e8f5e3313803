"""What an ingress controller that splits the traffic learns about unhealthy versions."""

from typing import Any

import httpx
import pytest

from berth_gateway.berth_health import Berth
from berth_gateway.config import GatewayConfig, Model
from berth_gateway.controller_services import build_services, find_watched_berths
from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    NO_TLS,
    GatewayProcess,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)

INFER = "/v2/models/digits/infer"


class Health:
    """Health of berths that tests choose."""

    def __init__(self, *unhealthy: str) -> None:
        self._unhealthy = unhealthy

    def is_healthy(self, berth: Berth) -> bool:
        return berth.version not in self._unhealthy


def build(**changes: Any) -> GatewayConfig:
    model: dict[str, Any] = {
        "versions": {v: f"http://digits-{v}.berth.svc:8080" for v in ("1", "2", "3", "4")},
        "exposed": ["1", "2", "3", "4"],
        "traffic": {"1": 100},
        "shares": ["1", "2", "3"],
        **changes,
    }
    return GatewayConfig(
        max_body_bytes=1, timeout_seconds=1, clients=[], models={"digits": Model(**model)}
    )


def list_targets(config: GatewayConfig, health: Health) -> dict[str, list[str]]:
    services = build_services(config, health).get("http", {}).get("services", {})  # type: ignore[arg-type]
    return {
        name: [target["name"] for target in service["weighted"]["services"]]
        for name, service in services.items()
    }


def target(version: str) -> str:
    return f"berth-digits-{version}-direct@kubernetescrd"


@pytest.mark.parametrize(
    ("unhealthy", "second"),
    [([], ["2"]), (["2"], ["1", "3"]), (["2", "3"], ["1"]), (["1", "2", "3"], ["2"])],
)
def test_share_goes_to_healthy_versions_with_traffic(
    unhealthy: list[str], second: list[str]
) -> None:
    targets = list_targets(build(), Health(*unhealthy))
    assert list(targets) == ["share-digits-1", "share-digits-2", "share-digits-3"]
    assert targets["share-digits-2"] == [target(version) for version in second]


@pytest.mark.parametrize("changes", [{"failover": False}, {"shares": ["1"]}, {"shares": []}])
def test_model_without_failover_has_no_service(changes: dict[str, Any]) -> None:
    assert build_services(build(**changes), Health()) == {}  # type: ignore[arg-type]
    assert find_watched_berths(build(**changes)) == []


def test_only_versions_with_traffic_are_watched() -> None:
    assert [berth.version for berth in find_watched_berths(build())] == ["1", "2", "3"]


def test_controller_learns_of_version_that_fails_and_recovers(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    """No inference request passes through the gateway, so it has to check the berths itself."""
    authorize_port, port = find_free_ports(2)
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = str(authorize_port)
    urls = {"1": berth_1.url, "2": f"http://localhost:{port}"}
    model = build_model(urls, {"1": 100, "2": 0}, shares=["1", "2"])
    shares = ("share-digits-1", "share-digits-2")

    def read_targets() -> list[str]:
        response = httpx.get(f"http://127.0.0.1:{authorize_port}/traefik", verify=NO_TLS)
        assert response.headers["connection"] == "close"
        services = response.json()["http"]["services"]
        targets = [services[share]["weighted"]["services"] for share in shares]
        assert all(len(each) == 1 for each in targets)
        return [str(each[0]["name"]) for each in targets]

    gateway.start(build_config(models={"digits": model}))
    wait_until(lambda: len(set(read_targets())) == 1, "version 1 to receive both shares")
    assert "Berth digits/2 is unhealthy" in gateway.read_log()
    unhealthy = 'berth_gateway_unhealthy_berths{model="digits",version="2"}'
    assert gateway.get_metric(unhealthy) == 1
    with FakeBerth("2").running(port):
        wait_until(lambda: len(set(read_targets())) == 2, "version 2 to receive its share")
    assert [request.method for request in berth_1.requests].count("POST") == 0


def test_gateway_behind_controller_fails_over_by_shares(
    gateway: GatewayProcess, berth_2: FakeBerth
) -> None:
    """The controller has no route while a version has no endpoint, and sends requests here."""
    [port] = find_free_ports(1)
    urls = {"1": f"http://127.0.0.1:{port}", "2": berth_2.url}
    model = build_model(urls, {"1": 100}, shares=["1", "2"])
    gateway.start(build_config(models={"digits": model}))
    with gateway.client() as http:
        responses = [http.post(INFER, json={}) for _ in range(5)]
    assert {(r.status_code, r.headers["x-berth-version"]) for r in responses} == {(200, "2")}
