"""The providers of a platform: found, installed once, or reported with a download link."""

import importlib.metadata
import json
import os
from pathlib import Path

import pytest

from berth.engine import EngineError, ensure_providers
from berth.platforms import get_platform

_VERSION = importlib.metadata.version("pulumi-kubernetes")


def _environment(folder: Path, *, installed: bool = False, installs: bool = True) -> dict[str, str]:
    """An engine that logs its arguments."""
    listed = [{"name": "kubernetes", "version": _VERSION}] if installed else []
    script = folder / "pulumi"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$*" >> {folder}/calls\n'
        f'case "$*" in *"plugin ls"*) echo \'{json.dumps(listed)}\';; '
        f"*) echo 'error: no way there' >&2; exit {0 if installs else 1};; esac\n"
    )
    script.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"}


def _calls(folder: Path) -> str:
    path = folder / "calls"
    return path.read_text() if path.exists() else ""


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_local_platform_installs_no_provider(tmp_path: Path, messages: list[str]) -> None:
    ensure_providers(get_platform("local"), _environment(tmp_path), messages.append)
    assert (_calls(tmp_path), messages) == ("", [])


def test_provider_on_path_is_used(tmp_path: Path, messages: list[str]) -> None:
    (tmp_path / "pulumi-resource-kubernetes").touch(mode=0o755)
    ensure_providers(get_platform("kubernetes"), _environment(tmp_path), messages.append)
    assert (_calls(tmp_path), messages) == ("", [])


def test_installed_plugin_is_used(tmp_path: Path, messages: list[str]) -> None:
    ensure_providers(
        get_platform("kubernetes"), _environment(tmp_path, installed=True), messages.append
    )
    assert "install" not in _calls(tmp_path)
    assert messages == []


def test_missing_provider_is_installed_in_pinned_version(
    tmp_path: Path, messages: list[str]
) -> None:
    ensure_providers(get_platform("kubernetes"), _environment(tmp_path), messages.append)
    assert f"plugin install resource kubernetes {_VERSION}" in _calls(tmp_path)
    assert messages == [f"provider: installing kubernetes {_VERSION} once"]


def test_failed_installation_is_reported_with_download_link(
    tmp_path: Path, messages: list[str]
) -> None:
    with pytest.raises(EngineError, match="error: no way there") as caught:
        ensure_providers(
            get_platform("kubernetes"), _environment(tmp_path, installs=False), messages.append
        )
    assert f"releases/tag/v{_VERSION}" in str(caught.value)
