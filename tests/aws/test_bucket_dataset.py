"""Datasets in a bucket: immutable versions, and their files in an image."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from berth.cli.main import main
from berth_data.manifest import MANIFEST_NAME, DatasetError, read_manifest, write_manifest
from pulumi_berth.datasets import DATA
from pulumi_berth.datasets.bucket_dataset import BucketDataset, BucketError
from tests.aws.emulation import REGION, Emulation

_MIB = 1 << 20


@pytest.fixture(autouse=True)
def _aws_environment(aws: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key, value in {**aws.environment(), "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def s3(aws: Emulation) -> Any:
    return aws.client("s3")


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = f"data-{abs(hash(request.node.name))}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "prices"
    (path / "nested").mkdir(parents=True)
    (path / "a.csv").write_text("a")
    (path / "nested" / "b.csv").write_text("b")
    return path


def _objects(s3: Any, bucket: str) -> set[str]:
    return {item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def _ignore(_line: str) -> None:
    """Discard a progress line."""


def _dataset(bucket: str) -> BucketDataset:
    return BucketDataset.parse(f"{bucket}/datasets/prices/7")


def _berth(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_push_uploads_files_and_manifest_of_directory(
    s3: Any, bucket: str, directory: Path
) -> None:
    push = (
        "data",
        "push",
        str(directory),
        f"s3://{bucket}/datasets/prices/",
        "--version",
        "7",
        "--json",
    )
    digest = json.loads(_berth(*push))["digest"]
    prefix = "datasets/prices/7"
    assert _objects(s3, bucket) == {
        f"{prefix}/a.csv", f"{prefix}/nested/b.csv", f"{prefix}/{MANIFEST_NAME}",
    }  # fmt: skip
    assert not (directory / MANIFEST_NAME).exists()
    assert digest == write_manifest(directory)
    assert json.loads(_berth(*push))["digest"] == digest


def test_push_of_existing_version_with_other_files_fails(
    s3: Any, bucket: str, directory: Path
) -> None:
    _dataset(bucket).push(directory, _ignore)
    (directory / "a.csv").write_text("other")
    push = ("data", "push", str(directory), f"s3://{bucket}/datasets/prices", "--version", "7")
    assert "exists with different content" in _berth(*push, code=1)
    (version,) = s3.list_object_versions(Bucket=bucket, Prefix="datasets/prices/7/a.csv")[
        "Versions"
    ]
    assert version["Size"] == 1


def test_first_of_two_concurrent_pushes_creates_the_version(
    s3: Any, bucket: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, other = _dataset(bucket), directory.parent / "other"
    other.mkdir()
    (other / "a.csv").write_text("other")
    other_digest = write_manifest(other)

    def push_other(line: str) -> None:
        if line.startswith("1 of"):
            s3.upload_file(str(other / MANIFEST_NAME), bucket, f"{dataset.prefix}/{MANIFEST_NAME}")

    with pytest.raises(BucketError, match=f"different content .{other_digest}"):
        dataset.push(directory, push_other)


def test_large_file_is_uploaded_in_parts(s3: Any, bucket: str, directory: Path) -> None:
    large = directory / "large.bin"
    large.write_bytes(os.urandom(16 * _MIB) * 2 + b"end")
    lines: list[str] = []
    _dataset(bucket).push(directory, lines.append)
    assert [line for line in lines if "part" in line] == [
        f"large.bin: part {number} of 3" for number in (1, 2, 3)
    ]
    response = s3.get_object(Bucket=bucket, Key="datasets/prices/7/large.bin")
    assert response["Body"].read() == large.read_bytes()
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_resumed_push_uploads_only_missing_files(s3: Any, bucket: str, directory: Path) -> None:
    (directory / "large.bin").write_bytes(os.urandom(17 * _MIB))
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    dataset = _dataset(bucket)
    dataset.push(directory, _ignore)
    # An interrupted push leaves no manifest, and here it also lacks one file.
    for name in (MANIFEST_NAME, "a.csv"):
        s3.delete_object(Bucket=bucket, Key=f"{dataset.prefix}/{name}")
    dataset.push(directory, _ignore)
    versions = Counter(
        item["Key"].removeprefix(f"{dataset.prefix}/")
        for item in s3.list_object_versions(Bucket=bucket)["Versions"]
    )
    assert versions == {MANIFEST_NAME: 2, "a.csv": 2, "nested/b.csv": 1, "large.bin": 1}


def test_image_tree_contains_files_and_manifest(
    bucket: str, directory: Path, tmp_path: Path
) -> None:
    digest = _dataset(bucket).push(directory, _ignore)
    assert _dataset(bucket).digest() == digest
    for path, entry in _dataset(bucket).tree(digest).items():
        target = tmp_path / "image" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        content = entry.path.read_bytes() if entry.path is not None else entry.read and entry.read()
        assert isinstance(content, bytes)
        target.write_bytes(content)
    assert set(read_manifest(tmp_path / "image" / DATA, digest)) == {"a.csv", "nested/b.csv"}
    assert (tmp_path / "image" / DATA / "nested" / "b.csv").read_text() == "b"


def _changed_file(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="datasets/prices/7/a.csv", Body=b"c")


def _changed_manifest(s3: Any, bucket: str) -> None:
    text = json.dumps({"files": {"a.csv": "0"}})
    s3.put_object(Bucket=bucket, Key=f"datasets/prices/7/{MANIFEST_NAME}", Body=text.encode())


def _missing_file(s3: Any, bucket: str) -> None:
    s3.delete_object(Bucket=bucket, Key="datasets/prices/7/a.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_changed_file, "a.csv: Checksum mismatch"),
        (_changed_manifest, "expected sha256:"),
        (_missing_file, "Not Found"),
    ],
)
def test_changed_bucket_content_is_not_added_to_image(
    s3: Any, bucket: str, directory: Path, change: Callable[[Any, str], None], message: str
) -> None:
    digest = _dataset(bucket).push(directory, _ignore)
    change(s3, bucket)
    with pytest.raises((BucketError, DatasetError), match=message):
        _dataset(bucket).tree(digest)


def test_invalid_checksum_is_rejected(s3: Any, bucket: str) -> None:
    text = json.dumps({"files": {"a.csv": "/../../x"}})
    s3.put_object(Bucket=bucket, Key=f"datasets/prices/7/{MANIFEST_NAME}", Body=text.encode())
    digest = _dataset(bucket).digest()
    assert digest is not None
    with pytest.raises(BucketError, match="is not a SHA-256"):
        _dataset(bucket).tree(digest)


def test_missing_bucket_is_reported(directory: Path) -> None:
    push = ("data", "push", str(directory), "s3://missing-bucket/datasets", "--version", "7")
    error = _berth(*push, code=1)
    assert "berth: s3://missing-bucket/datasets/7: " in error
    assert "NoSuchBucket" in error
