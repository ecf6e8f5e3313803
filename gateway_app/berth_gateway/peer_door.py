"""The peer app: where other gateways tell what they let through, ask what is known, and have
requests judged of clients that this one owns."""

import logging
from typing import Any

import msgspec

from berth_gateway.answer import send_error, send_json
from berth_gateway.authorize import Authorize
from berth_gateway.body import read_body
from berth_gateway.exchange import Exchange, Receive, Send
from berth_gateway.peers import JUDGE_PATH, Known
from berth_gateway.refusal import RefusalError
from berth_gateway.settle import settle
from berth_gateway.sharing import Sharing, Told

_MAX_BYTES = 16 << 20
_SECONDS = 5.0
_LOG = logging.getLogger("gateway")


class PeerDoor:
    """Answers POST / with a `Told`, and GET /; both answers are a `Known`. Under JUDGE_PATH it
    answers as the authorize app does."""

    def __init__(self, sharing: Sharing, authorize: Authorize) -> None:
        self._sharing = sharing
        self._authorize = authorize

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["path"] == JUDGE_PATH:
            await self._authorize.here(scope, receive, send)
            return
        exchange = Exchange(
            method=scope["method"],
            path=scope["path"],
            headers=scope["headers"],
            receive=receive,
            send=send,
            request_id="from a peer",
        )
        await settle(exchange, self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        origin = self._sharing.origin
        if exchange.method == "POST":
            body = await read_body(exchange.receive, _MAX_BYTES, _SECONDS)
            try:
                told = msgspec.json.decode(body, type=Told)
            except msgspec.MsgspecError as error:
                _LOG.warning("a peer's message cannot be read: %s", error)
                raise RefusalError(400, str(error)) from error
            self._sharing.hear(told)
            await send_json(exchange, 200, Known(origin=origin))
        elif exchange.method == "GET":
            state = self._sharing.state() if self._sharing.begun else None
            await send_json(exchange, 200, Known(origin=origin, state=state))
        else:
            exchange.answer_headers["allow"] = "GET, POST"
            await send_error(exchange, 405, "use GET or POST")
