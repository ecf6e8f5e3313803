"""Blocks that several gateways share: each reports offenses to Valkey, and learns of all blocks."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter
from valkey.asyncio import Valkey

from berth_gateway.active_config import ActiveConfig
from berth_gateway.limits.blocks import (
    MAX_CLIENT_ADDRESSES,
    MAX_SUBJECTS,
    BlockList,
    KnownAddresses,
)
from berth_gateway.limits.valkey_scripts import BLOCK, FIND_KNOWN

# Most subjects and pairs in one exchange, and most addresses that are looked up for each client:
# 300 clients and 50 addresses take the server about 5 ms.
_MAX_REPORTED = 1000
_MAX_LOOKED_UP = 50
_KNOWN_SECONDS = 30 * 86_400
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
        get_active: Returns the active configuration.
    """

    clients: BlockList
    addresses: BlockList
    known_addresses: KnownAddresses
    client_blocks: Counter
    address_blocks: Counter
    get_active: Callable[[], ActiveConfig]


class SharedBlocks:
    """Exchanges blocks with the other gateways of a stack.

    Each gateway still counts and blocks by itself, so no request waits for Valkey. Valkey adds up
    the offenses at all gateways, and a subject that it blocks is blocked at each gateway after the
    next exchange.

    Args:
        prefix: First part of all keys.
        own: The blocks of this gateway.
    """

    def __init__(self, valkey: Valkey, prefix: str, own: GatewayBlocks) -> None:
        self._valkey = valkey
        # Valkey's cluster mode keeps keys with the same text in braces together.
        self._prefix = f"{prefix}:{{blocks}}"
        self._own = own
        self._block = valkey.register_script(BLOCK)
        self._find_known = valkey.register_script(FIND_KNOWN)
        self.forget_unreported()

    def forget_unreported(self) -> None:
        """Forget offenses that were counted while Valkey was unreachable: they may be old."""
        self._own.clients.unreported, self._own.addresses.unreported = {}, {}
        if self._own.known_addresses.unreported is None:
            self._own.known_addresses.unreported = {}

    async def exchange(self) -> None:
        """Report what the other gateways do not know, and apply their blocks.

        Raises:
            ValkeyError: If Valkey does not respond.
            OSError: If the connection fails.
        """
        await self._report_known()
        clients = await self._report("client", self._own.clients)
        addresses = await self._report("address", self._own.addresses)
        new = [each for each in addresses if not self._own.addresses.get_seconds_left(each)]
        # An address that is not looked up yet waits for the next exchange.
        waiting = set(new[_MAX_LOOKED_UP:])
        await self._learn_known(new[:_MAX_LOOKED_UP])
        active = self._own.get_active()
        if active.config.blocking is None:
            return  # Blocks from before, or of gateways that have another configuration.
        for client, seconds in clients.items():
            if client in active.clients and self._own.clients.block(client, seconds):
                self._own.client_blocks.labels(client).inc()
                _LOG.warning("Client '%s' is blocked for %d s by all gateways", client, seconds)
        for address, seconds in addresses.items():
            if address not in waiting and self._own.addresses.block(address, seconds):
                self._own.address_blocks.inc()
                _LOG.warning("Address %s is blocked for %d s by all gateways", address, seconds)

    async def _report(self, kind: str, block_list: BlockList) -> dict[str, float]:
        """Report offenses. Return the seconds left of each active block."""
        unreported = block_list.unreported or {}
        reported = {name: unreported.pop(name) for name in [*unreported][:_MAX_REPORTED]}
        rule: tuple[float, ...] = (1, 1, 1, 1)
        if block_list.rule is not None:
            threshold, blocking = block_list.rule
            rule = (
                threshold,
                blocking.window_seconds,
                blocking.first_seconds,
                blocking.max_seconds,
            )
        keys = [f"{self._prefix}:{kind}s", *(f"{self._prefix}:{kind}:{each}" for each in reported)]
        arguments: list[str | float] = [*rule, MAX_SUBJECTS]
        for subject, count in reported.items():
            arguments += [subject, count]
        answer: list[Any] = await self._block(keys, arguments)
        pairs = zip(answer[::2], answer[1::2], strict=True)
        return {name.decode(): left / 1000 for name, left in pairs}

    async def _report_known(self) -> None:
        unreported = self._own.known_addresses.unreported or {}
        if not unreported:
            return
        seconds, _ = await self._valkey.time()
        pipeline = self._valkey.pipeline(transaction=False)
        pairs = [*unreported][:_MAX_REPORTED]
        for client, address in pairs:
            key = self._describe_known(client)
            pipeline.zadd(key, {address: seconds})
            pipeline.zremrangebyrank(key, 0, -1 - MAX_CLIENT_ADDRESSES)
            pipeline.expire(key, _KNOWN_SECONDS)
        await pipeline.execute()
        for pair in pairs:
            del unreported[pair]

    async def _learn_known(self, addresses: list[str]) -> None:
        """Learn which clients have authenticated from addresses at other gateways."""
        clients = [*self._own.get_active().clients]
        if not addresses or not clients:
            return
        answer: list[int] = await self._find_known(
            [self._describe_known(client) for client in clients], addresses
        )
        for client, address in zip(answer[::2], answer[1::2], strict=True):
            self._own.known_addresses.learn(clients[client - 1], addresses[address - 1])

    def _describe_known(self, client: str) -> str:
        return f"{self._prefix}:known:{client}"
