"""Detecting pickles by content, without mistaking raw numbers for them."""

import io
import pickle
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from berth.packaging.errors import PackageError
from berth.packaging.pickles import reject_pickle
from berth.packaging.rows import read_rows


def _archive(path: Path, member: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_every_protocol_is_rejected(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(pickle.dumps(LinearRegression(), protocol))
    with pytest.raises(PackageError, match="is a pickle"):
        reject_pickle(path)
    path.write_bytes(path.read_bytes() + b"trailing")
    with pytest.raises(PackageError, match="is a pickle"):
        reject_pickle(path)


@pytest.mark.parametrize("compress", [0, 3, ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_joblib_file_with_arrays_is_rejected(
    compress: int | tuple[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    joblib.dump({"weights": np.arange(1000.0)}, path, compress=compress)
    with pytest.raises(PackageError, match=r"joblib stores pickles|is a pickle"):
        reject_pickle(path)


@pytest.mark.parametrize("member", ["archive/data.pkl", "weights.bin", "innocent.npy"])
def test_pickle_in_archive_is_rejected(member: str, tmp_path: Path) -> None:
    path = _archive(tmp_path / "rows.npz", member, pickle.dumps(LinearRegression()))
    with pytest.raises(PackageError, match="an archive that contains a pickle"):
        read_rows(path)


def test_archive_with_damaged_name_is_rejected(tmp_path: Path) -> None:
    path = _archive(tmp_path / "rows.npz", "ä.npy", b"1234")
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xff"))
    with pytest.raises(PackageError, match="unreadable zip archive"):
        read_rows(path)


def test_npz_with_objects_is_rejected(tmp_path: Path) -> None:
    held = io.BytesIO()
    np.save(held, np.array([LinearRegression()], object), allow_pickle=True)
    path = _archive(tmp_path / "rows.npz", "x.npy", held.getvalue())
    with pytest.raises(PackageError, match="without unpickling"):
        read_rows(path)


def test_npz_with_numbers_and_text_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "rows.npz", x=np.eye(3), words=np.array(["a", "b"]))
    rows = read_rows(tmp_path / "rows.npz")
    assert isinstance(rows, dict)
    assert rows["x"].tolist() == np.eye(3).tolist()
    assert rows["words"].tolist() == ["a", "b"]


@pytest.mark.parametrize("opcodes", [b".", b"N.", b"]", b"(.", b"K\x01."])
def test_raw_numbers_that_resemble_pickle_are_accepted(opcodes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(opcodes + np.linspace(0.1, 1, 64, dtype=np.float32).tobytes())
    reject_pickle(path)
