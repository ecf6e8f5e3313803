"""Detects pickles by their content, independently of the file name.

Loading a pickle runs any code that its author put there, so Berth never loads one, not even to
convert it. Nothing in this module runs code: `pickletools` only reads the opcodes.
"""

import pickletools
import zipfile
from pathlib import Path
from typing import IO

from berth.packaging.errors import PackageError

# Opcodes that look up or call code. A stream without them contains only plain data.
_CODE_OPCODES = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"}

# joblib writes arrays between the opcodes, where an opcode reader stops. This many opcodes after a
# pickle's header are not a coincidence: fewer than one in a million random byte strings have them.
_MIN_OPCODES = 5

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


def reject_pickle(path: Path) -> None:
    """Reject a file that is, or may contain, a pickle.

    Raises:
        PackageError: If `path` contains a pickle, a PyTorch archive or compressed data (in which
            joblib stores pickles), or if it cannot be read.
    """
    kind = _detect(path)
    if kind:
        raise PackageError(
            f"{path}: the file is {kind}. Loading a pickle runs any code that its author put "
            "there, so Berth never loads one. Package a file that cannot contain code, such as an "
            ".onnx file, or a function that returns the fitted estimator and real rows "
            "('berth package train.py:build ...')."
        )


def _detect(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise PackageError(
            f"{path}: cannot read the file ({error.strerror}). Check its type and permissions."
        ) from error
    if head.startswith(b"PK\x03\x04"):
        return _detect_in_archive(path)
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            return f"{name}-compressed data, in which joblib stores pickles"
    with path.open("rb") as stream:
        return "a pickle" if _begins_with_pickle(stream) else None


def _detect_in_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as stream:
                    if member.endswith((".pkl", ".pickle")) or _begins_with_pickle(stream):
                        return f"an archive that contains a pickle ({member}), as PyTorch writes it"
    except Exception:  # zipfile raises many types: BadZipFile, zlib.error, UnicodeDecodeError, ...
        return "an unreadable zip archive (damaged, encrypted or of an unknown kind)"
    return None


def _begins_with_pickle(stream: IO[bytes]) -> bool:
    """Return True if a pickle begins at the start of `stream`.

    Short runs of valid opcodes are common in raw numbers (a single "." is a whole pickle). A stream
    without the header of protocol 2 or later counts only if it runs code or if it ends the stream.
    """
    opcodes: list[str] = []
    try:
        for opcode, _, _ in pickletools.genops(stream):
            opcodes.append(opcode.name)
        is_complete = True
    except Exception:  # Bytes that are not a pickle raise many types of errors.
        is_complete = False
    if opcodes[:1] == ["PROTO"]:
        return is_complete or len(opcodes) >= _MIN_OPCODES
    return is_complete and (not stream.read(1) or not _CODE_OPCODES.isdisjoint(opcodes))
