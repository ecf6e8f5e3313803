"""The berth's API as an OpenAPI document, with this model's own tensors and example."""

from typing import Any

from berth_serving import __version__
from berth_serving.data_plane import DataPlane
from berth_serving.datatypes import DATATYPES

_ERROR = {"$ref": "#/components/schemas/Error"}


def document(plane: DataPlane) -> dict[str, Any]:
    """OpenAPI 3.1."""
    card = plane.model.card
    model = f"/v2/models/{card.name}"
    version = f"{model}/versions/{card.version}"
    paths: dict[str, Any] = {
        "/v2": _get("Server metadata", "ServerMetadata"),
        "/v2/health/live": _get("Whether the process runs", "Live"),
        "/v2/health/ready": _get("Whether requests are welcome", "Ready", {"503": "draining"}),
    }
    for path in (model, version):
        paths[path] = _get("Model metadata: inputs, outputs, datatypes, shapes", "ModelMetadata")
        paths[f"{path}/ready"] = _get("Whether the model is ready", "Ready", {"503": "draining"})
        paths[f"{path}/infer"] = {"post": _infer(card.example)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{card.name} {card.version}",
            "version": __version__,
            "description": card.description or "One model version, Open Inference Protocol v2.",
        },
        "paths": paths,
        "components": {"schemas": _schemas(plane)},
    }


def _get(summary: str, schema: str, others: dict[str, str] | None = None) -> dict[str, Any]:
    answer = _content({"$ref": f"#/components/schemas/{schema}"})
    responses: dict[str, Any] = {"200": {"description": "OK", **answer}}
    for status, description in (others or {}).items():
        responses[status] = {"description": description, **answer}
    return {"get": {"summary": summary, "responses": responses}}


def _infer(example: dict[str, Any]) -> dict[str, Any]:
    errors = {
        "400": "the request does not fit the model; the message says where",
        "401": "asked without the gateway's token",
        "413": "the body is longer than this berth takes",
        "415": "the body is compressed",
        "503": "too much to do; come again after Retry-After seconds",
        "504": "the run took longer than the deadline",
    }
    request = {"$ref": "#/components/schemas/InferenceRequest"}
    response = {"$ref": "#/components/schemas/InferenceResponse"}
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "summary": "Inference",
        "description": "With the binary tensor data extension, Inference-Header-Content-Length "
        "gives the length of the JSON header, and the tensors' bytes follow it.",
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": request, "example": example},
                **binary,
            },
        },
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": response}, **binary},
            },
            **{
                status: {"description": description, **_content(_ERROR)}
                for status, description in errors.items()
            },
        },
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _schemas(plane: DataPlane) -> dict[str, Any]:
    text = {"type": "string"}
    parameters = {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }
    metadata = _object(
        {"name": text, "datatype": text, "shape": {"type": "array", "items": {"type": "integer"}}}
    )
    tensor = {
        "datatype": {"enum": list(DATATYPES)},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "parameters": parameters,
        "data": {"type": "array", "description": "flat, or nested as the shape"},
    }
    inputs = {"name": {"enum": list(plane.model.inputs)}, **tensor}
    outputs = {"name": {"enum": list(plane.model.outputs)}, **tensor}
    requested = _object({"name": outputs["name"], "parameters": parameters}, ["name"])
    return {
        "Error": _object({"error": text}),
        "Live": _object({"live": {"type": "boolean"}}),
        "Ready": _object({"ready": {"type": "boolean"}, "name": text}, ["ready"]),
        "ServerMetadata": _object({"name": text, "version": text, "extensions": _list(text)}),
        "ModelMetadata": _object(
            {
                "name": text,
                "versions": _list(text),
                "platform": text,
                "inputs": _list(metadata),
                "outputs": _list(metadata),
            }
        ),
        "InferenceRequest": _object(
            {
                "id": text,
                "parameters": parameters,
                "inputs": _list(_object(inputs, ["name", "datatype", "shape"])),
                "outputs": _list(requested),
            },
            ["inputs"],
        ),
        "InferenceResponse": _object(
            {
                "model_name": text,
                "model_version": text,
                "id": text,
                "outputs": _list(_object(outputs, ["name", "datatype", "shape"])),
            },
            ["model_name", "model_version", "outputs"],
        ),
    }


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    named = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": named}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
