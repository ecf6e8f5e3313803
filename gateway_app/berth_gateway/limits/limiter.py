"""Limiters: apply the rate limits and quotas of all clients."""

import asyncio
import time
from collections.abc import Container
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from berth_gateway.config import Client
from berth_gateway.limits.limit_decision import LimitDecision
from berth_gateway.limits.quota import Quotas, read_counters, save_counters
from berth_gateway.limits.token_bucket import TokenBuckets


class Limiter(Protocol):
    """Applies the limits of all clients while the context manager is active."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def take_token(self, client: Client) -> LimitDecision:
        """Count a request against the client's rate limit, if it is allowed."""

    async def consume_quota(self, client: Client) -> LimitDecision | None:
        """Count an inference request against the client's quota, if it is allowed.

        Returns:
            None if the client has no quota.
        """

    async def take_token_and_quota(
        self, client: Client
    ) -> tuple[LimitDecision, LimitDecision | None]:
        """Do both. Count nothing against the quota if the rate limit rejects the request.

        Returns:
            The decisions. The second is None if it was not made.
        """

    def keep_only(self, clients: Container[str]) -> None:
        """Forget the rate limits of all other clients."""

    def get_quota_used(self) -> dict[str, int]:
        """Return the requests counted in the current period, by client."""


class MemoryLimiter:
    """Keeps the limits of one gateway in memory, and saves the quota counters to a file.

    The counters are saved while the context manager is active.
    """

    def __init__(self, quota_file: Path) -> None:
        self.buckets = TokenBuckets(time.monotonic)
        self.quotas = Quotas(lambda: datetime.now(UTC), read_counters(quota_file))
        self._quota_file = quota_file
        self._stop_saving = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._saving = asyncio.create_task(
            save_counters(self.quotas, self._quota_file, self._stop_saving)
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop_saving.set()
        if self._saving is not None:
            await self._saving

    async def take_token(self, client: Client) -> LimitDecision:
        """Count a request against the client's rate limit, if it is allowed."""
        return self.buckets.take(client)

    async def consume_quota(self, client: Client) -> LimitDecision | None:
        """Count an inference request against the client's quota, if it is allowed."""
        if client.quota is None:
            return None
        return self.quotas.consume(client.name, client.quota)

    async def take_token_and_quota(
        self, client: Client
    ) -> tuple[LimitDecision, LimitDecision | None]:
        """Do both. Count nothing against the quota if the rate limit rejects the request."""
        decision = await self.take_token(client)
        return decision, await self.consume_quota(client) if decision.is_allowed else None

    def keep_only(self, clients: Container[str]) -> None:
        """Forget the rate limits of all other clients."""
        self.buckets.keep_only(clients)

    def get_quota_used(self) -> dict[str, int]:
        """Return the requests counted in the current period, by client."""
        return self.quotas.get_used()
