"""Datasets in a registry: one artifact per version, with one blob per file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from berth_data.manifest import MANIFEST_NAME, file_sha256
from pulumi_berth.datasets import DATA
from pulumi_berth.oci import documents
from pulumi_berth.oci.descriptor import (
    Descriptor,
    RegistryContentError,
    decode_document,
    parse_descriptors,
)
from pulumi_berth.oci.registry import RegistryError, Repository
from pulumi_berth.oci.tree import PLAIN, Entry, Tree, text_file

ARTIFACT_TYPE = "application/vnd.berth.data.v1"
TITLE = "org.opencontainers.image.title"


def push_dataset(directory: Path, repository: Repository, version: str) -> str:
    """Push the files in `directory` as `version`, and return the digest of the dataset.

    Raises:
        RegistryError: If the version exists with other data. Versions never change.
    """
    files = [(path, file_sha256(path)) for path in _list_files(directory)]
    if not files:
        raise RegistryError(f"Directory {directory} has no files")
    manifest = documents.encode_document(
        documents.MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": documents.EMPTY_CONFIG.descriptor,
            "layers": [
                {
                    "mediaType": "application/octet-stream",
                    "digest": f"sha256:{sha256}",
                    "size": path.stat().st_size,
                    "annotations": {TITLE: path.relative_to(directory).as_posix()},
                }
                for path, sha256 in files
            ],
        },
    )
    existing = repository.digest_of(version)
    if existing not in (None, manifest.digest):
        raise RegistryError(
            f"{repository.name}:{version} exists with different content ({existing}). "
            "Use a new version."
        )
    for path, sha256 in files:
        repository.push_file(path, f"sha256:{sha256}")
    repository.push_document(documents.EMPTY_CONFIG)
    repository.push_manifest(manifest, version)
    return manifest.digest


def dataset_tree(repository: Repository, digest: str) -> Tree:
    """Return the files of a dataset and their manifest as files of an image.

    Raises:
        RegistryError: If the artifact is missing or is not a dataset.
    """
    content = decode_document(repository.manifest(digest).data)
    if content.get("artifactType") != ARTIFACT_TYPE:
        raise RegistryError(
            f"{repository.name}@{digest} is not a dataset. Push it with `berth data push`."
        )
    try:
        files = _read_files(content)
    except RegistryContentError as error:
        raise RegistryError(
            f"Dataset {repository.name}@{digest} is not valid: {error}. Push it again."
        ) from error
    tree: Tree = {}
    checksums: dict[str, str] = {}
    for name, descriptor in files.items():
        path = repository.blob(descriptor.digest, descriptor.size)
        tree[f"{DATA}/{name}"] = Entry(mode=PLAIN, path=path)
        checksums[name] = descriptor.digest.removeprefix("sha256:")
    manifest = json.dumps({"files": checksums}, indent=1, sort_keys=True) + "\n"
    tree[f"{DATA}/{MANIFEST_NAME}"] = text_file(manifest)
    return tree


def _read_files(content: dict[str, Any]) -> dict[str, Descriptor]:
    """Return the files of a dataset by their path, which must be inside its directory."""
    files: dict[str, Descriptor] = {}
    for entry, descriptor in zip(
        content.get("layers") or (), parse_descriptors(content, "layers"), strict=True
    ):
        annotations = entry.get("annotations")
        name = annotations.get(TITLE) if isinstance(annotations, dict) else None
        if not isinstance(name, str) or not _is_relative_path(name) or name in files:
            raise RegistryContentError(f"{name!r} is not the path of a file inside the dataset")
        files[name] = descriptor
    return files


def _is_relative_path(name: str) -> bool:
    """Return whether a path stays inside its directory."""
    return (
        bool(name)
        and "\0" not in name
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


def _list_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST_NAME:
            yield path
