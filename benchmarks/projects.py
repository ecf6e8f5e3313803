"""A new project whose stack runs on a platform, for as long as a benchmark takes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.aws.emulation import emulated
from tests.aws.stacks import create_host_zone, create_stack, serve_registry_to
from tests.cluster.cluster import Cluster, start_cluster
from tests.cluster.stacks import build_stack_file, create_project
from tests.docker.hosting import DockerProject
from tests.docker.lab import LabNames, open_lab
from tests.engine.project import Project

PLATFORMS = ("local", "docker", "kubernetes", "aws")
# The path of a socket has at most 107 characters.
_CLUSTER, _NAME, _NET = Path(tempfile.gettempdir()) / "berth-bench", "berth-bench", "10.139"
# The processes of a test run have smaller numbers.
_LAB = 9


@contextmanager
def open_docker_project() -> Iterator[DockerProject]:
    """Create a project for a new Docker engine, which ends after the block.

    It needs root and Debian's docker.io.
    """
    directory = tempfile.TemporaryDirectory(prefix="berth-bench-")
    with directory as root, open_lab(LabNames.of_process(_LAB)) as lab:
        yield DockerProject.create(Path(root), lab.start_engine("engine"))


@contextmanager
def open_project(platform: str) -> Iterator[Project]:
    """Create a project, and end everything that its stack runs after the block.

    Platforms kubernetes and aws need root and the `cluster` tool. The cluster, and the emulated
    AWS, end with the block.
    """
    if platform == "docker":
        with open_docker_project() as docker_project:
            yield docker_project
        return
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as directory:
        if platform == "local":
            project = Project.copy_to(Path(directory))
            try:
                yield project
            finally:
                project.stop_processes()
            return
        cluster = start_cluster(_CLUSTER, name=_NAME, net=_NET)
        try:
            if platform == "aws":
                with _open_aws_project(Path(directory), cluster) as aws_project:
                    yield aws_project
            else:
                content = build_stack_file(cluster, "bench")
                yield create_project(Path(directory), "bench", content)
        finally:
            cluster.stop()


@contextmanager
def _open_aws_project(directory: Path, cluster: Cluster) -> Iterator[Project]:
    """Create a project with this repository's stack `dev`, on emulated AWS and the cluster."""
    registry = serve_registry_to(cluster, directory)
    with emulated(directory / "emulator.log") as aws, registry as served:
        create_host_zone(aws)
        (directory / "project").mkdir()
        yield create_stack("dev", directory / "project", aws, cluster, served)
