"""The report about an image, and the defects that prevent its deployment."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from berth_policy.rules.secrets import is_secret
from pulumi_berth.images.contents import Contents

_SET_ID = 0o6000
_SHELLS = {"sh", "ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "rbash", "tcsh", "zsh"}
_MANAGERS = {"apk", "apt", "apt-get", "dnf", "dpkg", "microdnf", "pip", "pip3", "rpm", "yum"}
_COMPILERS = {"as", "c++", "cc", "clang", "cpp", "g++", "gcc", "ld", "make", "rustc"}
_PROGRAM_DIRECTORIES = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
_INSTALLERS = ("/pip/__main__.py", "/ensurepip/__init__.py")
_LISTED_PATHS = 10
# A key of any service: a long value without spaces. The official images of languages have GPG_KEY,
# the fingerprint of who signed the language.
_KEY_NAME = re.compile(r"_KEY$", re.IGNORECASE)
_KEY_VALUE = re.compile(r"(?![0-9A-F]{40}$)[A-Za-z0-9+/=_.-]{16,}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """The size and the security-relevant contents of an image.

    Attributes:
        user: User in the image's configuration.
        compressed: Size of all layers, in bytes.
        unpacked: Size of all files, in bytes.
        packages: Kind of package -> number of packages.
        set_id: Paths of set-uid and set-gid files. A hardened image has none.
        shells: Paths of shells. A hardened image has none.
        managers: Paths of package managers. A hardened image has none.
        compilers: Paths of compilers. A hardened image has none.
        secrets: Names of environment variables that seem to contain a secret. A hardened image has
            none: everyone who can pull it reads them.
        has_certificates: True if the image contains CA certificates.
        has_time_zones: True if the image contains time zones.
    """

    user: str
    compressed: int
    unpacked: int
    packages: dict[str, int]
    set_id: list[str]
    shells: list[str]
    managers: list[str]
    compilers: list[str]
    secrets: list[str]
    has_certificates: bool
    has_time_zones: bool


def build_report(contents: Contents, config: Mapping[str, Any], compressed: int) -> Report:
    """Build the report of an image with this configuration."""
    files = contents.files
    kinds = [package.kind for package in contents.packages]
    settings = config.get("config") or {}
    installers = [path for path in files if path.endswith(_INSTALLERS)]
    return Report(
        user=str(settings.get("User") or ""),
        compressed=compressed,
        unpacked=sum(entry.size for entry in files.values()),
        packages={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        set_id=sorted(
            path for path, entry in files.items() if entry.mode & _SET_ID and entry.kind == "file"
        ),
        shells=_find_programs(contents, _SHELLS),
        managers=sorted(_find_programs(contents, _MANAGERS) + installers),
        compilers=_find_programs(contents, _COMPILERS),
        secrets=sorted(_find_secrets(settings.get("Env") or [])),
        has_certificates="etc/ssl/certs/ca-certificates.crt" in files,
        has_time_zones="usr/share/zoneinfo/UTC" in files or "usr/share/zoneinfo/Etc/UTC" in files,
    )


def find_defects(report: Report) -> Iterator[str]:
    """Yield each defect that prevents the deployment of an image."""
    user = report.user.partition(":")[0]
    if user in ("", "0", "root"):
        yield f"it runs as user {user or 'root'} and must not run as root"
    for description, paths in (
        ("set-uid or set-gid files", report.set_id),
        ("shells", report.shells),
        ("package managers", report.managers),
        ("compilers", report.compilers),
    ):
        if paths:
            listed = ", ".join(f"/{path}" for path in paths[:_LISTED_PATHS])
            yield f"it contains {description}: {listed}"
    if report.secrets:
        yield (
            "its configuration has environment variables that look like secrets: "
            f"{', '.join(report.secrets[:_LISTED_PATHS])}"
        )
    if not report.has_certificates:
        yield "it has no CA certificates at /etc/ssl/certs/ca-certificates.crt"
    if not report.has_time_zones:
        yield "it has no time zones in /usr/share/zoneinfo"


def _find_secrets(variables: Iterable[Any]) -> Iterator[str]:
    for variable in variables:
        name, _, value = str(variable).partition("=")
        if is_secret(name, value) or (_KEY_NAME.search(name) and _KEY_VALUE.fullmatch(value)):
            yield name


def _find_programs(contents: Contents, names: set[str]) -> list[str]:
    return sorted(
        path
        for path, entry in contents.files.items()
        if (program := PurePosixPath(path)).name in names
        and str(program.parent) in _PROGRAM_DIRECTORIES
        and entry.kind != "directory"
    )
