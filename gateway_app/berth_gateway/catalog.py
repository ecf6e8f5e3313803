"""The catalog: which models a client may call, and their API, without running a model."""

import asyncio
from typing import Any

import aiohttp
import msgspec

from berth_gateway import docs_page
from berth_gateway.active_config import ActiveConfig
from berth_gateway.admission import find_exposed_model, find_visible_models
from berth_gateway.berth_health import READY_SECONDS, Berth, BerthHealth
from berth_gateway.berths import Berths
from berth_gateway.config import Client, Model
from berth_gateway.openapi import adapt_document, build_overview
from berth_gateway.request_context import (
    RequestContext,
    read_body,
    send_body_part,
    send_json,
    start_response,
)
from berth_gateway.upstream import UpstreamError
from berth_protocol.catalog_paths import (
    CONFIG_SUFFIX,
    OPENAPI,
    STATISTICS_SUFFIX,
    CatalogOperation,
    CatalogRoute,
)
from berth_protocol.errors import RequestError
from berth_protocol.headers import VERSION

_MAX_INDEX_REQUEST_BYTES = 4096
_MAX_DOCUMENT_BYTES = 8 << 20
"""A document contains the model's example, which the model card limits to less."""
_MAX_CONCURRENT_CHECKS = 64
"""Berths that one request for the repository index checks at the same time."""


class _IndexRequest(msgspec.Struct):
    ready: bool = False


class Catalog:
    """Responds to requests about models. A client sees only those that it may call."""

    def __init__(self, berths: Berths, health: BerthHealth) -> None:
        self._berths = berths
        self._health = health

    async def send_docs(self, context: RequestContext) -> None:
        """Send the page at /docs. It asks for the key and then reads the OpenAPI documents."""
        body = docs_page.PAGE
        headers = [*docs_page.HEADERS, (b"content-length", str(len(body)).encode())]
        await start_response(context, 200, headers)
        await send_body_part(context, b"" if context.method == "HEAD" else body, is_last=True)

    async def respond(
        self, active: ActiveConfig, context: RequestContext, client: Client, route: CatalogRoute
    ) -> None:
        """Respond to a request of an authenticated client.

        Raises:
            RequestError: 400, 404, 408 or 413.
            UpstreamError: If a berth does not respond.
        """
        operation = route.operation
        visible = find_visible_models(active.config, client)
        if operation is CatalogOperation.MODELS:
            await send_json(context, 200, {"models": sorted(visible)})
        elif operation is CatalogOperation.REPOSITORY_INDEX:
            await self._send_index(active, context, visible)
        elif operation is CatalogOperation.OPENAPI:
            if len(visible) == 1:
                [(context.model, model)] = visible.items()
                await self._send_document(active, context, None, model)
            else:
                await send_json(context, 200, build_overview(visible))
        else:
            model = find_exposed_model(active.config, client, route)
            context.model = route.model
            if operation is CatalogOperation.MODEL_OPENAPI:
                await self._send_document(active, context, route.version, model)
            else:
                is_config = operation is CatalogOperation.MODEL_CONFIG
                await self._forward(
                    active,
                    context,
                    route.version or model.exposed[0],
                    CONFIG_SUFFIX if is_config else STATISTICS_SUFFIX,
                )

    async def _send_index(
        self, active: ActiveConfig, context: RequestContext, visible: dict[str, Model]
    ) -> None:
        """Send each exposed version and whether it is ready, as Triton does."""
        body = await read_body(context, _MAX_INDEX_REQUEST_BYTES, active.config.timeout_seconds)
        try:
            request = msgspec.json.decode(body or b"{}", type=_IndexRequest)
        except msgspec.MsgspecError as error:
            raise RequestError(
                400, f'Invalid request: {error}. Send {{"ready": true}}, or no body.'
            ) from error
        limit = asyncio.Semaphore(_MAX_CONCURRENT_CHECKS)

        async def describe(name: str, version: str) -> dict[str, Any]:
            berth = Berth(name, version, self._berths.get_url(active, name, version))
            async with limit:
                is_ready = await self._health.is_ready(berth)
            return {
                "name": name,
                "version": version,
                "state": "READY" if is_ready else "UNAVAILABLE",
                "reason": "" if is_ready else f"not ready within {READY_SECONDS:g} s",
            }

        entries = await asyncio.gather(
            *(
                describe(name, version)
                for name, model in sorted(visible.items())
                for version in model.exposed
            )
        )
        index = [each for each in entries if each["state"] == "READY" or not request.ready]
        await send_json(context, 200, index)

    async def _forward(
        self, active: ActiveConfig, context: RequestContext, version: str, path_suffix: str
    ) -> None:
        """Forward a request to a version. A berth without the operation responds with 404."""
        context.version = version
        response = await self._berths.send(
            active, context, version, path_suffix, timeout_seconds=READY_SECONDS
        )
        context.response_headers[VERSION] = version
        await self._berths.forward_response(context, response, active.config.timeout_seconds)

    async def _send_document(
        self, active: ActiveConfig, context: RequestContext, version: str | None, model: Model
    ) -> None:
        """Send the OpenAPI document of the first of the versions that responds."""
        error: UpstreamError | None = None
        for candidate in [version] if version is not None else model.exposed:
            try:
                document = await self._read_document(active, context, candidate)
            except UpstreamError as caught:
                context.version, error = candidate, caught
            else:
                context.version = context.response_headers[VERSION] = candidate
                await send_json(
                    context, 200, adapt_document(document, context.model, model.exposed)
                )
                return
        assert error is not None
        raise error

    async def _read_document(
        self, active: ActiveConfig, context: RequestContext, version: str
    ) -> dict[str, Any]:
        response = await self._berths.get(active, context, version, OPENAPI)
        try:
            async with asyncio.timeout(READY_SECONDS), response:
                if response.status != 200:
                    raise UpstreamError(502, f"responded with status {response.status}")
                body = bytearray()
                async for part in response.content.iter_any():
                    body += part
                    if len(body) > _MAX_DOCUMENT_BYTES:
                        raise UpstreamError(502, "sent an OpenAPI document that is too long")
            return msgspec.json.decode(bytes(body), type=dict[str, Any])
        except (TimeoutError, aiohttp.ClientError, msgspec.MsgspecError) as error:
            raise UpstreamError(
                502, f"sent no valid OpenAPI document ({type(error).__name__})"
            ) from error
