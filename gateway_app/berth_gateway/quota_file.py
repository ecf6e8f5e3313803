"""The file in which quota counters outlive the process."""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

import msgspec

from berth_gateway.quota import Counter, Quotas

_SAVE_EVERY_SECONDS = 1.0
_LOG = logging.getLogger("gateway")


def read_counters(path: Path) -> dict[str, Counter]:
    """The counters in `path`, none when there is no such file.

    A file that cannot be used is logged and counts as none: too much served is a lesser harm
    than nothing served.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Counter])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        _LOG.error("%s: quotas begin at 0, their counters cannot be used: %s", path, error)
        return {}


def write_counters(path: Path, counters: dict[str, Counter]) -> None:
    """Put `counters` in place of what is in `path`, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    beside = path.with_name(f"{path.name}.new")
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(counters))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


async def keep_counters(quotas: Quotas, path: Path, stop: asyncio.Event) -> None:
    """Write what was counted, every second in which anything was, and once more at `stop`.

    A process that is killed forgets the requests of its last second.
    """
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SAVE_EVERY_SECONDS)
        counters = quotas.changes()
        if counters is None:
            continue
        try:
            await asyncio.to_thread(write_counters, path, counters)
        except OSError as error:
            _LOG.error("%s: the quota counters cannot be written: %s", path, error)
            quotas.not_saved()
