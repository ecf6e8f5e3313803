"""The entry: a process that holds a stack's listening sockets, so that gateways can come and go.

`python -m berth_gateway.entry` listens on `ENTRY_PORTS` and passes the sockets to every gateway
that connects to the Unix socket `ENTRY_SOCKET`. It never accepts a connection itself and reads
nothing from clients, so it needs no update when the gateway does. A connection that arrives while
no gateway accepts waits in the kernel's queue.
"""

import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from berth_gateway.handover import MAX_SOCKETS, send_sockets
from berth_protocol.environment import PORT, EnvironmentReader, SettingError
from berth_protocol.http_server import bind, listen

EXIT_BAD_CONFIGURATION = 2


def run(environment: Mapping[str, str]) -> int:
    """Hold the sockets until SIGTERM or SIGINT.

    Returns:
        The exit status: 2 if the settings are invalid or an address cannot be listened on.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    read = EnvironmentReader(environment, "ENTRY_").read
    try:
        host = read("HOST", "0.0.0.0", str)  # noqa: S104
        ports = read("PORTS", None, _parse_ports)
        path = read("SOCKET", None, Path)
        sockets = [bind(host, port) for port in ports]
        for each in sockets:
            listen(each)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        _pass_on(path, sockets)
    except (SettingError, OSError) as error:
        print(f"entry: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    return 0


def _pass_on(path: Path, sockets: Sequence[socket.socket]) -> None:
    """Pass the sockets to each process that connects, and keep its connection open.

    The kernel closes the connections when this process ends, which shows each gateway that its
    sockets lead nowhere.
    """
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(str(path))
        listener.listen()
        selector.register(listener, selectors.EVENT_READ)
        print(f"entry: Holding {len(sockets)} listening sockets", file=sys.stderr, flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    if send_sockets(connection, sockets):
                        selector.register(connection, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket) and not _is_open(key.fileobj):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


def _is_open(connection: socket.socket) -> bool:
    """Return whether the gateway at the other end still runs. What it sends is discarded."""
    try:
        return bool(connection.recv(64))
    except OSError:
        return False


def _parse_ports(text: str) -> list[int]:
    ports = [PORT(part) for part in text.split(",")]
    if len(ports) > MAX_SOCKETS:
        raise ValueError(f"must contain at most {MAX_SOCKETS} ports")
    return ports


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(run(os.environ))
