"""Publishes a finished version: completely, once, and unchanged afterwards."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from berth.packaging.errors import PackageError
from berth_protocol.model_card import CARD_FILE, digest, file_sha256


@contextmanager
def create_staging_directory(into: Path) -> Iterator[Path]:
    """Create an empty directory in `into` for a new version and delete it at the end.

    It is next to the model directories, so that one rename publishes the version. Its name starts
    with a dot, so that it is not mistaken for a model. Parent directories that were created for it
    are also deleted if they are empty.
    """
    created = [parent for parent in (into, *into.parents) if not parent.exists()]
    staging = into / f".packaging-{secrets.token_hex(6)}"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise _write_error(into, error) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for directory in created:
            with suppress(OSError):
                directory.rmdir()


def publish(staging: Path, target: Path) -> bool:
    """Rename `staging` to `target`, the directory of one version. Return True if it is new.

    If `target` contains exactly the same files, it stays unchanged.

    Raises:
        PackageError: If `target` exists and differs, because a version never changes.
    """
    if target.exists():
        return _keep_existing(staging, target)
    for path in sorted(staging.rglob("*")):
        if path.is_file():
            _sync(path)
    is_new_model = not target.parent.exists()
    target.parent.mkdir(exist_ok=True)
    try:
        staging.rename(target)
    except OSError as error:
        if is_new_model:
            with suppress(OSError):
                target.parent.rmdir()
        if target.exists():
            return _keep_existing(staging, target)
        raise _write_error(target, error) from error
    _sync(target.parent)
    return True


def _keep_existing(staging: Path, target: Path) -> bool:
    if _read_files(staging) == _read_files(target):
        return False
    existing = digest(target) if (target / CARD_FILE).is_file() else f"no {CARD_FILE}"
    raise PackageError(
        f"{target}: the version exists and differs (existing: {existing}; new: "
        f"{digest(staging)}). A version never changes. Use a new version."
    )


def _read_files(directory: Path) -> dict[str, str]:
    """Return the checksums of all files, which may be larger than the memory."""
    return {
        str(path.relative_to(directory)): file_sha256(path)
        for path in directory.rglob("*")
        if path.is_file()
    }


def _sync(path: Path) -> None:
    """Flush `path` to the disk before anything refers to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(path: Path, error: OSError) -> PackageError:
    return PackageError(
        f"{path}: cannot write to the directory ({error.strerror}). Check its permissions, or use "
        "another directory with --into."
    )
