"""The current code works with the state that an earlier version of the code wrote.

Pulumi stores the import path of every dynamic provider in the state. If a provider's module or
class is renamed, these tests fail with "Can't get attribute".
"""

from pathlib import Path

import pytest

from tests.engine.export_state import FIXTURE, PROJECT_ROOT
from tests.engine.project import Project


@pytest.fixture(scope="module")
def project(project: Project) -> Project:
    """A project at another path with an empty stack."""
    project.pulumi("stack", "init", "local")
    return project


@pytest.fixture
def imported(project: Project, tmp_path: Path) -> Project:
    """The project whose stack has the state of the fixture and no process."""
    path = tmp_path / "state.json"
    path.write_text(FIXTURE.read_text().replace(PROJECT_ROOT, str(project.root)))
    project.pulumi("stack", "import", "--file", str(path))
    return project


def test_fixture_contains_no_path_of_a_machine() -> None:
    text = FIXTURE.read_text()
    assert PROJECT_ROOT in text
    assert str(Path.home()) + "/" not in text
    assert "project:///" not in text


def test_imported_state_is_refreshed_updated_and_destroyed(imported: Project) -> None:
    refreshed = imported.pulumi("refresh", "--yes")
    assert "updated" in refreshed.stdout
    assert imported.json("status")["gateway"] == "stopped"

    key = imported.key()
    imported.berth("up", "--yes")
    assert imported.json("invoke", "digits")["model_name"] == "digits"
    assert imported.key() == key
    imported.berth("preview", "--expect-no-changes")

    imported.berth("destroy", "--yes")
    assert imported.find_processes() == []
    assert not imported.run_dir.path.exists()


def test_imported_state_is_destroyed_without_an_update(imported: Project) -> None:
    imported.berth("destroy", "--yes")
    assert not imported.run_dir.path.exists()
