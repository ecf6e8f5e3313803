"""Tests that all platforms without a cloud send the same responses to the same requests."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest

from berth_protocol.model_card import read_card
from tests.cluster.stacks import read_config
from tests.docker.engine import Engine
from tests.docker.hosting import DockerProject
from tests.engine.project import Project, wait_for
from tests.repository import REPOSITORY
from tests.text_models import SENTENCES, UPPER, build_text_request

_INFER = "/v2/models/digits/infer"
_INFER_1 = "/v2/models/digits/versions/1/infer"
_DIGITS_EXAMPLE = read_card(REPOSITORY / "models" / "digits" / "1").example
_CANCER_EXAMPLE = read_card(REPOSITORY / "models" / "breast-cancer" / "1").example
_BINARY = np.zeros((1, 64), np.float32).tobytes()
_BINARY_HEADER = json.dumps(
    {
        "inputs": [
            {"name": "input", "shape": [1, 64], "datatype": "FP32",
             "parameters": {"binary_data_size": len(_BINARY)}}
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()  # fmt: skip
# Headers whose values differ between two identical requests.
_VARYING_HEADERS = {"date", "x-request-id", "ratelimit-remaining", "ratelimit-reset", "server"}


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        client: Client whose API key the request carries. None for no key.
    """

    name: str
    path: str
    method: str = "POST"
    body: bytes | None = None
    client: str | None = "default"
    headers: dict[str, str] = field(default_factory=dict)


def _build_rows(count: int) -> bytes:
    tensor = {"name": "input", "shape": [count, 64], "datatype": "FP32", "data": [0.5] * count * 64}
    return json.dumps({"inputs": [tensor]}).encode()


def _build_texts(name: str) -> bytes:
    return json.dumps(build_text_request(name, ["It's the caf\u00e9", "", "\u4e2d\u6587"])).encode()


_REQUESTS = [
    Request("inference", _INFER_1, body=json.dumps(_DIGITS_EXAMPLE).encode()),
    Request("other version", "/v2/models/digits/versions/2/infer", body=_build_rows(3)),
    Request("other model", "/v2/models/breast-cancer/infer",
            body=json.dumps(_CANCER_EXAMPLE).encode()),
    Request("text", f"/v2/models/{SENTENCES}/infer", body=_build_texts("text")),
    Request("text for operators of a library", f"/v2/models/{UPPER}/infer",
            body=_build_texts("x")),
    Request("binary tensors", _INFER_1, body=_BINARY_HEADER + _BINARY,
            headers={"inference-header-content-length": str(len(_BINARY_HEADER))}),
    Request("no key", _INFER, body=_build_rows(1), client=None),
    Request("wrong key", _INFER, body=_build_rows(1), headers={"x-api-key": "wrong"}, client=None),
    Request("unknown model", "/v2/models/nobody/infer", body=_build_rows(1)),
    Request("unknown version", "/v2/models/digits/versions/9/infer", body=_build_rows(1)),
    Request("unknown path", "/v2/models/digits/infer/more", body=_build_rows(1)),
    Request("root", "/"),
    Request("wrong method", _INFER, method="GET"),
    Request("invalid JSON", _INFER_1, body=b"{"),
    Request("no inputs", _INFER_1, body=b"{}"),
    Request("wrong shape", _INFER_1, body=_build_rows(1).replace(b"[1, 64]", b"[2, 64]")),
    Request("wrong datatype", _INFER_1, body=_build_rows(1).replace(b"FP32", b"INT8")),
    Request("too many rows", _INFER_1, body=_build_rows(1025)),
    Request("compressed body", _INFER_1, body=_build_rows(1),
            headers={"content-encoding": "br"}),
    Request("live", "/v2/health/live", method="GET", client=None),
    Request("ready", "/v2/health/ready", method="GET", client=None),
    Request("health with POST", "/v2/health/ready", client=None),
    Request("server metadata", "/v2", method="GET"),
    Request("server metadata without key", "/v2", method="GET", client=None),
    Request("model metadata", "/v2/models/digits", method="GET"),
    Request("version metadata", "/v2/models/digits/versions/2", method="GET"),
    Request("model ready", "/v2/models/digits/ready", method="GET"),
    Request("version ready", "/v2/models/digits/versions/1/ready", method="GET"),
    Request("unknown version ready", "/v2/models/digits/versions/9/ready", method="GET"),
    Request("metadata with HEAD", "/v2/models/digits", method="HEAD"),
]  # fmt: skip


@dataclass
class Endpoint:
    """A stack's endpoint and the API keys of its clients."""

    url: str
    keys: dict[str, str]

    @classmethod
    def of(cls, project: Project) -> "Endpoint":
        keys = {name: project.key(name) for name in ("default", "slow", "few")}
        return cls(project.json("status")["endpoint"], keys)

    def send(self, request: Request) -> httpx.Response:
        headers = dict(request.headers)
        if request.client is not None:
            headers["x-api-key"] = self.keys[request.client]
        return httpx.request(
            request.method, self.url + request.path, headers=headers, content=request.body,
            timeout=30,
        )  # fmt: skip

    def try_send(self, request: Request) -> httpx.Response | None:
        """Send a request. Return None if the server closes the connection during the upload."""
        try:
            return self.send(request)
        except httpx.WriteError:
            return None


_PLATFORMS = ("kubernetes", "docker")


@pytest.fixture(scope="module")
def local(hosted: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The endpoint of a local stack with the models and clients of the cluster's stack."""
    project = Project.copy_to(tmp_path_factory.mktemp("parity"))
    _copy_models_and_clients(hosted, project)
    project.berth("up", "--yes")
    yield Endpoint.of(project)
    project.stop_processes()


@pytest.fixture(scope="module")
def kubernetes(hosted: Project) -> Endpoint:
    """The endpoint of the cluster's stack."""
    return Endpoint.of(hosted)


@pytest.fixture(scope="module")
def docker(
    hosted: Project, docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """The endpoint of a stack on a Docker engine with the same models and clients."""
    project = DockerProject.create(tmp_path_factory.mktemp("parity-docker"), docker_engine)
    # The tests of the platform can use the engine in the same process.
    project.edit(lambda config: config["berth:docker"].update(port=8090))
    _copy_models_and_clients(hosted, project)
    project.berth("up", "--yes")
    yield Endpoint.of(project)
    project.berth("destroy", "--yes")


def _copy_models_and_clients(hosted: Project, project: Project) -> None:
    shutil.copytree(hosted.root / "models", project.root / "models", dirs_exist_ok=True)
    hosted_config = read_config(hosted)
    config = {key: hosted_config[key] for key in ("berth:models", "berth:gateway")}
    own = read_config(project)
    config |= {key: own[key] for key in ("berth:platform", "berth:docker") if key in own}
    project.config_file.write_text(json.dumps({"config": config}))


@pytest.fixture(params=["local", *_PLATFORMS])
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """The endpoint of each platform."""
    endpoint: Endpoint = request.getfixturevalue(request.param)
    return endpoint


def _get_comparable_parts(response: httpx.Response) -> dict[str, Any]:
    headers = {
        name: value for name, value in response.headers.items() if name not in _VARYING_HEADERS
    }
    return {"status": response.status_code, "body": response.content, "headers": headers}


@pytest.mark.parametrize("platform", _PLATFORMS)
@pytest.mark.parametrize("request_", _REQUESTS, ids=[request.name for request in _REQUESTS])
def test_platforms_send_the_same_response(
    local: Endpoint, platform: str, request_: Request, request: pytest.FixtureRequest
) -> None:
    other: Endpoint = request.getfixturevalue(platform)
    expected, actual = (_get_comparable_parts(each.send(request_)) for each in (local, other))
    assert actual == expected


def test_response_has_the_request_id_of_the_client(endpoint: Endpoint) -> None:
    request = Request("id", _INFER, body=_build_rows(1), headers={"x-request-id": "client-id"})
    assert endpoint.send(request).headers["x-request-id"] == "client-id"


def test_request_that_exceeds_the_rate_limit_gets_the_same_response(endpoint: Endpoint) -> None:
    """Client `slow` may send 5 requests at once, then one per second."""
    request = Request("burst", _INFER_1, body=_build_rows(1), client="slow")
    started = time.monotonic()
    responses = [endpoint.send(request) for _ in range(20)]
    elapsed = time.monotonic() - started
    statuses = [response.status_code for response in responses]
    assert statuses[:5] == [200] * 5
    assert 5 <= statuses.count(200) <= 5 + elapsed + 1
    rejected = next(response for response in responses if response.status_code == 429)
    assert rejected.headers["retry-after"] == "1"
    assert rejected.headers["ratelimit-limit"] == "5"
    assert "exceeded its rate limit" in rejected.json()["error"]


def test_request_that_exceeds_the_quota_gets_the_same_response(endpoint: Endpoint) -> None:
    """Client `few` may send 3 inference requests per month."""
    request = Request("quota", _INFER_1, body=_build_rows(1), client="few")
    responses = [endpoint.send(request) for _ in range(5)]
    assert [response.status_code for response in responses] == [200, 200, 200, 429, 429]
    assert "quota" in responses[-1].json()["error"]


def test_body_that_is_too_large_is_rejected(endpoint: Endpoint) -> None:
    request = Request("large", _INFER_1, body=b" " * (10 * 2**20 + 1))
    response = wait_for(partial(endpoint.try_send, request), seconds=60)
    assert response.status_code == 413
    assert "exceeds 10485760 bytes" in response.json()["error"]
