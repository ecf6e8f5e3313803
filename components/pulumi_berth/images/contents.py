"""Contents: what an image really has inside, read back from its layers."""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

_WHITEOUT = ".wh."
_KEPT_WHOLE = ("dist-info/METADATA",)


@dataclass(frozen=True, kw_only=True)
class InFile:
    """One file, link or folder of an image.

    Attributes:
        mode: permission bits, set-uid and set-gid included.
        size: bytes; 0 for what is no file.
        kind: `file`, `link` or `folder`.
        target: of a link.
    """

    mode: int
    size: int
    kind: str
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class InPackage:
    """A package found inside.

    Attributes:
        kind: `deb` or `pypi`.
        license: as it says itself; empty when it does not.
    """

    kind: str
    name: str
    version: str
    license: str = ""


@dataclass(frozen=True)
class Contents:
    """All files by path without a leading slash, and the packages that they tell of."""

    files: dict[str, InFile]
    packages: list[InPackage]


def read_contents(layers: Iterable[Path]) -> Contents:
    """What lies in `layers` (compressed archives, lowest first) taken together."""
    files: dict[str, InFile] = {}
    told: dict[str, str] = {}
    for layer in layers:
        with tarfile.open(layer) as tar:
            for member in tar:
                path = member.name.removeprefix("./").rstrip("/")
                place = PurePosixPath(path)
                if place.name.startswith(_WHITEOUT):
                    _forget(files, place)
                    continue
                files[path] = _described(member)
                if member.isfile() and _tells_of_packages(path):
                    stream = tar.extractfile(member)
                    assert stream is not None
                    told[path] = stream.read().decode(errors="replace")
    found = [package for path, text in sorted(told.items()) if path in files
             for package in _packages(path, text)]  # fmt: skip
    return Contents(files, found)


def _described(member: tarfile.TarInfo) -> InFile:
    kind = "file" if member.isfile() else "folder" if member.isdir() else "link"
    return InFile(mode=member.mode, size=member.size, kind=kind, target=member.linkname)


def _forget(files: dict[str, InFile], whiteout: PurePosixPath) -> None:
    """A higher layer removed something: https://github.com/opencontainers/image-spec layer.md."""
    name = whiteout.name.removeprefix(_WHITEOUT)
    gone = str(whiteout.parent if name == ".wh..opq" else whiteout.parent / name)
    for path in [path for path in files if path == gone or path.startswith(f"{gone}/")]:
        del files[path]


def _tells_of_packages(path: str) -> bool:
    return (
        (path.startswith("var/lib/dpkg/status.d/") and not path.endswith(".md5sums"))
        or path == "var/lib/dpkg/status"
        or path.endswith(_KEPT_WHOLE)
    )


def _packages(path: str, text: str) -> Iterator[InPackage]:
    if path.endswith("METADATA"):
        fields = HeaderParser().parsestr(text)
        yield InPackage(
            kind="pypi",
            name=fields["Name"],
            version=fields["Version"],
            license=(fields["License-Expression"] or "").strip(),
        )
        return
    for paragraph in text.split("\n\n"):
        fields = HeaderParser().parsestr(paragraph.strip() + "\n")
        if fields["Package"] and fields["Version"]:
            yield InPackage(kind="deb", name=fields["Package"], version=fields["Version"])
