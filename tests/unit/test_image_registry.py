"""The registry client: retries, rejections, and uploads of large files."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest

from pulumi_berth.oci import bounded_client, documents
from pulumi_berth.oci.registry import RegistryError, Repository

_UNKNOWN = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}).encode()


class _Registry(BaseHTTPRequestHandler):
    """A registry that sends prepared responses to PUT requests."""

    prepared: list[tuple[int, bytes]]

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

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


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"])
def test_push_retries_while_blob_is_unknown(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """A registry on this machine is reached without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    _Registry.prepared = [(400, _UNKNOWN), (404, _UNKNOWN), (201, b"")]
    repository.push_manifest(_MANIFEST, "1")
    assert _Registry.prepared == []


def test_other_rejection_is_reported_without_retry(repository: Repository) -> None:
    _Registry.prepared = [(400, b"the tag exists"), (201, b"")]
    with pytest.raises(RegistryError, match="could not push 1: 400 the tag exists"):
        repository.push_manifest(_MANIFEST, "1")
    assert len(_Registry.prepared) == 1


_MIB = 1 << 20
_CREDENTIALS = base64.b64encode(b"ann:secret").decode()


class _PrivateRegistry(BaseHTTPRequestHandler):
    """A registry that stores blobs in memory, and requires a password for each request."""

    protocol_version = "HTTP/1.1"
    blobs: dict[str, bytes]
    upload: bytearray
    requests: list[str]

    def do_HEAD(self) -> None:
        self._respond(200 if self._digest() in self.blobs else 404)

    def do_GET(self) -> None:
        self._respond(200, self.blobs[self._digest()])

    def do_POST(self) -> None:
        self.upload.clear()
        self._respond(202)

    def do_PATCH(self) -> None:
        self._respond(202)

    def do_PUT(self) -> None:
        digest = self.path.partition("digest=")[2].replace("%3A", ":")
        is_valid = digest == f"sha256:{hashlib.sha256(self.upload).hexdigest()}"
        if is_valid:
            self.blobs[digest] = bytes(self.upload)
        self._respond(201 if is_valid else 400)

    def _digest(self) -> str:
        return self.path.rpartition("/")[2]

    def _respond(self, status: int, body: bytes = b"") -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers["Authorization"] == f"Basic {_CREDENTIALS}":
            self.upload += content if self.command == "PATCH" else b""
            self.requests.append(self.command)
            self.send_response(status)
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
            body = b""
        self.send_header("Location", "/v2/berth/digits/blobs/uploads/1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def private_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A repository that requires a password, as ECR does."""
    _PrivateRegistry.blobs, _PrivateRegistry.upload = {}, bytearray()
    _PrivateRegistry.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _PrivateRegistry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    host = f"127.0.0.1:{server.server_port}"
    monkeypatch.setattr(
        "pulumi_berth.oci.registry.ecr_login",
        lambda name: ("ann", "secret") if name == host else None,
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield Repository(name=f"{host}/berth/digits", plain_http=True)
    server.shutdown()
    thread.join()
    server.server_close()


def test_large_file_is_uploaded_in_chunks_with_credentials(
    private_repository: Repository, tmp_path: Path
) -> None:
    path = tmp_path / "layer"
    path.write_bytes(b"a" * (20 * _MIB))
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    private_repository.push_file(path, digest)
    assert _PrivateRegistry.requests == ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT"]
    assert private_repository.has_blob(digest)
    assert private_repository.blob(digest).read_bytes() == path.read_bytes()


def test_file_that_differs_from_its_digest_is_rejected(
    private_repository: Repository, tmp_path: Path
) -> None:
    path = tmp_path / "layer"
    path.write_bytes(b"a" * (20 * _MIB))
    with pytest.raises(RegistryError, match="could not push sha256:0"):
        private_repository.push_file(path, f"sha256:{'0' * 64}")


def test_blob_that_differs_from_its_digest_is_not_cached(private_repository: Repository) -> None:
    digest = f"sha256:{'0' * 64}"
    _PrivateRegistry.blobs[digest] = b"other content"
    for _ in range(2):
        with pytest.raises(RegistryError, match="The registry returned blob sha256:"):
            private_repository.blob(digest)


class _HangingRegistry(BaseHTTPRequestHandler):
    """A registry that accepts requests and never responds."""

    requests = 0

    def do_HEAD(self) -> None:
        type(self).requests += 1
        threading.Event().wait(1.5)

    def log_message(self, *_: object) -> None:
        """Write no log."""


def test_registry_that_hangs_is_reported_and_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_client, "_READ_SECONDS", 0.3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HangingRegistry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    name = f"127.0.0.1:{server.server_port}/berth/digits"
    try:
        with pytest.raises(RegistryError, match=rf"registry of {name} failed: .*timed out"):
            Repository(name=name, plain_http=True).digest_of("1")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert _HangingRegistry.requests == 1
