"""The containers of a stack as plain data: arguments of `pulumi_docker.Container`."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from berth_protocol.paths import READY
from pulumi_berth.container_commands import ISOLATED_PYTHON, build_get_command
from pulumi_berth.docker.engine import USER
from pulumi_berth.serving_settings import parse_quantity

HTTP_PORT = 8080
"""Port of every berth, and of the gateway, inside the stack's networks."""
ADMIN_PORT = 9090
"""Port of the gateway's health and metrics, inside the stack's networks."""
TOKEN_DIRECTORY = "/etc/berth"  # noqa: S105 - a directory
CONFIG_DIRECTORY = "/etc/gateway"
STATE_DIRECTORY = "/var/lib/berth"
ENTRY_SOCKET = f"{STATE_DIRECTORY}/gateway/entry.sock"
"""Unix socket through which the entry passes on its listening sockets."""
PREPARED_FILE = "/tmp/prepared"  # noqa: S108
PIDS_LIMIT = 512
"""Processes and threads of one container. A berth with 16 threads per worker needs about 60."""

# An engine's name server passes queries that it cannot answer on to this address, so that no
# program in the container can send data out in queries: moby before version 26, CVE-2024-29018.
NO_NAME_SERVER = ["127.0.0.1"]

CPU_PERIOD = 100_000
"""Period of the limit of CPU time, in microseconds: the kernel's default."""
LIMITS = ("memory", "memory_swap", "cpu_period", "cpu_quota", "cpu_shares")
"""What `plan_limits` returns."""

# A name is also a label of a host name (at most 63 characters), with Pulumi's suffix of 8.
_MAX_NAME = 54
_PROBE = """\
import signal, socket, sys
signal.alarm(10)
host, port, path = sys.argv[1:]
s = socket.create_connection((host, int(port)), 3)
s.sendall(f"GET {path} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
t = b""
while len(t) < 4096 and (d := s.recv(4096 - len(t))):
    t += d
    if t[9:12] == b"200":
        sys.exit(0)
sys.exit(t.decode(errors="replace"))
"""
_EXIT_SECONDS = 5
_MIB = 1 << 20


def build_probe_command(host: str, port: int, path: str) -> list[str]:
    """Return a command that succeeds if a server in another container responds with 200.

    The server is the user's: at most 4 KiB of its response are read, for at most 10 seconds.
    """
    return [*ISOLATED_PYTHON, _PROBE, host, str(port), path]


def build_sleep_command(seconds: float) -> list[str]:
    """Return a command that does nothing for some time."""
    return [*ISOLATED_PYTHON, f"import time; time.sleep({seconds:g})"]


def build_config_check(sha256: str) -> list[str]:
    """Return a command that succeeds while the serving gateway uses a configuration."""
    return build_get_command(ADMIN_PORT, "/healthz", expected=sha256)


def build_connect_check(port: int) -> list[str]:
    """Return a command that succeeds while a program accepts connections."""
    return [
        *ISOLATED_PYTHON,
        f'import socket; socket.create_connection(("127.0.0.1", {port}), 3).close()',
    ]


BERTH_CHECK = build_get_command(HTTP_PORT, READY)
"""Succeeds while a berth is ready."""
ENTRY_CHECK = BERTH_CHECK
"""Succeeds while a gateway serves the entry's port."""
HOLDING_CHECK = [*ISOLATED_PYTHON, f"import os; os.stat({ENTRY_SOCKET!r})"]
"""Succeeds when an entry holds the listening sockets."""
GATEWAY_CHECK = [*ISOLATED_PYTHON, f"import os; os.stat({PREPARED_FILE!r})"]
"""Succeeds while a gateway holds the entry's sockets, whether it serves or waits."""


def shorten_name(name: str) -> str:
    """Return a name that is short enough for a host name. Different names stay different."""
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def plan_limits(cpu: str | None, cpu_limit: str | None, memory: str | None) -> dict[str, Any]:
    """Return the arguments of a container that limit its resources.

    Args:
        cpu: CPU cores that it gets while all containers are busy. Defaults to 1.
        cpu_limit: CPU cores that it may use. Defaults to `cpu`.
        memory: Memory, as a Kubernetes quantity. There is no swap. Defaults to `512Mi`.
    """
    cores = _parse_cores(cpu or "1")
    mebibytes = parse_quantity(memory or "512Mi") // _MIB
    return {
        "memory": mebibytes,
        # The sum of memory and swap: the same value means no swap.
        "memory_swap": mebibytes,
        # The provider reads `cpus` back with one decimal, and so would replace the container.
        "cpu_period": CPU_PERIOD,
        "cpu_quota": round(CPU_PERIOD * (_parse_cores(cpu_limit) if cpu_limit else cores)),
        "cpu_shares": max(2, round(cores * 1024)),
    }


def _parse_cores(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume in a container."""

    volume: Any
    target: str
    read_only: bool = True


@dataclass(frozen=True, kw_only=True)
class ContainerPlan:
    """A hardened container.

    Attributes:
        command: Replaces the image's entry point. None keeps it.
        environment: Environment variables. `docker inspect` shows them, so none is a secret.
        mounts: Volumes. The root of the file system is read-only.
        check: Command that succeeds while the container is healthy. None keeps that of the image.
        check_seconds: Time between two checks.
        grace_seconds: Time limit from SIGTERM to exit.
        limits: What `plan_limits` returns.
        gpus: Number of GPUs.
        labels: Labels.
        tmp_mib: Size of /tmp, in MiB. It counts as the container's memory.
    """

    command: Sequence[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    check: Sequence[str] | None
    check_seconds: int = 10
    grace_seconds: float = 5
    limits: Mapping[str, Any]
    gpus: int = 0
    labels: Mapping[str, Any]
    tmp_mib: int = 64

    def build_arguments(self) -> dict[str, Any]:
        """Return the arguments of `pulumi_docker.Container`, without image, ports and networks."""
        # Everything that writes a container's configuration sorts lists, so that the order of a
        # dictionary never replaces a container.
        return {
            **({} if self.command is None else {"entrypoints": list(self.command)}),
            # A container without variables of its own has those of its image.
            **({"envs": _sort_variables(self.environment)} if self.environment else {}),
            "labels": [
                {"label": name, "value": value} for name, value in sorted(self.labels.items())
            ],
            "user": USER,
            "read_only": True,
            "capabilities": {"drops": ["ALL"]},
            "security_opts": ["no-new-privileges"],
            "tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={self.tmp_mib}m"},  # noqa: S108
            "mounts": [
                {
                    "type": "volume",
                    "source": mount.volume,
                    "target": mount.target,
                    "read_only": mount.read_only,
                }
                for mount in self.mounts
            ],
            **self.limits,
            **(
                {
                    "device_requests": [
                        {"driver": "nvidia", "count": self.gpus, "capabilities": ["gpu"]}
                    ]
                }
                if self.gpus
                else {}
            ),
            "log_driver": "json-file",
            "log_opts": {"max-size": "10m", "max-file": "3"},
            "restart": "unless-stopped",
            **({} if self.check is None else {"healthcheck": self._build_check(self.check)}),
            "stop_timeout": int(self.grace_seconds) + _EXIT_SECONDS,
            "destroy_grace_seconds": int(self.grace_seconds) + _EXIT_SECONDS,
            # Berth waits for a container itself, so that a failure shows the end of its log.
            "wait": False,
            "must_run": True,
        }

    def _build_check(self, check: Sequence[str]) -> dict[str, Any]:
        return {
            "tests": ["CMD", *check],
            "interval": f"{self.check_seconds}s",
            "timeout": "10s",
            "retries": 3,
            "start_period": "0s",
        }


def _sort_variables(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(environment.items())]
