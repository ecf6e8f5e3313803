"""Engines over SSH: reached through the user's ssh, and clear errors where that fails."""

import contextlib
from collections.abc import Iterator

import docker
import pytest

from pulumi_berth.docker.ssh_tunnel import TunnelError, forward_engine
from tests.docker.engine import Server
from tests.docker.lab import Servers


@pytest.fixture(autouse=True)
def _use_ssh_configuration(docker_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in docker_servers.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def server(docker_servers: Servers) -> Server:
    return docker_servers.servers[0]


def _read_name(address: str) -> str:
    with forward_engine(address) as host, contextlib.closing(docker.DockerClient(host)) as client:
        return str(client.info()["Name"])


@pytest.fixture
def _unknown_host_key(docker_servers: Servers) -> Iterator[None]:
    docker_servers.known_hosts.write_text("")
    yield
    docker_servers.accept_host_keys()


@pytest.fixture
def _lost(server: Server) -> Iterator[None]:
    server.lose()
    yield
    server.return_to_network()


@pytest.fixture
def _stopped_engine(server: Server) -> Iterator[None]:
    server.stop_daemon()
    yield
    server.start_daemon()


def test_each_server_is_reached(docker_servers: Servers) -> None:
    names = [_read_name(server.url) for server in docker_servers.servers]
    assert names == ["server-1", "server-2"]


@pytest.mark.usefixtures("_unknown_host_key")
def test_unknown_host_key_is_rejected(server: Server) -> None:
    with pytest.raises(TunnelError, match=r"Host key verification failed.*known_hosts"):
        _read_name(server.url)


@pytest.mark.usefixtures("_lost")
def test_lost_server_is_reported(server: Server) -> None:
    with pytest.raises(TunnelError, match=r"is not reachable: .*(No route to host|timed out)"):
        _read_name(server.url)


@pytest.mark.usefixtures("_stopped_engine")
def test_stopped_engine_is_reported(server: Server) -> None:
    with pytest.raises(TunnelError, match=r"does not answer at /var/run/docker.sock: .*Start it"):
        _read_name(server.url)


def test_server_without_docker_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_berth.docker.ssh_tunnel._FIND_SOCKET", "no-such-docker context")
    with pytest.raises(TunnelError, match="has no command no-such-docker"):
        _read_name(server.url)


def test_machine_without_ssh_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(TunnelError, match="Install an SSH client"):
        _read_name(server.url)
