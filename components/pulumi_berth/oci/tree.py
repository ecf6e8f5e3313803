"""The files of one layer as plain data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

EXECUTABLE = 0o755
PLAIN = 0o644


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file, symbolic link or directory of an image, owned by root.

    Attributes:
        mode: Permission bits, including set-uid and set-gid.
        read: Returns the content of a small file. None for other entries.
        path: File whose content is copied in blocks, because it can be larger than the memory. None
            for other entries.
        digest: Expected `sha256:<hex>` of the content of `path`. If None, any content is accepted.
        target: Target of a symbolic link. None for files and directories.
    """

    mode: int
    read: Callable[[], bytes] | None = None
    path: Path | None = None
    digest: str | None = None
    target: str | None = None


Tree = dict[str, Entry]
"""Absolute path without a leading slash (`usr/bin/python3`) -> entry. A tree need not list parent
directories with the mode 755."""


def text_file(content: str, mode: int = PLAIN) -> Entry:
    """Return a file with `content`."""
    data = content.encode()
    return Entry(mode=mode, read=lambda: data)


def symlink(target: str) -> Entry:
    """Return a symbolic link to `target`."""
    return Entry(mode=0o777, target=target)


def directory(mode: int) -> Entry:
    """Return a directory with `mode`."""
    return Entry(mode=mode)


def read_tree(source: Path, *, under: str, pattern: str = "**/*") -> Tree:
    """Return the files of `source` that match `pattern`, below the directory `under` of the image.

    All files get the mode 644: the modes of a checkout differ and would change the digest.
    """
    return {
        f"{under}/{path.relative_to(source).as_posix()}": Entry(mode=PLAIN, path=path)
        for path in sorted(source.glob(pattern))
        if path.is_file()
    }


def implied_directories(tree: Tree) -> Iterator[str]:
    """Yield the parent directories that `tree` does not list, outer before inner."""
    parents = {
        str(parent) for path in tree for parent in PurePosixPath(path).parents if str(parent) != "."
    }
    yield from sorted(parents - tree.keys())
