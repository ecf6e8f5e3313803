"""The engine that was made earlier, kept for this user: `~/.cache/berth/pulumi-VERSION/bin`."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.engine.environment import PROGRAMS, Engine
from berth.engine.on_path import UnavailableError, checked
from pulumi_berth.files import acquire_lock

# The same as the pulumi package in requirements.txt and the module in tools/engine/cli/go.mod.
VERSION = "3.259.0"

# What a Python program needs of a release: the engine, its Python host with the script that the
# host starts programs through, and the script that runs dynamic providers.
NEEDED = (*PROGRAMS, "pulumi-language-python-exec", "pulumi-resource-pulumi-python")

_NAME = f"pulumi-{VERSION}"


def folder() -> Path:
    """Where made engines are kept. Everything in it can be deleted: it is made again."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "berth"


def find() -> Engine | None:
    """The kept engine of this project's version, or None."""
    directory = folder() / _NAME / "bin"
    if all(os.access(directory / name, os.X_OK) for name in NEEDED):
        return Engine(directory, VERSION)
    return None


@contextmanager
def alone(say: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache, so that two commands do not make the same engine at once."""
    folder().mkdir(parents=True, exist_ok=True)

    def on_wait() -> None:
        say("engine: another command is making one; waiting for it")

    with acquire_lock(folder() / "lock", on_wait=on_wait):
        yield


def keep(make: Callable[[Path], None]) -> Engine:
    """The engine that `make` puts into the folder it is given, kept whole or not at all.

    Call it within `alone()`.

    Raises:
        UnavailableError: from `make`, or since what it made does not run.
    """
    for left in folder().glob(f"{_NAME}.draft-*"):  # of a command that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=f"{_NAME}.draft-", dir=folder()) as name:
        draft = Path(name) / _NAME
        made = draft / "bin"
        made.mkdir(parents=True)
        make(made)
        missing = [program for program in NEEDED if not os.access(made / program, os.X_OK)]
        if missing:
            raise UnavailableError(f"what was made lacks {', '.join(missing)}")
        version = checked(made / PROGRAMS[0]).version
        if version != VERSION:
            raise UnavailableError(f"what was made is version {version}, not {VERSION}")
        final = folder() / _NAME
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
    return Engine(final / "bin", VERSION)
