"""Registry: blobs and manifests to and from an OCI registry.

Credentials are those of `docker login`: the library reads the same configuration file. For ECR
they are AWS's own.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from oras.container import Container
from oras.provider import Registry as OrasRegistry

from pulumi_berth.oci import oci
from pulumi_berth.oci.cache import cache_folder, written_whole
from pulumi_berth.oci.ecr import ecr_login
from pulumi_berth.oci.oci import Document

_ACCEPT = ", ".join((oci.INDEX, oci.MANIFEST, oci.DOCKER_INDEX, oci.DOCKER_MANIFEST))

_BLOB_PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds


class RegistryError(RuntimeError):
    """A registry that cannot be reached, refuses, or lacks what is asked for."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One repository of a registry.

    Attributes:
        name: registry and path, such as `registry.example.com/berth/digits`.
        plain_http: for a registry without TLS.
    """

    name: str
    plain_http: bool = False

    def has_blob(self, digest: str) -> bool:
        """Whether the blob is there already."""
        return self._ask("HEAD", "blobs", digest).status_code == 200

    def push_file(self, path: Path, digest: str, size: int) -> None:
        """Put the file in `path` there as a blob, unless it is there."""
        if self.has_blob(digest):
            return

        def content() -> Any:
            return path.open("rb")

        self._upload(content, digest, size)

    def push_document(self, document: Document) -> None:
        """Put a configuration there, as a blob."""
        if not self.has_blob(document.digest):
            self._upload(lambda: document.data, document.digest, len(document.data))

    def push_manifest(self, document: Document, reference: str | None = None) -> None:
        """Put a manifest or index there, under its digest or the tag `reference`.

        A registry may for a moment not know a blob that it just said it has: while another client
        is about to finish the same one (seen with two versions of a model pushed at once).
        """
        for pause in (*_BLOB_PAUSES, None):
            response = self._ask(
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
        """The digest of the manifest under a tag or digest; None when there is none."""
        response = self._ask("HEAD", "manifests", reference, headers={"Accept": _ACCEPT})
        if response.status_code == 404:
            return None
        self._expect(response, 200, f"look for {reference}")
        return response.headers.get("Docker-Content-Digest")

    def manifest(self, reference: str) -> Document:
        """The manifest or index under a tag or digest."""
        response = self._ask("GET", "manifests", reference, headers={"Accept": _ACCEPT})
        self._expect(response, 200, f"read {reference}")
        content = response.json()
        found = Document(
            media_type=content.get("mediaType") or response.headers["Content-Type"],
            data=response.content,
        )
        if reference.startswith("sha256:") and found.digest != reference:
            raise RegistryError(f"{self.name}@{reference}: the registry gave another manifest")
        return found

    def json_blob(self, digest: str) -> dict[str, Any]:
        """A blob that is JSON."""
        found: dict[str, Any] = json.loads(self.blob(digest).read_bytes())
        return found

    def blob(self, digest: str) -> Path:
        """A blob as a file of the cache, its sha256 checked."""
        path = cache_folder("blobs") / digest.replace(":", "-")
        if not path.exists():
            with written_whole(path) as beside:
                try:
                    self._client.download_blob(self._container(), digest, str(beside))
                except (requests.RequestException, ValueError, OSError) as error:
                    raise RegistryError(f"{self.name}: cannot read {digest}: {error}") from error
        return path

    @property
    def _client(self) -> OrasRegistry:
        host = self.name.partition("/")[0]
        client = OrasRegistry(hostname=host, insecure=self.plain_http)
        if login := ecr_login(host):
            client.auth.set_basic_auth(*login)
        else:
            client.auth.load_configs(self._container())
        return client

    def _container(self) -> Container:
        return Container(self.name)

    def _ask(
        self,
        method: str,
        kind: str,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> requests.Response:
        host, _, path = self.name.partition("/")
        return self._request(method, f"{host}/v2/{path}/{kind}/{what}", headers=headers, data=data)

    def _request(
        self,
        method: str,
        address: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> requests.Response:
        scheme = "http" if self.plain_http else "https"
        url = address if "://" in address else f"{scheme}://{address}"
        try:
            response: requests.Response = self._client.do_request(
                url, method, headers=dict(headers or {}), data=data
            )
        except (requests.RequestException, ValueError) as error:
            raise RegistryError(
                f"registry of {self.name}: {error}; is it up, is registry.url right, does it need "
                "`docker login`, or registry.plain_http?"
            ) from error
        return response

    def _upload(self, content: Callable[[], Any], digest: str, size: int) -> None:
        begun = self._ask("POST", "blobs", "uploads/")
        self._expect(begun, 202, "begin an upload")
        place = begun.headers["Location"]
        if place.startswith("/"):
            place = self.name.partition("/")[0] + place
        done = self._request(
            "PUT",
            f"{place}{'&' if '?' in place else '?'}digest={digest}",
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            data=content(),
        )
        self._expect(done, 201, f"push {digest}")

    def _expect(self, response: requests.Response, status: int, what: str) -> None:
        if response.status_code != status:
            raise RegistryError(
                f"registry of {self.name}: cannot {what}: {response.status_code} "
                f"{response.text[:300].strip()}"
            )


def split_reference(reference: str) -> tuple[str, str]:
    """`registry/name[:tag]@sha256:...` as repository and digest."""
    name, _, digest = reference.partition("@")
    path, slash, last = name.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}", digest
