"""A gateway process and berths for one test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import GatewayProcess


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """Not started yet."""
    made = GatewayProcess(tmp_path)
    yield made
    made.clean_up()


@pytest.fixture
def one() -> Iterator[FakeBerth]:
    with FakeBerth("1").running() as berth:
        yield berth


@pytest.fixture
def two() -> Iterator[FakeBerth]:
    with FakeBerth("2").running() as berth:
        yield berth
