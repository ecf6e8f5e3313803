"""dev and prod, whole: the project's own configurations through the real engine."""

from collections.abc import Iterator

import pytest

from tests.aws.emulation import Emulation
from tests.aws.stacks import new_stack
from tests.cluster.cluster import Cluster
from tests.engine.project import Project


@pytest.fixture(scope="module")
def dev(
    aws: Emulation, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    project = new_stack("dev", tmp_path_factory.mktemp("dev"), aws, cluster)
    project.berth("up", "--yes")
    yield project
    project.berth("destroy", "--yes")


def test_it_is_up(dev: Project) -> None:
    print(dev.json("status"))
