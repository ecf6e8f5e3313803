"""The lock of a stack: who holds it, and whether that process has ended.

Pulumi's self-managed backends lock a stack with a file that names a user, a host and a PID. Neither
host names nor PIDs are unique: containers repeat both, and state in a bucket or on a shared volume
is locked by processes of other machines. A lock is therefore stale only if

- the backend is a directory of this machine,
- this project recorded that it started exactly that process, and when, and
- the record is of the same boot and PID namespace, in which the process no longer exists.
"""

import contextlib
import hashlib
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from berth.engine.environment import find_state_directory, project_data_directory
from berth.project import read_project_name
from pulumi_berth.files import replace_atomically

# The error in which Pulumi names the holders: checkForLock in pkg/backend/diy/lock.go.
_LOCK = re.compile(r"created by (?P<user>\S+)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<since>\S+)")
# The engine takes the lock before it runs the program, within seconds of its start. A lock that is
# older or newer belongs to another process with the same PID.
_SECONDS_TO_LOCK = 60.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class StackLock:
    """A lock on a stack, as Pulumi reports it.

    Attributes:
        since: Time at which it was taken, in seconds since the epoch.
        text: The same time as Pulumi prints it.
    """

    user: str
    host: str
    pid: int
    since: float
    text: str


@dataclass(frozen=True)
class EngineProcess:
    """An engine process that this project started.

    Attributes:
        boot: ID of the boot of the machine. Empty where the system has none.
        namespace: PID namespace, such as `pid:[4026531836]`. Empty where the system has none.
        started: Time of its start, in seconds since the epoch.
    """

    host: str
    pid: int
    boot: str
    namespace: str
    started: float


def find_locks(output: str) -> list[StackLock]:
    """Return the locks that the engine's error output names."""
    return [
        StackLock(
            user=match["user"],
            host=match["host"],
            pid=int(match["pid"]),
            since=datetime.fromisoformat(match["since"]).timestamp(),
            text=match["since"],
        )
        for match in _LOCK.finditer(output)
    ]


def read_locks(root: Path, stack: str) -> list[StackLock]:
    """Return the locks of a stack in a backend that is a directory. Others are left out.

    The fields are those of lockContent in pkg/backend/diy/lock.go of Pulumi.
    """
    directory = find_state_directory(root)
    if directory is None:
        return []
    locks = []
    pattern = f".pulumi/locks/organization/{read_project_name(root)}/{stack}/*.json"
    for path in sorted(directory.glob(pattern)):
        # The holder removes its lock at any time.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            entry = json.loads(path.read_text())
            locks.append(
                StackLock(
                    user=str(entry["username"]),
                    host=str(entry["hostname"]),
                    pid=int(entry["pid"]),
                    since=datetime.fromisoformat(entry["timestamp"]).timestamp(),
                    text=str(entry["timestamp"]),
                )
            )
    return locks


def describe_locks(root: Path, stack: str) -> list[str]:
    """Return a line for each operation that has not ended, or that was interrupted."""
    return [
        f"An operation that started at {lock.text} was interrupted. It has no entry below, but may "
        f"have changed resources. 'berth status -s {stack}' shows what runs; 'berth up' completes "
        "it, and 'berth rollback' reverts it."
        if is_stale(root, stack, lock)
        else f"An operation of {lock.user}@{lock.host} (PID {lock.pid}) has held the stack since "
        f"{lock.text}. It has no entry below yet."
        for lock in read_locks(root, stack)
    ]


def record_process(root: Path, stack: str, pid: int) -> None:
    """Record that this project started the engine process `pid` on the stack."""
    record = _describe_process(pid)
    machine = hashlib.sha256(f"{record.boot} {record.namespace}".encode()).hexdigest()[:16]
    path = _records(root) / f"{stack}-{pid}-{machine}.json"
    replace_atomically(path, json.dumps(asdict(record)))


def is_stale(root: Path, stack: str, lock: StackLock) -> bool:
    """Return whether the holder of the lock has certainly ended."""
    if find_state_directory(root) is None:
        return False
    here = _describe_process(lock.pid)
    holders = [record for record in _read_records(root, stack, lock.pid) if _fits(record, lock)]
    return bool(holders) and all(
        (record.host, record.boot, record.namespace) == (here.host, here.boot, here.namespace)
        and _has_ended(record)
        for record in holders
    )


def forget_process(root: Path, stack: str, pid: int) -> None:
    """Remove the records of a process that released its lock, or whose lock was removed."""
    for path in _records(root).glob(f"{stack}-{pid}-*.json"):
        path.unlink(missing_ok=True)


def _fits(record: EngineProcess, lock: StackLock) -> bool:
    """Return whether the process of the record took the lock."""
    return (
        record.host == lock.host
        and record.pid == lock.pid
        # Pulumi writes whole seconds.
        and -1.0 <= lock.since - record.started <= _SECONDS_TO_LOCK
    )


def _read_records(root: Path, stack: str, pid: int) -> Iterator[EngineProcess]:
    for path in _records(root).glob(f"{stack}-{pid}-*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            yield EngineProcess(**json.loads(path.read_text()))


def _records(root: Path) -> Path:
    return project_data_directory(root, "engine-processes")


def _describe_process(pid: int) -> EngineProcess:
    return EngineProcess(
        host=socket.gethostname(),
        pid=pid,
        boot=_read_boot_id(),
        namespace=_read_namespace(),
        started=time.time(),
    )


def _read_boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        # macOS has one PID namespace, and its boot time identifies the boot.
        import psutil

        return f"{psutil.boot_time():.0f}"


def _read_namespace() -> str:
    try:
        return str(_PID_NAMESPACE.readlink())
    except OSError:
        return ""


def _has_ended(record: EngineProcess) -> bool:
    # Only needed here, and slow to import.
    import psutil

    try:
        process = psutil.Process(record.pid)
        # A process that started later has only reused the PID.
        is_zombie = bool(process.status() == psutil.STATUS_ZOMBIE)
        return is_zombie or bool(process.create_time() > record.started + 1)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
