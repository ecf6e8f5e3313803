"""A registry that serves prepared manifests and blobs, also wrong ones."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pulumi_berth.oci import documents
from pulumi_berth.oci.registry import Repository


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class ServedRegistry:
    """The content of a registry.

    Attributes:
        content: Last part of the path -> body.
        headers: Last part of the path -> headers that replace those of the response.
        endless: Paths that never end.
        sent: Bytes that the server sent for `endless`.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    sent: int = 0
    host: str = ""

    @property
    def repository(self) -> Repository:
        return Repository(name=f"{self.host}/base", plain_http=True)

    def add(self, data: bytes, *, digest: str | None = None) -> dict[str, Any]:
        """Add a blob or manifest under its digest, or another, and return its descriptor."""
        name = digest or digest_of(data)
        self.content[name] = data
        return {"mediaType": documents.LAYER, "digest": name, "size": len(data)}

    def add_image(
        self, *, config: Mapping[str, Any] | None = None, diff_id: str | None = None
    ) -> str:
        """Add an image with one layer and return its reference."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("usr/bin/python3"))
        document = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [diff_id or digest_of(archive.getvalue())]},
            "history": [{"created_by": "base"}],
            **(config or {}),
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "config": self.add(json.dumps(document).encode()),
            "layers": [self.add(gzip.compress(archive.getvalue()))],
        }
        return self.refer(self.add(json.dumps(manifest).encode()))

    def refer(self, descriptor: Mapping[str, Any]) -> str:
        return f"{self.host}/base@{descriptor['digest']}"


@contextmanager
def serve_registry() -> Iterator[ServedRegistry]:
    """Serve a registry on a free port."""
    registry = ServedRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2].replace("%3A", ":")
            if name in registry.endless:
                self._send_endlessly()
                return
            body = registry.content.get(name)
            self.send_response(200 if body is not None else 404)
            headers = {"Content-Length": str(len(body or b""))} | registry.headers.get(name, {})
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body or b"")

        def do_HEAD(self) -> None:
            name = self.path.rpartition("/")[2].replace("%3A", ":")
            self.send_response(200 if name in registry.content else 404)
            self.send_header("Docker-Content-Digest", name)
            self.end_headers()

        def _send_endlessly(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    registry.sent += self.wfile.write(b"x" * 65536)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
