"""The engine that the user installed: `pulumi` on the PATH."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from berth.engine.environment import PROGRAMS, Engine

MAJOR = 3
MINIMUM_MINOR = 100

_VERSION = re.compile(r"v?(?P<text>(?P<major>\d+)\.(?P<minor>\d+)\.\d+\S*)")
_ANSWER_SECONDS = 30


class UnavailableError(RuntimeError):
    """One way to an engine that does not lead there; the message says why."""


def find() -> Engine | None:
    """The engine on the PATH, or None where there is nothing of one.

    Raises:
        UnavailableError: there is a part of one, or one that this project does not work with.
    """
    found = {name: shutil.which(name) for name in PROGRAMS}
    missing = [name for name, path in found.items() if path is None]
    if len(missing) == len(PROGRAMS):
        return None
    if missing:
        there = next(path for path in found.values() if path)
        raise UnavailableError(f"{there} is there, but {missing[0]} is not on the PATH")
    return checked(Path(str(found[PROGRAMS[0]])))


def checked(pulumi: Path) -> Engine:
    """The engine whose command line is `pulumi`, when it runs and its version fits.

    Raises:
        UnavailableError: it does not run, or has a version that this project does not work with.
    """
    try:
        answer = subprocess.run(
            [pulumi, "version"],
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{pulumi} does not run: {error}") from None
    version = _VERSION.match(answer.stdout.strip())
    if answer.returncode or version is None:
        said = (answer.stderr or answer.stdout).strip() or "nothing"
        raise UnavailableError(
            f"`{pulumi} version` exited {answer.returncode} and said {said[-200:]!r}"
        )
    if int(version["major"]) != MAJOR or int(version["minor"]) < MINIMUM_MINOR:
        raise UnavailableError(
            f"{pulumi} is version {version['text']}; "
            f"{MAJOR}.{MINIMUM_MINOR} or newer, below {MAJOR + 1}, is needed"
        )
    return Engine(pulumi.parent, version["text"])
