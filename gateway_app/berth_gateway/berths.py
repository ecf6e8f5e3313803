"""Berths: requests to a version's berth, and its answers on their way back."""

import asyncio
from collections.abc import Callable

import aiohttp

from berth_gateway.answer import send_head, send_part
from berth_gateway.exchange import Exchange
from berth_gateway.forwarded_headers import to_berth, to_client
from berth_gateway.in_force import InForce
from berth_gateway.shadow import SHADOW_HEADER, Shadows
from berth_gateway.upstream import Call, Upstream, UpstreamError

_WHOLE_ANSWER_BYTES = 1 << 20
"""Up to here an answer is taken whole before any of it is sent, so that a berth that breaks
off gives a clean 502; a longer one is passed on as it comes."""


class Berths:
    """The berths of all versions.

    `current` gives what is in force by now, for a second try after a berth was replaced.
    """

    def __init__(
        self, upstream: Upstream, shadows: Shadows, current: Callable[[], InForce]
    ) -> None:
        self._upstream = upstream
        self._shadows = shadows
        self._current = current

    async def ask(
        self,
        in_force: InForce,
        exchange: Exchange,
        version: str,
        last: str,
        body: bytes | None = None,
    ) -> aiohttp.ClientResponse:
        """Ask `version` for the path that ends in `last`; with a body by POST, else by GET.

        Raises:
            UpstreamError: it gave no answer, or refused the gateway itself.
        """
        model = exchange.model

        def url() -> str:
            now = self._current().table.models.get(model)
            known = now.versions if now is not None else {}
            return known.get(version) or in_force.table.models[model].versions[version]

        call = _call(in_force, exchange, version, last, body)
        response = await self._upstream.ask(call, url)
        if response.status == 401:
            response.release()
            raise UpstreamError(502, "it refused the gateway's token")
        return response

    async def pass_on(
        self, exchange: Exchange, response: aiohttp.ClientResponse, seconds: float
    ) -> None:
        """Send the berth's answer to the client.

        Raises:
            UpstreamError: the answer broke off or stalled. When its head was sent already,
                the client sees its connection close before the answer's end.
        """
        headers = to_client(response.raw_headers)
        length = response.content_length
        async with response:
            try:
                if length is not None and length <= _WHOLE_ANSWER_BYTES:
                    async with asyncio.timeout(seconds):
                        whole = await response.read()
                    await send_head(exchange, response.status, headers)
                    await send_part(exchange, whole, last=True)
                    return
                await send_head(exchange, response.status, headers)
                async for part in response.content.iter_any():
                    await send_part(exchange, part, last=False)
                await send_part(exchange, b"", last=True)
            except TimeoutError as error:
                raise UpstreamError(504, f"its answer stalled for {seconds:g} s") from error
            except aiohttp.ClientError as error:
                raise UpstreamError(502, f"its answer broke off: {type(error).__name__}") from error

    def copy(self, in_force: InForce, exchange: Exchange, version: str, body: bytes) -> None:
        """Send the request to `version` too, in the background."""
        call = _call(in_force, exchange, version, "/infer", body)
        call.headers.append((SHADOW_HEADER, "1"))
        url = in_force.table.models[exchange.model].versions[version]
        self._shadows.send(exchange.model, version, call, url)


def _call(
    in_force: InForce, exchange: Exchange, version: str, last: str, body: bytes | None
) -> Call:
    return Call(
        method="GET" if body is None else "POST",
        path=f"/v2/models/{exchange.model}/versions/{version}{last}",
        headers=to_berth(exchange.headers, exchange.request_id, in_force.token),
        body=body,
        seconds=in_force.table.timeout_seconds,
    )
