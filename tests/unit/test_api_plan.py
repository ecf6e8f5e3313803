"""The OpenAPI definition of API Gateway."""

import json
from typing import Any

import pytest

from pulumi_berth.aws.api_plan import build_api_definition

_DEFINITION = build_api_definition("berth-test", timeout_seconds=29)


def _operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method): operation
        for path, methods in _DEFINITION["paths"].items()
        for method, operation in methods.items()
    }


def test_paths_equal_those_of_the_gateway() -> None:
    assert {key for key in _operations() if "any" not in key[1]} == {
        ("/", "get"),
        ("/health/live", "get"),
        ("/health/ready", "get"),
        ("/models/{model}", "get"),
        ("/models/{model}/ready", "get"),
        ("/models/{model}/infer", "post"),
        ("/models/{model}/versions/{version}", "get"),
        ("/models/{model}/versions/{version}/ready", "get"),
        ("/models/{model}/versions/{version}/infer", "post"),
        ("/models", "get"),
        ("/repository/index", "post"),
        *(
            (f"/models/{{model}}{version}/{name}", "get")
            for version in ("", "/versions/{version}")
            for name in ("config", "stats", "openapi.json")
        ),
    }


def test_every_path_except_health_requires_a_key() -> None:
    for (path, _), operation in _operations().items():
        assert ("security" in operation) == (not path.startswith("/health/"))


def test_requests_are_forwarded_to_the_same_path() -> None:
    for (path, _), operation in _operations().items():
        integration = operation["x-amazon-apigateway-integration"]
        assert integration["uri"] == f"http://${{stageVariables.host}}/v2{path.rstrip('/')}"
        assert integration["connectionType"] == "VPC_LINK"
        assert integration["timeoutInMillis"] == 29_000
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert names == {part[1:-1] for part in path.split("/") if part.startswith("{")}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("INVALID_API_KEY", 401), ("MISSING_AUTHENTICATION_TOKEN", 404), ("REQUEST_TOO_LARGE", 413),
        ("THROTTLED", 429), ("QUOTA_EXCEEDED", 429), ("INTEGRATION_TIMEOUT", 504),
    ],
)  # fmt: skip
def test_error_responses_have_status_and_format_of_the_gateway(kind: str, status: int) -> None:
    response = _DEFINITION["x-amazon-apigateway-gateway-responses"][kind]
    assert response["statusCode"] == str(status)
    assert set(json.loads(response["responseTemplates"]["application/json"])) == {"error"}
    assert ("responseParameters" in response) == (status == 429)
