"""Finds what is to be packaged: a file, what a function returns, or an object in memory."""

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
from berth.packaging.pickles import refuse_pickle

_WHAT_A_SOURCE_IS = (
    f"a source is a file ({', '.join(FILES)}), a folder of Hugging Face's, or a function that "
    "returns the fitted model and real rows: path/to/train.py:function or module:function"
)


@dataclass(frozen=True)
class Found:
    """What is to be packaged, before any conversion.

    `model` is an object, or the path of a file or folder that one of `FORMATS` reads. `rows` and
    `metrics` are what the function gave along with it, if anything.
    """

    model: object
    rows: object = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def find_source(source: object) -> Found:
    """What `source` names; an object that is neither text nor path stands for itself.

    Raises:
        PackageError: no such file or function, a pickle, a file of another kind, or a function
            that fails or returns something else.
    """
    if isinstance(source, Path):
        source = str(source)
    if not isinstance(source, str):
        return Found(source)
    if Path(source).exists():
        return Found(_file(Path(source)))
    module, colon, function = source.rpartition(":")
    if not colon or not function.isidentifier():
        raise PackageError(f"{source}: no such file; {_WHAT_A_SOURCE_IS}")
    return _call(source, module, function)


def _file(path: Path) -> Path:
    if path.is_dir():
        if (path / CONFIG).is_file():
            return path
        raise PackageError(f"{path}: is a folder without {CONFIG}; {_WHAT_A_SOURCE_IS}")
    refuse_pickle(path)
    if path.suffix == ".py":
        raise PackageError(f"{path}: name the function too, as in {path}:build")
    if path.suffix not in FILES:
        raise PackageError(f"{path}: is of no kind that is packaged; {_WHAT_A_SOURCE_IS}")
    return path


def _call(source: str, module: str, function: str) -> Found:
    with _at_home(module):
        build = _function(source, module, function)
        try:
            result = build()
        except (Exception, SystemExit) as error:
            raise PackageError(f"{source}: failed with {type(error).__name__}: {error}") from error
    match result:
        case (model, rows):
            return Found(model, rows)
        case (model, rows, Mapping() as metrics):
            return Found(model, rows, metrics)
    raise PackageError(
        f"{source}: returned {type(result).__name__}; it must return (estimator, rows) or "
        "(estimator, rows, metrics)"
    )


def _function(source: str, module: str, function: str) -> Callable[[], Any]:
    try:
        is_file = module.endswith(".py")
        loaded = _load_file(Path(module)) if is_file else importlib.import_module(module)
    except PackageError:
        raise
    except (Exception, SystemExit) as error:
        raise PackageError(
            f"{source}: importing it failed with {type(error).__name__}: {error}"
        ) from error
    found = getattr(loaded, function, None)
    if not callable(found):
        raise PackageError(f"{source}: {module} has no function {function}")
    build: Callable[[], Any] = found
    return build


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PackageError(f"{path}: no such file; {_WHAT_A_SOURCE_IS}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise PackageError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@contextmanager
def _at_home(module: str) -> Iterator[None]:
    """Run a source's code the way `python file.py` beside it would, early and late imports alike;
    what it prints goes to stderr, because stdout is the command's answer."""
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
