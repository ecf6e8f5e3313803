"""One set of requests, asked of the same stack on this machine and on a cluster."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from ruamel.yaml import YAML

from berth_protocol.model_card import read_card
from tests.engine.project import Project, eventually
from tests.repository import REPOSITORY

_INFER = "/v2/models/digits/infer"
_EXAMPLE = read_card(REPOSITORY / "models" / "digits" / "1").example
_BINARY = np.zeros((1, 64), np.float32).tobytes()
_HEAD = json.dumps(
    {
        "inputs": [
            {"name": "input", "shape": [1, 64], "datatype": "FP32",
             "parameters": {"binary_data_size": len(_BINARY)}}
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()  # fmt: skip
# What is told of one request alone, and differs from one to the next.
_OWN = {"date", "x-request-id", "ratelimit-remaining", "ratelimit-reset", "server"}


@dataclass(frozen=True)
class Ask:
    """One request; `key` names the client whose key goes with it."""

    name: str
    path: str
    method: str = "POST"
    body: bytes | None = None
    key: str | None = "default"
    headers: dict[str, str] = field(default_factory=dict)


def _rows(count: int) -> bytes:
    tensor = {"name": "input", "shape": [count, 64], "datatype": "FP32", "data": [0.5] * count * 64}
    return json.dumps({"inputs": [tensor]}).encode()


_ASKS = [
    Ask("an answer", "/v2/models/digits/versions/1/infer", body=json.dumps(_EXAMPLE).encode()),
    Ask("another version", "/v2/models/digits/versions/2/infer", body=_rows(3)),
    Ask("another model", "/v2/models/breast-cancer/infer",
        body=json.dumps(read_card(REPOSITORY / "models" / "breast-cancer" / "1").example).encode()),
    Ask("binary in and out", "/v2/models/digits/versions/1/infer", body=_HEAD + _BINARY,
        headers={"inference-header-content-length": str(len(_HEAD))}),
    Ask("no key", _INFER, body=_rows(1), key=None),
    Ask("a wrong key", _INFER, body=_rows(1), headers={"x-api-key": "wrong"}, key=None),
    Ask("no such model", "/v2/models/nobody/infer", body=_rows(1)),
    Ask("no such version", "/v2/models/digits/versions/9/infer", body=_rows(1)),
    Ask("no such path", "/v2/models/digits/infer/more", body=_rows(1)),
    Ask("nothing", "/"),
    Ask("another method", _INFER, method="GET"),
    Ask("not JSON", "/v2/models/digits/versions/1/infer", body=b"{"),
    Ask("no inputs", "/v2/models/digits/versions/1/infer", body=b"{}"),
    Ask("wrong shape", "/v2/models/digits/versions/1/infer",
        body=_rows(1).replace(b"[1, 64]", b"[2, 64]")),
    Ask("wrong datatype", "/v2/models/digits/versions/1/infer",
        body=_rows(1).replace(b"FP32", b"INT8")),
    Ask("too many rows", "/v2/models/digits/versions/1/infer", body=_rows(1025)),
    Ask("a compressed body", "/v2/models/digits/versions/1/infer", body=_rows(1),
        headers={"content-encoding": "gzip"}),
    Ask("live", "/v2/health/live", method="GET", key=None),
    Ask("ready", "/v2/health/ready", method="GET", key=None),
    Ask("posted health", "/v2/health/ready", key=None),
    Ask("server", "/v2", method="GET"),
    Ask("server without a key", "/v2", method="GET", key=None),
    Ask("metadata", "/v2/models/digits", method="GET"),
    Ask("metadata of a version", "/v2/models/digits/versions/2", method="GET"),
    Ask("model ready", "/v2/models/digits/ready", method="GET"),
    Ask("version ready", "/v2/models/digits/versions/1/ready", method="GET"),
    Ask("a version that is not there", "/v2/models/digits/versions/9/ready", method="GET"),
    Ask("head of metadata", "/v2/models/digits", method="HEAD"),
]  # fmt: skip


@dataclass
class Side:
    """One of the two stacks: where it answers, and its clients' keys."""

    endpoint: str
    keys: dict[str, str]

    @classmethod
    def of(cls, project: Project) -> "Side":
        keys = {name: project.key(name) for name in ("default", "slow", "few")}
        return cls(project.json("status")["endpoint"], keys)

    def ask(self, ask: Ask) -> httpx.Response:
        headers = dict(ask.headers)
        if ask.key is not None:
            headers["x-api-key"] = self.keys[ask.key]
        return httpx.request(
            ask.method, self.endpoint + ask.path, headers=headers, content=ask.body, timeout=30
        )


@pytest.fixture(scope="module")
def sides(hosted: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """The stack on this machine, with the models and clients of the one on the cluster."""
    local = Project.copy_to(tmp_path_factory.mktemp("parity"))
    config = YAML(typ="safe").load((hosted.root / f"Pulumi.{hosted.stack}.yaml").read_text())
    same = {key: config["config"][f"berth:{key}"] for key in ("models", "gateway")}
    content = {f"berth:{key}": value for key, value in ({"platform": "local"} | same).items()}
    (local.root / "Pulumi.local.yaml").write_text(json.dumps({"config": content}))
    local.berth("up", "--yes")
    yield Side.of(local), Side.of(hosted)
    local.berth("destroy", "--yes")
    local.clean_up()


def _told(response: httpx.Response) -> dict[str, Any]:
    headers = {name: value for name, value in response.headers.items() if name not in _OWN}
    return {"status": response.status_code, "body": response.content, "headers": headers}


@pytest.mark.parametrize("ask", _ASKS, ids=[ask.name for ask in _ASKS])
def test_the_same_request_gets_the_same_answer(sides: tuple[Side, Side], ask: Ask) -> None:
    here, there = (_told(side.ask(ask)) for side in sides)
    assert there == here


def test_a_request_is_known_by_its_own_id(sides: tuple[Side, Side]) -> None:
    ask = Ask("id", _INFER, body=_rows(1), headers={"x-request-id": "of-mine"})
    assert [side.ask(ask).headers["x-request-id"] for side in sides] == ["of-mine", "of-mine"]


def test_a_client_beyond_its_burst_is_told_the_same(sides: tuple[Side, Side]) -> None:
    """`slow` may ask 5 times at once, then once a second."""
    ask = Ask("fast", "/v2/models/digits/versions/1/infer", body=_rows(1), key="slow")
    for side in sides:
        started = time.monotonic()
        responses = [side.ask(ask) for _ in range(20)]
        elapsed = time.monotonic() - started
        statuses = [response.status_code for response in responses]
        assert statuses[:5] == [200] * 5
        assert 5 <= statuses.count(200) <= 5 + elapsed + 1
        refused = next(response for response in responses if response.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["ratelimit-limit"] == "5"
        assert "beyond its throttle" in refused.json()["error"]


def test_a_client_beyond_its_quota_is_told_the_same(sides: tuple[Side, Side]) -> None:
    """`few` may infer 3 times a month."""
    ask = Ask("few", "/v2/models/digits/versions/1/infer", body=_rows(1), key="few")
    for side in sides:
        responses = [side.ask(ask) for _ in range(5)]
        assert [response.status_code for response in responses] == [200, 200, 200, 429, 429]
        assert "quota" in responses[-1].json()["error"]


def test_a_body_that_is_too_long_is_refused_by_both(sides: tuple[Side, Side]) -> None:
    """The words are those of whoever counts the bytes: here the gateway, there the berth."""
    ask = Ask("long", "/v2/models/digits/versions/1/infer", body=b" " * (10 * 2**20 + 1))
    for side in sides:
        response = eventually(lambda side=side: _once(side, ask), seconds=60)
        assert response.status_code == 413
        assert list(response.json()) == ["error"]


def _once(side: Side, ask: Ask) -> httpx.Response | None:
    """A server may close on a body that it does not want before the client has sent all of it."""
    try:
        return side.ask(ask)
    except httpx.WriteError:
        return None
