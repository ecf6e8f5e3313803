"""The locked Debian packages of the base image, and their download."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pulumi_berth.files import cache_directory, replace_atomically

MIRROR = "http://deb.debian.org"
"""A mirror with the current version of each package. HTTP is safe because the lock pins every
SHA-256."""
SNAPSHOT = "https://snapshot.debian.org/archive"
"""An archive with every version of each package."""

_TIMEOUT_SECONDS = 60.0


class DownloadError(RuntimeError):
    """A package could not be downloaded with the locked content."""


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One binary package.

    Attributes:
        archive: Part of the mirror, `debian` or `debian-security`.
        path: Path in the archive: `pool/main/...deb`.
        size: Size in bytes.
        sha256: SHA-256 in hex.
    """

    name: str
    version: str
    archive: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DebianLock:
    """The packages of the base image.

    Attributes:
        suite: Debian release, such as `bookworm`.
        snapshot: Time at which all packages were current, as in the URLs of snapshot.debian.org.
        packages: Architecture -> packages.
    """

    suite: str
    snapshot: str
    packages: dict[str, list[LockedPackage]]


def read_lock(path: Path) -> DebianLock:
    """Read the lock file that tools/lock_images.py writes."""
    content = json.loads(path.read_text())
    return DebianLock(
        suite=content["suite"],
        snapshot=content["snapshot"],
        packages={
            architecture: [LockedPackage(**entry) for entry in entries]
            for architecture, entries in content["packages"].items()
        },
    )


def fetch_package(lock: DebianLock, package: LockedPackage, mirrors: Sequence[str]) -> bytes:
    """Return the package file from the cache or from the first mirror that has it.

    Raises:
        DownloadError: If no mirror has the locked package.
    """
    cached = cache_directory("images", "debian") / package.sha256
    if cached.exists():
        return cached.read_bytes()
    import httpx

    failures: list[str] = []
    for url in _urls(lock, package, mirrors):
        try:
            response = httpx.get(url, timeout=_TIMEOUT_SECONDS, follow_redirects=True)
            response.raise_for_status()
        # ImportError and ValueError: a proxy of a kind that httpx does not support, such as SOCKS.
        except (httpx.HTTPError, ImportError, ValueError) as error:
            failures.append(f"{url}: {str(error).splitlines()[0] if str(error) else error!r}")
            continue
        if hashlib.sha256(response.content).hexdigest() == package.sha256:
            replace_atomically(cached, response.content, mode=0o644)
            return response.content
        failures.append(f"{url}: the SHA-256 differs from the lock file")
    raise DownloadError(
        f"Could not download {package.name} {package.version} from any mirror: "
        f"{'; '.join(failures)}. Add a mirror that has this version to images.debian_mirrors."
    )


def _urls(lock: DebianLock, package: LockedPackage, mirrors: Sequence[str]) -> list[str]:
    if mirrors:
        return [f"{mirror.rstrip('/')}/{package.archive}/{package.path}" for mirror in mirrors]
    return [
        f"{MIRROR}/{package.archive}/{package.path}",
        f"{SNAPSHOT}/{package.archive}/{lock.snapshot}/{package.path}",
    ]
