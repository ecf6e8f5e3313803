"""The providers that a platform needs: found, installed once, or told how to be had."""

import importlib.metadata
import json
import os
from pathlib import Path

import pytest

from berth.engine import EngineError, ensure_providers
from berth.platforms import get_platform

_VERSION = importlib.metadata.version("pulumi-kubernetes")


def _environment(folder: Path, *, installed: bool = False, installs: bool = True) -> dict[str, str]:
    """An engine that notes what it is asked."""
    listed = [{"name": "kubernetes", "version": _VERSION}] if installed else []
    script = folder / "pulumi"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$*" >> {folder}/asked\n'
        f'case "$*" in *"plugin ls"*) echo \'{json.dumps(listed)}\';; '
        f"*) echo 'error: no way there' >&2; exit {0 if installs else 1};; esac\n"
    )
    script.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"}


def _asked(folder: Path) -> str:
    path = folder / "asked"
    return path.read_text() if path.exists() else ""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_the_local_platform_needs_none(tmp_path: Path, said: list[str]) -> None:
    ensure_providers(get_platform("local"), _environment(tmp_path), said.append)
    assert (_asked(tmp_path), said) == ("", [])


def test_one_on_the_path_is_used(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "pulumi-resource-kubernetes").touch(mode=0o755)
    ensure_providers(get_platform("kubernetes"), _environment(tmp_path), said.append)
    assert (_asked(tmp_path), said) == ("", [])


def test_one_that_is_installed_is_used(tmp_path: Path, said: list[str]) -> None:
    ensure_providers(
        get_platform("kubernetes"), _environment(tmp_path, installed=True), said.append
    )
    assert "install" not in _asked(tmp_path)
    assert said == []


def test_otherwise_it_is_installed_in_the_pinned_version(tmp_path: Path, said: list[str]) -> None:
    ensure_providers(get_platform("kubernetes"), _environment(tmp_path), said.append)
    assert f"plugin install resource kubernetes {_VERSION}" in _asked(tmp_path)
    assert said == [f"provider: installing kubernetes {_VERSION}, once"]


def test_one_that_cannot_be_had_is_told_with_where_it_is(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(EngineError, match="error: no way there") as caught:
        ensure_providers(
            get_platform("kubernetes"), _environment(tmp_path, installs=False), said.append
        )
    assert f"releases/tag/v{_VERSION}" in str(caught.value)
