"""Discovery of peers: a name whose addresses change."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from berth_gateway.limits import peers
from berth_gateway.limits.peers import Peers
from berth_gateway.limits.quota import Quotas
from berth_gateway.limits.sharing import UsageSharing
from berth_gateway.limits.token_bucket import TokenBuckets
from tests.gateway.gateway_process import find_free_ports

UNKNOWN_NAME = socket.gaierror(socket.EAI_NONAME, "no such name")
TEMPORARY_FAILURE = socket.gaierror(socket.EAI_AGAIN, "try again")


class Names:
    """A name service whose result tests set."""

    result: list[str] | socket.gaierror = UNKNOWN_NAME
    lookups = 0

    async def getaddrinfo(self, name: str, port: int, **_: Any) -> list[Any]:
        self.lookups += 1
        assert name == "gateway"
        if isinstance(self.result, socket.gaierror):
            raise self.result
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in self.result]

    async def wait_for_lookups(self) -> None:
        """Wait until two more lookups have started, of which the first has ended."""
        before = self.lookups
        async with asyncio.timeout(20):
            while self.lookups < before + 2:
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(peers, "_RESOLVE_SECONDS", 0.02)
    monkeypatch.setattr(peers, "_JOIN_SECONDS", 0.3)
    monkeypatch.setattr(peers, "_JOIN_RETRY_SECONDS", 0.02)
    caplog.set_level(logging.INFO, "gateway")


@asynccontextmanager
async def create_peers(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Peers, UsageSharing]]:
    """Create peers with the name `gateway`, at whose port no process listens."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
    quotas = Quotas(lambda: datetime.now(UTC), {})
    sharing = UsageSharing("me", TokenBuckets(lambda: 0.0), quotas, lambda _name: None)
    registry = CollectorRegistry()
    updates = Counter("updates", "-", ("outcome",), registry=registry)
    discovered = Peers(("gateway",), find_free_ports(1)[0], sharing, updates)
    try:
        yield discovered, sharing
    finally:
        await discovered.close()


async def test_unknown_name_has_no_peers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with create_peers(Names(), monkeypatch) as (discovered, sharing):
        await discovered.join()
        assert (sharing.has_joined, sharing.has_started) == (True, True)
    assert caplog.messages == []


async def test_failing_name_service_keeps_peers_and_is_retried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = Names()
    names.result = TEMPORARY_FAILURE
    async with create_peers(names, monkeypatch) as (discovered, sharing):
        await discovered.join()
        assert (sharing.has_joined, sharing.has_started) == (False, True)
        assert "No peer reported quota usage" in caplog.messages[-1]
        # The name is resolved again later.
        stop = asyncio.Event()
        running = asyncio.create_task(discovered.run(stop))
        names.result = UNKNOWN_NAME
        await names.wait_for_lookups()
        assert sharing.has_joined
        stop.set()
        await running


async def test_changed_addresses_add_and_remove_peers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = Names()
    async with create_peers(names, monkeypatch) as (discovered, _):
        await discovered.join()
        stop = asyncio.Event()
        running = asyncio.create_task(discovered.run(stop))
        names.result = ["127.0.0.1", "127.0.0.2"]
        await names.wait_for_lookups()
        names.result = TEMPORARY_FAILURE
        await names.wait_for_lookups()
        assert not [text for text in caplog.messages if text.endswith("was removed")]
        assert len([text for text in caplog.messages if "Cannot resolve peer name" in text]) == 1
        names.result = ["127.0.0.2"]
        await names.wait_for_lookups()
        stop.set()
        await running
    removals = [text for text in caplog.messages if text.endswith("was removed")]
    assert removals == ["Peer 127.0.0.1 was removed"]
