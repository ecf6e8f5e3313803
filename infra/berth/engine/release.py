"""The official Pulumi release: download, verify against its checksum file, unpack."""

import hashlib
import platform
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import httpx

from berth.engine.environment import VERSION, UnavailableError

BASE = f"https://github.com/pulumi/pulumi/releases/download/v{VERSION}"

# The first request shows whether the site is reachable, so that an offline machine does not wait.
_REACH_SECONDS = 5
_STALL_SECONDS = 30
_PROGRESS_SECONDS = 5
_CHUNK_BYTES = 1 << 20
_CHECKSUMS_LIMIT_BYTES = 1 << 20
_ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def archive_name() -> str:
    """Return the name of the release's archive for this machine.

    Raises:
        UnavailableError: If there is none.
    """
    system, machine = platform.system().lower(), platform.machine().lower()
    if system not in ("linux", "darwin") or machine not in _ARCHITECTURES:
        raise UnavailableError(f"Pulumi has no release for {system} on {machine}")
    return f"pulumi-v{VERSION}-{system}-{_ARCHITECTURES[machine]}.tar.gz"


def download(destination: Path, say: Callable[[str], None]) -> None:
    """Download the release's engine and its Python parts into `destination`.

    Raises:
        UnavailableError: If the site is unreachable, or the archive is missing or has another
            checksum.
    """
    name = archive_name()
    say(f"engine: downloading Pulumi {VERSION} from {BASE}")
    try:
        with _open(f"{BASE}/pulumi-{VERSION}-checksums.txt", _REACH_SECONDS) as response:
            expected = _find_checksum(_read_text(response), name)
        with tempfile.TemporaryFile() as archive:
            with _open(f"{BASE}/{name}", _STALL_SECONDS) as response:
                actual = _copy(response, archive, say)
            if actual != expected:
                raise UnavailableError(
                    f"{BASE}/{name} has the SHA-256 {actual}, but the release's checksum file "
                    f"lists {expected}. The archive was not used"
                )
            say("engine: the SHA-256 matches the release's checksum file")
            archive.seek(0)
            _unpack(archive, destination)
    except httpx.HTTPStatusError as error:
        response = error.response
        raise UnavailableError(
            f"{response.url} returned HTTP {response.status_code} {response.reason_phrase}"
        ) from None
    except httpx.TransportError as error:
        raise UnavailableError(
            f"could not reach {BASE}: {type(error).__name__}: {error or 'no reason given'}"
        ) from None
    # ImportError and ValueError: a proxy of a kind that httpx does not support, such as SOCKS.
    except (
        OSError, httpx.HTTPError, tarfile.TarError, EOFError, ImportError, ValueError,
    ) as error:  # fmt: skip
        raise UnavailableError(
            f"{BASE}/{name}: {type(error).__name__}: {error or 'no reason given'}"
        ) from None


@contextmanager
def _open(url: str, timeout_seconds: float) -> Iterator[httpx.Response]:
    # httpx reads the proxy settings from the environment.
    with httpx.stream("GET", url, timeout=timeout_seconds, follow_redirects=True) as response:
        if url.startswith("https:") and response.url.scheme != "https":
            raise UnavailableError(f"{url} redirected to {response.url}, which is not encrypted")
        response.raise_for_status()
        yield response


def _read_text(response: httpx.Response) -> str:
    content = b""
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _CHECKSUMS_LIMIT_BYTES:
            break
    return content[:_CHECKSUMS_LIMIT_BYTES].decode(errors="replace")


def _find_checksum(checksums: str, name: str) -> str:
    for line in checksums.splitlines():
        digest, _, file = line.partition(" ")
        if file.strip() == name:
            return digest.lower()
    raise UnavailableError(f"the release's checksum file does not list {name}")


def _copy(source: httpx.Response, target: IO[bytes], say: Callable[[str], None]) -> str:
    """Copy the body and return its SHA-256."""
    digest = hashlib.sha256()
    started = reported = time.monotonic()
    done = 0
    size = int(source.headers.get("Content-Length") or 0)
    total = f" of {size / 1e6:.0f}" if size else ""
    for chunk in source.iter_raw(_CHUNK_BYTES):
        target.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        now = time.monotonic()
        if now - reported >= _PROGRESS_SECONDS:
            reported = now
            say(f"engine:   {done / 1e6:.0f}{total} MB ({now - started:.0f} s)")
    return digest.hexdigest()


def _unpack(archive: IO[bytes], destination: Path) -> None:
    """Unpack plain files under their last name only, so that none is written elsewhere."""
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
