"""Engines over SSH: reached through the user's ssh, and clear errors where that fails."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import docker
import psutil
import pytest

from pulumi_berth.docker import ssh_tunnel
from pulumi_berth.docker.ssh_tunnel import TunnelError, forward_engine
from tests.cluster.cluster import poll
from tests.docker.engine import Server
from tests.docker.lab import Servers


@pytest.fixture(autouse=True)
def _use_ssh_configuration(docker_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in docker_servers.environment().items():
        monkeypatch.setenv(name, value)
    ssh_tunnel.close_tunnels()
    ssh_tunnel._find_socket.cache_clear()


@pytest.fixture
def server(docker_servers: Servers) -> Server:
    return docker_servers.servers[0]


def _read_name(address: str) -> str:
    with contextlib.closing(docker.DockerClient(forward_engine(address))) as client:
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


def test_server_is_reached_again_after_its_key_is_known(
    docker_servers: Servers, server: Server
) -> None:
    assert _read_name(server.url) == "server-1"
    ssh_tunnel.close_tunnels()
    docker_servers.known_hosts.write_text("")
    try:
        with pytest.raises(TunnelError, match=r"is not reachable: .*Host key verification failed"):
            _read_name(server.url)
    finally:
        docker_servers.accept_host_keys()
    assert _read_name(server.url) == "server-1"


def test_one_connection_serves_all_requests(server: Server) -> None:
    first = forward_engine(server.url)
    assert forward_engine(server.url) == first
    ssh_tunnel._tunnels[server.url]._process.kill()
    ssh_tunnel._tunnels[server.url]._process.wait()
    # A broken connection is opened again.
    assert forward_engine(server.url) != first
    assert _read_name(server.url) == "server-1"


def test_connection_ends_with_a_killed_process(server: Server) -> None:
    program = (
        "import os, signal\nfrom pulumi_berth.docker import ssh_tunnel\n"
        f"ssh_tunnel.forward_engine({server.url!r})\n"
        f"print(ssh_tunnel._tunnels[{server.url!r}]._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert process.returncode == -signal.SIGKILL
    poll(lambda: not psutil.pid_exists(int(process.stdout)), seconds=20)


@pytest.mark.usefixtures("_lost")
def test_lost_server_is_reported(server: Server) -> None:
    with pytest.raises(TunnelError, match=r"is not reachable: .*(No route to host|timed out)"):
        _read_name(server.url)


@pytest.mark.usefixtures("_stopped_engine")
def test_stopped_engine_is_reported(server: Server) -> None:
    with pytest.raises(TunnelError, match=r"does not answer at /var/run/docker.sock: .*Start it"):
        _read_name(server.url)


def test_server_without_docker_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_tunnel, "_FIND_SOCKET", "no-such-docker context")
    with pytest.raises(TunnelError, match="has no command no-such-docker"):
        _read_name(server.url)


def test_machine_without_ssh_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(TunnelError, match="Install an SSH client"):
        _read_name(server.url)
