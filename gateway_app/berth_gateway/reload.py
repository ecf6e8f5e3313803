"""Reload: the table and the token are read again, when told to or when they are other ones."""

import asyncio
import contextlib
import hashlib
import logging
from pathlib import Path

from berth_gateway.app import Gateway
from berth_gateway.in_force import InForce, load
from berth_gateway.table import TableError

_LOG = logging.getLogger("gateway")


class TableFiles:
    """The files of a table and of the berths' token, and which content was tried last.

    Content is compared, not time or size: Kubernetes puts another folder in the place of the
    one that holds the files, and a file may be written twice within one tick of its clock.
    """

    def __init__(self, table: Path, token: Path | None) -> None:
        self._table = table
        self._token = token
        self._tried = b""

    def load(self, before: InForce | None) -> InForce:
        """What the files hold now; see `in_force.load`.

        Raises:
            TableError: a file cannot be read, or the table cannot be used.
        """
        # Before the reading: what is written in between is another content at the next look.
        self._tried = self._digest()
        return load(self._table, self._token, before)

    def changed(self) -> bool:
        """Whether the files hold something else than what was loaded, or refused, last."""
        return self._digest() != self._tried

    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for path in (self._table, self._token):
            if path is not None:
                try:
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
                except OSError as error:
                    digest.update(type(error).__name__.encode())
        return digest.digest()


def reload(gateway: Gateway, files: TableFiles) -> None:
    """Put what the files hold in force; what cannot be used is logged and counted instead."""
    try:
        in_force = files.load(gateway.in_force)
    except TableError as error:
        gateway.metrics.reloads.labels("refused").inc()
        _LOG.error("the table in force stays, the new one cannot be used: %s", error)
    else:
        gateway.take_over(in_force)
        gateway.metrics.reloads.labels("taken").inc()
        _LOG.info("table %s is in force", in_force.table_sha256)


async def watch(gateway: Gateway, files: TableFiles, seconds: float, stop: asyncio.Event) -> None:
    """Reload whenever the files hold something else, looking every `seconds`, until `stop`.

    0 is for never.
    """
    while seconds and not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        if not stop.is_set() and files.changed():
            reload(gateway, files)
