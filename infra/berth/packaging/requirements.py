"""The error for a framework whose packages are not installed."""

import importlib.metadata
import shlex
import sys
from collections.abc import Iterator

from packaging.requirements import Requirement

from berth.packaging.errors import PackageError
from berth.packaging.formats import EXTRAS

_DISTRIBUTION = "berth"


def missing_requirement(framework: str, error: ImportError) -> PackageError:
    """Return the error for an import that failed during the conversion of a `framework` model.

    Its message is one line: the missing package, the command that installs it, and the versions.
    """
    return PackageError(missing_package(framework, EXTRAS[framework], error))


def missing_package(subject: str, extra: str, error: ImportError) -> str:
    """Return the message for an import that failed: what is missing, and how to install it.

    Args:
        subject: What needs the packages.
        extra: Extra of this distribution that installs them.
    """
    command = shlex.join([sys.executable, "-m", "pip", "install", f"{_DISTRIBUTION}[{extra}]"])
    pins = ", ".join(find_pins(extra))
    return f"{subject}: a required package is not installed ({error}). Run {command}" + (
        f" to install {pins}." if pins else "."
    )


def find_pins(extra: str) -> list[str]:
    """Return the requirements of an extra of this distribution that apply to this system.

    The result includes the requirements of other extras that it includes.
    """
    try:
        lines = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []  # Berth runs from a source tree that is not installed.
    return list(dict.fromkeys(_resolve([Requirement(line) for line in lines], extra)))


def _resolve(requirements: list[Requirement], extra: str) -> Iterator[str]:
    for requirement in requirements:
        marker = requirement.marker
        if (
            marker is None
            or marker.evaluate({"extra": ""})
            or not marker.evaluate({"extra": extra})
        ):
            continue
        if requirement.name == _DISTRIBUTION:
            for included in sorted(requirement.extras):
                yield from _resolve(requirements, included)
        else:
            yield f"{requirement.name}{requirement.specifier}"
