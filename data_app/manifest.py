"""The manifest of a set of data: every file with its sha256, in one JSON document."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

NAME = "berth-data.json"
_BLOCK = 1 << 20


class DataError(Exception):
    """Data that is not what its manifest says; the text names the file and what is wrong."""


def write_manifest(folder: Path) -> str:
    """Write the manifest of all that is in `folder`; its digest, `sha256:<hex>`."""
    files = {path: file_sha256(folder / path) for path in _paths(folder)}
    if not files:
        raise DataError(f"{folder} has no files")
    text = json.dumps({"files": files}, indent=1, sort_keys=True) + "\n"
    (folder / NAME).write_text(text)
    return _digest(text.encode())


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
        files: dict[str, str] = json.loads(data)["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no manifest of a set of data: {error}") from error
    if digest is not None and _digest(data) != digest:
        raise DataError(f"{path} has the digest {_digest(data)}, and {digest} is wanted")
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{path} names {name!r}, which lies outside the set")
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


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
