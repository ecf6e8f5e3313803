"""Which stack plain `pulumi` works on, read from the engine's file."""

import hashlib
import json
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from berth.operations.state_file import is_selected

_BACKEND = "file:///states"
_ENVIRONMENT = {"PULUMI_BACKEND_URL": _BACKEND}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a user whose `HOME` is not the one of the password database."""
    monkeypatch.setenv("HOME", str(tmp_path / "variable"))
    entry = SimpleNamespace(pw_dir=str(tmp_path / "database"))
    monkeypatch.setattr(pwd, "getpwuid", {os.getuid(): entry}.__getitem__)
    root = tmp_path / "project"
    root.mkdir()
    (root / "Pulumi.yaml").write_text("name: shop\n")
    return root


def _select(root: Path, home: Path, stack: str) -> None:
    digest = hashlib.sha1(str(root / "Pulumi.yaml").encode(), usedforsecurity=False).hexdigest()
    path = home / "workspaces" / f"shop-{digest}-workspace.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"stacks": {_BACKEND: f"organization/shop/{stack}"}}))


@pytest.mark.parametrize("home", ["variable", "database"])
def test_engine_may_use_either_home_directory(root: Path, tmp_path: Path, home: str) -> None:
    assert not is_selected(root, "dev", _ENVIRONMENT)
    _select(root, tmp_path / home / ".pulumi", "dev")
    assert is_selected(root, "dev", _ENVIRONMENT)
    assert not is_selected(root, "prod", _ENVIRONMENT)
    assert not is_selected(root, "dev", {"PULUMI_BACKEND_URL": "file:///other"})


def test_home_directories_that_disagree_are_unknown(root: Path, tmp_path: Path) -> None:
    _select(root, tmp_path / "variable" / ".pulumi", "dev")
    _select(root, tmp_path / "database" / ".pulumi", "prod")
    assert not is_selected(root, "dev", _ENVIRONMENT)
    assert not is_selected(root, "prod", _ENVIRONMENT)


def test_engine_with_a_home_of_its_own_has_only_that(root: Path, tmp_path: Path) -> None:
    _select(root, tmp_path / "variable" / ".pulumi", "dev")
    environment = _ENVIRONMENT | {"PULUMI_HOME": str(tmp_path / "own")}
    assert not is_selected(root, "dev", environment)
    _select(root, tmp_path / "own", "prod")
    assert is_selected(root, "prod", environment)


def test_damaged_file_is_unknown(root: Path, tmp_path: Path) -> None:
    _select(root, tmp_path / "variable" / ".pulumi", "dev")
    (path,) = (tmp_path / "variable").rglob("*.json")
    path.write_text("[]")
    assert not is_selected(root, "dev", _ENVIRONMENT)
