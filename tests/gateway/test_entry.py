"""Gateways whose listening sockets belong to an entry: one serves, the other continues."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth_gateway.handover import EXIT_ENTRY_ENDED
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
from tests.gateway.test_handover import INFER, Clients
from tests.repository import REPOSITORY


class Entry:
    """The entry's process."""

    def __init__(self, path: Path, ports: list[int]) -> None:
        self.path = path
        self.ports = ports
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "berth_gateway.entry"],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "ENTRY_HOST": "127.0.0.1",
                "ENTRY_PORTS": ",".join(map(str, self.ports)),
                "ENTRY_SOCKET": str(self.path),
            },
        )
        wait_until(self.path.exists, "the entry to hold the sockets")
        return process

    def restart(self) -> None:
        """Kill the entry and start it again, as a container engine does."""
        self.process.kill()
        self.process.wait()
        self.process = self._start()


@pytest.fixture
def entry(tmp_path: Path) -> Iterator[Entry]:
    entry = Entry(tmp_path / "sockets" / "entry.sock", find_free_ports(2))
    yield entry
    entry.process.terminate()
    assert entry.process.wait(10) == 0


@pytest.fixture
def gateways(tmp_path: Path, entry: Entry, berth_1: FakeBerth) -> Iterator[list[GatewayProcess]]:
    """A serving gateway and one that waits."""
    directory = tmp_path / "state"
    directory.mkdir()
    pair = [
        GatewayProcess(
            directory,
            {
                "GATEWAY_ENTRY": str(entry.path),
                "GATEWAY_PREPARED_FILE": str(tmp_path / f"prepared-{number}"),
                "GATEWAY_LOG_LEVEL": "warning",
            },
            port=entry.ports[0],
            admin_port=entry.ports[1],
        )
        for number in range(2)
    ]
    pair[0].start(
        build_config(
            clients=[build_client(quota={"requests": 1_000_000, "period": "month"})],
            models={"digits": build_model({"1": berth_1.url}, {"1": 100})},
        )
    )
    pair[1].spawn()
    wait_until((tmp_path / "prepared-1").exists, "the waiting gateway to hold the sockets")
    yield pair
    for gateway in pair:
        gateway.kill()


def _post(gateway: GatewayProcess) -> int:
    with gateway.client(KEY) as client:
        return client.post(INFER, json={}).status_code


def test_replaced_gateway_fails_and_loses_no_request(gateways: list[GatewayProcess]) -> None:
    serving, waiting = gateways
    with Clients(serving.url) as clients:
        wait_until(lambda: clients.results["200"] > 20, "the first responses")
        assert serving.stop() == 0
        before = clients.results["200"]
        wait_until(lambda: clients.results["200"] > before + 20, "responses of the other gateway")
    assert set(clients.results) == {"200"}
    assert waiting.stop() == 0
    counters = json.loads((serving.directory / "quotas.json").read_text())
    assert counters["default"]["used"] == clients.results["200"]


def test_connection_without_a_gateway_waits_for_the_next_one(
    gateways: list[GatewayProcess],
) -> None:
    for gateway in gateways:
        gateway.kill()
    with Clients(gateways[0].url) as clients:
        gateways[0].spawn()
        wait_until(lambda: clients.results["200"] > 4, "responses of the new gateway")
    assert set(clients.results) == {"200"}


def test_gateways_end_with_their_entry_and_use_the_next_one(
    entry: Entry, gateways: list[GatewayProcess]
) -> None:
    entry.restart()
    assert gateways[0].wait_for_exit() == EXIT_ENTRY_ENDED
    assert gateways[1].wait_for_exit() == EXIT_ENTRY_ENDED
    gateways[0].spawn()
    gateways[0].wait_for_start()
    assert _post(gateways[0]) == 200


def test_waiting_gateway_ends_on_sigterm(gateways: list[GatewayProcess]) -> None:
    os.kill(gateways[1].pid, signal.SIGTERM)
    assert gateways[1].wait_for_exit() == 0
    assert _post(gateways[0]) == 200


def test_entry_without_the_port_of_a_gateway_is_reported(entry: Entry, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, {"GATEWAY_ENTRY": str(entry.path)}, is_forked=False)
    gateway.write_config(build_config())
    gateway.spawn()
    assert gateway.wait_for_exit() == 2
    assert f"has no socket for 127.0.0.1:{gateway.port}" in gateway.read_log()
