"""Blocks in a real Valkey, exchanged by limiters in this process."""

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from valkey import Valkey

from berth_gateway.active_config import ActiveConfig
from berth_gateway.config import Blocking, Client, Key, Quota
from berth_gateway.limits import shared_blocks, valkey_limiter
from berth_gateway.limits.blocks import BlockList
from berth_gateway.limits.known_addresses import KnownAddresses
from berth_gateway.limits.limiter import MemoryLimiter
from berth_gateway.limits.shared_blocks import GatewayBlocks
from berth_gateway.limits.valkey_address import WhenUnreachable, parse_valkey_url
from berth_gateway.limits.valkey_limiter import ValkeyLimiter
from berth_gateway.limits.valkey_scripts import COMMANDS, build_permissions
from berth_gateway.metrics import Metrics
from pulumi_berth.valkey_config import build_config
from tests.gateway.gateway_process import find_free_ports
from tests.gateway.valkey_server import PASSWORD, ValkeyServer
from tests.repository import REPOSITORY

BURST = 7
_CLIENT = Client(
    name="a",
    keys=[Key(name="default", sha256=hashlib.sha256(b"a").hexdigest())],
    rate_per_second=0.001,
    burst=BURST,
    quota=Quota(requests=100, period="month"),
)
_LONG = Blocking(
    rejections=3, invalid_keys=3, window_seconds=600, first_seconds=600, max_seconds=600
)
_SHORT = Blocking(
    rejections=1, invalid_keys=1, window_seconds=0.01, first_seconds=0.01, max_seconds=0.01
)
_ACTIVE = SimpleNamespace(
    config=SimpleNamespace(blocking=_LONG), clients={"a": _CLIENT}, config_sha256="0"
)


class _Gateway:
    """The limits and blocks of one gateway."""

    def __init__(self, url: str, directory: Path) -> None:
        self.metrics = Metrics()
        self.blocks = GatewayBlocks(
            clients=BlockList(time.monotonic),
            addresses=BlockList(time.monotonic),
            known_addresses=KnownAddresses(time.monotonic),
            client_blocks=self.metrics.client_blocks,
            address_blocks=self.metrics.address_blocks,
            is_shared=self.metrics.blocks_shared,
            failures=self.metrics.block_exchange_failures,
            get_active=lambda: cast("ActiveConfig", _ACTIVE),
        )
        self.limiter = ValkeyLimiter(
            parse_valkey_url(url),
            "berth",
            WhenUnreachable.OWN_LIMITS,
            MemoryLimiter(directory / "quotas.json"),
            is_shared=self.metrics.limits_shared,
            own_decisions=self.metrics.own_decisions,
        )
        self.limiter.share_blocks(self.blocks)

    def get_metric(self, name: str) -> float:
        lines = self.metrics.render().decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])

    def guess(self, addresses: Sequence[str], blocking: Blocking = _LONG) -> None:
        for address in addresses:
            for _ in range(blocking.invalid_keys):
                self.blocks.addresses.record(address, blocking.invalid_keys, blocking)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def exchange_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_limiter, "_CHECK_SECONDS", 0.02)


def connect(valkey: ValkeyServer) -> Any:
    """Return a client of the server, whose methods have no types."""
    return Valkey(host=valkey.host, port=valkey.port, password=PASSWORD)


async def poll(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def test_user_without_permission_for_blocks_still_shares_exact_limits(
    valkey: ValkeyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    admin = connect(valkey)
    allowed = build_permissions("berth:*").split()
    limited = [rule for rule in allowed if not rule.startswith("+z")]
    admin.execute_command("ACL", "SETUSER", "limited", "on", ">secret", *limited)
    url = valkey.url.replace(f":{PASSWORD}", "limited:secret")

    async def run() -> None:
        first, second = (_Gateway(url, tmp_path) for _ in range(2))
        async with first.limiter, second.limiter:
            first.guess(["192.0.2.1"])
            first.blocks.known_addresses.add("a", "192.0.2.2")
            await poll(lambda: first.get_metric("berth_gateway_block_exchange_failures_total") > 3)
            decisions = [
                await each.limiter.take_token(_CLIENT)
                for _ in range(10)
                for each in (first, second)
            ]
            assert sum(each.is_allowed for each in decisions) == BURST
            assert first.get_metric("berth_gateway_limits_shared") == 1
            assert first.get_metric("berth_gateway_blocks_shared") == 0
            assert first.get_metric("berth_gateway_own_limit_decisions_total") == 0
            assert caplog.text.count("Cannot share blocks") == 2  # Once at each gateway.
            assert "is unreachable" not in caplog.text
            admin.execute_command("ACL", "SETUSER", "limited", *allowed)
            await poll(lambda: first.get_metric("berth_gateway_blocks_shared") == 1)
            first.guess(["192.0.2.3"])
            await poll(lambda: second.blocks.addresses.get_seconds_left("192.0.2.3"))

    with caplog.at_level(logging.INFO, "gateway"):
        asyncio.run(run())
    assert caplog.text.count("Blocks are shared again") == 2


def test_gateway_reports_known_addresses_again_after_valkey_lost_them(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    async def run() -> None:
        first = _Gateway(valkey.url, tmp_path)
        async with first.limiter:
            first.blocks.known_addresses.add("a", "192.0.2.1")
            await poll(lambda: not first.blocks.known_addresses.unreported)
            valkey.kill()
            valkey.lose_data()
            valkey.start()
            await poll(lambda: connect(valkey).zcard("berth:{blocks}:known:a") == 1)
            # A gateway that hears of a block learns who is known there.
            first.guess(["192.0.2.1"])
            second = _Gateway(valkey.url, tmp_path)
            async with second.limiter:
                await poll(lambda: second.blocks.addresses.get_seconds_left("192.0.2.1"))
                assert second.blocks.known_addresses.has("a", "192.0.2.1")

    asyncio.run(run())


def test_exchange_returns_only_new_blocks(valkey: ValkeyServer, tmp_path: Path) -> None:
    admin = connect(valkey)
    addresses = [f"192.0.{number >> 8}.{number & 255}" for number in range(1000)]

    def get_sent() -> int:
        return int(cast("dict[str, Any]", admin.info("stats"))["total_net_output_bytes"])

    async def run() -> None:
        first, second = (_Gateway(valkey.url, tmp_path) for _ in range(2))
        sharing = shared_blocks.SharedBlocks(second.limiter._valkey, "berth", second.blocks)
        async with first.limiter:
            first.guess(addresses)
            # The last call is under way when none is unreported.
            await poll(lambda: admin.zcard("berth:{blocks}:address-ends") == len(addresses))
        await sharing.exchange()
        assert second.blocks.addresses.count_blocked() == len(addresses)
        before = get_sent()
        own = get_sent() - before
        await sharing.exchange()
        assert get_sent() - before - 2 * own < 500
        # What a gateway has forgotten comes back with the next reading of all.
        second.blocks.addresses.keep_only(())
        sharing.restore()
        await sharing.exchange()
        assert second.blocks.addresses.count_blocked() == len(addresses)
        await second.limiter._valkey.aclose()

    asyncio.run(run())


def test_offenses_take_bounded_memory_of_valkey(
    valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_blocks, "MAX_SUBJECTS", 100)
    admin = connect(valkey)

    async def run() -> None:
        gateway = _Gateway(valkey.url, tmp_path)
        async with gateway.limiter:
            gateway.guess(["192.0.2.1"])
            for number in range(1000):
                gateway.blocks.addresses.record(f"198.51.{number}", 3, _LONG)
            await poll(lambda: admin.hexists("berth:{blocks}:address-offenses", "198.51.999"))

    asyncio.run(run())
    assert admin.hlen("berth:{blocks}:address-offenses") == 100
    assert admin.zcard("berth:{blocks}:address-kept") == 100
    # The block outlives offenses below the threshold, which are forgotten earlier.
    assert admin.zrange("berth:{blocks}:address-ends", 0, -1) == [b"192.0.2.1"]
    assert all(0 < cast("int", admin.ttl(key)) <= 1201 for key in admin.keys("*address*"))


def test_gateway_calls_exactly_the_commands_that_its_user_may(tmp_path: Path) -> None:
    """The server's own user, as in a cluster, so that a denied command would fail."""
    port = find_free_ports(1)[0]
    config = build_config(hashlib.sha256(b"secret").hexdigest(), str(tmp_path))
    config += f"user admin on >{PASSWORD} ~* &* +@all\n"
    server = ValkeyServer(tmp_path, port=port, config=config)
    server.start()
    url = f"valkey://gateway:secret@127.0.0.1:{port}"

    async def run() -> None:
        first, second = (_Gateway(url, tmp_path) for _ in range(2))
        async with first.limiter, second.limiter:
            await first.limiter.take_token_and_quota(_CLIENT)
            first.blocks.known_addresses.add("a", "192.0.2.2")
            first.guess(["192.0.2.1"])
            await poll(lambda: second.blocks.addresses.get_seconds_left("192.0.2.1"))
            first.guess(["192.0.2.3"], _SHORT)
            # The offense has expired, and an exchange removes it.
            await poll(lambda: {"zrem", "hdel"} <= list_called())
            assert second.get_metric("berth_gateway_blocks_shared") == 1
            called.update(list_called())
            server.kill()
            server.lose_data()
            server.start()
            await poll(lambda: first.get_metric("berth_gateway_limits_shared") == 1)
            await poll(lambda: admin.get(f"berth:{{a}}:month:{time.strftime('%Y-%m')}-01T00"))

    admin: Any = Valkey(host="127.0.0.1", port=port, username="admin", password=PASSWORD)

    def list_called() -> set[str]:
        statistics = cast("dict[str, Any]", admin.info("commandstats"))
        return {name.removeprefix("cmdstat_") for name in statistics}

    called: set[str] = set()
    try:
        asyncio.run(run())
        called |= list_called()
        denied = cast("list[Any]", admin.execute_command("ACL", "LOG"))
    finally:
        server.kill()
    assert not denied
    # The others are those of the test and of the server's start.
    assert called - {"auth", "ping", "acl|log", "config|get"} == set(COMMANDS)


def test_documentation_has_the_permissions_of_a_valkey_user() -> None:
    text = (REPOSITORY / "docs" / "explanation" / "shared-limits.md").read_text()
    words = build_permissions("PREFIX:*").split()
    assert " ".join(["user", "berth", "on", ">PASSWORD", *words]) in " ".join(text.split())


def test_limiter_ends_while_it_talks_to_valkey(valkey: ValkeyServer, tmp_path: Path) -> None:
    """The client of Valkey can swallow a cancellation, which then has to be repeated."""

    async def run() -> None:
        for number in range(100):
            gateway = _Gateway(valkey.url, tmp_path)
            async with gateway.limiter:
                await asyncio.sleep(0.0215 + number * 2e-5)

    thread = threading.Thread(target=asyncio.run, args=[run()], daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
