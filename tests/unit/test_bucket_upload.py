"""An upload in parts goes on from where it was interrupted.

With S3's answers as AWS documents them: the emulator names no checksums of parts.
"""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from pulumi_berth.datasets.bucket_upload import Parts, Upload

_MIB = 1 << 20
_OBJECT = {"Bucket": "ours", "Key": "sets/7/large.bin"}


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    path = tmp_path / "large.bin"
    path.write_bytes(b"a" * 16 * _MIB + b"b" * 16 * _MIB + b"end")
    return Parts.of(path)


def _sum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _upload(s3: Any, parts: Parts, said: list[str]) -> None:
    Upload(s3=s3, bucket=_OBJECT["Bucket"], key=_OBJECT["Key"], parts=parts, say=said.append).run()


@pytest.fixture
def s3() -> Any:
    return boto3.client(
        "s3", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def _begun(upload: str, minute: int, **further: str) -> dict[str, Any]:
    begun = datetime(2026, 1, 2, 3, minute, tzinfo=UTC)
    return {"Key": _OBJECT["Key"], "UploadId": upload, "Initiated": begun, **further}


def test_only_what_is_missing_or_wrong_is_sent(s3: Any, parts: Parts) -> None:
    sums = [_sum(parts.read(number)) for number in range(3)]
    said: list[str] = []
    with Stubber(s3) as stub:
        stub.add_client_error("head_object", "404")
        stub.add_response(
            "list_multipart_uploads",
            {
                "Uploads": [
                    _begun("older", 4, ChecksumAlgorithm="SHA256"),
                    _begun("latest", 5, ChecksumAlgorithm="SHA256"),
                    _begun("other-sums", 6, ChecksumAlgorithm="CRC32"),
                    {**_begun("other-file", 7), "Key": f"{_OBJECT['Key']}.old"},
                ]
            },
            {"Bucket": _OBJECT["Bucket"], "Prefix": _OBJECT["Key"]},
        )
        there = [
            {"PartNumber": 1, "ETag": "one", "ChecksumSHA256": sums[0]},
            {"PartNumber": 2, "ETag": "wrong", "ChecksumSHA256": _sum(b"wrong")},
        ]
        asked = {**_OBJECT, "UploadId": "latest"}
        stub.add_response("list_parts", {"Parts": there}, asked)
        for number, tag in ((2, "two"), (3, "three")):
            sent = {"PartNumber": number, "Body": ANY, "ChecksumSHA256": sums[number - 1]}
            stub.add_response("upload_part", {"ETag": tag}, {**asked, **sent})
        ended = [
            {"PartNumber": number, "ETag": tag, "ChecksumSHA256": sums[number - 1]}
            for number, tag in ((1, "one"), (2, "two"), (3, "three"))
        ]
        stub.add_response(
            "complete_multipart_upload", {}, {**asked, "MultipartUpload": {"Parts": ended}}
        )
        _upload(s3, parts, said)
        stub.assert_no_pending_responses()
    assert said == ["large.bin: part 2 of 3", "large.bin: part 3 of 3"]


@pytest.mark.parametrize("suffix", ["", "-3"])
def test_a_file_that_is_there_is_left(s3: Any, parts: Parts, suffix: str) -> None:
    of_parts = b"".join(hashlib.sha256(parts.read(number)).digest() for number in range(3))
    with Stubber(s3) as stub:
        stub.add_response(
            "head_object",
            {"ChecksumSHA256": _sum(of_parts) + suffix},
            {**_OBJECT, "ChecksumMode": "ENABLED"},
        )
        _upload(s3, parts, [])
        stub.assert_no_pending_responses()


def test_parts_hold_the_whole_file(parts: Parts) -> None:
    assert b"".join(parts.read(number) for number in range(3)) == parts.path.read_bytes()
    assert len(parts.sums) == 3


def test_an_empty_file_is_one_part(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    parts = Parts.of(tmp_path / "empty")
    assert (len(parts.sums), parts.read(0), parts.checksum) == (1, b"", _sum(b""))


def test_a_huge_file_has_no_more_parts_than_s3_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_berth.datasets.bucket_upload._MOST_PARTS", 2)
    path = tmp_path / "huge"
    path.write_bytes(b"a" * (48 * _MIB + 1))
    parts = Parts.of(path)
    assert (len(parts.sums), parts.size) == (2, 25 * _MIB)
