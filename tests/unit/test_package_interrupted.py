"""A killed packaging process leaves no partial version; other commands load no framework."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from berth_protocol.model_card import CARD_FILE, read_card, verify_files
from tests.repository import REPOSITORY

PACKAGE = """
import os, signal, sys
from pathlib import Path
import numpy as np
from sklearn.linear_model import LinearRegression
from berth.operations import package
from berth.packaging import publish

if len(sys.argv) > 2:
    where, name = {"card": (package, "_write_card"), "publish": (package, "publish"),
                   "sync": (publish, "_sync")}[sys.argv[2]]
    setattr(where, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
rows = np.eye(3)
package.package_model(LinearRegression().fit(rows, [1, 2, 3]), rows=rows, name="m", version="1",
                      into=Path(sys.argv[1]))
"""


def _run(*arguments: str) -> int:
    command = [sys.executable, "-c", PACKAGE, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, timeout=120, check=False).returncode


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["card", "publish", "sync"])
def test_killed_process_leaves_no_version(moment: str, tmp_path: Path) -> None:
    assert _run(str(tmp_path), moment) == -signal.SIGKILL
    assert list(tmp_path.glob(f"*/*/{CARD_FILE}")) == []
    assert all(path.name.startswith(".packaging-") for path in tmp_path.iterdir())
    assert _run(str(tmp_path)) == 0
    verify_files(tmp_path / "m" / "1", read_card(tmp_path / "m" / "1"))


def test_command_line_imports_no_framework() -> None:
    heavy = {"numpy", "onnx", "onnxruntime", "sklearn", "skl2onnx", "scipy"}
    look = f"import sys, berth.cli.main; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
