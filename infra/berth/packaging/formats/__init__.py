"""The frameworks whose models Berth packages: one function each.

To add one, write `convert(model, rows) -> Converted` in a file here, importing the framework
inside the function, and enter it in `FORMATS` under the name of the Python package that the
model's class comes from; the files that it reads in `FILES`; and what it needs, where that is more
than requirements-package.txt, in `NEEDS`.
"""

from collections.abc import Callable
from pathlib import Path

from berth.packaging.converted import Converted
from berth.packaging.errors import PackageError
from berth.packaging.formats import (
    hugging_face,
    lightgbm,
    onnx,
    pytorch,
    scikit_learn,
    xgboost,
)
from berth.packaging.rows import Rows

FORMATS: dict[str, Callable[[object, Rows], Converted]] = {
    "onnx": onnx.convert,
    "sklearn": scikit_learn.convert,
    "xgboost": xgboost.convert,
    "lightgbm": lightgbm.convert,
    "torch": pytorch.convert,
    "transformers": hugging_face.convert,
}

# How the name of a file ends -> the key of `FORMATS` that reads it.
FILES = {
    ".onnx": "onnx",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
    ".pt2": "torch",
}

# A key of `FORMATS` -> the requirements file, without its suffix, of what it imports.
NEEDS = {
    "xgboost": "requirements-package-xgboost",
    "lightgbm": "requirements-package-lightgbm",
    "torch": "requirements-package-torch",
    "transformers": "requirements-package-transformers",
}


def framework_of(model: object) -> str:
    """The key of `FORMATS` for `model`: a path, told by its end (one of `FILES`; a folder is
    Hugging Face's), or an object, told by where its class comes from.

    Raises:
        PackageError: none of its classes comes from a known framework.
    """
    if isinstance(model, Path):
        return "transformers" if model.is_dir() else FILES[model.suffix]
    for cls in type(model).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in FORMATS:
            return root
    raise PackageError(
        f"{type(model).__module__}.{type(model).__qualname__}: comes from no framework that "
        f"berth package knows ({', '.join(FORMATS)}); export it to ONNX and package that file"
    )
