"""Fetch: what a lock names, from a mirror, by sha256."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Sequence

from pulumi_berth.images.lock import DebianLock, LockedPackage
from pulumi_berth.oci.cache import cache_folder, written_whole

MIRROR = "http://deb.debian.org"
"""Has each package while it is current. Plain HTTP is enough: the lock has every sha256."""
SNAPSHOT = "https://snapshot.debian.org/archive"
"""Has every package that ever was."""
_SECONDS = 60.0


class FetchError(RuntimeError):
    """A package that no mirror gave as the lock has it."""


def fetch_package(lock: DebianLock, package: LockedPackage, mirrors: Sequence[str]) -> bytes:
    """The package file, from the cache or the first mirror that has it.

    Raises:
        FetchError: naming what each mirror said.
    """
    cached = cache_folder("debian") / package.sha256
    if cached.exists():
        return cached.read_bytes()
    said: list[str] = []
    for url in _urls(lock, package, mirrors):
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS) as response:  # noqa: S310
                data: bytes = response.read()
        except (OSError, urllib.error.URLError) as error:
            said.append(f"{url}: {error}")
            continue
        if hashlib.sha256(data).hexdigest() == package.sha256:
            with written_whole(cached) as path:
                path.write_bytes(data)
            return data
        said.append(f"{url}: has another sha256 than the lock")
    raise FetchError(
        f"{package.name} {package.version} cannot be had: {'; '.join(said)}; "
        "name a mirror that has it in images.debian_mirrors, or lock anew with "
        "`python -m tools.lock_images`"
    )


def _urls(lock: DebianLock, package: LockedPackage, mirrors: Sequence[str]) -> list[str]:
    if mirrors:
        return [f"{mirror.rstrip('/')}/{package.archive}/{package.path}" for mirror in mirrors]
    return [
        f"{MIRROR}/{package.archive}/{package.path}",
        f"{SNAPSHOT}/{package.archive}/{lock.snapshot}/{package.path}",
    ]
