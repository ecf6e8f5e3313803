"""Ownership: each client has one gateway that enforces its limits exactly."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from berth_gateway.limits.peers import select_owner
from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    KEY,
    GatewayProcess,
    build_client,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)

pytestmark = pytest.mark.slow

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
BURST, QUOTA = 7, 10


def test_gateways_with_same_peers_select_same_owner() -> None:
    clients = [f"client-{number}" for number in range(1000)]
    owners = {name: select_owner(name, HOSTS) for name in clients}
    assert owners == {name: select_owner(name, reversed(HOSTS)) for name in clients}
    assert min(Counter(owners.values()).values()) > 250
    assert select_owner("client", []) is None


def test_removed_gateway_moves_only_its_clients() -> None:
    for number in range(1000):
        name = f"client-{number}"
        before, after = select_owner(name, HOSTS), select_owner(name, HOSTS[:2])
        assert after == before or before == HOSTS[2]


class Group:
    """Three gateways with the same clients, each with an authorize port."""

    def __init__(self, directory: Path, content: dict[str, Any]) -> None:
        [peer_port, self._port] = find_free_ports(2)
        self.all: list[GatewayProcess] = []
        for number, host in enumerate(HOSTS):
            gateway_directory = directory / str(number)
            gateway_directory.mkdir()
            gateway = GatewayProcess(gateway_directory, host=host)
            gateway.environment = {
                "GATEWAY_PEERS": ",".join(HOSTS),
                "GATEWAY_PEER_PORT": str(peer_port),
                "GATEWAY_AUTHORIZE_PORT": str(self._port),
            }
            gateway.start(content)
            self.all.append(gateway)

    def authorize(self, number: int, key: str, model: str = "digits") -> int:
        """Authorize an inference request at one gateway, and return the status."""
        return httpx.get(
            f"http://{HOSTS[number]}:{self._port}/",
            headers={
                "x-forwarded-method": "POST",
                "x-forwarded-uri": f"/v2/models/{model}/infer",
                "x-api-key": key,
            },
            timeout=20,
        ).status_code

    def wait_until_connected(self) -> None:
        """Wait until every gateway knows its peers and itself."""
        wait_until(
            lambda: all(each.get_metric("berth_gateway_peers") == 2 for each in self.all),
            "all peers known",
        )


CLIENTS = [
    build_client(rate_per_second=0.001, burst=BURST),
    build_client("counted", "key c", quota={"requests": QUOTA, "period": "month"}),
    build_client("free", "key f"),
    *(build_client(f"free-{number}", f"key {number}") for number in range(20)),
]


@pytest.fixture
def group(tmp_path: Path, berth_1: FakeBerth) -> Iterator[Group]:
    models = {"digits": build_model({"1": berth_1.url}, {"1": 100})}
    group = Group(tmp_path, build_config(clients=CLIENTS, models=models))
    group.wait_until_connected()
    yield group
    for gateway in group.all:
        gateway.kill()


@pytest.mark.parametrize(("key", "allowed"), [(KEY, BURST), ("key c", QUOTA)])
def test_three_gateways_together_allow_limit_of_one(group: Group, key: str, allowed: int) -> None:
    with ThreadPoolExecutor(12) as pool:
        codes = Counter(pool.map(lambda number: group.authorize(number % 3, key), range(60)))
    assert codes == {200: allowed, 429: 60 - allowed}


def test_requests_continue_when_gateway_is_killed(group: Group) -> None:
    group.all[2].kill()
    for number in range(40):
        started = time.monotonic()
        assert group.authorize(number % 2, "key f") == 200
        assert time.monotonic() - started < 5


def test_gateway_with_different_configuration_authorizes_only_its_requests(
    group: Group, berth_1: FakeBerth
) -> None:
    """While a configuration is being replaced, each gateway applies its own."""
    reloaded = group.all[0]
    models = {name: build_model({"1": berth_1.url}, {"1": 100}) for name in ("digits", "wine")}
    reloaded.reload(build_config(clients=CLIENTS, models=models))
    keys = [f"key {number}" for number in range(20)]
    assert {group.authorize(0, key, "wine") for key in keys} == {200}
    assert {group.authorize(1, key, "wine") for key in keys} == {404}
    assert {group.authorize(2, key) for key in keys} == {200}
