"""The contents of an image, read from its layers."""

import gzip
import hashlib
import io
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import IO

from typing_extensions import Buffer

_WHITEOUT = ".wh."
_GZIP = b"\x1f\x8b"
# Bounds of a layer, far above Berth's own: its CUDA libraries have 3 GB in 3,000 files.
_MAX_UNPACKED_BYTES = 128 << 30
_MAX_MEMBERS = 1_000_000
_MAX_METADATA_BYTES = 16 << 20
_READ_BYTES = 1 << 20


class LayerError(ValueError):
    """A layer that is not an archive, is too large, or differs from its digest."""


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """A file, link or directory of an image.

    Attributes:
        mode: Permission bits, including set-uid and set-gid.
        size: Size in bytes. 0 for links and directories.
        kind: `file`, `link` or `directory`.
        target: Target of a link.
    """

    mode: int
    size: int
    kind: str
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class ImagePackage:
    """A package in an image.

    Attributes:
        kind: `deb` or `pypi`.
        license: License expression from the package's metadata. Empty if it has none.
    """

    kind: str
    name: str
    version: str
    license: str = ""


@dataclass(frozen=True)
class Contents:
    """The files of an image by path without a leading slash, and its packages."""

    files: dict[str, ImageFile]
    packages: list[ImagePackage]


def read_contents(layers: Iterable[Path], diff_ids: Sequence[str] | None = None) -> Contents:
    """Read the combined contents of `layers` (compressed archives, lowest first).

    Args:
        diff_ids: Digest of each uncompressed archive, to compare it with.

    Raises:
        LayerError: If a layer is not an archive, exceeds the bounds, or differs from its digest.
    """
    files: dict[str, ImageFile] = {}
    metadata: dict[str, str] = {}
    for number, path in enumerate(layers):
        try:
            layer = _read_once(path)
        except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
            raise LayerError(f"layer {number + 1} is not a readable archive: {error}") from error
        if diff_ids is not None and layer.diff_id != diff_ids[number]:
            raise LayerError(
                f"layer {number + 1} unpacks to {layer.diff_id}, but the configuration of the "
                f"image lists {diff_ids[number]}"
            )
        for name, file in layer.files:
            if file is None:
                _apply_whiteout(files, PurePosixPath(name))
            else:
                files[name] = file
        metadata |= layer.metadata
    packages = [
        package
        for path, text in sorted(metadata.items())
        if path in files
        for package in _parse_packages(path, text)
    ]
    return Contents(files, packages)


@dataclass(frozen=True)
class _Layer:
    """The members of a layer.

    Attributes:
        files: Path and description of each member in order, and None for a whiteout.
        metadata: Path and text of the files that describe packages.
        diff_id: Digest of the uncompressed archive.
    """

    files: list[tuple[str, ImageFile | None]]
    metadata: dict[str, str]
    diff_id: str


_Key = tuple[Path, int, int, int]
_read: dict[_Key, _Layer] = {}
_reading: defaultdict[_Key, Lock] = defaultdict(Lock)


def _read_once(path: Path) -> _Layer:
    """Return the members of the layer in an unchanged file, which this process reads only once.

    The images of all versions have the layers of Python and of the libraries in common. Reading
    these takes a second of CPU time.
    """
    status = path.stat()
    key = (path, status.st_ino, status.st_size, status.st_mtime_ns)
    with _reading[key]:
        if key not in _read:
            _read[key] = _read_layer(path)
        return _read[key]


def _read_layer(path: Path) -> _Layer:
    files: list[tuple[str, ImageFile | None]] = []
    metadata: dict[str, str] = {}
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == _GZIP
        raw.seek(0)
        source = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        stream = _HashingReader(source)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for number, member in enumerate(tar):
                if number >= _MAX_MEMBERS:
                    raise LayerError(f"a layer has more than {_MAX_MEMBERS} files")
                name = member.name.removeprefix("./").rstrip("/")
                if PurePosixPath(name).name.startswith(_WHITEOUT):
                    files.append((name, None))
                    continue
                files.append((name, _describe(member)))
                if member.isfile() and _is_package_metadata(name):
                    metadata[name] = _read_metadata(tar, member)
        # The digest also covers the padding behind the archive.
        while stream.read(_READ_BYTES):
            pass
    return _Layer(files, metadata, stream.digest())


def _read_metadata(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.size > _MAX_METADATA_BYTES:
        raise LayerError(
            f"/{member.name} has {member.size} bytes, more than {_MAX_METADATA_BYTES} for the "
            "description of packages"
        )
    stream = tar.extractfile(member)
    assert stream is not None
    return stream.read().decode(errors="replace")


class _HashingReader(io.RawIOBase):
    """A reader that computes the digest of what it passes on, up to the bound of a layer."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self._length = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data = self._source.read(len(view))
        self._length += len(data)
        if self._length > _MAX_UNPACKED_BYTES:
            raise LayerError(f"a layer unpacks to more than {_MAX_UNPACKED_BYTES} bytes")
        self._hash.update(data)
        view[: len(data)] = data
        return len(data)

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _describe(member: tarfile.TarInfo) -> ImageFile:
    kind = "file" if member.isfile() else "directory" if member.isdir() else "link"
    return ImageFile(mode=member.mode, size=member.size, kind=kind, target=member.linkname)


def _apply_whiteout(files: dict[str, ImageFile], whiteout: PurePosixPath) -> None:
    """Remove what a higher layer deletes: https://github.com/opencontainers/image-spec layer.md."""
    name = whiteout.name.removeprefix(_WHITEOUT)
    deleted = str(whiteout.parent if name == ".wh..opq" else whiteout.parent / name)
    for path in [path for path in files if path == deleted or path.startswith(f"{deleted}/")]:
        del files[path]


def _is_package_metadata(path: str) -> bool:
    return (
        (path.startswith("var/lib/dpkg/status.d/") and not path.endswith(".md5sums"))
        or path == "var/lib/dpkg/status"
        or path.endswith("dist-info/METADATA")
    )


def _parse_packages(path: str, text: str) -> Iterator[ImagePackage]:
    if path.endswith("METADATA"):
        fields = HeaderParser().parsestr(text)
        yield ImagePackage(
            kind="pypi",
            name=fields["Name"],
            version=fields["Version"],
            license=(fields["License-Expression"] or "").strip(),
        )
        return
    # python-debian would be a dependency of every installation, for these three lines.
    for paragraph in text.split("\n\n"):
        fields = HeaderParser().parsestr(paragraph.strip() + "\n")
        if fields["Package"] and fields["Version"]:
            yield ImagePackage(kind="deb", name=fields["Package"], version=fields["Version"])
