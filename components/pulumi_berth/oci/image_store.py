"""Images on this machine: what a registry does, in the cache directory.

A stack without a registry builds its images into this store, with the same code and so with the
same digests. The images are then loaded into a container engine.
"""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth_data.manifest import file_sha256
from pulumi_berth.files import cache_directory, open_replacement, replace_atomically
from pulumi_berth.oci.descriptor import Descriptor, check_digest, decode_document
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.registry import RegistryError, Repository, TagExistsError

STORE_HOST = "engine.invalid"
"""The registry in references to images of the store. No host can have this name (RFC 6761)."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")


@dataclass(frozen=True, kw_only=True)
class StoredRepository(Repository):
    """One repository of the store. Its name starts with `STORE_HOST`."""

    def has_blob(self, digest: str) -> bool:
        """Check whether the store has the blob."""
        return self._blob_path(digest).is_file()

    def push_file(self, path: Path, digest: str) -> None:
        """Store the file `path` as a blob unless the store has it."""
        target = self._blob_path(digest)
        if target.is_file() or path == target:
            return
        with open_replacement(target) as temporary:
            try:
                temporary.unlink(missing_ok=True)
                os.link(path, temporary)
            except OSError:  # Another file system.
                shutil.copyfile(path, temporary)

    def push_manifest(self, document: Document, reference: str | None = None) -> None:
        """Store a manifest or index with its digest, and with the tag `reference`.

        Raises:
            TagExistsError: If the tag belongs to another manifest.
        """
        self._store(self._directory / "manifests" / _file_name(document.digest), document.data)
        if reference is None:
            return
        if (existing := self.digest_of(reference)) not in (None, document.digest):
            raise TagExistsError(f"{self.name}:{reference} is {existing}, not {document.digest}.")
        self._store(self._directory / "tags" / reference, document.digest.encode())

    def digest_of(self, reference: str) -> str | None:
        """Return the digest of the manifest with a tag or digest, or None if there is none."""
        if ":" in reference:
            path = self._directory / "manifests" / _file_name(reference)
            return reference if path.is_file() else None
        try:
            digest = (self._directory / "tags" / reference).read_text()
        except FileNotFoundError:
            return None
        return self.digest_of(digest)

    def manifest(self, reference: str, size: int | None = None) -> Document:  # noqa: ARG002
        """Return the manifest or index with a tag or digest.

        Raises:
            RegistryError: If it is missing or differs from its digest.
        """
        digest = self.digest_of(reference)
        if digest is None:
            raise self._missing(f"manifest {reference}")
        data = (self._directory / "manifests" / _file_name(digest)).read_bytes()
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise self._missing(f"intact manifest {reference}")
        return Document(media_type=str(decode_document(data).get("mediaType")), data=data)

    def json_blob(self, descriptor: Descriptor) -> dict[str, Any]:
        """Return the content of a JSON blob, such as the configuration of an image."""
        return decode_document(self.blob(descriptor.digest, descriptor.size).read_bytes())

    def blob(self, digest: str, size: int | None = None) -> Path:
        """Return a blob as a file, after verifying its digest.

        Raises:
            RegistryError: If the blob is missing or differs from its digest or size.
        """
        path = self._blob_path(digest)
        is_intact = path.is_file() and f"sha256:{file_sha256(path)}" == digest
        if not is_intact or (size is not None and path.stat().st_size != size):
            path.unlink(missing_ok=True)
            raise self._missing(f"blob {digest}")
        return path

    @property
    def _directory(self) -> Path:
        path = self.name.removeprefix(f"{STORE_HOST}/")
        if not _NAME.fullmatch(path):
            raise RegistryError(f"{path!r} is not a valid name of a repository.")
        return cache_directory("images", "store", *path.split("/"))

    def _blob_path(self, digest: str) -> Path:
        return cache_directory("images", "blobs") / _file_name(digest)

    def _store(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != data:
            replace_atomically(path, data)

    def _missing(self, subject: str) -> RegistryError:
        return RegistryError(
            f"The cache has no {subject} of {self.name}. Run the command again with 'berth up', "
            "which builds missing images."
        )


def open_repository(name: str, *, plain_http: bool) -> Repository:
    """Return a repository of a registry, or of the store if the name starts with STORE_HOST."""
    if is_stored(name):
        return StoredRepository(name=name)
    return Repository(name=name, plain_http=plain_http)


def is_stored(reference: str) -> bool:
    """Return whether an image or a repository is in the store and not in a registry."""
    return reference.startswith(f"{STORE_HOST}/")


def _file_name(digest: str) -> str:
    return check_digest(digest).replace(":", "-")
