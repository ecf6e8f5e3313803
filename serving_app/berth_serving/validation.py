"""Checks of an inference request against the model, for every transport."""

from collections.abc import Mapping, Sequence

from berth_protocol.datatypes import DATATYPES
from berth_protocol.errors import RequestError
from berth_serving.model import Model, TensorSpec
from berth_serving.tensors import Array
from berth_serving.text import describe_shape, list_names, quote


def get_input(model: Model, name: str) -> TensorSpec:
    """Return an input of the model.

    Raises:
        RequestError: 400, if the model has no such input.
    """
    spec = model.inputs.get(name)
    if spec is None:
        raise RequestError(
            400, f"Unknown input {quote(name)}. The model has: {list_names(model.inputs)}."
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
            400, f"Unknown output {quote(name)}. The model has: {list_names(model.outputs)}."
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
            f"Input {spec.name!r} has datatype {quote(datatype)}{unknown}; the model expects"
            f" {spec.datatype.name}.",
        )
    if min(shape, default=0) < 0:
        raise RequestError(
            400,
            f"Input {spec.name!r} has shape {describe_shape(shape)}. No size may be negative: send"
            " the real number of elements.",
        )
    if not spec.accepts(shape):
        raise RequestError(
            400,
            f"Input {spec.name!r} has shape {describe_shape(shape)}; the model expects"
            f" {spec.metadata().shape}, where -1 is any size.",
        )


def check_rows(model: Model, name: str, shape: Sequence[int], max_batch: int) -> None:
    """Check the number of rows of an input, if the model has rows.

    Raises:
        RequestError: 413, if there are more than `max_batch`.
    """
    if name in model.row_inputs and shape[0] > max_batch:
        raise RequestError(
            413,
            f"The request has {shape[0]} rows; the maximum is {max_batch}."
            " Split it into several requests.",
        )


def check_text_lengths(feeds: Mapping[str, Array], model: Model) -> None:
    """Check that no text is longer than the model card allows.

    Raises:
        RequestError: 413, with the element and the limit.
    """
    for name, limit in model.text_limits.items():
        if not limit or name not in feeds:
            continue
        for index, text in enumerate(feeds[name].flat):
            # A character has at most 4 bytes.
            if len(text) * 4 > limit and (size := len(text.encode())) > limit:
                raise RequestError(
                    413,
                    f"Input {name!r}: element {index} has {size} bytes of text; the maximum is"
                    f" {limit}. Send a shorter text.",
                )
