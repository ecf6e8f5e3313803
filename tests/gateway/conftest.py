"""A gateway process and two berths for one test, and a gateway that tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    GatewayProcess,
    build_config,
    build_model,
    find_free_ports,
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """Provide a gateway that the test starts."""
    process = GatewayProcess(tmp_path)
    yield process
    process.kill()


@pytest.fixture
def berth_1() -> Iterator[FakeBerth]:
    """Provide the berth of version 1."""
    with FakeBerth("1").running() as berth:
        yield berth


@pytest.fixture
def berth_2() -> Iterator[FakeBerth]:
    """Provide the berth of version 2."""
    with FakeBerth("2").running() as berth:
        yield berth


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Provide a gateway for tests that neither change it nor need a berth.

    Version 1 of digits has all traffic, version 2 is not exposed.
    """
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"))
    process.environment["GATEWAY_AUTHORIZE_PORT"] = str(find_free_ports(1)[0])
    berths = {"1": "http://127.0.0.1:1", "2": "http://127.0.0.1:1"}
    digits = build_model(berths, {"1": 100, "2": 0}, exposed=["1"])
    iris = build_model({"7": "http://127.0.0.1:1"}, {"7": 100})
    try:
        process.start(build_config(models={"digits": digits, "iris": iris}))
        yield process
    finally:
        process.kill()
