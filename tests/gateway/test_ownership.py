"""Ownership: several gateways, of which one judges each client, keep its limits exactly."""

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

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
BURST, QUOTA = 7, 10


def test_all_that_know_the_same_gateways_choose_the_same() -> None:
    clients = [f"client-{number}" for number in range(1000)]
    owners = {name: select_owner(name, HOSTS) for name in clients}
    assert owners == {name: select_owner(name, reversed(HOSTS)) for name in clients}
    assert min(Counter(owners.values()).values()) > 250
    assert select_owner("client", []) is None


def test_one_that_goes_moves_its_own_clients_alone() -> None:
    for number in range(1000):
        name = f"client-{number}"
        before, after = select_owner(name, HOSTS), select_owner(name, HOSTS[:2])
        assert after == before or before == HOSTS[2]


class Gates:
    """Three gateways of one set of clients, each with a door where a controller asks."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        [peer_port, self._port] = find_free_ports(2)
        self.all: list[GatewayProcess] = []
        for number, host in enumerate(HOSTS):
            place = folder / str(number)
            place.mkdir()
            gate = GatewayProcess(place, host=host)
            gate.environment = {
                "GATEWAY_PEERS": ",".join(HOSTS),
                "GATEWAY_PEER_PORT": str(peer_port),
                "GATEWAY_AUTHORIZE_PORT": str(self._port),
            }
            gate.start(content)
            self.all.append(gate)

    def ask(self, number: int, key: str, model: str = "digits") -> int:
        """What one of them message of an inference request, as a status."""
        return httpx.get(
            f"http://{HOSTS[number]}:{self._port}/",
            headers={
                "x-forwarded-method": "POST",
                "x-forwarded-uri": f"/v2/models/{model}/infer",
                "x-api-key": key,
            },
            timeout=20,
        ).status_code

    def settled(self) -> None:
        """Return once each knows the others and itself."""
        for gate in self.all:
            wait_until(lambda gate=gate: gate.get_metric("berth_gateway_peers") == 2, "peers known")


CLIENTS = [
    build_client(rate_per_second=0.001, burst=BURST),
    build_client("counted", "key c", quota={"requests": QUOTA, "period": "month"}),
    build_client("free", "key f"),
    *(build_client(f"free-{number}", f"key {number}") for number in range(20)),
]


@pytest.fixture
def gates(tmp_path: Path, berth_1: FakeBerth) -> Iterator[Gates]:
    models = {"digits": build_model({"1": berth_1.url}, {"1": 100})}
    made = Gates(tmp_path, build_config(clients=CLIENTS, models=models))
    made.settled()
    yield made
    for gate in made.all:
        gate.kill()


@pytest.mark.parametrize(("key", "allowed"), [(KEY, BURST), ("key c", QUOTA)])
def test_three_at_once_let_through_what_one_would(gates: Gates, key: str, allowed: int) -> None:
    with ThreadPoolExecutor(12) as pool:
        codes = Counter(pool.map(lambda number: gates.ask(number % 3, key), range(60)))
    assert codes == {200: allowed, 429: 60 - allowed}


def test_requests_go_on_when_one_is_killed(gates: Gates) -> None:
    gates.all[2].process.kill()  # type: ignore[union-attr]
    for number in range(40):
        started = time.monotonic()
        assert gates.ask(number % 2, "key f") == 200
        assert time.monotonic() - started < 5


def test_one_with_another_table_judges_nobody_for_others(gates: Gates, berth_1: FakeBerth) -> None:
    """While tables are being replaced, whoever has the new one holds to it, and the other way."""
    replaced = gates.all[0]
    both = {name: build_model({"1": berth_1.url}, {"1": 100}) for name in ("digits", "wine")}
    replaced.reload(build_config(clients=CLIENTS, models=both))
    keys = [f"key {number}" for number in range(20)]
    assert {gates.ask(0, key, "wine") for key in keys} == {200}
    assert {gates.ask(1, key, "wine") for key in keys} == {404}
    assert {gates.ask(2, key) for key in keys} == {200}
