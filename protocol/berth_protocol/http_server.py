"""The HTTP/1.1 server of Berth's programs: uvicorn with bounded connections and no upgrades."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn

from berth_protocol.asgi import App
from berth_protocol.body_memory import BodyMemory
from berth_protocol.http_connection import HttpConnection
from berth_protocol.slow_clients import SlowClients

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its process, which may run several servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers unchanged."""
        yield

    def stop(self, grace_seconds: float) -> None:
        """Stop accepting connections, and finish requests in flight within `grace_seconds`."""
        # uvicorn declares whole seconds but accepts any number.
        self.config.timeout_graceful_shutdown = grace_seconds  # type: ignore[assignment]
        self.should_exit = True


def server_config(
    app: App,
    *,
    body_memory: BodyMemory,
    on_trailer: Callable[[], None],
    request_seconds: float | None = None,
    slow_clients: SlowClients | None = None,
    responds_after_request: bool = False,
    max_requests: int | None = None,
    date_header: bool = True,
) -> uvicorn.Config:
    """Return the configuration of a server for `app`.

    Args:
        body_memory: See `HttpConnection`. Servers of one process share it.
        on_trailer: See `HttpConnection`.
        request_seconds: See `HttpConnection`.
        slow_clients: See `HttpConnection`. Servers of one process share it.
        responds_after_request: See `HttpConnection`.
        max_requests: See `HttpConnection`.
        date_header: Send a `Date` header. A berth does not, because the gateway sends its own.
    """
    return uvicorn.Config(
        app,
        http=partial(  # type: ignore[arg-type]
            HttpConnection,
            body_memory=body_memory,
            on_trailer=on_trailer,
            request_seconds=request_seconds,
            slow_clients=slow_clients,
            responds_after_request=responds_after_request,
            max_requests=max_requests,
        ),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=date_header,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Return a socket that is bound but does not listen yet; see `listen`.

    Args:
        reuse_port: Let other processes of this user bind to the same port.

    Raises:
        OSError: If the address is in use or does not exist.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def listen(bound: socket.socket) -> None:
    """Accept connections on a bound socket."""
    bound.listen(_BACKLOG)
