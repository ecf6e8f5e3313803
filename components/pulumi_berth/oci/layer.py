"""Layers: gzip-compressed tar archives whose bytes depend only on the tree."""

import errno
import gzip
import hashlib
import io
import os
import stat
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Self

from typing_extensions import Buffer

from pulumi_berth.oci.tree import EXECUTABLE, Entry, Tree, directory, implied_directories

EPOCH = 1_700_000_000
"""Modification time of every file and image. The build time would change the digest."""

_COMPRESSION_LEVEL = 6
_GZIP = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer in a file.

    Attributes:
        path: Path of the compressed archive.
        digest: Digest of the compressed archive, `sha256:<hex>`.
        size: Size of the compressed archive, in bytes.
        diff_id: Digest of the uncompressed archive, which the image's configuration lists.
        unpacked: Size of all files, in bytes.
    """

    path: Path
    digest: str
    size: int
    diff_id: str
    unpacked: int


class LayerError(RuntimeError):
    """A file that cannot be in a layer. The message names the file and the fix."""


def write_layer(tree: Tree, path: Path) -> Layer:
    """Write `tree` to `path`: sorted by name, owned by root, with one fixed time.

    Raises:
        LayerError: If a file is a symbolic link, is not a regular file, or differs from its digest.
    """
    unpacked = 0
    entries = {**{name: directory(EXECUTABLE) for name in implied_directories(tree)}, **tree}
    with (
        path.open("wb") as file,
        _GzipWriter(file) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        # Sorting by name puts a directory before its content.
        for name in sorted(entries):
            unpacked += _add(tar, name, entries[name])
    return Layer(
        path=path,
        digest=f"sha256:{stream.compressed.hexdigest()}",
        size=path.stat().st_size,
        diff_id=f"sha256:{stream.plain.hexdigest()}",
        unpacked=unpacked,
    )


def compress_archive(source: IO[bytes], path: Path) -> Layer:
    """Compress a layer's archive to `path` with this module's settings.

    Args:
        source: The archive, compressed with gzip or not compressed, as a seekable file.
    """
    is_gzip = source.read(len(_GZIP)) == _GZIP
    source.seek(0)
    unpacked = 0
    with path.open("wb") as file, _GzipWriter(file) as stream:
        plain = gzip.GzipFile(fileobj=source) if is_gzip else source
        while block := plain.read(_BLOCK_BYTES):
            unpacked += stream.write(block)
    return Layer(
        path=path,
        digest=f"sha256:{stream.compressed.hexdigest()}",
        size=path.stat().st_size,
        diff_id=f"sha256:{stream.plain.hexdigest()}",
        unpacked=unpacked,
    )


def _add(tar: tarfile.TarFile, name: str, entry: Entry) -> int:
    """Add an entry to the archive and return the size of its content."""
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = entry.mode, EPOCH
    if entry.read is not None:
        data = entry.read()
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
        return len(data)
    if entry.path is not None:
        return _add_file(tar, info, entry.path, entry.digest)
    if entry.target is not None:
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    else:
        info.type = tarfile.DIRTYPE
    tar.addfile(info)
    return 0


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path, digest: str | None) -> int:
    """Add a file in blocks. What is written is what is checked, even if the file changes now."""
    try:
        # A link could refer to any file of this machine.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise LayerError(
            f"{path}: cannot be in an image: {reason}. Replace it with a regular file."
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise LayerError(f"{path}: cannot be in an image: it is not a regular file. Remove it.")
        info.size = status.st_size
        reader = _HashingReader(file)
        tar.addfile(info, reader)
    actual = f"sha256:{reader.hash.hexdigest()}"
    if digest not in (None, actual):
        raise LayerError(
            f"{path}: is {actual}, expected {digest}. Nothing was pushed. Restore the file from "
            "Git, or package a new version."
        )
    return info.size


class _HashingReader(io.RawIOBase):
    """A reader that computes the digest of what was read."""

    def __init__(self, file: BinaryIO) -> None:
        self.hash = hashlib.sha256()
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.hash.update(block)
        return block


class _GzipWriter(io.RawIOBase):
    """A writer that compresses its input and computes the digests of input and output.

    The `gzip` module is not suitable: its header contains a time and an operating system.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.plain, self.compressed = hashlib.sha256(), hashlib.sha256()
        self._file = file
        self._written = 0
        self._zip = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def __enter__(self) -> Self:
        return self

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Buffer) -> int:
        view = memoryview(data)
        self._written += view.nbytes
        self.plain.update(view)
        self._write_compressed(self._zip.compress(view))
        return view.nbytes

    def close(self) -> None:
        if not self.closed:
            self._write_compressed(self._zip.flush())
        super().close()

    def _write_compressed(self, data: bytes) -> None:
        self.compressed.update(data)
        self._file.write(data)
