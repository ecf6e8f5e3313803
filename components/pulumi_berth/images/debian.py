"""The contents of Debian binary packages, read without dpkg."""

import io
import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from pulumi_berth.oci.tree import Entry, Tree, symlink

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


class PackageError(ValueError):
    """A file is not a Debian package with xz archives."""


@dataclass(frozen=True)
class Package:
    """An unpacked binary package.

    Attributes:
        control: Text of the control file.
        files: Files that the package installs.
    """

    control: str
    files: Tree


def unpack(name: str, data: bytes) -> Package:
    """Unpack the package in `data`. `name` is used in error messages.

    Raises:
        PackageError: If `data` is not a binary package with xz archives (deb(5)).
    """
    members = dict(_read_members(name, data))
    try:
        control, content = members["control.tar.xz"], members["data.tar.xz"]
    except KeyError as missing:
        raise PackageError(
            f"{name}: The package has no {missing.args[0]}, only: {', '.join(members)}"
        ) from None
    files = _read_files(content)
    control_file = _read_files(control)["control"]
    assert control_file.read is not None
    return Package(control_file.read().decode(), files)


def _read_members(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an ar archive. deb(5) allows no long names."""
    if not data.startswith(_AR_MAGIC):
        raise PackageError(f"{name}: The file is not a Debian package")
    position = len(_AR_MAGIC)
    while position + _AR_HEADER <= len(data):
        header = data[position : position + _AR_HEADER]
        position += _AR_HEADER
        size = int(header[48:58])
        yield header[:16].decode().strip().rstrip("/"), data[position : position + size]
        position += size + size % 2


def _read_files(archive: bytes) -> Tree:
    tree: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(archive))) as tar:
        for member in tar:
            path = member.name.removeprefix("./")
            if member.issym():
                tree[path] = symlink(member.linkname)
            elif member.islnk():
                tree[path] = tree[member.linkname.removeprefix("./")]
            elif member.isfile():
                stream = tar.extractfile(member)
                assert stream is not None
                tree[path] = _file(stream.read(), member.mode)
    return tree


def _file(data: bytes, mode: int) -> Entry:
    return Entry(mode=mode & 0o7777, read=lambda: data)
