"""A real berth behind the gateway, and behind a controller that asks the gateway first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.gateway_process import (
    KEY,
    GatewayProcess,
    build_client,
    build_config,
    build_model,
    find_free_ports,
)
from tests.serving.berth import Berth, identity, running

INFER = "/v2/models/m/infer"
REQUEST: dict[str, Any] = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}]
}
# As the controller is set live_gateway: what it takes from the authorize response, and nothing else.
FROM_GATEWAY = (
    "x-request-id",
    "x-berth-client",
    "x-berth-return-x-request-id",
    "x-berth-return-ratelimit-limit",
    "x-berth-return-ratelimit-remaining",
    "x-berth-return-ratelimit-reset",
)


@pytest.fixture
def berth(tmp_path: Path) -> Iterator[Berth]:
    folder = identity(tmp_path / "m", "FP32", [1], [1.5])
    with running(folder, tmp_path / "berth.log") as found:
        yield found


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth: Berth) -> GatewayProcess:
    [port] = find_free_ports(1)
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = str(port)
    routes = build_model({"1": f"http://127.0.0.1:{berth.port}"}, {"1": 100})
    # A bucket that takes hours to fill: nothing that is told of it depends on the moment.
    slowly = build_client(rate_per_second=0.0001, burst=10)
    gateway.start(build_config(clients=[slowly], models={"m": routes}))
    return gateway


def through_controller(
    gateway: GatewayProcess, berth: Berth, headers: dict[str, str]
) -> httpx.Response:
    """What Traefik does with a request: ask, take headers over, hand it to a berth."""
    about = {"x-forwarded-method": "POST", "x-forwarded-uri": INFER}
    url = f"http://127.0.0.1:{gateway.environment['GATEWAY_AUTHORIZE_PORT']}/"
    judged = httpx.get(url, headers=headers | about)
    if judged.status_code != 200:
        return judged
    passed = {name: value for name, value in headers.items() if name not in FROM_GATEWAY}
    passed |= {name: judged.headers[name] for name in FROM_GATEWAY if name in judged.headers}
    return berth.client.post(INFER, json=REQUEST, headers=passed)


def test_both_ways_give_one_answer(live_gateway: GatewayProcess, berth: Berth) -> None:
    headers = {"x-api-key": KEY, "x-request-id": "r-1", "x-berth-return-ratelimit-limit": "forged"}
    with live_gateway.client() as http:
        direct = http.post(INFER, json=REQUEST, headers=headers)
    asked_first = through_controller(live_gateway, berth, headers)
    assert direct.status_code == asked_first.status_code == 200
    assert direct.json() == asked_first.json()
    found = [
        {name: response.headers.get_list(name) for name in response.headers if name != "date"}
        for response in (direct, asked_first)
    ]
    assert found[0].pop("ratelimit-remaining") == ["9"]
    assert found[1].pop("ratelimit-remaining") == ["8"]
    assert found[0].pop("ratelimit-reset") == ["10000"]
    assert found[1].pop("ratelimit-reset") == ["20000"]
    assert found[0] == found[1]
    assert found[0]["x-berth-version"] == ["1"]
    assert found[0]["x-request-id"] == ["r-1"]
    assert found[0]["ratelimit-limit"] == ["10"]


def test_no_header_is_doubled_by_the_gateway(live_gateway: GatewayProcess) -> None:
    with live_gateway.client() as http:
        for response in (
            http.get("/v2/models/m"),
            http.get("/v2/models/m/versions/1"),
            http.post(INFER, json=REQUEST),
            http.post(INFER, content=b"{"),
        ):
            for name in response.headers:
                assert len(response.headers.get_list(name)) == 1, name
