"""What a container of the user's own must be: its port, its build context, where it can run.

This module imports no Pulumi, because commands that only read the specification must start fast.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

DOCKERFILE = "Dockerfile"
DEFAULT_PORT = 8080
LOWEST_PORT = 1024
"""A program without root cannot listen on a lower port."""
NO_CONTAINERS = (
    "needs a container engine, which platform local does not use; set berth:platform to docker, or "
    "package the model with processing of your own (berth package --with serve.py)"
)
"""The reason why platform local rejects a container."""


class ContextBuildError(RuntimeError):
    """A build context that cannot be built. The message names the directory and the fix."""


def find_context_problem(directory: Path) -> str | None:
    """Return why a directory is not a build context, or None."""
    if (directory / DOCKERFILE).is_file():
        return None
    return f"{directory} contains no {DOCKERFILE}; correct the path, or write one"


def digest_context(directory: Path) -> str:
    """Return `sha256:<hex>` of all files of a build context, by path, mode and content.

    A change builds a new image. What a Dockerfile downloads is not part of the digest.

    Raises:
        ContextBuildError: If the directory is not a build context, or cannot be read.
    """
    if problem := find_context_problem(directory):
        raise ContextBuildError(f"{problem}.")
    total = hashlib.sha256()
    try:
        for path in _list_files(directory):
            total.update(f"{path.relative_to(directory).as_posix()}\0".encode())
            if path.is_symlink():
                total.update(b"link\0" + os.fsencode(path.readlink()) + b"\0")
                continue
            total.update(b"program\0" if os.access(path, os.X_OK) else b"file\0")
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise ContextBuildError(
            f"{error.filename}: cannot read the build context ({error.strerror})."
        ) from error
    return f"sha256:{total.hexdigest()}"


def _list_files(directory: Path) -> Iterator[Path]:
    for parent, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted(files + [d for d in directories if Path(parent, d).is_symlink()]):
            yield Path(parent, name)
