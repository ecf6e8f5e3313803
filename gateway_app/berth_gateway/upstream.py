"""Upstream connections: pooled connections to the berths, with one retry where it is safe."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

_CONNECT_SECONDS = 5.0
_RETRY_DELAY_SECONDS = 0.05
_LOST_SECONDS = 5
"""Time after which a connection to a machine that acknowledges nothing is closed. A berth that
computes for longer keeps its connection, because its kernel acknowledges."""
_PROBE_SECONDS = 1
_READ_BYTES = 64 << 10
"""What is read from a berth before its client takes it; twice as much at most, and one part. With
aiohttp's default, 256 KiB, a client that takes nothing occupied 2.2 MiB instead of 0.8 MiB, and the
gateway was not faster."""
_SKIPPED_AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class UpstreamError(Exception):
    """A berth sent no usable response.

    The message continues a sentence whose subject is the berth.

    Attributes:
        status: Status of the response to the client: 502 or 504.
        is_repeatable: Whether another version can execute the request: the connection failed before
            any response, or the berth rejected the gateway.
    """

    def __init__(self, status: int, message: str, *, is_repeatable: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.is_repeatable = is_repeatable


@dataclass(frozen=True, kw_only=True)
class UpstreamRequest:
    """One request to a berth.

    Attributes:
        method: HTTP method.
        path: Path on the berth.
        headers: All headers for the berth.
        body: Request body. None if the method has none.
        timeout_seconds: Time limit for the response headers, and between two parts of its body.
    """

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes | memoryview | None
    timeout_seconds: float


class UpstreamPool:
    """Connections to the berths, kept open between requests.

    A berth that is being replaced closes its connections, sometimes just after the gateway sent a
    request. A machine that is lost closes none: the kernel does, after `_LOST_SECONDS` without an
    acknowledgment. If no byte of the response arrived, the gateway sends the request once more, on
    a new connection, to the addresses that the berth has by then. Inference changes no state, so a
    request that was processed twice does no harm.

    Attributes:
        retries: Number of requests that were sent twice.
    """

    def __init__(self) -> None:
        # A replica that moved has another address at once, and connections are rarely new.
        self._pooled = _create_session(
            aiohttp.TCPConnector(
                limit=0, keepalive_timeout=60, use_dns_cache=False, socket_factory=create_socket
            )
        )
        self._fresh = _create_session(
            aiohttp.TCPConnector(
                limit=0, force_close=True, use_dns_cache=False, socket_factory=create_socket
            )
        )
        self.retries = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._pooled.close()
        await self._fresh.close()

    async def send(
        self, request: UpstreamRequest, get_url: Callable[[], str]
    ) -> aiohttp.ClientResponse:
        """Send a request and return its response, of which only the headers are read.

        The caller must release the response.

        Args:
            get_url: Returns the base URL. It is called again before the retry, because a reload
                may have replaced the berth.

        Raises:
            UpstreamError: 502 if no berth responded, 504 after a timeout.
        """
        try:
            async with asyncio.timeout(request.timeout_seconds):
                try:
                    return await _send(self._pooled, request, get_url())
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(_RETRY_DELAY_SECONDS)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    pass
                self.retries += 1
                return await _send(self._fresh, request, get_url())
        except aiohttp.ConnectionTimeoutError as error:
            # Also a TimeoutError, but the berth has not received the request.
            raise UpstreamError(
                502, f"accepted no connection within {_CONNECT_SECONDS:g} s", is_repeatable=True
            ) from error
        except TimeoutError as error:
            raise UpstreamError(
                504, f"did not respond within {request.timeout_seconds:g} s"
            ) from error
        except aiohttp.ClientError as error:
            is_connection_lost = isinstance(
                error,
                aiohttp.ClientConnectorError
                | aiohttp.ServerDisconnectedError
                | aiohttp.ClientOSError,
            )
            raise UpstreamError(
                502,
                f"did not respond ({type(error).__name__})",
                is_repeatable=is_connection_lost,
            ) from error


def create_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket whose connection ends soon after the other machine is lost.

    The options are Linux's (https://man7.org/linux/man-pages/man7/tcp.7.html). TCP_USER_TIMEOUT
    limits the time of unacknowledged data and of unanswered probes. Probes also find a machine that
    is lost after it acknowledged a request. Elsewhere, only the request's time limit ends it.
    """
    family, kind, protocol, _, _ = address
    created = socket.socket(family, kind, protocol)
    created.setblocking(False)
    if hasattr(socket, "TCP_USER_TIMEOUT") and hasattr(socket, "TCP_KEEPIDLE"):
        created.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, _PROBE_SECONDS),
            (socket.TCP_KEEPINTVL, _PROBE_SECONDS),
            (socket.TCP_KEEPCNT, _LOST_SECONDS // _PROBE_SECONDS),
            (socket.TCP_USER_TIMEOUT, _LOST_SECONDS * 1000),
        ):
            created.setsockopt(socket.IPPROTO_TCP, option, value)
    return created


async def _send(
    session: aiohttp.ClientSession, request: UpstreamRequest, base_url: str
) -> aiohttp.ClientResponse:
    return await session.request(
        request.method,
        base_url + request.path,
        headers=request.headers,
        data=request.body,
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=request.timeout_seconds
        ),
    )


def _create_session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_SKIPPED_AUTO_HEADERS,
        read_bufsize=_READ_BYTES,
    )
