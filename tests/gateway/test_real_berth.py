"""A real berth behind the gateway, and behind an ingress controller with external authorization."""

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
from tests.serving.berth import Berth, run_berth, write_identity_model

INFER = "/v2/models/m/infer"
REQUEST: dict[str, Any] = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}]
}
# The response headers that the ingress controller is configured to add to the request.
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
    directory = write_identity_model(tmp_path / "m", "FP32", [1], [1.5])
    with run_berth(directory, tmp_path / "berth.log") as berth:
        yield berth


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth: Berth) -> GatewayProcess:
    [port] = find_free_ports(1)
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = str(port)
    routes = build_model({"1": f"http://127.0.0.1:{berth.port}"}, {"1": 100})
    # The bucket takes hours to fill, so that the RateLimit headers do not depend on timing.
    slow_client = build_client(rate_per_second=0.0001, burst=10)
    gateway.start(build_config(clients=[slow_client], models={"m": routes}))
    return gateway


def test_document_of_real_berth_is_adapted(live_gateway: GatewayProcess) -> None:
    with live_gateway.client() as http:
        document = http.get("/openapi.json").json()
        assert http.get("/v2/models").json() == {"models": ["m"]}
        states = [entry["state"] for entry in http.post("/v2/repository/index").json()]
    assert states == ["READY"]
    assert document["components"]["schemas"]["InputTensor"]["properties"]["name"]["enum"] == ["x"]
    assert document["security"] == [{"key": []}]
    assert INFER in document["paths"]
    assert "token" not in document["paths"][INFER]["post"]["responses"]["401"]["description"]


def through_controller(
    gateway: GatewayProcess, berth: Berth, headers: dict[str, str]
) -> httpx.Response:
    """Handle a request as Traefik does: authorize it, add headers, forward it to a berth."""
    forwarded = {"x-forwarded-method": "POST", "x-forwarded-uri": INFER}
    url = f"http://127.0.0.1:{gateway.environment['GATEWAY_AUTHORIZE_PORT']}/"
    authorization = httpx.get(url, headers=headers | forwarded)
    if authorization.status_code != 200:
        return authorization
    kept = {name: value for name, value in headers.items() if name not in FROM_GATEWAY}
    kept |= {
        name: authorization.headers[name] for name in FROM_GATEWAY if name in authorization.headers
    }
    return berth.client.post(INFER, json=REQUEST, headers=kept)


def test_direct_and_authorized_requests_get_equal_responses(
    live_gateway: GatewayProcess, berth: Berth
) -> None:
    headers = {"x-api-key": KEY, "x-request-id": "r-1", "x-berth-return-ratelimit-limit": "forged"}
    with live_gateway.client() as http:
        direct = http.post(INFER, json=REQUEST, headers=headers)
    authorized = through_controller(live_gateway, berth, headers)
    assert direct.status_code == authorized.status_code == 200
    assert direct.json() == authorized.json()
    header_lists = [
        {name: response.headers.get_list(name) for name in response.headers if name != "date"}
        for response in (direct, authorized)
    ]
    assert header_lists[0].pop("ratelimit-remaining") == ["9"]
    assert header_lists[1].pop("ratelimit-remaining") == ["8"]
    # Seconds until the bucket is full, of which some pass between the requests.
    assert 9_000 < int(header_lists[0].pop("ratelimit-reset")[0]) <= 10_000
    assert 19_000 < int(header_lists[1].pop("ratelimit-reset")[0]) <= 20_000
    assert header_lists[0] == header_lists[1]
    assert header_lists[0]["x-berth-version"] == ["1"]
    assert header_lists[0]["x-request-id"] == ["r-1"]
    assert header_lists[0]["ratelimit-limit"] == ["10"]


def test_gateway_sends_no_duplicate_header(live_gateway: GatewayProcess) -> None:
    with live_gateway.client() as http:
        for response in (
            http.get("/v2/models/m"),
            http.get("/v2/models/m/versions/1"),
            http.post(INFER, json=REQUEST),
            http.post(INFER, content=b"{"),
        ):
            for name in response.headers:
                assert len(response.headers.get_list(name)) == 1, name
