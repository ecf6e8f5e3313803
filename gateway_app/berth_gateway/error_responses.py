"""Error responses: every exception that ends a request becomes a response."""

import logging
from collections.abc import Coroutine
from typing import Any

from berth_gateway.request_context import ClientDisconnectedError, RequestContext, send_error
from berth_gateway.upstream import UpstreamError
from berth_protocol.errors import RequestError

_CLIENT_DISCONNECTED = 499
_LOG = logging.getLogger("gateway")


async def respond_to_errors(context: RequestContext, handler: Coroutine[Any, Any, None]) -> None:
    """Await `handler`. If it raises, send an error response, unless a response has started."""
    try:
        await handler
    except RequestError as error:
        context.response_headers |= error.headers
        await send_error(context, error.status, error.message)
    except UpstreamError as error:
        message = f"Berth {context.model}/{context.version} {error}. Retry later."
        _LOG.warning("Request %s: %s", context.request_id, message)
        if not context.response_started:
            await send_error(context, error.status, message)
    except ClientDisconnectedError:
        context.status = _CLIENT_DISCONNECTED
    except Exception:
        _LOG.exception("Request %s failed", context.request_id)
        if not context.response_started:
            await send_error(
                context, 500, "Internal gateway error. Look up the request ID in the gateway log."
            )
