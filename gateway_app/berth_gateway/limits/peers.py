"""Peers: gateways that serve the same clients, found by name and updated over HTTP.

One of the gateways, the owner, authorizes all requests of a client through the authorize port, so
that the client's limits are exact. Requests at the public port are counted by every gateway, and
the gateways report their usage to each other.
"""

import asyncio
import contextlib
import errno
import logging
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from prometheus_client import Counter

from berth_gateway.config import Client
from berth_gateway.limits.limit_decision import OwnerResponse
from berth_gateway.limits.limiter import MemoryLimiter
from berth_gateway.limits.sharing import Outbox, UsageSharing, UsageSnapshot, UsageUpdate
from berth_protocol.asgi import RawHeaders
from berth_protocol.headers import REQUEST_ID

_RESOLVE_SECONDS = 2.0
_UPDATE_SECONDS = 0.1
_RESPONSE_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_JOIN_SECONDS = 3.0
_JOIN_RETRY_SECONDS = 0.2
_LAST_UPDATE_SECONDS = 0.5
_AUTHORIZE_SECONDS = 0.25
AUTHORIZE_PATH = "/authorize"
DIFFERENT_CONFIG = 421
"""Status of a peer whose active configuration differs."""
_CONNECTION_HEADERS = (b"connection", b"date", b"keep-alive", b"server", b"transfer-encoding")
_REQUEST_ID = REQUEST_ID.encode()
_UNKNOWN_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)
_LOG = logging.getLogger("gateway")


class PeerStatus(msgspec.Struct, kw_only=True):
    """The response of a peer.

    Attributes:
        origin: Identifies the peer's process.
        snapshot: Usage that the peer knows of. None if it did not start counting, or after an
            update.
    """

    origin: str
    snapshot: UsageSnapshot | None = None


@dataclass
class _Peer:
    """One gateway.

    Attributes:
        address: Its address, which can turn out to be the one of this process.
        url: Base URL.
        outbox: Usage that was not sent yet.
        sending: The update that is being sent, or the last one.
        is_responding: Whether it responded to the last request.
        is_absent: Whether nothing listened at its address.
        not_before: Earliest time of the next update, on the event loop's clock.
        has_different_config: Whether it rejected a request because its configuration differs. It
            is asked again after _RESOLVE_SECONDS, when the configurations may be equal.
    """

    address: str
    url: str
    outbox: Outbox
    sending: asyncio.Task[None] | None = None
    is_responding: bool = True
    is_absent: bool = False
    not_before: float = 0.0
    has_different_config: bool = False


def select_owner(client: str, gateways: Iterable[str]) -> str | None:
    """Return the address of the gateway that enforces a client's limits, or None without gateways.

    Rendezvous hashing: all gateways that know the same addresses select the same owner. A gateway
    that is added or removed moves only its own share of the clients.
    """
    return max(
        gateways, key=lambda address: sha256(f"{address} {client}".encode()).digest(), default=None
    )


class Peers:
    """The peers behind a name, and the updates to them.

    A peer that does not respond is tried again later. A request waits only for the owner of its
    client, at most _AUTHORIZE_SECONDS.

    Args:
        updates: Counts the updates, by outcome: `sent` or `failed`.
    """

    def __init__(
        self, names: Sequence[str], port: int, sharing: UsageSharing, updates: Counter
    ) -> None:
        self._names = names
        self._port = port
        self._sharing = sharing
        self._updates = updates
        self._peers: dict[str, _Peer] = {}
        self._own_addresses: set[str] = set()
        self._is_resolving_broken = False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_RESPONSE_SECONDS),
        )

    async def close(self) -> None:
        """Close the connections to the peers."""
        await self._session.close()

    async def join(self) -> None:
        """Take over the usage that the peers know, or continue without it after _JOIN_SECONDS."""
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                while not await self._try_to_join():
                    await asyncio.sleep(_JOIN_RETRY_SECONDS)
        except TimeoutError:
            _LOG.warning("No peer reported quota usage; continuing with local counters")
        self._sharing.has_started = True

    def count_responding(self) -> int:
        """Return the number of peers that respond."""
        return sum(peer.is_responding for peer in self._peers.values())

    async def authorize(self, client: str, headers: RawHeaders) -> OwnerResponse | None:
        """Let the owner of a client authorize a request.

        A peer with a different configuration owns no client. While a configuration is being
        replaced, each gateway authorizes the requests that it receives.

        Returns:
            None if this gateway is the owner, or if no peer responds.
        """
        while True:
            candidates = {
                address
                for address, peer in self._peers.items()
                if peer.is_responding and not peer.has_different_config
            }
            owner = select_owner(client, candidates | self._own_addresses)
            if owner is None or owner in self._own_addresses:
                return None
            response = await self._authorize_at(self._peers[owner], headers)
            if response is not None:
                return response

    async def _authorize_at(self, peer: _Peer, headers: RawHeaders) -> OwnerResponse | None:
        try:
            async with self._session.get(
                peer.url.rstrip("/") + AUTHORIZE_PATH,
                headers=[(name.decode(), value.decode("latin-1")) for name, value in headers],
                timeout=aiohttp.ClientTimeout(total=_AUTHORIZE_SECONDS),
            ) as response:
                body = await response.read()
                if response.status == DIFFERENT_CONFIG:
                    peer.has_different_config = True
                    return None
                kept = [
                    (name.lower(), value)
                    for name, value in response.raw_headers
                    if name.lower() not in _CONNECTION_HEADERS
                ]
                if not any(name == _REQUEST_ID for name, _ in kept):
                    raise ValueError("The response is not from a gateway.")
                return OwnerResponse(status=response.status, headers=kept, body=body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            peer.is_responding = False
            _LOG.warning("Limit check on peer %s failed: %s", peer.address, type(error).__name__)
            return None

    async def run(self, stop: asyncio.Event) -> None:
        """Find the peers and update them until `stop` is set; then send the last updates."""
        finding = asyncio.create_task(self._find_peers(stop))
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _UPDATE_SECONDS)
            self._send_updates()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_UPDATE_SECONDS):
                # The first round completes updates in flight, the second sends later usage.
                for _ in range(2):
                    await asyncio.gather(*(p.sending for p in self._peers.values() if p.sending))
                    self._send_updates()
                await asyncio.gather(*(p.sending for p in self._peers.values() if p.sending))
        finding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await finding

    async def _find_peers(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if self._sharing.has_joined:
                await self._resolve()
                self._sharing.drop_ended_periods()
                for peer in [*self._peers.values()]:
                    peer.has_different_config = False
                    # A peer that responds again owns clients again. The own address must be known
                    # for the same reason.
                    if not peer.is_responding or not self._own_addresses:
                        await self._identify(peer)
            else:
                await self._try_to_join()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _RESOLVE_SECONDS)

    async def _identify(self, peer: _Peer) -> None:
        status = await self._request(peer)
        if status is not None and status.origin == self._sharing.origin:
            self._mark_as_self(peer)

    async def _try_to_join(self) -> bool:
        if not await self._resolve():
            return False
        is_peer_silent = False
        # A peer that did not respond before is asked last, so that it does not delay the others.
        for peer in sorted(self._peers.values(), key=lambda peer: not peer.is_responding):
            status = await self._request(peer)
            if status is None:
                # If nothing listens at an address, no usage is missing.
                is_peer_silent = is_peer_silent or not peer.is_absent
            elif status.origin == self._sharing.origin:
                self._mark_as_self(peer)
            elif status.snapshot is not None:
                self._sharing.join(status.snapshot)
                return True
        if not is_peer_silent:
            # There is no peer, or all of them are starting too.
            self._sharing.join(None)
        return not is_peer_silent

    async def _resolve(self) -> bool:
        """Look up the peers. Return False, without a change, if the name service fails."""
        loop = asyncio.get_running_loop()
        addresses: set[str] = set()
        for name in self._names:
            try:
                infos = await loop.getaddrinfo(name, self._port, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                if error.errno not in _UNKNOWN_NAME:
                    if not self._is_resolving_broken:
                        _LOG.warning("Cannot resolve peer name %s: %s", name, error)
                    self._is_resolving_broken = True
                    return False
            else:
                addresses |= {str(info[4][0]) for info in infos}
        self._is_resolving_broken = False
        self._own_addresses &= addresses
        for address in [*self._peers]:
            if address not in addresses:
                _LOG.info("Peer %s was removed", address)
                del self._peers[address]
        for address in sorted(addresses - self._own_addresses - set(self._peers)):
            host = f"[{address}]" if ":" in address else address
            url = f"http://{host}:{self._port}/"
            self._peers[address] = _Peer(address, url, self._sharing.create_outbox())
        return True

    def _send_updates(self) -> None:
        """Send each peer its outbox, unless an update to it is in flight."""
        self._sharing.queue_updates(peer.outbox for peer in self._peers.values())
        now = asyncio.get_running_loop().time()
        for peer in self._peers.values():
            if (peer.sending is None or peer.sending.done()) and now >= peer.not_before:
                update = self._sharing.pop_update(peer.outbox)
                if update is not None:
                    peer.sending = asyncio.create_task(self._send_update(peer, update))

    async def _send_update(self, peer: _Peer, update: UsageUpdate) -> None:
        status = await self._request(peer, update)
        self._updates.labels("sent" if status is not None else "failed").inc()
        if status is None:
            peer.outbox.mark_failed()
            peer.not_before = asyncio.get_running_loop().time() + _RETRY_SECONDS
        elif status.origin == self._sharing.origin:
            self._mark_as_self(peer)

    async def _request(self, peer: _Peer, update: UsageUpdate | None = None) -> PeerStatus | None:
        """Send an update, or ask for a snapshot. Return None if the peer does not respond."""
        method, body = ("GET", None) if update is None else ("POST", msgspec.json.encode(update))
        try:
            async with self._session.request(method, peer.url, data=body) as response:
                text = await response.read()
                response.raise_for_status()
                status = msgspec.json.decode(text, type=PeerStatus)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            peer.is_absent = (
                isinstance(error, aiohttp.ClientConnectorError)
                and error.os_error.errno == errno.ECONNREFUSED
            )
            if peer.is_responding:
                peer.is_responding = False
                _LOG.warning("Peer %s does not respond: %s", peer.address, type(error).__name__)
            return None
        if not peer.is_responding:
            peer.is_responding = True
            _LOG.info("Peer %s responds again", peer.address)
        return status

    def _mark_as_self(self, peer: _Peer) -> None:
        self._own_addresses.add(peer.address)
        self._peers.pop(peer.address, None)


class PeerLimiter(MemoryLimiter):
    """Keeps limits in memory and shares them with peers, which `PeerApp` must already serve.

    Attributes:
        sharing: The usage of this gateway and of its peers.
        peers: The peers.

    Args:
        find_client: Returns a client of the active configuration by its name.
        updates: Counts the updates to peers, by outcome.
    """

    def __init__(
        self,
        quota_file: Path,
        names: Sequence[str],
        port: int,
        *,
        find_client: Callable[[str], Client | None],
        updates: Counter,
    ) -> None:
        super().__init__(quota_file)
        self.sharing = UsageSharing(secrets.token_hex(8), self.buckets, self.quotas, find_client)
        self.peers = Peers(names, port, self.sharing, updates)
        self._stop_updates = asyncio.Event()
        self._updating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.peers.join()
        self._updating = asyncio.create_task(self.peers.run(self._stop_updates))
        return await super().__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(exc_type, exc, traceback)
        self._stop_updates.set()
        if self._updating is not None:
            await self._updating
        await self.peers.close()

    async def authorize_at_owner(self, client: str, headers: RawHeaders) -> OwnerResponse | None:
        """Let the gateway that owns a client authorize a request."""
        return await self.peers.authorize(client, headers)
