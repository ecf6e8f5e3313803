"""The directory in which a local stack runs.

<run_dir>/                 mode 700
  supervisord.conf         configuration of the supervisor
  supervisor.sock          control socket of the supervisor
  programs/*.conf          one file per supervised process
  logs/*.log               output of each process
  token                    mode 600; the gateway authenticates to the berths with it
  gateway/                 the gateway's configuration and its quota counters
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

# The longest path that every supported system accepts for a Unix socket: macOS reserves
# 104 bytes including the closing NUL, Linux 108 (`man 7 unix`).
_SOCKET_PATH_BYTES = 103


@dataclass(frozen=True)
class RunDir:
    """The paths in the run directory of one stack. Reading a path creates nothing."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "supervisord.conf"

    @property
    def programs(self) -> Path:
        return self.path / "programs"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def token(self) -> Path:
        return self.path / "token"

    @property
    def gateway(self) -> Path:
        return self.path / "gateway"

    @property
    def gateway_config(self) -> Path:
        return self.gateway / "gateway.json"

    @property
    def socket(self) -> Path:
        """The supervisor's control socket.

        If the path is too long for a Unix socket, the socket is in the user's temporary
        directory. Its name then contains a hash of the path.
        """
        socket = self.path / "supervisor.sock"
        if len(os.fsencode(socket)) <= _SOCKET_PATH_BYTES:
            return socket
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"berth-{os.getuid()}-{name}.sock"

    def program(self, name: str) -> Path:
        """Return the path of the supervisor's configuration for the process `name`."""
        return self.programs / f"{name}.conf"

    def log(self, name: str) -> Path:
        """Return the path of the file that receives the output of the process `name`."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Create the directory and its subdirectories, accessible only to this user."""
        for directory in (self.path, self.programs, self.logs, self.gateway):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def remove(self) -> None:
        """Remove the directory and everything in it. Do nothing if it does not exist."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.socket.unlink(missing_ok=True)
