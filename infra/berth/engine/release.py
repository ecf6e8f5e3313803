"""The official release: downloaded, checked against its checksum file, unpacked."""

import hashlib
import http.client
import platform
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from berth.engine.cache import VERSION
from berth.engine.on_path import UnavailableError

BASE = f"https://github.com/pulumi/pulumi/releases/download/v{VERSION}"

# The first request finds out whether the site can be reached: an offline machine goes on soon.
_REACH_SECONDS = 5
_STALL_SECONDS = 30
_PROGRESS_SECONDS = 5
_CHUNK_BYTES = 1 << 20
_CHECKSUMS_LIMIT_BYTES = 1 << 20
_ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def archive_name() -> str:
    """The name of the release's archive for this machine.

    Raises:
        UnavailableError: there is none.
    """
    system, machine = platform.system().lower(), platform.machine().lower()
    if system not in ("linux", "darwin") or machine not in _ARCHITECTURES:
        raise UnavailableError(f"there is no release for {system} on {machine}")
    return f"pulumi-v{VERSION}-{system}-{_ARCHITECTURES[machine]}.tar.gz"


def download(destination: Path, say: Callable[[str], None]) -> None:
    """Put the release's engine and its Python parts into `destination`.

    Raises:
        UnavailableError: not reachable, not there, or not what its checksum file says.
    """
    name = archive_name()
    say(f"engine: fetching Pulumi's release {VERSION} from {BASE}")
    try:
        with _open(f"{BASE}/pulumi-{VERSION}-checksums.txt", _REACH_SECONDS) as answer:
            checksums = answer.read(_CHECKSUMS_LIMIT_BYTES).decode()
        expected = _checksum(checksums, name)
        with tempfile.TemporaryFile() as archive:
            with _open(f"{BASE}/{name}", _STALL_SECONDS) as answer:
                actual = _copy(answer, archive, say)
            if actual != expected:
                raise UnavailableError(
                    f"{BASE}/{name} has the SHA-256 {actual}, "
                    f"but the release's checksum file says {expected}: not used"
                )
            say("engine: the SHA-256 is what the release's own checksum file says")
            archive.seek(0)
            _unpack(archive, destination)
    except urllib.error.HTTPError as error:
        raise UnavailableError(f"{error.url} answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise UnavailableError(f"{BASE} cannot be reached: {error.reason}") from None
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        raise UnavailableError(
            f"{BASE}/{name}: {type(error).__name__}: {error or 'no reason given'}"
        ) from None


def _open(url: str, timeout_seconds: float) -> http.client.HTTPResponse:
    # Proxy settings of the environment are respected; redirects are followed.
    answer: http.client.HTTPResponse = urllib.request.urlopen(  # noqa: S310 (BASE is ours)
        url, timeout=timeout_seconds
    )
    if url.startswith("https:") and not answer.geturl().startswith("https:"):
        answer.close()
        raise UnavailableError(f"{url} led to {answer.geturl()}, which is not encrypted")
    return answer


def _checksum(checksums: str, name: str) -> str:
    for line in checksums.splitlines():
        digest, _, file = line.partition(" ")
        if file.strip() == name:
            return digest.lower()
    raise UnavailableError(f"the release's checksum file does not name {name}")


def _copy(source: http.client.HTTPResponse, target: IO[bytes], say: Callable[[str], None]) -> str:
    """Copy and return the SHA-256 of what came."""
    digest = hashlib.sha256()
    started = told = time.monotonic()
    done = 0
    size = int(source.headers.get("Content-Length") or 0)
    of = f" of {size / 1e6:.0f}" if size else ""
    while chunk := source.read(_CHUNK_BYTES):
        target.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        now = time.monotonic()
        if now - told >= _PROGRESS_SECONDS:
            told = now
            say(f"engine:   {done / 1e6:.0f}{of} MB ({now - started:.0f} s)")
    return digest.hexdigest()


def _unpack(archive: IO[bytes], destination: Path) -> None:
    """Only plain files, under their own last name: an archive cannot write anywhere else."""
    with tarfile.open(fileobj=archive, mode="r:gz") as members:
        for member in members:
            name = PurePosixPath(member.name).name
            if member.isfile() and (
                name == "pulumi" or (name.startswith("pulumi-") and "python" in name)
            ):
                content = members.extractfile(member)
                assert content is not None
                with content, (destination / name).open("wb") as target:
                    shutil.copyfileobj(content, target)
                (destination / name).chmod(0o755)
