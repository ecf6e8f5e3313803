"""The engines of the other tests: they fail as servers do, and leave nothing behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.cluster import poll
from tests.docker.engine import Engine
from tests.docker.lab import Lab, LabNames, Servers, open_lab
from tests.docker.machines import MachineError, run
from tests.repository import REPOSITORY

_DIRECTORIES = ("/bin", "/lib", "/lib64", "/usr")
_ANSWER = """
use IO::Socket::INET;
$server = IO::Socket::INET->new(Listen => 5, LocalPort => 80, ReuseAddr => 1) or die $!;
while ($client = $server->accept) { print $client "hello"; close $client }
"""


def _start(engine: Engine, *command: str, **options: Any) -> str:
    """Start a program of this machine in a container of an empty image, and return its ID."""
    if not engine.docker("image", "ls", "-q", "empty"):
        engine.docker("import", "/dev/null", "empty")
    volumes = [f"{path}:{path}:ro" for path in _DIRECTORIES if Path(path).exists()]
    with contextlib.closing(engine.client()) as client:
        container = client.containers.run(
            "empty", list(command), volumes=volumes, detach=True, **options
        )
        return str(container.id)


@contextmanager
def _container(engine: Engine, *command: str, **options: Any) -> Iterator[str]:
    container = _start(engine, *command, **options)
    try:
        yield container
    finally:
        engine.docker("rm", "-f", container)


def _connect(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), timeout=3) as connection:
        return connection.recv(16)


def _answers(address: str) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        return _connect(address, 8090) == b"hello"
    return False


def _is_running(engine: Engine, container: str) -> bool:
    return engine.docker("inspect", "-f", "{{.State.Running}}", container) == "true"


def _find_traces(names: LabNames) -> list[str]:
    """Return what a lab has on this machine: interfaces, routes, control groups and mounts."""
    interfaces = run("ip", "-o", "link").splitlines() + run("ip", "route").splitlines()
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{names.name}")]
    mounts = Path("/proc/mounts").read_text().splitlines()
    traces = (names.name, f"{names.prefix}.", str(names.directory))
    lines = [*interfaces, *groups, *mounts, *run("iptables-save").splitlines()]
    return [line for line in lines if any(trace in line for trace in traces)]


def _find_processes(names: LabNames) -> list[str]:
    """Return the command lines of processes with files of a lab."""
    lines = [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ]
    return [line for line in lines if str(names.directory) in line]


def test_published_port_answers_at_the_address_of_the_engine(docker_engine: Engine) -> None:
    with _container(docker_engine, "perl", "-e", _ANSWER, ports={"80/tcp": 8090}):
        poll(lambda: _answers(docker_engine.address), seconds=10)


def test_limits_are_enforced_by_the_kernel(docker_engine: Engine) -> None:
    with _container(docker_engine, "sleep", "600", mem_limit="64m", pids_limit=20) as container:
        groups = list(
            Path("/sys/fs/cgroup").glob(f"**/{docker_engine.cgroup.strip('/')}/{container}")
        )
        limits = {
            file.name: file.read_text().strip()
            for group in groups
            for file in group.glob("*")
            if file.name in ("memory.limit_in_bytes", "memory.max", "pids.max")
        }
        assert sorted(limits.values()) == ["20", str(64 << 20)]


def test_container_starts_again_with_its_engine_and_with_its_machine(docker_lab: Lab) -> None:
    engine = docker_lab.start_engine("restarted")
    # The kernel ignores SIGTERM for a program that is the first of its container.
    options = {"restart_policy": {"Name": "unless-stopped"}, "stop_signal": "SIGKILL"}
    with _container(engine, "sleep", "600", **options) as container:
        engine.restart_daemon()
        assert _is_running(engine, container)
        engine.stop()
        engine.start()
        assert _is_running(engine, container)
    engine.stop()


def test_servers_reach_each_other(docker_servers: Servers) -> None:
    first, second = docker_servers.servers
    with _container(second, "perl", "-e", _ANSWER, ports={"80/tcp": (second.address, 8090)}):
        poll(lambda: _answers(second.address), seconds=10)
        command = f"exec 3<>/dev/tcp/{second.address}/8090; cat <&3"
        assert first.machine.run("bash", "-c", command) == "hello"


def _docker_over_ssh(servers: Servers, number: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/usr/bin/docker", "--host", servers.servers[number].url, "info"],
        env=os.environ | servers.environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_each_server_answers_over_ssh(docker_servers: Servers) -> None:
    for number, server in enumerate(docker_servers.servers):
        assert f"Name: {server.machine.name}" in _docker_over_ssh(docker_servers, number).stdout


def test_server_with_an_unknown_host_key_is_rejected(docker_servers: Servers) -> None:
    first, second = docker_servers.servers
    other_key = second.known_host.partition(" ")[2]
    docker_servers.known_hosts.write_text(f"{first.address} {other_key}\n")
    try:
        process = _docker_over_ssh(docker_servers, 0)
        assert "Host key verification failed" in process.stdout
    finally:
        docker_servers.accept_host_keys()


def test_lost_server_is_unreachable_until_it_returns(docker_servers: Servers) -> None:
    server = docker_servers.servers[1]
    assert _connect(server.address, 22).startswith(b"SSH-2.0")
    with _container(server, "sleep", "600") as container:
        server.lose()
        with pytest.raises(OSError, match=r"timed out|No route"):
            _connect(server.address, 22)
        server.return_to_network()
        assert _connect(server.address, 22).startswith(b"SSH-2.0")
        assert _is_running(server, container)


@pytest.mark.usefixtures("docker_lab")
def test_lab_leaves_nothing() -> None:
    names = LabNames.of_process(14)
    with open_lab(names) as lab:
        engine = lab.start_engine("engine")
        # The container still runs when the lab ends.
        _start(engine, "sleep", "600", mem_limit="64m", ports={"80/tcp": 8090})
        assert len(_find_traces(names)) > 2
    assert _find_traces(names) == []
    assert not names.directory.exists()


@pytest.mark.usefixtures("docker_lab")
def test_lab_whose_engine_does_not_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    names = LabNames.of_process(14)
    monkeypatch.setattr(Engine, "command", lambda _engine: ["dockerd", "--unknown-option"])
    with open_lab(names) as lab, pytest.raises(MachineError, match="unknown flag: --unknown-opt"):
        lab.start_engine("engine")
    assert _find_traces(names) == []


@pytest.mark.usefixtures("docker_lab")
def test_lab_with_used_names_is_rejected() -> None:
    names = LabNames.of_process()
    with pytest.raises(MachineError, match="another test run uses"), open_lab(names):
        pass
    other = replace(LabNames.of_process(14), prefix=names.prefix)
    with pytest.raises(MachineError, match="is in use on this machine"), open_lab(other):
        pass
    assert not other.directory.exists()


_KILLED = """
import os, signal
from tests.docker.lab import LabNames, open_lab
with open_lab(LabNames.of_process(14)) as lab:
    lab.start_engine("engine")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("docker_lab")
def test_killed_test_run_leaves_no_process_and_no_interface() -> None:
    names = LabNames.of_process(14)
    process = subprocess.run(
        [sys.executable, "-c", _KILLED], cwd=REPOSITORY, check=False, timeout=60,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL
    poll(lambda: not any("dockerd" in line for line in _find_processes(names)), seconds=10)
    poll(lambda: not Path(f"/sys/class/net/{names.name}").exists(), seconds=10)
    # The next run removes the rest.
    with open_lab(names):
        pass
    assert _find_traces(names) == []
