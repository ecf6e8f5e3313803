"""How answers are sent, and those that the gateway gives by itself."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from gateway_app.exchange import Exchange, RawHeaders

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def send_json(exchange: Exchange, send: Send, status: int, content: object) -> None:
    """Send `content` as JSON."""
    body = msgspec.json.encode(content)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send_head(exchange, send, status, headers)
    await send_part(exchange, send, body, last=True)


async def send_error(exchange: Exchange, send: Send, status: int, error: str) -> None:
    """Send {"error": error}."""
    await send_json(exchange, send, status, {"error": error})


async def send_head(exchange: Exchange, send: Send, status: int, headers: RawHeaders) -> None:
    """Send status and `headers`, together with what the exchange has gathered."""
    exchange.status = status
    exchange.begun = True
    headers = [*headers, *exchange.answer_headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def send_part(exchange: Exchange, send: Send, part: bytes, *, last: bool) -> None:
    """Send a part of the body."""
    exchange.answer_bytes += len(part)
    await send({"type": "http.response.body", "body": part, "more_body": not last})


def raw(headers: Mapping[str, str]) -> RawHeaders:
    """`headers` as they are sent."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]
