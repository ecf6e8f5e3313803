"""The server: sockets, signals, and the lifetime of one gateway process."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

import uvicorn
import uvloop

from berth_gateway.active_config import ConfigStore
from berth_gateway.admin_app import AdminApp
from berth_gateway.authorize_app import AuthorizeApp
from berth_gateway.berth_health import BerthHealth
from berth_gateway.config import ConfigError
from berth_gateway.controller_services import find_watched_berths
from berth_gateway.handover import Address, EntryHandover, Handover, HandoverError
from berth_gateway.limits.limiter import Limiter, MemoryLimiter
from berth_gateway.limits.shared_blocks import GatewayBlocks
from berth_gateway.limits.valkey_limiter import ValkeyLimiter
from berth_gateway.metrics import Metrics
from berth_gateway.public_app import PublicApp
from berth_gateway.settings import Settings, read_settings
from berth_gateway.traffic import ShadowTraffic
from berth_gateway.upstream import UpstreamPool
from berth_protocol.asgi import App
from berth_protocol.body_memory import BodyMemory
from berth_protocol.environment import SettingError
from berth_protocol.http_server import HttpServer, bind, listen, server_config
from berth_protocol.json_logs import configure_logging
from berth_protocol.slow_clients import SlowClients

EXIT_BAD_CONFIGURATION = 2
EXIT_PORT_IN_USE = 4

# Part of the grace period that is left to close connections and files after the last request.
_CLOSING_SECONDS = 1.0
# Grace period of the servers that no client waits for.
_INTERNAL_GRACE_SECONDS = 0.1
# Time in which a client of a kept connection sends its next request, whose response then closes the
# connection. New connections wait this long in a handover.
_LINGER_SECONDS = 0.2
_LOG = logging.getLogger("gateway")


def run(environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit status: 0 after a graceful shutdown, 2 if the settings or the configuration are
        invalid, 4 if a port is in use.
    """
    try:
        settings = read_settings(environment)
        configs = ConfigStore(settings.config_file, settings.token_file)
    except (SettingError, ConfigError) as error:
        return _fail(EXIT_BAD_CONFIGURATION, str(error))
    configure_logging(_LOG, settings.log_level, sys.stderr)
    addresses: dict[str, Address] = {
        "public": (settings.host, settings.port),
        "admin": (settings.admin_host, settings.admin_port),
    }
    if settings.authorize_port is not None:
        addresses["authorize"] = (settings.host, settings.authorize_port)
    handover = _create_handover(settings)
    try:
        if handover is None:
            sockets = {name: _listen(address) for name, address in addresses.items()}
        else:
            sockets = handover.obtain_sockets(addresses, _listen)
            _LOG.info("Prepared; waiting until no other process serves")
            handover.wait_for_turn()
            # The files may have changed in the meantime.
            configs = ConfigStore(settings.config_file, settings.token_file)
    except _ListenError as error:
        return _fail(error.status, str(error))
    except (ConfigError, HandoverError) as error:
        return _fail(EXIT_BAD_CONFIGURATION, str(error))
    uvloop.run(_serve(settings, configs, sockets, handover))
    return 0


def _create_handover(settings: Settings) -> Handover | None:
    if settings.entry is not None:
        return EntryHandover(settings.entry, settings.prepared_file)
    return Handover(settings.handover) if settings.handover is not None else None


class _ListenError(Exception):
    """An address that cannot be listened on.

    Attributes:
        status: Exit status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _listen(address: Address) -> socket.socket:
    host, port = address
    try:
        listener = bind(host, port)
        listen(listener)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _ListenError(
                EXIT_PORT_IN_USE,
                f"Port {port} on {host} is in use by another program. "
                "Stop that program, or configure another port.",
            ) from error
        raise _ListenError(
            EXIT_BAD_CONFIGURATION, f"Cannot listen on {host}:{port}: {error}"
        ) from error
    return listener


class _GatewayServer(HttpServer):
    """A server that can stop accepting connections and serve those that it has."""

    _is_lingering = False

    async def linger(self) -> None:
        """Accept no connection. Close each connection after its next response."""
        self._is_lingering = True
        for server in self.servers:
            server.close()
        await self.on_tick(0)
        await asyncio.sleep(_LINGER_SECONDS)

    async def on_tick(self, counter: int) -> bool:
        """Update the headers of all responses, and return whether to shut down."""
        should_exit = await super().on_tick(counter)
        close = (b"connection", b"close")
        if self._is_lingering and close not in self.server_state.default_headers:
            self.server_state.default_headers = [*self.server_state.default_headers, close]
        return should_exit


async def _serve(
    settings: Settings,
    configs: ConfigStore,
    sockets: Mapping[str, socket.socket],
    handover: Handover | None,
) -> None:
    metrics = Metrics()
    limiter = _create_limiter(settings, metrics)

    async with (
        UpstreamPool() as pool,
        ShadowTraffic(pool) as shadow_traffic,
        BerthHealth(pool, lambda: configs.active) as health,
    ):
        gateway = PublicApp(
            configs,
            pool,
            shadow_traffic,
            health,
            limiter,
            metrics,
            access_log=_LOG.isEnabledFor(logging.INFO),
            trusts_forwarded_for=settings.trusts_forwarded_for,
            has_controller=settings.authorize_port is not None,
        )
        admission = gateway.admission
        metrics.observe_at_scrape(
            pool,
            shadow_traffic,
            limiter,
            {
                "client": admission.blocked_clients,
                "address": admission.authenticator.blocked_addresses,
            },
            health,
        )

        if isinstance(limiter, ValkeyLimiter):
            limiter.share_blocks(
                GatewayBlocks(
                    clients=admission.blocked_clients,
                    addresses=admission.authenticator.blocked_addresses,
                    known_addresses=admission.authenticator.known_addresses,
                    client_blocks=metrics.client_blocks,
                    address_blocks=metrics.address_blocks,
                    is_shared=metrics.blocks_shared,
                    failures=metrics.block_exchange_failures,
                    get_active=lambda: configs.active,
                )
            )

        body_memory = BodyMemory(
            _get_body_memory(settings, configs), configs.active.config.max_body_bytes
        )

        slow_clients = SlowClients(settings.body_memory_bytes, metrics.dropped_responses.inc)

        def on_reload(is_applied: bool) -> None:
            metrics.reloads.labels("applied" if is_applied else "rejected").inc()
            if is_applied:
                limiter.keep_only(configs.active.clients)
                admission.keep_only(configs.active)
                body_memory.max_bytes = _get_body_memory(settings, configs)
                body_memory.max_body_bytes = configs.active.config.max_body_bytes

        configs.on_reload = on_reload
        apps: dict[str, App] = {"public": gateway, "authorize": AuthorizeApp(gateway)}

        def create_config(app: App) -> uvicorn.Config:
            return server_config(
                app,
                body_memory=body_memory,
                on_trailer=metrics.dropped_trailers.inc,
                slow_clients=slow_clients,
                responds_after_request=settings.trusts_forwarded_for
                or settings.authorize_port is not None,
                max_requests=settings.connection_requests,
            )

        servers = {
            name: _GatewayServer(create_config(app))
            for name, app in apps.items()
            if name in sockets
        }
        admin = HttpServer(create_config(AdminApp(gateway)))
        async with contextlib.AsyncExitStack() as stack, contextlib.AsyncExitStack() as turn:

            async def end_turn() -> None:
                """Let the next process serve, after it can read the counters of this one."""
                if handover is not None:
                    await asyncio.gather(*(server.linger() for server in servers.values()))
                    admin.stop(_INTERNAL_GRACE_SECONDS)
                    await turn.aclose()
                    handover.release_turn()

            _handle_signals(settings, configs, gateway, [*servers.values()], end_turn)
            await stack.enter_async_context(_serve_in_background(admin, sockets["admin"]))
            await turn.enter_async_context(limiter)
            if handover is not None:
                turn.enter_context(handover.pass_on(sockets))
            await stack.enter_async_context(_watch_files(configs, settings.watch_seconds))
            if "authorize" in sockets:
                await stack.enter_async_context(
                    _run_in_background(
                        health.watch(lambda: find_watched_berths(configs.active.config))
                    )
                )
            _LOG.info(
                "Listening on %s:%d with configuration %s",
                settings.host,
                settings.port,
                configs.active.config_sha256,
            )
            await asyncio.gather(
                *(server.serve(sockets=[sockets[name]]) for name, server in servers.items())
            )


def _get_body_memory(settings: Settings, configs: ConfigStore) -> int:
    return configs.active.config.body_memory_bytes or settings.body_memory_bytes


def _create_limiter(settings: Settings, metrics: Metrics) -> Limiter:
    own = MemoryLimiter(settings.state_dir / "quotas.json")
    if settings.valkey is None:
        return own
    return ValkeyLimiter(
        settings.valkey,
        settings.valkey_prefix,
        settings.when_unreachable,
        own,
        is_shared=metrics.limits_shared,
        own_decisions=metrics.own_decisions,
    )


def _handle_signals(
    settings: Settings,
    configs: ConfigStore,
    gateway: PublicApp,
    servers: list[_GatewayServer],
    end_turn: Callable[[], Awaitable[None]],
) -> None:
    """Reload on SIGHUP. On SIGTERM and SIGINT, finish the requests in flight and exit."""
    grace_seconds = max(settings.grace_seconds - _CLOSING_SECONDS, _INTERNAL_GRACE_SECONDS)
    loop = asyncio.get_running_loop()
    draining: list[asyncio.Task[None]] = []

    async def drain() -> None:
        gateway.is_draining = True
        try:
            await end_turn()
        finally:
            for server in servers:
                server.stop(grace_seconds)

    def start_draining() -> None:
        if not draining:
            draining.append(loop.create_task(drain()))

    loop.add_signal_handler(signal.SIGHUP, configs.reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, start_draining)


@contextlib.asynccontextmanager
async def _serve_in_background(server: HttpServer, listener: socket.socket) -> AsyncIterator[None]:
    """Run a server until the end of the block."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.stop(_INTERNAL_GRACE_SECONDS)
        await serving


@contextlib.asynccontextmanager
async def _run_in_background(job: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `job` until the end of the block, and cancel it."""
    task = asyncio.create_task(job)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def _watch_files(configs: ConfigStore, interval_seconds: float) -> AsyncIterator[None]:
    """Reload changed files until the end of the block."""
    stop = asyncio.Event()
    watching = asyncio.create_task(configs.watch(interval_seconds, stop))
    try:
        yield
    finally:
        stop.set()
        await watching


def _fail(status: int, message: str) -> int:
    print(f"gateway: {message}", file=sys.stderr)
    return status
