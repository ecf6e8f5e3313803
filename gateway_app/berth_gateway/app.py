"""The gateway as an ASGI app: one request, from its key to its answer."""

from typing import Any

from berth_gateway import __version__
from berth_gateway.access_log import write_access
from berth_gateway.admission import Admission, Admitted
from berth_gateway.answer import send_json
from berth_gateway.berths import Berths
from berth_gateway.body import check_length, read_body
from berth_gateway.exchange import Exchange, RawHeaders, Receive, Send
from berth_gateway.in_force import InForce
from berth_gateway.metrics import Metrics
from berth_gateway.model_answers import model_metadata, model_ready
from berth_gateway.quota import Quotas
from berth_gateway.request_id import request_id
from berth_gateway.routes import OPEN, Ask, Route, check_method, route_of
from berth_gateway.settle import settle
from berth_gateway.shadow import Shadows
from berth_gateway.throttle import Throttle
from berth_gateway.upstream import Upstream


class Gateway:
    """What stands between the clients and the berths.

    Attributes:
        in_force: what requests that come now are answered by.
        draining: set when the process is about to end.
        metrics: of all that passed.
        admission: who may do what, for every door of this process.
    """

    def __init__(
        self,
        in_force: InForce,
        upstream: Upstream,
        shadows: Shadows,
        throttle: Throttle,
        quotas: Quotas,
        *,
        access_log: bool,
    ) -> None:
        self.in_force = in_force
        self.draining = False
        self.metrics = Metrics()
        self.metrics.watch(lambda: upstream.retries, lambda: shadows.counts, quotas.used)
        self.admission = Admission(throttle, quotas, self.metrics.refused)
        self._berths = Berths(upstream, shadows, lambda: self.in_force)
        self._throttle = throttle
        self._access_log = access_log

    def take_over(self, in_force: InForce) -> None:
        """Put a new table in force; a request under way keeps the one it began with."""
        self.in_force = in_force
        self._throttle.forget_all_but(in_force.clients)

    def ended(self, exchange: Exchange, *, logged: bool = True) -> None:
        """Count a request that has its answer, and write it into the access log."""
        self.metrics.ended(exchange)
        if logged and self._access_log:
            write_access(exchange)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, whatever becomes of it."""
        headers: RawHeaders = scope["headers"]
        exchange = Exchange(
            method=scope["method"],
            path=scope["path"],
            headers=headers,
            receive=receive,
            send=send,
            request_id=request_id(headers),
        )
        exchange.answer_headers["x-request-id"] = exchange.request_id
        route = route_of(exchange.path)
        self.metrics.in_flight.inc()
        try:
            await settle(exchange, self._answer(exchange, route))
        finally:
            self.metrics.in_flight.dec()
            # Probes come every few seconds and tell nothing.
            self.ended(exchange, logged=route is None or route.ask not in OPEN)

    async def _answer(self, exchange: Exchange, route: Route | None) -> None:
        in_force = self.in_force
        if route is not None and route.ask in OPEN:
            check_method(route, exchange.method)
            await self._health(exchange, route)
            return
        asked = self.admission.admit(in_force, exchange, route)
        if asked.model is None:
            about = {"name": "berth", "version": __version__, "extensions": ["binary_tensor_data"]}
            await send_json(exchange, 200, about)
        elif asked.route.ask is Ask.INFER:
            await self._infer(in_force, exchange, asked)
        elif asked.route.version is not None:
            last = "/ready" if asked.route.ask is Ask.READY else ""
            await self._forward(in_force, exchange, asked.route.version, last, None)
        elif asked.route.ask is Ask.READY:
            await model_ready(self._berths, in_force, exchange, asked.model)
        else:
            await model_metadata(self._berths, in_force, exchange, asked.model)

    async def _health(self, exchange: Exchange, route: Route) -> None:
        if route.ask is Ask.LIVE:
            await send_json(exchange, 200, {"live": True})
        else:
            ready = not self.draining
            await send_json(exchange, 200 if ready else 503, {"ready": ready})

    async def _infer(self, in_force: InForce, exchange: Exchange, asked: Admitted) -> None:
        limit = in_force.table.max_body_bytes
        check_length(exchange.headers, limit)
        body = await read_body(exchange.receive, limit, in_force.table.timeout_seconds)
        exchange.request_bytes = len(body)
        self.admission.spend(exchange, asked.client)
        named = asked.route.version
        version = named or in_force.splits[exchange.model].next()
        shadow = in_force.table.models[exchange.model].shadow
        try:
            await self._forward(in_force, exchange, version, "/infer", body)
        finally:
            # After the answer, so that the client never waits for the copy.
            if shadow is not None and named is None and shadow != version:
                self._berths.copy(in_force, exchange, shadow, body)

    async def _forward(
        self, in_force: InForce, exchange: Exchange, version: str, last: str, body: bytes | None
    ) -> None:
        """Have `version` answer."""
        exchange.version = version
        response = await self._berths.ask(in_force, exchange, version, last, body)
        exchange.answer_headers["x-berth-version"] = version
        await self._berths.pass_on(exchange, response, in_force.table.timeout_seconds)
