"""A server that shuts down gracefully."""

import asyncio
from enum import Enum, auto

import uvicorn

from berth_protocol.http_server import HttpServer
from berth_serving.data_plane import DataPlane

# The gateway and the cluster stop sending requests when readiness fails. No request for this long
# means that they have stopped. A client that never checks readiness delays the shutdown by at most
# the window.
QUIET_SECONDS = 0.3
_WINDOW_SECONDS = 5.0
# A connection that was just accepted may be about to send its first request.
_IDLE_CONNECTION_SECONDS = 0.2


class DrainStep(Enum):
    """The next action of a server that shuts down."""

    ACCEPT = auto()
    CLOSE_LISTENER = auto()
    STOP = auto()


class Drain:
    """The schedule of one graceful shutdown. All times are on the event loop's clock.

    Args:
        grace_seconds: Time limit for the shutdown.
        now: Start of the shutdown.
        request_count: Number of inference requests before the shutdown.
        accept_seconds: How long new connections are accepted even if no request arrives.

    Attributes:
        cancel_time: When to reject requests that are unfinished.
    """

    def __init__(
        self, grace_seconds: float, now: float, request_count: int, accept_seconds: float = 0
    ) -> None:
        margin = min(1.0, grace_seconds / 4)
        self.cancel_time = now + grace_seconds - 2 * margin
        self._stop_time = now + grace_seconds - margin
        self._window_end = now + min(_WINDOW_SECONDS, grace_seconds / 2)
        self._quiet_start = now + accept_seconds
        self._request_count = request_count
        self._last_request = now
        self._listener_closed: float | None = None

    def next_step(self, now: float, request_count: int) -> DrainStep:
        """Return the next step, given the number of inference requests so far."""
        if request_count != self._request_count:
            self._request_count, self._last_request = request_count, now
        if self._listener_closed is None:
            is_quiet = now >= max(self._last_request + QUIET_SECONDS, self._quiet_start)
            if not is_quiet and now < self._window_end:
                return DrainStep.ACCEPT
            self._listener_closed = now
        if now < self._listener_closed + _IDLE_CONNECTION_SECONDS:
            return DrainStep.CLOSE_LISTENER
        return DrainStep.STOP

    def remaining_seconds(self, now: float) -> float:
        """Return how long requests in flight may still take."""
        return max(0.1, self._stop_time - now)


class DrainingServer(HttpServer):
    """A server that fails readiness first and stops accepting connections later.

    After `start_draining`, readiness checks fail and every response closes its connection, but
    requests are still accepted. When requests stop arriving, the listening socket closes and
    requests in flight finish. Requests that are unfinished shortly before the grace period ends
    get 503. The same happens by itself when the GPU has failed.

    Args:
        accept_seconds: See `Drain`.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        plane: DataPlane,
        grace_seconds: float,
        accept_seconds: float = 0,
    ) -> None:
        super().__init__(config)
        self._plane = plane
        self._grace_seconds = grace_seconds
        self._accept_seconds = accept_seconds
        self._drain: Drain | None = None

    def start_draining(self) -> None:
        """Fail readiness checks. `on_tick` does the rest."""
        if self._drain is None:
            loop = asyncio.get_running_loop()
            self._plane.is_ready = False
            self._drain = Drain(
                self._grace_seconds, loop.time(), self._plane.request_count, self._accept_seconds
            )
            loop.call_at(self._drain.cancel_time, self._plane.cancel_requests)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to shut down now. uvicorn calls this ten times per second."""
        if self._plane.gpu_failure is not None:
            self.start_draining()
        if self._drain is not None:
            now = asyncio.get_running_loop().time()
            step = self._drain.next_step(now, self._plane.request_count)
            if step is not DrainStep.ACCEPT:
                for server in self.servers:
                    server.close()
            if step is DrainStep.STOP:
                self.stop(self._drain.remaining_seconds(now))
        return await super().on_tick(counter)
