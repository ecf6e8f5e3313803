"""The admin app: which table is in force, and metrics; for the platform, not for clients."""

from typing import Any

from berth_gateway.answer import send_error, send_json, send_whole
from berth_gateway.app import Gateway
from berth_gateway.exchange import Exchange, Receive, Send
from berth_gateway.metrics import CONTENT_TYPE


class Admin:
    """Answers GET /healthz and GET /metrics."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        exchange = Exchange(
            method=scope["method"],
            path=scope["path"],
            headers=scope["headers"],
            receive=receive,
            send=send,
            request_id="",
        )
        if exchange.path not in ("/healthz", "/metrics"):
            await send_error(exchange, 404, "there are /healthz and /metrics")
        elif exchange.method != "GET":
            exchange.answer_headers["allow"] = "GET"
            await send_error(exchange, 405, "use GET")
        elif exchange.path == "/metrics":
            await send_whole(exchange, 200, CONTENT_TYPE, self._gateway.metrics.text())
        else:
            health = {
                "table_sha256": self._gateway.in_force.table_sha256,
                "ready": not self._gateway.draining,
            }
            await send_json(exchange, 200, health)
