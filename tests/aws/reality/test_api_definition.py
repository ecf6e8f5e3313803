"""The public API's definition gives clients the bodies that the gateway sent.

`_receive` follows AWS's table of conversions:
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-payload-encodings-workflow.html
"""

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import pytest

from pulumi_berth.aws.api_plan import build_api_definition

_DEFINITION = build_api_definition("berth-test", timeout_seconds=29)
_BINARY, _TEXT = b"\x00\xff", b'{"outputs": []}'
_TENSOR = "application/octet-stream"


def _is_binary(media_type: str) -> bool:
    patterns = _DEFINITION["x-amazon-apigateway-binary-media-types"]
    return any(fnmatch(media_type, pattern) for pattern in patterns)


def _receive(accept: str | None, body: bytes) -> str:
    """Return how a response leaves API Gateway. Only the first media type in `Accept` counts."""
    first = (accept or "application/json").partition(",")[0].partition(";")[0].strip()
    if _is_binary(first):
        return "unchanged"
    return "unchanged" if body.isascii() else "as Base64"


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", f"application/json, {_TENSOR}", _TENSOR]
)
@pytest.mark.parametrize("body", [_BINARY, _TEXT])
def test_responses_leave_unchanged_whatever_the_client_accepts(
    accept: str | None, body: bytes
) -> None:
    assert _receive(accept, body) == "unchanged"


def _integrations() -> Iterator[dict[str, Any]]:
    for methods in _DEFINITION["paths"].values():
        for operation in methods.values():
            yield operation["x-amazon-apigateway-integration"]


def test_nothing_reads_a_binary_body_as_text() -> None:
    """With `*/*`, a mapping template or a mock integration fails with status 500.

    https://github.com/squidfunk/terraform-aws-api-gateway-enable-cors/issues/10
    """
    for integration in _integrations():
        assert integration["type"] == "http_proxy"
        assert "requestTemplates" not in integration
        assert "responses" not in integration
    for validator in _DEFINITION["x-amazon-apigateway-request-validators"].values():
        assert not validator["validateRequestBody"]


def test_responses_of_api_gateway_are_text_without_variables() -> None:
    responses = _DEFINITION["x-amazon-apigateway-gateway-responses"]
    for kind in ("THROTTLED", "QUOTA_EXCEEDED", "INVALID_API_KEY"):
        (template,) = responses[kind]["responseTemplates"].values()
        assert "$" not in template


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("type"), str) and "name" not in node:
            yield node
        for value in node.values():
            yield from _schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from _schemas(value)


def test_every_array_in_a_schema_has_items() -> None:
    """OpenAPI requires them, and API Gateway refuses a model without them.

    https://spec.openapis.org/oas/v3.0.1.html#schema-object
    """
    schemas = list(_schemas(_DEFINITION))
    assert schemas
    assert [
        schema for schema in schemas if schema["type"] == "array" and "items" not in schema
    ] == []
