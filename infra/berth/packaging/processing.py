"""The version's own Python file: its checks, and what it does to the rows of a comparison."""

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from berth.packaging import runtime
from berth.packaging.errors import PackageError
from berth.packaging.rows import Array, Rows, read_rows
from berth.packaging.tables import Table
from berth_protocol.errors import RequestError
from berth_protocol.model_card import Tensor
from berth_serving.processing import Processing, ProcessingError, load_processing

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_PYTHON = (3, 11)
"""The version of Python in serving images."""
# What components/pulumi_berth/images/base.py leaves out of the serving image.
_NOT_IN_IMAGE = frozenset(
    {"ensurepip", "idlelib", "lib2to3", "pydoc_data", "tkinter", "turtledemo", "unittest", "venv",
     "distutils", "test"}
)  # fmt: skip
_LIBRARIES = ("berth_serving", "numpy")

Run = Callable[[dict[str, Array]], dict[str, Array]]


def read_processing(path: Path) -> Processing:
    """Load the file, after checking that a serving image has what it imports.

    Raises:
        PackageError: If the file is missing, is not Python, imports another library, or fails.
    """
    try:
        tree = ast.parse(path.read_bytes(), str(path), feature_version=_PYTHON)
    except OSError as error:
        raise PackageError(f"{path}: cannot read the file ({error.strerror})") from error
    except (SyntaxError, ValueError) as error:
        version = ".".join(map(str, _PYTHON))
        raise PackageError(f"{path}: not a file for Python {version}: {error}") from error
    missing = sorted(set(_find_missing_imports(tree)))
    if missing:
        raise PackageError(
            f"{path}: imports {', '.join(missing)}, which a serving image does not contain. Use"
            f" only Python's standard library, {' and '.join(_LIBRARIES)}, or run the model in a"
            " container of your own (versions.<v>.container)."
        )
    try:
        return load_processing(path)
    except ProcessingError as error:
        raise PackageError(str(error)) from error


def _find_missing_imports(tree: ast.AST) -> Iterator[str]:
    available = {*sys.stdlib_module_names, *_LIBRARIES} - _NOT_IN_IMAGE
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        yield from (name for name in names if name.partition(".")[0] not in available)


@dataclass(frozen=True)
class ClientRows:
    """Rows as clients send them, and the rows of the model that result from them.

    Attributes:
        inputs: Rows by the name of an input that the file declares. None if it declares none:
            clients then send the rows of the model.
        expected: Results that clients expect, by the name of an output that the file declares.
        model: Rows of the model.
    """

    inputs: dict[str, Array] | None
    expected: dict[str, Array]
    model: Rows | Table


def prepare_rows(processing: Processing, rows: Rows | Table) -> ClientRows:
    """Run `preprocess` on the rows.

    Raises:
        PackageError: If the rows do not fit the declared inputs, or if `preprocess` fails.
    """
    expected: dict[str, Array] = {}
    if isinstance(rows, dict) and processing.outputs is not None:
        declared = {tensor.name for tensor in processing.inputs or ()}
        names = {tensor.name for tensor in processing.outputs} - declared
        expected = {name: rows[name] for name in rows if name in names}
        rows = {name: rows[name] for name in rows if name not in names}
    if processing.inputs is None:
        return ClientRows(None, expected, _unwrap(rows) if expected else rows)
    inputs, rest = _match_rows(processing.inputs, rows)
    try:
        prepared = read_rows(processing.call_preprocess(inputs))
    except (ProcessingError, RequestError) as error:
        raise _describe(error) from error
    assert isinstance(prepared, dict), "the checks of a mapping return a mapping"
    return ClientRows(inputs, expected, _unwrap(prepared | rest))


def _match_rows(
    tensors: Sequence[Tensor], rows: Rows | Table
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the rows of each declared input in its datatype, and all other rows."""
    if isinstance(rows, Table):
        rows = rows.arrays()
    if not isinstance(rows, dict):
        if len(tensors) != 1:
            names = ", ".join(f"{tensor.name}=..." for tensor in tensors)
            raise PackageError(
                "rows: the file declares several inputs. Pass rows for each by name: "
                f"numpy.savez('rows.npz', {names})"
            )
        rows = {tensors[0].name: rows}
    missing = [t.name for t in tensors if not t.optional and t.name not in rows]
    if missing:
        raise PackageError(
            f"rows: they have the names {', '.join(rows)}. Rows for the declared inputs are "
            f"missing: {', '.join(missing)}"
        )
    declared = {t.name: runtime.cast_to_input(t, rows[t.name]) for t in tensors if t.name in rows}
    return declared, {name: rows[name] for name in rows if name not in declared}


def _unwrap(rows: Rows | Table) -> Rows | Table:
    """Return one array for a model with one input, because not every framework names it."""
    return next(iter(rows.values())) if isinstance(rows, dict) and len(rows) == 1 else rows


def wrap_run(
    processing: Processing,
    session: "InferenceSession",
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> Run:
    """Return a function that runs the file and the model like a berth.

    Args:
        inputs: Inputs of the model.
        outputs: Outputs that clients receive.
    """

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        try:
            prepared = processing.prepare(feeds, inputs)
            return processing.finish(runtime.run_model(session, prepared), outputs)
        except (ProcessingError, RequestError) as error:
            raise _describe(error) from error

    return run


def find_dims(tensors: Sequence[Tensor]) -> dict[str, tuple[int | str | None, ...]]:
    """Return the dimensions of declared tensors by name. A free dimension has no name."""
    return {t.name: tuple(None if dim < 0 else dim for dim in t.shape) for t in tensors}


def _describe(error: ProcessingError | RequestError) -> PackageError:
    """Return the error with the exception that the file raised, which a berth only logs."""
    cause = error.__cause__
    if isinstance(error, RequestError):
        return PackageError(f"the file refused the rows: {error.message}")
    return PackageError(f"{error}" if cause is None else f"{error}: {cause}")
