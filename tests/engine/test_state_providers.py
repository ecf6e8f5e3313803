"""A state that somebody changed runs no code, with the real engine."""

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from berth.engine import ensure_engine
from berth.operations.stack import Stack
from tests.engine.export_state import FIXTURE, PROJECT_ROOT
from tests.engine.project import Project


def _make_evil(path: Path) -> str:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (path,)

    return base64.b64encode(pickle.dumps(Evil())).decode()


@pytest.fixture
def target(new_project: Project, tmp_path: Path) -> Path:
    """The file that the changed state of the project would create."""
    path = tmp_path / "created"
    state = json.loads(FIXTURE.read_text().replace(PROJECT_ROOT, str(new_project.root)))
    for resource in state["deployment"]["resources"]:
        for key in ("inputs", "outputs"):
            if "__provider" in resource.get(key, {}):
                resource[key]["__provider"] = _make_evil(path)
    file = tmp_path / "state.json"
    file.write_text(json.dumps(state))
    new_project.pulumi("stack", "init", "local")
    new_project.pulumi("stack", "import", "--file", str(file))
    return path


@pytest.mark.parametrize("command", ["preview", "up", "destroy"])
def test_changed_state_stops_every_command(
    new_project: Project, target: Path, command: str
) -> None:
    arguments = [command] if command == "preview" else [command, "--yes"]
    result = new_project.berth(*arguments, code=1)
    assert "names a dynamic provider outside pulumi_berth.providers" in result.stderr
    assert not target.exists()


def test_engine_that_berth_starts_loads_no_other_provider(
    new_project: Project, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state can change after the check."""
    monkeypatch.setattr("berth.operations.stack.check_providers", lambda *_: None)
    environment = ensure_engine(lambda _: None).environment(new_project.root)
    stack = Stack("local", new_project.root, environment)
    assert stack.destroy("--yes") != 0
    assert not target.exists()
