"""Helpers for files that several processes share, and for values from Pulumi's engine."""

import stat
import threading
from pathlib import Path

import pytest

from pulumi_berth.files import acquire_lock, cache_directory, open_replacement, replace_atomically
from pulumi_berth.values import restore_integers


def test_replaced_file_has_new_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    replace_atomically(path, "new", mode=0o640)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_failed_replacement_keeps_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), open_replacement(path) as temporary:
        (temporary.parent / "missing" / "file").read_text()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_second_lock_waits_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waiting, events = threading.Event(), []

    def hold_second() -> None:
        with acquire_lock(path, on_wait=waiting.set):
            events.append("second")

    thread = threading.Thread(target=hold_second)
    with acquire_lock(path):
        thread.start()
        assert waiting.wait(timeout=30)
        events.append("first")
    thread.join(timeout=30)
    assert events == ["first", "second"]


def test_free_lock_does_not_report_waiting(tmp_path: Path) -> None:
    with acquire_lock(tmp_path / "lock", on_wait=lambda: pytest.fail("waited")):
        pass


@pytest.mark.parametrize("variable", ["", "relative"])
def test_cache_ignores_relative_xdg_directory(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert cache_directory("images") == tmp_path / ".cache" / "berth" / "images"
    assert cache_directory("images").is_dir()


def test_whole_floats_become_integers_at_any_depth() -> None:
    value = {"a": 1.0, "b": [2.0, 2.5, {"c": True}], "d": "3.0"}
    restored = restore_integers(value)
    assert restored == {"a": 1, "b": [2, 2.5, {"c": True}], "d": "3.0"}
    assert isinstance(restored["a"], int)
    assert isinstance(restored["b"][0], int)
