"""Datasets in a registry: one artifact per version, with one blob per file."""

import json
from collections.abc import Iterator
from pathlib import Path

from berth_data.manifest import MANIFEST_NAME, file_sha256
from pulumi_berth.oci import documents
from pulumi_berth.oci.registry import RegistryError, Repository
from pulumi_berth.oci.tree import PLAIN, Entry, Tree, text_file

ARTIFACT_TYPE = "application/vnd.berth.data.v1"
TITLE = "org.opencontainers.image.title"
DATA = "opt/berth/data"
"""Directory of a dataset in its image."""


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
    content = json.loads(repository.manifest(digest).data)
    if content.get("artifactType") != ARTIFACT_TYPE:
        raise RegistryError(
            f"{repository.name}@{digest} is not a dataset. Push it with `berth data push`."
        )
    tree: Tree = {}
    checksums: dict[str, str] = {}
    for layer in content["layers"]:
        name = layer["annotations"][TITLE]
        path = repository.blob(layer["digest"])
        tree[f"{DATA}/{name}"] = Entry(mode=PLAIN, path=path)
        checksums[name] = layer["digest"].removeprefix("sha256:")
    manifest = json.dumps({"files": checksums}, indent=1, sort_keys=True) + "\n"
    tree[f"{DATA}/{MANIFEST_NAME}"] = text_file(manifest)
    return tree


def _list_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST_NAME:
            yield path
