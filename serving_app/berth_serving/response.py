"""An inference response, as JSON or with the binary tensor data extension."""

from collections.abc import Sequence
from typing import Any

import orjson

from berth_serving.model import Model
from berth_serving.request import InferenceRequest
from berth_serving.tensors import Array, to_binary, to_json_data

Headers = list[tuple[bytes, bytes]]
_JSON: Headers = [(b"content-type", b"application/json")]


def write_response(
    model: Model, request: InferenceRequest, arrays: Sequence[Array]
) -> tuple[Headers, bytes]:
    """Headers and body for `arrays`, one for each of the request's outputs."""
    message: dict[str, Any] = {"model_name": model.card.name, "model_version": model.card.version}
    if request.id is not None:
        message["id"] = request.id
    if request.parameters:
        message["parameters"] = request.parameters
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for (name, binary), array in zip(request.outputs.items(), arrays, strict=True):
        datatype = model.outputs[name].datatype
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": datatype.name,
            "shape": list(array.shape),
        }
        if binary:
            parts.append(to_binary(array, datatype))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = to_json_data(array)
        tensors.append(tensor)
    message["outputs"] = tensors
    header = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    if not parts:
        return _JSON, header
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"inference-header-content-length", str(len(header)).encode()),
    ]
    return headers, b"".join([header, *parts])
