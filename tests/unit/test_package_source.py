"""Running the user's function like `python file.py`, and handling its failures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from berth.packaging.errors import PackageError
from berth.packaging.source import resolve_source
from tests.repository import REPOSITORY

TRAIN = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Settings:
    rows: int = 20

def build():
    print("training")
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LinearRegression
    from columns_beside import COLUMNS  # Imported late, from the script's directory.
    rows, labels = load_wine(return_X_y=True)
    rows = rows[:, :COLUMNS]
    return LinearRegression().fit(rows, labels), rows[: Settings().rows]

def text_as_metric():
    return *build(), {"accuracy": "high"}

def leaves():
    raise SystemExit(0)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "columns_beside.py").write_text("COLUMNS = 4\n")
    path = tmp_path / "train_berth_model.py"
    path.write_text(TRAIN)
    return path


def _package(source: str, into: Path) -> subprocess.CompletedProcess[str]:
    """Run `berth package` in a process, to check its standard output and exit status."""
    command = [sys.executable, "-m", "berth", "package", source, "--name", "m"]
    return subprocess.run(
        [*command, "--version", "1", "--into", str(into), "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_stdout_is_one_json_document_if_script_prints(script: Path, tmp_path: Path) -> None:
    done = _package(f"{script}:build", tmp_path / "models")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows_compared"] == 20
    assert "training" in done.stderr


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("leaves", "failed with SystemExit: 0"),
        pytest.param(
            "text_as_metric", "metric 'accuracy': 'high' is not a number", marks=pytest.mark.slow
        ),
    ],
)
def test_failing_function_is_rejected_with_status_2(
    function: str, message: str, script: Path, tmp_path: Path
) -> None:
    done = _package(f"{script}:{function}", tmp_path / "models")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "models").exists()


def test_script_that_exits_during_import_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "train_and_leave.py"
    path.write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(PackageError, match="the import failed with SystemExit: 0"):
        resolve_source(f"{path}:build")


def test_import_state_is_restored(script: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    resolve_source(f"{script}:build")
    assert sys.path == path
    assert script.stem not in set(sys.modules) - modules


def test_script_with_name_of_loaded_module_does_not_replace_module(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text("def build():\n    return 1, [2]\n")
    assert resolve_source(f"{path}:build").model == 1
    assert sys.modules["json"] is json
