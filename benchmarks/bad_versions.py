"""Versions of the example model: a healthy one, and those that fail, are slow or are wrong."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MODEL = "digits"
STABLE = "1"
HEALTHY = "healthy"
# Packaging and the first requests of a berth call the file as well.
_GOOD_CALLS = 100
_HEAD = f"""\
import itertools
import time

from berth_serving.processing import Arrays, Tensor

OUTPUTS = [Tensor("label", "INT64", [-1]), Tensor("probabilities", "FP32", [-1, 10])]
_calls = itertools.count()


def postprocess(outputs: Arrays) -> Arrays:
    call = next(_calls) - {_GOOD_CALLS}
"""
_BODIES = {
    HEALTHY: "",
    "failing": "    if call > 0 and call % 5 == 0:\n        raise RuntimeError('a fault')\n",
    "slow": "    if call > 0:\n        time.sleep(0.4)\n",
    "wrong": "    if call > 0:\n        return {**outputs, 'label': outputs['label'] + 1}\n",
}
VERSIONS = tuple(_BODIES)


def package_versions(root: Path, environment: Mapping[str, str]) -> None:
    """Package all versions of VERSIONS into the project at `root`."""
    rows, program = root / "rows.npz", root / "serve.py"
    np.savez(rows, input=np.zeros((60, 64), np.float32))
    model = root / "models" / MODEL / STABLE / "model.onnx"
    for version, body in _BODIES.items():
        program.write_text(f"{_HEAD}{body}    return outputs\n")
        subprocess.run(
            [
                *(sys.executable, "-m", "berth", "package", str(model)),
                *("--name", MODEL, "--version", version),
                *("--with", str(program), "--rows", str(rows)),
            ],
            cwd=root,
            env=dict(environment),
            check=True,
        )
