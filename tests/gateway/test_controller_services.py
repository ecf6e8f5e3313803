"""What an ingress controller that splits the traffic learns about unhealthy versions."""

import contextlib
import socket
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


def test_weights_of_the_route_apply_to_requests_that_the_controller_passes_on(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    model = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 100}, shares=["1", "2"])
    gateway.start(build_config(models={"digits": model}))
    with gateway.client() as http:
        for weights, second in (("1=75,2=25", 5), ("1=25,2=75", 15)):
            headers = {"x-berth-traffic": weights}
            responses = [http.post(INFER, json={}, headers=headers) for _ in range(20)]
            versions = [response.headers["x-berth-version"] for response in responses]
            assert versions.count("2") == second
    assert not any("x-berth-traffic" in request.headers for request in berth_1.requests)


def test_berth_that_accepts_no_connection_fails_over(
    gateway: GatewayProcess, berth_2: FakeBerth
) -> None:
    """An address of a Service without endpoints may drop what it gets."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        with contextlib.ExitStack() as stack:
            for _ in range(3):  # The backlog is then full, and the kernel drops further attempts.
                connection = stack.enter_context(socket.socket())
                connection.setblocking(False)
                connection.connect_ex(full.getsockname())
            model = build_model({"1": url, "2": berth_2.url}, {"1": 100, "2": 0}, shares=["1", "2"])
            gateway.start(build_config(models={"digits": model}))
            with gateway.client() as http:
                response = http.post(INFER, json={}, headers={"x-berth-traffic": "1=100"})
    assert (response.status_code, response.headers["x-berth-version"]) == (200, "2")
