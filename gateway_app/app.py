"""The gateway as an ASGI app: one request, from its key to its answer."""

import logging
from typing import Any

from gateway_app import __version__
from gateway_app.access_log import write_access
from gateway_app.answer import send_error, send_json
from gateway_app.berths import Berths
from gateway_app.body import ClientLeftError, check_length, read_body
from gateway_app.exchange import Exchange, RawHeaders, Receive, Send
from gateway_app.in_force import InForce
from gateway_app.keys import client_of
from gateway_app.metrics import Metrics
from gateway_app.model_answers import model_metadata, model_ready
from gateway_app.quota import Quotas
from gateway_app.refusal import RefusalError
from gateway_app.request_id import request_id
from gateway_app.routes import OPEN, Ask, Route, check_method, open_model, route_of
from gateway_app.shadow import Shadows
from gateway_app.table import Client
from gateway_app.throttle import Throttle
from gateway_app.upstream import Upstream, UpstreamError
from gateway_app.verdict import Verdict, verdict_headers

_CLIENT_LEFT = 499
_LOG = logging.getLogger("gateway")


class Gateway:
    """What stands between the clients and the berths.

    Attributes:
        in_force: what requests that come now are answered by.
        draining: set when the process is about to end.
        metrics: of all that passed.
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
        self._berths = Berths(upstream, shadows, lambda: self.in_force)
        self._throttle = throttle
        self._quotas = quotas
        self._access_log = access_log

    def take_over(self, in_force: InForce) -> None:
        """Put a new table in force; a request under way keeps the one it began with."""
        self.in_force = in_force
        self._throttle.forget_all_but({client.name for client in in_force.table.clients})

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
            await self._answer(exchange, route)
        except RefusalError as refusal:
            exchange.answer_headers |= refusal.headers
            await send_error(exchange, refusal.status, refusal.error)
        except UpstreamError as error:
            text = f"model {exchange.model!r} version {exchange.version!r}: {error}"
            _LOG.warning("request %s: %s", exchange.request_id, text)
            if not exchange.begun:
                await send_error(exchange, error.status, text)
        except ClientLeftError:
            exchange.status = _CLIENT_LEFT
        except Exception:
            _LOG.exception("request %s failed", exchange.request_id)
            if not exchange.begun:
                await send_error(exchange, 500, "the gateway failed; its log says why")
        finally:
            self.metrics.in_flight.dec()
            self.metrics.ended(exchange)
            # Probes come every few seconds and tell nothing.
            if self._access_log and not (route is not None and route.ask in OPEN):
                write_access(exchange)

    async def _answer(self, exchange: Exchange, route: Route | None) -> None:
        in_force = self.in_force
        if route is not None and route.ask in OPEN:
            check_method(route, exchange.method)
            await self._health(exchange, route)
            return
        client = _known_client(in_force, exchange.headers)
        exchange.client = client.name
        self._obey(exchange, "throttle", self._throttle.take(client))
        if route is None:
            raise RefusalError(404, "there is nothing here; POST /v2/models/<model>/infer infers")
        check_method(route, exchange.method)
        if route.ask is Ask.SERVER:
            about = {"name": "berth", "version": __version__, "extensions": ["binary_tensor_data"]}
            await send_json(exchange, 200, about)
            return
        model = open_model(in_force.table, route)
        exchange.model = route.model
        if route.ask is Ask.INFER:
            await self._infer(in_force, exchange, client, route)
        elif route.version is not None:
            last = "/ready" if route.ask is Ask.READY else ""
            await self._forward(in_force, exchange, route.version, last, None)
        elif route.ask is Ask.READY:
            await model_ready(self._berths, in_force, exchange, model)
        else:
            await model_metadata(self._berths, in_force, exchange, model)

    async def _health(self, exchange: Exchange, route: Route) -> None:
        if route.ask is Ask.LIVE:
            await send_json(exchange, 200, {"live": True})
        else:
            ready = not self.draining
            await send_json(exchange, 200 if ready else 503, {"ready": ready})

    async def _infer(
        self, in_force: InForce, exchange: Exchange, client: Client, route: Route
    ) -> None:
        limit = in_force.table.max_body_bytes
        check_length(exchange.headers, limit)
        body = await read_body(exchange.receive, limit, in_force.table.timeout_seconds)
        exchange.request_bytes = len(body)
        if client.quota is not None:
            verdict = self._quotas.take(client.name, client.quota)
            if not verdict.allowed:
                self._obey(exchange, "quota", verdict)
        version = route.version or in_force.splits[route.model].next()
        shadow = in_force.table.models[route.model].shadow
        try:
            await self._forward(in_force, exchange, version, "/infer", body)
        finally:
            # After the answer, so that the client never waits for the copy.
            if shadow is not None and route.version is None and shadow != version:
                self._berths.copy(in_force, exchange, shadow, body)

    async def _forward(
        self, in_force: InForce, exchange: Exchange, version: str, last: str, body: bytes | None
    ) -> None:
        """Have `version` answer."""
        exchange.version = version
        response = await self._berths.ask(in_force, exchange, version, last, body)
        exchange.answer_headers["x-berth-version"] = version
        await self._berths.pass_on(exchange, response, in_force.table.timeout_seconds)

    def _obey(self, exchange: Exchange, reason: str, verdict: Verdict) -> None:
        """Tell the client of a limit; refuse its request when the limit does."""
        exchange.answer_headers |= verdict_headers(verdict)
        if not verdict.allowed:
            self.metrics.refused.labels(exchange.client, reason).inc()
            raise RefusalError(
                429,
                f"client {exchange.client!r} is beyond its {reason}; "
                f"come again in {verdict.retry_after_seconds} s",
            )


def _known_client(in_force: InForce, headers: RawHeaders) -> Client:
    keys = [value for name, value in headers if name == b"x-api-key"]
    client = client_of(keys[0], in_force.owners) if len(keys) == 1 else None
    if client is None:
        text = "this API key is not known" if keys else "an API key is needed"
        raise RefusalError(
            401,
            f"{text}; send one in the header x-api-key",
            {"www-authenticate": 'ApiKey realm="berth"'},
        )
    return client
