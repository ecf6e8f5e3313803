"""A client for OCI registries: push and read blobs and manifests.

The client uses the credentials of `docker login`. For ECR it uses the AWS credentials.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from oras.container import Container
from oras.provider import Registry as OrasRegistry

from berth_data.manifest import file_sha256
from pulumi_berth.files import cache_directory, open_replacement
from pulumi_berth.oci import documents
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.ecr import ecr_login
from pulumi_berth.proxies import is_loopback

_ACCEPT = ", ".join(
    (documents.INDEX, documents.MANIFEST, documents.DOCKER_INDEX, documents.DOCKER_MANIFEST)
)

# oras reads a blob into memory unless it uploads chunks. ECR accepts parts of 5 to 10 MiB:
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
_CHUNK_BYTES = 8 << 20

# Waiting times after the registry reports a blob as unknown, in seconds.
_UNKNOWN_BLOB_PAUSES = (0.2, 0.5, 1.0, 2.0)


class RegistryError(RuntimeError):
    """A registry did not respond, rejected a request, or lacks a blob or manifest."""


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

        While another client finishes the upload of the same blob, a registry can report a blob as
        unknown that it just reported as present. Two versions of a model pushed at once cause it.
        """
        for pause in (*_UNKNOWN_BLOB_PAUSES, None):
            response = self._request(
                "PUT",
                "manifests",
                reference or document.digest,
                headers={"Content-Type": document.media_type},
                data=document.data,
            )
            if pause is None or "MANIFEST_BLOB_UNKNOWN" not in response.text:
                break
            time.sleep(pause)
        self._expect(response, 201, f"push {reference or document.digest}")

    def digest_of(self, reference: str) -> str | None:
        """Return the digest of the manifest with a tag or digest, or None if there is none."""
        response = self._request("HEAD", "manifests", reference, headers={"Accept": _ACCEPT})
        if response.status_code == 404:
            return None
        self._expect(response, 200, f"look up {reference}")
        return response.headers.get("Docker-Content-Digest")

    def manifest(self, reference: str) -> Document:
        """Return the manifest or index with a tag or digest."""
        response = self._request("GET", "manifests", reference, headers={"Accept": _ACCEPT})
        self._expect(response, 200, f"read {reference}")
        content = response.json()
        document = Document(
            media_type=content.get("mediaType") or response.headers["Content-Type"],
            data=response.content,
        )
        if reference.startswith("sha256:") and document.digest != reference:
            raise RegistryError(
                f"The registry returned manifest {document.digest} for {self.name}@{reference}. "
                "Check the registry or a proxy in front of it."
            )
        return document

    def json_blob(self, digest: str) -> dict[str, Any]:
        """Return the content of a JSON blob."""
        content: dict[str, Any] = json.loads(self.blob(digest).read_bytes())
        return content

    def blob(self, digest: str) -> Path:
        """Return a blob as a file in the cache, after verifying its digest."""
        path = cache_directory("images", "blobs") / digest.replace(":", "-")
        if not path.exists():
            with open_replacement(path) as temporary:
                try:
                    self._client.download_blob(Container(self.name), digest, str(temporary))
                except (requests.RequestException, ValueError, OSError) as error:
                    raise RegistryError(
                        f"Could not read blob {digest} of {self.name}: {error}"
                    ) from error
                # oras does not compare the content with the digest.
                actual = f"sha256:{file_sha256(temporary)}"
                if actual != digest:
                    raise RegistryError(
                        f"The registry returned blob {actual} for {digest} of {self.name}. Check "
                        "the registry or a proxy in front of it."
                    )
        return path

    @property
    def _client(self) -> OrasRegistry:
        host = self.name.partition("/")[0]
        if login := ecr_login(host):
            # ECR accepts the password in each request and issues no tokens.
            client = OrasRegistry(hostname=host, insecure=self.plain_http, auth_backend="basic")
            client.auth.set_basic_auth(*login)
        else:
            client = OrasRegistry(hostname=host, insecure=self.plain_http)
            client.auth.load_configs(Container(self.name))
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
    ) -> requests.Response:
        host, _, path = self.name.partition("/")
        scheme = "http" if self.plain_http else "https"
        try:
            response: requests.Response = self._client.do_request(
                f"{scheme}://{host}/v2/{path}/{kind}/{name}",
                method,
                headers=dict(headers or {}),
                data=data,
            )
        except (requests.RequestException, ValueError) as error:
            raise self._connection_error(error) from error
        return response

    def _expect(self, response: requests.Response, status: int, action: str) -> None:
        if response.status_code != status:
            raise self._rejection(response, action)

    def _rejection(self, response: requests.Response, action: str) -> RegistryError:
        return RegistryError(
            f"The registry of {self.name} could not {action}: {response.status_code} "
            f"{response.text[:300].strip()}"
        )

    def _connection_error(self, error: Exception) -> RegistryError:
        return RegistryError(
            f"A request to the registry of {self.name} failed: {error}. Check that it runs, that "
            "registry.url is correct, and whether it needs `docker login` or registry.plain_http."
        )


def split_reference(reference: str) -> tuple[str, str]:
    """Split `registry/name[:tag]@sha256:...` into the repository and the digest."""
    name, _, digest = reference.partition("@")
    path, slash, last = name.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}", digest
