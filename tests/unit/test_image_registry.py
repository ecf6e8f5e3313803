"""A registry that is slow to know what it has."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pulumi_berth.oci import oci
from pulumi_berth.oci.registry import RegistryError, Repository

_UNKNOWN = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}).encode()


class _Registry(BaseHTTPRequestHandler):
    """Answers manifests with what `answers` has, in turn."""

    answers: list[tuple[int, bytes]]

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def repository() -> Iterator[Repository]:
    server = HTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Repository(name=f"127.0.0.1:{server.server_port}/berth/digits", plain_http=True)
    server.shutdown()
    thread.join()
    server.server_close()


_MANIFEST = oci.document(oci.MANIFEST, {"schemaVersion": 2})


def test_a_blob_that_is_about_to_be_there_is_waited_for(repository: Repository) -> None:
    _Registry.answers = [(400, _UNKNOWN), (404, _UNKNOWN), (201, b"")]
    repository.push_manifest(_MANIFEST, "1")
    assert _Registry.answers == []


def test_another_refusal_is_told_at_once(repository: Repository) -> None:
    _Registry.answers = [(400, b"the tag is there"), (201, b"")]
    with pytest.raises(RegistryError, match="cannot push 1: 400 the tag is there"):
        repository.push_manifest(_MANIFEST, "1")
    assert len(_Registry.answers) == 1
