"""Whether the lock of a stack is stale: only a process of this boot and PID namespace can be."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from berth.operations.engine_lock import (
    StackLock,
    describe_locks,
    find_locks,
    forget_process,
    is_stale,
    record_process,
)

_OUTPUT = """error: the stack is currently locked by 2 lock(s). Either wait for the other process(es)
  file:///p/.pulumi/locks/organization/shop/dev/1.json: created by ann@ci (pid 7) at 2026-11-02T03:04:05Z
  file:///p/.pulumi/locks/organization/shop/dev/2.json: created by bob@ci (pid 8) at 2026-11-02T03:04:06+01:00
"""  # noqa: E501


@pytest.fixture(autouse=True)
def _local_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)


@pytest.fixture
def ended() -> int:
    """The PID of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _lock(pid: int, **changes: Any) -> StackLock:
    since = float(int(time.time()))
    lock: dict[str, Any] = {"user": "ann", "host": socket.gethostname(), "pid": pid} | changes
    return StackLock(**{"since": since, "text": "now", **lock})


def test_every_lock_is_parsed_from_the_engines_error() -> None:
    locks = find_locks(_OUTPUT)
    assert [(lock.user, lock.host, lock.pid) for lock in locks] == [
        ("ann", "ci", 7),
        ("bob", "ci", 8),
    ]
    assert locks[0].since == datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC).timestamp()


def test_lock_of_an_ended_process_of_this_project_is_stale(tmp_path: Path, ended: int) -> None:
    record_process(tmp_path, "dev", ended)
    assert is_stale(tmp_path, "dev", _lock(ended))
    assert not is_stale(tmp_path, "prod", _lock(ended))
    forget_process(tmp_path, "dev", ended)
    assert not is_stale(tmp_path, "dev", _lock(ended))


def test_lock_of_a_running_process_is_not_stale(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record_process(tmp_path, "dev", process.pid)
        assert not is_stale(tmp_path, "dev", _lock(process.pid))


def test_unrecorded_lock_with_the_same_host_and_an_unused_pid_is_not_stale(
    tmp_path: Path, ended: int
) -> None:
    """A container with the same host name holds it, with its own PID namespace."""
    assert not is_stale(tmp_path, "dev", _lock(ended))


@pytest.mark.parametrize("url", ["s3://bucket", "gs://bucket", "https://api.example.com"])
def test_lock_in_a_shared_backend_is_never_stale(
    tmp_path: Path, ended: int, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    record_process(tmp_path, "dev", ended)
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    assert not is_stale(tmp_path, "dev", _lock(ended))


def _of_another_boot(record: dict[str, Any]) -> None:
    record["boot"] = "another"


def _of_another_namespace(record: dict[str, Any]) -> None:
    record["namespace"] = "pid:[1]"


def _of_another_host(record: dict[str, Any]) -> None:
    record["host"] = "another"


@pytest.mark.parametrize("change", [_of_another_boot, _of_another_namespace, _of_another_host])
def test_lock_of_another_machine_or_container_is_not_stale(
    tmp_path: Path, ended: int, change: Callable[[dict[str, Any]], None]
) -> None:
    record_process(tmp_path, "dev", ended)
    (path,) = (tmp_path / ".berth" / "engine-processes").iterdir()
    own = path.read_text()
    record = json.loads(own)
    change(record)
    path.write_text(json.dumps(record))
    assert not is_stale(tmp_path, "dev", _lock(ended, host=record["host"]))
    # Two containers that share the project's directory, with the same PID.
    path.with_name(f"dev-{ended}-other.json").write_text(own)
    if record["host"] == socket.gethostname():
        assert not is_stale(tmp_path, "dev", _lock(ended))


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_lock_from_another_time_than_the_recorded_process_is_not_stale(
    tmp_path: Path, ended: int, seconds: float
) -> None:
    record_process(tmp_path, "dev", ended)
    assert not is_stale(tmp_path, "dev", _lock(ended, since=time.time() + seconds))


def test_interrupted_and_running_operations_are_described(tmp_path: Path, ended: int) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    folder = tmp_path / ".berth" / "state" / ".pulumi" / "locks" / "organization" / "shop" / "dev"
    folder.mkdir(parents=True)
    assert describe_locks(tmp_path, "dev") == []
    record_process(tmp_path, "dev", ended)
    now = datetime.now(UTC).isoformat()
    holders = (("ann", socket.gethostname(), ended), ("bob", "ci", 8))
    for number, (user, host, pid) in enumerate(holders):
        lock = {"username": user, "hostname": host, "pid": pid, "timestamp": now}
        (folder / f"{number}.json").write_text(json.dumps(lock))
    (folder / "2.json").write_text("not JSON")
    interrupted, running = describe_locks(tmp_path, "dev")
    assert f"started at {now} was interrupted" in interrupted
    assert "'berth rollback' reverts it" in interrupted
    assert running.startswith(f"An operation of bob@ci (PID 8) has held the stack since {now}.")
