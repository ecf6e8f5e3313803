"""Tells a pickle by its content, whatever the file is called.

Loading a pickle runs whatever code its maker put there, so Berth never loads one, not even to
convert it. Nothing here executes anything: `pickletools` only reads the opcodes.
"""

import pickletools
import zipfile
from pathlib import Path
from typing import IO

from berth.packaging.errors import PackageError

# Opcodes that look code up or call it; a stream without them holds plain data only.
_RUNS_CODE = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"}

# joblib puts arrays between the opcodes, which no reader of opcodes gets past. So many of them
# after a pickle's header are no accident: of random bytes, fewer than one in a million passes.
_OPCODES_THAT_TELL = 5

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
    with path.open("rb") as stream:
        return "a pickle" if _reads_as_pickle(stream) else None


def _kind_of_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as stream:
                    if member.endswith((".pkl", ".pickle")) or _reads_as_pickle(stream):
                        return f"an archive that holds a pickle ({member}), as PyTorch's do"
    except Exception:  # BadZipFile, zlib.error, UnicodeDecodeError …: zipfile lets many through
        return "a zip archive that cannot be read (damaged, encrypted or of an unknown kind)"
    return None


def _reads_as_pickle(stream: IO[bytes]) -> bool:
    """Whether a pickle begins here.

    Short runs of valid opcodes are common in raw numbers (a single "." is a whole pickle), so
    one without the header of protocol 2 and later counts when it runs code, or ends the stream.
    """
    seen: list[str] = []
    try:
        for opcode, _, _ in pickletools.genops(stream):
            seen.append(opcode.name)
        whole = True
    except Exception:  # bytes that are no pickle fail in many ways
        whole = False
    if seen[:1] == ["PROTO"]:
        return whole or len(seen) >= _OPCODES_THAT_TELL
    return whole and (not stream.read(1) or not _RUNS_CODE.isdisjoint(seen))
