"""Error responses: every exception that ends a request becomes a response."""

import logging
from collections.abc import Coroutine
from typing import Any

from berth_gateway.request_context import ClientDisconnectedError, RequestContext, send_error
from berth_gateway.upstream import UpstreamError
from berth_protocol.errors import RequestError
from berth_protocol.http_exchange import ClientGoneError

_CLIENT_DISCONNECTED = 499
_LOG = logging.getLogger("gateway")


async def respond_to_errors(context: RequestContext, handler: Coroutine[Any, Any, None]) -> None:
    """Await `handler`. If it raises, send an error response, unless a response has started."""
    failure: tuple[int, str] | None = None
    try:
        await handler
    except RequestError as error:
        context.response_headers |= error.headers
        failure = error.status, error.message
    except UpstreamError as error:
        message = f"Berth {context.model}/{context.version} {error}. Retry later."
        _LOG.warning("Request %s: %s", context.request_id, message)
        failure = error.status, message
    except ClientDisconnectedError:
        context.status = _CLIENT_DISCONNECTED
    except ClientGoneError:
        pass  # The berth stops sending, too, because its response is not read any more.
    except Exception:
        _LOG.exception("Request %s failed", context.request_id)
        failure = 500, "Internal gateway error. Look up the request ID in the gateway log."
    # Sent after the exception is gone: its frames hold what arrived of the body, and the response
    # may wait for the rest.
    if failure is not None and not context.response_started:
        await send_error(context, *failure)
