"""Layer: a tree as a gzip-compressed tar archive whose bytes depend on the tree alone."""

import hashlib
import io
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from typing_extensions import Buffer

from pulumi_berth.oci.tree import EXECUTABLE, Entry, Tree, folder, implied_folders

# Fixed for every file and image: a time of building would change the digest.
EPOCH = 1_700_000_000
_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A written layer.

    Attributes:
        path: of the compressed archive.
        digest, size: of the compressed archive, `sha256:<hex>` and bytes.
        diff_id: sha256 of the archive before compression, as the image's configuration names it.
        unpacked: bytes of all files.
    """

    path: Path
    digest: str
    size: int
    diff_id: str
    unpacked: int


def write_layer(tree: Tree, path: Path) -> Layer:
    """Write `tree` to `path`: entries in name order, owned by root, with one fixed time."""
    unpacked = 0
    whole = {**{name: folder(EXECUTABLE) for name in implied_folders(tree)}, **tree}
    with (
        path.open("wb") as file,
        _Compressed(file) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        # In name order a folder comes before what it holds.
        for name in sorted(whole):
            unpacked += _add(tar, name, whole[name])
    return Layer(
        path=path,
        digest=f"sha256:{stream.compressed.hexdigest()}",
        size=path.stat().st_size,
        diff_id=f"sha256:{stream.plain.hexdigest()}",
        unpacked=unpacked,
    )


def _add(tar: tarfile.TarFile, name: str, entry: Entry) -> int:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = entry.mode, EPOCH
    if entry.read is not None:
        data = entry.read()
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
        return len(data)
    if entry.target is not None:
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    else:
        info.type = tarfile.DIRTYPE
    tar.addfile(info)
    return 0


class _Compressed(io.RawIOBase):
    """Compresses what is written to it, and digests both sides on the way.

    Not `gzip`: its header would carry a time and, by version, an operating system.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.plain, self.compressed = hashlib.sha256(), hashlib.sha256()
        self._file = file
        self._written = 0
        self._zip = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

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
        self._put(self._zip.compress(view))
        return view.nbytes

    def close(self) -> None:
        if not self.closed:
            self._put(self._zip.flush())
        super().close()

    def _put(self, data: bytes) -> None:
        self.compressed.update(data)
        self._file.write(data)
