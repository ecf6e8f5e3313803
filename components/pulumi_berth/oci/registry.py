"""A client for OCI registries: push and read blobs and manifests.

The client uses the credentials of `docker login`. For ECR it uses the AWS credentials. Whatever it
reads is bounded by its declared size while it arrives, and compared with its digest before use.
"""

import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from oras.container import Container

from berth_data.manifest import file_sha256
from pulumi_berth.files import cache_directory, open_replacement
from pulumi_berth.oci import documents
from pulumi_berth.oci.bounded_client import BoundedRegistry
from pulumi_berth.oci.descriptor import (
    MAX_BLOB_BYTES,
    MAX_DOCUMENT_BYTES,
    Descriptor,
    RegistryContentError,
    check_digest,
    decode_document,
)
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.ecr import ecr_login
from pulumi_berth.proxies import is_loopback

_ACCEPT = ", ".join(
    (documents.INDEX, documents.MANIFEST, documents.DOCKER_INDEX, documents.DOCKER_MANIFEST)
)

# oras reads a blob into memory unless it uploads chunks. ECR accepts parts of 5 to 10 MiB:
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
_CHUNK_BYTES = 8 << 20

_READ_BYTES = 1 << 20
_DENIED = (401, 403)
# Docker Hub's name in references, and the host of its registry.
_REGISTRY_HOSTS = {"docker.io": "registry-1.docker.io"}

# Waiting times after the registry reports a blob as unknown, in seconds.
_UNKNOWN_BLOB_PAUSES = (0.2, 0.5, 1.0, 2.0)


class RegistryError(RuntimeError):
    """A registry did not respond, rejected a request, or lacks a blob or manifest."""


class TagExistsError(RegistryError):
    """A tag belongs to another manifest. Berth never moves a tag."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One repository of a registry.

    Attributes:
        name: Registry and path, such as `registry.example.com/berth/digits`.
        plain_http: True for a registry without TLS.
    """

    name: str
    plain_http: bool = False

    def has_blob(self, digest: str) -> bool:
        """Check whether the repository has the blob."""
        return self._request("HEAD", "blobs", digest).status_code == 200

    def push_file(self, path: Path, digest: str) -> None:
        """Upload the file `path` as a blob unless the repository has it."""
        size = path.stat().st_size
        try:
            # oras checks for the blob first. The registry verifies the digest at the end.
            response = self._client.upload_blob(
                str(path),
                Container(self.name),
                {"digest": digest, "size": size},
                do_chunked=size > _CHUNK_BYTES,
                chunk_size=_CHUNK_BYTES,
            )
        except (requests.RequestException, ValueError, OSError) as error:
            raise self._connection_error(error) from error
        if response.status_code not in (200, 201):
            raise self._rejection(response, f"push {digest}")

    def push_document(self, document: Document) -> None:
        """Upload a document as a blob unless the repository has it."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(document.data)
            file.flush()
            self.push_file(Path(file.name), document.digest)

    def push_manifest(self, document: Document, reference: str | None = None) -> None:
        """Push a manifest or index with its digest, or with the tag `reference`.

        Nothing is pushed if the registry has the manifest already: a repository with immutable tags
        rejects a tag that exists, also for the identical manifest
        (https://github.com/aws/containers-roadmap/issues/2179).

        While another client finishes the upload of the same blob, a registry can report a blob as
        unknown that it just reported as present. Two versions of a model pushed at once cause it.

        Raises:
            TagExistsError: If the tag belongs to another manifest.
        """
        if self._has_manifest(document, reference):
            return
        response = self._put_manifest(document, reference or document.digest)
        # Another client can have pushed the same tag in the meantime.
        if response.status_code == 201 or self._has_manifest(document, reference):
            return
        raise self._rejection(response, f"push {reference or document.digest}")

    def replace_tag(self, document: Document, tag: str) -> None:
        """Push a manifest with a tag that may belong to another manifest.

        Only for tags that grow, such as those of signatures. Every other tag is never moved.

        Raises:
            RegistryError: If the registry rejects it, such as one with immutable tags.
        """
        if self.digest_of(tag) == document.digest:
            return
        response = self._put_manifest(document, tag)
        if response.status_code != 201:
            raise self._rejection(response, f"push {tag}")

    def _put_manifest(self, document: Document, reference: str) -> requests.Response:
        for pause in (*_UNKNOWN_BLOB_PAUSES, None):
            response = self._request(
                "PUT",
                "manifests",
                reference,
                headers={"Content-Type": document.media_type},
                data=document.data,
            )
            if pause is None or "MANIFEST_BLOB_UNKNOWN" not in response.text:
                break
            time.sleep(pause)
        return response

    def _has_manifest(self, document: Document, reference: str | None) -> bool:
        """Return whether the registry has the manifest with its digest, or with the tag.

        Raises:
            TagExistsError: If the tag belongs to another manifest.
        """
        existing = self.digest_of(reference or document.digest)
        if existing not in (None, document.digest):
            raise TagExistsError(
                f"{self.name}:{reference} exists with different content: it is {existing}, not "
                f"{document.digest}. Nothing was pushed with this tag. Use another repository or "
                "tag."
            )
        return existing is not None

    def digest_of(self, reference: str) -> str | None:
        """Return the digest of the manifest with a tag or digest, or None if there is none."""
        response = self._request("HEAD", "manifests", reference, headers={"Accept": _ACCEPT})
        if response.status_code == 404:
            return None
        self._expect(response, 200, f"look up {reference}")
        return response.headers.get("Docker-Content-Digest")

    def manifest(self, reference: str, size: int | None = None) -> Document:
        """Return the manifest or index with a tag or digest.

        Args:
            size: Size in the index that lists the manifest.

        Raises:
            RegistryError: If it is missing, too large, not JSON, or differs from its digest. For a
                tag, the digest is the one that the registry declares.
        """
        subject = f"manifest {self.name}@{reference}"
        if ":" in reference:
            self._check(subject, check_digest, reference)
        response = self._request(
            "GET", "manifests", reference, headers={"Accept": _ACCEPT}, stream=True
        )
        with response:
            self._expect(response, 200, f"read {reference}")
            most = MAX_DOCUMENT_BYTES if size is None else size
            data = b"".join(self._read(response, subject, most))
        content = self._check(subject, decode_document, data)
        document = Document(
            media_type=str(content.get("mediaType") or response.headers.get("Content-Type")),
            data=data,
        )
        declared = response.headers.get("Docker-Content-Digest")
        expected = reference if ":" in reference else declared
        if expected not in (None, document.digest) or (size is not None and len(data) != size):
            raise self._difference(
                f"manifest {document.digest} ({len(data)} bytes)", f"{self.name}@{expected}"
            )
        return document

    def json_blob(self, descriptor: Descriptor) -> dict[str, Any]:
        """Return the content of a JSON blob, such as the configuration of an image."""
        subject = f"blob {descriptor.digest} of {self.name}"
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise RegistryError(
                f"The {subject} has {descriptor.size} bytes, more than {MAX_DOCUMENT_BYTES} for a "
                "document. Use another image."
            )
        data = self.blob(descriptor.digest, descriptor.size).read_bytes()
        content: dict[str, Any] = self._check(subject, decode_document, data)
        return content

    def blob(self, digest: str, size: int | None = None) -> Path:
        """Return a blob as a file in the cache, after verifying its digest and size.

        A file that is in the cache already is verified too: a full disk or another program can
        damage it.

        Args:
            size: Size in the descriptor of the blob.

        Raises:
            RegistryError: If the blob is missing, or differs from its digest or size.
        """
        subject = f"blob {digest} of {self.name}"
        self._check(subject, check_digest, digest)
        path = cache_directory("images", "blobs") / digest.replace(":", "-")
        if not _has_content(path, digest, size):
            path.unlink(missing_ok=True)
            with open_replacement(path) as temporary:
                self._download(subject, digest, size, temporary)
        return path

    def _download(self, subject: str, digest: str, size: int | None, path: Path) -> None:
        """Write a blob to `path`, and stop when it is longer than its size."""
        hasher = hashlib.sha256()
        length = 0
        response = self._request("GET", "blobs", digest, stream=True)
        with response, path.open("wb") as file:
            self._expect(response, 200, f"read {digest}")
            for chunk in self._read(response, subject, MAX_BLOB_BYTES if size is None else size):
                hasher.update(chunk)
                length += len(chunk)
                file.write(chunk)
        actual = f"sha256:{hasher.hexdigest()}"
        if size is not None and length != size:
            raise self._difference(f"{length} of {size} bytes", subject)
        if actual != digest:
            raise self._difference(f"blob {actual}", f"{digest} of {self.name}")

    def _read(self, response: requests.Response, subject: str, most: int) -> Iterator[bytes]:
        """Return the content in chunks.

        Raises:
            RegistryError: If it has more than `most` bytes, or ends too early.
        """
        length = 0
        try:
            for chunk in response.iter_content(_READ_BYTES):
                length += len(chunk)
                if length > most:
                    raise self._difference(f"more than {most} bytes", subject)
                yield chunk
        except (requests.RequestException, OSError) as error:
            raise RegistryError(
                f"Could not read {subject}: {error}, after {length} bytes. Run the command again."
            ) from error

    def _check(self, subject: str, check: Any, value: Any) -> Any:
        try:
            return check(value)
        except RegistryContentError as error:
            raise RegistryError(
                f"The {subject} is not valid: {error}. Check the reference, the registry, or a "
                "proxy in front of it."
            ) from error

    def _difference(self, actual: str, expected: str) -> RegistryError:
        return RegistryError(
            f"The registry returned {actual} for {expected}. Check the registry or a proxy in "
            "front of it."
        )

    @property
    def _client(self) -> BoundedRegistry:
        host = self.name.partition("/")[0]
        login = ecr_login(host)
        client = BoundedRegistry(hostname=host, insecure=self.plain_http, login=login)
        if login is None:
            client.auth.load_login(self.name)
        if is_loopback(host):
            client.session.trust_env = False
        return client

    def _request(
        self,
        method: str,
        kind: str,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        stream: bool = False,
    ) -> requests.Response:
        host, _, path = self.name.partition("/")
        scheme = "http" if self.plain_http else "https"
        try:
            response: requests.Response = self._client.do_request(
                f"{scheme}://{host}/v2/{path}/{kind}/{name}",
                method,
                headers=dict(headers or {}),
                data=data,
                stream=stream,
            )
        except (requests.RequestException, ValueError) as error:
            raise self._connection_error(error) from error
        return response

    def _expect(self, response: requests.Response, status: int, action: str) -> None:
        if response.status_code != status:
            raise self._rejection(response, action)

    def _rejection(self, response: requests.Response, action: str) -> RegistryError:
        remedy = (
            " Use `docker login`, or credentials that may do this."
            if response.status_code in _DENIED
            else ""
        )
        return RegistryError(
            f"The registry of {self.name} could not {action}: {response.status_code} "
            f"{response.text[:300].strip()}{remedy}"
        )

    def _connection_error(self, error: Exception) -> RegistryError:
        return RegistryError(
            f"A request to the registry of {self.name} failed: {error}. Check that it runs, that "
            "registry.url is correct, and whether it needs `docker login` or registry.plain_http."
        )


def _has_content(path: Path, digest: str, size: int | None) -> bool:
    """Return whether the file exists and has this content."""
    if not path.is_file() or (size is not None and path.stat().st_size != size):
        return False
    return f"sha256:{file_sha256(path)}" == digest


def get_registry_host(host: str) -> str:
    """Return the host of the registry that references call `host`."""
    return _REGISTRY_HOSTS.get(host, host)


def split_reference(reference: str) -> tuple[str, str]:
    """Split `registry/name[:tag]@sha256:...` into the repository and the digest."""
    name, _, digest = reference.partition("@")
    path, slash, last = name.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}", digest
