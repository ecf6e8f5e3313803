"""The engine that Berth installed for this user: `~/.cache/berth/pulumi-VERSION/bin`."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.engine.environment import (
    PROGRAMS,
    VERSION,
    Engine,
    UnavailableError,
)
from berth.engine.installed import check_engine
from pulumi_berth.files import acquire_lock, cache_directory

# A Python program needs the engine, its Python host with the script that starts programs, and
# the script that runs dynamic providers.
NEEDED = (*PROGRAMS, "pulumi-language-python-exec", "pulumi-resource-pulumi-python")

_NAME = f"pulumi-{VERSION}"


def find_cached() -> Engine | None:
    """Return the cached engine of this version, or None."""
    directory = cache_directory() / _NAME / "bin"
    if all(os.access(directory / name, os.X_OK) for name in NEEDED):
        return Engine(directory, VERSION)
    return None


@contextmanager
def lock_cache(say: Callable[[str], None]) -> Iterator[None]:
    """Lock the cache, so that two commands do not install the same engine at once."""
    with acquire_lock(
        cache_directory() / "lock",
        on_wait=lambda: say("engine: waiting for another command that is installing it"),
    ):
        yield


def install_engine(install: Callable[[Path], None]) -> Engine:
    """Call `install` with an empty directory and move the result into the cache if it works.

    The caller holds `lock_cache()`.

    Raises:
        UnavailableError: If `install` fails, or the engine does not run.
    """
    cache = cache_directory()
    for leftover in cache.glob(f"{_NAME}.draft-*"):  # A command was killed.
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=f"{_NAME}.draft-", dir=cache) as name:
        draft = Path(name) / _NAME
        programs = draft / "bin"
        programs.mkdir(parents=True)
        install(programs)
        missing = [program for program in NEEDED if not os.access(programs / program, os.X_OK)]
        if missing:
            raise UnavailableError(f"the result lacks {', '.join(missing)}")
        version = check_engine(programs / PROGRAMS[0]).version
        if version != VERSION:
            raise UnavailableError(f"the result has version {version}, not {VERSION}")
        final = cache / _NAME
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
    return Engine(final / "bin", VERSION)
