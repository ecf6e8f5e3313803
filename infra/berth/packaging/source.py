"""Resolves the source of a model: a file, the result of a function, or an object in memory."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from berth.packaging.errors import PackageError
from berth.packaging.formats import FILES
from berth.packaging.formats.hugging_face import CONFIG
from berth.packaging.pickles import reject_pickle

_VALID_SOURCES = (
    f"Use a file ({', '.join(FILES)}), a Hugging Face directory, or a function that returns the "
    "fitted model and real rows (path/to/train.py:function or module:function)."
)


@dataclass(frozen=True)
class ModelSource:
    """A model before its conversion.

    Attributes:
        model: An object, or the path of a file or directory that one of `FORMATS` reads.
        rows: Rows that the function returned with the model, or None.
        metrics: Metrics that the function returned with the model.
    """

    model: object
    rows: object = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def resolve_source(source: object) -> ModelSource:
    """Return the model that `source` refers to. An object other than text or a path is the model.

    Raises:
        PackageError: If the file or function does not exist, the file is a pickle or of an unknown
            kind, or the function fails or returns something else.
    """
    if isinstance(source, Path):
        source = str(source)
    if not isinstance(source, str):
        return ModelSource(source)
    if Path(source).exists():
        return ModelSource(_check_file(Path(source)))
    module, colon, function = source.rpartition(":")
    if not colon or not function.isidentifier():
        raise PackageError(f"{source}: file not found. {_VALID_SOURCES}")
    return _call(source, module, function)


def _check_file(path: Path) -> Path:
    if path.is_dir():
        if (path / CONFIG).is_file():
            return path
        raise PackageError(f"{path}: the directory has no {CONFIG}. {_VALID_SOURCES}")
    reject_pickle(path)
    if path.suffix == ".py":
        raise PackageError(f"{path}: the function is missing. Add its name, as in {path}:build.")
    if path.suffix not in FILES:
        raise PackageError(f"{path}: files of this kind cannot be packaged. {_VALID_SOURCES}")
    return path


def _call(source: str, module: str, function: str) -> ModelSource:
    with _script_environment(module):
        build = _load_function(source, module, function)
        try:
            result = build()
        except (Exception, SystemExit) as error:
            raise PackageError(
                f"{source}: the function failed with {type(error).__name__}: {error}"
            ) from error
    match result:
        case (model, rows):
            return ModelSource(model, rows)
        case (model, rows, Mapping() as metrics):
            return ModelSource(model, rows, metrics)
    raise PackageError(
        f"{source}: the function returned {type(result).__name__}. It must return (model, rows) or "
        "(model, rows, metrics)."
    )


def _load_function(source: str, module: str, function: str) -> Callable[[], Any]:
    try:
        is_file = module.endswith(".py")
        loaded = _load_file(Path(module)) if is_file else importlib.import_module(module)
    except PackageError:
        raise
    except (Exception, SystemExit) as error:
        raise PackageError(
            f"{source}: the import failed with {type(error).__name__}: {error}"
        ) from error
    attribute = getattr(loaded, function, None)
    if not callable(attribute):
        raise PackageError(f"{source}: {module} has no function {function}")
    build: Callable[[], Any] = attribute
    return build


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PackageError(f"{path}: file not found. {_VALID_SOURCES}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise PackageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses look up their module there.
    spec.loader.exec_module(module)
    return module


@contextmanager
def _script_environment(module: str) -> Iterator[None]:
    """Run code with the import path that `python file.py` has, and send its output to stderr.

    Imports also work while the function runs. Only the command's result goes to stdout.
    """
    is_file = module.endswith(".py")
    entry = str((Path(module).parent if is_file else Path()).resolve())
    before = sys.modules.get(Path(module).stem)
    sys.path.insert(0, entry)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        with suppress(ValueError):
            sys.path.remove(entry)
        if is_file and before is None:
            sys.modules.pop(Path(module).stem, None)
