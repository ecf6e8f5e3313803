"""Peers: the other gateways that serve the same clients, found by name and told by HTTP."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from prometheus_client import Counter

from berth_gateway.exchange import RawHeaders
from berth_gateway.ownership import owner_of
from berth_gateway.sharing import Outbox, Sharing, State, Told

_RESOLVE_SECONDS = 2.0
_TELL_SECONDS = 0.1
_ANSWER_SECONDS = 1.0
_AGAIN_SECONDS = 1.0
_JOIN_SECONDS = 3.0
_JOIN_AGAIN_SECONDS = 0.2
_LAST_WORD_SECONDS = 0.5
_JUDGE_SECONDS = 0.25
JUDGE_PATH = "/judge"
TABLE = b"x-berth-table"
OTHER_TABLE = 421
_OF_THE_CONNECTION = (b"connection", b"date", b"keep-alive", b"server", b"transfer-encoding")
_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)
_LOG = logging.getLogger("gateway")


class Known(msgspec.Struct, kw_only=True):
    """What a gateway answers another: its process, and what it knows, when asked.

    One that has not begun to count knows nothing, and `state` is None.
    """

    origin: str
    state: State | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the gateway that owns a client said of its request."""

    status: int
    headers: RawHeaders
    body: bytes


@dataclass
class _Peer:
    """One other gateway.

    Attributes:
        address: it may turn out to be this process's own.
        sending: the message under way, or the last one.
        answers: it did when it was asked last.
        absent: nobody listened there then.
        not_before: when to tell it something again, on the loop's clock.
        other_table: it would not judge by another table than its own. It may come to have the
            same one, and is asked again after _RESOLVE_SECONDS.
    """

    address: str
    url: str
    outbox: Outbox
    sending: asyncio.Task[None] | None = None
    answers: bool = True
    absent: bool = False
    not_before: float = 0.0
    other_table: bool = False


class Peers:
    """The others, as their names resolve, and what they are told every _TELL_SECONDS.

    One that does not answer is tried again later. A request waits for nothing here but the
    judgement of the gateway that owns its client, and for that _JUDGE_SECONDS at most.
    """

    def __init__(
        self, names: Sequence[str], port: int, sharing: Sharing, messages: Counter
    ) -> None:
        """`messages` counts those that were sent, by outcome: told or failed."""
        self._names = names
        self._port = port
        self._sharing = sharing
        self._messages = messages
        self._peers: dict[str, _Peer] = {}
        self._own: set[str] = set()
        self._in_the_dark = False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def join(self) -> None:
        """Take over what the others know, or go on without after _JOIN_SECONDS."""
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                while not await self._joined():
                    await asyncio.sleep(_JOIN_AGAIN_SECONDS)
        except TimeoutError:
            _LOG.warning(
                "no peer told of the quotas used; what the others count is added once one does"
            )
        self._sharing.begun = True

    def answering(self) -> int:
        """How many others answer."""
        return sum(peer.answers for peer in self._peers.values())

    async def judge(self, client: str, headers: RawHeaders) -> Judgement | None:
        """What the owner of `client` says of a request; None when that is this gateway, or when
        no other answers: then it is judged here.

        One with another table owns nobody's requests here: while tables are being replaced, each
        request is judged by the one of the gateway that was asked.
        """
        while True:
            there = {
                address
                for address, peer in self._peers.items()
                if peer.answers and not peer.other_table
            }
            owner = owner_of(client, there | self._own)
            if owner is None or owner in self._own:
                return None
            judgement = await self._ask_to_judge(self._peers[owner], headers)
            if judgement is not None:
                return judgement

    async def _ask_to_judge(self, peer: _Peer, headers: RawHeaders) -> Judgement | None:
        try:
            async with self._session.get(
                peer.url.rstrip("/") + JUDGE_PATH,
                headers=[(name.decode(), value.decode("latin-1")) for name, value in headers],
                timeout=aiohttp.ClientTimeout(total=_JUDGE_SECONDS),
            ) as response:
                body = await response.read()
                if response.status == OTHER_TABLE:
                    peer.other_table = True
                    return None
                kept = [
                    (name.lower(), value)
                    for name, value in response.raw_headers
                    if name.lower() not in _OF_THE_CONNECTION
                ]
                if not any(name == b"x-request-id" for name, _ in kept):
                    raise ValueError("it says something else")
                return Judgement(status=response.status, headers=kept, body=body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            peer.answers = False
            _LOG.warning("peer %s does not judge: %s", peer.address, type(error).__name__)
            return None

    async def run(self, stop: asyncio.Event) -> None:
        """Find the others and tell them, until `stop`; then tell them the rest."""
        finding = asyncio.create_task(self._find(stop))
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _TELL_SECONDS)
            self._tell()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                # The first round ends what was under way, the second sends what came meanwhile.
                for _ in range(2):
                    await asyncio.gather(*(p.sending for p in self._peers.values() if p.sending))
                    self._tell()
                await asyncio.gather(*(p.sending for p in self._peers.values() if p.sending))
        finding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await finding

    async def _find(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if self._sharing.joined:
                await self._resolve()
                self._sharing.forget_past()
                for peer in [*self._peers.values()]:
                    peer.other_table = False
                    # What owns clients must be known again once it is back, and oneself as such.
                    if not peer.answers or not self._own:
                        await self._meet(peer)
            else:
                await self._joined()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _RESOLVE_SECONDS)

    async def _meet(self, peer: _Peer) -> None:
        known = await self._ask(peer)
        if known is not None and known.origin == self._sharing.origin:
            self._drop(peer)

    async def _joined(self) -> bool:
        """Try to join, once."""
        if not await self._resolve():
            return False
        silent = False
        # One that was silent before is asked last: it must not keep the others from being asked.
        for peer in sorted(self._peers.values(), key=lambda peer: not peer.answers):
            known = await self._ask(peer)
            if known is None:
                # Where nobody listens, nobody has counted anything that could be asked for.
                silent = silent or not peer.absent
            elif known.origin == self._sharing.origin:
                self._drop(peer)
            elif known.state is not None:
                self._sharing.join(known.state)
                return True
        if not silent:
            # There is no other, or they all have just begun too.
            self._sharing.join(None)
        return not silent

    async def _resolve(self) -> bool:
        """Look up who is there; False, with nothing changed, when that cannot be found out."""
        loop = asyncio.get_running_loop()
        found: set[str] = set()
        for name in self._names:
            try:
                infos = await loop.getaddrinfo(name, self._port, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                if error.errno not in _NO_SUCH_NAME:
                    if not self._in_the_dark:
                        _LOG.warning("peers: %s cannot be looked up: %s", name, error)
                    self._in_the_dark = True
                    return False
            else:
                found |= {str(info[4][0]) for info in infos}
        self._in_the_dark = False
        self._own &= found
        for address in [*self._peers]:
            if address not in found:
                _LOG.info("peer %s is gone", address)
                del self._peers[address]
        for address in sorted(found - self._own - set(self._peers)):
            host = f"[{address}]" if ":" in address else address
            url = f"http://{host}:{self._port}/"
            self._peers[address] = _Peer(address, url, self._sharing.outbox())
        return True

    def _tell(self) -> None:
        """Send each peer what it does not know, unless it is being told something already."""
        self._sharing.share_out(peer.outbox for peer in self._peers.values())
        now = asyncio.get_running_loop().time()
        for peer in self._peers.values():
            if (peer.sending is None or peer.sending.done()) and now >= peer.not_before:
                told = self._sharing.message(peer.outbox)
                if told is not None:
                    peer.sending = asyncio.create_task(self._send(peer, told))

    async def _send(self, peer: _Peer, told: Told) -> None:
        known = await self._ask(peer, told)
        self._messages.labels("told" if known is not None else "failed").inc()
        if known is None:
            peer.outbox.failed()
            peer.not_before = asyncio.get_running_loop().time() + _AGAIN_SECONDS
        elif known.origin == self._sharing.origin:
            self._drop(peer)

    async def _ask(self, peer: _Peer, told: Told | None = None) -> Known | None:
        """What the peer answers, having been told something or not; None when it does not."""
        method, body = ("GET", None) if told is None else ("POST", msgspec.json.encode(told))
        try:
            async with self._session.request(method, peer.url, data=body) as response:
                text = await response.read()
                response.raise_for_status()
                known = msgspec.json.decode(text, type=Known)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            peer.absent = (
                isinstance(error, aiohttp.ClientConnectorError)
                and error.os_error.errno == errno.ECONNREFUSED
            )
            if peer.answers:
                peer.answers = False
                _LOG.warning("peer %s does not answer: %s", peer.address, type(error).__name__)
            return None
        if not peer.answers:
            peer.answers = True
            _LOG.info("peer %s answers again", peer.address)
        return known

    def _drop(self, peer: _Peer) -> None:
        """That one is this process itself."""
        self._own.add(peer.address)
        self._peers.pop(peer.address, None)
