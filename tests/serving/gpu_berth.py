"""`python -m tests.serving.gpu_berth`: a berth whose ONNX Runtime seems to have a GPU.

It computes on the CPU. Some values of `x` make a run fail with a message in the form that ONNX
Runtime 1.31.1 has. All except the one for NOT_SUPPORTED were seen on an H200, some of them with
another place in the source.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from berth_serving.execution_providers import CPU

CUDA = "CUDAExecutionProvider"
SIMULATED = "BERTH_TEST_GPU"
"""The environment variable that makes ONNX Runtime seem to have a GPU."""

BREAKS_GPU = 700.0
NOT_SUPPORTED = 3000.0
OUT_OF_MEMORY = 2.0
ARENA_IS_FULL = 360.0

_PLACE = " ; GPU=0 ; hostname=vm ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/"
MESSAGES = {
    BREAKS_GPU: "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was"
    f" encountered{_PLACE}cuda_allocator.cc ; line=98 ; expr=cudaFreeHost(p); ",
    NOT_SUPPORTED: "[ONNXRuntimeError] : 1 : FAIL : CUDNN failure 3000: CUDNN_STATUS_NOT_SUPPORTED"
    f"{_PLACE}nn/conv.cc ; line=455 ; expr=cudnnConvolutionForward(); ",
    OUT_OF_MEMORY: "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory"
    f"{_PLACE}cuda_call.cc ; line=98 ; expr=cudaGetLastError(); ",
    ARENA_IS_FULL: "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running"
    " FusedMatMul node. Name:'/MatMulScaleFusion/' Status Message: /onnxruntime_src/onnxruntime/"
    "core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool,"
    " onnxruntime::Stream*) Available memory of 0 is smaller than requested bytes of 805306368",
}


class _Session(onnxruntime.InferenceSession):  # type: ignore[misc]
    is_broken = False

    def __init__(self, path: Any, *, providers: Sequence[Any], **options: Any) -> None:
        super().__init__(path, providers=[CPU], **options)
        self._names = [name for name, _ in providers]

    def get_providers(self) -> list[str]:
        return self._names

    def run(self, outputs: list[str], feeds: Mapping[str, Any], options: Any = None) -> Any:
        value = BREAKS_GPU if self.is_broken else float(feeds["x"].flat[0])
        self.is_broken = value == BREAKS_GPU
        if value in MESSAGES:
            raise ort_errors.Fail(MESSAGES[value])
        return super().run(outputs, feeds, options)


if SIMULATED in os.environ:
    # Also in the processes of the workers, which import this module by its name.
    onnxruntime.get_available_providers = lambda: [CUDA, CPU]
    onnxruntime.InferenceSession = _Session

if __name__ == "__main__":
    from berth_serving.server import run

    sys.exit(run(os.environ))
