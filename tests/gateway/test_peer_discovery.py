"""Peers are found by a name, whose addresses come and go."""

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
from berth_gateway.limits.sharing import Sharing
from berth_gateway.limits.token_bucket import TokenBuckets
from tests.gateway.gateway_process import find_free_ports

UNKNOWN = socket.gaierror(socket.EAI_NONAME, "no such name")
TROUBLE = socket.gaierror(socket.EAI_AGAIN, "try again")


class Names:
    """A name service that message what a test has it say."""

    response: list[str] | socket.gaierror = UNKNOWN
    asked = 0

    async def getaddrinfo(self, name: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        assert name == "gate"
        if isinstance(self.response, socket.gaierror):
            raise self.answer
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in self.response]

    async def asked_again(self) -> None:
        """Return once two more look-ups have begun, of which the first has ended."""
        before = self.asked
        async with asyncio.timeout(20):
            while self.asked < before + 2:
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(peers, "_RESOLVE_SECONDS", 0.02)
    monkeypatch.setattr(peers, "_JOIN_SECONDS", 0.3)
    monkeypatch.setattr(peers, "_JOIN_AGAIN_SECONDS", 0.02)
    caplog.set_level(logging.INFO, "gateway")


@asynccontextmanager
async def made(names: Names, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Any, Any]]:
    """Peers under the name `gate`, at whose port nobody listens, and what they share."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
    quotas = Quotas(lambda: datetime.now(UTC), {})
    sharing = Sharing("me", TokenBuckets(lambda: 0.0), quotas, {}.get)
    registry = CollectorRegistry()
    messages = Counter("messages", "-", ("outcome",), registry=registry)
    async with Peers(("gate",), find_free_ports(1)[0], sharing, messages) as found:
        yield found, sharing


async def test_a_name_that_nobody_has_yet_is_that_of_no_peer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with made(Names(), monkeypatch) as (found, sharing):
        await found.join()
        assert (sharing.joined, sharing.begun) == (True, True)
    assert caplog.messages == []


async def test_a_name_service_in_trouble_says_nothing_of_peers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = Names()
    names.response = TROUBLE
    async with made(names, monkeypatch) as (found, sharing):
        await found.join()
        assert (sharing.joined, sharing.begun) == (False, True)
        assert "no peer told of the quotas used" in caplog.messages[-1]
        # And later it is asked again.
        stop = asyncio.Event()
        running = asyncio.create_task(found.run(stop))
        names.response = UNKNOWN
        await names.asked_again()
        assert sharing.joined
        stop.set()
        await running


async def test_addresses_that_come_and_go(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = Names()
    async with made(names, monkeypatch) as (found, _):
        await found.join()
        stop = asyncio.Event()
        running = asyncio.create_task(found.run(stop))
        names.response = ["127.0.0.1", "127.0.0.2"]
        await names.asked_again()
        names.response = TROUBLE
        await names.asked_again()
        assert not [text for text in caplog.messages if text.endswith("is gone")]
        assert len([text for text in caplog.messages if "cannot be looked up" in text]) == 1
        names.response = ["127.0.0.2"]
        await names.asked_again()
        stop.set()
        await running
    gone = [text for text in caplog.messages if text.endswith("is gone")]
    assert gone == ["peer 127.0.0.1 is gone"]
