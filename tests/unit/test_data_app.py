"""Dataset manifests, and the program that verifies and copies datasets."""

import json
from pathlib import Path

import pytest

from berth_data.__main__ import main
from berth_data.manifest import MANIFEST_NAME, DatasetError, read_manifest, write_manifest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "dataset"
    (path / "nested").mkdir(parents=True)
    (path / "a.csv").write_text("a")
    (path / "nested" / "b.csv").write_text("b")
    return path


def test_manifest_lists_every_file_and_is_deterministic(directory: Path) -> None:
    digest = write_manifest(directory)
    assert set(read_manifest(directory, digest)) == {"a.csv", "nested/b.csv"}
    assert write_manifest(directory) == digest


def test_manifest_with_other_digest_is_rejected(directory: Path) -> None:
    write_manifest(directory)
    with pytest.raises(DatasetError, match=f"expected sha256:{'0' * 64}"):
        read_manifest(directory, f"sha256:{'0' * 64}")


@pytest.mark.parametrize("text", ["", "[]", '{"files": 1', '{"other": {}}'])
def test_invalid_manifest_is_rejected(directory: Path, text: str) -> None:
    (directory / MANIFEST_NAME).write_text(text)
    with pytest.raises(DatasetError, match="not a valid dataset manifest"):
        read_manifest(directory, None)


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "nested/../../outside"])
def test_path_outside_dataset_is_rejected(directory: Path, name: str) -> None:
    (directory / MANIFEST_NAME).write_text(json.dumps({"files": {name: "0"}}))
    with pytest.raises(DatasetError, match="outside the dataset"):
        read_manifest(directory, None)


def test_empty_directory_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no files"):
        write_manifest(tmp_path)


def test_valid_dataset_is_copied(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTH_DATA_DIGEST", write_manifest(directory))
    target = tmp_path / "target"
    assert main([str(directory), str(target)]) == 0
    assert (target / "nested" / "b.csv").read_text() == "b"
    assert main([str(target)]) == 0


def test_changed_file_fails_and_is_named(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(directory)
    (directory / "nested" / "b.csv").write_text("c")
    assert main([str(directory), str(tmp_path / "target")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("data: nested/b.csv: Checksum mismatch.")


def test_missing_file_fails_and_is_named(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(directory)
    (directory / "a.csv").unlink()
    assert main([str(directory)]) == 1
    assert "a.csv: The file cannot be read" in capsys.readouterr().err
