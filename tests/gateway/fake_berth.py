"""A berth that does as a test tells it: a real HTTP server that keeps what it was asked."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    """One request as the berth saw it; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeBerth:
    """A berth of `version`.

    Attributes:
        asked: all requests so far.
        behave: answers a request; replaced by tests.
        connections: how many were made.
    """

    version: str
    asked: list[Asked] = field(default_factory=list)
    behave: Callable[["Handler", Asked], None] = field(default_factory=lambda: answer_ok)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self, port: int = 0) -> Iterator["FakeBerth"]:
        """Listen until the end of the block."""
        server = _Server(("127.0.0.1", port), Handler)
        server.berth = self
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.close_all()
            server.server_close()


class _Server(ThreadingHTTPServer):
    berth: FakeBerth
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type["Handler"]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        self._open.add(request)
        self.berth.connections += 1
        super().process_request(request, client_address)

    def close_all(self) -> None:
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: object, client_address: object) -> None:
        """The gateway may hang up; that is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    asked_before = 0
    """How many requests came on this connection before this one."""

    def _any(self) -> None:
        length = int(self.headers.get("content-length", 0))
        asked = Asked(
            self.command,
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        self.server.berth.asked.append(asked)
        self.server.berth.behave(self, asked)
        self.asked_before += 1

    do_GET = do_POST = _any  # noqa: N815 - the base class looks for these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """Close the connection with nothing said."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def answer_ok(handler: Handler, asked: Asked) -> None:
    """What a healthy berth answers."""
    version = handler.server.berth.version
    if asked.path.endswith("/infer"):
        content: dict[str, object] = {"model_version": version, "outputs": []}
    elif asked.path.endswith("/ready"):
        content = {"ready": True}
    else:
        content = {"name": "inner", "versions": [version], "platform": "onnx", "inputs": ["x"]}
    handler.answer(200, json.dumps(content).encode())
