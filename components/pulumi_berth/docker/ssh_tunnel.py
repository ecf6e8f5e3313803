"""Access to the Docker engine of a server through the user's `ssh`.

`ssh` reads the user's configuration, keys and known hosts, as it does for the Pulumi provider. The
SDK's own support needs a second SSH implementation (paramiko), has no time limits and cannot tell
why a connection failed (docker/transport/sshconn.py in https://github.com/docker/docker-py).
"""

import atexit
import contextlib
import select
import socket
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from threading import Lock

_CONNECT_SECONDS = 10
_COMMAND_SECONDS = 60
# Nothing asks for a password. A lost server ends the connection within 15 seconds. A connection
# that other programs share would keep the forwarded socket.
_OPTIONS = (
    *("-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "ControlPath=none"),
)
# It ends when this process ends, whatever ends it, because that closes its standard input.
_STAY = "echo ready; exec cat"
# The socket of the context that `docker` uses there, as `docker system dial-stdio` does.
_FIND_SOCKET = "docker context inspect --format '{{.Endpoints.docker.Host}}'"
# Exit status of ssh itself (https://man.openbsd.org/ssh#EXIT_STATUS), and of a shell.
_SSH_FAILED, _NOT_FOUND = 255, 127


class TunnelError(RuntimeError):
    """A server's engine cannot be reached over SSH. The message says what to do."""


def is_server(address: str) -> bool:
    """Return whether an engine is reached over SSH."""
    return address.startswith("ssh://")


def run_on_server(address: str, command: str) -> str:
    """Run a command in the login shell of a server's user and return its output.

    Args:
        address: Address of the server, `ssh://user@host:port`.

    Raises:
        TunnelError: If the server cannot be reached, or if the command fails.
    """
    try:
        process = subprocess.run(
            ["ssh", *_OPTIONS, "--", address, command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_COMMAND_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise TunnelError(
            f"{address} needs the program ssh, which is not on the PATH. Install an SSH client."
        ) from None
    except subprocess.TimeoutExpired:
        raise TunnelError(
            f"{address} did not answer within {_COMMAND_SECONDS} s. Check the server's load with "
            f"'ssh {address}'."
        ) from None
    reason = " ".join(process.stderr.split())[-500:] or f"exit status {process.returncode}"
    if process.returncode == _SSH_FAILED:
        raise _explain_failure(address, reason)
    if process.returncode == _NOT_FOUND:
        raise TunnelError(f"{address} has no command {command.split()[0]}. Install it there.")
    if process.returncode != 0:
        raise TunnelError(f"{address} failed to run '{command}': {reason}")
    return process.stdout


def forward_engine(address: str) -> str:
    """Return the address of a socket on this machine that leads to a server's engine.

    The connection serves the whole process, because sshd by default refuses clients when 10 others
    log in at the same time (MaxStartups in https://man.openbsd.org/sshd_config). It ends with the
    process. A broken connection is opened again.

    Args:
        address: Address of the server, `ssh://user@host:port`.

    Raises:
        TunnelError: If the server or its engine cannot be reached.
    """
    with _lock:
        lock = _locks.setdefault(address, Lock())
    with lock:
        tunnel = _tunnels.pop(address, None)
        if tunnel is None or not tunnel.is_open():
            if tunnel is not None:
                tunnel.close()
            tunnel = _Tunnel(address)
        _tunnels[address] = tunnel
        return tunnel.open_engine()


@atexit.register
def close_tunnels() -> None:
    """Close the connections to all servers."""
    while _tunnels:
        _, tunnel = _tunnels.popitem()
        tunnel.close()


class _Tunnel:
    """A connection to a server that forwards a socket to its engine."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._remote = _find_socket(address)
        self._directory = tempfile.TemporaryDirectory(prefix="berth-")
        self._local = Path(self._directory.name, "docker.sock")
        self._log = Path(self._directory.name, "log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["ssh", *_OPTIONS, "-o", "ExitOnForwardFailure=yes",
                 "-L", f"{self._local}:{self._remote}", "--", address, _STAY],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                # Ctrl-C in a terminal reaches every process. Requests in flight finish.
                start_new_session=True,
            )  # fmt: skip
        if not self._is_ready():
            reason = self._read_log()
            self.close()
            raise _explain_failure(address, reason)

    def is_open(self) -> bool:
        """Return whether the connection still exists."""
        return self._process.poll() is None

    def open_engine(self) -> str:
        """Return the address of the socket on this machine.

        Raises:
            TunnelError: If the engine does not answer there.
        """
        if not _answers(self._local):
            # `ssh` writes why it ended, or why the server refused the connection to the socket.
            if not self.is_open():
                raise _explain_failure(self._address, self._read_log())
            raise TunnelError(
                f"The Docker engine at {self._address} does not answer at {self._remote}: "
                f"{self._read_log().rstrip('.') or 'no response'}. Start it, allow the user to use "
                "it (group docker), and let sshd forward sockets (AllowStreamLocalForwarding)."
            )
        return f"unix://{self._local}"

    def close(self) -> None:
        """End the connection."""
        self._process.terminate()
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._directory.cleanup()

    def _is_ready(self) -> bool:
        """Return whether the server runs the command, which is after the socket exists."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _COMMAND_SECONDS)
        return bool(readable) and self._process.stdout.readline().strip() == b"ready"

    def _read_log(self) -> str:
        return " ".join(self._log.read_text(errors="replace").split())[-500:]


_lock = Lock()
_locks: dict[str, Lock] = {}
_tunnels: dict[str, _Tunnel] = {}


def _explain_failure(address: str, reason: str) -> TunnelError:
    return TunnelError(
        f"{address} is not reachable: {reason.rstrip('.')}. Make 'ssh {address}' work without a "
        "password: add the key to the SSH agent and the host key to known_hosts."
    )


@cache
def _find_socket(address: str) -> str:
    """Return the path of the engine's socket on the server."""
    endpoint = run_on_server(address, _FIND_SOCKET).strip()
    if not endpoint.startswith("unix:///"):
        raise TunnelError(
            f"docker at {address} uses {endpoint[:200]!r}, not a socket of that server. Select the "
            "server's own engine there with 'docker context use default'."
        )
    return endpoint.removeprefix("unix://")


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect(str(path))
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        return connection.recv(16)[9:12] == b"200"
    return False
