"""Sets of data in a bucket: pushed, once for all; and read into an image."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from berth.cli.main import main
from berth_data.manifest import NAME, DataError, read_manifest, write_manifest
from pulumi_berth.datasets.artifact import DATA
from pulumi_berth.datasets.bucket_dataset import BucketError, BucketSet
from tests.aws.emulation import REGION, Emulation

_MIB = 1 << 20


@pytest.fixture(autouse=True)
def _reached(aws: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "prices"
    (found / "nested").mkdir(parents=True)
    (found / "a.csv").write_text("a")
    (found / "nested" / "b.csv").write_text("b")
    return found


def _objects(s3: Any, bucket: str) -> set[str]:
    return {one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def _silent(_: str) -> None:
    """Say nothing."""


def _place(bucket: str) -> BucketSet:
    return BucketSet.of(f"{bucket}/sets/prices/7")


def _berth(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


def test_a_push_has_the_manifest_that_a_folder_has(s3: Any, bucket: str, folder: Path) -> None:
    push = ("data", "push", str(folder), f"s3://{bucket}/sets/prices/", "--version", "7", "--json")
    digest = json.loads(_berth(*push))["digest"]
    below = "sets/prices/7"
    assert _objects(s3, bucket) == {
        f"{below}/a.csv", f"{below}/nested/b.csv", f"{below}/{NAME}",
    }  # fmt: skip
    assert not (folder / NAME).exists()
    assert digest == write_manifest(folder)
    assert json.loads(_berth(*push))["digest"] == digest


def test_a_version_is_never_changed(s3: Any, bucket: str, folder: Path) -> None:
    _place(bucket).push(folder, _silent)
    (folder / "a.csv").write_text("other")
    push = ("data", "push", str(folder), f"s3://{bucket}/sets/prices", "--version", "7")
    assert "has other data" in _berth(*push, code=1)
    (kept,) = s3.list_object_versions(Bucket=bucket, Prefix="sets/prices/7/a.csv")["Versions"]
    assert kept["Size"] == 1


def test_of_two_pushes_at_once_one_makes_the_version(
    s3: Any, bucket: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, other = _place(bucket), folder.parent / "other"
    other.mkdir()
    (other / "a.csv").write_text("theirs")
    theirs = write_manifest(other)

    def meanwhile(said: str) -> None:
        if said.startswith("1 of"):
            s3.upload_file(str(other / NAME), bucket, f"{place.prefix}/{NAME}")

    with pytest.raises(BucketError, match=f"has other data .{theirs}"):
        place.push(folder, meanwhile)


def test_a_large_file_goes_in_parts(s3: Any, bucket: str, folder: Path) -> None:
    large = folder / "large.bin"
    large.write_bytes(os.urandom(16 * _MIB) * 2 + b"end")
    said: list[str] = []
    _place(bucket).push(folder, said.append)
    assert [line for line in said if "part" in line] == [
        f"large.bin: part {number} of 3" for number in (1, 2, 3)
    ]
    found = s3.get_object(Bucket=bucket, Key="sets/prices/7/large.bin")
    assert found["Body"].read() == large.read_bytes()
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_files_that_are_there_are_not_sent_again(s3: Any, bucket: str, folder: Path) -> None:
    (folder / "large.bin").write_bytes(os.urandom(17 * _MIB))
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    place = _place(bucket)
    place.push(folder, _silent)
    # As an interruption leaves it: without a manifest, and without one file.
    for name in (NAME, "a.csv"):
        s3.delete_object(Bucket=bucket, Key=f"{place.prefix}/{name}")
    place.push(folder, _silent)
    versions = Counter(
        one["Key"].removeprefix(f"{place.prefix}/")
        for one in s3.list_object_versions(Bucket=bucket)["Versions"]
    )
    assert versions == {NAME: 2, "a.csv": 2, "nested/b.csv": 1, "large.bin": 1}


def test_an_image_gets_the_files_and_their_manifest(
    bucket: str, folder: Path, tmp_path: Path
) -> None:
    digest = _place(bucket).push(folder, _silent)
    assert _place(bucket).digest() == digest
    for path, entry in _place(bucket).tree(digest).items():
        target = tmp_path / "image" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        assert entry.read is not None
        target.write_bytes(entry.read())
    assert set(read_manifest(tmp_path / "image" / DATA, digest)) == {"a.csv", "nested/b.csv"}
    assert (tmp_path / "image" / DATA / "nested" / "b.csv").read_text() == "b"


def _changed_file(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="sets/prices/7/a.csv", Body=b"c")


def _changed_manifest(s3: Any, bucket: str) -> None:
    text = json.dumps({"files": {"a.csv": "0"}})
    s3.put_object(Bucket=bucket, Key=f"sets/prices/7/{NAME}", Body=text.encode())


def _no_file(s3: Any, bucket: str) -> None:
    s3.delete_object(Bucket=bucket, Key="sets/prices/7/a.csv")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_changed_file, "a.csv: has the sha256"),
        (_changed_manifest, "is wanted"),
        (_no_file, "Not Found"),
    ],
)
def test_what_was_changed_in_the_bucket_enters_no_image(
    s3: Any, bucket: str, folder: Path, change: Callable[[Any, str], None], says: str
) -> None:
    digest = _place(bucket).push(folder, _silent)
    change(s3, bucket)
    with pytest.raises((BucketError, DataError), match=says):
        _place(bucket).tree(digest)


def test_a_sum_that_is_none_names_no_file_of_the_cache(s3: Any, bucket: str) -> None:
    text = json.dumps({"files": {"a.csv": "/../../x"}})
    s3.put_object(Bucket=bucket, Key=f"sets/prices/7/{NAME}", Body=text.encode())
    digest = _place(bucket).digest()
    assert digest is not None
    with pytest.raises(BucketError, match="is no sha256"):
        _place(bucket).tree(digest)


def test_a_bucket_that_is_not_there_is_told(folder: Path) -> None:
    push = ("data", "push", str(folder), "s3://nobodys-bucket/sets", "--version", "7")
    said = _berth(*push, code=1)
    assert "berth: s3://nobodys-bucket/sets/7: " in said
    assert "NoSuchBucket" in said
