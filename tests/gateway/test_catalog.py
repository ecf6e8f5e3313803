"""The catalog: lists, documents and Triton's paths, limited to what the key may see."""

import json
import re
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest, respond_ok
from tests.gateway.gateway_process import (
    GatewayProcess,
    build_client,
    build_config,
    build_model,
)


def respond_with_documents(handler: Handler, request: RecordedRequest) -> None:
    """Respond as a berth that has an OpenAPI document and Triton's configuration."""
    if request.path == "/openapi.json":
        content: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {"title": "m", "version": "1", "description": "a model"},
            "paths": {
                "/v2/health/live": {"get": {"responses": {}}},
                "/v2/models/digits/infer": {"post": {"responses": {"200": {}, "401": {}}}},
                "/v2/models/digits/versions/1/infer": {"post": {"responses": {}}},
                "/v2/models/digits/versions/9/infer": {"post": {"responses": {}}},
                "/v2/models/other/infer": {"post": {"responses": {}}},
            },
            "components": {"schemas": {"InputTensor": {"type": "object"}}},
        }
        handler.send(200, json.dumps(content).encode())
    elif request.path.endswith("/config"):
        handler.send(200, b'{"name":"digits","platform":"onnx"}')
    elif request.path.endswith("/stats"):
        handler.send(404, b'{"error":"This berth keeps no statistics."}')
    else:
        respond_ok(handler, request)


def respond_unready(handler: Handler, request: RecordedRequest) -> None:
    handler.send(503, b'{"ready":false}')


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth) -> GatewayProcess:
    """Start a gateway: digits has a ready and an unready version, secret is hidden from clients."""
    berth_1.respond = respond_with_documents
    berth_2.respond = respond_unready
    urls = {"1": berth_1.url, "2": berth_2.url, "3": berth_1.url}
    gateway.start(
        build_config(
            clients=[
                build_client("all", "key of all"),
                build_client("one", "key of one", models=["digits"]),
                build_client("none", "key of none", models=[]),
                build_client("slow", "key of slow", rate_per_second=0.001, burst=1),
            ],
            models={
                "secret": build_model({"7": berth_1.url}, {"7": 100}),
                "digits": build_model(urls, {"1": 100}, exposed=["1", "2"]),
            },
        )
    )
    return gateway


def get(gateway: GatewayProcess, key: str | None, path: str) -> httpx.Response:
    with gateway.client(key) as http:
        return http.get(path)


@pytest.mark.parametrize(
    ("key", "models"),
    [("key of all", ["digits", "secret"]), ("key of one", ["digits"]), ("key of none", [])],
)
def test_list_has_models_that_key_may_see(
    live_gateway: GatewayProcess, key: str, models: list[str]
) -> None:
    response = get(live_gateway, key, "/v2/models")
    assert (response.status_code, response.json()) == (200, {"models": models})
    assert get(live_gateway, key, "/v2/models/").json() == {"models": models}


def test_repository_index_has_state_of_each_exposed_version(live_gateway: GatewayProcess) -> None:
    with live_gateway.client("key of all") as http:
        index = http.post("/v2/repository/index").json()
        ready = http.post("/v2/repository/index", json={"ready": True}).json()
        invalid = http.post("/v2/repository/index", content=b"[")
        long = http.post("/v2/repository/index", content=b" " * 5000)
        wrong_method = http.get("/v2/repository/index")
    assert [(e["name"], e["version"], e["state"]) for e in index] == [
        ("digits", "1", "READY"),
        ("digits", "2", "UNAVAILABLE"),
        ("secret", "7", "READY"),
    ]
    assert [(e["name"], e["version"]) for e in ready] == [("digits", "1"), ("secret", "7")]
    assert (invalid.status_code, long.status_code, wrong_method.status_code) == (400, 413, 405)
    with live_gateway.client("key of one") as http:
        assert {e["name"] for e in http.post("/v2/repository/index").json()} == {"digits"}


def test_document_of_model_describes_what_key_may_call(live_gateway: GatewayProcess) -> None:
    # The only visible model is the document at the root.
    for path in ("/openapi.json", "/v2/models/digits/openapi.json"):
        response = get(live_gateway, "key of one", path)
        document = response.json()
        assert response.headers["x-berth-version"] == "1"
        assert list(document["paths"]) == [
            "/v2/health/live",
            "/v2/models/digits/infer",
            "/v2/models/digits/versions/1/infer",
        ]
        assert document["components"]["securitySchemes"]["key"]["name"] == "x-api-key"
        responses = document["paths"]["/v2/models/digits/infer"]["post"]["responses"]
        assert "API key" in responses["401"]["description"]
        assert "429" in responses


def test_overview_lists_models_that_key_may_see(live_gateway: GatewayProcess) -> None:
    overview = get(live_gateway, "key of all", "/openapi.json").json()
    assert overview["x-models"] == {
        "digits": "/v2/models/digits/openapi.json",
        "secret": "/v2/models/secret/openapi.json",
    }
    parameters = overview["paths"]["/v2/models/{model}/infer"]["parameters"]
    assert parameters[0]["schema"]["enum"] == ["digits", "secret"]
    none = get(live_gateway, "key of none", "/openapi.json").json()
    assert none["x-models"] == {}


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v2/models/digits/config", 200, "onnx"),
        ("/v2/models/digits/versions/1/config", 200, "onnx"),
        ("/v2/models/digits/stats", 404, "keeps no statistics"),
        ("/v2/models/digits/versions/2/stats", 503, "ready"),
    ],
)
def test_paths_of_triton_are_forwarded(
    live_gateway: GatewayProcess, path: str, status: int, text: str
) -> None:
    response = get(live_gateway, "key of one", path)
    assert response.status_code == status
    assert text in response.text


@pytest.mark.parametrize("suffix", ["/config", "/stats", "/openapi.json"])
@pytest.mark.parametrize("model", ["secret", "unknown", "digits/versions/3", "digits/versions/9"])
def test_catalog_hides_what_key_may_not_see(
    live_gateway: GatewayProcess, berth_1: FakeBerth, model: str, suffix: str
) -> None:
    response = get(live_gateway, "key of one", f"/v2/models/{model}{suffix}")
    assert response.status_code == 404
    assert "secret" not in response.json()["error"].replace("Model 'secret'", "")
    assert berth_1.requests == []


@pytest.mark.parametrize(
    "path", ["/v2/models", "/openapi.json", "/v2/models/digits/config", "/v2/repository/index"]
)
def test_catalog_needs_key_and_counts_against_rate_limit(
    live_gateway: GatewayProcess, path: str
) -> None:
    with live_gateway.client(None) as http:
        method = "POST" if path.endswith("index") else "GET"
        assert http.request(method, path).status_code == 401
        headers = {"x-api-key": "key of slow"}
        assert [http.request(method, path, headers=headers).status_code for _ in range(2)] == [
            200,
            429,
        ]


@pytest.mark.parametrize(
    "path", ["/v2/models%2Fdigits/config", "/v2/models/digits%2Fconfig", "/docs/x", "/v2//models"]
)
def test_other_path_is_not_found(live_gateway: GatewayProcess, path: str) -> None:
    assert get(live_gateway, "key of all", path).status_code == 404


def test_docs_page_is_public_and_contains_no_model_and_nothing_external(
    live_gateway: GatewayProcess,
) -> None:
    response = get(live_gateway, None, "/docs")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "digits" not in response.text
    assert not re.search(r"(?:src|href|url\()\s*=?|https?://|//[a-z]", response.text)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    with live_gateway.client(None) as http:
        assert http.head("/docs").content == b""
        assert http.post("/docs").status_code == 405
