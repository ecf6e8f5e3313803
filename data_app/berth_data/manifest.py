"""The manifest of a set of data: every file with its sha256, in one JSON document."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

NAME = "berth-data.json"
_BLOCK = 1 << 20


class DataError(Exception):
    """Data that is not what its manifest says; the text names the file and what is wrong."""


def manifest_of(folder: Path) -> bytes:
    """The manifest of all that is in `folder`."""
    files = {path: file_sha256(folder / path) for path in _paths(folder)}
    if not files:
        raise DataError(f"{folder} has no files")
    return (json.dumps({"files": files}, indent=1, sort_keys=True) + "\n").encode()


def write_manifest(folder: Path) -> str:
    """Write the manifest of all that is in `folder`; its digest, `sha256:<hex>`."""
    data = manifest_of(folder)
    (folder / NAME).write_bytes(data)
    return digest_of(data)


def read_manifest(folder: Path, digest: str | None) -> dict[str, str]:
    """The files of a set, path -> sha256 (hex).

    Args:
        digest: that the manifest must have; any when None.

    Raises:
        DataError: there is none, it is not one, or it has another digest.
    """
    path = folder / NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} is no manifest of a set of data: {error}") from error
    return parse_manifest(data, str(path), digest)


def parse_manifest(data: bytes, where: str, digest: str | None) -> dict[str, str]:
    """As `read_manifest`, of the manifest that was read from `where`."""
    try:
        files: dict[str, str] = json.loads(data)["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} is no manifest of a set of data: {error}") from error
    if digest is not None and digest_of(data) != digest:
        raise DataError(f"{where} has the digest {digest_of(data)}, and {digest} is wanted")
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{where} names {name!r}, which lies outside the set")
    return files


def file_sha256(path: Path) -> str:
    """The sha256 (hex) of a file of any size."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def check_file(path: Path, name: str, sha256: str) -> None:
    """Raises DataError when the file is missing or has another sha256."""
    try:
        actual = file_sha256(path)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}") from error
    if actual != sha256:
        raise DataError(f"{name}: has the sha256 {actual}, and its manifest says {sha256}")


def _paths(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != NAME:
            yield path.relative_to(folder).as_posix()


def digest_of(data: bytes) -> str:
    """The digest of a manifest, `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
