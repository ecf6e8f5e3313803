"""A berth stays within its memory, returns it after a request, and refuses what does not fit."""

import json
import socket
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.serving.berth import Berth, run_berth, wait_until, write_model
from tests.serving.networks import write_cnn, write_transformer
from tests.serving.process_memory import read_memory, reset_peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")

_MIB = 1 << 20
_WAIT_SECONDS = 1200.0
_DEFAULT_MEMORY = 512 * _MIB
"""The default of `resources.memory`."""
_MODES = {"memory_bytes": str(_DEFAULT_MEMORY), "threads": "4", "deadline_seconds": "600"}


def _token_request(rows: int, length: int) -> bytes:
    tensor = {"datatype": "INT64", "shape": [rows, length], "data": [1] * (rows * length)}
    names = ("input_ids", "attention_mask", "token_type_ids")
    return json.dumps({"inputs": [{"name": name, **tensor} for name in names]}).encode()


def _send_together(berth: Berth, body: bytes, count: int, **options: Any) -> Counter[int]:
    with ThreadPoolExecutor(count) as pool:
        options["timeout"] = _WAIT_SECONDS
        requests = [pool.submit(berth.infer, body, **options) for _ in range(count)]
        return Counter(request.result().status_code for request in requests)


def _largest(accepts: Callable[[int], bool], sizes: list[int]) -> int:
    """Return the largest size that is accepted; the next one is refused."""
    accepted = 0
    for size in sizes:
        if not accepts(size):
            return accepted
        accepted = size
    raise AssertionError(f"no size is refused, up to {accepted}")


def _returns_memory(berth: Berth, resident: int) -> None:
    """Wait until the berth occupies about as much memory as before."""
    wait_until(lambda: read_memory(berth, "VmRSS") < resident + 48 * _MIB, "the memory is returned")


@pytest.mark.slow
def test_transformer_stays_within_default_memory(tmp_path: Path, log: Path) -> None:
    """Ten of the largest valid requests at once, to a model of MiniLM's size."""
    with run_berth(write_transformer(tmp_path / "m"), log, **_MODES, is_forked=False) as berth:
        resident = read_memory(berth, "VmRSS")
        reset_peak(berth)

        def accepts(rows: int) -> bool:
            response = berth.infer(_token_request(rows, 128), timeout=_WAIT_SECONDS)
            assert response.status_code in (200, 413)
            if response.status_code == 413:
                assert "MiB of memory" in response.json()["error"]
            return response.status_code == 200

        # Between 64 and 80 is the largest on every machine so far. A run of this size needs all
        # memory, so a response is prepared while no other one runs.
        rows = _largest(accepts, [1, 16, 64, 68, 72, 76, 80, 128, 256])
        assert rows >= 16
        assert berth.infer(_token_request(1024, 512)).status_code == 413
        counts = _send_together(berth, _token_request(rows, 128), 10)
        assert counts == {200: 10}
        assert read_memory(berth, "VmHWM") < _DEFAULT_MEMORY
        _returns_memory(berth, resident)


@pytest.mark.slow
def test_responses_that_are_not_taken_refuse_no_later_request(tmp_path: Path, log: Path) -> None:
    """Clients that do not read their responses occupy memory, but only until they are gone."""
    large = _token_request(64, 128)
    with (
        run_berth(
            write_transformer(tmp_path / "m", layers=1, vocabulary=100),
            log,
            **_MODES,
            is_forked=False,
        ) as berth,
        ExitStack() as stack,
    ):
        assert berth.infer(large).status_code == 200
        head = (
            f"POST {berth.infer_path} HTTP/1.1\r\nhost: b\r\ncontent-length: {len(large)}\r\n\r\n"
        )
        clients = [stack.enter_context(berth.connect()) for _ in range(8)]
        statuses = []
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(head.encode() + large)
            client.settimeout(_WAIT_SECONDS)
            statuses.append(int(client.recv(12).split()[1]))
        assert set(statuses) == {200, 503}
        response = berth.infer(large)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "not received yet take" in response.json()["error"]
        assert berth.infer(_token_request(1, 16)).status_code == 200
        for client in clients:
            client.close()
        wait_until(lambda: berth.infer(large).status_code == 200, "the memory is free")


@pytest.mark.slow
def test_cnn_stays_within_default_memory(tmp_path: Path, log: Path) -> None:
    """Ten requests at once that are as long as `max_body_bytes`, to a ResNet-18."""
    with run_berth(write_cnn(tmp_path / "m"), log, **_MODES, is_forked=False) as berth:
        resident = read_memory(berth, "VmRSS")
        reset_peak(berth)
        raw = np.ones((17, 3, 224, 224), np.float32).tobytes()
        counts = _send_together(berth, raw, 10, headers={"inference-header-content-length": "0"})
        assert set(counts) <= {200, 503}
        assert counts[200] >= 4
        assert read_memory(berth, "VmHWM") < _DEFAULT_MEMORY
        _returns_memory(berth, resident)


@pytest.fixture(scope="module")
def small_transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer whose attention takes 4 MiB for 1,024 tokens, quadratically."""
    directory = tmp_path_factory.mktemp("transformer")
    return write_transformer(
        directory, layers=2, hidden=32, heads=2, vocabulary=100, positions=100_000
    )


@pytest.mark.slow
def test_canceled_run_returns_its_memory(small_transformer: Path, log: Path) -> None:
    """Without a limit, the run starts, takes some hundred MiB, and is ended by its deadline."""
    settings = {"memory_bytes": str(1 << 45), "deadline_seconds": "0.5"}
    with run_berth(small_transformer, log, **settings, is_forked=False) as berth:
        resident = read_memory(berth, "VmRSS")
        reset_peak(berth)
        # On a busy machine, the deadline of a request can pass before its run has any memory.
        for _ in range(20):
            assert berth.infer(_token_request(6, 4000)).status_code == 504
            if (peak := read_memory(berth, "VmHWM")) > resident + 100 * _MIB:
                break
        assert peak > resident + 100 * _MIB
        _returns_memory(berth, resident)


@pytest.mark.slow
def test_completed_run_returns_its_memory(small_transformer: Path, log: Path) -> None:
    with run_berth(small_transformer, log, deadline_seconds="600", is_forked=False) as berth:
        resident = read_memory(berth, "VmRSS")
        reset_peak(berth)
        assert berth.infer(_token_request(1, 4000)).status_code == 200
        assert read_memory(berth, "VmHWM") > resident + 100 * _MIB
        _returns_memory(berth, resident)


@pytest.mark.slow
def test_request_beyond_memory_is_refused_with_reason(small_transformer: Path, log: Path) -> None:
    settings = {"memory_bytes": str(256 * _MIB), "deadline_seconds": "600"}
    with run_berth(small_transformer, log, **settings, is_forked=False) as berth:
        reset_peak(berth)
        assert berth.infer(_token_request(1, 500)).status_code == 200
        response = berth.infer(_token_request(4, 8000))
        assert response.status_code == 413
        assert "The model needs about" in response.json()["error"]
        assert "raise resources.memory" in response.json()["error"]
        assert berth.infer(_token_request(1, 500)).status_code == 200
        assert read_memory(berth, "VmHWM") < 256 * _MIB


@pytest.mark.slow
def test_memory_that_depends_on_values_is_limited(tmp_path: Path, log: Path) -> None:
    """The size of the request does not show that the model makes a million times more of it."""
    model = write_model(
        tmp_path / "model",
        [
            helper.make_node("ConstantOfShape", ["n"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
            helper.make_node("Reshape", ["sum", "one"], ["y"]),
        ],
        [("n", "INT64", [1])],
        [("y", "FP32", [1])],
        {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [10]}]},
        initializers=[helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )
    with run_berth(
        model, log, memory_bytes=str(256 * _MIB), loop_threshold_ms="0", is_forked=False
    ) as berth:
        reset_peak(berth)

        def infer(count: int) -> int:
            tensor = {"name": "n", "datatype": "INT64", "shape": [1], "data": [count]}
            return berth.infer({"inputs": [tensor]}).status_code

        assert infer(10**6) == 200
        assert infer(10**8) == 413
        assert infer(10**6) == 200
        assert read_memory(berth, "VmHWM") < 256 * _MIB


@pytest.mark.slow
def test_response_beyond_memory_is_refused(tmp_path: Path, log: Path) -> None:
    model = write_model(
        tmp_path / "model",
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        [("x", "FP64", ["n", 1])],
        [("y", "FP64", ["n", 20_000])],
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [1.0]}]},
        initializers=[helper.make_tensor("shape", TensorProto.INT64, [2], [1, 20_000])],
    )
    with run_berth(
        model, log, memory_bytes=str(256 * _MIB), deadline_seconds="600", is_forked=False
    ) as berth:
        reset_peak(berth)

        def infer(rows: int, parameters: dict[str, Any]) -> int:
            tensor = {"name": "x", "datatype": "FP64", "shape": [rows, 1], "data": [0.1] * rows}
            return berth.infer({"inputs": [tensor], "parameters": parameters}).status_code

        assert infer(1, {}) == 200
        assert infer(1000, {}) == 413
        assert read_memory(berth, "VmHWM") < 256 * _MIB
