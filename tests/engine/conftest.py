"""The real engine: each module of tests has a project of its own, destroyed at its end."""

import shutil
from collections.abc import Iterator

import pytest

from tests.engine.project import Project


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    if shutil.which("pulumi") is None:
        pytest.skip("no pulumi on the PATH: `./berth test` finds or makes one")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A fresh project that nothing has been done with."""
    found = Project.copy_to(tmp_path_factory.mktemp("project"))
    yield found
    found.clean_up()


@pytest.fixture(scope="module")
def up(project: Project) -> Project:
    """The project with its stack up."""
    project.berth("up", "--yes")
    return project
