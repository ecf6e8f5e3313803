"""Peers: gateway processes that share their limits, and failures of peers."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    GatewayProcess,
    build_client,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)

pytestmark = pytest.mark.slow

INFER = "/v2/models/digits/infer"
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
QUOTA = {"requests": 1000, "period": "month"}


class Group:
    """Gateways at several addresses of this machine, with the same peer port."""

    def __init__(self, directory: Path, content: dict[str, Any]) -> None:
        self._directory = directory
        self._content = content
        [self.peer_port] = find_free_ports(1)
        self.all: list[GatewayProcess] = []

    def add(self, **environment: str) -> GatewayProcess:
        """Add a gateway without starting it."""
        number = len(self.all)
        directory = self._directory / str(number)
        directory.mkdir()
        gateway = GatewayProcess(directory, host=HOSTS[number])
        gateway.environment = {
            "GATEWAY_PEERS": ",".join(HOSTS[:2]),
            "GATEWAY_PEER_PORT": str(self.peer_port),
            **environment,
        }
        self.all.append(gateway)
        return gateway

    def start(self, **environment: str) -> GatewayProcess:
        """Add a gateway and start it."""
        gateway = self.add(**environment)
        gateway.start(self._content)
        return gateway


@pytest.fixture
def content(berth_1: FakeBerth) -> dict[str, Any]:
    """Return a configuration: one client with a burst of 20 and a low rate, one with a quota."""
    return build_config(
        clients=[
            build_client(rate_per_second=0.01, burst=20),
            build_client("counted", "key c", quota=QUOTA),
        ],
        models={"digits": build_model({"1": berth_1.url}, {"1": 100})},
    )


@pytest.fixture
def group(tmp_path: Path, content: dict[str, Any]) -> Iterator[Group]:
    gateways = Group(tmp_path, content)
    yield gateways
    for gateway in gateways.all:
        gateway.kill()


def get_used(gateway: GatewayProcess) -> float:
    """Return the requests that the gateway counted against the quota."""
    return gateway.get_metric('berth_gateway_quota_used{client="counted"}')


def infer(gateway: GatewayProcess, count: int, key: str = "key c") -> Counter[int]:
    with gateway.client(key) as http:
        return Counter(http.post(INFER, json={}).status_code for _ in range(count))


def get_remaining(gateway: GatewayProcess) -> int:
    """Return the remaining tokens of the client with the low rate. This takes one token."""
    with gateway.client() as http:
        return int(http.get("/v2").headers["ratelimit-remaining"])


def test_peers_share_rate_limit_and_quota(group: Group) -> None:
    gateway_1, gateway_2 = group.start(), group.start()
    assert infer(gateway_1, 7) == {200: 7}
    assert infer(gateway_2, 3) == {200: 3}
    wait_until(lambda: get_used(gateway_1) == get_used(gateway_2) == 10, "both quotas at 10")
    assert get_remaining(gateway_1) == 19
    time.sleep(1)
    assert get_remaining(gateway_2) == 18
    time.sleep(1)
    assert infer(gateway_1, 30, "key of default") == {200: 18, 429: 12}
    time.sleep(1)
    assert infer(gateway_2, 1, "key of default") == {429: 1}


def test_client_that_alternates_between_peers_hardly_exceeds_its_rate(
    group: Group, content: dict[str, Any]
) -> None:
    content["clients"] = [build_client(rate_per_second=50, burst=10)]
    gateways = [group.start(), group.start()]
    codes: Counter[int] = Counter()
    with gateways[0].client() as a, gateways[1].client() as b:
        started = time.monotonic()
        while time.monotonic() - started < 4:
            for http in (a, b):
                codes[http.get("/v2").status_code] += 1
        elapsed = time.monotonic() - started
    assert set(codes) == {200, 429}
    # One bucket, plus what the peer allows before its update arrives on a busy machine.
    assert codes[200] <= 10 + 50 * elapsed + (10 + 50 * 0.5)


def test_later_peer_starts_with_used_quota(group: Group) -> None:
    gateway_1 = group.start()
    infer(gateway_1, 5)
    gateway_2 = group.start()
    assert get_used(gateway_2) == 5
    infer(gateway_2, 1)
    wait_until(lambda: get_used(gateway_1) == 6, "the sixth request in the update")
    wait_until(lambda: get_used(gateway_2) == 6, "no more than six")
    time.sleep(1)
    assert get_used(gateway_1) == get_used(gateway_2) == 6


def test_restarted_peer_receives_missed_usage(group: Group) -> None:
    gateway_1, gateway_2 = group.start(), group.start()
    infer(gateway_2, 4)
    wait_until(lambda: get_used(gateway_1) == 4, "four requests in updates")
    gateway_2.kill()
    assert infer(gateway_1, 5) == {200: 5}
    wait_until(lambda: "does not respond" in gateway_1.read_log(), "the silent peer in the log")
    assert gateway_1.read_log().count("does not respond") == 1
    gateway_2.start(json.loads((gateway_2.directory / "gateway.json").read_text()))
    assert get_used(gateway_2) == 9
    infer(gateway_1, 1)
    wait_until(lambda: get_used(gateway_2) == 10, "the tenth request in the update")
    wait_until(lambda: "responds again" in gateway_1.read_log(), "the restarted peer in the log")
    assert gateway_1.get_metric('berth_gateway_peer_updates_total{outcome="failed"}') >= 1
    assert gateway_1.get_metric('berth_gateway_peer_updates_total{outcome="sent"}') >= 1


def test_last_update_of_stopping_peer_is_received(group: Group) -> None:
    gateway_1, gateway_2 = group.start(), group.start()
    infer(gateway_2, 9)
    assert gateway_2.stop() == 0
    wait_until(lambda: get_used(gateway_1) == 9, "all requests in the last update")


def test_hanging_peer_delays_no_request_and_no_exit(group: Group) -> None:
    """The peer accepts connections and never responds."""
    stop_waiting = threading.Event()

    class SilentPeer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            stop_waiting.wait(20)

        do_GET = do_POST  # noqa: N815 - the base class looks for this name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Write no log."""

    server = ThreadingHTTPServer((HOSTS[1], group.peer_port), SilentPeer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever).start()
    try:
        started = time.monotonic()
        gateway_1 = group.start()
        # The gateway waits for the counters, with a timeout.
        assert time.monotonic() - started > 2.5
        assert "No peer reported quota usage" in gateway_1.read_log()
        with gateway_1.client("key c") as http:
            for _ in range(50):
                sent_at = time.monotonic()
                assert http.post(INFER, json={}).status_code == 200
                assert time.monotonic() - sent_at < 0.5
        started = time.monotonic()
        assert gateway_1.stop() == 0
        assert time.monotonic() - started < 3
    finally:
        stop_waiting.set()
        server.shutdown()
        server.server_close()


def test_peers_that_start_together_become_ready(group: Group, content: dict[str, Any]) -> None:
    gateways = [group.add(), group.add()]
    for gateway in gateways:
        gateway.write_config(content)
        gateway.spawn()
    for gateway in gateways:
        gateway.wait_for_start()
    infer(gateways[0], 2)
    infer(gateways[1], 2)
    wait_until(lambda: get_used(gateways[0]) == get_used(gateways[1]) == 4, "all updates")
    assert not any("No peer reported" in gateway.read_log() for gateway in gateways)


def test_name_without_addresses_has_no_peers(group: Group) -> None:
    gateway_1 = group.start(GATEWAY_PEERS="berth.invalid")
    infer(gateway_1, 3)
    assert get_used(gateway_1) == 3


def test_peer_port_accepts_valid_updates_and_rejects_others(group: Group) -> None:
    gateway_1 = group.start()
    url = f"http://{gateway_1.host}:{group.peer_port}/"
    status = httpx.get(url).json()
    assert status["snapshot"] == {"counters": {}, "received": {status["origin"]: {}}}
    assert httpx.put(url).status_code == 405
    for body in (b"", b"{", b'{"origin": "x"}', b'{"origin":"x","tokens":{"a":-1},"quotas":{}}'):
        rejected = httpx.post(url, content=body)
        assert rejected.status_code == 400
        assert list(rejected.json()) == ["error"]
    update = b'{"origin": "x", "tokens": {"default": 5, "unknown": 1}, "quotas": {}}'
    assert httpx.post(url, content=update).json()["origin"] == status["origin"]
    assert get_remaining(gateway_1) == 14


def test_gateway_without_peers_has_no_peer_port(gateway: GatewayProcess) -> None:
    [port] = find_free_ports(1)
    gateway.environment["GATEWAY_PEER_PORT"] = str(port)
    gateway.start(build_config())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")
