"""The dashboard's HTTP server: read-only, for browsers on this machine.

Any program of this machine can read the page, so it contains no secret. A page of another site
cannot: a request must name this address in its `Host` header, so a name that such a site lets point
to 127.0.0.1 is rejected, and no response can be embedded or read by another origin.
"""

import json
from collections.abc import Callable, Sequence
from importlib.resources import files

from berth.operations.pages.style import read_style
from berth.operations.watch.page import build_page, build_sections
from berth.operations.watch.snapshot import Snapshot
from berth_protocol.asgi import App, Receive, Scope, Send
from berth_protocol.body_memory import BodyMemory
from berth_protocol.http_server import HttpServer, server_config

ADDRESS = "127.0.0.1"
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_MAX_BODY_BYTES = 1024

Content = tuple[str, Callable[[], str]]
"""Media type, and a function that returns the text."""


def build_app(read: Callable[[], Sequence[Snapshot]], port: int) -> App:
    """Return the application.

    Args:
        read: Returns the snapshots of the last minutes, oldest first. At least one.
        port: The port on which it is served.
    """
    hosts = {f"{ADDRESS}:{port}", f"localhost:{port}"}
    style = read_style() + _read_file("dashboard.css")
    script, icon = _read_file("dashboard.js"), _read_file("dashboard.svg")
    contents: dict[str, Content] = {
        "/": ("text/html; charset=utf-8", lambda: build_page(read())),
        "/sections.json": ("application/json", lambda: json.dumps(build_sections(read()))),
        "/dashboard.css": ("text/css; charset=utf-8", lambda: style),
        "/dashboard.js": ("text/javascript; charset=utf-8", lambda: script),
        "/dashboard.svg": ("image/svg+xml", lambda: icon),
    }

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1 or named[0].lower() not in hosts:
            message = f"Unknown host. Open http://{ADDRESS}:{port}/ on this machine."
            await _respond(send, 421, "application/json", _format_error(message))
        elif scope["method"] not in ("GET", "HEAD"):
            message = f"Method {scope['method']} is not allowed. Use GET or HEAD."
            await _respond(send, 405, "application/json", _format_error(message), allow="GET, HEAD")
        elif scope["path"] not in contents:
            message = f"Path not found. Open http://{ADDRESS}:{port}/."
            await _respond(send, 404, "application/json", _format_error(message))
        else:
            media_type, build = contents[scope["path"]]
            await _respond(send, 200, media_type, build())

    return app


def create_server(app: App) -> HttpServer:
    """Return the server of the application, which `run` serves until `stop` or a signal."""
    config = server_config(
        app,
        body_memory=BodyMemory(_MAX_BODY_BYTES, _MAX_BODY_BYTES),
        on_trailer=lambda: None,
    )
    return HttpServer(config)


async def _respond(send: Send, status: int, media_type: str, text: str, **more: str) -> None:
    body = text.encode()
    headers = {
        "content-type": media_type,
        "content-length": str(len(body)),
        **_HEADERS,
        **more,
    }
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _format_error(message: str) -> str:
    return json.dumps({"error": message})


def _read_file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
