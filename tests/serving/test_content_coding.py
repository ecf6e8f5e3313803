"""Compressed bodies: the same response, and the same limits after decompression."""

import gzip
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from berth_protocol.body_memory import BodyMemory
from berth_serving.http.app import App
from berth_serving.metrics import Metrics
from berth_serving.model import load_model
from berth_serving.settings import Settings
from berth_serving.worker import warm_up
from tests.serving.berth import Berth, run_berth, write_identity_model
from tests.serving.process_memory import read_memory, reset_peak
from tests.serving.test_protocol import REQUEST

_BODY = json.dumps(REQUEST).encode()


def _deflate_raw(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(_BODY)),
        ("x-gzip", gzip.compress(_BODY)),
        ("GZIP", gzip.compress(_BODY)),
        ("gzip", gzip.compress(_BODY[:9]) + gzip.compress(_BODY[9:])),
        ("deflate", zlib.compress(_BODY)),
        ("deflate", _deflate_raw(_BODY)),
        ("identity", _BODY),
        ("Identity", _BODY),
    ],
)
def test_compressed_request_gets_same_response(berth: Berth, coding: str, body: bytes) -> None:
    response = berth.infer(body, headers={"content-encoding": coding})
    assert response.status_code == 200
    assert response.json() == berth.infer(_BODY).json()


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_other_coding_is_refused(berth: Berth, coding: str) -> None:
    response = berth.infer(_BODY, headers={"content-encoding": coding})
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("content", ["empty", "nonsense", "cut", "trailing"])
def test_invalid_compressed_body_is_rejected(berth: Berth, coding: str, content: str) -> None:
    valid = gzip.compress(_BODY) if coding == "gzip" else zlib.compress(_BODY)
    bodies = {"empty": b"", "nonsense": b"nonsense", "cut": valid[:-6], "trailing": valid + b"xx"}
    response = berth.infer(bodies[content], headers={"content-encoding": coding})
    assert response.status_code == 400
    assert f"not valid {coding}" in response.json()["error"]


@pytest.mark.parametrize(("other_bytes", "status"), [(0, 200), (400, 200), (900, 503)])
async def test_inflated_body_counts_in_the_memory_of_bodies(
    echo_model: Path, other_bytes: int, status: int
) -> None:
    """The server counts only the compressed bytes, as they arrive."""
    settings = Settings.read({"BERTH_MODEL_DIR": str(echo_model), "BERTH_LOOP_THRESHOLD_MS": "999"})
    metrics = Metrics(None)
    memory = BodyMemory(1000)
    app = App(settings, warm_up(load_model(settings), settings, metrics), metrics, None, memory)
    body = gzip.compress(_BODY)
    memory.used_bytes = other_bytes + len(body)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "method": "POST",
        "raw_path": b"/v2/models/m/infer",
        "headers": [(b"content-encoding", b"gzip")],
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == status
    assert memory.used_bytes == other_bytes + len(body)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")
def test_inflated_body_beyond_limit_is_refused(echo_model: Path, log: Path) -> None:
    """A body of 300 KB that inflates to 300 MB takes no more memory than `max_body_bytes`."""
    # Blocks of one stream that do not refer to each other: compressing each takes 2 s of CPU time.
    stream = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    first, next_block = (
        stream.compress(b" " * (1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    bomb = first + 299 * next_block
    with run_berth(echo_model, log, max_body_bytes=str(1 << 20)) as berth:
        start = reset_peak(berth)
        response = berth.infer(bomb, headers={"content-encoding": "gzip"})
        assert response.status_code == 413
        assert "after decompression" in response.json()["error"]
        assert read_memory(berth, "VmHWM") < start + (16 << 20)


def _infer_raw(berth: Berth, rows: int, accept: str) -> Any:
    tensor = {"datatype": "FP32", "shape": [rows, 2], "data": [1.5] * (2 * rows)}
    request = {"inputs": [{"name": "a", **tensor}, {"name": "b", **tensor}]}
    return berth.infer(request, headers={"accept-encoding": accept})


@pytest.mark.parametrize(
    ("accept", "rows", "coding"),
    [
        ("gzip", 1000, "gzip"),
        ("deflate, gzip;q=0.5", 1000, "gzip"),
        ("gzip", 1, None),
        ("identity", 1000, None),
        ("gzip;q=0", 1000, None),
        ("br", 1000, None),
    ],
)
def test_response_is_compressed_on_request(
    berth: Berth, accept: str, rows: int, coding: str | None
) -> None:
    response = _infer_raw(berth, rows, accept)
    assert response.status_code == 200
    assert response.headers.get("content-encoding") == coding
    assert response.json() == _infer_raw(berth, rows, "identity").json()


@pytest.mark.parametrize(("is_binary", "coding"), [(False, "gzip"), (True, None)])
def test_values_that_hardly_shrink_are_not_compressed(
    tmp_path: Path, log: Path, is_binary: bool, coding: str | None
) -> None:
    """Most clients accept gzip, and it takes longer than many models."""
    values = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    model = write_identity_model(tmp_path / "model", "FP32", ["n"], [1.0])
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": values.tolist()}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": is_binary}}
    with run_berth(model, log, max_batch="20000") as berth:
        response = berth.infer(request, headers={"accept-encoding": "gzip"})
    assert response.status_code == 200
    assert response.headers.get("content-encoding") == coding
    if is_binary:
        assert response.content.endswith(values.tobytes())
    else:
        received = response.json()["outputs"][0]["data"]
        assert np.array_equal(np.array(received, np.float32), values)
