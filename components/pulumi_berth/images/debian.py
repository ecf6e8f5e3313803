"""Debian packages: what a binary package has inside. No dpkg is needed."""

import io
import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from pulumi_berth.oci.tree import Entry, Tree, link

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


class PackageError(ValueError):
    """A file that is not a Debian package of the kind that can be read here."""


@dataclass(frozen=True)
class Package:
    """One unpacked binary package.

    Attributes:
        control: the text of its control file: name, version, licence-free metadata.
        files: what it installs.
    """

    control: str
    files: Tree


def unpack(name: str, data: bytes) -> Package:
    """The package in `data`; `name` is for errors.

    Raises:
        PackageError: not a binary package with xz archives (deb(5)).
    """
    members = dict(_members(name, data))
    try:
        control, content = members["control.tar.xz"], members["data.tar.xz"]
    except KeyError as missing:
        raise PackageError(
            f"{name}: has no {missing.args[0]}; it has {', '.join(members)}"
        ) from None
    files = _files(content)
    control_file = _files(control)["control"]
    assert control_file.read is not None
    return Package(control_file.read().decode(), files)


def _members(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of an ar archive (deb(5) allows no long names)."""
    if not data.startswith(_AR_MAGIC):
        raise PackageError(f"{name}: is not a Debian package")
    position = len(_AR_MAGIC)
    while position + _AR_HEADER <= len(data):
        header = data[position : position + _AR_HEADER]
        position += _AR_HEADER
        size = int(header[48:58])
        yield header[:16].decode().strip().rstrip("/"), data[position : position + size]
        position += size + size % 2


def _files(archive: bytes) -> Tree:
    tree: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(archive))) as tar:
        for member in tar:
            path = member.name.removeprefix("./")
            if member.issym():
                tree[path] = link(member.linkname)
            elif member.islnk():
                tree[path] = tree[member.linkname.removeprefix("./")]
            elif member.isfile():
                stream = tar.extractfile(member)
                assert stream is not None
                tree[path] = _file(stream.read(), member.mode)
    return tree


def _file(data: bytes, mode: int) -> Entry:
    return Entry(mode=mode & 0o7777, read=lambda: data)
