"""Versions of the example model: a healthy one, and those that fail, are slow or are wrong."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MODEL = "digits"
STABLE = "1"
HEALTHY = "healthy"
FAULT = "a fault of this version"
# Packaging and the first requests of a berth call the file as well.
_GOOD_CALLS = 100
_HEAD = """\
import itertools
import time

from berth_serving.processing import Arrays, Tensor

OUTPUTS = [Tensor("label", "INT64", [-1]), Tensor("probabilities", "FP32", [-1, 10])]
_calls = itertools.count()


def postprocess(outputs: Arrays) -> Arrays:
    call = next(_calls) - {good_calls}
"""
_BODIES = {
    HEALTHY: "",
    "failing": f"    if call > 0 and call % 5 == 0:\n        raise RuntimeError({FAULT!r})\n",
    "slow": "    if call > 0:\n        time.sleep(0.4)\n",
    "wrong": "    if call > 0:\n        return {**outputs, 'label': outputs['label'] + 1}\n",
}
VERSIONS = tuple(_BODIES)


def package_version(
    root: Path,
    environment: Mapping[str, str],
    kind: str,
    *,
    name: str | None = None,
    good_calls: int = _GOOD_CALLS,
) -> None:
    """Package a version into the project at `root`.

    Args:
        kind: One of VERSIONS.
        name: Name of the version. Defaults to `kind`.
        good_calls: Number of calls after which the version becomes bad.
    """
    rows, program = root / "rows.npz", root / "serve.py"
    np.savez(rows, input=np.zeros((60, 64), np.float32))
    program.write_text(f"{_HEAD.format(good_calls=good_calls)}{_BODIES[kind]}    return outputs\n")
    model = root / "models" / MODEL / STABLE / "model.onnx"
    subprocess.run(
        [
            *(sys.executable, "-m", "berth", "package", str(model)),
            *("--name", MODEL, "--version", name or kind),
            *("--with", str(program), "--rows", str(rows)),
        ],
        cwd=root,
        env=dict(environment),
        check=True,
    )
