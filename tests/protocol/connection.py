"""A connection to Berth's HTTP server with a small application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn

from berth_protocol.asgi import Receive, Scope, Send
from berth_protocol.body_memory import BodyMemory
from berth_protocol.http_server import HttpServer, server_config

LIMIT_SECONDS = 0.2
"""A time limit for tests of what happens when it is exceeded."""
LONG_RESPONSE = 20_000_000
"""Length of a response that no socket buffer holds."""
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
CHUNKED = b"POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass
class Server:
    """The application, and what it received.

    Attributes:
        bodies: Bodies of the requests for `/body`.
        headers: Headers of each request, as they are after its body.
        trailers: Number of dropped trailers.
    """

    body_memory: BodyMemory = field(default_factory=lambda: BodyMemory(1 << 30))
    bodies: list[bytes] = field(default_factory=list)
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    trailers: int = 0
    port: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond `ok` at once; `/slow` responds after the time limit, `/body` after the body.

        `/long` responds with `LONG_RESPONSE` bytes, then `ok`.
        """
        if scope["path"] == "/slow":
            await asyncio.sleep(2 * LIMIT_SECONDS)
        if scope["path"] == "/body":
            parts = []
            while True:
                message = await receive()
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    break
            self.bodies.append(b"".join(parts))
        content = b"ok" if scope["path"] != "/long" else b"x" * LONG_RESPONSE + b"ok"
        self.headers.append(scope["headers"])
        headers = [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def count_trailer(self) -> None:
        """Count a dropped trailer."""
        self.trailers += 1

    def config(self) -> uvicorn.Config:
        """Return the configuration of Berth's servers."""
        return server_config(self, body_memory=self.body_memory, on_trailer=self.count_trailer)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open another connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def run(server: Server, **limits: Any) -> AsyncIterator[Server]:
    """Run a server. `limits` are arguments of `HttpConnection`."""
    config = server.config()
    config.port = 0
    create_connection: Any = config.http
    config.http = partial(create_connection, **limits)  # type: ignore[assignment]
    http_server = HttpServer(config)
    config.load()
    http_server.lifespan = config.lifespan_class(config)
    await http_server.startup()
    server.port = http_server.servers[0].sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(30):
            yield server
    finally:
        await http_server.shutdown()


@asynccontextmanager
async def connect(
    server: Server | None = None, **limits: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Run a server, and connect to it."""
    async with run(server or Server(), **limits) as running:
        reader, writer = await running.open()
        try:
            yield reader, writer
        finally:
            writer.close()
