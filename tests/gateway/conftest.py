"""A gateway process and two berths for one test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import GatewayProcess


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
