"""Limits that several gateways share: Valkey decides about each request, in one script."""

import asyncio
import contextlib
import logging
from collections.abc import Container
from types import TracebackType
from typing import Any, Self

from prometheus_client import Counter, Gauge
from valkey.asyncio import BlockingConnectionPool, SSLConnection, Valkey
from valkey.backoff import NoBackoff
from valkey.exceptions import TimeoutError as ValkeyTimeoutError
from valkey.exceptions import ValkeyError
from valkey.retry import Retry

from berth_gateway.config import Client, Quota
from berth_gateway.limits.limit_decision import LimitDecision
from berth_gateway.limits.limiter import MemoryLimiter
from berth_gateway.limits.quota import QuotaCounter, get_period_bounds
from berth_gateway.limits.shared_blocks import GatewayBlocks, SharedBlocks
from berth_gateway.limits.valkey_address import ValkeyAddress, WhenUnreachable
from berth_gateway.limits.valkey_scripts import DECIDE, RAISE

# A decision takes less than a millisecond, but a busy machine may stop a process for much longer:
# with 0.25 s, gateways on two loaded CPUs took a running server for unreachable.
_TIMEOUT_SECONDS = 1
# A gateway that starts knows no counts yet, so it gives a slow server several chances.
_START_ATTEMPTS = 3
_RETRY_SECONDS = 0.5
_CANCEL_SECONDS = 0.1
# A restarted server may have lost its last decisions. The gateways notice that within this time.
_CHECK_SECONDS = 1
_MAX_CONNECTIONS = 64
# Longest wait for a connection that other decisions use.
_POOL_SECONDS = 1
# Counters outlive their period a little, for gateways whose clock is late.
_KEPT_SECONDS = 3600
_LOG = logging.getLogger("gateway")


class ValkeyLimiter:
    """Keeps the limits in Valkey, for all gateways with the same address and prefix.

    While Valkey is unreachable, the gateway decides by itself and continues from what Valkey last
    said. When Valkey responds again, the gateway adds what it counted. After every restart of
    Valkey, the gateway restores what Valkey has lost of the quotas and of the known addresses.

    Args:
        prefix: First part of all keys. It differs between stacks that share a Valkey server.
        own: Limits for the time in which Valkey is unreachable.
        is_shared: Set to 1 while Valkey decides, otherwise to 0.
        own_decisions: Counts what this gateway decided by itself.
    """

    def __init__(
        self,
        address: ValkeyAddress,
        prefix: str,
        when_unreachable: WhenUnreachable,
        own: MemoryLimiter,
        *,
        is_shared: Gauge,
        own_decisions: Counter,
    ) -> None:
        self._address = address
        self._prefix = prefix
        self._when_unreachable = when_unreachable
        self._own = own
        self._is_shared = is_shared
        self._own_decisions = own_decisions
        self._valkey = _create_client(address)
        self._decide = self._valkey.register_script(DECIDE)
        self._raise = self._valkey.register_script(RAISE)
        self._is_lost = asyncio.Event()
        # Requests that this gateway allowed and Valkey does not know of, by key of their counter.
        self._unreported: dict[str, int] = {}
        self._watching: asyncio.Task[None] | None = None
        self._server_run = ""
        self._blocks: SharedBlocks | None = None

    def share_blocks(self, own: GatewayBlocks) -> None:
        """Share blocks as well. Call this before the context manager is entered."""
        self._blocks = SharedBlocks(self._valkey, self._prefix, own)

    async def __aenter__(self) -> Self:
        await self._own.__aenter__()
        try:
            await self._connect()
        except (ValkeyError, OSError) as error:
            self._lose(error)
        else:
            self._is_shared.set(1)
            await self._exchange_blocks()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The client of Valkey limits its calls with timeouts, which can swallow a cancellation.
        while self._watching is not None and not self._watching.done():
            self._watching.cancel()
            await asyncio.wait([self._watching], timeout=_CANCEL_SECONDS)
        if self._unreported:
            with contextlib.suppress(ValkeyError, OSError):
                await self._report()
        await self._valkey.aclose()
        await self._own.__aexit__(exc_type, exc, traceback)

    async def take_token(self, client: Client) -> LimitDecision:
        """Count a request against the client's rate limit, if it is allowed."""
        answer = await self._ask(client, with_token=True)
        return await self._take_token(client, answer)

    async def consume_quota(self, client: Client) -> LimitDecision | None:
        """Count an inference request against the client's quota, if it is allowed."""
        if client.quota is None:
            return None
        answer = await self._ask(client, client.quota)
        return self._consume_quota(client, client.quota, answer)

    async def take_token_and_quota(
        self, client: Client
    ) -> tuple[LimitDecision, LimitDecision | None]:
        """Do both. Count nothing against the quota if the rate limit rejects the request."""
        answer = await self._ask(client, client.quota, with_token=True)
        decision = await self._take_token(client, answer)
        if client.quota is None or not decision.is_allowed:
            return decision, None
        return decision, self._consume_quota(client, client.quota, answer)

    async def _take_token(self, client: Client, answer: list[int] | None) -> LimitDecision:
        if answer is None:
            decision = await self._own.take_token(client)
            return decision if self._applies_own_limits else decision.allow()
        is_allowed, remaining, reset_seconds, retry_after_seconds = answer[:4]
        self._own.buckets.set_tokens(client, remaining)
        return LimitDecision(
            is_allowed=bool(is_allowed),
            limit=client.burst,
            remaining=remaining,
            reset_seconds=reset_seconds,
            retry_after_seconds=retry_after_seconds,
        )

    def _consume_quota(
        self, client: Client, quota: Quota, answer: list[int] | None
    ) -> LimitDecision:
        quotas = self._own.quotas
        if answer is not None:
            is_allowed, used = answer[4:]
            return quotas.record(client.name, quota, used, is_allowed=bool(is_allowed))
        counter = quotas.get_counter(client.name, quota)
        if self._applies_own_limits:
            decision = quotas.consume(client.name, quota)
        else:
            decision = quotas.record(client.name, quota, counter.used + 1, is_allowed=True)
        if decision.is_allowed:
            key, _ = self._describe(client.name, counter)
            self._unreported[key] = self._unreported.get(key, 0) + 1
        return decision

    def keep_only(self, clients: Container[str]) -> None:
        """Forget the rate limits of all other clients. Valkey forgets them once they are full."""
        self._own.keep_only(clients)

    def get_quota_used(self) -> dict[str, int]:
        """Return the requests counted in the current period, by client, as last known."""
        return self._own.get_quota_used()

    @property
    def _applies_own_limits(self) -> bool:
        return self._when_unreachable is WhenUnreachable.OWN_LIMITS

    def _describe(self, client: str, counter: QuotaCounter) -> tuple[str, int]:
        """Return the key of a counter, and the Unix time when it expires."""
        # Valkey's cluster mode keeps keys with the same text in braces together.
        key = f"{self._prefix}:{{{client}}}:{counter.period}:{counter.start:%Y-%m-%dT%H}"
        _, end = get_period_bounds(counter.period, counter.start)
        return key, int(end.timestamp()) + _KEPT_SECONDS

    async def _ask(
        self, client: Client, quota: Quota | None = None, *, with_token: bool = False
    ) -> list[int] | None:
        """Let Valkey decide. Return the answer of the script, or None if this gateway must."""
        bucket = f"{self._prefix}:{{{client.name}}}:bucket" if with_token else ""
        counter, expiry = "", 0
        if quota is not None:
            own = self._own.quotas.get_counter(client.name, quota)
            counter, expiry = self._describe(client.name, own)
        if not self._is_lost.is_set():
            try:
                answer: list[int] = await self._decide(
                    # A user of Valkey may be limited to keys with the prefix, so none is empty.
                    [bucket or counter, counter or bucket],
                    [
                        client.rate_per_second if bucket else "",
                        client.burst,
                        quota.requests if quota else "",
                        expiry,
                    ],
                )
            except (ValkeyError, OSError) as error:
                self._lose(error)
            else:
                return answer
        self._own_decisions.inc()
        return None

    def _lose(self, error: Exception) -> None:
        if self._is_lost.is_set():
            return  # Other requests have found out before.
        self._is_lost.set()
        self._is_shared.set(0)
        if self._blocks is not None:
            self._blocks.suspend()
        _LOG.error(
            "Valkey at %s is unreachable; %s: %s",
            self._address,
            "applying the limits to the requests of this gateway"
            if self._applies_own_limits
            else "letting all requests pass",
            error,
        )

    async def _connect(self) -> None:
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                await self._report()
            except ValkeyTimeoutError:
                if attempt == _START_ATTEMPTS:
                    raise
            else:
                return

    async def _watch(self) -> None:
        """Report to Valkey whenever it was lost or has restarted."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._is_lost.wait()
            if self._is_lost.is_set():
                await self._reconnect()
                continue
            try:
                if await self._read_server_run() != self._server_run:
                    await self._report()
                    _LOG.info("Valkey at %s has restarted; quotas are restored", self._address)
            except (ValkeyError, OSError) as error:
                self._lose(error)
            else:
                await self._exchange_blocks()

    async def _reconnect(self) -> None:
        """Report to Valkey, if it responds, and let it decide again."""
        await asyncio.sleep(_RETRY_SECONDS)
        with contextlib.suppress(ValkeyError, OSError):
            await self._report()
            while self._unreported:  # Requests that were counted in the meantime.
                await self._report()
            if self._blocks is not None:
                self._blocks.resume()
            self._is_lost.clear()
            self._is_shared.set(1)
            _LOG.info("Valkey at %s responds again; limits are shared", self._address)

    async def _exchange_blocks(self) -> None:
        if self._blocks is not None:
            await self._blocks.exchange()

    async def _read_server_run(self) -> str:
        """Return an ID that differs after each start of Valkey."""
        return str((await self._valkey.info("server"))["run_id"])

    async def _report(self) -> None:
        """Tell Valkey what this gateway knows of all quotas, and counted by itself.

        Raises:
            ValkeyError: If Valkey does not respond, or rejects the password.
            OSError: If the connection fails.
        """
        server_run = await self._read_server_run()
        unreported, self._unreported = self._unreported, {}
        for client, counter in self._own.quotas.get_current().items():
            key, expiry = self._describe(client, counter)
            added = unreported.pop(key, 0)
            try:
                await self._raise([key], [counter.used - added, added, expiry])
            except BaseException:  # Also if the gateway stops: it then reports once more.
                unreported[key] = added
                for key, added in unreported.items():
                    self._unreported[key] = self._unreported.get(key, 0) + added
                raise
        if self._blocks is not None and server_run != self._server_run:
            self._blocks.restore()
        self._server_run = server_run


def _create_client(address: ValkeyAddress) -> Valkey:
    tls: dict[str, Any] = (
        {"connection_class": SSLConnection, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        if address.uses_tls
        else {}
    )
    pool = BlockingConnectionPool(
        max_connections=_MAX_CONNECTIONS,
        timeout=_POOL_SECONDS,
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.user,
        password=address.password,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        # A repeated decision would count a request twice.
        retry=Retry(NoBackoff(), 0),
        **tls,
    )
    return Valkey(connection_pool=pool)
