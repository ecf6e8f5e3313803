"""Descriptors and documents from a registry, checked before anything uses them.

https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

import json
import re
from dataclasses import dataclass
from typing import Any

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
"""The only digests that Berth accepts. They become file names, and every reader checks them."""
MAX_DOCUMENT_BYTES = 4 << 20
"""Largest manifest, index or configuration. Registries accept manifests up to 4 MiB:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests"""
MAX_BLOB_BYTES = 64 << 30
"""Largest blob, far above the layer of a model of 10 GB."""
_MAX_ENTRIES = 20_000
"""Most layers or manifests in a document: a dataset has one layer for each file, and a manifest of
4 MiB has room for about as many."""


class RegistryContentError(ValueError):
    """A registry returned something that is not what was asked for."""


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """A reference to a blob or manifest.

    Attributes:
        media_type: Media type of the content.
        digest: `sha256:<hex>`.
        size: Size in bytes.
    """

    media_type: str
    digest: str
    size: int

    def as_dict(self) -> dict[str, Any]:
        """Return the descriptor as JSON has it, without URLs and annotations."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def check_digest(digest: str) -> str:
    """Return the digest if it has the only accepted form.

    Raises:
        RegistryContentError: If it has another form.
    """
    if not DIGEST.fullmatch(digest):
        raise RegistryContentError(
            f"{digest[:100]!r} is not a digest; use sha256: and 64 lowercase hexadecimal digits"
        )
    return digest


def parse_descriptor(entry: Any, *, most: int = MAX_BLOB_BYTES) -> Descriptor:
    """Return a descriptor after checking its digest and its size.

    Raises:
        RegistryContentError: If it is not a descriptor, or its size exceeds `most` bytes.
    """
    if not isinstance(entry, dict):
        raise RegistryContentError("an entry is not a descriptor")
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= most:
        raise RegistryContentError(f"a size is {size!r}, not a number from 0 to {most}")
    return Descriptor(
        media_type=str(entry.get("mediaType") or ""),
        digest=check_digest(str(entry.get("digest"))),
        size=size,
    )


def parse_descriptors(document: dict[str, Any], key: str) -> list[Descriptor]:
    """Return the descriptors in the list at `key` of a manifest or index.

    Raises:
        RegistryContentError: If the list is missing or too long, or contains something else.
    """
    entries = document.get(key)
    if not isinstance(entries, list) or len(entries) > _MAX_ENTRIES:
        raise RegistryContentError(f"{key} is not a list with at most {_MAX_ENTRIES} entries")
    return [parse_descriptor(entry) for entry in entries]


def decode_document(data: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        RegistryContentError: If the data is something else.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise RegistryContentError("the content is not valid JSON") from None
    if not isinstance(content, dict):
        raise RegistryContentError("the content is not a JSON object")
    return content
