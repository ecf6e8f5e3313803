"""The server: sockets, signals, and the life of one gateway process."""

import asyncio
import contextlib
import errno
import logging
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import uvicorn
import uvloop

from berth_gateway import logs
from berth_gateway.admin import Admin
from berth_gateway.app import Gateway
from berth_gateway.authorize import Authorize
from berth_gateway.http1 import Http1
from berth_gateway.in_force import InForce
from berth_gateway.metrics import Metrics
from berth_gateway.peer_door import PeerDoor
from berth_gateway.peers import Peers
from berth_gateway.quota import Quotas
from berth_gateway.quota_file import keep_counters, read_counters
from berth_gateway.reload import TableFiles, reload, watch
from berth_gateway.settings import Settings, SettingsError, read_settings
from berth_gateway.shadow import Shadows
from berth_gateway.sharing import Sharing
from berth_gateway.table import TableError
from berth_gateway.throttle import Throttle
from berth_gateway.upstream import Upstream

EXIT_BAD_CONFIGURATION = 2
EXIT_PORT_IN_USE = 4

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
# What of the grace is left to close connections and files after the last request.
_CLOSING_SECONDS = 1.0
_LOG = logging.getLogger("gateway")
_App = Gateway | Authorize | Admin | PeerDoor


def run(environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    0 after a drain, 2 when settings or table cannot be used, 4 when a port is taken.
    """
    try:
        settings = read_settings(environment)
        files = TableFiles(settings.table, settings.token_file)
        in_force = files.load(None)
    except (SettingsError, TableError) as error:
        return _fail(EXIT_BAD_CONFIGURATION, str(error))
    logs.set_up(settings.log_level)
    doors = {
        "public": (settings.host, settings.port),
        "authorize": (settings.host, settings.authorize_port),
        "admin": (settings.admin_host, settings.admin_port),
        "peer": (settings.host, settings.peer_port),
    }
    sockets: dict[str, socket.socket] = {}
    for name, (host, port) in doors.items():
        if port is None:
            continue
        try:
            sockets[name] = _listen(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return _fail(
                    EXIT_PORT_IN_USE, f"port {port} of {host} is in use by another program"
                )
            return _fail(EXIT_BAD_CONFIGURATION, f"cannot listen on {host}:{port}: {error}")
    uvloop.run(_serve(settings, files, in_force, sockets))
    return 0


async def _serve(
    settings: Settings, files: TableFiles, in_force: InForce, sockets: Mapping[str, socket.socket]
) -> None:
    loop = asyncio.get_running_loop()
    quota_file = settings.state_dir / "quotas.json"
    quotas = Quotas(lambda: datetime.now(UTC), read_counters(quota_file))
    throttle = Throttle(time.monotonic)
    async with Upstream() as upstream, Shadows(upstream) as shadows:
        gateway = Gateway(
            in_force,
            upstream,
            shadows,
            throttle,
            quotas,
            access_log=_LOG.isEnabledFor(logging.INFO),
        )
        grace = max(settings.grace_seconds - _CLOSING_SECONDS, 0.1)
        authorize = Authorize(gateway)
        apps: dict[str, _App] = {"public": gateway, "authorize": authorize}
        doors = {name: _server(app, grace) for name, app in apps.items() if name in sockets}

        def end() -> None:
            gateway.draining = True
            for server in doors.values():
                server.should_exit = True

        loop.add_signal_handler(signal.SIGHUP, reload, gateway, files)
        for ending in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(ending, end)
        sharing = Sharing(
            secrets.token_hex(8), throttle, quotas, lambda name: gateway.in_force.clients.get(name)
        )
        async with (
            _shared(settings, sharing, authorize, gateway.metrics, sockets.get("peer")),
            _beside(Admin(gateway), sockets["admin"]),
            _until_end(lambda ended: keep_counters(quotas, quota_file, ended)),
            _until_end(lambda ended: watch(gateway, files, settings.watch_seconds, ended)),
        ):
            _LOG.info(
                "listening on %s:%d, table %s", settings.host, settings.port, in_force.table_sha256
            )
            await asyncio.gather(
                *(server.serve(sockets=[sockets[name]]) for name, server in doors.items())
            )


@contextlib.asynccontextmanager
async def _shared(
    settings: Settings,
    sharing: Sharing,
    authorize: Authorize,
    metrics: Metrics,
    listener: socket.socket | None,
) -> AsyncIterator[None]:
    """Share the limits with the peers, if there are any; begin with what they know."""
    if listener is None or settings.peer_port is None:
        yield
        return
    async with (
        _beside(PeerDoor(sharing, authorize), listener),
        Peers(settings.peers, settings.peer_port, sharing, metrics.peer_messages) as peers,
    ):
        await peers.join()
        authorize.judge_elsewhere = peers.judge
        metrics.peers.set_function(peers.answering)
        async with _until_end(peers.run):
            yield


@contextlib.asynccontextmanager
async def _beside(app: _App, listener: socket.socket) -> AsyncIterator[None]:
    """Serve `app`, which no client waits for, until the end of the block."""
    server = _server(app, 0.1)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def _until_end(
    work: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
) -> AsyncIterator[None]:
    """Do `work`, which ends itself once its event is set, as it is at the end of the block."""
    ended = asyncio.Event()
    working = asyncio.create_task(work(ended))
    try:
        yield
    finally:
        ended.set()
        await working


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: all servers share this process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: _App, grace_seconds: float) -> _Server:
    config = uvicorn.Config(
        app,
        http=Http1,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    # Whole seconds in its signature, but any number in what it is used for.
    config.timeout_graceful_shutdown = grace_seconds  # type: ignore[assignment]
    return _Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _fail(status: int, text: str) -> int:
    print(f"gateway: {text}", file=sys.stderr)
    return status
