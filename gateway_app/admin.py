"""The admin app: which table is in force, and metrics; for this machine only."""

from typing import Any

from gateway_app.answer import Receive, Send, send_error, send_json
from gateway_app.app import Gateway
from gateway_app.exchange import Exchange


class Admin:
    """Answers GET /healthz and GET /metrics."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: dict[str, Any], _receive: Receive, send: Send) -> None:
        exchange = Exchange(request_id="", method=scope["method"], path=scope["path"])
        if scope["path"] != "/healthz":
            await send_error(exchange, send, 404, "there are /healthz and /metrics")
        elif scope["method"] != "GET":
            exchange.answer_headers.append((b"allow", b"GET"))
            await send_error(exchange, send, 405, "use GET")
        else:
            await send_json(exchange, send, 200, {
                "table_sha256": self._gateway.in_force.table_sha256,
                "ready": not self._gateway.draining,
            })  # fmt: skip
