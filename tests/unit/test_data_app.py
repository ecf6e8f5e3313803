"""Sets of data: their manifest, and the program that checks and copies them."""

import json
from pathlib import Path

import pytest

from berth_data.__main__ import main
from berth_data.manifest import NAME, DataError, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "set"
    (found / "nested").mkdir(parents=True)
    (found / "a.csv").write_text("a")
    (found / "nested" / "b.csv").write_text("b")
    return found


def test_a_manifest_names_every_file_and_repeats_itself(folder: Path) -> None:
    digest = write_manifest(folder)
    assert set(read_manifest(folder, digest)) == {"a.csv", "nested/b.csv"}
    assert write_manifest(folder) == digest


def test_another_digest_is_refused(folder: Path) -> None:
    write_manifest(folder)
    with pytest.raises(DataError, match="is wanted"):
        read_manifest(folder, f"sha256:{'0' * 64}")


@pytest.mark.parametrize("text", ["", "[]", '{"files": 1', '{"other": {}}'])
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / NAME).write_text(text)
    with pytest.raises(DataError, match="no manifest"):
        read_manifest(folder, None)


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "nested/../../outside"])
def test_a_file_outside_the_set_is_refused(folder: Path, name: str) -> None:
    (folder / NAME).write_text(json.dumps({"files": {name: "0"}}))
    with pytest.raises(DataError, match="outside"):
        read_manifest(folder, None)


def test_an_empty_folder_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no files"):
        write_manifest(tmp_path)


def test_a_set_is_checked_and_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTH_DATA_DIGEST", write_manifest(folder))
    target = tmp_path / "target"
    assert main([str(folder), str(target)]) == 0
    assert (target / "nested" / "b.csv").read_text() == "b"
    assert main([str(target)]) == 0


def test_a_changed_file_stops_it_with_its_name(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(folder)
    (folder / "nested" / "b.csv").write_text("c")
    assert main([str(folder), str(tmp_path / "target")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("data: nested/b.csv: has the sha256")


def test_a_missing_file_stops_it_with_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(folder)
    (folder / "a.csv").unlink()
    assert main([str(folder)]) == 1
    assert "a.csv: cannot be read" in capsys.readouterr().err
