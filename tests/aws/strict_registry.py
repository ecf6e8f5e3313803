"""A registry that refuses what Amazon ECR refuses and other registries accept.

`ECR_RULES` lists the rules and their sources. `StrictRegistry.refused` lists the requests that
broke one.
"""

import base64
import hashlib
import json
import re
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pulumi_berth.oci.registry import Repository

ECR_RULES: dict[str, str] = {
    "every request carries Authorization: Basic, and no tokens are issued": (
        "https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html; "
        "https://github.com/oras-project/oras-py/issues/205"
    ),
    "a body without credentials is lost: the 401 comes after it": (
        "https://github.com/oras-project/oras-py/issues/54"
    ),
    "the location of an upload is an absolute URL": (
        "https://github.com/oras-project/oras-py/issues/78"
    ),
    "a tag is never pushed twice, also not with the identical digest": (
        "https://github.com/aws/containers-roadmap/issues/2179; "
        "https://github.com/osscontainertools/kaniko/pull/204 (TAG_INVALID)"
    ),
    "a repository exists before the first push": (
        "https://docs.aws.amazon.com/AmazonECR/latest/userguide/docker-push-ecr-image.html"
    ),
    "a manifest refers to blobs and manifests of the same repository": (
        "https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html"
        " (LayersNotFoundException, ReferencedImagesNotFoundException)"
    ),
    "a part of a layer has at most 20971520 bytes, and 5 MiB unless it is the last": (
        "https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_UploadLayerPart.html; "
        "https://github.com/dotnet/sdk-container-builds/pull/279"
    ),
    "the response to a part has status 201, not 202": (
        "https://github.com/dotnet/sdk-container-builds/pull/279"
    ),
    "readers of another account only pull": (
        "https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html"
    ),
    "nothing is deleted through the registry's API": (
        "https://docs.aws.amazon.com/AmazonECR/latest/userguide/delete_image.html"
    ),
    "a blob is downloaded from S3 with a presigned URL and without other credentials": (
        "https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html"
    ),
}
"""Rule -> source."""

_PART_BYTES, _LEAST_PART_BYTES = 20_971_520, 5 << 20
_PATH = re.compile(
    r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|blobs/uploads|referrers)/(?P<last>[^/]*)"
)
_PULLING = ("GET", "HEAD")


@dataclass
class StrictRegistry:
    """A registry in a directory.

    Attributes:
        directory: Directory of the blobs.
        host: `host:port` of the registry.
        node_host: `host:port` where a cluster's nodes read without a login. On AWS, the nodes'
            IAM role and kubelet's credential provider log in.
        owner: Password of the account that owns the repositories.
        reader: Password of another account, which may only pull.
        repositories: Names of the existing repositories. Empty: every name exists.
        manifests: Repository -> digest -> media type and content.
        tags: Repository -> tag -> digest.
        blobs: Repository -> digests.
        last_parts: Upload -> size of its latest part.
        refused: Requests that were refused because of a rule: method, path and reason.
        requests: All requests: method, path and status.
    """

    directory: Path
    host: str = ""
    node_host: str = ""
    owner: str = "owner"
    reader: str = "reader"
    repositories: set[str] = field(default_factory=set)
    manifests: dict[str, dict[str, tuple[str, bytes]]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    blobs: dict[str, set[str]] = field(default_factory=dict)
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    last_parts: dict[str, int] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)

    def get_blob(self, digest: str) -> Path:
        """Return the file of a blob."""
        return self.directory / digest.replace(":", "-")

    def load(self, source: Repository, digest: str, name: str) -> None:
        """Add an image of another registry to the repository `name`."""
        document = source.manifest(digest)
        content = json.loads(document.data)
        for child in content.get("manifests", []):
            self.load(source, child["digest"], name)
        for part in [*content.get("layers", []), *filter(None, [content.get("config")])]:
            path = source.blob(part["digest"], part["size"])
            shutil.copyfile(path, self.get_blob(part["digest"]))
            self.blobs.setdefault(name, set()).add(part["digest"])
        self.manifests.setdefault(name, {})[digest] = (document.media_type, document.data)

    def write_login(self, directory: Path, password: str | None = None) -> Path:
        """Write the configuration of `docker login`, and return its directory."""
        directory.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"AWS:{password or self.owner}".encode()).decode()
        content = {"auths": {self.host: {"auth": auth}}}
        (directory / "config.json").write_text(json.dumps(content))
        return directory


class _RefusalError(Exception):
    """A response with an error of the registry's API."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: StrictRegistry
    is_for_nodes = False

    def handle_any(self) -> None:
        try:
            self._authorize()
            self._dispatch()
        except _HandledError:
            return
        except _RefusalError as refusal:
            self.registry.refused.append((self.command, self.path, str(refusal)))
            errors = {"errors": [{"code": refusal.code, "message": str(refusal)}]}
            self._respond(refusal.status, json.dumps(errors).encode(), {}, close=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def _authorize(self) -> None:
        if self.is_for_nodes:
            if self.command not in _PULLING:
                raise _RefusalError(405, "UNSUPPORTED", "nodes only pull")
            return
        header = self.headers.get("Authorization", "")
        password = ""
        if header.startswith("Basic "):
            password = base64.b64decode(header[6:]).decode().partition(":")[2]
        if password not in (self.registry.owner, self.registry.reader):
            if int(self.headers.get("Content-Length") or 0):
                self.registry.refused.append((self.command, self.path, "a body without a login"))
            challenge = f'Basic realm="https://{self.registry.host}/",service="ecr.amazonaws.com"'
            self._respond(401, b"Not Authorized", {"WWW-Authenticate": challenge}, close=True)
            raise _HandledError
        if password == self.registry.reader and self.command not in _PULLING:
            raise _RefusalError(
                403, "DENIED", f"User is not authorized to perform: ecr ({self.command})"
            )
        if self.command == "DELETE":
            raise _RefusalError(405, "UNSUPPORTED", "delete images with the API of ECR")

    def _dispatch(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/v2/":
            self._respond(200, b"{}", {})
            return
        match = _PATH.fullmatch(parts.path.replace("%3A", ":"))
        if match is None:
            raise _RefusalError(404, "UNSUPPORTED", "no such path")
        name = match["name"]
        if self.registry.repositories and name not in self.registry.repositories:
            raise _RefusalError(
                404, "NAME_UNKNOWN", f"The repository with name '{name}' does not exist"
            )
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match match["kind"]:
            case "manifests" if self.command == "PUT":
                self._put_manifest(name, match["last"])
            case "manifests":
                self._get_manifest(name, match["last"])
            case "blobs":
                self._get_blob(name, match["last"])
            case "blobs/uploads":
                self._upload(name, match["last"], query)
            case _:
                self._get_referrers(name, match["last"])

    def _get_manifest(self, name: str, reference: str) -> None:
        digest = self.registry.tags.get(name, {}).get(reference, reference)
        found = self.registry.manifests.get(name, {}).get(digest)
        if found is None:
            self._respond(404, b"", {})
            return
        headers = {"Docker-Content-Digest": digest, "Content-Type": found[0]}
        self._respond(200, found[1], headers)

    def _put_manifest(self, name: str, reference: str) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        tags = self.registry.tags.setdefault(name, {})
        manifests = self.registry.manifests.setdefault(name, {})
        with self.registry.lock:
            if ":" in reference and reference != digest:
                raise _RefusalError(400, "DIGEST_INVALID", f"the manifest is {digest}")
            if reference in tags:
                raise _RefusalError(
                    400,
                    "TAG_INVALID",
                    f"The image tag '{reference}' already exists in the '{name}' repository and "
                    "cannot be overwritten because the repository is immutable.",
                )
            self._check_references(name, json.loads(data))
            manifests[digest] = (self.headers["Content-Type"], data)
            if ":" not in reference:
                tags[reference] = digest
        self._respond(201, b"", {"Docker-Content-Digest": digest})

    def _check_references(self, name: str, manifest: dict[str, Any]) -> None:
        blobs = self.registry.blobs.get(name, set())
        parts = [*manifest.get("layers", []), *filter(None, [manifest.get("config")])]
        for part in parts:
            if part["digest"] not in blobs:
                raise _RefusalError(
                    400, "MANIFEST_BLOB_UNKNOWN", f"LayersNotFound: {part['digest']}"
                )
        for child in manifest.get("manifests", []):
            if child["digest"] not in self.registry.manifests.get(name, {}):
                raise _RefusalError(400, "MANIFEST_UNKNOWN", f"ReferencedImagesNotFound: {child}")

    def _get_blob(self, name: str, digest: str) -> None:
        if digest not in self.registry.blobs.get(name, set()):
            self._respond(404, b"", {})
        elif self.command == "HEAD":
            size = self.registry.get_blob(digest).stat().st_size
            self._respond(200, b"", {"Docker-Content-Digest": digest}, size=size)
        elif self.is_for_nodes:
            self._send_file(self.registry.get_blob(digest))
        else:
            location = f"http://{self.registry.node_host}/s3/{digest}?X-Amz-Signature=1"
            self._respond(307, b"", {"Location": location})

    def _upload(self, name: str, upload: str, query: dict[str, str]) -> None:
        if self.command == "POST":
            upload = str(uuid.uuid4())
            (self.registry.directory / upload).touch()
            self._respond(202, b"", self._describe_upload(name, upload))
            return
        path = self.registry.directory / upload
        start = path.stat().st_size
        length = int(self.headers.get("Content-Length") or 0)
        if length > _PART_BYTES:
            raise _RefusalError(400, "BLOB_UPLOAD_INVALID", f"a part has {length} bytes")
        first = self.headers.get("Content-Range", f"{start}-").partition("-")[0]
        if int(first) != start:
            raise _RefusalError(416, "BLOB_UPLOAD_INVALID", f"the upload continues at {start}")
        if length and start and self.registry.last_parts.get(upload, length) < _LEAST_PART_BYTES:
            raise _RefusalError(400, "BLOB_UPLOAD_INVALID", "a part before the last is too small")
        with path.open("ab") as file:
            file.write(self.rfile.read(length))
        self.registry.last_parts[upload] = length
        if self.command == "PATCH":
            self._respond(201, b"", self._describe_upload(name, upload))
            return
        digest = query["digest"]
        with path.open("rb") as file:
            actual = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if actual != digest:
            raise _RefusalError(400, "DIGEST_INVALID", f"the layer is {actual}")
        path.replace(self.registry.get_blob(digest))
        self.registry.blobs.setdefault(name, set()).add(digest)
        self._respond(201, b"", {"Docker-Content-Digest": digest})

    def _describe_upload(self, name: str, upload: str) -> dict[str, str]:
        location = f"http://{self.registry.host}/v2/{name}/blobs/uploads/{upload}"
        return {"Location": location, "Docker-Upload-UUID": upload}

    def _get_referrers(self, name: str, digest: str) -> None:
        found = [
            {"mediaType": kind, "digest": known, "size": len(data)}
            for known, (kind, data) in self.registry.manifests.get(name, {}).items()
            if json.loads(data).get("subject", {}).get("digest") == digest
        ]
        body = json.dumps({"schemaVersion": 2, "manifests": found}).encode()
        self._respond(200, body, {"Content-Type": "application/vnd.oci.image.index.v1+json"})

    def _send_file(self, path: Path) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                self.wfile.write(block)

    def _respond(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        *,
        size: int | None = None,
        close: bool = False,
    ) -> None:
        self.registry.requests.append((self.command, self.path, status))
        self.send_response(status)
        length = len(body) if size is None else size
        known = {"Content-Length": str(length), **({"Connection": "close"} if close else {})}
        for key, value in (known | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


class _NodeHandler(_Handler):
    """The view of a cluster's nodes, and the storage that a registry redirects to."""

    is_for_nodes = True

    def _dispatch(self) -> None:
        if not self.path.startswith("/s3/"):
            super()._dispatch()
        elif "Authorization" in self.headers:
            raise _RefusalError(400, "InvalidArgument", "Only one auth mechanism allowed")
        else:
            digest = urlsplit(self.path).path.removeprefix("/s3/")
            self._send_file(self.registry.get_blob(digest))


class _HandledError(Exception):
    """The response has been sent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Print nothing about clients that close the connection."""


@contextmanager
def serve_strict_registry(
    directory: Path, *, node_address: str = "127.0.0.1", repositories: Iterable[str] = ()
) -> Iterator[StrictRegistry]:
    """Serve an empty registry on free ports.

    Args:
        node_address: Address of this machine at which a cluster's nodes reach it.
        repositories: Names of the repositories. By default, every repository exists.
    """
    registry = StrictRegistry(directory, repositories=set(repositories))
    servers = []
    for base, address in ((_Handler, "127.0.0.1"), (_NodeHandler, node_address)):
        handler = type(base.__name__, (base,), {"registry": registry})
        servers.append(_Server((address, 0), handler))
    registry.host = f"127.0.0.1:{servers[0].server_port}"
    registry.node_host = f"{node_address}:{servers[1].server_port}"
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield registry
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
