"""How a stack runs the engine, with a script in place of `pulumi`."""

import os
from pathlib import Path

import pytest

from berth.operations.stack import Stack


def _stack(tmp_path: Path, script: str) -> Stack:
    """Return a stack whose engine is the shell script `script`."""
    engine = tmp_path / "bin" / "pulumi"
    engine.parent.mkdir()
    engine.write_text(f"#!/bin/sh\n{script}\n")
    engine.chmod(0o755)
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    path = f"{engine.parent}{os.pathsep}{os.environ['PATH']}"
    return Stack("dev", tmp_path, {**os.environ, "PATH": path})


@pytest.fixture(autouse=True)
def _engine_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)


@pytest.mark.parametrize("status", [1, 2, 4, 5, 7, 8, 255])
def test_every_failure_of_the_engine_has_exit_status_1(tmp_path: Path, status: int) -> None:
    """Pulumi exits with 7 if a preview with `--expect-no-changes` finds a change."""
    stack = _stack(tmp_path, f"exit {status}")
    assert stack.preview("--expect-no-changes") == 1
    assert stack.up("--yes") == 1
    assert stack.destroy("--yes") == 1


def test_preview_as_json_with_unexpected_changes_has_exit_status_1(tmp_path: Path) -> None:
    event = '{"summaryEvent": {"resourceChanges": {"update": 1}}}'
    stack = _stack(tmp_path, f"echo '{event}'; exit 7")
    assert stack.preview_json("--expect-no-changes") == (
        1,
        {"changes": {"update": 1}, "steps": [], "policies": [], "errors": []},
    )
