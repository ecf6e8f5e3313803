"""ONNX Runtime's execution providers: the CPU, or a GPU whose failures are told apart.

Without these checks, a berth on a node whose GPU is missing, full or broken would be ready and
compute on the CPU, or reject every request as invalid.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime

CPU = "CPUExecutionProvider"
"""The provider that every version of ONNX Runtime has."""

# cuDNN prepares its convolutions again whenever the shape of the input changes. Milliseconds of a
# run of ResNet-18 on an H200, by ONNX Runtime's search for the algorithm: after another number of
# rows, with the same number of rows again, for 1 row and for 32.
#
# | search               | changed   | 1 row | 32 rows |
# |----------------------|-----------|-------|---------|
# | EXHAUSTIVE (default) | 59 to 302 | 0.8   | 4.1     |
# | HEURISTIC            | 58 to 82  | 1.2   | 4.2     |
# | DEFAULT              | 22 to 30  | 4.6   | 10.1    |
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC"}
}
_GPU_FAILURE = re.compile(r"\bCU[A-Z_]+ failure -?\d+: [^;\n]*[^;\s]")
_GPU_ADVICE = (
    "Check that the container has a GPU with free memory, NVIDIA's driver and the CUDA libraries, "
    "or serve the model with `compute: cpu`."
)


class ProviderError(RuntimeError):
    """An execution provider that cannot be used. The message names it, and the reason."""


def create_session(
    path: Path, options: onnxruntime.SessionOptions, providers: Sequence[str]
) -> onnxruntime.InferenceSession:
    """Return a session that uses all `providers`, in order of preference.

    ONNX Runtime by itself goes on with the CPU if a GPU cannot be used.

    Raises:
        ProviderError: If a provider is not available or cannot be used.
        Exception: ONNX Runtime raises a dozen unrelated types for a model that it cannot load.
    """
    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing:
        raise ProviderError(
            f"{', '.join(missing)} is not available in this version of ONNX Runtime. Choose from:"
            f" {', '.join(available)}."
        )
    try:
        session = onnxruntime.InferenceSession(
            path,
            sess_options=options,
            providers=[(name, dict(_OPTIONS.get(name, {}))) for name in providers],
            enable_fallback=0,
        )
    except Exception as error:
        failure = find_gpu_failure(str(error))
        if failure is None:
            raise
        raise ProviderError(f"the GPU cannot be used: {failure}. {_GPU_ADVICE}") from error
    unused = [name for name in providers if name not in session.get_providers()]
    if unused:
        raise ProviderError(f"ONNX Runtime cannot use {', '.join(unused)}. {_GPU_ADVICE}")
    return session


def find_gpu_failure(text: str) -> str | None:
    """Return the failure of NVIDIA's libraries that an error of ONNX Runtime contains, or None.

    An example is "CUDA failure 700: an illegal memory access was encountered".
    """
    match = _GPU_FAILURE.search(text)
    return None if match is None else match.group()


def is_out_of_memory(text: str) -> bool:
    """Return whether an error of ONNX Runtime means that memory, also of the GPU, ran out."""
    failure = find_gpu_failure(text)
    if failure is not None:
        # Its other lines name the function that failed, such as cudaMalloc, whatever the reason.
        return "out of memory" in failure or "ALLOC_FAILED" in failure
    return "alloc" in text.lower()
