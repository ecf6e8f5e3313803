"""Peers: processes that share their limits, and each other's absence."""

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

INFER = "/v2/models/digits/infer"
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
QUOTA = {"requests": 1000, "period": "month"}


class Group:
    """Gateways at several addresses of this machine, with one port for peers."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self._folder = folder
        self._content = content
        [self.peer_port] = find_free_ports(1)
        self.all: list[GatewayProcess] = []

    def add(self, **environment: str) -> GatewayProcess:
        """One more, which has not been started."""
        number = len(self.all)
        folder = self._folder / str(number)
        folder.mkdir()
        made = GatewayProcess(folder, host=HOSTS[number])
        made.environment = {
            "GATEWAY_PEERS": ",".join(HOSTS[:2]),
            "GATEWAY_PEER_PORT": str(self.peer_port),
            **environment,
        }
        self.all.append(made)
        return made

    def start(self, **environment: str) -> GatewayProcess:
        """One more, serving."""
        made = self.add(**environment)
        made.start(self._content)
        return made


@pytest.fixture
def content(berth_1: FakeBerth) -> dict[str, Any]:
    """A client with a bucket of 20 that hardly fills, one with a quota."""
    return build_config(
        clients=[
            build_client(rate_per_second=0.01, burst=20),
            build_client("counted", "key c", quota=QUOTA),
        ],
        models={"digits": build_model({"1": berth_1.url}, {"1": 100})},
    )


@pytest.fixture
def group(tmp_path: Path, content: dict[str, Any]) -> Iterator[Group]:
    made = Group(tmp_path, content)
    yield made
    for gateway in made.all:
        gateway.kill()


def used(gateway: GatewayProcess) -> float:
    """What the gateway has counted against the quota."""
    return gateway.get_metric('berth_gateway_quota_used{client="counted"}')


def infer(gateway: GatewayProcess, count: int, key: str = "key c") -> Counter[int]:
    with gateway.client(key) as http:
        return Counter(http.post(INFER, json={}).status_code for _ in range(count))


def left(gateway: GatewayProcess) -> int:
    """Tokens left to the client with the small bucket, which this costs one."""
    with gateway.client() as http:
        return int(http.get("/v2").headers["ratelimit-remaining"])


def test_they_share_throttle_and_quota(group: Group) -> None:
    one, two = group.start(), group.start()
    assert infer(one, 7) == {200: 7}
    assert infer(two, 3) == {200: 3}
    wait_until(lambda: used(one) == used(two) == 10, "both quotas at 10")
    assert left(one) == 19
    time.sleep(1)
    assert left(two) == 18
    time.sleep(1)
    assert infer(one, 30, "key of default") == {200: 18, 429: 12}
    time.sleep(1)
    assert infer(two, 1, "key of default") == {429: 1}


def test_a_client_that_goes_back_and_forth_gets_little_more_than_its_rate(
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
    # One bucket, what the other adds before it is told, and a machine that is busy.
    assert codes[200] <= 10 + 50 * elapsed + (10 + 50 * 0.5)


def test_one_that_starts_later_knows_what_was_used(group: Group) -> None:
    one = group.start()
    infer(one, 5)
    two = group.start()
    assert used(two) == 5
    infer(two, 1)
    wait_until(lambda: used(one) == 6, "the sixth told")
    wait_until(lambda: used(two) == 6, "no more than six")
    time.sleep(1)
    assert used(one) == used(two) == 6


def test_one_that_was_away_hears_of_what_it_missed(group: Group) -> None:
    one, two = group.start(), group.start()
    infer(two, 4)
    wait_until(lambda: used(one) == 4, "four told")
    two.kill()
    assert infer(one, 5) == {200: 5}
    wait_until(lambda: "does not answer" in one.read_log(), "the silence told")
    assert one.read_log().count("does not answer") == 1
    two.start(json.loads((two.directory / "gateway.json").read_text()))
    assert used(two) == 9
    infer(one, 1)
    wait_until(lambda: used(two) == 10, "the tenth told")
    wait_until(lambda: "responses again" in one.read_log(), "the response told")
    assert one.get_metric('berth_gateway_peer_updates_total{outcome="failed"}') >= 1
    assert one.get_metric('berth_gateway_peer_updates_total{outcome="sent"}') >= 1


def test_the_last_word_of_one_that_ends_is_heard(group: Group) -> None:
    one, two = group.start(), group.start()
    infer(two, 9)
    assert two.stop() == 0
    wait_until(lambda: used(one) == 9, "all of it told")


def test_a_peer_that_hangs_delays_no_request_and_no_end(group: Group) -> None:
    """A process that takes what it is told and never responses."""
    over = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            over.wait(20)

        do_GET = do_POST  # noqa: N815 - the base class looks for this name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    server = ThreadingHTTPServer((HOSTS[1], group.peer_port), Silent)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever).start()
    try:
        started = time.monotonic()
        one = group.start()
        # It waits for the counters, but not for ever.
        assert time.monotonic() - started > 2.5
        assert "no peer told of the quotas used" in one.read_log()
        with one.client("key c") as http:
            for _ in range(50):
                request = time.monotonic()
                assert http.post(INFER, json={}).status_code == 200
                assert time.monotonic() - request < 0.5
        started = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - started < 3
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def test_all_that_start_at_once_come_up(group: Group, content: dict[str, Any]) -> None:
    both = [group.add(), group.add()]
    for gateway in both:
        gateway.write_config(content)
        gateway.spawn()
    for gateway in both:
        gateway.wait_for_start()
    infer(both[0], 2)
    infer(both[1], 2)
    wait_until(lambda: used(both[0]) == used(both[1]) == 4, "all told")
    assert not any("no peer told" in gateway.read_log() for gateway in both)


def test_a_name_without_addresses_is_no_peer(group: Group) -> None:
    one = group.start(GATEWAY_PEERS="berth.invalid")
    infer(one, 3)
    assert used(one) == 3


def test_what_the_door_for_peers_answers(group: Group) -> None:
    one = group.start()
    url = f"http://{one.host}:{group.peer_port}/"
    known = httpx.get(url).json()
    assert known["state"] == {"counters": {}, "heard": {known["origin"]: {}}}
    assert httpx.put(url).status_code == 405
    for body in (b"", b"{", b'{"origin": "x"}', b'{"origin":"x","tokens":{"a":-1},"quotas":{}}'):
        rejected = httpx.post(url, content=body)
        assert rejected.status_code == 400
        assert list(rejected.json()) == ["error"]
    good = b'{"origin": "x", "tokens": {"default": 5, "nobody": 1}, "quotas": {}}'
    assert httpx.post(url, content=good).json()["origin"] == known["origin"]
    assert left(one) == 14


def test_alone_there_is_no_door(gateway: GatewayProcess) -> None:
    [port] = find_free_ports(1)
    gateway.environment["GATEWAY_PEER_PORT"] = str(port)
    gateway.start(build_config())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")
