"""Converts a file in a process of its own: `python -m berth.packaging.apart …`.

Frameworks read their files in C++, where a damaged one can end the process, or have it ask for more
memory than there is: LightGBM aborts on a truncated model, XGBoost follows a wrong child of a node.
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

from berth.packaging.converted import Converted
from berth.packaging.errors import PackageError
from berth.packaging.rows import Array

_SECONDS = 600

# Address space for the interpreter and the framework on one thread, and for the model: in bytes.
_SPACE = 4 << 30
_SPACE_PER_BYTE = 50

_ROWS, _MADE, _REFUSED = "rows.npy", "made.npz", "refused.txt"


def convert_apart(
    convert: Callable[[Path, Array], Converted], path: Path, rows: Array
) -> Converted:
    """What `convert`, a function of a module, makes of `path` and `rows`.

    Raises:
        PackageError: `convert` raised it; or its process was ended by a signal, for instance by the
            framework itself, ran out of memory, or ran for more than 600 s.
    """
    space = _SPACE + _SPACE_PER_BYTE * (path.stat().st_size + rows.nbytes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / _ROWS, rows)
        command = [sys.executable, "-P", "-m", __name__, convert.__module__, convert.__name__]
        try:
            done = subprocess.run(
                [*command, str(path), name, str(space)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PackageError(
                f"{path}: is not converted after {_SECONDS} s; it may be damaged"
            ) from None
        if done.returncode == 0:
            return _read(folder, rows)
        if (folder / _REFUSED).is_file():
            raise PackageError((folder / _REFUSED).read_text("utf-8"))
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
    else:
        how = (done.stderr.strip().splitlines() or ["no message"])[-1]
    raise PackageError(f"{path}: is damaged: reading it ended with {how}")


def _read(folder: Path, rows: Array) -> Converted:
    """What `_write` wrote. No pickle: the other process ran on a file that nobody vouches for."""
    with np.load(folder / _MADE) as made:
        about = json.loads(str(made["about"]))
        return Converted(
            model=made["model"].tobytes(),
            rows={about["input"]: rows},
            framework=about["framework"],
            framework_version=about["framework_version"],
            converter=about["converter"],
            answers={name: made[f"answers.{name}"] for name in about["answers"]},
        )


def _write(made: Converted, folder: Path) -> None:
    (name,) = made.rows
    about = {
        "input": name,
        "framework": made.framework,
        "framework_version": made.framework_version,
        "converter": made.converter,
        "answers": list(made.answers),
    }
    arrays: dict[str, Any] = {f"answers.{name}": array for name, array in made.answers.items()}
    arrays["model"] = np.frombuffer(made.model, np.uint8)
    np.savez(folder / _MADE, about=np.array(json.dumps(about)), **arrays)


def main() -> int:
    """Convert as the arguments say, under the bounds that they give. Exit status: 1 if refused."""
    module, function, path, name, space = sys.argv[1:]
    for limit, value in ((resource.RLIMIT_AS, int(space)), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # a lower one holds already, or the system has none
            resource.setrlimit(limit, (value, value))
    folder = Path(name)
    convert = getattr(importlib.import_module(module), function)
    try:
        _write(convert(Path(path), np.load(folder / _ROWS)), folder)
    except PackageError as error:
        (folder / _REFUSED).write_text(str(error), "utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
