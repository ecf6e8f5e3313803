"""Two gateway processes with the same sockets: one serves, the other continues when it ends."""

import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

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

INFER = "/v2/models/digits/infer"
QUOTA = {"requests": 1_000_000, "period": "month"}


@pytest.fixture
def gateways(tmp_path: Path, berth_1: FakeBerth) -> Iterator[list[GatewayProcess]]:
    """A serving gateway and one that waits, which run as a platform runs them."""
    port, admin_port = find_free_ports(2)
    directory = tmp_path / "state"
    directory.mkdir()
    pair = [
        GatewayProcess(
            directory,
            {"GATEWAY_HANDOVER": str(tmp_path / "handover"), "GATEWAY_LOG_LEVEL": "warning"},
            port=port,
            admin_port=admin_port,
        )
        for _ in range(2)
    ]
    pair[0].start(
        build_config(
            clients=[build_client(quota=QUOTA)],
            models={"digits": build_model({"1": berth_1.url}, {"1": 100})},
        )
    )
    pair[1].spawn()
    _wait_until_prepared(pair[1])
    yield pair
    for gateway in pair:
        gateway.kill()


def _wait_until_prepared(gateway: GatewayProcess) -> None:
    """Wait until the process holds the listening socket of the public port."""
    import psutil

    def is_listening() -> bool:
        connections = psutil.Process(gateway.pid).net_connections("tcp")
        return gateway.port in {each.laddr.port for each in connections}

    wait_until(is_listening, "the waiting process to hold the sockets")


def _serving_pid(gateway: GatewayProcess) -> int:
    try:
        return int(gateway.get_admin("/healthz").json()["pid"])
    except httpx.TransportError:
        return 0


class Clients:
    """Clients that send requests, on kept and on new connections, until the end of the block."""

    def __init__(self, url: str) -> None:
        self.results: Counter[str] = Counter()
        self._url = url
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(is_kept,)) for is_kept in (True, False) * 2
        ]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, is_kept: bool) -> None:
        headers = {"x-api-key": KEY} | ({} if is_kept else {"connection": "close"})
        with httpx.Client(base_url=self._url, headers=headers, timeout=30, verify=False) as http:
            while not self._stop.wait(0.005):
                try:
                    result = str(http.post(INFER, json={}).status_code)
                except httpx.HTTPError as error:
                    result = type(error).__name__
                self.results[result] += 1


def _total(clients: Clients) -> int:
    return sum(clients.results.values())


def test_terminated_gateway_hands_over_without_a_failed_or_uncounted_request(
    gateways: list[GatewayProcess],
) -> None:
    serving, waiting = gateways
    with Clients(serving.url) as clients:
        wait_until(lambda: clients.results["200"] > 20, "the first responses")
        assert serving.stop() == 0
        assert _serving_pid(waiting) == waiting.pid
        before = _total(clients)
        wait_until(lambda: _total(clients) > before + 20, "responses of the other process")
        # The first process returns and waits in turn; then the second hands over to it.
        serving.spawn()
        _wait_until_prepared(serving)
        assert waiting.stop() == 0
        before = _total(clients)
        wait_until(lambda: _total(clients) > before + 20, "responses of the first process")
    assert set(clients.results) == {"200"}
    assert serving.stop() == 0
    counters = json.loads((serving.directory / "quotas.json").read_text())
    assert counters["default"]["used"] == _total(clients)


def test_killed_gateway_refuses_no_connection(gateways: list[GatewayProcess]) -> None:
    serving, waiting = gateways
    os.kill(serving.pid, signal.SIGKILL)
    # Connected before the waiting process can have noticed: the kernel queues the connection.
    with (
        socket.create_connection(("127.0.0.1", serving.port)) as connection,
        connection.makefile("rb") as response,
    ):
        connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
        assert response.readline().startswith(b"HTTP/1.1 200")
    assert _serving_pid(waiting) == waiting.pid
    serving.wait_for_exit()
    with waiting.client() as http:
        assert http.post(INFER, json={}).status_code == 200


def test_waiting_gateway_serves_the_configuration_that_is_current_when_it_takes_over(
    gateways: list[GatewayProcess],
) -> None:
    serving, waiting = gateways
    os.kill(waiting.pid, signal.SIGHUP)  # The platform need not know which process serves.
    serving.reload(build_config(clients=[build_client(key="another key")]))
    assert serving.stop() == 0
    with waiting.client(key="another key") as http:
        assert http.get("/v2").status_code == 200
    with waiting.client() as http:
        assert http.get("/v2").status_code == 401


def test_waiting_gateway_on_another_port_listens_there(gateways: list[GatewayProcess]) -> None:
    serving, waiting = gateways
    waiting.kill()
    (waiting.port,) = find_free_ports(1)
    waiting.spawn()
    _wait_until_prepared(waiting)
    assert serving.stop() == 0
    with waiting.client() as http:
        assert http.get("/v2").status_code == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", serving.port))


def test_port_of_another_program_is_reported_before_the_handover(
    gateways: list[GatewayProcess],
) -> None:
    serving, waiting = gateways
    waiting.kill()
    with socket.create_server(("127.0.0.1", 0)) as other:
        waiting.port = other.getsockname()[1]
        waiting.spawn()
        assert waiting.wait_for_exit() == 4
    assert f"Port {waiting.port} on 127.0.0.1 is in use" in waiting.read_log()
    with serving.client() as http:
        assert http.get("/v2").status_code == 200
