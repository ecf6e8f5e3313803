"""Pre- and post-processing around an ONNX model: the library for a version's own Python file.

The file is part of the model version and runs in the serving process:

    import numpy as np
    from berth_serving.processing import Arrays, InvalidInputError, Tensor

    INPUTS = [Tensor("celsius", "FP64", [-1, 3])]
    OUTPUTS = [Tensor("state", "BYTES", [-1])]

    def preprocess(inputs: Arrays) -> Arrays:
        celsius = inputs["celsius"]
        if np.any(celsius < -273.15):
            raise InvalidInputError("celsius: a value is below -273.15.")
        return {"input": (celsius / 100).astype(np.float32)}

    def postprocess(outputs: Arrays) -> Arrays:
        return {"state": np.where(outputs["score"][:, 0] > 0.5, "hot", "cold")}

`INPUTS` and `OUTPUTS` declare the tensors that clients send and receive. The model card lists them,
so a berth validates requests against them before `preprocess` runs. Several threads call the
functions at the same time. The arrays that they receive cannot be changed.
"""

import hashlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from berth_protocol.errors import RequestError
from berth_protocol.model_card import Tensor as Tensor
from berth_serving.datatypes import DATATYPES
from berth_serving.text import describe_shape, list_names

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]
"""Arrays by the name of their tensor. A BYTES tensor is an array of `str` objects."""
Function = Callable[[Arrays], Arrays]

# The module's name in tracebacks, and where dataclasses look it up.
_MODULE = "serve"
_MAX_MESSAGE_CHARACTERS = 1000


class InvalidInputError(Exception):
    """Raised by the file to refuse a request with status 400. Clients receive its message."""


class ProcessingError(RuntimeError):
    """The file failed, or returned tensors that do not fit. Clients receive status 500."""

    @property
    def trace(self) -> str:
        """Return the lines of the file that failed, without the exception's message.

        A message can contain values of a request, which are never logged.
        """
        cause = self.__cause__
        if cause is None:
            return ""
        # The first frame is the call in this module.
        frames = traceback.extract_tb(cause.__traceback__)[1:]
        return "".join([*traceback.format_list(frames), type(cause).__name__])


@dataclass(frozen=True)
class Processing:
    """The functions of a version's Python file.

    Attributes:
        inputs: Tensors that clients send. None if they are those of the model.
        outputs: Tensors that clients receive. None if they are those of the model.
        preprocess: Turns `inputs` into those of the model. None if `inputs` is None.
        postprocess: Turns the outputs of the model into `outputs`. None if `outputs` is None.
    """

    inputs: Sequence[Tensor] | None
    outputs: Sequence[Tensor] | None
    preprocess: Function | None
    postprocess: Function | None

    def prepare(self, inputs: Mapping[str, Array], model_inputs: Sequence[Tensor]) -> Arrays:
        """Return the model's inputs for those of a client.

        Raises:
            RequestError: 400, if the file refuses the inputs.
            ProcessingError: If `preprocess` fails, or returns other tensors than `model_inputs`.
            MemoryError: If memory runs out.
        """
        if self.preprocess is None:
            return dict(inputs)
        return _check("preprocess", self.call_preprocess(inputs), model_inputs)

    def call_preprocess(self, inputs: Mapping[str, Array]) -> object:
        """Return what `preprocess` returns, without a check.

        Raises:
            RequestError: 400, if the file refuses the inputs.
            ProcessingError: If `preprocess` fails.
            MemoryError: If memory runs out.
        """
        assert self.preprocess is not None
        return _call("preprocess", self.preprocess, inputs)

    def finish(self, outputs: Mapping[str, Array], client_outputs: Sequence[Tensor]) -> Arrays:
        """Return the outputs for a client for those of the model.

        Raises:
            RequestError: 400, if the file refuses the request.
            ProcessingError: If `postprocess` fails, or returns other tensors than `client_outputs`.
            MemoryError: If memory runs out.
        """
        if self.postprocess is None:
            return dict(outputs)
        return _check(
            "postprocess", _call("postprocess", self.postprocess, outputs), client_outputs
        )


def load_processing(path: Path, sha256: str | None = None) -> Processing:
    """Run a version's Python file and return its functions and declarations.

    The file is compiled from the bytes that were verified, and no compiled copy is written: a
    version contains only the files that its card lists.

    Args:
        sha256: Expected digest, `sha256:<hex>`. None accepts any content.

    Raises:
        ProcessingError: If the file cannot be read, has another digest, fails, or declares tensors
            or functions that cannot be used.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ProcessingError(f"{path}: cannot read the file ({error.strerror}).") from error
    actual = f"sha256:{hashlib.sha256(source).hexdigest()}"
    if sha256 not in (None, actual):
        raise ProcessingError(f"{path}: is {actual}, expected {sha256}.")
    module = ModuleType(_MODULE)
    module.__file__ = str(path)
    sys.modules[_MODULE] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102
    except (Exception, SystemExit) as error:
        raise ProcessingError(
            f"{path}: the file failed with {type(error).__name__}: {error}"
        ) from error
    processing = Processing(
        inputs=_read_tensors(path, module, "INPUTS"),
        outputs=_read_tensors(path, module, "OUTPUTS"),
        preprocess=_read_function(path, module, "preprocess"),
        postprocess=_read_function(path, module, "postprocess"),
    )
    if processing.preprocess is None and processing.postprocess is None:
        raise ProcessingError(f"{path}: defines neither preprocess nor postprocess. Define one.")
    for declared, function, pair in (
        (processing.inputs, processing.preprocess, ("INPUTS", "preprocess")),
        (processing.outputs, processing.postprocess, ("OUTPUTS", "postprocess")),
    ):
        if (declared is None) != (function is None):
            present, missing = pair if function is None else pair[::-1]
            raise ProcessingError(
                f"{path}: defines {present} without {missing}. Define both, or neither."
            )
    return processing


def _read_function(path: Path, module: ModuleType, name: str) -> Function | None:
    function = getattr(module, name, None)
    if function is not None and not callable(function):
        raise ProcessingError(f"{path}: {name} is {type(function).__name__}, not a function.")
    return function


def _read_tensors(path: Path, module: ModuleType, name: str) -> list[Tensor] | None:
    declared = getattr(module, name, None)
    if declared is None:
        return None
    if (
        not isinstance(declared, list | tuple)
        or not declared
        or not all(isinstance(tensor, Tensor) for tensor in declared)
    ):
        raise ProcessingError(
            f"{path}: {name} must be a list with one Tensor or more, such as"
            f' {name} = [Tensor("x", "FP32", [-1, 4])].'
        )
    names = [tensor.name for tensor in declared]
    if len(set(names)) != len(names):
        raise ProcessingError(f"{path}: {name} has the same name twice: {list_names(names)}.")
    for tensor in declared:
        if tensor.datatype not in DATATYPES:
            raise ProcessingError(
                f"{path}: {name}: tensor {tensor.name!r} has the unknown datatype"
                f" {tensor.datatype!r}. Choose from: {', '.join(DATATYPES)}."
            )
        if not all(type(dim) is int and dim >= -1 for dim in tensor.shape):
            raise ProcessingError(
                f"{path}: {name}: tensor {tensor.name!r} has shape {tensor.shape}. Use whole"
                " numbers, and -1 for any size."
            )
    return list(declared)


def _call(name: str, function: Function, arrays: Mapping[str, Array]) -> object:
    """Call a function of the file with arrays that it cannot change.

    A request can run twice, so a change of its arrays would change its result. Every exception
    becomes one that a thread and an event loop can pass on, which StopIteration and SystemExit are
    not.
    """
    try:
        # The serving process reports numbers that are out of range as errors, for its own code.
        with np.errstate(all="ignore"):
            return function({key: _freeze(array) for key, array in arrays.items()})
    except InvalidInputError as error:
        message = str(error)[:_MAX_MESSAGE_CHARACTERS] or "The model refuses these inputs."
        raise RequestError(400, message) from error
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        raise ProcessingError(f"{name} failed with {type(error).__name__}") from error


def _freeze(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _check(name: str, result: object, tensors: Sequence[Tensor]) -> Arrays:
    """Return the result of a function in the form that the model and the response need."""
    if not isinstance(result, Mapping):
        raise ProcessingError(
            f"{name} returned {type(result).__name__}. Return a dictionary of arrays by name."
        )
    expected = {tensor.name: tensor for tensor in tensors}
    missing = [key for key, tensor in expected.items() if key not in result and not tensor.optional]
    unknown = [repr(key) for key in result if key not in expected]
    if missing or unknown:
        raise ProcessingError(
            f"{name} returned other tensors than {list_names(expected)}. Missing:"
            f" {list_names(missing) or 'none'}; unknown: {list_names(unknown) or 'none'}."
        )
    return {key: _convert(name, array, expected[key]) for key, array in result.items()}


def _convert(name: str, array: object, tensor: Tensor) -> Array:
    if not isinstance(array, np.ndarray):
        raise ProcessingError(
            f"{name} returned {type(array).__name__} for {tensor.name!r}. Return a numpy array."
        )
    if tensor.datatype == "BYTES" and array.dtype.kind == "U":
        array = array.astype(object)
    datatype = DATATYPES[tensor.datatype].numpy
    fits = len(array.shape) == len(tensor.shape) and all(
        dim in (-1, size) for dim, size in zip(tensor.shape, array.shape, strict=True)
    )
    if array.dtype != datatype or not fits:
        raise ProcessingError(
            f"{name} returned {array.dtype} {describe_shape(array.shape)} for {tensor.name!r};"
            f" {tensor.datatype} {tensor.shape} is expected. Use"
            f" .astype({'object' if datatype.kind == 'O' else f'np.{datatype.name}'}) and .reshape."
        )
    if datatype.kind == "O" and not all(isinstance(text, str) for text in array.flat):
        raise ProcessingError(
            f"{name} returned values for {tensor.name!r} that are not text. Return str objects."
        )
    return array
