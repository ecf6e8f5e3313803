"""Tree: the files of one layer, as plain data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

EXECUTABLE = 0o755
PLAIN = 0o644


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of an image, owned by root.

    Attributes:
        mode: permission bits, set-uid and set-gid included.
        read: the content of a file; None for others.
        target: of a symbolic link; None for others. Without either it is a folder.
    """

    mode: int
    read: Callable[[], bytes] | None = None
    target: str | None = None


Tree = dict[str, Entry]
"""Absolute path without a leading slash (`usr/bin/python3`) -> entry. Folders with the usual mode
are implied."""


def text(content: str, mode: int = PLAIN) -> Entry:
    """A file with `content`."""
    data = content.encode()
    return Entry(mode=mode, read=lambda: data)


def link(target: str) -> Entry:
    """A symbolic link to `target`."""
    return Entry(mode=0o777, target=target)


def folder(mode: int) -> Entry:
    """A folder with a mode of its own."""
    return Entry(mode=mode)


def of_folder(folder: Path, *, under: str, pattern: str = "**/*") -> Tree:
    """The files of `folder` that match `pattern`, placed in the folder `under` of the image.

    Modes are normal ones, whatever the checkout's: they would change the digest.
    """
    return {
        f"{under}/{path.relative_to(folder).as_posix()}": Entry(mode=PLAIN, read=path.read_bytes)
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def implied_folders(tree: Tree) -> Iterator[str]:
    """The folders that entries of `tree` lie in and that are no entries, outer before inner."""
    found = {
        str(parent) for path in tree for parent in PurePosixPath(path).parents if str(parent) != "."
    }
    yield from sorted(found - tree.keys())
