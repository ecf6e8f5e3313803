"""The containers of a real stack and the recommendations of the CIS Docker Benchmark."""

import contextlib

import pytest

from pulumi_berth.docker.engine import HOSTING_LABEL
from tests.docker.benchmark import DEVIATIONS, find_failures
from tests.docker.hosting import DockerProject

pytestmark = pytest.mark.slow


def test_containers_of_a_stack_meet_the_benchmark(up: DockerProject) -> None:
    label = f"{HOSTING_LABEL}=berth/docker/berth-docker"
    with contextlib.closing(up.engine.client()) as client:
        containers = client.containers.list(filters={"label": label})
        assert client.info()["Swarm"]["LocalNodeState"] == "inactive"  # 5.1
        failures = {str(each.name): find_failures(each.attrs) for each in containers}
        programs = {line for each in containers for row in each.top()["Processes"] for line in row}
    assert len(failures) == 6
    assert failures == dict.fromkeys(failures, DEVIATIONS)
    assert not any("sshd" in program for program in programs)  # 5.7
    published = [name for name in failures if up.engine.docker("port", name)]
    assert published == [up.container("entry").name]  # 5.9
