"""Health of the berths: which ones do not respond or are not ready.

A berth is healthy until a request or a check fails, so that healthy berths cost no checks. An
unhealthy one is checked until it is ready again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from berth_gateway.active_config import ActiveConfig
from berth_gateway.upstream import UpstreamError, UpstreamPool, UpstreamRequest
from berth_protocol.paths import model_ready_path

READY_SECONDS = 2.0
"""Time limit of a readiness check. A client that waits longer assumes that the server hangs."""
_CHECK_INTERVAL_SECONDS = 0.5
_WATCH_INTERVAL_SECONDS = 1.0
_LOG = logging.getLogger("gateway")


@dataclass(frozen=True)
class Berth:
    """A berth, until it is replaced.

    Attributes:
        model: Model name.
        version: Model version.
        url: Base URL.
    """

    model: str
    version: str
    url: str


class BerthHealth:
    """The health of all berths.

    Args:
        get_active_config: Returns the active configuration. Berths that are no longer in it are not
            checked.
    """

    def __init__(self, pool: UpstreamPool, get_active_config: Callable[[], ActiveConfig]) -> None:
        self._pool = pool
        self._get_active_config = get_active_config
        self._unhealthy: dict[Berth, asyncio.Task[None]] = {}
        self._checks: dict[Berth, asyncio.Task[bool]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def watch(self, find_berths: Callable[[], Iterable[Berth]]) -> None:
        """Check healthy berths too, until cancelled. Requests that pass by do not show failures."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_SECONDS)
            await asyncio.gather(
                *(self._check_twice(berth) for berth in find_berths() if self.is_healthy(berth))
            )

    async def _check_twice(self, berth: Berth) -> None:
        if not await self.is_ready(berth) and not await self.is_ready(berth):
            self.report_failure(berth, f"is not ready or did not respond in {READY_SECONDS:g} s")

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel the checks in flight."""
        tasks: list[asyncio.Task[None] | asyncio.Task[bool]] = [*self._unhealthy.values()]
        tasks += self._checks.values()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def unhealthy(self) -> list[Berth]:
        """The berths that are unhealthy now."""
        return [*self._unhealthy]

    def is_healthy(self, berth: Berth) -> bool:
        """Return whether no failure of the berth is known."""
        return berth not in self._unhealthy

    def report_failure(self, berth: Berth, reason: str) -> None:
        """Treat the berth as unhealthy until it is ready."""
        if berth not in self._unhealthy:
            self._unhealthy[berth] = asyncio.create_task(self._check_until_ready(berth))
            _LOG.warning(
                "Berth %s/%s is unhealthy: it %s. Its share of the requests goes to healthy "
                "versions, if there are any",
                berth.model,
                berth.version,
                reason,
            )

    async def check(self, berth: Berth) -> bool:
        """Return whether the berth is ready. If it is not, treat it as unhealthy.

        Requests that check the same berth at the same time share one check.
        """
        return await asyncio.shield(self.start_check(berth))

    def start_check(self, berth: Berth) -> asyncio.Task[bool]:
        """Check the berth in the background."""
        task = self._checks.get(berth)
        if task is None:
            task = self._checks[berth] = asyncio.create_task(self._check_once(berth))
            task.add_done_callback(lambda _: self._checks.pop(berth, None))
        return task

    async def _check_once(self, berth: Berth) -> bool:
        is_ready = await self.is_ready(berth)
        if not is_ready:
            self.report_failure(berth, f"is not ready or did not respond in {READY_SECONDS:g} s")
        return is_ready

    async def _check_until_ready(self, berth: Berth) -> None:
        try:
            while self._is_deployed(berth):
                await asyncio.sleep(_CHECK_INTERVAL_SECONDS)
                if await self.is_ready(berth):
                    _LOG.info("Berth %s/%s is healthy again", berth.model, berth.version)
                    return
        finally:
            self._unhealthy.pop(berth, None)

    def _is_deployed(self, berth: Berth) -> bool:
        model = self._get_active_config().config.models.get(berth.model)
        return model is not None and model.versions.get(berth.version) == berth.url

    async def is_ready(self, berth: Berth) -> bool:
        """Ask the berth whether it is ready, within READY_SECONDS."""
        request = UpstreamRequest(
            method="GET",
            path=model_ready_path(berth.model, berth.version),
            headers=[],
            body=None,
            timeout_seconds=READY_SECONDS,
        )
        try:
            async with await self._pool.send(request, lambda: berth.url) as response:
                return response.status == 200
        except UpstreamError:
            return False
