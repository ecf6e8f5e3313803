"""Shadow: copies of requests for a version whose answers nobody sees."""

import asyncio
from types import TracebackType
from typing import Self

import aiohttp

from berth_gateway.upstream import Call, Upstream, UpstreamError

SHADOW_HEADER = "x-berth-shadow"

_MAX_COPIES = 64
_MAX_BYTES = 64 << 20
"""What copies under way may hold. Beyond, copies are dropped: a shadow that is slow
must not take the memory of the gateway that clients wait for."""


class Shadows:
    """Copies under way.

    Attributes:
        counts: (model, version, outcome) -> copies; an outcome is `answered`, `failed` (no
            answer, or one of 4xx or 5xx) or `dropped`.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self.counts: dict[tuple[str, str, str], int] = {}

    def send(self, model: str, version: str, call: Call, url: str) -> None:
        """Send `call` in the background, marked as a copy; return at once."""
        size = len(call.body or b"")
        if len(self._tasks) >= _MAX_COPIES or self._bytes + size > _MAX_BYTES:
            self._count(model, version, "dropped")
            return
        self._bytes += size
        task = asyncio.create_task(self._send(model, version, call, url))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, size))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up the copies under way."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, model: str, version: str, call: Call, url: str) -> None:
        outcome = "failed"
        try:
            async with (
                asyncio.timeout(call.seconds),
                await self._upstream.ask(call, lambda: url) as response,
            ):
                async for _ in response.content.iter_any():
                    pass
                if response.status < 400:
                    outcome = "answered"
        except (UpstreamError, TimeoutError, aiohttp.ClientError):
            pass
        finally:
            self._count(model, version, outcome)

    def _done(self, task: asyncio.Task[None], size: int) -> None:
        self._tasks.discard(task)
        self._bytes -= size

    def _count(self, model: str, version: str, outcome: str) -> None:
        key = (model, version, outcome)
        self.counts[key] = self.counts.get(key, 0) + 1
