"""What to install when a framework's package is missing."""

import shlex
import sys
from pathlib import Path

from packaging.requirements import Requirement

from berth.packaging.errors import PackageError
from berth.packaging.formats import NEEDS

_ROOT = Path(__file__).resolve().parents[3]


def missing(framework: str, error: ImportError) -> PackageError:
    """The error to raise when converting a model of `framework` met an import that failed.

    One line: what is missing, the command that installs it, and the versions that it pins.
    """
    file = _ROOT / f"{NEEDS.get(framework, 'requirements-package')}.txt"
    command = shlex.join([sys.executable, "-m", "pip", "install", "-r", str(file)])
    return PackageError(
        f"{framework}: needs a package that is not installed ({error}); run {command} "
        f"({', '.join(_pins(file))})"
    )


def _pins(file: Path) -> list[str]:
    """The pins of a requirements file that hold on this system; those of files included too."""
    lines = [line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines()]
    pins: list[str] = []
    for line in filter(None, lines):
        if line.startswith("-r "):
            pins += _pins(file.parent / line[3:])
            continue
        wanted = Requirement(line)
        if not wanted.marker or wanted.marker.evaluate():
            pins.append(f"{wanted.name}{wanted.specifier}")
    return pins
