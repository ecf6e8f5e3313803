"""The contents of an image, read from its layers."""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

_WHITEOUT = ".wh."


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


def read_contents(layers: Iterable[Path]) -> Contents:
    """Read the combined contents of `layers` (compressed archives, lowest first)."""
    files: dict[str, ImageFile] = {}
    metadata: dict[str, str] = {}
    for layer in layers:
        with tarfile.open(layer) as tar:
            for member in tar:
                path = member.name.removeprefix("./").rstrip("/")
                if PurePosixPath(path).name.startswith(_WHITEOUT):
                    _apply_whiteout(files, PurePosixPath(path))
                    continue
                files[path] = _describe(member)
                if member.isfile() and _is_package_metadata(path):
                    stream = tar.extractfile(member)
                    assert stream is not None
                    metadata[path] = stream.read().decode(errors="replace")
    packages = [
        package
        for path, text in sorted(metadata.items())
        if path in files
        for package in _parse_packages(path, text)
    ]
    return Contents(files, packages)


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
