"""The public app: serves the Open Inference Protocol to clients."""

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from berth_gateway import __version__
from berth_gateway.active_config import ActiveConfig, ConfigStore
from berth_gateway.admission import Admission, AdmittedRequest, check_method
from berth_gateway.answers import Answer, read_json_length
from berth_gateway.authentication import Authenticator
from berth_gateway.berth_health import READY_SECONDS, BerthHealth
from berth_gateway.berths import Berths
from berth_gateway.catalog import Catalog
from berth_gateway.config import Model
from berth_gateway.error_responses import respond_to_errors
from berth_gateway.failover import Failover
from berth_gateway.limits.limiter import Limiter
from berth_gateway.metrics import Metrics
from berth_gateway.request_context import (
    Body,
    RequestContext,
    check_content_length,
    read_body,
    send_json,
)
from berth_gateway.traffic import ShadowTraffic
from berth_gateway.upstream import UpstreamError, UpstreamPool
from berth_protocol.asgi import Receive, Scope, Send
from berth_protocol.catalog_paths import CatalogOperation, CatalogRoute, parse_catalog_path
from berth_protocol.headers import REQUEST_ID, TRAFFIC, VERSION
from berth_protocol.json_logs import RequestLog
from berth_protocol.paths import INFER_SUFFIX, READY_SUFFIX, Operation, Route, parse_path

_LOG = logging.getLogger("gateway")
_TRAFFIC = TRAFFIC.encode()


class PublicApp:
    """The gateway as an ASGI app.

    Attributes:
        configs: The active configuration.
        limiter: The limits of all clients.
        metrics: Metrics of all requests.
        health: Health of the berths.
        admission: Decides which requests are processed, also for the authorize app.
        is_draining: Whether the process is about to exit.

    Args:
        access_log: Write a line for each request.
        trusts_forwarded_for: Whether `X-Forwarded-For` states the client's address.
        has_controller: Whether an ingress controller forwards inference requests to the berths.
    """

    def __init__(
        self,
        configs: ConfigStore,
        pool: UpstreamPool,
        shadow_traffic: ShadowTraffic,
        health: BerthHealth,
        limiter: Limiter,
        metrics: Metrics,
        *,
        access_log: bool,
        trusts_forwarded_for: bool,
        has_controller: bool,
    ) -> None:
        self.configs = configs
        self.limiter = limiter
        self.metrics = metrics
        authenticator = Authenticator(metrics, trusts_forwarded_for=trusts_forwarded_for)
        self.admission = Admission(limiter, authenticator, metrics)
        self.is_draining = False
        self.health = health
        self._berths = Berths(pool, shadow_traffic, lambda: configs.active)
        self._failover = Failover(self._berths, health, metrics.failovers)
        self._catalog = Catalog(self._berths, health)
        self._access_log = RequestLog() if access_log else None
        self._has_controller = has_controller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        context = RequestContext.from_scope(scope, receive, send)
        context.response_headers[REQUEST_ID] = context.request_id
        route = self._parse_path(context)
        catalog_route = parse_catalog_path(context.path) if route is None else None
        self.metrics.in_flight.inc()
        try:
            if catalog_route is not None:
                response = self._respond_from_catalog(context, catalog_route)
            else:
                response = self._respond(context, route)
            await respond_to_errors(context, response)
        finally:
            self.metrics.in_flight.dec()
            # Health checks come every few seconds and would fill the log.
            is_health_check = route is not None and route.operation.is_health_check
            self.record(context, is_logged=not is_health_check)

    def _parse_path(self, context: RequestContext) -> Route | None:
        """Return the route of a path.

        Behind an ingress controller that forwards inference requests, one with encoded letters has
        no route here: a controller that did not decode it would otherwise pass by the weights of
        its own route. Traefik decodes it, and states the weights of a request that it sends here.
        """
        route = parse_path(context.path)
        passes_by_weights = (
            self._has_controller
            and route is not None
            and route.operation is Operation.INFER
            and route.version is None
            and "%" in context.path
            and not context.header_values(_TRAFFIC)
        )
        return None if passes_by_weights else route

    def record(self, context: RequestContext, *, is_logged: bool = True) -> None:
        """Count a request that has ended, and write it to the access log.

        The log contains no payload, query, header or API key.
        """
        self.metrics.observe_request(context)
        if is_logged and self._access_log is not None:
            self._access_log.write(
                request_id=context.request_id,
                client=context.client or None,
                method=context.method,
                path=context.path,
                status=context.status,
                model=context.model or None,
                version=context.version or None,
                request_bytes=context.request_bytes,
                response_bytes=context.response_bytes,
                seconds=round(time.monotonic() - context.started_at, 6),
            )

    async def _respond(self, context: RequestContext, route: Route | None) -> None:
        active = self.configs.active
        if route is not None and route.operation.is_health_check:
            check_method(route, context.method)
            await self._send_health(context, route)
            return
        request = await self.admission.admit(active, context, route)
        operation, version = request.route.operation, request.route.version
        if request.model is None:
            metadata = {
                "name": "berth",
                "version": __version__,
                "extensions": ["binary_tensor_data"],
            }
            await send_json(context, 200, metadata)
        elif operation is Operation.INFER:
            await self._infer(active, context, request)
        elif version is not None:
            if operation is Operation.MODEL_READY:
                await self._send_version_ready(active, context, version)
            else:
                await self._forward(active, context, version, "", None)
        elif operation is Operation.MODEL_READY:
            await self._send_model_ready(active, context, request.model)
        else:
            await self._send_model_metadata(active, context, request.model)

    async def _respond_from_catalog(self, context: RequestContext, route: CatalogRoute) -> None:
        active = self.configs.active
        if route.operation is CatalogOperation.DOCS:
            # A browser cannot send a key with its first request. The page contains no model.
            check_method(route, context.method)
            await self._catalog.send_docs(context)
            return
        client = await self.admission.admit_client(active, context)
        check_method(route, context.method)
        await self._catalog.respond(active, context, client, route)

    async def _send_health(self, context: RequestContext, route: Route) -> None:
        if route.operation is Operation.LIVE:
            await send_json(context, 200, {"live": True})
        else:
            is_ready = not self.is_draining
            await send_json(context, 200 if is_ready else 503, {"ready": is_ready})

    async def _infer(
        self, active: ActiveConfig, context: RequestContext, request: AdmittedRequest
    ) -> None:
        max_bytes = active.config.max_body_bytes
        check_content_length(context, max_bytes)
        body = await read_body(context, max_bytes, active.config.timeout_seconds)
        context.request_bytes = len(body)
        await self.admission.consume_quota(active, context, request.client)
        requested_version = request.route.version
        shadow = active.config.models[context.model].shadow
        answer: Answer | None = None
        try:
            if requested_version is not None:
                await self._forward(active, context, requested_version, INFER_SUFFIX, body)
            else:
                response = await self._failover.send(active, context, body)
                sent = await self._send_berth_response(active, context, response)
                if shadow is not None and sent is not None and response.status == HTTPStatus.OK:
                    answer = Answer(sent, read_json_length(response.headers))
        finally:
            # Sent after the response, so that the client does not wait for the shadow request.
            if shadow is not None and requested_version is None and shadow != context.version:
                self._berths.mirror(active, context, shadow, body, answer)

    async def _forward(
        self,
        active: ActiveConfig,
        context: RequestContext,
        version: str,
        path_suffix: str,
        body: Body | None,
    ) -> None:
        context.version = version
        response = await self._berths.send(active, context, version, path_suffix, body)
        await self._send_berth_response(active, context, response)

    async def _send_berth_response(
        self, active: ActiveConfig, context: RequestContext, response: aiohttp.ClientResponse
    ) -> bytes | None:
        context.response_headers[VERSION] = context.version
        return await self._berths.forward_response(context, response, active.config.timeout_seconds)

    async def _send_version_ready(
        self, active: ActiveConfig, context: RequestContext, version: str
    ) -> None:
        """Send the response of a version, or 503 if there is none within READY_SECONDS."""
        context.version = version
        try:
            response = await self._berths.send(
                active, context, version, READY_SUFFIX, timeout_seconds=READY_SECONDS
            )
        except UpstreamError:
            await send_json(context, 503, {"name": context.model, "ready": False})
        else:
            await self._send_berth_response(active, context, response)

    async def _send_model_ready(
        self, active: ActiveConfig, context: RequestContext, model: Model
    ) -> None:
        """Send 200 if every exposed version is ready, otherwise 503, within READY_SECONDS.

        Versions without traffic count too: clients can call them by name. In a cluster, the weights
        are in the ingress controller's routes, which the gateway does not know.
        """

        async def is_ready(version: str) -> bool:
            try:
                async with await self._berths.send(
                    active, context, version, READY_SUFFIX, timeout_seconds=READY_SECONDS
                ) as response:
                    return response.status == 200
            except UpstreamError:
                return False

        are_ready = all(await asyncio.gather(*map(is_ready, model.exposed)))
        await send_json(
            context, 200 if are_ready else 503, {"name": context.model, "ready": are_ready}
        )

    async def _send_model_metadata(
        self, active: ActiveConfig, context: RequestContext, model: Model
    ) -> None:
        """Send the metadata of the first exposed version that responds, with all exposed versions.

        If no version responds within READY_SECONDS, send the name and the versions from the
        configuration.
        """
        responses = await asyncio.gather(
            *(self._get_metadata(active, context, version) for version in model.exposed)
        )
        metadata = next((response for response in responses if response is not None), None)
        known = {"name": context.model, "versions": model.exposed}
        await send_json(context, 200, (metadata or {}) | known)

    async def _get_metadata(
        self, active: ActiveConfig, context: RequestContext, version: str
    ) -> dict[str, Any] | None:
        try:
            async with (
                asyncio.timeout(READY_SECONDS),
                await self._berths.send(
                    active, context, version, "", timeout_seconds=READY_SECONDS
                ) as response,
            ):
                if response.status == 200:
                    return msgspec.json.decode(await response.read(), type=dict[str, Any])
                reason = f"responded with status {response.status}"
        except (UpstreamError, TimeoutError, aiohttp.ClientError, msgspec.MsgspecError) as error:
            reason = str(error) or type(error).__name__
        _LOG.warning(
            "Request %s: cannot read the metadata of berth %s/%s: %s",
            context.request_id,
            context.model,
            version,
            reason,
        )
        return None
