"""How answers are sent, and those that the gateway gives by itself."""

import msgspec

from berth_gateway.exchange import Exchange, RawHeaders


async def send_json(exchange: Exchange, status: int, content: object) -> None:
    """Send `content` as JSON."""
    await send_whole(exchange, status, b"application/json", msgspec.json.encode(content))


async def send_error(exchange: Exchange, status: int, error: str) -> None:
    """Send {"error": error}."""
    await send_json(exchange, status, {"error": error})


async def send_whole(exchange: Exchange, status: int, content_type: bytes, body: bytes) -> None:
    """Send an answer of the gateway's own."""
    length = str(len(body)).encode()
    headers = [(b"content-type", content_type), (b"content-length", length)]
    await send_head(exchange, status, headers)
    await send_part(exchange, body, last=True)


async def send_head(exchange: Exchange, status: int, headers: RawHeaders) -> None:
    """Send status and `headers`, together with what the exchange has gathered."""
    exchange.status = status
    exchange.begun = True
    own = [(name.encode(), value.encode()) for name, value in exchange.answer_headers.items()]
    await exchange.send({
        "type": "http.response.start", "status": status, "headers": headers + own,
    })  # fmt: skip


async def send_part(exchange: Exchange, part: bytes, *, last: bool) -> None:
    """Send a part of the body."""
    exchange.answer_bytes += len(part)
    await exchange.send({"type": "http.response.body", "body": part, "more_body": not last})
