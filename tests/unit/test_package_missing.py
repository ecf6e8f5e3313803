"""A framework that is not installed: one line that says what to install, and nothing written."""

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from berth.cli.main import main
from berth.packaging.formats import FILES, FORMATS, NEEDS
from tests.repository import REPOSITORY

SOURCES = {
    "xgboost": "model.json",
    "lightgbm": "model.txt",
    "torch": "model.pt2",
    "transformers": "model",
}


@pytest.mark.parametrize("framework", NEEDS)
def test_missing_framework(framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, framework, None)  # importing it then raises ImportError
    source = tmp_path / SOURCES[framework]
    if framework == "transformers":
        source.mkdir()
        for name in ("config.json", "model.safetensors"):
            (source / name).write_text("{}")
    else:
        source.write_text("{}")
    np.save(tmp_path / "rows.npy", np.eye(3))
    arguments = ["--name", "m", "--version", "1", "--into", str(tmp_path / "models")]
    arguments += ["--rows", str(tmp_path / "rows.npy")]
    done = CliRunner().invoke(main, ["package", str(source), *arguments])
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if "not installed" in line]
    assert f"{NEEDS[framework]}.txt" in line
    pins = [
        line.partition(";")[0]
        for line in (REPOSITORY / f"{NEEDS[framework]}.txt").read_text().splitlines()
        if "==" in line
    ]
    assert any(pin in line for pin in pins)
    assert not (tmp_path / "models").exists()


def test_every_format_is_known() -> None:
    assert set(FILES.values()) <= set(FORMATS)
    assert set(NEEDS) <= set(FORMATS)
    for name in NEEDS.values():
        pins = (REPOSITORY / f"{name}.txt").read_text().splitlines()
        assert all("==" in pin for pin in pins if not pin.startswith(("#", "-r ")))
