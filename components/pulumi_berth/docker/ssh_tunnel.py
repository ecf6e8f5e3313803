"""Access to the Docker engine of a server through the user's `ssh`.

`ssh` reads the user's configuration, keys and known hosts, as it does for the Pulumi provider. The
SDK's own support needs a second SSH implementation (paramiko), has no time limits and cannot tell
why a connection failed (docker/transport/sshconn.py in https://github.com/docker/docker-py).
"""

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONNECT_SECONDS = 10
_COMMAND_SECONDS = 60
# Nothing asks for a password. A lost server ends the connection within 15 seconds. A connection
# that other programs share would keep the forwarded socket.
_OPTIONS = (
    *("-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "ControlPath=none"),
)
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
        raise TunnelError(
            f"{address} is not reachable: {reason} Make 'ssh {address}' work without a password: "
            "add the key to the SSH agent and the host key to known_hosts."
        )
    if process.returncode == _NOT_FOUND:
        raise TunnelError(f"{address} has no command {command.split()[0]}. Install it there.")
    if process.returncode != 0:
        raise TunnelError(f"{address} failed to run '{command}': {reason}")
    return process.stdout


@contextmanager
def forward_engine(address: str) -> Iterator[str]:
    """Yield the address of a socket on this machine that leads to a server's engine.

    Args:
        address: Address of the server, `ssh://user@host:port`.

    Raises:
        TunnelError: If the server or its engine cannot be reached.
    """
    remote = _find_socket(address)
    with tempfile.TemporaryDirectory(prefix="berth-") as directory:
        local, log = Path(directory, "docker.sock"), Path(directory, "log")
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["ssh", *_OPTIONS, "-N", "-o", "ExitOnForwardFailure=yes",
                 "-L", f"{local}:{remote}", "--", address],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            )  # fmt: skip
        try:
            _wait_for(local, process)
            if not _answers(local):
                reason = log.read_text(errors="replace").strip() or "it closes the connection"
                raise TunnelError(
                    f"The Docker engine at {address} does not answer at {remote}: {reason}. Start "
                    "it, allow the user to use it (group docker), and let sshd forward sockets "
                    "(AllowStreamLocalForwarding)."
                )
            yield f"unix://{local}"
        finally:
            process.terminate()
            process.wait()


def _find_socket(address: str) -> str:
    """Return the path of the engine's socket on the server."""
    endpoint = run_on_server(address, _FIND_SOCKET).strip()
    if not endpoint.startswith("unix:///"):
        raise TunnelError(
            f"docker at {address} uses {endpoint[:200]!r}, not a socket of that server. Select the "
            "server's own engine there with 'docker context use default'."
        )
    return endpoint.removeprefix("unix://")


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _CONNECT_SECONDS * 2
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect(str(path))
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        return connection.recv(16)[9:12] == b"200"
    return False
