"""The registry client: retries, rejections, and uploads of large files."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pulumi_berth.oci import documents
from pulumi_berth.oci.registry import RegistryError, Repository

_UNKNOWN = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}).encode()


class _Registry(BaseHTTPRequestHandler):
    """A registry that sends prepared responses to PUT requests."""

    prepared: list[tuple[int, bytes]]

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.prepared.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def repository() -> Iterator[Repository]:
    server = HTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Repository(name=f"127.0.0.1:{server.server_port}/berth/digits", plain_http=True)
    server.shutdown()
    thread.join()
    server.server_close()


_MANIFEST = documents.encode_document(documents.MANIFEST, {"schemaVersion": 2})


def test_push_retries_while_blob_is_unknown(repository: Repository) -> None:
    _Registry.prepared = [(400, _UNKNOWN), (404, _UNKNOWN), (201, b"")]
    repository.push_manifest(_MANIFEST, "1")
    assert _Registry.prepared == []


def test_other_rejection_is_reported_without_retry(repository: Repository) -> None:
    _Registry.prepared = [(400, b"the tag exists"), (201, b"")]
    with pytest.raises(RegistryError, match="could not push 1: 400 the tag exists"):
        repository.push_manifest(_MANIFEST, "1")
    assert len(_Registry.prepared) == 1
