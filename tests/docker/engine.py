"""A real Docker engine on its own machine, and one that is reached over SSH."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import docker
from docker.errors import DockerException

from tests.docker.machines import (
    Machine,
    MachineError,
    MachineNetwork,
    find_missing_programs,
    search_path,
)

_START_SECONDS = 60
_PROGRAMS = ("dockerd", "containerd", "runc", "iptables", "ip", "unshare", "nsenter", "setpriv")
_SSH_PROGRAMS = ("sshd", "ssh", "ssh-keygen")


def skip_reason(*, with_ssh: bool = False) -> str | None:
    """Return why no engine can start on this machine, or None if one can."""
    if os.geteuid() != 0:
        return "starting a Docker engine requires root"
    missing = find_missing_programs(*_PROGRAMS, *(_SSH_PROGRAMS if with_ssh else ()))
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass
class Engine:
    """A Docker engine on its own machine, with address `number` in the network.

    Its images, containers and volumes survive a restart of the engine and of its machine.

    Attributes:
        directory: Directory of its data, log and socket.
        cgroup: Control group of its containers.
    """

    directory: Path
    network: MachineNetwork
    number: int
    cgroup: str
    machine: Machine = field(init=False)
    _daemon: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.machine = Machine(self.directory.name)

    @property
    def address(self) -> str:
        """Address of the machine, at which ports are published."""
        return f"{self.network.prefix}.{self.number}"

    @property
    def socket(self) -> Path:
        return self.directory / "docker.sock"

    @property
    def host(self) -> str:
        """Value of DOCKER_HOST on this machine."""
        return f"unix://{self.socket}"

    def client(self) -> docker.DockerClient:
        """Return a client, which the caller closes."""
        return docker.DockerClient(base_url=self.host)

    def docker(self, *arguments: str) -> str:
        """Run Debian's `docker ARGUMENTS` on this machine and return its output."""
        process = subprocess.run(
            ["/usr/bin/docker", *arguments], env=os.environ | {"DOCKER_HOST": self.host},
            capture_output=True, text=True, timeout=_START_SECONDS, check=False,
        )  # fmt: skip
        assert process.returncode == 0, f"docker {arguments}: {process.stdout}{process.stderr}"
        return process.stdout.strip()

    def start(self) -> None:
        """Start the machine and its engine.

        Raises:
            MachineError: If one of them does not start.
        """
        self.directory.mkdir(exist_ok=True)
        self.machine.start()
        try:
            self.network.connect(self.machine, self.number)
            self.start_daemon()
        except MachineError:
            self.stop()
            raise

    def stop(self) -> None:
        """End the engine and everything in it at once, as when the machine's power fails."""
        self.machine.stop()
        if self._daemon is not None:
            self._daemon.wait()
            self._daemon = None
        self.network.disconnect(self.number)

    def start_daemon(self) -> None:
        """Start the engine on its running machine and wait until it answers.

        Raises:
            MachineError: If it does not answer. The message has the end of its log.
        """
        log = self.directory / "dockerd.log"
        with log.open("ab") as stream:
            self._daemon = subprocess.Popen(
                self.machine.enter(*self.command()), env=os.environ | {"PATH": search_path()},
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise MachineError(f"dockerd does not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)

    def stop_daemon(self, signal_number: int = signal.SIGTERM) -> None:
        """End the engine and wait until it has ended.

        After SIGTERM it stops its containers, and its next start starts them again. After SIGKILL
        they continue to run until its next start, which stops them for good (seen with 20.10).
        """
        assert self._daemon is not None
        pid = (self.directory / "docker.pid").read_text()
        self.machine.run("kill", f"-{int(signal_number)}", pid)
        self._daemon.wait(timeout=_START_SECONDS)
        self._daemon = None
        # A killed engine leaves its file, and a new one with the same process ID would not start.
        (self.directory / "docker.pid").unlink(missing_ok=True)

    def restart_daemon(self) -> None:
        """Restart the engine as `systemctl restart docker` does."""
        self.stop_daemon()
        self.start_daemon()

    def lose(self) -> None:
        """Unplug the machine from the network. Its containers continue to run."""
        self.network.set_reachable(self.number, reachable=False)

    def return_to_network(self) -> None:
        """Undo `lose`."""
        self.network.set_reachable(self.number, reachable=True)

    def command(self) -> list[str]:
        """Return the command line of the engine on its machine."""
        # The second socket is the one that `docker` uses on the machine itself.
        return [
            "dockerd", "--data-root", f"{self.directory}/data",
            "--exec-root", "/run/docker", "--pidfile", f"{self.directory}/docker.pid",
            "--host", self.host, "--host", "unix:///run/docker.sock",
            "--cgroup-parent", self.cgroup, "--exec-opt", "native.cgroupdriver=cgroupfs",
            "--insecure-registry", f"{self.network.prefix}.0/24",
        ]  # fmt: skip

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            client = self.client()
        except DockerException:
            return False
        with contextlib.closing(client):
            return bool(client.ping())


@dataclass
class Server(Engine):
    """An engine on a machine that root reaches over SSH.

    `ssh` accepts the machine only with the host key that was created for it.
    """

    @property
    def url(self) -> str:
        """Address of the engine for Docker's clients."""
        return f"ssh://root@{self.address}"

    @property
    def known_host(self) -> str:
        """The machine's line in a known_hosts file."""
        key = (self.directory / "host_key.pub").read_text().split()
        return f"{self.address} {key[0]} {key[1]}"

    def start_daemon(self) -> None:
        """Start sshd, then the engine."""
        self.start_sshd()
        super().start_daemon()

    def start_sshd(self) -> None:
        """Start sshd unless it runs."""
        if (Path("/proc") / str(self.machine.pid) / "root/run/sshd.pid").exists():
            return
        if not (self.directory / "host_key").exists():
            create_key(self.directory / "host_key")
        # Directories above, such as /tmp, may be writable by everyone: no StrictModes.
        (self.directory / "sshd_config").write_text(
            f"HostKey {self.directory}/host_key\n"
            f"AuthorizedKeysFile {self.directory.parent}/client_key.pub\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\n"
            "StrictModes no\nPidFile /run/sshd.pid\nSetEnv PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
        )
        self.machine.run("mkdir", "-p", "/run/sshd")
        self.machine.run(
            "/usr/sbin/sshd", "-f", f"{self.directory}/sshd_config", "-E", f"{self.directory}/log"
        )


def create_key(path: Path) -> None:
    """Create an SSH key in `path`, and its public key beside it."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)],
        check=True, capture_output=True,
    )  # fmt: skip
