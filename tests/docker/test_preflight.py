"""`berth preflight` with real engines."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from berth.platforms.docker.hosts import find_unreachable_hosts
from berth.platforms.docker.preflight import run_checks
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from tests.docker.engine import Engine
from tests.docker.lab import Servers
from tests.unit.spec_file import load

_SPEC = """\
config:
  berth:platform: docker
  berth:models: {digits: {versions: {"1": {}}, resources: {cpu: 100m}}}
  berth:docker:
"""


@pytest.fixture(autouse=True)
def _ssh_configuration(docker_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in docker_servers.environment().items():
        monkeypatch.setenv(name, value)


def _check(root: Path, settings: str) -> Mapping[str, Finding]:
    spec = load(root, f"{_SPEC}{settings}", "docker")
    context = StackContext(root=root, stack="docker", spec=spec)
    return {finding.check: finding for finding in run_checks(context)}


def _find_problems(found: Mapping[str, Finding]) -> list[str]:
    passed = (Status.PASSED, Status.OPTIONAL)
    return [f"{each.check}: {each.detail}" for each in found.values() if each.status not in passed]


def test_engine_of_this_machine_passes(docker_engine: Engine, tmp_path: Path) -> None:
    found = _check(tmp_path, f"    host: {docker_engine.host}\n")
    assert _find_problems(found) == []
    assert "Docker 20.10" in found["engine"].detail or "Docker 2" in found["engine"].detail
    assert "GiB are free in" in found["disk"].detail


def test_engine_over_ssh_passes(docker_servers: Servers, tmp_path: Path) -> None:
    server = docker_servers.servers[0]
    found = _check(tmp_path, f"    host: {server.url}\n")
    assert _find_problems(found) == []
    # The server's own `df` answers.
    assert f"GiB are free in {server.directory}/data" in found["disk"].detail


def _list_hosts(servers: Servers) -> str:
    return "    hosts:\n" + "".join(
        f"      {server.machine.name}: {{address: '{server.url}', memory: 1Gi, "
        f"private_address: {server.address}}}\n"
        for server in servers.servers
    )


@pytest.fixture
def _swarm(docker_servers: Servers) -> Iterator[None]:
    docker_servers.create_swarm()
    yield
    docker_servers.leave_swarm()


def test_servers_that_are_in_no_swarm_fail(docker_servers: Servers, tmp_path: Path) -> None:
    found = _check(tmp_path, _list_hosts(docker_servers))
    assert len(_find_problems(found)) == 2
    first = docker_servers.servers[0].address
    assert f"docker swarm init --advertise-addr {first}" in found["server-1: swarm"].fix


@pytest.mark.usefixtures("_swarm")
def test_lost_server_of_a_swarm_is_skipped_and_reported(
    docker_servers: Servers, tmp_path: Path
) -> None:
    settings = _list_hosts(docker_servers)
    assert _find_problems(_check(tmp_path, settings)) == []
    with contextlib.ExitStack() as stack:
        docker_servers.servers[1].lose()
        stack.callback(docker_servers.servers[1].return_to_network)
        found = _check(tmp_path, settings)
        assert [
            (each.check, each.status) for each in found.values() if "server-2" in each.check
        ] == [("server-2: connection", Status.WARNING)]
        assert "an update skips this host" in found["server-2: connection"].detail
        spec = load(tmp_path, f"{_SPEC}{settings}", "docker")
        (part,) = find_unreachable_hosts(spec, tmp_path)
        assert part.name == "host server-2"
        # The text depends on whether `ssh` has noticed already.
        assert f"{docker_servers.servers[1].address} " in part.reason
