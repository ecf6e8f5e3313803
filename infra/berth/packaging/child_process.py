"""Converts a file in a child process: `python -m berth.packaging.child_process ARGUMENTS`.

Frameworks read their files in C++. A damaged file can crash the process or allocate more memory
than the machine has: LightGBM aborts on a truncated model, XGBoost follows invalid child nodes.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError
from berth.packaging.rows import Array

_TIMEOUT_SECONDS = 600

# Address space in bytes: for the interpreter and the framework on one thread, and for the model.
_BASE_SPACE = 4 << 30
_SPACE_PER_BYTE = 50

_ROWS_FILE, _RESULT_FILE, _ERROR_FILE = "rows.npy", "result.npz", "error.txt"


def convert_in_child_process(
    convert: Callable[[Path, Array], Conversion], path: Path, rows: Array
) -> Conversion:
    """Call `convert`, a function of a module, in a child process and return its result.

    Raises:
        PackageError: If `convert` raises it, or if a signal ends the process, for example from the
            framework itself; if it runs out of memory, or runs for more than 600 s.
    """
    space = _BASE_SPACE + _SPACE_PER_BYTE * (path.stat().st_size + rows.nbytes)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        np.save(directory / _ROWS_FILE, rows)
        command = [sys.executable, "-P", "-m", __name__, convert.__module__, convert.__name__]
        try:
            process = subprocess.run(
                [*command, str(path), name, str(space)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PackageError(
                f"{path}: conversion timed out after {_TIMEOUT_SECONDS} s. The file may be "
                "damaged; save the model again."
            ) from None
        if process.returncode == 0:
            return _read_result(directory, rows)
        if (directory / _ERROR_FILE).is_file():
            raise PackageError((directory / _ERROR_FILE).read_text("utf-8"))
    if process.returncode < 0:
        cause = signal.Signals(-process.returncode).name
    else:
        cause = (process.stderr.strip().splitlines() or ["no message"])[-1]
    raise PackageError(
        f"{path}: the file is damaged: reading it failed with {cause}. Save the model again."
    )


def _read_result(directory: Path, rows: Array) -> Conversion:
    """Read the result without pickle: the child process read an untrusted file."""
    with np.load(directory / _RESULT_FILE) as result:
        metadata = json.loads(str(result["metadata"]))
        return Conversion(
            model=result["model"].tobytes(),
            rows={metadata["input"]: rows},
            framework=metadata["framework"],
            framework_version=metadata["framework_version"],
            converter=metadata["converter"],
            predictions={name: result[f"predictions.{name}"] for name in metadata["predictions"]},
        )


def _write_result(conversion: Conversion, directory: Path) -> None:
    (name,) = conversion.rows
    metadata = {
        "input": name,
        "framework": conversion.framework,
        "framework_version": conversion.framework_version,
        "converter": conversion.converter,
        "predictions": list(conversion.predictions),
    }
    arrays: dict[str, Any] = {
        f"predictions.{name}": array for name, array in conversion.predictions.items()
    }
    assert isinstance(conversion.model, bytes)  # Only converters run here; see `formats.onnx`.
    arrays["model"] = np.frombuffer(conversion.model, np.uint8)
    np.savez(directory / _RESULT_FILE, metadata=np.array(json.dumps(metadata)), **arrays)


def main() -> int:
    """Convert within the memory limit in the arguments. Return 1 if the model is rejected."""
    module, function, path, name, space = sys.argv[1:]
    for limit, value in ((resource.RLIMIT_AS, int(space)), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # A lower limit is set, or the system has no limits.
            resource.setrlimit(limit, (value, value))
    directory = Path(name)
    convert = getattr(importlib.import_module(module), function)
    try:
        _write_result(convert(Path(path), np.load(directory / _ROWS_FILE)), directory)
    except PackageError as error:
        (directory / _ERROR_FILE).write_text(str(error), "utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
