"""Upstream: one request to a berth, on a pooled connection, tried again once where that is safe."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

_CONNECT_SECONDS = 5.0
_PAUSE_BEFORE_RETRY_SECONDS = 0.05
_SKIP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class UpstreamError(Exception):
    """A berth gave no answer; `status` is what the client gets: 502 or 504."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request to a berth.

    Attributes:
        method, path: as in POST /v2/models/digits/versions/1/infer.
        headers: as the berth shall see them.
        body: None where the method has none.
        seconds: from the call to the head of the answer, and between two parts of its body.
    """

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes | None
    seconds: float


class Upstream:
    """Connections to the berths, kept and used again.

    A berth that is being replaced closes its connections, some of them under a request just
    sent. Such a request, of which nothing was answered, is sent once more, on a connection
    made for it. Inference changes nothing, so a request that was processed unseen does no harm.
    """

    def __init__(self) -> None:
        self._pooled = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=60))
        self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        self.retries = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._pooled.close()
        await self._fresh.close()

    async def ask(self, call: Call, url_of: Callable[[], str]) -> aiohttp.ClientResponse:
        """The berth's answer, its head read, its body not yet; release it after use.

        `url_of` gives the base URL and is asked again before the second try: a reload may have
        put another berth in the place of one that is gone.

        Raises:
            UpstreamError: 502 when no berth answered, 504 when it took too long.
        """
        try:
            async with asyncio.timeout(call.seconds):
                try:
                    return await _send(self._pooled, call, url_of())
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(_PAUSE_BEFORE_RETRY_SECONDS)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    pass
                self.retries += 1
                return await _send(self._fresh, call, url_of())
        except TimeoutError as error:
            raise UpstreamError(504, f"no answer within {call.seconds:g} s") from error
        except aiohttp.ClientError as error:
            raise UpstreamError(502, f"no answer: {type(error).__name__}") from error


async def _send(session: aiohttp.ClientSession, call: Call, base: str) -> aiohttp.ClientResponse:
    return await session.request(
        call.method,
        base + call.path,
        headers=call.headers,
        data=call.body,
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=call.seconds
        ),
    )


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_SKIP,
    )
