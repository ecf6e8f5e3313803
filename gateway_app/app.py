"""The gateway as an ASGI app: one request, from its key to its answer."""

import asyncio
import logging
from typing import Any

import aiohttp
import msgspec

from gateway_app import __version__
from gateway_app.answer import Receive, Send, raw, send_error, send_json
from gateway_app.berths import Berths
from gateway_app.body import ClientLeftError, check_length, read_body
from gateway_app.exchange import Exchange
from gateway_app.forwarded_headers import RawHeaders
from gateway_app.in_force import InForce
from gateway_app.keys import client_of
from gateway_app.refusal import RefusalError
from gateway_app.request_id import request_id
from gateway_app.routes import OPEN, Ask, Route, check_method, open_model, route_of
from gateway_app.table import Client, Model
from gateway_app.upstream import Upstream, UpstreamError

_CLIENT_LEFT = 499
_LOG = logging.getLogger("gateway")


class Gateway:
    """What stands between the clients and the berths.

    Attributes:
        in_force: replaced on reload; a request under way keeps the one it began with.
        draining: set when the process is about to end.
    """

    def __init__(self, in_force: InForce, upstream: Upstream) -> None:
        self.in_force = in_force
        self.draining = False
        self._berths = Berths(upstream, lambda: self.in_force)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        exchange = Exchange(
            request_id=request_id(dict(scope["headers"]).get(b"x-request-id")),
            method=scope["method"],
            path=scope["path"],
        )
        exchange.answer_headers.append((b"x-request-id", exchange.request_id.encode()))
        try:
            await self._answer(exchange, scope["headers"], receive, send)
        except RefusalError as refusal:
            exchange.answer_headers += raw(refusal.headers)
            await send_error(exchange, send, refusal.status, refusal.error)
        except UpstreamError as error:
            text = f"model {exchange.model!r} version {exchange.version!r}: {error}"
            _LOG.warning("request %s: %s", exchange.request_id, text)
            if not exchange.begun:
                await send_error(exchange, send, error.status, text)
        except ClientLeftError:
            exchange.status = _CLIENT_LEFT
        except Exception:
            _LOG.exception("request %s failed", exchange.request_id)
            if not exchange.begun:
                await send_error(exchange, send, 500, "the gateway failed; its log says why")

    async def _answer(
        self, exchange: Exchange, headers: RawHeaders, receive: Receive, send: Send
    ) -> None:
        in_force = self.in_force
        route = route_of(exchange.path)
        if route is not None and route.ask in OPEN:
            check_method(route, exchange.method)
            await self._health(exchange, route, send)
            return
        client = _known_client(in_force, headers)
        exchange.client = client.name
        if route is None:
            raise RefusalError(404, "there is nothing here; POST /v2/models/<model>/infer infers")
        check_method(route, exchange.method)
        if route.ask is Ask.SERVER:
            await send_json(exchange, send, 200, {
                "name": "berth", "version": __version__, "extensions": ["binary_tensor_data"],
            })  # fmt: skip
            return
        model = open_model(in_force.table, route)
        exchange.model = route.model
        if route.ask is Ask.INFER:
            await self._infer(in_force, exchange, route, headers, receive, send)
        elif route.version is not None:
            last = "/ready" if route.ask is Ask.READY else ""
            await self._forward(in_force, exchange, route.version, last, headers, None, send)
        elif route.ask is Ask.READY:
            await self._model_ready(in_force, exchange, model, headers, send)
        else:
            await self._model_metadata(in_force, exchange, model, headers, send)

    async def _health(self, exchange: Exchange, route: Route, send: Send) -> None:
        if route.ask is Ask.LIVE:
            await send_json(exchange, send, 200, {"live": True})
        else:
            await send_json(exchange, send, 503 if self.draining else 200, {
                "ready": not self.draining
            })  # fmt: skip

    async def _infer(
        self,
        in_force: InForce,
        exchange: Exchange,
        route: Route,
        headers: RawHeaders,
        receive: Receive,
        send: Send,
    ) -> None:
        limit = in_force.table.max_body_bytes
        check_length(headers, limit)
        body = await read_body(receive, limit, in_force.table.timeout_seconds)
        exchange.request_bytes = len(body)
        version = route.version or in_force.splits[route.model].next()
        await self._forward(in_force, exchange, version, "/infer", headers, body, send)

    async def _forward(
        self,
        in_force: InForce,
        exchange: Exchange,
        version: str,
        last: str,
        headers: RawHeaders,
        body: bytes | None,
        send: Send,
    ) -> None:
        """Have `version` answer."""
        exchange.version = version
        response = await self._berths.ask(
            in_force, exchange, exchange.model, version, last, headers, body
        )
        exchange.answer_headers.append((b"x-berth-version", version.encode()))
        seconds = in_force.table.timeout_seconds
        await self._berths.pass_on(exchange, response, seconds, send)

    async def _model_ready(
        self,
        in_force: InForce,
        exchange: Exchange,
        model: Model,
        headers: RawHeaders,
        send: Send,
    ) -> None:
        """A model is ready when each version with traffic is."""
        asked = [version for version, percent in model.traffic.items() if percent]
        ready = all(
            await asyncio.gather(*(
                self._is_ready(in_force, exchange, version, headers) for version in asked
            ))
        )  # fmt: skip
        content = {"name": exchange.model, "ready": ready}
        await send_json(exchange, send, 200 if ready else 503, content)

    async def _is_ready(
        self, in_force: InForce, exchange: Exchange, version: str, headers: RawHeaders
    ) -> bool:
        try:
            async with await self._berths.ask(
                in_force, exchange, exchange.model, version, "/ready", headers
            ) as response:
                return response.status == 200
        except UpstreamError:
            return False

    async def _model_metadata(
        self,
        in_force: InForce,
        exchange: Exchange,
        model: Model,
        headers: RawHeaders,
        send: Send,
    ) -> None:
        """What the version with most traffic says of itself, with all exposed versions.

        A berth that cannot be asked leaves name and versions, which the table knows.
        """
        version = max(model.traffic, key=model.traffic.__getitem__)
        content: dict[str, Any] = {}
        try:
            async with (
                asyncio.timeout(in_force.table.timeout_seconds),
                await self._berths.ask(
                    in_force, exchange, exchange.model, version, "", headers
                ) as response,
            ):
                if response.status == 200:
                    content = msgspec.json.decode(await response.read(), type=dict[str, Any])
        except (UpstreamError, TimeoutError, aiohttp.ClientError, msgspec.MsgspecError) as error:
            _LOG.warning("request %s: version %s: %s", exchange.request_id, version, error)
        content |= {"name": exchange.model, "versions": model.exposed}
        await send_json(exchange, send, 200, content)


def _known_client(in_force: InForce, headers: RawHeaders) -> Client:
    keys = [value for name, value in headers if name == b"x-api-key"]
    client = client_of(keys[0], in_force.owners) if len(keys) == 1 else None
    if client is None:
        text = "this API key is not known" if keys else "an API key is needed"
        raise RefusalError(
            401, f"{text}; send one in the header x-api-key",
            {"www-authenticate": 'ApiKey realm="berth"'},
        )  # fmt: skip
    return client
