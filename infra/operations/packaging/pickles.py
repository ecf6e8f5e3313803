"""Tells a pickle by its content, whatever the file is called.

Loading a pickle runs whatever code its maker put there, so Berth never loads one, not even to
convert it. Nothing here executes anything: `pickletools` only reads the opcodes.
"""

import pickletools
import zipfile
from pathlib import Path

from infra.operations.packaging.errors import PackageError

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x5d\x00\x00": "lzma",
    b"x\x01": "zlib",
    b"x\x5e": "zlib",
    b"x\x9c": "zlib",
    b"x\xda": "zlib",
}


def refuse_pickle(path: Path) -> None:
    """Refuse a file that is, or may hide, a pickle.

    Raises:
        PackageError: `path` holds a pickle, a PyTorch archive or compressed data (the way joblib
            stores pickles), or cannot be read.
    """
    kind = _kind(path)
    if kind:
        raise PackageError(
            f"{path}: is {kind}. Loading one runs any code that its maker put there, so Berth "
            "never does. Package what cannot hold code: an .onnx file, or a function that "
            "returns the fitted estimator and real rows (`berth package train.py:build ...`)"
        )


def _kind(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror})") from error
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            return f"{name}-compressed data, the way joblib stores pickles"
    return "a pickle" if _reads_as_pickle(path) else None


def _kind_of_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "a damaged zip archive"
    if any(member.endswith((".pkl", ".pickle")) for member in members):
        return "a PyTorch archive, which holds a pickle"
    return None


def _reads_as_pickle(path: Path) -> bool:
    with path.open("rb") as stream:
        if stream.read(2) in {b"\x80" + bytes([protocol]) for protocol in range(2, 6)}:
            return True
        stream.seek(0)
        try:
            for _ in pickletools.genops(stream):
                pass
        except Exception:  # bytes that are no pickle fail in many ways, and all mean "no"
            return False
        return True
