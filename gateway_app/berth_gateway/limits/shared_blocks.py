"""Blocks that several gateways share: each reports offenses to Valkey, and learns of new blocks."""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import Counter, Gauge
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from berth_gateway.active_config import ActiveConfig
from berth_gateway.limits.blocks import MAX_SUBJECTS, BlockList
from berth_gateway.limits.known_addresses import (
    KEPT_SECONDS,
    MAX_CLIENT_ADDRESSES,
    KnownAddresses,
)
from berth_gateway.limits.valkey_scripts import BLOCK, FIND_KNOWN, REMEMBER_KNOWN

# Most subjects or pairs that one call reports, and most blocks that it returns. One call occupies
# the event loop for less than 2 ms. The addresses are also looked up for each client: 300 clients
# and 50 addresses take the server about 5 ms.
_MAX_REPORTED = 200
_MAX_RETURNED = 50
# A gateway also reads all blocks again, because it may have forgotten some: it remembers a limited
# number of subjects.
_READ_ALL_SECONDS = 60.0
_LOG = logging.getLogger("gateway")


@dataclass(frozen=True)
class GatewayBlocks:
    """The blocks of one gateway.

    Attributes:
        clients: Clients that keep exceeding their limits.
        addresses: Addresses that keep guessing keys.
        known_addresses: Addresses from which clients have authenticated.
        client_blocks: Counts the blocks of each client.
        address_blocks: Counts the blocks of addresses.
        is_shared: Set to 1 while the gateways share blocks, otherwise to 0.
        failures: Counts the exchanges with Valkey that failed.
        get_active: Returns the active configuration.
    """

    clients: BlockList
    addresses: BlockList
    known_addresses: KnownAddresses
    client_blocks: Counter
    address_blocks: Counter
    is_shared: Gauge
    failures: Counter
    get_active: Callable[[], ActiveConfig]


@dataclass
class _Kind:
    """Clients or addresses.

    Attributes:
        after: Number of the last block that was read.
    """

    name: str
    blocks: BlockList
    after: str = "0"


@dataclass(frozen=True)
class _Page:
    """Some of the blocks that are new to this gateway.

    Attributes:
        blocks: Subject -> seconds left.
        last: Number of the last one.
        has_more: Whether there are others.
    """

    blocks: dict[str, float]
    last: str
    has_more: bool


class SharedBlocks:
    """Exchanges blocks with the other gateways of a stack.

    Each gateway still counts and blocks by itself, so no request waits for Valkey. Valkey adds up
    the offenses at all gateways, and a subject that it blocks is blocked at each gateway after the
    next exchange. An exchange that fails changes nothing about limits.

    Args:
        prefix: First part of all keys.
        own: The blocks of this gateway.
        clock: Returns monotonic time in seconds.
    """

    def __init__(
        self,
        valkey: Valkey,
        prefix: str,
        own: GatewayBlocks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Valkey's cluster mode keeps keys with the same text in braces together.
        self._prefix = f"{prefix}:{{blocks}}"
        self._own = own
        self._clock = clock
        self._clients = _Kind("client", own.clients)
        self._addresses = _Kind("address", own.addresses)
        self._block = valkey.register_script(BLOCK)
        self._remember_known = valkey.register_script(REMEMBER_KNOWN)
        self._find_known = valkey.register_script(FIND_KNOWN)
        self._config = ""
        self._read_all_at = 0.0
        self._failure = ""
        self._forget_unreported()
        own.known_addresses.unreported = {}

    def restore(self) -> None:
        """Report all that is known, and read all blocks again: Valkey may have lost its data."""
        self._own.known_addresses.report_all_again()
        self._read_all_at = 0.0

    def suspend(self) -> None:
        """Stop sharing, because Valkey is unreachable."""
        self._own.is_shared.set(0)

    def resume(self) -> None:
        """Forget offenses that were counted while Valkey was unreachable: they may be old."""
        self._forget_unreported()

    async def exchange(self) -> None:
        """Report what the other gateways do not know, and apply their blocks.

        A failure is counted, and logged if the exchange before succeeded. This gateway then blocks
        by itself.
        """
        try:
            await self._exchange()
        except (ValkeyError, OSError) as error:
            self._own.is_shared.set(0)
            self._own.failures.inc()
            self._forget_unreported()
            if not self._failure:
                _LOG.error("Cannot share blocks; this gateway blocks by itself: %s", error)
            self._failure = str(error) or type(error).__name__
        else:
            self._own.is_shared.set(1)
            if self._failure:
                _LOG.info("Blocks are shared again")
            self._failure = ""

    async def _exchange(self) -> None:
        await self._report_known()
        active = self._own.get_active()
        if active.config.blocking is None:
            self._forget_unreported()
            self._config = ""
            return  # Blocks from before, or of gateways that have another configuration.
        now = self._clock()
        # A client that a reload has added may have a block from before.
        if self._config != active.config_sha256 or now >= self._read_all_at:
            self._clients.after = self._addresses.after = "0"
            self._config = active.config_sha256
            self._read_all_at = now + _READ_ALL_SECONDS
        await self._exchange_kind(self._clients, self._apply_to_clients)
        await self._exchange_kind(self._addresses, self._apply_to_addresses)

    async def _exchange_kind(self, kind: _Kind, apply: Callable[[_Page], Awaitable[None]]) -> None:
        has_more = True
        while has_more:
            page = await self._report(kind)
            await apply(page)
            kind.after = page.last
            has_more = page.has_more or bool(kind.blocks.unreported)

    async def _apply_to_clients(self, page: _Page) -> None:
        active = self._own.get_active()
        for client, seconds in page.blocks.items():
            if client in active.clients and self._own.clients.block(client, seconds):
                self._own.client_blocks.labels(client).inc()
                _LOG.warning("Client '%s' is blocked for %d s by all gateways", client, seconds)

    async def _apply_to_addresses(self, page: _Page) -> None:
        own = self._own.addresses
        await self._learn_known([each for each in page.blocks if not own.get_seconds_left(each)])
        for address, seconds in page.blocks.items():
            if own.block(address, seconds):
                self._own.address_blocks.inc()
                _LOG.warning("Address %s is blocked for %d s by all gateways", address, seconds)

    async def _report(self, kind: _Kind) -> _Page:
        """Report offenses. Return blocks that are new to this gateway."""
        unreported = kind.blocks.unreported or {}
        reported = {name: unreported.pop(name) for name in [*unreported][:_MAX_REPORTED]}
        rule: tuple[float, ...] = (1, 1, 1, 1)
        if kind.blocks.rule is not None:
            threshold, blocking = kind.blocks.rule
            rule = (
                threshold,
                blocking.window_seconds,
                blocking.first_seconds,
                blocking.max_seconds,
            )
        start = f"{self._prefix}:{kind.name}-"
        keys = [start + name for name in ("ends", "numbers", "last", "offenses", "kept")]
        arguments: list[str | float] = [*rule, MAX_SUBJECTS, kind.after, _MAX_RETURNED]
        for subject, count in reported.items():
            arguments += [subject, count]
        has_more, last, *found = await self._block(keys, arguments)
        pairs = zip(found[::2], found[1::2], strict=True)
        blocks = {name.decode(): left / 1000 for name, left in pairs}
        return _Page(blocks, last.decode(), bool(has_more))

    async def _report_known(self) -> None:
        unreported = self._own.known_addresses.unreported
        while unreported:
            pairs = [*unreported][:_MAX_REPORTED]
            keys: dict[str, int] = {}
            arguments: list[str | float] = [MAX_CLIENT_ADDRESSES, KEPT_SECONDS]
            for client, address in pairs:
                seconds = self._own.known_addresses.get_seconds_unused(client, address)
                if seconds is not None:
                    number = keys.setdefault(self._describe_known(client), len(keys) + 1)
                    arguments += [number, address, int(seconds)]
            if keys:
                await self._remember_known([*keys], arguments)
            for pair in pairs:
                unreported.pop(pair, None)

    async def _learn_known(self, addresses: list[str]) -> None:
        """Learn which clients have authenticated from addresses at other gateways."""
        clients = [*self._own.get_active().clients]
        if not addresses or not clients:
            return
        answer: list[int] = await self._find_known(
            [self._describe_known(client) for client in clients], [KEPT_SECONDS, *addresses]
        )
        for client, address, seconds in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
            self._own.known_addresses.learn(clients[client - 1], addresses[address - 1], seconds)

    def _forget_unreported(self) -> None:
        self._own.clients.unreported, self._own.addresses.unreported = {}, {}

    def _describe_known(self, client: str) -> str:
        return f"{self._prefix}:known:{client}"
