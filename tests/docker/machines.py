"""Machines for tests: processes in their own namespaces, on one network that this machine joins.

When a machine's first process ends, the kernel ends all its other processes and removes its mounts,
interfaces and packet filter rules. The first process ends with the process that started it, so that
nothing remains after a killed test run.
"""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_COMMAND_SECONDS = 30
# The new /sys shows the machine's own interfaces. The control groups stay those of this machine.
_PREPARE = """
set -e
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
echo ready
exec env --ignore-signal=CHLD sleep infinity
"""


class MachineError(Exception):
    """A machine, or a program on it, does not start."""


def search_path() -> str:
    """Return the PATH for the programs of machines, which system administrators use."""
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def run(*command: str) -> str:
    """Run a command on this machine and return its output.

    Raises:
        MachineError: If the command fails.
    """
    process = subprocess.run(
        command, env=os.environ | {"PATH": search_path()}, capture_output=True, text=True,
        timeout=_COMMAND_SECONDS, check=False,
    )  # fmt: skip
    if process.returncode != 0:
        raise MachineError(f"{' '.join(command)}: {process.stdout}{process.stderr}")
    return process.stdout


@dataclass
class Machine:
    """A machine with its own network, mounts, processes and host name.

    Attributes:
        name: Host name.
        on_start: Called after each start, such as to connect the machine to a network.
    """

    name: str
    _process: "subprocess.Popen[str] | None" = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process ID of the machine's first process on this machine."""
        assert self._process is not None, f"machine {self.name} is not running"
        parent = self._process.pid
        return int(Path(f"/proc/{parent}/task/{parent}/children").read_text())

    def start(self) -> None:
        """Start the machine, without any network.

        Raises:
            MachineError: If this machine does not permit namespaces.
        """
        # The kernel sends the signal when the starting thread ends, not when its process ends.
        assert threading.current_thread() is threading.main_thread()
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
             "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc",
             "sh", "-c", _PREPARE],
            env=os.environ | {"PATH": search_path()},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        if (line := self._process.stdout.readline()) != "ready\n":
            output = line + self._process.stdout.read()
            self.stop()
            raise MachineError(f"machine {self.name} does not start: {output}")
        self.run("hostname", self.name)

    def stop(self) -> None:
        """End all processes of the machine at once, as when its power fails."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        # The pipe is closed when the machine's first process has ended.
        self._process.stdout.read()
        self._process.stdout.close()
        self._process = None

    def run(self, *command: str) -> str:
        """Run a command on the machine and return its output.

        Raises:
            MachineError: If the command fails.
        """
        return run(*self.enter(*command))

    def enter(self, *command: str) -> Sequence[str]:
        """Return the command line that runs a command on the machine."""
        namespaces = ("--mount", "--net", "--pid", "--uts", "--ipc")
        return ("nsenter", "--target", str(self.pid), *namespaces, "--", *command)


@dataclass
class MachineNetwork:
    """A network of machines. This machine has address 1 in it.

    Attributes:
        interface: Name of this machine's interface, of at most 15 characters.
        prefix: First three numbers of the addresses.
    """

    interface: str
    prefix: str
    _switch: Machine = field(init=False)

    @property
    def address(self) -> str:
        """Address of this machine."""
        return f"{self.prefix}.1"

    def start(self) -> None:
        """Create the network.

        Raises:
            MachineError: If its name or its addresses are in use on this machine.
        """
        addresses = run("ip", "-o", "-4", "address")
        if f" {self.address}/" in addresses or Path(f"/sys/class/net/{self.interface}").exists():
            raise MachineError(
                f"the interface {self.interface} or the address {self.address} is in use on this "
                "machine; set CLUSTER_NAME and CLUSTER_NET"
            )
        self._switch = Machine("switch")
        self._switch.start()
        try:
            self._switch.run("ip", "link", "add", "bridge", "type", "bridge")
            self._switch.run("ip", "link", "set", "bridge", "up")
            self._plug("host", str(os.getpid()), self.interface)
            run("ip", "address", "add", f"{self.address}/24", "dev", self.interface)
            run("ip", "link", "set", self.interface, "up")
        except MachineError:
            self.stop()
            raise

    def stop(self) -> None:
        """Remove the network and this machine's interface."""
        # The kernel removes interfaces some time after the namespace's last process has ended.
        with contextlib.suppress(MachineError):
            run("ip", "link", "delete", self.interface)
        self._switch.stop()

    def connect(self, machine: Machine, number: int) -> None:
        """Give a running machine the address `number` in this network."""
        self._plug(f"port{number}", str(machine.pid), "eth0")
        machine.run("ip", "address", "add", f"{self.prefix}.{number}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        machine.run("ip", "route", "add", "default", "via", self.address)

    def disconnect(self, number: int) -> None:
        """Remove the connection of a stopped machine."""
        with contextlib.suppress(MachineError):
            self._switch.run("ip", "link", "delete", f"port{number}")

    def set_reachable(self, number: int, *, reachable: bool) -> None:
        """Unplug or plug a machine. An unplugged machine continues to run."""
        state = "up" if reachable else "down"
        self._switch.run("ip", "link", "set", f"port{number}", state)

    def _plug(self, port: str, target: str, interface: str) -> None:
        """Connect the namespace of process `target` to a new port of the switch."""
        name = f"t{os.getpid()}"
        # Created on this machine's side, where process IDs are those of this machine.
        run("ip", "link", "add", name, "type", "veth", "peer", "name", port,
            "netns", str(self._switch.pid))  # fmt: skip
        try:
            if target == str(os.getpid()):
                run("ip", "link", "set", name, "name", interface)
            else:
                run("ip", "link", "set", name, "netns", target, "name", interface)
        except MachineError:
            run("ip", "link", "delete", name)
            raise
        self._switch.run("ip", "link", "set", port, "master", "bridge", "up")


@contextlib.contextmanager
def control_group(name: str) -> Iterator[str]:
    """Provide the path of a control group, and remove it with all its children after the block.

    By default, on version 1, all its containers together get as much CPU time as one other process
    of the machine.
    """
    root = Path("/sys/fs/cgroup")
    shares = root / "cpu" / name / "cpu.shares"
    try:
        if (root / "cpu").is_dir():
            shares.parent.mkdir(exist_ok=True)
            shares.write_text(str(16 * 1024))
        yield f"/{name}"
    finally:
        deadline = time.monotonic() + _COMMAND_SECONDS
        # The processes of a machine end some time after its first one.
        while not _remove_groups(name) and time.monotonic() < deadline:
            time.sleep(0.05)


def _remove_groups(name: str) -> bool:
    """Return whether a control group does not exist any more, after trying to remove it."""
    root = Path("/sys/fs/cgroup")
    # On version 1, each controller has its own tree.
    tops = [path for path in (root / name, *root.glob(f"*/{name}")) if path.is_dir()]
    for top in tops:
        for path, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
    return not any(path.is_dir() for path in tops)


def find_missing_programs(*programs: str) -> list[str]:
    """Return the programs that are not installed on this machine."""
    return [name for name in programs if shutil.which(name, path=search_path()) is None]
