"""A real gateway process, started, told and ended as a platform does it."""

import hashlib
import json
import os
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

from tests.repository import REPOSITORY

KEY = "key of default"
_DEADLINE_SECONDS = 20.0


def table(**changes: Any) -> dict[str, Any]:
    """A table with one client and no model; `changes` replace its fields."""
    return {
        "max_body_bytes": 100_000,
        "timeout_seconds": 10,
        "clients": [client()],
        "models": {},
        **changes,
    }


def client(name: str = "default", key: str = KEY, **changes: Any) -> dict[str, Any]:
    """A client of the table that may do what it likes; `changes` replace its fields."""
    return {
        "name": name,
        "key_sha256": [hashlib.sha256(key.encode()).hexdigest()],
        "rate_per_second": 100_000,
        "burst": 100_000,
        "quota": None,
        **changes,
    }


def model(versions: dict[str, str], traffic: dict[str, int], **changes: Any) -> dict[str, Any]:
    """A model of the table, all versions exposed; `changes` replace its fields."""
    return {
        "versions": versions,
        "exposed": list(versions),
        "traffic": traffic,
        "shadow": None,
        **changes,
    }


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return once `holds`; fail when it does not in good time."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)


@dataclass
class GatewayProcess:
    """One gateway, its files in `folder`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    admin_port: int = 0
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def write_table(self, content: dict[str, Any] | bytes) -> None:
        """Put the table in place, whole at once."""
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        beside = self.folder / "table.new"
        beside.write_bytes(text)
        beside.replace(self.folder / "table.json")

    def spawn(self) -> None:
        """Start the process, on new ports at the first time and the same ones later."""
        if not self.port:
            self.port, self.admin_port = free_ports(2)
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "berth_gateway"],
                cwd=REPOSITORY,
                env={
                    **{n: v for n, v in os.environ.items() if not n.startswith("GATEWAY_")},
                    "GATEWAY_HOST": self.host,
                    "GATEWAY_PORT": str(self.port),
                    "GATEWAY_ADMIN_PORT": str(self.admin_port),
                    "GATEWAY_TABLE": str(self.folder / "table.json"),
                    "GATEWAY_STATE_DIR": str(self.folder),
                    **self.environment,
                },
                stdout=out,
                stderr=err,
            )

    def start(self, content: dict[str, Any]) -> None:
        """Start with this table and wait until it is in force."""
        self.write_table(content)
        self.spawn()
        self.wait_for_start()

    def wait_for_start(self) -> None:
        """Return once the table is in force."""
        wait_until(self._in_force, "the gateway's first table in force")

    def reload(self, content: dict[str, Any] | bytes) -> None:
        """Replace the table and wait until it is in force."""
        self.write_table(content)
        os.kill(self.pid, signal.SIGHUP)
        wait_until(self._in_force, "the new table in force")

    def terminate(self) -> None:
        """Send SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    def exit_status(self) -> int:
        """Wait for the end."""
        assert self.process is not None
        return self.process.wait(_DEADLINE_SECONDS)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.terminate()
        return self.exit_status()

    def admin(self, path: str) -> httpx.Response:
        """GET from the admin port."""
        return httpx.get(f"http://127.0.0.1:{self.admin_port}{path}")

    def metric(self, line: str) -> float:
        """The value of the series `line` (name and labels); 0 when it is not there."""
        for found in self.admin("/metrics").text.splitlines():
            if found.startswith(f"{line} "):
                return float(found.rsplit(" ", 1)[1])
        return 0.0

    def access_log(self) -> list[dict[str, Any]]:
        """All requests logged so far."""
        return [json.loads(line) for line in (self.folder / "out").read_bytes().splitlines()]

    def messages(self) -> str:
        """What it said on standard error so far."""
        return (self.folder / "err").read_text()

    @contextmanager
    def client(self, key: str | None = KEY, **settings: Any) -> Iterator[httpx.Client]:
        """An HTTP client of the gateway."""
        headers = {} if key is None else {"x-api-key": key}
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=_DEADLINE_SECONDS, **settings
        ) as made:
            yield made

    def clean_up(self) -> None:
        """End the process however it is."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _in_force(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.messages()
        expected = hashlib.sha256((self.folder / "table.json").read_bytes()).hexdigest()
        try:
            health: dict[str, Any] = self.admin("/healthz").json()
        except httpx.TransportError:
            return False
        return health == {"table_sha256": expected, "ready": True}


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
