"""The admin app: serves the active configuration's digest and the metrics, for the platform."""

import os

from berth_gateway.metrics import CONTENT_TYPE
from berth_gateway.public_app import PublicApp
from berth_gateway.request_context import RequestContext, send_error, send_json, send_response
from berth_protocol.asgi import Receive, Scope, Send
from berth_protocol.paths import METRICS

HEALTH = "/healthz"


class AdminApp:
    """Serves GET /healthz and GET /metrics."""

    def __init__(self, gateway: PublicApp) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        context = RequestContext.from_scope(scope, receive, send)
        if context.path not in (HEALTH, METRICS):
            await send_error(context, 404, f"Path not found. Use {HEALTH} or {METRICS}.")
        elif context.method != "GET":
            context.response_headers["allow"] = "GET"
            await send_error(context, 405, f"Method {context.method} is not allowed. Use GET.")
        elif context.path == METRICS:
            await send_response(context, 200, CONTENT_TYPE, self._gateway.metrics.render())
        else:
            health = {
                "config_sha256": self._gateway.configs.active.config_sha256,
                "ready": not self._gateway.is_draining,
                "pid": os.getpid(),
            }
            await send_json(context, 200, health)
