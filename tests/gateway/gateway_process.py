"""A real gateway process that tests start, reload and stop as a platform does."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.forked_process import ForkedProcess, fork
from tests.repository import REPOSITORY

KEY = "key of default"
GENERATED_ID = re.compile("[0-9a-f]{16}-[0-9a-f]+")
"""Request IDs that the gateway generates."""
NO_TLS = False
"""Argument `verify` of httpx: to load the CA certificates takes 29 ms of CPU time."""
_DEADLINE_SECONDS = 20.0
_RETURNED_PORTS: set[int] = set()


def build_config(**changes: Any) -> dict[str, Any]:
    """Return a configuration with one client and no model; `changes` replace its fields."""
    return {
        "max_body_bytes": 100_000,
        "timeout_seconds": 10,
        "clients": [build_client()],
        "models": {},
        **changes,
    }


def build_key(key: str = KEY, name: str = "default", expires: str | None = None) -> dict[str, Any]:
    """Return an entry of a client's keys."""
    return {
        "name": name,
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "expires": expires,
    }


def build_client(name: str = "default", key: str = KEY, **changes: Any) -> dict[str, Any]:
    """Return a client with very high limits; `changes` replace its fields."""
    return {
        "name": name,
        "keys": [build_key(key)],
        "rate_per_second": 100_000,
        "burst": 100_000,
        "quota": None,
        **changes,
    }


def build_model(
    versions: dict[str, str], traffic: dict[str, int], **changes: Any
) -> dict[str, Any]:
    """Return a model with all versions exposed; `changes` replace its fields."""
    return {
        "versions": versions,
        "exposed": list(versions),
        "traffic": traffic,
        "shadow": None,
        **changes,
    }


def wait_until(condition: Callable[[], bool], description: str) -> None:
    """Return when `condition` is true. Fail if it is false for too long."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"Timed out waiting for: {description}"
        time.sleep(0.01)


@dataclass
class GatewayProcess:
    """One gateway, with its files in `directory`."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    is_forked: bool = True
    """Fork the process. Otherwise run `python -m berth_gateway`."""
    process: ForkedProcess | subprocess.Popen[bytes] | None = None
    port: int = 0
    admin_port: int = 0
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Base URL for clients."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Process ID."""
        assert self.process is not None
        return self.process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, or None while the process runs."""
        assert self.process is not None
        return self.process.poll()

    @property
    def config_file(self) -> Path:
        """The file with the gateway configuration."""
        return self.directory / "gateway.json"

    def write_config(self, content: dict[str, Any] | bytes) -> None:
        """Replace the configuration file atomically."""
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        new_file = self.directory / "gateway.new"
        new_file.write_bytes(text)
        new_file.replace(self.config_file)

    def spawn(self) -> None:
        """Start the process: the first time on new ports, later on the same ports."""
        if not self.port:
            self.port, self.admin_port = find_free_ports(2)
        environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith("GATEWAY_")},
            "GATEWAY_HOST": self.host,
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_ADMIN_PORT": str(self.admin_port),
            "GATEWAY_CONFIG": str(self.config_file),
            "GATEWAY_STATE_DIR": str(self.directory),
            **self.environment,
        }
        out, err = self.directory / "out", self.directory / "err"
        if self.is_forked:
            self.process = fork("berth_gateway", environment, out, err)
            return
        with out.open("ab") as out_stream, err.open("ab") as err_stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "berth_gateway"],
                cwd=REPOSITORY,
                env=environment,
                stdout=out_stream,
                stderr=err_stream,
            )

    def start(self, content: dict[str, Any]) -> None:
        """Start with a configuration, and wait until it is active."""
        self.write_config(content)
        self.spawn()
        self.wait_for_start()

    def wait_for_start(self) -> None:
        """Wait until the configuration is active."""
        wait_until(self._is_config_active, "the first configuration to be active")

    def reload(self, content: dict[str, Any] | bytes) -> None:
        """Replace the configuration, and wait until it is active."""
        self.write_config(content)
        os.kill(self.pid, signal.SIGHUP)
        wait_until(self._is_config_active, "the new configuration to be active")

    def terminate(self) -> None:
        """Send SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    def wait_for_exit(self) -> int:
        """Wait for the end of the process, and return its exit status."""
        assert self.process is not None
        return self.process.wait(_DEADLINE_SECONDS)

    def stop(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self.terminate()
        return self.wait_for_exit()

    def kill(self) -> None:
        """Kill the process if it runs."""
        if self.process is not None and self.exit_status is None:
            self.process.kill()
            self.wait_for_exit()

    def get_admin(self, path: str) -> httpx.Response:
        """Send a GET request to the admin port."""
        return httpx.get(f"http://127.0.0.1:{self.admin_port}{path}", verify=NO_TLS)

    def get_metric(self, series: str) -> float:
        """Return the value of a series (name and labels), or 0 if it does not exist."""
        for line in self.get_admin("/metrics").text.splitlines():
            if line.startswith(f"{series} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def read_access_log(self) -> list[dict[str, Any]]:
        """Return all lines of the access log."""
        return [json.loads(line) for line in (self.directory / "out").read_bytes().splitlines()]

    def read_memory(self) -> dict[str, int] | None:
        """Return current and maximum memory in bytes, or None if the system does not tell."""
        if sys.platform != "linux":
            return None
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines)
        return {name: int(values[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}

    def read_log(self) -> str:
        """Return the text on standard error."""
        return (self.directory / "err").read_text()

    @contextmanager
    def client(self, key: str | None = KEY, **settings: Any) -> Iterator[httpx.Client]:
        """Provide an HTTP client of the gateway."""
        headers = {} if key is None else {"x-api-key": key}
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=_DEADLINE_SECONDS, verify=NO_TLS, **settings
        ) as client:
            yield client

    def _is_config_active(self) -> bool:
        assert self.exit_status is None, self.read_log()
        expected = hashlib.sha256(self.config_file.read_bytes()).hexdigest()
        try:
            health: dict[str, Any] = self.get_admin("/healthz").json()
        except httpx.TransportError:
            return False
        return (health["config_sha256"], health["ready"]) == (expected, True)


def find_free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that no program listens on, and that no earlier call returned."""
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            candidate = socket.create_server(("127.0.0.1", 0))
            port = candidate.getsockname()[1]
            if port in _RETURNED_PORTS:
                candidate.close()
                continue
            _RETURNED_PORTS.add(port)
            sockets.append(candidate)
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
