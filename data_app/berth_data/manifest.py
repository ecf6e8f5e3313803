"""The manifest of a dataset: a JSON document with the checksum of every file."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MANIFEST_NAME = "berth-data.json"

_BLOCK_BYTES = 1 << 20


class DatasetError(Exception):
    """A dataset differs from its manifest, or has no valid manifest."""


def build_manifest(directory: Path) -> bytes:
    """Build the manifest of all files in `directory`."""
    files = {path: file_sha256(directory / path) for path in _list_files(directory)}
    if not files:
        raise DatasetError(f"Directory {directory} has no files")
    return (json.dumps({"files": files}, indent=1, sort_keys=True) + "\n").encode()


def write_manifest(directory: Path) -> str:
    """Write the manifest of all files in `directory`, and return its digest."""
    data = build_manifest(directory)
    (directory / MANIFEST_NAME).write_bytes(data)
    return manifest_digest(data)


def read_manifest(directory: Path, digest: str | None) -> dict[str, str]:
    """Read the files of a dataset: path -> SHA-256 in hex.

    Args:
        digest: Expected digest of the manifest. If None, any digest is accepted.

    Raises:
        DatasetError: If the manifest is missing or invalid, or has another digest.
    """
    path = directory / MANIFEST_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"Could not read the dataset manifest {path}: {error}") from error
    return parse_manifest(data, str(path), digest)


def parse_manifest(data: bytes, source: str, digest: str | None) -> dict[str, str]:
    """Parse a manifest, as `read_manifest` does. `source` is its location for messages."""
    try:
        files: dict[str, str] = json.loads(data)["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{source} is not a valid dataset manifest: {error}") from error
    if digest is not None and manifest_digest(data) != digest:
        raise DatasetError(f"{source} has the digest {manifest_digest(data)}, expected {digest}")
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DatasetError(f"{source} lists {name!r}, which is outside the dataset")
    return files


def manifest_digest(data: bytes) -> str:
    """Return the digest of a manifest, `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex. The file can be larger than the memory."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def check_file(path: Path, name: str, sha256: str) -> None:
    """Compare a file with its SHA-256.

    Raises:
        DatasetError: If the file cannot be read or has another SHA-256.
    """
    try:
        actual = file_sha256(path)
    except OSError as error:
        raise DatasetError(f"{name}: The file cannot be read: {error.strerror}") from error
    if actual != sha256:
        raise DatasetError(
            f"{name}: Checksum mismatch. The file has the SHA-256 {actual}, its manifest {sha256}."
        )


def _list_files(directory: Path) -> Iterator[str]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST_NAME:
            yield path.relative_to(directory).as_posix()
