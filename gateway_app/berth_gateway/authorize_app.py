"""The authorize app: decides whether an inference request may pass to a berth.

An ingress controller that forwards inference requests to the berths itself calls this app before
each of them (external authorization; Traefik's `forwardAuth`).
"""

import re

import httptools

from berth_gateway.config import CONTROLLER_ERRORS, CONTROLLER_SERVICES
from berth_gateway.controller_errors import send_controller_error
from berth_gateway.controller_services import build_services
from berth_gateway.error_responses import respond_to_errors
from berth_gateway.public_app import PublicApp
from berth_gateway.request_context import (
    RequestContext,
    send_body_part,
    send_json,
    start_response,
)
from berth_protocol.asgi import Receive, Scope, Send
from berth_protocol.errors import RequestError
from berth_protocol.headers import (
    CLIENT,
    FORWARDED_METHOD,
    FORWARDED_URI,
    REQUEST_ID,
    RETURN_PREFIX,
    TOKEN,
)
from berth_protocol.paths import Operation, infer_path, parse_path

_FORWARDED_METHOD = FORWARDED_METHOD.encode()
_FORWARDED_URI = FORWARDED_URI.encode()
_METHOD = re.compile(rb"[!-~]{1,32}")


class AuthorizeApp:
    """Responds with 200 and no body if a request may pass, otherwise with the client's response.

    The ingress controller adds the headers of a 200 to the request: the request ID, the client's
    name, the berths' token, and as `x-berth-return-<name>` the headers that the berth returns to
    the client.
    """

    def __init__(self, gateway: PublicApp) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to the ingress controller."""
        context = RequestContext.from_scope(scope, receive, send)
        if context.path == CONTROLLER_SERVICES:
            # The controller's next request then reaches a gateway that is not about to end.
            context.response_headers["connection"] = "close"
            config = self._gateway.configs.active.config
            services = build_services(config, self._gateway.health)
            await send_json(context, 200, services)
            return
        if context.path.startswith(CONTROLLER_ERRORS):
            await send_controller_error(context)
            return
        context.response_headers[REQUEST_ID] = context.request_id
        await respond_to_errors(context, self._respond(context))
        if context.status == 200:
            # The berth responds to the client. The berth and the ingress controller log and
            # measure that response.
            self._gateway.metrics.authorized.labels(context.client, context.model).inc()
        else:
            self._gateway.record(context)

    async def _respond(self, context: RequestContext) -> None:
        context.method = get_forwarded_method(context)
        context.path = get_forwarded_path(context)
        admission = self._gateway.admission
        active = self._gateway.configs.active
        request = await admission.admit_and_count(active, context, parse_path(context.path))
        if request.route.operation is not Operation.INFER:
            # The ingress controller must send all other requests to the gateway's public port.
            raise RequestError(
                404,
                "Only inference requests can be authorized. Route other requests to the gateway.",
            )
        returned_headers, token = context.response_headers, active.token
        context.response_headers = {
            REQUEST_ID: context.request_id,
            CLIENT: context.client,
            **({} if token is None else {TOKEN: token}),
            **{RETURN_PREFIX + name: value for name, value in returned_headers.items()},
        }
        await start_response(context, 200, [(b"content-length", b"0")])
        await send_body_part(context, b"", is_last=True)


def get_forwarded_method(context: RequestContext) -> str:
    """Return the method of the client's request.

    Raises:
        RequestError: 400 if X-Forwarded-Method is missing, repeated or invalid.
    """
    value = _get_single_value(context, _FORWARDED_METHOD)
    if not _METHOD.fullmatch(value):
        raise RequestError(
            400, "X-Forwarded-Method is invalid. Send the client's method, such as POST."
        )
    return value.decode()


def get_forwarded_path(context: RequestContext) -> str:
    """Return the path of the client's request, still encoded and without the query.

    Raises:
        RequestError: 400 if X-Forwarded-Uri is missing, repeated or invalid.
    """
    value = _get_single_value(context, _FORWARDED_URI)
    try:
        path = httptools.parse_url(value).path
    except httptools.HttpParserInvalidURLError:
        path = None
    if path is None or b"#" in value:
        raise RequestError(
            400,
            f"X-Forwarded-Uri is invalid. Send the client's path, such as {infer_path('{model}')}.",
        )
    return path.decode("ascii")


def _get_single_value(context: RequestContext, header: bytes) -> bytes:
    """Return the value of a header that must occur once: two could be interpreted differently."""
    values = context.header_values(header)
    if len(values) != 1:
        name = header.decode().title()
        raise RequestError(
            400, f"{name} occurs {len(values)} times. The ingress controller must send it once."
        )
    return values[0]
