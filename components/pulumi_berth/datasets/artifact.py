"""Artifact: a set of data in a registry, one blob per file, under its version."""

import json
from collections.abc import Iterator
from pathlib import Path

from berth_data.manifest import NAME, file_sha256
from pulumi_berth.oci import oci
from pulumi_berth.oci.registry import RegistryError, Repository
from pulumi_berth.oci.tree import PLAIN, Entry, Tree, text

KIND = "application/vnd.berth.data.v1"
TITLE = "org.opencontainers.image.title"
DATA = "opt/berth/data"
"""Where a set lies in its image."""
_EMPTY = oci.document("application/vnd.oci.empty.v1+json", {})


def push_data(folder: Path, repository: Repository, version: str) -> str:
    """Put the files of `folder` there as `version`; the digest of the set.

    Raises:
        RegistryError: there is other data under that version, which is never changed.
    """
    files = [(path, file_sha256(path)) for path in _files(folder)]
    if not files:
        raise RegistryError(f"{folder} has no files")
    manifest = oci.document(
        oci.MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": oci.MANIFEST,
            "artifactType": KIND,
            "config": _EMPTY.descriptor,
            "layers": [
                {
                    "mediaType": "application/octet-stream",
                    "digest": f"sha256:{sha256}",
                    "size": path.stat().st_size,
                    "annotations": {TITLE: path.relative_to(folder).as_posix()},
                }
                for path, sha256 in files
            ],
        },
    )
    there = repository.digest_of(version)
    if there not in (None, manifest.digest):
        raise RegistryError(
            f"{repository.name}:{version} has other data ({there}); give these a new version"
        )
    for path, sha256 in files:
        repository.push_file(path, f"sha256:{sha256}", path.stat().st_size)
    repository.push_document(_EMPTY)
    repository.push_manifest(manifest, version)
    return manifest.digest


def data_tree(repository: Repository, digest: str) -> Tree:
    """The files of a set as part of an image, with their manifest.

    Raises:
        RegistryError: it is not there, or it is no set of data.
    """
    content = json.loads(repository.manifest(digest).data)
    if content.get("artifactType") != KIND:
        raise RegistryError(f"{repository.name}@{digest} is no set of data; `berth data push` it")
    tree: Tree = {}
    sums: dict[str, str] = {}
    for layer in content["layers"]:
        name = layer["annotations"][TITLE]
        path = repository.blob(layer["digest"])
        tree[f"{DATA}/{name}"] = Entry(mode=PLAIN, read=path.read_bytes)
        sums[name] = layer["digest"].removeprefix("sha256:")
    tree[f"{DATA}/{NAME}"] = text(json.dumps({"files": sums}, indent=1, sort_keys=True) + "\n")
    return tree


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME)
