"""Puts a finished version in its place: whole, once, and never changed after."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from berth.packaging.errors import PackageError
from berth_protocol.model_card import CARD_FILE, digest


@contextmanager
def staging(into: Path) -> Iterator[Path]:
    """An empty directory in `into` to make a version in; it is gone at the end, come what may.

    It lies beside the model directories so that one rename publishes it, and its name starts with
    a dot so that nobody takes it for a model. Directories made for it go again when left empty.
    """
    made = [parent for parent in (into, *into.parents) if not parent.exists()]
    stage = into / f".packaging-{secrets.token_hex(6)}"
    try:
        stage.mkdir(parents=True)
    except OSError as error:
        raise PackageError(f"{into}: cannot be written ({error.strerror})") from error
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for directory in made:
            with suppress(OSError):
                directory.rmdir()


def publish(stage: Path, target: Path) -> bool:
    """Rename `stage` to `target`, the directory of one version; whether anything changed.

    Where `target` has the same files already, to the byte, it stays as it is.

    Raises:
        PackageError: `target` exists and differs: a version never changes.
    """
    if target.exists():
        return _keep(stage, target)
    for path in sorted(stage.rglob("*")):
        if path.is_file():
            _sync(path)
    parent_is_new = not target.parent.exists()
    target.parent.mkdir(exist_ok=True)
    try:
        stage.rename(target)
    except OSError as error:
        if parent_is_new:
            with suppress(OSError):
                target.parent.rmdir()
        if target.exists():
            return _keep(stage, target)
        raise PackageError(f"{target}: cannot be written ({error.strerror})") from error
    _sync(target.parent)
    return True


def _keep(stage: Path, target: Path) -> bool:
    if _contents(stage) == _contents(target):
        return False
    there = digest(target) if (target / CARD_FILE).is_file() else f"no {CARD_FILE}"
    raise PackageError(
        f"{target}: exists and differs (there: {there}; made now: {digest(stage)}). A version "
        "never changes once it is packaged; give the new model a version of its own"
    )


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def _sync(path: Path) -> None:
    """Have the disk hold what `path` holds before anything refers to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
