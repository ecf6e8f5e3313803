"""A berth whose GPU is missing, full or broken: its responses, its log and its exit status.

No test here needs a GPU.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from berth_serving.batching import explain_slow_batches
from berth_serving.execution_providers import (
    CPU,
    ProviderError,
    create_session,
    find_gpu_failure,
    is_out_of_memory,
)
from berth_serving.model import MemoryExceededError
from tests.serving.berth import run_berth, run_until_exit, wait_until, write_identity_model
from tests.serving.gpu_berth import (
    ARENA_IS_FULL,
    BREAKS_GPU,
    CUDA,
    MESSAGES,
    NOT_SUPPORTED,
    OUT_OF_MEMORY,
    SIMULATED,
)

_SIMULATED: Mapping[str, Any] = {
    "module": "tests.serving.gpu_berth",
    "environment": {SIMULATED: "1"},
    "execution_providers": f"{CUDA},{CPU}",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_identity_model(tmp_path / "model", "FP32", ["n"], [1.0])


def _request(*values: float) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": list(values)}
    return {"inputs": [tensor]}


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_berth_without_the_gpu_that_it_needs_does_not_start(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime by itself computes on the CPU. Here, it was built without CUDA."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    path = model / "model.onnx"
    with pytest.raises(ProviderError, match=f"cannot use {CUDA}"):
        create_session(path, onnxruntime.SessionOptions(), [CUDA, CPU])
    session = create_session(path, onnxruntime.SessionOptions(), [CPU])
    assert session.get_providers() == [CPU]


def test_reason_why_the_gpu_cannot_be_used_is_reported(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **options: object) -> None:
        assert options["enable_fallback"] == 0
        raise RuntimeError(
            "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 CUDA failure 100: no"
            " CUDA-capable device is detected ; GPU=-1 ; hostname=vm ; line=355 ; expr=x; "
        )

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(ProviderError) as caught:
        create_session(model / "model.onnx", onnxruntime.SessionOptions(), [CUDA, CPU])
    message = str(caught.value)
    assert "CUDA failure 100: no CUDA-capable device is detected. Check" in message
    assert "hostname" not in message


@pytest.mark.parametrize(
    ("value", "failure", "is_memory"),
    [
        (BREAKS_GPU, "CUDA failure 700: an illegal memory access was encountered", False),
        (NOT_SUPPORTED, "CUDNN failure 3000: CUDNN_STATUS_NOT_SUPPORTED", False),
        (OUT_OF_MEMORY, "CUDA failure 2: out of memory", True),
        (ARENA_IS_FULL, None, True),
    ],
)
def test_failures_of_the_gpu_are_told_apart(
    value: float, failure: str | None, is_memory: bool
) -> None:
    assert find_gpu_failure(MESSAGES[value]) == failure
    assert is_out_of_memory(MESSAGES[value]) == is_memory


@pytest.mark.parametrize("threshold", ["1000", "0"])
def test_berth_with_a_broken_gpu_answers_503_and_exits(
    model: Path, log: Path, threshold: str
) -> None:
    """Otherwise it would be ready, and reject every request as invalid."""
    with run_berth(
        model, log, **_SIMULATED, loop_threshold_ms=threshold, accept_seconds="1"
    ) as berth:
        assert berth.infer(_request(1.0)).status_code == 200
        response = berth.infer(_request(BREAKS_GPU))
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "GPU" in response.json()["error"]
        assert berth.client.get("/v2/health/ready").status_code == 503
        assert berth.infer(_request(1.0)).status_code == 503
        assert berth.wait_for_exit() == 5
    (line,) = [entry for entry in berth.read_log() if entry["level"] == "error"
               and "must be restarted" in entry["message"]]  # fmt: skip
    assert "CUDA failure 700: an illegal memory access" in line["message"]


def test_broken_gpu_of_one_worker_ends_only_that_worker(model: Path, log: Path) -> None:
    with run_berth(model, log, **_SIMULATED, workers="2") as berth:
        assert berth.infer(_request(BREAKS_GPU)).status_code == 503
        wait_until(lambda: berth.count_started_workers() == 3, "the worker is replaced")
        with berth.create_client() as client:
            berth.client = client
            assert berth.infer(_request(1.0)).status_code == 200


def test_request_that_the_gpu_does_not_support_is_a_clients_mistake(model: Path, log: Path) -> None:
    with run_berth(model, log, **_SIMULATED) as berth:
        response = berth.infer(_request(NOT_SUPPORTED))
        assert response.status_code == 400
        assert berth.infer(_request(1.0)).status_code == 200


@pytest.mark.parametrize("value", [OUT_OF_MEMORY, ARENA_IS_FULL])
def test_request_that_exceeds_the_memory_of_the_gpu_is_too_large(
    model: Path, log: Path, value: float
) -> None:
    memory = str(1 << 30)
    with run_berth(model, log, **_SIMULATED, loop_threshold_ms="0", memory_bytes=memory) as berth:
        response = berth.infer(_request(value, 1.0))
        assert response.status_code == 413
        assert "GPU" in response.json()["error"]
        assert "MiB" not in response.json()["error"]  # How much is missing is not known.
        # The berth does not conclude that larger requests are impossible.
        assert berth.infer(_request(1.0, 1.0, 1.0)).status_code == 200


def test_gpu_that_fails_at_the_start_is_named(tmp_path: Path, log: Path) -> None:
    model = write_identity_model(tmp_path / "model", "FP32", ["n"], [BREAKS_GPU])
    status, logged = run_until_exit(model, log, **_SIMULATED)
    assert status == 3
    assert "CUDA failure 700: an illegal memory access" in logged
    assert len(logged.splitlines()) == 1


class _Gpu:
    """A device that takes some time to prepare for another number of rows."""

    def __init__(self, preparation: float) -> None:
        self._preparation = preparation
        self._rows = 0
        self.now = 0.0

    def run(self, feeds: Mapping[str, Any]) -> None:
        rows = len(feeds["x"])
        self.now += 1.0 + (self._preparation if rows != self._rows else 0.0)
        self._rows = rows


@pytest.mark.parametrize(("preparation", "is_slow"), [(0.0, False), (10.0, False), (50.0, True)])
def test_batches_that_are_slower_than_single_rows_are_found(
    preparation: float, is_slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = _Gpu(preparation)
    monkeypatch.setattr("berth_serving.batching.time.perf_counter", lambda: gpu.now)
    reason = explain_slow_batches(gpu.run, {"x": np.ones((1, 2), np.float32)}, 64)
    assert bool(reason) == is_slow
    if is_slow:
        assert reason == (
            "a run of 32 rows after a run of another number takes 51000.0 ms, and 32 runs of one"
            " row take 32000.0 ms"
        )


def test_batch_that_exceeds_the_memory_of_the_gpu_disables_batching_only() -> None:
    def run(feeds: Mapping[str, Any]) -> None:
        if len(feeds["x"]) > 1:
            raise MemoryExceededError(uses_gpu=True)

    reason = explain_slow_batches(run, {"x": np.ones((1, 2), np.float32)}, 8)
    assert reason.startswith("the model cannot run 8 rows: The model needs more memory")
