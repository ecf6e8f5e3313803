"""Failover: the share of an unhealthy version goes to the healthy versions of its model."""

import asyncio

import aiohttp
from prometheus_client import Counter

from berth_gateway.active_config import ActiveConfig
from berth_gateway.berth_health import READY_SECONDS, Berth, BerthHealth
from berth_gateway.berths import Berths
from berth_gateway.request_context import Body, RequestContext
from berth_gateway.traffic import RouteSplits, TrafficSplit
from berth_gateway.upstream import UpstreamError
from berth_protocol.headers import TRAFFIC
from berth_protocol.paths import INFER_SUFFIX

_UNAVAILABLE = 503
_TRAFFIC = TRAFFIC.encode()


class Failover:
    """Sends inference requests to the version that the traffic split selects, or to another one.

    Args:
        failovers: Counts the requests that another version answered, by model, the version that the
            traffic split selected, and the version that answered.
    """

    def __init__(self, berths: Berths, health: BerthHealth, failovers: Counter) -> None:
        self._berths = berths
        self._health = health
        self._failovers = failovers
        self._route_splits = RouteSplits()

    async def send(
        self, active: ActiveConfig, context: RequestContext, body: Body
    ) -> aiohttp.ClientResponse:
        """Send a request that names no version. The context receives the version that responds.

        If a version cannot have executed the request, because the connection failed before any
        response or because it is not ready, the request goes to another version. Nothing is sent
        again after a timeout.

        Raises:
            UpstreamError: If no version responds.
        """
        split = self._find_split(active, context)
        selected = split.next_version()
        can_fail_over = active.config.models[context.model].failover
        if not can_fail_over or len(self._find_candidates(active, context)) == 1:
            context.version = selected
            return await self._berths.send(active, context, selected, INFER_SUFFIX, body)
        excluded: set[str] = set()
        version: str | None = self._substitute(active, context, split, selected, excluded)
        # Without a healthy version, the selected one has to try.
        version = selected if version is None else version
        while True:
            context.version = version
            berth = self._find_berth(active, context, version)
            response, error = await self._try(active, context, berth, body)
            if response is not None and (
                response.status != _UNAVAILABLE or await self._health.check(berth)
            ):
                break  # An overloaded berth responds with 503, too, and is ready.
            excluded.add(version)
            following = self._substitute(active, context, split, selected, excluded)
            if following is None:
                break
            if response is not None:
                response.release()
            version = following
        if response is None:
            assert error is not None
            raise error
        if version != selected:
            self._failovers.labels(context.model, selected, version).inc()
        return response

    async def _try(
        self, active: ActiveConfig, context: RequestContext, berth: Berth, body: Body
    ) -> tuple[aiohttp.ClientResponse | None, UpstreamError | None]:
        """Send the request to one berth.

        Returns:
            The response, or the error if the request can be sent to another version.

        Raises:
            UpstreamError: If the berth may have executed the request.
        """
        # A berth that hangs is found before the first request times out.
        suspicion = asyncio.get_running_loop().call_later(
            READY_SECONDS, self._health.start_check, berth
        )
        try:
            response = await self._berths.send(active, context, berth.version, INFER_SUFFIX, body)
        except UpstreamError as error:
            if not error.is_repeatable:
                raise
            self._health.report_failure(berth, str(error))
            return None, error
        finally:
            suspicion.cancel()
        return response, None

    def _substitute(
        self,
        active: ActiveConfig,
        context: RequestContext,
        split: TrafficSplit,
        selected: str,
        excluded: set[str],
    ) -> str | None:
        """Return the selected version if it is healthy, otherwise a healthy one, or None."""
        healthy = [
            version
            for version in self._find_candidates(active, context)
            if version not in excluded
            and self._health.is_healthy(self._find_berth(active, context, version))
        ]
        if selected in healthy:
            return selected
        return split.next_version_of(healthy) if healthy else None

    def _find_split(self, active: ActiveConfig, context: RequestContext) -> TrafficSplit:
        """Return the split of the request's model: of the ingress controller's route, if any."""
        shares = active.config.models[context.model].shares
        values = context.header_values(_TRAFFIC) if shares else []
        split = (
            self._route_splits.find(context.model, values[0].decode("latin-1"), shares)
            if len(values) == 1
            else None
        )
        return active.splits[context.model] if split is None else split

    def _find_candidates(self, active: ActiveConfig, context: RequestContext) -> list[str]:
        """Return the versions that can receive a request, also if the weights are in a route."""
        return active.config.models[context.model].shares or active.splits[context.model].versions

    def _find_berth(self, active: ActiveConfig, context: RequestContext, version: str) -> Berth:
        url = self._berths.get_url(active, context.model, version)
        return Berth(context.model, version, url)
