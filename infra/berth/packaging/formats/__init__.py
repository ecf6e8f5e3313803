"""The frameworks whose models Berth packages. Each module converts the models of one framework.

To add a framework:

1. Write `convert(model, rows) -> Conversion` in a new module here. Import the framework inside the
   function.
2. Add it to `FORMATS` with the name of the Python package that defines the model's class.
3. Add the file suffixes that it reads to `FILES`.
4. Add the extra of the distribution that installs the framework to `EXTRAS` and pyproject.toml.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError
from berth.packaging.formats import (
    hugging_face,
    lightgbm,
    onnx,
    pytorch,
    scikit_learn,
    xgboost,
)

FORMATS: dict[str, Callable[[object, Any], Conversion]] = {
    "onnx": onnx.convert,
    "sklearn": scikit_learn.convert,
    "xgboost": xgboost.convert,
    "lightgbm": lightgbm.convert,
    "torch": pytorch.convert,
    "transformers": hugging_face.convert,
}
"""The conversion function of each framework. Those in `TABLE_FORMATS` also accept a `Table`."""

TABLE_FORMATS = ("sklearn", "xgboost", "lightgbm")
"""Frameworks whose models accept a DataFrame. For others, it is one array per column."""

FILES = {
    ".onnx": "onnx",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
    ".pt2": "torch",
}
"""The key in `FORMATS` for each file suffix."""

EXTRAS = {
    "onnx": "package",
    "sklearn": "package",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "torch": "torch",
    "transformers": "transformers",
}
"""The extra of the distribution that installs what each key in `FORMATS` imports."""


def detect_framework(model: object) -> str:
    """Return the key in `FORMATS` for a model.

    Args:
        model: A path, which is recognized by its suffix (see `FILES`; a directory is from Hugging
            Face), or an object, which is recognized by the package that defines its class.

    Raises:
        PackageError: If none of its classes comes from a known framework.
    """
    if isinstance(model, Path):
        return "transformers" if model.is_dir() else FILES[model.suffix]
    for cls in type(model).__mro__:
        package = cls.__module__.partition(".")[0]
        if package in FORMATS:
            return package
    raise PackageError(
        f"{type(model).__module__}.{type(model).__qualname__}: unknown framework; known "
        f"frameworks: {', '.join(FORMATS)}. Export the model to ONNX and package that file."
    )
