"""Fixtures: Docker engines that tests share, and servers with Docker that are reached over SSH.

Names and addresses come from the variables of the `cluster` command, so that two checkouts can run
these tests at once. Each process of a test run has its own network.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.docker.engine import Engine, Server, create_key, skip_reason
from tests.docker.machines import MachineError, MachineNetwork, control_group

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@dataclass(frozen=True)
class LabNames:
    """What labs on one machine differ in.

    Attributes:
        name: Name of this machine's interface and of the control group, of at most 15 characters.
        prefix: First three numbers of the addresses.
        directory: Directory of all data. The path of a socket is limited to 107 characters.
    """

    name: str
    prefix: str
    directory: Path

    @classmethod
    def of_process(cls, number: int = _WORKER) -> "LabNames":
        """Return the names of this process's lab. Those of another one have another number.

        The cluster uses none of the networks 16 to 31.
        """
        directory = os.environ.get("CLUSTER_DIR", "/tmp/berth-test-cluster")
        return cls(
            name=f"{os.environ.get('CLUSTER_NAME', 'berth-test')[:11]}-d{number}",
            prefix=f"{os.environ.get('CLUSTER_NET', '10.118')}.{16 + number}",
            directory=Path(f"{directory}-docker{number}"),
        )


_E = TypeVar("_E", bound=Engine)


@dataclass
class Lab:
    """A network of engines. All of them end with the lab, and nothing of them remains.

    Attributes:
        directory: Directory of all data.
        network: Network of the engines and of this machine.
        cgroup: Control group of all containers.
    """

    directory: Path
    network: MachineNetwork
    cgroup: str
    _stack: contextlib.ExitStack
    _count: int = 0

    def start_engine(self, name: str) -> Engine:
        """Start an engine.

        Raises:
            MachineError: If it does not start.
        """
        return self._start(Engine(self.directory / name, self.network, self._next(), self.cgroup))

    def start_server(self, name: str) -> Server:
        """Start an engine that is reached over SSH.

        Raises:
            MachineError: If it does not start.
        """
        return self._start(Server(self.directory / name, self.network, self._next(), self.cgroup))

    def _next(self) -> int:
        self._count += 1
        return 10 + self._count

    def _start(self, engine: _E) -> _E:
        self._stack.callback(engine.stop)
        engine.start()
        return engine


@dataclass(frozen=True)
class Servers:
    """Servers over SSH, and the user's SSH configuration for them.

    Attributes:
        directory: Directory with the client's key, `ssh_config` and `known_hosts`.
    """

    directory: Path
    servers: tuple[Server, ...]

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    def environment(self) -> dict[str, str]:
        """Return the variables with which every program finds the servers' keys.

        `ssh` reads its configuration from the home directory in the user database, which no
        variable changes. The PATH therefore begins with an `ssh` that names the configuration.
        """
        return {"PATH": f"{self.directory / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def create_swarm(self) -> None:
        """Make the engines nodes of one swarm. The first is its manager."""
        first, *others = self.servers
        first.docker("swarm", "init", "--advertise-addr", first.address)
        token = first.docker("swarm", "join-token", "-q", "worker")
        for server in others:
            address = ("--advertise-addr", server.address)
            server.docker("swarm", "join", "--token", token, *address, f"{first.address}:2377")

    def leave_swarm(self) -> None:
        """Undo `create_swarm`."""
        for server in self.servers:
            server.docker("swarm", "leave", "--force")

    def accept_host_keys(self) -> None:
        """Write the servers' public keys to `known_hosts`, and nothing else."""
        self.known_hosts.write_text("".join(f"{s.known_host}\n" for s in self.servers))


@contextmanager
def open_lab(names: LabNames) -> Iterator[Lab]:
    """Provide a lab without engines.

    Raises:
        MachineError: If this machine does not permit it, or if another test run uses its names.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_own(names.directory))
        cgroup = stack.enter_context(control_group(names.name))
        network = MachineNetwork(names.name, names.prefix)
        network.start()
        stack.callback(network.stop)
        yield Lab(names.directory, network, cgroup, stack)


@pytest.fixture(scope="session")
def docker_lab() -> Iterator[Lab]:
    """The lab of this process."""
    if reason := skip_reason():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        try:
            lab = stack.enter_context(open_lab(LabNames.of_process()))
        except MachineError as error:
            pytest.skip(f"no Docker engine can start on this machine: {error}")
        yield lab


@pytest.fixture(scope="session")
def docker_engine(docker_lab: Lab) -> Engine:
    """The engine that most tests share. A test removes what it creates."""
    try:
        return docker_lab.start_engine("engine")
    except MachineError as error:
        pytest.skip(f"no Docker engine can start on this machine: {error}")


@pytest.fixture(scope="session")
def docker_servers(docker_lab: Lab) -> Servers:
    """Two servers over SSH. A test that stops or unplugs one starts it again."""
    if reason := skip_reason(with_ssh=True):
        pytest.skip(reason)
    directory = docker_lab.directory
    _create_client(directory, docker_lab.network)
    try:
        servers = tuple(docker_lab.start_server(f"server-{number}") for number in (1, 2))
    except MachineError as error:
        pytest.skip(f"no Docker engine can start on this machine: {error}")
    result = Servers(directory, servers)
    result.accept_host_keys()
    return result


def _create_client(directory: Path, network: MachineNetwork) -> None:
    create_key(directory / "client_key")
    (directory / "ssh_config").write_text(
        f"Host {network.prefix}.*\n"
        f"  IdentityFile {directory}/client_key\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {directory}/known_hosts\n  GlobalKnownHostsFile none\n"
        "  StrictHostKeyChecking yes\n  BatchMode yes\n  ConnectTimeout 5\n"
    )
    program = directory / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {directory}/ssh_config "$@"\n')
    program.chmod(0o755)


@contextmanager
def _own(directory: Path) -> Iterator[None]:
    """Create a directory, and delete it after the block.

    A killed test run leaves its directory, but no process and no mount in it.

    Raises:
        MachineError: If another test run uses the directory.
    """
    with directory.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineError(
                f"another test run uses {directory}; set CLUSTER_NAME, CLUSTER_NET and CLUSTER_DIR"
            ) from None
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        try:
            yield
        finally:
            shutil.rmtree(directory)
