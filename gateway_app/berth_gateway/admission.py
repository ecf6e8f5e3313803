"""Admission: authenticates a request, applies the client's limits, and finds its route."""

from dataclasses import dataclass

from prometheus_client import Counter

from berth_gateway.active_config import ActiveConfig
from berth_gateway.config import Client, GatewayConfig, Model
from berth_gateway.limits.limit_decision import LimitDecision, build_rate_limit_headers
from berth_gateway.limits.limiter import Limiter
from berth_gateway.request_context import RequestContext
from berth_protocol.errors import RequestError
from berth_protocol.headers import API_KEY
from berth_protocol.paths import Operation, Route, infer_path

_API_KEY = API_KEY.encode()
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
        rejected: Counts the requests that exceed a limit, by client and reason.
    """

    def __init__(self, limiter: Limiter, rejected: Counter) -> None:
        self._limiter = limiter
        self._rejected = rejected

    async def admit(
        self, active: ActiveConfig, context: RequestContext, route: Route | None
    ) -> AdmittedRequest:
        """Check the API key, the rate limit, the path, the method and the exposure, in this order.

        The context receives the client, the model and the rate limit headers.

        Raises:
            RequestError: 401, 404, 405 or 429.
        """
        client = _authenticate(active, context)
        self._apply_rate_limit(context, client, await self._limiter.take_token(client))
        return _resolve(active, context, client, route)

    async def admit_and_count(
        self, active: ActiveConfig, context: RequestContext, route: Route | None
    ) -> AdmittedRequest:
        """Do what `admit` and, for an inference request, `consume_quota` do, in one decision.

        Raises:
            RequestError: 401, 404, 405 or 429.
        """
        client = _authenticate(active, context)
        try:
            request, error = _resolve(active, context, client, route), None
        except RequestError as caught:
            request, error = None, caught
        if request is None or request.route.operation is not Operation.INFER:
            decision, quota_decision = await self._limiter.take_token(client), None
        else:
            decision, quota_decision = await self._limiter.take_token_and_quota(client)
        self._apply_rate_limit(context, client, decision)
        if request is None:
            assert error is not None
            raise error
        self._apply_quota(context, client, quota_decision)
        return request

    async def consume_quota(self, context: RequestContext, client: Client) -> None:
        """Count an inference request that is forwarded to a berth against the client's quota.

        Raises:
            RequestError: 429 if the quota is used up.
        """
        self._apply_quota(context, client, await self._limiter.consume_quota(client))

    def _apply_rate_limit(
        self, context: RequestContext, client: Client, decision: LimitDecision
    ) -> None:
        self._apply_limit(
            context,
            "rate_limit",
            decision,
            f"Client '{client.name}' exceeded its rate limit. "
            f"Retry after {decision.retry_after_seconds} s.",
        )

    def _apply_quota(
        self, context: RequestContext, client: Client, decision: LimitDecision | None
    ) -> None:
        if decision is not None and client.quota is not None and not decision.is_allowed:
            self._apply_limit(
                context,
                "quota",
                decision,
                f"Client '{client.name}' used its {_QUOTA_NAMES[client.quota.period]} quota of "
                f"{client.quota.requests} requests. "
                f"The quota resets at {decision.resets_at:%Y-%m-%dT%H:%M:%SZ}.",
            )

    def _apply_limit(
        self, context: RequestContext, reason: str, decision: LimitDecision, message: str
    ) -> None:
        context.response_headers |= build_rate_limit_headers(decision)
        if not decision.is_allowed:
            self._rejected.labels(context.client, reason).inc()
            raise RequestError(429, message)


def check_method(route: Route, method: str) -> None:
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


def _authenticate(active: ActiveConfig, context: RequestContext) -> Client:
    keys = context.header_values(_API_KEY)
    client = active.find_client(keys[0]) if len(keys) == 1 else None
    if client is None:
        message = (
            f"Invalid API key. Send one valid key in the {API_KEY} header."
            if keys
            else f"API key missing. Send your key in the {API_KEY} header."
        )
        raise RequestError(401, message, {"www-authenticate": 'ApiKey realm="berth"'})
    context.client = client.name
    return client


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
    model = _find_exposed_model(active.config, route)
    context.model = route.model
    return AdmittedRequest(client=client, route=route, model=model)


def _find_exposed_model(config: GatewayConfig, route: Route) -> Model:
    """Return the model of a route.

    Raises:
        RequestError: 404 if the model or the version does not exist or is not exposed. The
            message lists the exposed ones.
    """
    model = config.models.get(route.model)
    if model is None or not model.exposed:
        exposed = sorted(name for name, model in config.models.items() if model.exposed)
        raise RequestError(
            404,
            f"Model {route.model!r} does not exist. Exposed models: "
            f"{', '.join(exposed) or 'none'}. Correct the model in the path.",
        )
    if route.version is not None and route.version not in model.exposed:
        raise RequestError(
            404,
            f"Model {route.model!r} has no version {route.version!r}. Exposed versions: "
            f"{', '.join(model.exposed)}. Correct the version in the path.",
        )
    return model
