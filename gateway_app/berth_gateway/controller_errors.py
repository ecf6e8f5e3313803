"""Errors of an ingress controller, in the format of all errors.

Traefik answers with plain text if it cannot reach a berth or knows no route. Its `errors`
middleware replaces such an answer by one that it requests here. It selects answers by their status,
and a berth's own 504 has the same reason as Traefik's.
"""

from berth_gateway.config import (
    CONTROLLER_ERRORS,
    REPLACED_STATUSES,
    UNREADABLE_BODY_STATUS,
)
from berth_gateway.request_context import RequestContext, send_error
from berth_protocol.headers import REQUEST_ID, RETURNED_HEADERS

_MESSAGES = {
    UNREADABLE_BODY_STATUS: "The request body cannot be read: a chunk is malformed, or the trailers"
    " exceed 4 KiB. Send valid chunks, or a body with Content-Length.",
    404: "Host name not found. Send the request to a host name of the service.",
    502: "The berth did not respond. Retry later.",
    504: "The berth did not respond in time. Send fewer rows in each request, or retry later.",
}


async def send_controller_error(context: RequestContext) -> None:
    """Send the error whose status is the last part of the path."""
    name = context.path.removeprefix(CONTROLLER_ERRORS)
    status = int(name) if name in map(str, _MESSAGES) else 404
    if status in REPLACED_STATUSES:
        # The request was authorized, so these headers are the gateway's own.
        context.response_headers |= {
            returned: value.decode("latin-1")
            for name, value in context.headers
            if (returned := RETURNED_HEADERS.get(name.decode("latin-1"))) is not None
        }
    else:
        context.response_headers[REQUEST_ID] = context.request_id
    await send_error(context, status, _MESSAGES[status])
