"""A server that ends without failing a request."""

import asyncio

import uvicorn

from berth_protocol.http_server import HttpServer
from berth_serving.data_plane import DataPlane

# What routes here looks away when readiness says no. Nobody having asked for so long means that
# it has; a client that never looks is waited for no longer than the window.
_QUIET_SECONDS = 0.3
_WINDOW_SECONDS = 5.0
# From closing the door to closing idle connections: one just let in may be about to ask.
_LAST_CALL_SECONDS = 0.2


class DrainingServer(HttpServer):
    """uvicorn, which at SIGTERM or SIGINT first says so and only then closes.

    At once, readiness is refused and each answer closes its connection, while requests are still
    taken. When nobody asks any more the socket closes, and what is under way is finished. What
    is not finished shortly before `grace_seconds` are over is refused.
    """

    def __init__(self, config: uvicorn.Config, plane: DataPlane, grace_seconds: float) -> None:
        super().__init__(config)
        self._plane = plane
        self._grace_seconds = grace_seconds
        self._began: float | None = None
        self._closes: float | None = None
        self._asked = 0
        self._asked_at = 0.0

    def start_draining(self) -> None:
        """Fail readiness; `on_tick` does the rest."""
        self._plane.ready = False

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; whether to shut down now."""
        if not self._plane.ready:
            self._drain(asyncio.get_running_loop())
        return await super().on_tick(counter)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        grace = self._grace_seconds
        margin = min(1.0, grace / 4)
        if self._began is None:
            self._began = self._asked_at = now
            loop.call_later(grace - 2 * margin, self._plane.give_up)
        if self._plane.asked != self._asked:
            self._asked, self._asked_at = self._plane.asked, now
        over = now >= self._began + min(_WINDOW_SECONDS, grace / 2)
        quiet = now >= self._asked_at + _QUIET_SECONDS
        if self._closes is None and (over or quiet):
            for server in self.servers:
                server.close()
            self._closes = now + _LAST_CALL_SECONDS
        if self._closes is not None and now >= self._closes:
            self.stop(max(0.1, self._began + grace - margin - now))
