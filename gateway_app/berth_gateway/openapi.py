"""OpenAPI documents of the gateway: of one model, from its berth, and an overview of several."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from berth_gateway import __version__
from berth_gateway.config import Model
from berth_protocol.headers import API_KEY
from berth_protocol.paths import PATH_TEMPLATES, Operation, model_path

_SECURITY = {"key": {"type": "apiKey", "name": API_KEY, "in": "header"}}
_ERROR = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
_ERROR_SCHEMA = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
_GATEWAY_ERRORS = {
    "401": "The API key is missing, unknown or expired.",
    "404": "The model or version does not exist, or the key may not call it.",
    "429": "The client exceeded a limit. Retry after Retry-After seconds.",
}
_SUMMARIES = {
    Operation.LIVE: "Check that the gateway works",
    Operation.READY: "Check that the gateway accepts requests",
    Operation.SERVER_METADATA: "Get server metadata",
    Operation.MODEL_METADATA: "Get a model's inputs and outputs",
    Operation.MODEL_READY: "Check that a model accepts requests",
    Operation.INFER: "Run a model",
}
_METHODS = ("get", "post")


def adapt_document(
    document: Mapping[str, Any], model: str, exposed: Iterable[str]
) -> dict[str, Any]:
    """Return a berth's document as it applies at the gateway.

    Clients send a key instead of the gateway's token, and get the gateway's errors too. Paths of
    other models and versions are removed.
    """
    versions = {model_path(model, version) for version in exposed}
    paths = {
        path: _adapt_path(item)
        for path, item in document.get("paths", {}).items()
        if _is_visible(path, model_path(model), versions)
    }
    components = dict(document.get("components", {}))
    components["securitySchemes"] = _SECURITY
    components["schemas"] = {"Error": _ERROR_SCHEMA} | dict(components.get("schemas", {}))
    return {
        **document,
        "paths": paths,
        "components": components,
        "security": [{"key": []}],
        "servers": [{"url": "/"}],
    }


def build_overview(models: Mapping[str, Model]) -> dict[str, Any]:
    """Return a document of the paths of several models.

    `x-models` contains the path of each model's document, which describes its tensors.
    """
    versions = sorted({version for model in models.values() for version in model.exposed})
    values = {"model": sorted(models), "version": versions}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Berth",
            "version": __version__,
            "description": "Open Inference Protocol v2. The document of each model is in x-models.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": {
            template: {
                "parameters": [
                    {
                        "name": name,
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "enum": names},
                    }
                    for name, names in values.items()
                    if f"{{{name}}}" in template
                ],
                operation.methods[0].lower(): _describe(operation),
            }
            for template, operation in PATH_TEMPLATES.items()
        },
        "components": {"schemas": {"Error": _ERROR_SCHEMA}, "securitySchemes": _SECURITY},
        "x-models": {name: f"{model_path(name)}/openapi.json" for name in sorted(models)},
    }


def _describe(operation: Operation) -> dict[str, Any]:
    body = {"requestBody": {"required": True, "content": {"application/json": {}}}}
    return {
        "summary": _SUMMARIES[operation],
        **(body if operation is Operation.INFER else {}),
        **({"security": []} if operation.is_health_check else {}),
        "responses": {"200": {"description": "OK"}, **_build_errors(operation.is_health_check)},
    }


def _is_visible(path: str, model: str, versions: Collection[str]) -> bool:
    """Return whether a path is that of the server, of the model, or of an exposed version."""
    if not path.startswith(model_path("")):
        return True
    if path.startswith(f"{model}/versions/"):
        return any(path == version or path.startswith(f"{version}/") for version in versions)
    return path == model or path.startswith(f"{model}/")


def _adapt_path(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        method: {**operation, "responses": {**operation.get("responses", {}), **_build_errors()}}
        if method in _METHODS
        else operation
        for method, operation in item.items()
    }


def _build_errors(is_health_check: bool = False) -> dict[str, Any]:
    if is_health_check:
        return {}
    return {
        status: {"description": description, **_ERROR}
        for status, description in _GATEWAY_ERRORS.items()
    }
