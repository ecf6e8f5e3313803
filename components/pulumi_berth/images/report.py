"""Report: what of an image matters to whoever must answer for it, and what is wrong with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pulumi_berth.images.contents import Contents

_SET_ID = 0o6000
_SHELLS = {"sh", "ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "rbash", "tcsh", "zsh"}
_MANAGERS = {"apk", "apt", "apt-get", "dnf", "dpkg", "microdnf", "pip", "pip3", "rpm", "yum"}
_COMPILERS = {"as", "c++", "cc", "clang", "cpp", "g++", "gcc", "ld", "make", "rustc"}
_PROGRAM_FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
_INSTALLERS = ("/pip/__main__.py", "/ensurepip/__init__.py")


@dataclass(frozen=True, kw_only=True)
class Report:
    """An image in figures.

    Attributes:
        user: as the image's configuration has it.
        compressed, unpacked: bytes of all layers, and of all files.
        packages: how many of each kind.
        set_id, shells, managers, compilers: paths of files that a hardened image has not.
        certificates, time_zones: whether they are there.
    """

    user: str
    compressed: int
    unpacked: int
    packages: dict[str, int]
    set_id: list[str]
    shells: list[str]
    managers: list[str]
    compilers: list[str]
    certificates: bool
    time_zones: bool


def report_of(contents: Contents, config: Mapping[str, Any], compressed: int) -> Report:
    """The report of an image with this configuration."""
    files = contents.files
    kinds = [package.kind for package in contents.packages]
    installers = [path for path in files if path.endswith(_INSTALLERS)]
    return Report(
        user=str((config.get("config") or {}).get("User") or ""),
        compressed=compressed,
        unpacked=sum(entry.size for entry in files.values()),
        packages={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        set_id=sorted(
            path for path, entry in files.items() if entry.mode & _SET_ID and entry.kind == "file"
        ),
        shells=_programs(contents, _SHELLS),
        managers=sorted(_programs(contents, _MANAGERS) + installers),
        compilers=_programs(contents, _COMPILERS),
        certificates="etc/ssl/certs/ca-certificates.crt" in files,
        time_zones="usr/share/zoneinfo/UTC" in files or "usr/share/zoneinfo/Etc/UTC" in files,
    )


def shortcomings(report: Report) -> Iterator[str]:
    """What keeps an image from being deployed, a line each."""
    user = report.user.partition(":")[0]
    if user in ("", "0", "root"):
        yield f"runs as user {user or 'root'}; it must run as one that is not root"
    for what, paths in (
        ("files with set-uid or set-gid", report.set_id),
        ("shells", report.shells),
        ("package managers", report.managers),
        ("compilers", report.compilers),
    ):
        if paths:
            yield f"has {what}: {', '.join(f'/{path}' for path in paths[:10])}"
    if not report.certificates:
        yield "has no CA certificates at /etc/ssl/certs/ca-certificates.crt"
    if not report.time_zones:
        yield "has no time zones at /usr/share/zoneinfo"


def _programs(contents: Contents, names: set[str]) -> list[str]:
    return sorted(
        path
        for path, entry in contents.files.items()
        if (place := PurePosixPath(path)).name in names
        and str(place.parent) in _PROGRAM_FOLDERS
        and entry.kind != "folder"
    )
