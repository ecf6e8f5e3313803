"""Settings that keep anything from passing because a tool is missing."""

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from berth.cli import stacks
from berth.cli.main import main
from berth.errors import OperationError
from berth.operations import preflight
from berth.operations.engine_process import Engine
from berth.operations.required_tools import (
    POLICY_PROGRAM,
    check_required_tools,
)
from berth.operations.stack import Stack
from berth.platforms.image_settings import build_image_settings
from berth.platforms.preflight import Requirement
from berth.spec import HostingSpec
from tests.unit.spec_file import CLUSTER, SMALLEST, load

_PACK = Path(str(files("berth_policy")))
_SCANNER = "  berth:images: {scan: {require_scanner: true}}\n"
_COMMAND = '  berth:images: {scan: {require_scanner: true, command: [snyk, "{image}"]}}\n'
_POLICY = "  berth:policy: {require_policy: true}\n"


def _install(directory: Path, *programs: str) -> dict[str, str]:
    """Return an environment whose PATH has only these programs."""
    for program in programs:
        (directory / program).touch(mode=0o755)
    return {"PATH": str(directory)}


def _check(spec: HostingSpec, environment: dict[str, str], pack: Path = _PACK) -> None:
    check_required_tools(spec, environment, pack, builds_images=True)


@pytest.mark.parametrize(
    ("setting", "installed", "missing"),
    [
        (_SCANNER, (), "'trivy' or 'grype' is not on the PATH"),
        (_COMMAND, ("trivy",), "'snyk' is not on the PATH"),
        (_POLICY, (), f"'{POLICY_PROGRAM}' is missing"),
    ],
)
def test_missing_required_tool_stops_before_changes(
    tmp_path: Path, setting: str, installed: tuple[str, ...], missing: str
) -> None:
    spec = load(tmp_path, CLUSTER + setting)
    with pytest.raises(OperationError, match="Nothing was changed") as caught:
        _check(spec, _install(tmp_path, *installed))
    assert missing in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "installed"),
    [
        ("", ()),
        (_SCANNER, ("trivy",)),
        (_SCANNER, ("grype",)),
        (_COMMAND, ("snyk",)),
        (_POLICY, (POLICY_PROGRAM,)),
    ],
)
def test_installed_required_tool_passes(
    tmp_path: Path, setting: str, installed: tuple[str, ...]
) -> None:
    _check(load(tmp_path, CLUSTER + setting), _install(tmp_path, *installed))


def test_missing_pack_stops(tmp_path: Path) -> None:
    spec = load(tmp_path, CLUSTER + _POLICY)
    with pytest.raises(OperationError, match=r"PulumiPolicy\.yaml' is missing"):
        _check(spec, _install(tmp_path, POLICY_PROGRAM), pack=tmp_path)


def test_required_policy_runs_on_a_platform_without_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "_open_stack", lambda *_, **__: Stack("local", tmp_path, {}))
    opened = stacks.open_stack_for_update(tmp_path, "local", load(tmp_path, SMALLEST))
    assert opened.policy_pack is None
    required = load(tmp_path, SMALLEST + _POLICY)
    assert stacks.open_stack_for_update(tmp_path, "local", required).policy_pack == _PACK


def test_required_scanner_is_a_setting_of_every_image(tmp_path: Path) -> None:
    assert build_image_settings(load(tmp_path, CLUSTER + _SCANNER), "r").require_scanner is True
    assert build_image_settings(load(tmp_path, CLUSTER), "r").require_scanner is False


@pytest.mark.parametrize("command", ["up", "preview", "preflight"])
def test_command_stops_before_it_starts_the_engine(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path, CLUSTER + _SCANNER, "s")
    started: list[str] = []
    list_all = preflight.list_requirements

    def list_tools(*arguments: Any) -> list[Requirement]:
        return [one for one in list_all(*arguments) if one.name == "tools"]

    def start(*_: object, **__: object) -> None:
        started.append(command)

    monkeypatch.setattr(import_module(f"berth.cli.{command}"), "find_project", lambda: tmp_path)
    monkeypatch.setattr(preflight, "list_requirements", list_tools)
    engine = SimpleNamespace(environment=lambda _: _install(tmp_path))
    monkeypatch.setattr("berth.engine.ensure_engine", lambda _: engine)
    for name in ("run", "capture"):
        monkeypatch.setattr(Engine, name, start)
    result = CliRunner().invoke(main, [command, "-s", "s"])
    assert result.exit_code != 0
    assert "images.scan.require_scanner is true" in result.output
    assert started == []
