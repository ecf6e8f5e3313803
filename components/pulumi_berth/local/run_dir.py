"""The folder that one local stack lives in while it runs: where everything is.

<run_dir>/                 mode 700
  supervisord.conf         the supervisor and its control socket
  programs/*.conf          one file per supervised process
  logs/*.log               what each process wrote
  token                    mode 600: the gateway shows it to the berths
  gateway/                 the gateway's table and its quota counters
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

# The longest path that every supported system accepts for a Unix socket: macOS gives it
# 104 bytes with the closing NUL, Linux 108 (`man 7 unix`).
_SOCKET_PATH_BYTES = 103


@dataclass(frozen=True)
class RunDir:
    """The paths under one stack's run folder. Nothing is created by asking for one."""

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
    def table(self) -> Path:
        return self.gateway / "gateway.json"

    @property
    def socket(self) -> Path:
        """The supervisor's control socket: in the folder, or, where the path would be too
        long for a Unix socket, under the user's temporary folder with a name made from it."""
        inside = self.path / "supervisor.sock"
        if len(os.fsencode(inside)) <= _SOCKET_PATH_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"berth-{os.getuid()}-{name}.sock"

    def program(self, name: str) -> Path:
        """The supervisor's file for the process `name`."""
        return self.programs / f"{name}.conf"

    def log(self, name: str) -> Path:
        """What the process `name` writes to stdout and stderr."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make the folder and its sub-folders, for this user only."""
        for folder in (self.path, self.programs, self.logs, self.gateway):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def remove(self) -> None:
        """Remove the folder with all it holds; one that is gone is no error."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.socket.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Write `content` so that a reader sees the old file or the new one, never a part."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
