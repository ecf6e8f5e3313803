"""The authorize app: may this inference request pass? For a controller that carries requests
to the berths itself, and asks about each one before (Traefik calls it forwardAuth)."""

from collections.abc import Awaitable, Callable
from typing import Any

from berth_gateway.answer import send_error, send_head, send_part
from berth_gateway.app import Gateway
from berth_gateway.exchange import Exchange, RawHeaders, Receive, Send
from berth_gateway.forwarded_request import forwarded_method, forwarded_path
from berth_gateway.keys import client_of
from berth_gateway.peers import OTHER_TABLE, TABLE, Judgement
from berth_gateway.refusal import RefusalError
from berth_gateway.request_id import request_id
from berth_gateway.routes import Ask, route_of
from berth_gateway.settle import settle

_CLIENT = "x-berth-client"
_RETURN = "x-berth-return-"
"""A berth sends what it gets as `x-berth-return-<name>` back as `<name>`."""


Judge = Callable[[str, RawHeaders], Awaitable[Judgement | None]]
_KEY = b"x-api-key"
_WHAT_IS_ASKED = (_KEY, b"x-forwarded-method", b"x-forwarded-uri")


def _exchange(scope: dict[str, Any], receive: Receive, send: Send) -> Exchange:
    headers: RawHeaders = scope["headers"]
    return Exchange(
        method=scope["method"],
        path=scope["path"],
        headers=headers,
        receive=receive,
        send=send,
        request_id=request_id(headers),
    )


class Authorize:
    """Answers 200, without a body, for a request that may pass, and else what the client is to get.

    The headers of a 200 are for the request on its way to the berth: `x-request-id`,
    `x-berth-client`, and under `x-berth-return-...` what the client is to find on its answer.

    `judge_elsewhere` asks the gateway that owns a client, where several share the limits.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.judge_elsewhere: Judge | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        exchange = _exchange(scope, receive, send)
        judgement = await self._of_owner(exchange)
        if judgement is None:
            await self._settle(exchange)
            return
        await send_head(exchange, judgement.status, judgement.headers)
        await send_part(exchange, judgement.body, last=True)

    async def here(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Judge for a peer, by this gateway's own buckets and quotas, if both have one table."""
        exchange = _exchange(scope, receive, send)
        if (TABLE, self._table()) not in exchange.headers:
            await send_error(exchange, OTHER_TABLE, "this gateway has another table")
            return
        await self._settle(exchange)

    def _table(self) -> bytes:
        return self._gateway.in_force.table_sha256.encode()

    async def _of_owner(self, exchange: Exchange) -> Judgement | None:
        """The judgement of the gateway that owns the client; None where that is this one."""
        if self.judge_elsewhere is None:
            return None
        keys = [value for name, value in exchange.headers if name == _KEY]
        client = client_of(keys[0], self._gateway.in_force.owners) if len(keys) == 1 else None
        if client is None:
            return None
        asked = [(name, value) for name, value in exchange.headers if name in _WHAT_IS_ASKED]
        asked.append((b"x-request-id", exchange.request_id.encode()))
        asked.append((TABLE, self._table()))
        return await self.judge_elsewhere(client.name, asked)

    async def _settle(self, exchange: Exchange) -> None:
        exchange.answer_headers["x-request-id"] = exchange.request_id
        await settle(exchange, self._judge(exchange))
        if exchange.status == 200:
            # Its answer is the berth's, and is logged and measured there and by the controller.
            self._gateway.metrics.authorized.labels(exchange.client, exchange.model).inc()
        else:
            self._gateway.ended(exchange)

    async def _judge(self, exchange: Exchange) -> None:
        exchange.method = forwarded_method(exchange.headers)
        exchange.path = forwarded_path(exchange.headers)
        admission = self._gateway.admission
        route = route_of(exchange.path)
        asked = admission.admit(self._gateway.in_force, exchange, route)
        if asked.route.ask is not Ask.INFER:
            # A controller that sends anything else past the gateway is set up wrongly.
            raise RefusalError(404, "only inference requests are let through here")
        admission.spend(exchange, asked.client)
        returned = exchange.answer_headers
        exchange.answer_headers = {
            "x-request-id": exchange.request_id,
            _CLIENT: exchange.client,
            **{_RETURN + name: value for name, value in returned.items()},
        }
        await send_head(exchange, 200, [(b"content-length", b"0")])
        await send_part(exchange, b"", last=True)
