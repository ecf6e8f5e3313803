"""Archives of images, which a container engine loads and a scanner reads without a registry.

The archive has both forms: the OCI image layout, and the list `manifest.json` that `docker load`
reads in engines before version 25.
https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pulumi_berth.files import cache_directory
from pulumi_berth.images.base_reader import choose_manifest
from pulumi_berth.oci import documents
from pulumi_berth.oci.descriptor import (
    Descriptor,
    decode_document,
    parse_descriptor,
    parse_descriptors,
)
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.image_store import STORE_HOST, StoredRepository
from pulumi_berth.oci.registry import Repository, split_reference

_TAG_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """An image of the store for one architecture.

    Attributes:
        manifest: Its manifest.
        config: Descriptor of its configuration.
        layers: Descriptors of its layers, lowest first.
        name: Name and tag that people see in an engine, such as `berth/digits:1a2b3c4d5e6f`.
    """

    manifest: Document
    config: Descriptor
    layers: tuple[Descriptor, ...]
    name: str


def read_stored_image(reference: str, architecture: str) -> StoredImage:
    """Return the image of the store that a reference names.

    Raises:
        RegistryError: If a part is missing or differs from its digest.
        ImageCheckError: If the image does not support the architecture.
    """
    name, digest = split_reference(reference)
    repository = StoredRepository(name=name)
    manifest = repository.manifest(digest)
    content = decode_document(manifest.data)
    if "manifests" in content:
        manifest = repository.manifest(choose_manifest(reference, content, architecture).digest)
        content = decode_document(manifest.data)
    return StoredImage(
        manifest=manifest,
        config=parse_descriptor(content.get("config")),
        layers=tuple(parse_descriptors(content, "layers")),
        name=get_engine_name(reference),
    )


def get_engine_name(reference: str) -> str:
    """Return the name and tag of a stored image in an engine."""
    name, digest = split_reference(reference)
    tag = digest.removeprefix("sha256:")[:_TAG_DIGITS]
    return f"berth/{name.removeprefix(f'{STORE_HOST}/')}:{tag}"


@contextmanager
def open_archive(reference: str, architecture: str) -> Iterator[Path]:
    """Yield the path of a temporary archive with an image of the store.

    Raises:
        RegistryError: If a part is missing or differs from its digest.
    """
    image = read_stored_image(reference, architecture)
    repository = StoredRepository(name=split_reference(reference)[0])
    with NamedTemporaryFile(dir=cache_directory("images"), suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, data in _build_documents(image).items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            for descriptor in (image.config, *image.layers):
                _add_blob(tar, repository, descriptor)
        file.flush()
        yield Path(file.name)


def _build_documents(image: StoredImage) -> dict[str, bytes]:
    """Return the documents of the archive by path, without the blobs that are files."""
    annotations = {
        "io.containerd.image.name": f"docker.io/{image.name}",
        "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
    }
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": documents.INDEX,
        "manifests": [{**image.manifest.descriptor, "annotations": annotations}],
    }
    entry = {
        "Config": _blob_name(image.config.digest),
        "RepoTags": [image.name],
        "Layers": [_blob_name(layer.digest) for layer in image.layers],
    }
    return {
        "oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode(),
        "index.json": json.dumps(index).encode(),
        "manifest.json": json.dumps([entry]).encode(),
        _blob_name(image.manifest.digest): image.manifest.data,
    }


def _add_blob(tar: tarfile.TarFile, repository: Repository, descriptor: Descriptor) -> None:
    path = repository.blob(descriptor.digest, descriptor.size)
    info = tarfile.TarInfo(_blob_name(descriptor.digest))
    info.size = path.stat().st_size
    with path.open("rb") as file:
        tar.addfile(info, file)


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
