"""A project with a stack on a Docker engine, which the modules of tests share."""

import shutil
from collections.abc import Iterator

import pytest

from tests.docker.engine import Engine
from tests.docker.hosting import DockerProject


@pytest.fixture(scope="session")
def docker_project(
    docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerProject]:
    """A project whose stack `docker` runs on the shared engine. It is destroyed at the end."""
    if shutil.which("pulumi") is None:
        pytest.skip("pulumi is not on the PATH; `./berth test` finds or builds it")
    project = DockerProject.create(tmp_path_factory.mktemp("docker"), docker_engine)
    yield project
    if project.list_objects():
        project.berth("destroy", "--yes")


@pytest.fixture
def up(docker_project: DockerProject) -> DockerProject:
    """The project with a running stack and its first configuration."""
    docker_project.ensure_deployed()
    return docker_project
