"""Admission: authenticates a request, applies the client's limits, and finds its route."""

import logging
import time
from dataclasses import dataclass

from berth_gateway.active_config import ActiveConfig
from berth_gateway.authentication import Authenticator
from berth_gateway.config import Client, GatewayConfig, Model
from berth_gateway.limits.blocks import BlockList
from berth_gateway.limits.limit_decision import LimitDecision, build_rate_limit_headers
from berth_gateway.limits.limiter import Limiter
from berth_gateway.metrics import Metrics
from berth_gateway.request_context import RequestContext
from berth_protocol.catalog_paths import CatalogRoute
from berth_protocol.errors import RequestError
from berth_protocol.headers import RETRY_AFTER
from berth_protocol.paths import Operation, Route, infer_path

_LOG = logging.getLogger("gateway")
_QUOTA_NAMES = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly"}


@dataclass(frozen=True, kw_only=True)
class AdmittedRequest:
    """A request that passed admission.

    Attributes:
        client: The authenticated client.
        route: The parsed path.
        model: The model of the route. None for operations of the server.
    """

    client: Client
    route: Route
    model: Model | None


class Admission:
    """Decides which requests are processed, for all ports of the gateway.

    Args:
        metrics: Counts the requests that are rejected, and the blocks.

    Attributes:
        authenticator: Identifies the client of each request.
        blocked_clients: Clients that kept exceeding their limits.
    """

    def __init__(self, limiter: Limiter, authenticator: Authenticator, metrics: Metrics) -> None:
        self.authenticator = authenticator
        self.blocked_clients = BlockList(time.monotonic)
        self._limiter = limiter
        self._metrics = metrics

    def keep_only(self, active: ActiveConfig) -> None:
        """Forget the blocks and addresses of clients that a reload has removed.

        Forget all blocks if the configuration blocks nobody.
        """
        if active.config.blocking is None:
            self.blocked_clients.keep_only(())
            self.authenticator.blocked_addresses.keep_only(())
        self.blocked_clients.keep_only(active.clients)
        self.authenticator.known_addresses.keep_only(active.clients)

    async def admit(
        self, active: ActiveConfig, context: RequestContext, route: Route | None
    ) -> AdmittedRequest:
        """Check the API key, the rate limit, the path, the method and the exposure, in this order.

        The context receives the client, the model and the rate limit headers.

        Raises:
            RequestError: 401, 404, 405, 429 or 503.
        """
        client = await self.admit_client(active, context)
        return _resolve(active, context, client, route)

    async def admit_client(self, active: ActiveConfig, context: RequestContext) -> Client:
        """Check the API key and the rate limit.

        Raises:
            RequestError: 401, 429 or 503.
        """
        client = await self._authenticate(active, context)
        decision = await self._limiter.take_token(client)
        self._apply_rate_limit(active, context, client, decision)
        return client

    async def admit_and_count(
        self, active: ActiveConfig, context: RequestContext, route: Route | None
    ) -> AdmittedRequest:
        """Do what `admit` and, for an inference request, `consume_quota` do, in one decision.

        Raises:
            RequestError: 401, 404, 405, 429 or 503.
        """
        client = await self._authenticate(active, context)
        try:
            request, error = _resolve(active, context, client, route), None
        except RequestError as caught:
            request, error = None, caught
        if request is None or request.route.operation is not Operation.INFER:
            decision, quota_decision = await self._limiter.take_token(client), None
        else:
            decision, quota_decision = await self._limiter.take_token_and_quota(client)
        self._apply_rate_limit(active, context, client, decision)
        if request is None:
            assert error is not None
            raise error
        self._apply_quota(active, context, client, quota_decision)
        return request

    async def consume_quota(
        self, active: ActiveConfig, context: RequestContext, client: Client
    ) -> None:
        """Count an inference request that is forwarded to a berth against the client's quota.

        Raises:
            RequestError: 429 if the quota is used up.
        """
        self._apply_quota(active, context, client, await self._limiter.consume_quota(client))

    async def _authenticate(self, active: ActiveConfig, context: RequestContext) -> Client:
        client = await self.authenticator.authenticate(active, context)
        seconds_left = self.blocked_clients.get_seconds_left(client.name)
        if seconds_left:
            self._metrics.rejected.labels(client.name, "blocked").inc()
            raise RequestError(
                429,
                f"Client '{client.name}' kept exceeding its limits and is blocked. "
                f"Retry after {seconds_left} s.",
                {RETRY_AFTER: str(seconds_left)},
            )
        return client

    def _apply_rate_limit(
        self, active: ActiveConfig, context: RequestContext, client: Client, decision: LimitDecision
    ) -> None:
        self._apply_limit(
            active,
            context,
            "rate_limit",
            decision,
            f"Client '{client.name}' exceeded its rate limit. "
            f"Retry after {decision.retry_after_seconds} s.",
        )

    def _apply_quota(
        self,
        active: ActiveConfig,
        context: RequestContext,
        client: Client,
        decision: LimitDecision | None,
    ) -> None:
        if decision is not None and client.quota is not None and not decision.is_allowed:
            self._apply_limit(
                active,
                context,
                "quota",
                decision,
                f"Client '{client.name}' used its {_QUOTA_NAMES[client.quota.period]} quota of "
                f"{client.quota.requests} requests. "
                f"The quota resets at {decision.resets_at:%Y-%m-%dT%H:%M:%SZ}.",
            )

    def _apply_limit(
        self,
        active: ActiveConfig,
        context: RequestContext,
        reason: str,
        decision: LimitDecision,
        message: str,
    ) -> None:
        context.response_headers |= build_rate_limit_headers(decision)
        if not decision.is_allowed:
            self._metrics.rejected.labels(context.client, reason).inc()
            self._count_rejection(active, context.client)
            raise RequestError(429, message)

    def _count_rejection(self, active: ActiveConfig, client: str) -> None:
        blocking = active.config.blocking
        if blocking is None:
            return
        seconds = self.blocked_clients.record(client, blocking.rejections, blocking)
        if seconds:
            self._metrics.client_blocks.labels(client).inc()
            _LOG.warning(
                "Client '%s' is blocked for %d s: it exceeded its limits %d times within %g s",
                client,
                seconds,
                blocking.rejections,
                blocking.window_seconds,
            )


def check_method(route: Route | CatalogRoute, method: str) -> None:
    """Check that the operation accepts the method.

    Raises:
        RequestError: 405 if it does not.
    """
    allowed = route.operation.methods
    if method not in allowed:
        raise RequestError(
            405,
            f"Method {method} is not allowed. Use {' or '.join(allowed)}.",
            {"allow": ", ".join(allowed)},
        )


def _resolve(
    active: ActiveConfig, context: RequestContext, client: Client, route: Route | None
) -> AdmittedRequest:
    """Return what a client requests.

    Raises:
        RequestError: 404 or 405.
    """
    if route is None:
        raise RequestError(
            404, f"Path not found. Send inference requests to POST {infer_path('{model}')}."
        )
    check_method(route, context.method)
    if route.operation is Operation.SERVER_METADATA:
        return AdmittedRequest(client=client, route=route, model=None)
    model = find_exposed_model(active.config, client, route)
    context.model = route.model
    return AdmittedRequest(client=client, route=route, model=model)


def find_visible_models(config: GatewayConfig, client: Client) -> dict[str, Model]:
    """Return the exposed models that a client may call, by name."""
    return {
        name: model
        for name, model in config.models.items()
        if model.exposed and client.may_call(name)
    }


def find_exposed_model(config: GatewayConfig, client: Client, route: Route | CatalogRoute) -> Model:
    """Return the model of a route.

    A model that the client may not call is treated as missing, so that its existence is not
    revealed.

    Raises:
        RequestError: 404 if the model or the version does not exist, is not exposed or is not
            visible to the client. The message lists those that are.
    """
    model = config.models.get(route.model)
    if model is None or not model.exposed or not client.may_call(route.model):
        visible = sorted(find_visible_models(config, client))
        raise RequestError(
            404,
            f"Model {route.model!r} does not exist. Exposed models: "
            f"{', '.join(visible) or 'none'}. Correct the model in the path.",
        )
    if route.version is not None and route.version not in model.exposed:
        raise RequestError(
            404,
            f"Model {route.model!r} has no version {route.version!r}. Exposed versions: "
            f"{', '.join(model.exposed)}. Correct the version in the path.",
        )
    return model
