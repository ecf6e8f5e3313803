"""Lock: the exact Debian packages of the base image, each by sha256."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One binary package.

    Attributes:
        archive: `debian` or `debian-security`, the part of a mirror that has it.
        path: below the archive: `pool/main/...deb`.
        size: bytes.
        sha256: hex.
    """

    name: str
    version: str
    archive: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DebianLock:
    """The base image's packages.

    Attributes:
        suite: the Debian release, such as `bookworm`.
        snapshot: time at which all of them were current, as snapshot.debian.org names it.
        packages: architecture -> packages.
    """

    suite: str
    snapshot: str
    packages: dict[str, list[LockedPackage]]


def read_lock(path: Path) -> DebianLock:
    """The lock in `path`, which tools/lock_images.py writes."""
    content = json.loads(path.read_text())
    return DebianLock(
        suite=content["suite"],
        snapshot=content["snapshot"],
        packages={
            architecture: [LockedPackage(**entry) for entry in entries]
            for architecture, entries in content["packages"].items()
        },
    )
