"""The source of the programs that Berth runs: where it is installed, and its digest."""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

PROGRAM_PACKAGES = {
    "berth_serving": ("berth_protocol", "berth_serving"),
    "berth_gateway": ("berth_protocol", "berth_gateway"),
    "berth_data": ("berth_data",),
}
"""Program (started with `python -m NAME`) -> the import packages that it consists of."""


def package_directory(package: str) -> Path:
    """Return the directory of an installed import package.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"Package {package!r} is not installed. Reinstall berth.")
    return Path(spec.submodule_search_locations[0])


def program_environment(program: str) -> dict[str, str]:
    """Return the environment in which a Python process runs exactly the source that is digested.

    A process that is started later, such as by a supervisor, has another search path.
    """
    roots = [package_directory(package).parent for package in PROGRAM_PACKAGES[program]]
    return {"PYTHONPATH": os.pathsep.join(str(root) for root in dict.fromkeys(roots))}


def program_digest(program: str) -> str:
    """Return `sha256:<hex>` of all Python files of a program, by path and content.

    A change tells a component that the program changed.
    """
    return package_digest(*PROGRAM_PACKAGES[program])


def package_digest(*packages: str) -> str:
    """Return `sha256:<hex>` of all Python files of import packages, by path and content."""
    total = hashlib.sha256()
    for package in packages:
        root = package_directory(package)
        for source in sorted(root.rglob("*.py")):
            total.update(f"{package}/{source.relative_to(root).as_posix()}".encode() + b"\0")
            total.update(hashlib.sha256(source.read_bytes()).digest())
    return f"sha256:{total.hexdigest()}"
