"""Libraries of operators that ONNX Runtime does not contain, for models that use them.

A model card names each library with the version that the model was packaged with. A library is
located without importing it, because its package imports much that a berth does not need.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

LIBRARIES = {"ai.onnx.contrib": "onnxruntime-extensions"}
"""Distribution that contains the operators of a domain."""

# Package of each distribution, and the pattern of its library.
_FILES = {"onnxruntime-extensions": ("onnxruntime_extensions", "_extensions_pydll*.so")}


class OperatorsError(RuntimeError):
    """A library that cannot be loaded. The message says which, and what to do."""


def find_versions(domains: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each library that the operators of `domains` need.

    Raises:
        OperatorsError: If a library is not installed.
    """
    names = {LIBRARIES[domain] for domain in domains if domain in LIBRARIES}
    return {name: _find_version(name) for name in sorted(names)}


def find_libraries(operators: Mapping[str, str]) -> list[Path]:
    """Return the file of each library in a model card: distribution -> version.

    Raises:
        OperatorsError: If a library is unknown, not installed, or installed in another version.
            Another version could give other results, such as other token IDs.
    """
    paths = []
    for name, wanted in operators.items():
        if name not in _FILES:
            raise OperatorsError(
                f"operators: {name!r} is unknown. This version of Berth has: {', '.join(_FILES)}."
            )
        if (installed := _find_version(name)) != wanted:
            raise OperatorsError(
                f"operators: the model was packaged with {name} {wanted}, but {installed} is "
                "installed. Package the model again, or use the version of Berth that has it."
            )
        package, pattern = _FILES[name]
        spec = importlib.util.find_spec(package)
        folders = (spec.submodule_search_locations if spec else None) or []
        found = [path for folder in folders for path in Path(folder).glob(pattern)]
        if len(found) != 1:
            raise OperatorsError(f"operators: {name} {installed} has no file {pattern}.")
        paths.append(found[0])
    return paths


def _find_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise OperatorsError(
            f"operators: {name} is not installed. Berth's requirements contain it for Python 3.11 "
            "to 3.13."
        ) from None
