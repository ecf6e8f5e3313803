"""The handover between two gateway processes: one serves, the other waits to continue.

Both hold the same listening sockets, so the kernel queues connections while neither accepts them,
and refuses none. A file lock decides which process serves. The kernel releases the lock when its
holder ends, for any reason, and the waiting process then serves within milliseconds. The serving
process passes its sockets to every process that connects to a Unix socket, which only this user
can reach.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

Address = tuple[str, int]

_POLL_SECONDS = 0.02
_TIMEOUT_SECONDS = 1.0
# A process that has just taken over answers after it has read its files.
_OBTAIN_SECONDS = 20.0
# A container engine can start the entry after the gateway.
_ENTRY_SECONDS = 60.0
EXIT_ENTRY_ENDED = 5
"""Exit status of a gateway whose entry ended. Whatever runs it starts it again."""
MAX_SOCKETS = 8
_LOG = logging.getLogger("gateway")


class HandoverError(RuntimeError):
    """The serving process did not pass its sockets on."""


class Handover:
    """This process's part in a handover.

    Args:
        path: Path of the Unix socket. The lock file is next to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # It stays open: closing it would release the lock.
        self._lock = path.with_name(f"{path.name}.lock").open("ab")

    def obtain_sockets(
        self, addresses: Mapping[str, Address], listen: Callable[[Address], socket.socket]
    ) -> dict[str, socket.socket]:
        """Return a listening socket for each address by name.

        A socket of the serving process is shared. `listen` creates one for any other address.

        Raises:
            HandoverError: If the serving process does not respond.
            OSError: If an address is in use by another program.
        """
        deadline = time.monotonic() + _OBTAIN_SECONDS
        shared: list[socket.socket] = []
        while not shared and not self._try_acquire():
            shared = self._request_sockets()
            if time.monotonic() > deadline:
                raise HandoverError(
                    f"The serving gateway did not pass on its sockets within {_OBTAIN_SECONDS:g} s "
                    f"at {self._path}. Stop it, or use another GATEWAY_HANDOVER."
                )
            time.sleep(0 if shared else _POLL_SECONDS)
        by_address = {each.getsockname()[:2]: each for each in shared}
        sockets = {
            name: by_address.pop(address) if address in by_address else listen(address)
            for name, address in addresses.items()
        }
        for unused in by_address.values():
            unused.close()
        return sockets

    def wait_for_turn(self) -> None:
        """Block until no other process serves."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def release_turn(self) -> None:
        """Let the waiting process serve."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def pass_on(self, sockets: Mapping[str, socket.socket]) -> Iterator[None]:
        """Pass `sockets` to processes that ask for them, until the end of the block."""
        self._path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._path))
            listener.listen()
            listener.setblocking(False)
            loop.add_reader(listener.fileno(), _send_sockets, listener, sockets)
            try:
                yield
            finally:
                # The path stays: it may already belong to the process that serves next.
                loop.remove_reader(listener.fileno())

    def _try_acquire(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _request_sockets(self) -> list[socket.socket]:
        """Return the sockets of the serving process, or none if it does not respond."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            try:
                connection.connect(str(self._path))
                _, descriptors, _, _ = socket.recv_fds(connection, 1, MAX_SOCKETS)
            except OSError:
                return []
        return [socket.socket(fileno=descriptor) for descriptor in descriptors]


class EntryHandover(Handover):
    """A gateway's part where an entry holds the sockets: see `berth_gateway.entry`.

    The gateways of one entry still take turns.

    Args:
        path: Path of the entry's Unix socket.
        prepared_file: File that is created when this process holds the sockets.
    """

    def __init__(self, path: Path, prepared_file: Path | None) -> None:
        super().__init__(path)
        self._prepared_file = prepared_file
        self._entry = socket.socket(socket.AF_UNIX)

    def obtain_sockets(
        self,
        addresses: Mapping[str, Address],
        listen: Callable[[Address], socket.socket],  # noqa: ARG002
    ) -> dict[str, socket.socket]:
        """Return the entry's socket for each address by name.

        Raises:
            HandoverError: If the entry does not respond, or has no socket for an address.
        """
        # The first process of a container ignores signals that it does not handle.
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
        deadline = time.monotonic() + _ENTRY_SECONDS
        shared: list[socket.socket] = []
        while not shared:
            shared = self._connect()
            if not shared:
                if time.monotonic() > deadline:
                    raise HandoverError(
                        f"The entry did not respond within {_ENTRY_SECONDS:g} s at {self._path}. "
                        "Start it."
                    )
                time.sleep(_POLL_SECONDS)
        by_address = {each.getsockname()[:2]: each for each in shared}
        missing = [address for address in addresses.values() if address not in by_address]
        if missing:
            raise HandoverError(
                f"The entry at {self._path} has no socket for "
                f"{', '.join(f'{host}:{port}' for host, port in missing)}. Add the port to "
                "ENTRY_PORTS."
            )
        if self._prepared_file is not None:
            self._prepared_file.touch()
        return {name: by_address[address] for name, address in addresses.items()}

    @contextlib.contextmanager
    def pass_on(self, sockets: Mapping[str, socket.socket]) -> Iterator[None]:  # noqa: ARG002
        """End this process when the entry ends, until the end of the block."""
        loop = asyncio.get_running_loop()
        self._entry.setblocking(False)
        loop.add_reader(self._entry.fileno(), self._check_entry)
        try:
            yield
        finally:
            loop.remove_reader(self._entry.fileno())

    def _connect(self) -> list[socket.socket]:
        """Return the entry's sockets, and keep the connection. Return none if it does not run."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_TIMEOUT_SECONDS)
        try:
            connection.connect(str(self._path))
            _, descriptors, _, _ = socket.recv_fds(connection, 1, MAX_SOCKETS)
        except OSError:
            connection.close()
            return []
        self._entry = connection
        return [socket.socket(fileno=descriptor) for descriptor in descriptors]

    def _check_entry(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not self._entry.recv(64):
                # No response can reach a client: their connections ended with the entry.
                _LOG.error("The entry ended. Exiting, to receive the sockets of the next one.")
                os._exit(EXIT_ENTRY_ENDED)


def send_sockets(connection: socket.socket, sockets: Sequence[socket.socket]) -> bool:
    """Pass `sockets` to the process at the other end. Return whether they were sent."""
    connection.settimeout(_TIMEOUT_SECONDS)
    try:
        socket.send_fds(connection, [b"s"], [each.fileno() for each in sockets])
    except OSError:
        connection.close()
        return False
    return True


def _send_sockets(listener: socket.socket, sockets: Mapping[str, socket.socket]) -> None:
    with contextlib.suppress(OSError):
        connection, _ = listener.accept()
        with connection:
            send_sockets(connection, list(sockets.values()))
