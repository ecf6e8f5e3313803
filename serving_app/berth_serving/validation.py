"""Checks of an inference request against the model, for every transport."""

from collections.abc import Mapping, Sequence

from berth_protocol.datatypes import DATATYPES
from berth_protocol.errors import RequestError
from berth_serving.model import Model, TensorSpec
from berth_serving.tensors import Array


def get_input(model: Model, name: str) -> TensorSpec:
    """Return an input of the model.

    Raises:
        RequestError: 400, if the model has no such input.
    """
    spec = model.inputs.get(name)
    if spec is None:
        raise RequestError(
            400, f"Unknown input {name!r}. The model has: {', '.join(model.inputs)}."
        )
    return spec


def get_output(model: Model, name: str) -> TensorSpec:
    """Return an output of the model.

    Raises:
        RequestError: 400, if the model has no such output.
    """
    spec = model.outputs.get(name)
    if spec is None:
        raise RequestError(
            400, f"Unknown output {name!r}. The model has: {', '.join(model.outputs)}."
        )
    return spec


def check_tensor(spec: TensorSpec, datatype: str, shape: Sequence[int]) -> None:
    """Check that datatype and shape fit an input of the model.

    Raises:
        RequestError: 400, if one of them does not fit.
    """
    if datatype != spec.datatype.name:
        unknown = "" if datatype in DATATYPES else ", which the protocol does not define"
        raise RequestError(
            400,
            f"Input {spec.name!r} has datatype {datatype!r}{unknown}; the model expects"
            f" {spec.datatype.name}.",
        )
    if not spec.accepts(shape):
        raise RequestError(
            400,
            f"Input {spec.name!r} has shape {list(shape)}; the model expects"
            f" {spec.metadata().shape}, where -1 is any size.",
        )


def check_sizes(feeds: Mapping[str, Array], model: Model, max_batch: int) -> None:
    """Check the number of rows of a model that has rows.

    Raises:
        RequestError: 400, if the limit is exceeded.
    """
    rows = max((len(feeds[name]) for name in model.row_inputs), default=0)
    if rows > max_batch:
        raise RequestError(
            400,
            f"The request has {rows} rows; the maximum is {max_batch}."
            " Split it into several requests.",
        )
