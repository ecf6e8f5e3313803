"""Packaging a model of a missing framework: one line with the command that installs it."""

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from berth.cli.main import main
from berth.packaging.formats import EXTRAS, FILES, FORMATS
from berth.packaging.requirements import find_pins
from tests.repository import REPOSITORY

SOURCES = {
    "xgboost": "model.json",
    "lightgbm": "model.txt",
    "torch": "model.pt2",
    "transformers": "model",
}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DECLARED: dict[str, list[str]] = PROJECT["optional-dependencies"]


@pytest.fixture(autouse=True)
def _metadata_of_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the extras that this checkout declares, even if another version of Berth is installed."""
    requires = []
    for extra, requirements in DECLARED.items():
        for requirement in map(Requirement, requirements):
            condition = f"extra == '{extra}'"
            if requirement.marker is not None:
                condition = f"({requirement.marker}) and {condition}"
            requirement.marker = None
            requires.append(f"{requirement}; {condition}")
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: requires)


@pytest.mark.parametrize("framework", SOURCES)
def test_missing_framework_is_reported_with_install_command(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, framework, None)  # Importing it now raises ImportError.
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

    result = CliRunner().invoke(main, ["package", str(source), *arguments])

    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if "not installed" in line]
    assert f"-m pip install 'berth[{EXTRAS[framework]}]'" in line
    declared = [Requirement(text) for text in DECLARED[EXTRAS[framework]]]
    pins = [
        f"{requirement.name}{requirement.specifier}"
        for requirement in declared
        if requirement.name != "berth"
        and (requirement.marker is None or requirement.marker.evaluate())
    ]
    assert pins
    assert all(pin in line for pin in pins)
    assert not (tmp_path / "models").exists()


def test_pins_of_extra_include_those_of_included_extras() -> None:
    pins = find_pins("transformers")

    assert {pin.partition("==")[0] for pin in pins} >= {"transformers", "torch", "scikit-learn"}
    assert len(pins) == len(set(pins))


def test_pins_are_empty_if_berth_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_not_found(_: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", raise_not_found)

    assert find_pins("xgboost") == []


def test_every_format_has_extra_with_pinned_versions() -> None:
    assert set(FILES.values()) <= set(FORMATS)
    assert set(EXTRAS) == set(FORMATS)
    for extra in set(EXTRAS.values()):
        assert all("==" in line or line.startswith("berth[") for line in DECLARED[extra])
