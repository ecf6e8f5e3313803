"""Requests to the berth of a version, and its responses on their way to the client."""

import asyncio
from collections.abc import Callable

import aiohttp

from berth_gateway.active_config import ActiveConfig
from berth_gateway.answers import Answer
from berth_gateway.berth_health import READY_SECONDS
from berth_gateway.forwarded_headers import build_berth_headers, build_client_headers
from berth_gateway.request_context import Body, RequestContext, send_body_part, start_response
from berth_gateway.traffic import ShadowTraffic
from berth_gateway.upstream import UpstreamError, UpstreamPool, UpstreamRequest
from berth_protocol.headers import REQUEST_ID, SHADOW
from berth_protocol.paths import INFER_SUFFIX, model_path

_MAX_BUFFERED_BYTES = 1 << 20
"""A response up to this size is read completely before it is sent, so that a broken connection to
the berth becomes a 502. A longer response is streamed."""


class Berths:
    """The berths of all versions.

    Args:
        get_active_config: Returns the active configuration, for a retry after a berth was replaced.
    """

    def __init__(
        self,
        pool: UpstreamPool,
        shadow_traffic: ShadowTraffic,
        get_active_config: Callable[[], ActiveConfig],
    ) -> None:
        self._pool = pool
        self._shadow_traffic = shadow_traffic
        self._get_active_config = get_active_config

    async def send(
        self,
        active: ActiveConfig,
        context: RequestContext,
        version: str,
        path_suffix: str,
        body: Body | None = None,
        timeout_seconds: float | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request to a version: POST with a body, otherwise GET.

        Args:
            path_suffix: End of the path, after the version.
            timeout_seconds: Time limit, if it is below that of the configuration.

        Raises:
            UpstreamError: If the berth does not respond, or rejects the gateway's token.
        """
        request = _build_request(active, context, version, path_suffix, body, timeout_seconds)
        response = await self._pool.send(
            request, lambda: self.get_url(active, context.model, version)
        )
        has_token = version not in active.config.models[context.model].own_containers
        if response.status == 401 and has_token:
            response.release()
            raise UpstreamError(502, "rejected the gateway's token", is_repeatable=True)
        return response

    async def get(
        self, active: ActiveConfig, context: RequestContext, version: str, path: str
    ) -> aiohttp.ClientResponse:
        """Send a GET request to a path of a version's berth that is not a path of the protocol.

        Raises:
            UpstreamError: If the berth does not respond within READY_SECONDS.
        """
        request = UpstreamRequest(
            method="GET",
            path=path,
            headers=[(REQUEST_ID, context.request_id)],
            body=None,
            timeout_seconds=READY_SECONDS,
        )
        return await self._pool.send(request, lambda: self.get_url(active, context.model, version))

    def get_url(self, active: ActiveConfig, model: str, version: str) -> str:
        """Return the base URL of a version: the latest, which a reload may have replaced."""
        current = self._get_active_config().config.models.get(model)
        versions = current.versions if current is not None else {}
        return versions.get(version) or active.config.models[model].versions[version]

    async def forward_response(
        self, context: RequestContext, response: aiohttp.ClientResponse, timeout_seconds: float
    ) -> bytes | None:
        """Send a berth's response to the client, and return its body if it is a short one.

        Raises:
            UpstreamError: If the response breaks off or stalls. If its headers were sent, the
                client's connection closes before the end of the response.
        """
        headers = build_client_headers(response.raw_headers)
        length = response.content_length
        async with response:
            try:
                if length is not None and length <= _MAX_BUFFERED_BYTES:
                    async with asyncio.timeout(timeout_seconds):
                        body = await response.read()
                    await start_response(context, response.status, headers)
                    await send_body_part(context, body, is_last=True)
                    return body
                await start_response(context, response.status, headers)
                async for part in response.content.iter_any():
                    await send_body_part(context, part, is_last=False)
                await send_body_part(context, b"", is_last=True)
                return None
            except TimeoutError as error:
                raise UpstreamError(
                    504, f"stopped sending its response for {timeout_seconds:g} s"
                ) from error
            except aiohttp.ClientError as error:
                raise UpstreamError(
                    502, f"did not complete its response ({type(error).__name__})"
                ) from error

    def mirror(
        self,
        active: ActiveConfig,
        context: RequestContext,
        version: str,
        body: Body,
        answer: Answer | None,
    ) -> None:
        """Send a duplicate of an inference request to a shadow version, in the background.

        Args:
            answer: The client's answer, with which that of the shadow version is compared.
        """
        request = _build_request(active, context, version, INFER_SUFFIX, body)
        request.headers.append((SHADOW, "1"))
        url = active.config.models[context.model].versions[version]
        self._shadow_traffic.send(context.model, version, request, url, answer)


def _build_request(
    active: ActiveConfig,
    context: RequestContext,
    version: str,
    path_suffix: str,
    body: Body | None,
    timeout_seconds: float | None = None,
) -> UpstreamRequest:
    is_own = version in active.config.models[context.model].own_containers
    token = None if is_own else active.token
    return UpstreamRequest(
        method="GET" if body is None else "POST",
        path=model_path(context.model, version) + path_suffix,
        headers=build_berth_headers(context.headers, context.request_id, token),
        body=body,
        timeout_seconds=min(
            active.config.timeout_seconds, timeout_seconds or active.config.timeout_seconds
        ),
    )
