"""A fake berth: a real HTTP server that records its requests and responds as a test requires."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class RecordedRequest:
    """One request that the berth received. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeBerth:
    """A berth of one version.

    Attributes:
        requests: All requests that it received.
        respond: Responds to a request. Tests replace it.
        connections: Number of connections that it accepted.
    """

    version: str
    requests: list[RecordedRequest] = field(default_factory=list)
    respond: Callable[["Handler", RecordedRequest], None] = field(
        default_factory=lambda: respond_ok
    )
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """Base URL of the berth."""
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
            server.close_connections()
            server.server_close()


class _Server(ThreadingHTTPServer):
    berth: FakeBerth
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type["Handler"]) -> None:
        super().__init__(address, handler)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        self._connections.add(request)
        self.berth.connections += 1
        super().process_request(request, client_address)

    def close_connections(self) -> None:
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: some tests let the gateway close the connection."""


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of one connection.

    Attributes:
        previous_requests: Number of requests on this connection before the current one.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    previous_requests = 0

    def _handle(self) -> None:
        length = int(self.headers.get("content-length", 0))
        request = RecordedRequest(
            self.command,
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        self.server.berth.requests.append(request)
        self.server.berth.respond(self, request)
        self.previous_requests += 1

    do_GET = do_POST = _handle  # noqa: N815 - the base class requires these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write no log."""

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a complete response."""
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def disconnect(self) -> None:
        """Close the connection without a response."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def respond_ok(handler: Handler, request: RecordedRequest) -> None:
    """Respond as a healthy berth does."""
    version = handler.server.berth.version
    if request.path.endswith("/infer"):
        content: dict[str, object] = {"model_version": version, "outputs": []}
    elif request.path.endswith("/ready"):
        content = {"ready": True}
    else:
        content = {"name": "inner", "versions": [version], "platform": "onnx", "inputs": ["x"]}
    handler.send(200, json.dumps(content).encode())
