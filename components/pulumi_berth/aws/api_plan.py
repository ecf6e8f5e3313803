"""The OpenAPI definition of the public API: the paths of the Open Inference Protocol."""

from typing import Any

from berth_protocol import catalog_paths, headers, paths

STAGE = paths.ROOT.removeprefix("/")
"""Name of the stage. It is the first segment of every path, so that clients use the same paths as
with the gateway behind API Gateway."""
KEY_HEADER = headers.API_KEY
# Stage variables, so that the definition does not depend on the load balancer.
LINK_VARIABLE, HOST_VARIABLE = "vpcLinkId", "host"

# Responses of API Gateway itself, in the wording of the gateway behind it.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
_GATEWAY_RESPONSES: dict[str, tuple[int, str]] = {
    "INVALID_API_KEY": (401, "Invalid API key. Send your key in the header x-api-key."),
    "MISSING_AUTHENTICATION_TOKEN": (404, "Path not found."),
    "RESOURCE_NOT_FOUND": (404, "Path not found."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported content type. Send application/json."),
    "REQUEST_TOO_LARGE": (413, "The request body exceeds 10485760 bytes."),
    "THROTTLED": (429, "Rate limit exceeded. Retry after 1 s."),
    "QUOTA_EXCEEDED": (429, "Quota exceeded."),
    "WAF_FILTERED": (403, "The firewall rejected the request."),
    "INTEGRATION_FAILURE": (502, "The gateway does not respond. Retry later."),
    "INTEGRATION_TIMEOUT": (504, "The gateway did not respond in time."),
    "BAD_REQUEST_PARAMETERS": (400, "A required header or parameter is missing."),
    "DEFAULT_4XX": (400, "Request rejected."),
    "DEFAULT_5XX": (500, "Internal error."),
}
_RETRY_AFTER_SECONDS = {"THROTTLED": "1", "QUOTA_EXCEEDED": "3600"}

_ANY = "x-amazon-apigateway-any-method"
# Path below the stage -> its operation. Pages outside the stage, such as /docs, are not in the API.
_PATHS = {
    template.removeprefix(paths.ROOT) or "/": operation
    for template, operation in (paths.PATH_TEMPLATES | catalog_paths.CATALOG_TEMPLATES).items()
    if template.startswith(paths.ROOT)
}


def build_api_definition(title: str, *, timeout_seconds: float) -> dict[str, Any]:
    """Return the API as an OpenAPI 3 document with API Gateway's extensions.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions.html

    Args:
        timeout_seconds: Timeout of the gateway behind API Gateway, at most 29.
    """

    return {
        "openapi": "3.0.1",
        "info": {"title": title, "version": "2"},
        "x-amazon-apigateway-api-key-source": "HEADER",
        # The gateway and the berth check the body. API Gateway would have to read it as text.
        "x-amazon-apigateway-request-validators": {
            "parameters": {"validateRequestBody": False, "validateRequestParameters": True}
        },
        "x-amazon-apigateway-request-validator": "parameters",
        # With every media type, API Gateway passes all bodies on unchanged. With only that of
        # tensors, it would encode a binary response as Base64 unless the request's first `Accept`
        # names that type:
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-payload-encodings-workflow.html
        "x-amazon-apigateway-binary-media-types": ["*/*"],
        "x-amazon-apigateway-gateway-responses": {
            kind: _gateway_response(kind, status, text)
            for kind, (status, text) in _GATEWAY_RESPONSES.items()
        },
        "paths": {
            path: {
                method: _operation(
                    path,
                    method,
                    operation not in (paths.Operation.LIVE, paths.Operation.READY),
                    timeout_seconds,
                )
                # Pass on other methods: the gateway responds with the allowed method.
                for method in (operation.methods[0].lower(), _ANY)
            }
            for path, operation in _PATHS.items()
        },
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "name": KEY_HEADER, "in": "header"}},
        },
    }


def _operation(path: str, method: str, key: bool, timeout_seconds: float) -> dict[str, Any]:
    names = [name for name in ("model", "version") if f"{{{name}}}" in path]
    uri = f"http://${{stageVariables.{HOST_VARIABLE}}}/{STAGE}{path.rstrip('/')}"
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "responses": {"default": {"description": "The response of the gateway"}},
        **({"security": [{"key": []}]} if key else {}),
        "x-amazon-apigateway-integration": {
            "type": "http_proxy",
            "httpMethod": "ANY" if method == _ANY else method.upper(),
            "uri": uri,
            "connectionType": "VPC_LINK",
            "connectionId": f"${{stageVariables.{LINK_VARIABLE}}}",
            "passthroughBehavior": "when_no_match",
            "timeoutInMillis": int(timeout_seconds * 1000),
            "requestParameters": {
                f"integration.request.path.{name}": f"method.request.path.{name}" for name in names
            },
        },
    }


def _gateway_response(kind: str, status: int, text: str) -> dict[str, Any]:
    retry_after = _RETRY_AFTER_SECONDS.get(kind)
    return {
        "statusCode": str(status),
        "responseTemplates": {"application/json": f'{{"error": "{text}"}}'},
        **(
            {"responseParameters": {"gatewayresponse.header.Retry-After": f"'{retry_after}'"}}
            if retry_after
            else {}
        ),
    }
