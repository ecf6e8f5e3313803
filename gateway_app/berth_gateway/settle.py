"""Settle: whatever ends a request early becomes its answer."""

import logging
from collections.abc import Coroutine
from typing import Any

from berth_gateway.answer import send_error
from berth_gateway.body import ClientLeftError
from berth_gateway.exchange import Exchange
from berth_gateway.refusal import RefusalError
from berth_gateway.upstream import UpstreamError

_CLIENT_LEFT = 499
_LOG = logging.getLogger("gateway")


async def settle(exchange: Exchange, answering: Coroutine[Any, Any, None]) -> None:
    """Await `answering`; where it ends in an error, answer that, if nothing was answered yet."""
    try:
        await answering
    except RefusalError as refusal:
        exchange.answer_headers |= refusal.headers
        await send_error(exchange, refusal.status, refusal.error)
    except UpstreamError as error:
        text = f"model {exchange.model!r} version {exchange.version!r}: {error}"
        _LOG.warning("request %s: %s", exchange.request_id, text)
        if not exchange.begun:
            await send_error(exchange, error.status, text)
    except ClientLeftError:
        exchange.status = _CLIENT_LEFT
    except Exception:
        _LOG.exception("request %s failed", exchange.request_id)
        if not exchange.begun:
            await send_error(exchange, 500, "the gateway failed; its log says why")
