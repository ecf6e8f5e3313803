"""The berth's API as an OpenAPI document, with the model's own tensors and example."""

from typing import Any

import msgspec

from berth_protocol import messages
from berth_protocol.datatypes import DATATYPES
from berth_protocol.headers import INFERENCE_HEADER_LENGTH
from berth_protocol.paths import PATH_TEMPLATES, Operation
from berth_serving import __version__
from berth_serving.data_plane import DataPlane

_REFERENCE = "#/components/schemas/{name}"
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_ERRORS = {
    "400": "The request does not fit the model. The message names the field.",
    "401": "The gateway's token is missing or wrong.",
    "408": "The request did not arrive in time.",
    "413": "The body exceeds the berth's limit.",
    "415": "The body has a coding other than gzip and deflate.",
    "503": "The berth is overloaded or stopping. Retry after Retry-After seconds.",
    "504": "The run took longer than the deadline.",
}
_READ_OPERATIONS: dict[Operation, tuple[str, type[msgspec.Struct]]] = {
    Operation.LIVE: ("Check that the process works", messages.ServerLive),
    Operation.READY: ("Check that the berth accepts requests", messages.ServerReady),
    Operation.SERVER_METADATA: ("Get server metadata", messages.ServerMetadata),
    Operation.MODEL_METADATA: ("Get the model's inputs and outputs", messages.ModelMetadata),
    Operation.MODEL_READY: ("Check that the model accepts requests", messages.ModelReady),
}
_MESSAGES: tuple[type[msgspec.Struct], ...] = (
    messages.Error,
    messages.InferenceRequest,
    messages.InferenceResponse,
    *(message for _, message in _READ_OPERATIONS.values()),
)


def build_document(plane: DataPlane) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    card = plane.model.card
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{card.name} {card.version}",
            "version": __version__,
            "description": card.description or "One model version, Open Inference Protocol v2.",
        },
        "paths": {
            template.format(model=card.name, version=card.version): (
                {"post": _describe_inference(card.example)}
                if operation is Operation.INFER
                else {"get": _describe_read(operation)}
            )
            for template, operation in PATH_TEMPLATES.items()
        },
        "components": {"schemas": _build_schemas(plane)},
    }


def _describe_read(operation: Operation) -> dict[str, Any]:
    summary, message = _READ_OPERATIONS[operation]
    content = _json_content(message)
    responses: dict[str, Any] = {"200": {"description": "OK", **content}}
    if operation in (Operation.READY, Operation.MODEL_READY):
        responses["503"] = {"description": "The berth is stopping.", **content}
    return {"summary": summary, "responses": responses}


def _describe_inference(example: dict[str, Any]) -> dict[str, Any]:
    request = _json_content(messages.InferenceRequest)["content"]
    request["application/json"]["example"] = example
    response = _json_content(messages.InferenceResponse)["content"]
    return {
        "summary": "Run the model",
        "description": "With the binary tensor data extension, Inference-Header-Content-Length"
        " is the length of the JSON header, and the bytes of the tensors follow it.",
        "parameters": [
            {
                "name": INFERENCE_HEADER_LENGTH.title(),
                "in": "header",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {"required": True, "content": {**request, **_BINARY}},
        "responses": {
            "200": {"description": "OK", "content": {**response, **_BINARY}},
            **{
                status: {"description": description, **_json_content(messages.Error)}
                for status, description in _ERRORS.items()
            },
        },
    }


def _json_content(message: type[msgspec.Struct]) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name=message.__name__)}
    return {"content": {"application/json": {"schema": schema}}}


def _build_schemas(plane: DataPlane) -> dict[str, Any]:
    """Return the schemas of all messages, restricted to the names of this model's tensors."""
    _, schemas = msgspec.json.schema_components(_MESSAGES, ref_template=_REFERENCE)
    inputs = {"enum": list(plane.model.inputs)}
    outputs = {"enum": list(plane.model.outputs)}
    for name, tensor_names in (("InputTensor", inputs), ("OutputTensor", outputs)):
        schemas[name]["properties"] |= {
            "name": tensor_names,
            "datatype": {"enum": list(DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "data": {"type": "array", "description": "Flat, or nested like the shape."},
        }
    schemas["RequestedOutput"]["properties"]["name"] = outputs
    return schemas
