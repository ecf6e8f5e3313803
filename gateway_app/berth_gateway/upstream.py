"""Upstream connections: pooled connections to the berths, with one retry where it is safe."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

_CONNECT_SECONDS = 5.0
_RETRY_DELAY_SECONDS = 0.05
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
    request. If no byte of the response arrived, the gateway sends the request once more, on a new
    connection. Inference changes no state, so a request that was processed twice does no harm.

    Attributes:
        retries: Number of requests that were sent twice.
    """

    def __init__(self) -> None:
        self._pooled = _create_session(aiohttp.TCPConnector(limit=0, keepalive_timeout=60))
        self._fresh = _create_session(aiohttp.TCPConnector(limit=0, force_close=True))
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
    )
