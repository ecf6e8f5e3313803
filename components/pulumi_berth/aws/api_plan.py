"""The API that API Gateway shows: the paths of the Open Inference Protocol, as OpenAPI."""

from typing import Any

from berth_protocol import headers, paths

STAGE = paths.ROOT.removeprefix("/")
"""The stage's name is the first part of every path, so that clients ask the same paths here as of
the gateway behind it."""
KEY_HEADER = headers.API_KEY
# Filled in by the stage: the API stays the same wherever the balancer is.
LINK_VARIABLE, HOST_VARIABLE = "vpcLinkId", "host"

# What clients are told with each status; the same words for the same things as the gateway behind.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
_REFUSALS: dict[str, tuple[int, str]] = {
    "INVALID_API_KEY": (401, "no valid API key: send yours in the header x-api-key"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "unknown path"),
    "RESOURCE_NOT_FOUND": (404, "unknown path"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "unsupported content-type"),
    "REQUEST_TOO_LARGE": (413, "the body is longer than 10485760 bytes"),
    "THROTTLED": (429, "too many requests"),
    "QUOTA_EXCEEDED": (429, "the quota is used up"),
    "WAF_FILTERED": (403, "refused by the firewall"),
    "INTEGRATION_FAILURE": (502, "the gateway does not answer"),
    "INTEGRATION_TIMEOUT": (504, "no answer in time"),
    "BAD_REQUEST_BODY": (400, "the body is no inference request"),
    "BAD_REQUEST_PARAMETERS": (400, "a header or parameter is missing"),
    "DEFAULT_4XX": (400, "refused"),
    "DEFAULT_5XX": (500, "internal error"),
}
_RETRY_AFTER = {"THROTTLED": "1", "QUOTA_EXCEEDED": "3600"}  # seconds

# What every request must have; what is in the tensors is held against the model's card, by the
# berth, which alone knows it.
_INFERENCE_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"type": "string"},
                    "datatype": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                },
            },
        },
        "outputs": {"type": "array"},
    },
}
_ANY = "x-amazon-apigateway-any-method"
# Path below the stage -> its operation.
_PATHS = {
    template.removeprefix(paths.ROOT) or "/": operation
    for template, operation in paths.PATH_TEMPLATES.items()
}


def api_body(title: str, *, timeout_seconds: float) -> dict[str, Any]:
    """The API as an OpenAPI 3 document with API Gateway's extensions.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions.html

    Args:
        timeout_seconds: that the gateway behind gets to answer; API Gateway waits 29 at most.
    """
    return {
        "openapi": "3.0.1",
        "info": {"title": title, "version": "2"},
        "x-amazon-apigateway-api-key-source": "HEADER",
        "x-amazon-apigateway-request-validators": {
            "all": {"validateRequestBody": True, "validateRequestParameters": True}
        },
        "x-amazon-apigateway-request-validator": "all",
        # Tensors pass as the bytes that they are.
        "x-amazon-apigateway-binary-media-types": ["application/octet-stream"],
        "x-amazon-apigateway-gateway-responses": {
            kind: _refusal(kind, status, text) for kind, (status, text) in _REFUSALS.items()
        },
        "paths": {
            path: {
                method: _operation(path, method, not operation.is_health_check, timeout_seconds)
                # The gateway behind API Gateway reports which method is right.
                for method in (operation.methods[0].lower(), _ANY)
            }
            for path, operation in _PATHS.items()
        },
        "components": {
            "schemas": {"InferenceRequest": _INFERENCE_REQUEST},
            "securitySchemes": {"key": {"type": "apiKey", "name": KEY_HEADER, "in": "header"}},
        },
    }


def _operation(path: str, method: str, key: bool, timeout_seconds: float) -> dict[str, Any]:
    names = [name for name in ("model", "version") if f"{{{name}}}" in path]
    whole = f"http://${{stageVariables.{HOST_VARIABLE}}}/{STAGE}{path.rstrip('/')}"
    request = {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}
            },
        }
    }
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        **(request if method == "post" else {}),
        "responses": {"default": {"description": "as the gateway answers"}},
        **({"security": [{"key": []}]} if key else {}),
        "x-amazon-apigateway-integration": {
            "type": "http_proxy",
            "httpMethod": "ANY" if method == _ANY else method.upper(),
            "uri": whole,
            "connectionType": "VPC_LINK",
            "connectionId": f"${{stageVariables.{LINK_VARIABLE}}}",
            "passthroughBehavior": "when_no_match",
            "timeoutInMillis": int(timeout_seconds * 1000),
            "requestParameters": {
                f"integration.request.path.{name}": f"method.request.path.{name}" for name in names
            },
        },
    }


def _refusal(kind: str, status: int, text: str) -> dict[str, Any]:
    after = _RETRY_AFTER.get(kind)
    return {
        "statusCode": str(status),
        "responseTemplates": {"application/json": f'{{"error": "{text}"}}'},
        **(
            {"responseParameters": {"gatewayresponse.header.Retry-After": f"'{after}'"}}
            if after
            else {}
        ),
    }
