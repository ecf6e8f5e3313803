"""The real engine. Each module of tests has its own project, which is stopped at its end.

A test that needs a running stack uses the fixture `up`. It restores the module's configuration
before each test, so that the tests are independent of their order. A test that deploys its own
configuration, or that needs none, uses `running` instead, which does not restore it.
"""

import shutil
from collections.abc import Iterator

import pytest

from tests.engine.project import Project


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    if shutil.which("pulumi") is None:
        pytest.skip("pulumi is not on the PATH; `./berth test` finds or builds it")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A new project."""
    project = Project.copy_to(tmp_path_factory.mktemp("project"))
    yield project
    project.stop_processes()


@pytest.fixture
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A new project for one test, for example to start without a history."""
    project = Project.copy_to(tmp_path_factory.mktemp("project"))
    yield project
    project.stop_processes()


@pytest.fixture
def up(project: Project) -> Project:
    """The module's project with a running stack and the module's configuration."""
    project.ensure_up()
    return project


@pytest.fixture
def running(project: Project) -> Project:
    """The module's project with a running stack, in a configuration that a test deployed."""
    project.ensure_running()
    return project
