"""The limits of a container, from files like those of Linux's control groups."""

from pathlib import Path

import pytest

from berth_protocol.cgroup import count_cpus, read_memory_limit


def _write(root: Path, files: dict[str, str], own: str) -> tuple[Path, Path]:
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (root / "own").write_text(own + "\n")
    return root / "cgroup", root / "own"


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"memory.max": "268435456"}, "0::/", 268435456),
        ({"memory.max": "max"}, "0::/", None),
        ({"a/b/memory.max": "max", "a/memory.max": "1000"}, "0::/a/b", 1000),
        ({"a/b/memory.max": "500", "a/memory.max": "1000"}, "0::/a/b", 500),
        ({"memory/memory.limit_in_bytes": "1000"}, "4:memory:/gone", 1000),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, "4:memory:/", None),
        ({}, "", None),
    ],
)
def test_memory_limit(
    tmp_path: Path, files: dict[str, str], own: str, expected: int | None
) -> None:
    assert read_memory_limit(*_write(tmp_path, files, own)) == expected


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"cpu.max": "100000 100000"}, "0::/", 1),
        ({"cpu.max": "50000 100000"}, "0::/", 1),
        ({"a/cpu.max": "max 100000", "cpu.max": "100000 100000"}, "0::/a", 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/", 1),
    ],
)
def test_cpu_quota_limits_cores(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    own: str,
    expected: int,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    assert count_cpus(*_write(tmp_path, files, own)) == expected


@pytest.mark.parametrize(("quota", "expected"), [("150000", 2), ("800000", 8), ("max", 8)])
def test_cpu_quota_is_rounded_up_to_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    files = {"cpu.max": f"{quota} 100000"}
    assert count_cpus(*_write(tmp_path, files, "0::/")) == expected
