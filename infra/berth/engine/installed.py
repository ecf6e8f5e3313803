"""The engine that the user installed: `pulumi` on the PATH."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from berth.engine.environment import PROGRAMS, Engine, UnavailableError
from pulumi_berth.files import cache_directory, replace_atomically

MAJOR = 3
MINIMUM_MINOR = 100

_VERSION = re.compile(r"v?(?P<text>(?P<major>\d+)\.(?P<minor>\d+)\.\d+\S*)")
_TIMEOUT_SECONDS = 30
_VERSIONS_FILE = "engine-versions.json"


def find_installed() -> Engine | None:
    """Return the engine on the PATH, or None if no part of one is on it.

    Raises:
        UnavailableError: If a part is missing, or the version is not supported.
    """
    programs = {name: shutil.which(name) for name in PROGRAMS}
    missing = [name for name, path in programs.items() if path is None]
    if len(missing) == len(PROGRAMS):
        return None
    if missing:
        present = next(path for path in programs.values() if path)
        raise UnavailableError(f"{present} is installed, but {missing[0]} is not on the PATH")
    pulumi = Path(str(programs[PROGRAMS[0]]))
    return Engine(pulumi.parent, _supported(pulumi, _read_cached_version(pulumi)))


def check_engine(pulumi: Path) -> Engine:
    """Run `pulumi version` and return the engine if its version is supported.

    Raises:
        UnavailableError: If it does not run, or its version is not supported.
    """
    return Engine(pulumi.parent, _supported(pulumi, _run_version(pulumi)))


def _supported(pulumi: Path, text: str) -> str:
    version = _VERSION.match(text)
    assert version is not None
    if int(version["major"]) != MAJOR or int(version["minor"]) < MINIMUM_MINOR:
        raise UnavailableError(
            f"{pulumi} has version {version['text']}; Berth requires {MAJOR}.{MINIMUM_MINOR} or "
            f"newer, below {MAJOR + 1}"
        )
    return version["text"]


def _run_version(pulumi: Path) -> str:
    try:
        result = subprocess.run(
            [pulumi, "version"],
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{pulumi} does not run: {error}") from None
    text = result.stdout.strip()
    if result.returncode or _VERSION.match(text) is None:
        output = (result.stderr or result.stdout).strip() or "nothing"
        raise UnavailableError(
            f"'{pulumi} version' exited with status {result.returncode} and printed "
            f"{output[-200:]!r}"
        )
    return text


def _read_cached_version(pulumi: Path) -> str:
    """Return the version from the cache, or run `pulumi version` and cache the result.

    Starting the engine takes 0.2 s, which every command would pay. A program that changed has
    another modification time or size.
    """
    status = pulumi.stat()
    stamp = [status.st_mtime_ns, status.st_size]
    versions: dict[str, object] = {}
    # The cache only saves time, so a cache directory that is not usable is not an error.
    with contextlib.suppress(OSError, ValueError, TypeError):
        versions = dict(json.loads((cache_directory() / _VERSIONS_FILE).read_text()))
    match versions.get(str(pulumi)):
        case {"stamp": known, "version": str(version)} if known == stamp and _VERSION.match(
            version
        ):
            return version
    text = _run_version(pulumi)
    versions[str(pulumi)] = {"stamp": stamp, "version": text}
    with contextlib.suppress(OSError):
        replace_atomically(cache_directory() / _VERSIONS_FILE, json.dumps(versions))
    return text
