"""The peer app: receives usage updates from peers, and authorizes requests for them."""

import logging

import msgspec

from berth_gateway.error_responses import respond_to_errors
from berth_gateway.limits.peers import AUTHORIZE_PATH, PeerStatus
from berth_gateway.limits.sharing import UsageSharing, UsageUpdate
from berth_gateway.request_context import RequestContext, read_body, send_error, send_json
from berth_protocol.asgi import App, Receive, Scope, Send
from berth_protocol.errors import RequestError

_MAX_BODY_BYTES = 16 << 20
_BODY_SECONDS = 5.0
_LOG = logging.getLogger("gateway")


class PeerApp:
    """Serves POST / with a `UsageUpdate`, and GET /. Both return a `PeerStatus`.

    Args:
        authorize: Serves AUTHORIZE_PATH.
    """

    def __init__(self, sharing: UsageSharing, authorize: App) -> None:
        self._sharing = sharing
        self._authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request of a peer."""
        if scope["path"] == AUTHORIZE_PATH:
            await self._authorize(scope, receive, send)
            return
        context = RequestContext.from_scope(scope, receive, send)
        await respond_to_errors(context, self._respond(context))

    async def _respond(self, context: RequestContext) -> None:
        origin = self._sharing.origin
        if context.method == "POST":
            body = await read_body(context, _MAX_BODY_BYTES, _BODY_SECONDS)
            try:
                update = msgspec.json.decode(body, type=UsageUpdate)
            except msgspec.MsgspecError as error:
                _LOG.warning("Cannot read an update from a peer: %s", error)
                raise RequestError(400, f"Invalid usage update: {error}") from error
            self._sharing.apply_update(update)
            await send_json(context, 200, PeerStatus(origin=origin))
        elif context.method == "GET":
            snapshot = self._sharing.take_snapshot() if self._sharing.has_started else None
            await send_json(context, 200, PeerStatus(origin=origin, snapshot=snapshot))
        else:
            context.response_headers["allow"] = "GET, POST"
            await send_error(
                context, 405, f"Method {context.method} is not allowed. Use GET or POST."
            )
